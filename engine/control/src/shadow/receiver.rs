//! The end at the shadow: what it has of one other engine.

use super::codec::{CodecError, Entry, Frame, entries};
use super::sas::ShadowedSas;
use dataplane::flow::SessionKey;
use dataplane::id::Nanos;
use dataplane::shadow::{FlowChange, FlowState, Origin, Task};
use std::collections::BTreeMap;
use std::collections::VecDeque;

/// Set in [`FlowState::input`] for tunnels, which rules cannot name.
const TUNNEL: u16 = dataplane::stage::access::TUNNEL_INPUT;
/// In place of an interface that this engine does not have: no rule names it.
const UNKNOWN: u16 = TUNNEL - 1;

/// Why a connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// It carries something else.
    #[error("malformed: {0}")]
    Codec(#[from] CodecError),
    /// Numbers do not follow each other.
    #[error("batch {got} where {expected} was due")]
    Order {
        /// Which was due.
        expected: u64,
        /// Which came.
        got: u64,
    },
    /// A frame that belongs to the other direction, or not there.
    #[error("a frame that does not belong there")]
    Unexpected,
}

/// Another engine's sessions here. Outlives its connections.
#[derive(Debug)]
pub struct Receiver {
    source: u8,
    /// Counts the rounds that began, over all connections: a copy that bears an older one was not named.
    round: u8,
    /// Since this connection began: a round has begun on it.
    in_round: bool,
    expected: u64,
    greeted: bool,
    /// By its number there: an interface's number here.
    inputs: Vec<u16>,
    /// Batches whose tasks the workers have yet to do: (number, tasks left).
    unfinished: VecDeque<(u64, usize)>,
    entries: u64,
}

impl Receiver {
    /// For the engine that copies are told by as `source`, from 1 to 15.
    pub fn new(source: u8) -> Receiver {
        Receiver {
            source,
            round: 0,
            in_round: false,
            expected: 1,
            greeted: false,
            inputs: Vec::new(),
            unfinished: VecDeque::new(),
            entries: 0,
        }
    }

    /// A new connection from that engine.
    pub fn connected(&mut self) {
        (self.in_round, self.expected, self.greeted) = (false, 1, false);
        self.unfinished.clear();
    }

    /// Entries that came so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    fn origin(&self) -> Origin {
        Origin::copy(self.source, self.round).unwrap_or(Origin::NATIVE)
    }

    /// Takes a frame: what it makes for every worker to do goes to `tasks`, in order, and what it says of SAs to `sas`. `ours`
    /// numbers this engine's interfaces by name.
    ///
    /// # Errors
    /// If the connection is to be closed: it carries what it should not.
    pub fn take(
        &mut self,
        frame: Frame,
        ours: &BTreeMap<String, u16>,
        now: Nanos,
        (sas, tasks): (&mut ShadowedSas, &mut Vec<Task>),
    ) -> Result<(), ReceiveError> {
        match frame {
            Frame::Hello { inputs } if !self.greeted => {
                self.greeted = true;
                self.inputs = inputs.iter().map(|name| ours.get(name).copied().unwrap_or(UNKNOWN)).collect();
                Ok(())
            }
            Frame::Batch { number, entries } if self.greeted => {
                self.batch(number, &entries, now, (sas, tasks))
            }
            _ => Err(ReceiveError::Unexpected),
        }
    }

    fn batch(
        &mut self,
        number: u64,
        octets: &[u8],
        now: Nanos,
        (sas, tasks): (&mut ShadowedSas, &mut Vec<Task>),
    ) -> Result<(), ReceiveError> {
        if number != self.expected {
            return Err(ReceiveError::Order { expected: self.expected, got: number });
        }
        self.expected += 1;
        sas.alive(now);
        let before = tasks.len();
        for entry in entries(octets) {
            self.entry(entry?, now, sas, tasks);
            self.entries += 1;
        }
        self.unfinished.push_back((number, tasks.len() - before));
        Ok(())
    }

    #[inline]
    fn entry(&mut self, entry: Entry, now: Nanos, sas: &mut ShadowedSas, tasks: &mut Vec<Task>) {
        match entry {
            Entry::Flow(FlowChange::Live(state)) => {
                let input = self.input(state.input);
                tasks.push(Task::Install(FlowState { input, ..state }, self.origin()));
            }
            Entry::Flow(FlowChange::Ended(key)) => tasks.push(self.end(key)),
            Entry::RoundBegins => {
                self.round = self.round.wrapping_add(1);
                self.in_round = true;
            }
            Entry::RoundEnds => {
                if std::mem::take(&mut self.in_round) {
                    tasks.push(Task::Forget(self.origin()));
                }
            }
            Entry::Sa(state) => sas.set(state, now),
            Entry::Limit { key, limit, rate } => sas.limit(key, (limit, rate), now),
            Entry::Window { key, window } => sas.released(key, window, now),
        }
    }

    fn end(&self, key: SessionKey) -> Task {
        Task::End(key, self.origin())
    }

    fn input(&self, theirs: u16) -> u16 {
        if theirs & TUNNEL != 0 {
            return theirs;
        }
        self.inputs.get(usize::from(theirs)).copied().unwrap_or(UNKNOWN)
    }

    /// The workers have done so many more of the tasks: the acknowledgement that follows, if one does.
    pub fn done(&mut self, mut tasks: usize) -> Option<Frame> {
        let mut acknowledged = None;
        while let Some((number, left)) = self.unfinished.front_mut() {
            if *left > tasks {
                *left -= tasks;
                break;
            }
            tasks -= *left;
            acknowledged = Some(*number);
            self.unfinished.pop_front();
        }
        acknowledged.map(|number| Frame::Ack { number })
    }

    /// Tasks that the workers have yet to do.
    pub fn pending(&self) -> usize {
        self.unfinished.iter().map(|(_, left)| left).sum()
    }
}
