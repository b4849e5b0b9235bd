//! The end at the engine whose sessions they are: one [`Sender`] a shadow, and the [`Rounds`] that all of them share.

use super::codec::{Entry, Frame};
use super::sas::{BEAT, SaState};
use dataplane::id::Nanos;
use dataplane::shadow::FlowChange;
use std::collections::VecDeque;

/// Octets of entries that one batch holds, about.
const BATCH: usize = 32 * 1024;
/// Octets of entries that may wait for an acknowledgement, or to be sent.
const BUDGET: usize = 2 * 1024 * 1024;
/// A shadow that acknowledges nothing for so long holds the others back no more.
const PATIENCE: Nanos = Nanos::from_millis(1_000);
/// Between the ends of two rounds: what is lost all the time must not be repaired all the time.
const ROUND_PAUSE: Nanos = Nanos::from_millis(2_000);

/// Where a batch is.
#[derive(Clone, Copy, Debug)]
struct Unacknowledged {
    number: u64,
    octets: usize,
    /// When the oldest change in it happened.
    since: Nanos,
    entries: u32,
}

/// What an acknowledgement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// From the oldest change of a batch until the shadow had it.
    pub lag: Nanos,
    /// How many entries that were.
    pub entries: u32,
}

/// A shadow, as long as one connection to it lasts.
#[derive(Debug)]
pub struct Sender {
    next: u64,
    waiting: VecDeque<Unacknowledged>,
    octets: usize,
    /// Entries that are not yet a batch, and when the oldest change of them happened.
    open: Vec<u8>,
    open_since: Option<Nanos>,
    open_entries: u32,
    /// When it last acknowledged something, or began to have something to acknowledge.
    moved: Nanos,
    behind: bool,
    /// Something was left out, or nothing said yet: what it knows of SAs is not to be relied on.
    gap: bool,
    /// When the last batch was made.
    closed: Nanos,
}

impl Sender {
    /// A new connection, which knows nothing yet.
    pub fn new(now: Nanos) -> Sender {
        Sender {
            next: 1,
            waiting: VecDeque::new(),
            octets: 0,
            open: Vec::with_capacity(BATCH + 1024),
            open_since: None,
            open_entries: 0,
            moved: now,
            behind: true,
            gap: true,
            closed: now,
        }
    }

    /// Whether more may be added now. Nobody need wait for a shadow that is behind, or silent for too long.
    pub fn has_room(&self, now: Nanos) -> bool {
        self.octets + self.open.len() < BUDGET || self.is_stuck(now)
    }

    fn is_stuck(&self, now: Nanos) -> bool {
        !self.waiting.is_empty() && now.since(self.moved) > PATIENCE
    }

    /// It needs a round: it is new, or missed something.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// Entries that wait for an acknowledgement or to be sent.
    pub fn pending(&self) -> u64 {
        self.waiting.iter().map(|batch| u64::from(batch.entries)).sum::<u64>() + u64::from(self.open_entries)
    }

    /// Adds a change of this time; the batch that it completes is to be sent. What a shadow that is behind would have
    /// no room for is left out: the round that it waits for names it.
    #[inline]
    pub fn add(&mut self, entry: &Entry, at: Nanos, now: Nanos) -> Option<Frame> {
        if self.octets + self.open.len() >= BUDGET {
            self.behind |= self.is_stuck(now);
            if self.behind {
                self.gap = true;
                return None;
            }
        }
        entry.encode(&mut self.open);
        self.open_since.get_or_insert(at);
        self.open_entries += 1;
        if self.open.len() >= BATCH { self.close(now) } else { None }
    }

