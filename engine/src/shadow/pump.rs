//! What the shadowing thread does all the time: from the workers' rings to the shadows, and from other engines to the
//! workers.

use super::channel::{Event, Link};
use super::lag::Lags;
use super::{Ask, Ends, Keep, ShadowConfig, Shared};
use control::shadow::codec::{Entry, Frame};
use control::shadow::receiver::Receiver;
use control::shadow::sas::{KeyId, SaState};
use control::shadow::sender::{Rounds, Sender};
use dataplane::id::Nanos;
use dataplane::shadow::{BATCH, BATCHES, Batch, ControlShadow, Report, Task};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Between two looks at the rings when there is little to do.
const IDLE: Duration = Duration::from_millis(1);
/// Reports taken from one worker at once: less than an acknowledgement may wait for.
const REPORTS: usize = 4096;
/// Tasks that may wait for the workers: more are not taken from the connections.
const TASKS: usize = 64 * 1024;
/// Between two statuses.
const STATUS: Nanos = Nanos::from_millis(100);
/// What the number of a source's tasks grows by with each connection: more than there are sources.
const CONNECTION: u64 = 16;
/// Tasks that are no engine's but ours bear this number.
const OURS: u64 = u64::MAX;

/// A connection to a shadow.
struct Target {
    sender: Sender,
    out: mpsc::UnboundedSender<Vec<u8>>,
}

/// An engine whose sessions are here.
struct Source {
    receiver: Receiver,
    /// Of its tasks: another one on each connection.
    number: u64,
    out: Option<mpsc::UnboundedSender<Vec<u8>>>,
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

/// Somebody who waits until the shadows have everything up to these batches.
struct Waiting {
    horizons: Vec<(usize, u64)>,
    done: oneshot::Sender<bool>,
}

pub struct Pump {
    clock: Box<dyn Fn() -> Nanos + Send>,
    keep: Keep,
    hands: Vec<Hand>,
    targets: Vec<Option<Target>>,
    sources: Vec<Source>,
    lags: Vec<Lags>,
    sent: Vec<u64>,
    rounds: Rounds,
    sas: BTreeMap<KeyId, SaState>,
    waiting: Vec<Waiting>,
    hello: Vec<u8>,
    ours: BTreeMap<String, u16>,
    shared: Arc<Mutex<Shared>>,
    told: Nanos,
}

impl Pump {
    pub fn new(config: &ShadowConfig, ends: Ends, shared: Arc<Mutex<Shared>>) -> Pump {
        let now = (ends.clock)();
        let workers = ends.workers.len();
        let source = |number: usize| Source {
            receiver: Receiver::new(number as u8 + 1),
            number: number as u64,
            out: None,
            done: vec![0; workers],
            all_done: 0,
        };
        let hand = |links| Hand { links, queue: VecDeque::new(), spare: Vec::new(), given: 0 };
        let inputs = config.inputs.clone();
        let numbered = inputs.iter().zip(0..).map(|(name, number)| (name.clone(), number));
        Pump {
            ours: numbered.collect(),
            hello: Frame::Hello { inputs }.encode(),
            clock: ends.clock,
            keep: ends.keep,
            hands: ends.workers.into_iter().map(hand).collect(),
            targets: config.to.iter().map(|_| None).collect(),
            sources: (0..config.from.len()).map(source).collect(),
            lags: config.to.iter().map(|_| Lags::new(now)).collect(),
            sent: vec![0; config.to.len()],
            rounds: Rounds::default(),
            sas: BTreeMap::new(),
            waiting: Vec::new(),
            shared,
            told: Nanos(0),
        }
    }

    /// Until it is asked to end.
    pub async fn run(mut self, mut events: mpsc::Receiver<Event>, mut asks: mpsc::UnboundedReceiver<Ask>) {
        let mut idle = tokio::time::interval(IDLE);
        idle.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let now = (self.clock)();
            let mut busy = false;
            while let Ok(ask) = asks.try_recv() {
                if !self.ask(ask, now) {
                    return;
                }
            }
            while self.backlog() < TASKS
                && let Ok(event) = events.try_recv()
            {
                self.event(event, now);
                busy = true;
            }
            self.begin_round(now);
            busy |= self.take_reports(now);
            busy |= self.work();
            self.close(now);
            self.tell(now);
            if busy {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                Some(event) = events.recv(), if self.backlog() < TASKS => self.event(event, (self.clock)()),
                _ = idle.tick() => {}
            }
        }
    }

