//! What the shadowing thread does all the time: it carries what [`Exchange`] sends, and brings it what comes.

use super::channel::Event;
use super::lag::Lags;
use super::{Ask, Ends, Keep, ShadowConfig, Shared};
use control::shadow::exchange::{Exchange, Link, Output};
use control::shadow::sas::KeyId;
use control::shadow::sender::Sender;
use dataplane::id::Nanos;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Between two looks at the rings when there is little to do.
const IDLE: Duration = Duration::from_millis(1);
/// Tasks that may wait for the workers: more are not taken from the connections.
const TASKS: usize = 64 * 1024;
/// Between two statuses.
const STATUS: Nanos = Nanos::from_millis(100);

type Out = Option<mpsc::UnboundedSender<Vec<u8>>>;

pub struct Pump {
    clock: Box<dyn Fn() -> Nanos + Send>,
    keep: Keep,
    exchange: Exchange,
    to: Vec<Out>,
    from: Vec<Out>,
    lags: Vec<Lags>,
    sent: Vec<u64>,
    /// By the exchange's ticket: whose it is, and what its owner calls it.
    tickets: BTreeMap<u64, (KeyId, u64)>,
    next_ticket: u64,
    shared: Arc<Mutex<Shared>>,
    told: Nanos,
}

impl Pump {
    pub fn new(config: &ShadowConfig, ends: Ends, shared: Arc<Mutex<Shared>>) -> Pump {
        let now = (ends.clock)();
        let peers = (config.to.len(), config.from.len());
        Pump {
            exchange: Exchange::new(config.inputs.clone(), peers, ends.workers),
            clock: ends.clock,
            keep: ends.keep,
            to: vec![None; peers.0],
            from: vec![None; peers.1],
            lags: config.to.iter().map(|_| Lags::new(now)).collect(),
            sent: vec![0; peers.0],
            tickets: BTreeMap::new(),
            next_ticket: 0,
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
            while self.exchange.backlog() < TASKS
                && let Ok(event) = events.try_recv()
            {
                self.event(event, now);
                busy = true;
            }
            busy |= self.exchange.step(now);
            self.carry_out(now);
            self.tell(now);
            if busy {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                Some(event) = events.recv(), if self.exchange.backlog() < TASKS => self.event(event, (self.clock)()),
                _ = idle.tick() => {}
            }
        }
    }

    fn event(&mut self, event: Event, now: Nanos) {
        match event {
            Event::Up(link, out) => {
                *self.out(link) = Some(out);
                self.exchange.up(link, now);
            }
            Event::Down(link) => {
                *self.out(link) = None;
                self.exchange.down(link);
            }
            Event::Frame(Link::To(to), frame) => self.exchange.answered(to, frame, now),
            Event::Frame(Link::From(from), frame) => {
                let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
                let brought = self.exchange.brought((from, frame), now, &mut shared.sas[from]);
                // The control loop does not wait for the disk.
                drop(shared);
                let Some(brought) = brought else { return };
                let kept = brought.reserved.iter().try_for_each(&mut self.keep);
                self.exchange.kept(brought, kept.map_err(|error| format!("{error:#}")));
            }
        }
    }

    fn out(&mut self, link: Link) -> &mut Out {
        match link {
            Link::To(to) => &mut self.to[to],
            Link::From(from) => &mut self.from[from],
        }
    }

    fn carry_out(&mut self, now: Nanos) {
        for output in self.exchange.outputs() {
            match output {
                Output::Send(link, frame) => {
                    if let Some(out) = self.out(link) {
                        let _ = out.send(frame.encode());
                    }
                }
                Output::Close(link, reason) => {
                    tracing::error!(?link, reason, "shadow channel closed");
                    *self.out(link) = None;
                }
                Output::Acknowledged(to, batch) => {
                    self.lags[to].record(batch.lag, batch.entries, now);
                    self.sent[to] += u64::from(batch.entries);
                }
                Output::Settled(ticket, noted) => {
                    let Some((key, ticket)) = self.tickets.remove(&ticket) else { continue };
                    let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
                    shared.settled.push((key, ticket, noted));
                }
            }
        }
    }

    fn ticket(&mut self, key: KeyId, ticket: u64) -> Option<u64> {
        self.next_ticket += 1;
        self.tickets.insert(self.next_ticket, (key, ticket));
        Some(self.next_ticket)
    }

    fn ask(&mut self, ask: Ask, now: Nanos) -> bool {
        match ask {
            Ask::Sa(ticket, state) => {
                let ticket = self.ticket(state.key_in, ticket);
                self.exchange.sa(state, ticket, now);
            }
            Ask::Limit(ticket, key, limit, rate) => {
                let ticket = ticket.and_then(|ticket| self.ticket(key, ticket));
                self.exchange.limit(key, (limit, rate), ticket, now);
            }
            Ask::Released(key, window) => self.exchange.released(key, window, now),
            Ask::Renew => self.exchange.renew(),
            Ask::End => return false,
        }
        true
    }

    fn tell(&mut self, now: Nanos) {
        if now.since(self.told) < STATUS && self.told != Nanos(0) {
            return;
        }
        self.told = now;
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let status = &mut shared.status;
        (status.rounds, status.reports_lost) = self.exchange.totals();
        for (to, row) in status.to.iter_mut().enumerate() {
            let sender = self.exchange.sender(to);
            row.connected = sender.is_some();
            row.in_sync = sender.is_some_and(|sender| !sender.is_behind());
            row.pending = sender.map_or(0, Sender::pending);
            row.acknowledged = self.sent[to];
            row.lag_p50_us = self.lags[to].quantile(0.5);
            row.lag_p99_us = self.lags[to].quantile(0.99);
        }
        for (from, row) in status.from.iter_mut().enumerate() {
            let (receiver, connected) = self.exchange.receiver(from);
            row.connected = connected;
            row.entries = receiver.entries();
            row.pending = receiver.pending();
        }
    }
}
