//! What an engine does all the time for sessions: from its workers' rings to its shadows, and from the channels of other
//! engines to its workers. Sans-IO: whoever drives it carries [`Output`]s and says what came.

use super::codec::{Entry, Frame};
use super::receiver::Receiver;
use super::sas::{KeyId, SaState, SaWindow, ShadowedSas};
use super::sender::{Acknowledged, Rounds, Sender};
use dataplane::id::Nanos;
use dataplane::shadow::{BATCH, BATCHES, Batch, ControlShadow, Report, Task};
use std::collections::{BTreeMap, VecDeque};

/// Reports taken from one worker at once: less than an acknowledgement may wait for.
const REPORTS: usize = 4096;
/// What the number of a source's tasks grows by with each connection: more than there are sources.
const CONNECTION: u64 = 16;
/// Tasks that are no engine's but ours bear this number.
const OURS: u64 = u64::MAX;

/// Which channel: numbers are those of the configuration's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// To a shadow.
    To(usize),
    /// From an engine that brings its sessions.
    From(usize),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// This goes over a channel.
    Send(Link, Frame),
    /// A channel is of no use any more, and why.
    Close(Link, String),
    /// The shadow of this number has some of our changes.
    Acknowledged(usize, Acknowledged),
    /// What [`Exchange::sa`] or [`Exchange::limit`] was given under this ticket is with every shadow that is connected and
    /// [told](Sender::is_told); false if none is.
    Settled(u64, bool),
}

/// An engine whose sessions are here.
struct Source {
    receiver: Receiver,
    /// Of its tasks: another one on each connection.
    number: u64,
    connected: bool,
    /// Tasks of it that each worker has done, and as many as all have.
    done: Vec<usize>,
    all_done: usize,
}

/// One worker's part.
struct Hand {
    links: ControlShadow,
    /// Tasks with the number of their source.
    queue: VecDeque<(u64, Task)>,
    #[expect(clippy::vec_box, reason = "boxes go through the rings, and come back")]
    spare: Vec<Box<Batch>>,
    given: usize,
}

/// What an engine has brought, and what has to be done before it is acknowledged.
pub struct Brought {
    from: usize,
    tasks: Vec<Task>,
    /// What it reserves anew: to be written down for good.
    pub reserved: Vec<SaState>,
}

/// A ticket that waits until the shadows have everything up to these batches.
struct Waiting {
    horizons: Vec<(usize, u64)>,
    ticket: u64,
}

/// See the module.
pub struct Exchange {
    hands: Vec<Hand>,
    targets: Vec<Option<Sender>>,
    sources: Vec<Source>,
    rounds: Rounds,
    sas: BTreeMap<KeyId, SaState>,
    waiting: Vec<Waiting>,
    inputs: Vec<String>,
    ours: BTreeMap<String, u16>,
    outputs: Vec<Output>,
}