    fn backlog(&self) -> usize {
        self.hands.iter().map(|hand| hand.queue.len()).max().unwrap_or(0)
    }

    fn event(&mut self, event: Event, now: Nanos) {
        match event {
            Event::Up(Link::To(to), out) => {
                let _ = out.send(self.hello.clone());
                self.targets[to] = Some(Target { sender: Sender::new(now), out });
            }
            Event::Down(Link::To(to)) => {
                self.targets[to] = None;
                self.answer();
            }
            Event::Up(Link::From(from), out) => {
                // What the workers still have to do is of the connection before, and nobody waits for it.
                let source = &mut self.sources[from];
                self.hands
                    .iter_mut()
                    .for_each(|hand| hand.queue.retain(|&(number, _)| number != source.number));
                source.connected(out);
            }
            Event::Down(Link::From(from)) => self.sources[from].out = None,
            Event::Frame(Link::To(to), Frame::Ack { number }) => self.acknowledged(to, number, now),
            Event::Frame(Link::From(from), frame) => self.take(from, frame, now),
            Event::Frame(Link::To(to), _) => self.targets[to] = None,
        }
    }

    fn acknowledged(&mut self, to: usize, number: u64, now: Nanos) {
        let Some(target) = &mut self.targets[to] else { return };
        let Some(acknowledged) = target.sender.acknowledged(number, now) else {
            tracing::error!(number, "a shadow acknowledges what was never sent: connection closed");
            self.targets[to] = None;
            return;
        };
        for batch in acknowledged {
            self.lags[to].record(batch.lag, batch.entries, now);
            self.sent[to] += u64::from(batch.entries);
        }
        self.answer();
    }

    /// Tells those who wait for what has come true.
    fn answer(&mut self) {
        let targets = &self.targets;
        let settled = |&(to, number): &(usize, u64)| {
            targets[to].as_ref().is_none_or(|target| target.sender.settled() > number)
        };
        let (done, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|w| w.horizons.iter().all(settled));
        self.waiting = waiting;
        for Waiting { horizons, done } in done {
            let connected = horizons.iter().any(|(to, _)| self.targets[*to].is_some());
            let _ = done.send(connected);
        }
    }

    fn take(&mut self, from: usize, frame: Frame, now: Nanos) {
        let Pump { sources, hands, shared, keep, ours, .. } = self;
        let source = &mut sources[from];
        let mut tasks = Vec::new();
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let sas = &mut shared.sas[from];
        let taken = source.receiver.take(frame, ours, now, (&mut *sas, &mut tasks));
        // What is reserved anew is on disk before it is acknowledged.
        let reserved = sas.take_reserved();
        drop(shared);
        let kept = taken.map_err(anyhow::Error::from).and_then(|()| reserved.iter().try_for_each(keep));
        if let Err(error) = kept {
            tracing::error!("sessions of another engine are not taken: {error:#}");
            source.out = None;
            return;
        }
        for hand in hands.iter_mut() {
            hand.queue.extend(tasks.iter().map(|&task| (source.number, task)));
        }
        let nothing_to_do = hands.is_empty() || tasks.is_empty();
        source.answer(if nothing_to_do { tasks.len() } else { 0 });
    }