    /// What was added so far, to be sent; or, where nothing was for a while, a sign of life.
    pub fn close(&mut self, now: Nanos) -> Option<Frame> {
        if self.open_since.is_none() && (now.since(self.closed) < BEAT || !self.waiting.is_empty()) {
            return None;
        }
        let since = self.open_since.take().unwrap_or(now);
        self.closed = now;
        if self.waiting.is_empty() {
            self.moved = now;
        }
        let (number, octets) = (self.next, self.open.len());
        self.next += 1;
        self.octets += octets;
        let entries = std::mem::replace(&mut self.open, Vec::with_capacity(BATCH + 1024));
        let many = std::mem::take(&mut self.open_entries);
        self.waiting.push_back(Unacknowledged { number, octets, since, entries: many });
        Some(Frame::Batch { number, entries })
    }

    /// The shadow has everything up to batch `number`: what it took, batch by batch. `None` if it cannot have that.
    pub fn acknowledged(&mut self, number: u64, now: Nanos) -> Option<Vec<Acknowledged>> {
        if number >= self.next {
            return None;
        }
        let many = self.waiting.iter().take_while(|batch| batch.number <= number).count();
        self.moved = now;
        let done = self.waiting.drain(..many);
        let mut lags = Vec::with_capacity(many);
        for batch in done {
            self.octets -= batch.octets;
            lags.push(Acknowledged { lag: now.since(batch.since), entries: batch.entries });
        }
        Some(lags)
    }

    /// The number that the shadow has to acknowledge for everything added so far.
    pub fn horizon(&self) -> u64 {
        if self.open_since.is_some() { self.next } else { self.next - 1 }
    }

    /// The number below which everything was acknowledged.
    pub fn settled(&self) -> u64 {
        self.waiting.front().map_or(self.next, |batch| batch.number)
    }

    /// A round begins: from here on it gets everything.
    pub fn begins(&mut self) {
        (self.behind, self.gap) = (false, false);
    }

    /// It is told whatever is said of SAs, and has been since a round has named them.
    pub fn is_told(&self) -> bool {
        !self.gap
    }

    /// A report of the workers was lost.
    pub fn missed(&mut self) {
        self.behind = true;
    }
}

/// The rounds of an engine.
#[derive(Debug, Default)]
pub struct Rounds {
    number: u8,
    /// Workers that have yet to end the round under way.
    workers: usize,
    ended: Nanos,
    /// Reports that workers had lost when the last round began.
    lost: u64,
    count: u64,
}

impl Rounds {
    /// If one is due, its number, which every one of `workers` is to be told; `lost` counts the reports that found no room.
    /// It begins with [`Entry::RoundBegins`] and every SA.
    pub fn begin(
        &mut self,
        senders: &mut [&mut Sender],
        lost: u64,
        workers: usize,
        now: Nanos,
    ) -> Option<u8> {
        let missed = lost != self.lost;
        if missed {
            senders.iter_mut().for_each(|sender| sender.missed());
        }
        let due = senders.iter().any(|sender| sender.is_behind() && sender.has_room(now));
        let rested = self.count == 0 || !missed || now.since(self.ended) >= ROUND_PAUSE;
        if self.workers > 0 || !due || !rested {
            return None;
        }
        (self.lost, self.workers) = (lost, workers);
        self.number = self.number.wrapping_add(1);
        senders.iter_mut().for_each(|sender| sender.begins());
        Some(self.number)
    }

    /// A worker has reported all that it has in `round`. True with the last of them: [`Entry::RoundEnds`] follows.
    pub fn worker_ended(&mut self, round: u8, now: Nanos) -> bool {
        if self.workers == 0 || round != self.number {
            return false;
        }
        self.workers -= 1;
        if self.workers == 0 {
            self.ended = now;
            self.count += 1;
        }
        self.workers == 0
    }

    /// There are no sessions at all: the round is about SAs only.
    pub fn without_workers(&mut self, now: Nanos) {
        self.ended = now;
        self.count += 1;
    }

    /// How many have ended.
    pub fn count(&self) -> u64 {
        self.count
    }
}

impl From<FlowChange> for Entry {
    fn from(change: FlowChange) -> Entry {
        Entry::Flow(change)
    }
}

impl From<SaState> for Entry {
    fn from(state: SaState) -> Entry {
        Entry::Sa(state)
    }
}