impl Exchange {
    /// With so many shadows and so many engines that bring sessions; `inputs` names this engine's interfaces by number.
    pub fn new(inputs: Vec<String>, (to, from): (usize, usize), workers: Vec<ControlShadow>) -> Exchange {
        let source = |number: usize| Source {
            receiver: Receiver::new(number as u8 + 1),
            number: number as u64,
            connected: false,
            done: vec![0; workers.len()],
            all_done: 0,
        };
        let numbered = inputs.iter().zip(0..).map(|(name, number)| (name.clone(), number));
        let hand = |links| Hand { links, queue: VecDeque::new(), spare: Vec::new(), given: 0 };
        Exchange {
            ours: numbered.collect(),
            inputs,
            targets: (0..to).map(|_| None).collect(),
            sources: (0..from).map(source).collect(),
            hands: workers.into_iter().map(hand).collect(),
            rounds: Rounds::default(),
            sas: BTreeMap::new(),
            waiting: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// What is to be done since the last time.
    pub fn outputs(&mut self) -> impl Iterator<Item = Output> + use<> {
        std::mem::take(&mut self.outputs).into_iter()
    }

    /// A channel is there.
    pub fn up(&mut self, link: Link, now: Nanos) {
        match link {
            Link::To(to) => {
                self.outputs.push(Output::Send(link, Frame::Hello { inputs: self.inputs.clone() }));
                self.targets[to] = Some(Sender::new(now));
            }
            Link::From(from) => {
                // What the workers still have to do is of the connection before, and nobody waits for it.
                let source = &mut self.sources[from];
                self.hands
                    .iter_mut()
                    .for_each(|hand| hand.queue.retain(|&(number, _)| number != source.number));
                source.connect();
            }
        }
    }

    /// A channel is gone.
    pub fn down(&mut self, link: Link) {
        match link {
            Link::To(to) => {
                self.targets[to] = None;
                self.settle();
            }
            Link::From(from) => self.sources[from].connected = false,
        }
    }

    /// A shadow says this.
    pub fn answered(&mut self, to: usize, frame: Frame, now: Nanos) {
        let Some(sender) = &mut self.targets[to] else { return };
        let acknowledged = match frame {
            Frame::Ack { number } => sender.acknowledged(number, now),
            _ => None,
        };
        let Some(acknowledged) = acknowledged else {
            self.close_channel(Link::To(to), "it acknowledges what was never sent".to_owned());
            return;
        };
        self.outputs.extend(acknowledged.into_iter().map(|batch| Output::Acknowledged(to, batch)));
        self.settle();
    }

    /// An engine that brings its sessions says this; what it says of SAs goes to `sas`. `None` where that makes no sense, and the
    /// channel is closed.
    pub fn brought(
        &mut self,
        (from, frame): (usize, Frame),
        now: Nanos,
        sas: &mut ShadowedSas,
    ) -> Option<Brought> {
        let mut tasks = Vec::new();
        match self.sources[from].receiver.take(frame, &self.ours, now, (sas, &mut tasks)) {
            Ok(()) => Some(Brought { from, tasks, reserved: sas.take_reserved() }),
            Err(error) => {
                self.close_channel(Link::From(from), error.to_string());
                None
            }
        }
    }

    /// What was reserved is written down, or why not.
    pub fn kept(&mut self, brought: Brought, kept: Result<(), String>) {
        let Brought { from, tasks, .. } = brought;
        if let Err(reason) = kept {
            self.close_channel(Link::From(from), reason);
            return;
        }
        let Exchange { sources, hands, outputs, .. } = self;
        let source = &mut sources[from];
        for hand in hands.iter_mut() {
            hand.queue.extend(tasks.iter().map(|&task| (source.number, task)));
        }
        let nothing_to_do = hands.is_empty() || tasks.is_empty();
        outputs.extend(source.answer(from, if nothing_to_do { tasks.len() } else { 0 }));
    }

    fn close_channel(&mut self, link: Link, reason: String) {
        self.down(link);
        self.outputs.push(Output::Close(link, reason));
    }

    /// An SA of ours, new or changed.
    pub fn sa(&mut self, state: SaState, ticket: Option<u64>, now: Nanos) {
        self.sas.insert(state.key_in, state);
        self.add(&Entry::Sa(state), now, now);
        self.await_shadows(ticket);
    }

    /// So far one of ours accepts what comes, and so fast it does.
    pub fn limit(&mut self, key: KeyId, (limit, rate): (u64, u32), ticket: Option<u64>, now: Nanos) {
        if let Some(state) = self.sas.get_mut(&key) {
            (state.limit, state.rate) = (limit, rate);
        }
        self.add(&Entry::Limit { key, limit, rate }, now, now);
        self.await_shadows(ticket);
    }

    /// One is ours no more: exactly this was accepted.
    pub fn released(&mut self, key: KeyId, window: SaWindow, now: Nanos) {
        self.sas.remove(&key);
        self.add(&Entry::Window { key, window }, now, now);
    }

    /// This engine owns its site from now on: nobody refreshes what it has of others.
    pub fn renew(&mut self) {
        self.hands.iter_mut().for_each(|hand| hand.queue.push_back((OURS, Task::Renew)));
    }

    /// One look at everything. True if there was something to do.
    pub fn step(&mut self, now: Nanos) -> bool {
        self.begin_round(now);
        let mut any = self.take_reports(now);
        any |= self.work();
        self.close(now);
        any
    }

    /// Tasks that wait for the slowest worker.
    pub fn backlog(&self) -> usize {
        self.hands.iter().map(|hand| hand.queue.len()).max().unwrap_or(0)
    }

    /// What leads to a shadow, while it is connected.
    pub fn sender(&self, to: usize) -> Option<&Sender> {
        self.targets[to].as_ref()
    }

    /// What came from an engine, and whether it is connected.
    pub fn receiver(&self, from: usize) -> (&Receiver, bool) {
        let source = &self.sources[from];
        (&source.receiver, source.connected)
    }

    /// Rounds that have ended, and reports of the workers that found no room.
    pub fn totals(&self) -> (u64, u64) {
        (self.rounds.count(), self.reports_lost())
    }

    fn reports_lost(&self) -> u64 {
        self.hands.iter().map(|hand| hand.links.reports.overflow()).sum()
    }

    fn await_shadows(&mut self, ticket: Option<u64>) {
        let Some(ticket) = ticket else { return };
        let of = |(to, sender): (usize, &Option<Sender>)| {
            Some((to, sender.as_ref().filter(|sender| sender.is_told())?.horizon()))
        };
        let horizons = self.targets.iter().enumerate().filter_map(of).collect();
        self.waiting.push(Waiting { horizons, ticket });
        self.settle();
    }

    /// Tells those who wait for what has come true.
    fn settle(&mut self) {
        let Exchange { waiting, targets, outputs, .. } = self;
        let settled = |&(to, number): &(usize, u64)| {
            targets[to].as_ref().is_none_or(|sender| sender.settled() > number)
        };
        waiting.retain(|Waiting { horizons, ticket }| {
            let done = horizons.iter().all(settled);
            if done {
                let connected = horizons.iter().any(|(to, _)| targets[*to].is_some());
                outputs.push(Output::Settled(*ticket, connected));
            }
            !done
        });
    }

    fn add(&mut self, entry: &Entry, at: Nanos, now: Nanos) {
        let Exchange { targets, outputs, .. } = self;
        for (to, sender) in targets.iter_mut().enumerate() {
            let full = sender.as_mut().and_then(|sender| sender.add(entry, at, now));
            outputs.extend(full.map(|frame| Output::Send(Link::To(to), frame)));
        }
    }

    fn begin_round(&mut self, now: Nanos) {
        let lost = self.reports_lost();
        let mut senders: Vec<&mut Sender> = self.targets.iter_mut().flatten().collect();
        let Some(round) = self.rounds.begin(&mut senders, lost, self.hands.len(), now) else { return };
        self.add(&Entry::RoundBegins, now, now);
        let sas: Vec<SaState> = self.sas.values().copied().collect();
        sas.into_iter().for_each(|state| self.add(&Entry::Sa(state), now, now));
        for hand in &mut self.hands {
            hand.queue.push_back((OURS, Task::Report(round)));
        }
        if self.hands.is_empty() {
            self.rounds.without_workers(now);
            self.add(&Entry::RoundEnds, now, now);
        }
    }

    /// As much as every shadow has room for. Without a shadow reports are thrown away: a round will tell it everything.
    fn take_reports(&mut self, now: Nanos) -> bool {
        let mut any = false;
        for hand in 0..self.hands.len() {
            for _ in 0..REPORTS {
                let room = self.targets.iter().flatten().all(|sender| sender.has_room(now));
                let report = if room { self.hands[hand].links.reports.pop() } else { None };
                let Some(report) = report else { break };
                any = true;
                match report {
                    Report::Flow(at, change) => self.add(&Entry::Flow(change), at, now),
                    Report::RoundEnds(round) => {
                        if self.rounds.worker_ended(round, now) {
                            self.add(&Entry::RoundEnds, now, now);
                        }
                    }
                }
            }
        }
        any
    }

    /// What is open goes out: nothing waits for more to come.
    fn close(&mut self, now: Nanos) {
        let Exchange { targets, outputs, .. } = self;
        for (to, sender) in targets.iter_mut().enumerate() {
            let open = sender.as_mut().and_then(|sender| sender.close(now));
            outputs.extend(open.map(|frame| Output::Send(Link::To(to), frame)));
        }
    }

    /// Gives the workers what they have to do, and sees what they have done.
    fn work(&mut self) -> bool {
        let Exchange { hands, sources, outputs, .. } = self;
        let mut any = false;
        for (worker, hand) in hands.iter_mut().enumerate() {
            while let Some(mut batch) = hand.links.done.pop() {
                if let Some(source) = sources.iter_mut().find(|source| source.number == batch.number) {
                    source.done[worker] += batch.tasks.len();
                }
                batch.tasks.clear();
                hand.spare.push(batch);
                any = true;
            }
            any |= hand.give();
        }
        if any {
            let counted = sources.iter_mut().enumerate();
            outputs.extend(counted.filter_map(|(from, source)| source.count(from)));
        }
        any
    }
}

impl Source {
    /// A new connection: what workers did for the one before does not count.
    fn connect(&mut self) {
        self.receiver.connected();
        self.connected = true;
        self.number += CONNECTION;
        self.done.iter_mut().for_each(|done| *done = 0);
        self.all_done = 0;
    }

    /// Acknowledges what all workers have done by now.
    fn count(&mut self, from: usize) -> Option<Output> {
        let all = self.done.iter().copied().min().unwrap_or(0);
        let news = all - self.all_done;
        self.all_done = all;
        if news > 0 { self.answer(from, news) } else { None }
    }

    fn answer(&mut self, from: usize, tasks: usize) -> Option<Output> {
        let ack = self.receiver.done(tasks).filter(|_| self.connected)?;
        Some(Output::Send(Link::From(from), ack))
    }
}

impl Hand {
    /// Fills batches and gives them to the worker: each is of one source.
    fn give(&mut self) -> bool {
        let mut any = false;
        while let Some(&(number, _)) = self.queue.front() {
            let mut batch = match self.spare.pop() {
                Some(batch) => batch,
                None if self.given < BATCHES => {
                    self.given += 1;
                    Box::default()
                }
                None => break,
            };
            batch.number = number;
            while batch.tasks.len() < BATCH
                && let Some(&(next, task)) = self.queue.front()
                && next == number
            {
                batch.tasks.push(task);
                self.queue.pop_front();
            }
            // There is room for every batch that there is.
            let _ = self.links.batches.push(batch);
            any = true;
        }
        any
    }
}