    fn ask(&mut self, ask: Ask, now: Nanos) -> bool {
        match ask {
            Ask::Sa(state, done) => {
                self.sas.insert(state.key_in, state);
                self.add(&Entry::Sa(state), now, now);
                if let Some(done) = done {
                    let horizons = self.horizons();
                    self.waiting.push(Waiting { horizons, done });
                    self.answer();
                }
            }
            Ask::Progress(key, top, peak) => {
                if let Some(state) = self.sas.get_mut(&key) {
                    (state.top, state.peak) = (top, peak);
                }
                self.add(&Entry::Progress { key, top, peak }, now, now);
            }
            Ask::Released(key, window) => {
                self.sas.remove(&key);
                self.add(&Entry::Window { key, window }, now, now);
            }
            Ask::Renew => self.hands.iter_mut().for_each(|hand| hand.queue.push_back((OURS, Task::Renew))),
            Ask::End => return false,
        }
        true
    }

    fn horizons(&self) -> Vec<(usize, u64)> {
        let of = |(to, target): (usize, &Option<Target>)| Some((to, target.as_ref()?.sender.horizon()));
        self.targets.iter().enumerate().filter_map(of).collect()
    }

    fn add(&mut self, entry: &Entry, at: Nanos, now: Nanos) {
        for target in self.targets.iter_mut().flatten() {
            if let Some(full) = target.sender.add(entry, at, now) {
                let _ = target.out.send(full.encode());
            }
        }
    }

    fn begin_round(&mut self, now: Nanos) {
        let lost = self.hands.iter().map(|hand| hand.links.reports.overflow()).sum();
        let mut senders: Vec<&mut Sender> =
            self.targets.iter_mut().flatten().map(|target| &mut target.sender).collect();
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
                let room = self.targets.iter().flatten().all(|target| target.sender.has_room(now));
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
        for target in self.targets.iter_mut().flatten() {
            if let Some(frame) = target.sender.close(now) {
                let _ = target.out.send(frame.encode());
            }
        }
    }

    /// Gives the workers what they have to do, and sees what they have done.
    fn work(&mut self) -> bool {
        let mut any = false;
        for (worker, hand) in self.hands.iter_mut().enumerate() {
            while let Some(mut batch) = hand.links.done.pop() {
                if let Some(source) = self.sources.iter_mut().find(|source| source.number == batch.number) {
                    source.done[worker] += batch.tasks.len();
                }
                batch.tasks.clear();
                hand.spare.push(batch);
                any = true;
            }
            any |= hand.give();
        }
        if any {
            self.sources.iter_mut().for_each(Source::count);
        }
        any
    }

    fn tell(&mut self, now: Nanos) {
        if now.since(self.told) < STATUS && self.told != Nanos(0) {
            return;
        }
        self.told = now;
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let status = &mut shared.status;
        status.rounds = self.rounds.count();
        status.reports_lost = self.hands.iter().map(|hand| hand.links.reports.overflow()).sum();
        for (to, row) in status.to.iter_mut().enumerate() {
            let sender = self.targets[to].as_ref().map(|target| &target.sender);
            row.connected = sender.is_some();
            row.in_sync = sender.is_some_and(|sender| !sender.is_behind());
            row.pending = sender.map_or(0, Sender::pending);
            row.acknowledged = self.sent[to];
            row.lag_p50_us = self.lags[to].quantile(0.5);
            row.lag_p99_us = self.lags[to].quantile(0.99);
        }
        for (source, row) in self.sources.iter().zip(&mut status.from) {
            row.connected = source.out.is_some();
            row.entries = source.receiver.entries();
            row.pending = source.receiver.pending();
        }
    }
}

impl Source {
    /// A new connection: what workers did for the one before does not count.
    fn connected(&mut self, out: mpsc::UnboundedSender<Vec<u8>>) {
        self.receiver.connected();
        self.out = Some(out);
        self.number += CONNECTION;
        self.done.iter_mut().for_each(|done| *done = 0);
        self.all_done = 0;
    }

    /// Acknowledges what all workers have done by now.
    fn count(&mut self) {
        let all = self.done.iter().copied().min().unwrap_or(0);
        let news = all - self.all_done;
        if news > 0 {
            self.all_done = all;
            self.answer(news);
        }
    }

    fn answer(&mut self, tasks: usize) {
        if let (Some(ack), Some(out)) = (self.receiver.done(tasks), &self.out) {
            let _ = out.send(ack.encode());
        }
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
