//! The two ends of everything that runs between control and the workers.

use crate::batch::Slot;
use crate::message::{Command, Event};
use crate::snapshot::Snapshot;
use crate::telemetry::{Counters, Latency};
use crate::wireguard::Punted;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use sync::mailbox::{self, mailbox};
use sync::ring::{Consumer, Producer, ring};

/// Commands that may wait for a worker.
const COMMANDS: usize = 1024;
/// Events that may wait for control.
pub(crate) const EVENTS: usize = 4096;
/// Messages of handshakes that may wait for control: anybody can send them.
const HANDSHAKES: usize = 64;
/// Replaced snapshots that may wait to be freed.
const RETIRED: usize = 64;
/// Packets that may wait between two workers.
const HANDOFF: usize = 1024;

/// A packet on its way to the worker that owns its SA, still encapsulated.
pub type Handoff<P> = Slot<P>;

/// A worker's ends.
pub struct WorkerLinks<P> {
    /// Newer snapshots.
    pub snapshots: mailbox::Receiver<Snapshot>,
    /// Replaced ones, to be freed by control.
    pub retired: Producer<Box<Snapshot>>,
    /// From control.
    pub commands: Consumer<Command>,
    /// To control.
    pub events: Producer<Event>,
    /// To control: WireGuard handshakes.
    pub handshakes: Producer<Punted>,
    /// Empty histograms.
    pub latency_in: mailbox::Receiver<Latency>,
    /// Filled ones.
    pub latency_out: mailbox::Sender<Latency>,
    /// To each worker; `None` to itself.
    pub handoff_out: Vec<Option<Producer<Handoff<P>>>>,
    /// From the other workers.
    pub handoff_in: Vec<Consumer<Handoff<P>>>,
    /// Counters, shared with the outside.
    pub counters: Arc<Counters>,
    /// Until when packets may be forwarded, nanoseconds; shared by all workers.
    pub forward_until: Arc<AtomicU64>,
}

/// Control's ends of one worker.
pub struct ControlLinks {
    /// Newer snapshots.
    pub snapshots: mailbox::Sender<Snapshot>,
    /// Replaced ones.
    pub retired: Consumer<Box<Snapshot>>,
    /// To the worker.
    pub commands: Producer<Command>,
    /// From the worker.
    pub events: Consumer<Event>,
    /// From the worker: WireGuard handshakes.
    pub handshakes: Consumer<Punted>,
    /// Empty histograms.
    pub latency_in: mailbox::Sender<Latency>,
    /// Filled ones.
    pub latency_out: mailbox::Receiver<Latency>,
    /// The worker's counters.
    pub counters: Arc<Counters>,
}

/// Connects `workers` workers of an engine with `tunnels` tunnels to control and to each other.
pub fn connect<P>(
    workers: usize,
    tunnels: usize,
    forward_until: &Arc<AtomicU64>,
) -> Vec<(WorkerLinks<P>, ControlLinks)> {
    let mut pairs: Vec<_> = (0..workers).map(|_| one(tunnels, forward_until)).collect();
    for from in 0..workers {
        for to in 0..workers {
            let producer = (from != to).then(|| {
                let (producer, consumer) = ring(HANDOFF);
                pairs[to].0.handoff_in.push(consumer);
                producer
            });
            pairs[from].0.handoff_out.push(producer);
        }
    }
    pairs
}

fn one<P>(tunnels: usize, forward_until: &Arc<AtomicU64>) -> (WorkerLinks<P>, ControlLinks) {
    let (snapshot_tx, snapshot_rx) = mailbox();
    let (retired_tx, retired_rx) = ring(RETIRED);
    let (command_tx, command_rx) = ring(COMMANDS);
    let (event_tx, event_rx) = ring(EVENTS);
    let (handshake_tx, handshake_rx) = ring(HANDSHAKES);
    let (empty_tx, empty_rx) = mailbox();
    let (full_tx, full_rx) = mailbox();
    let counters = Arc::new(Counters::new(tunnels));
    let worker = WorkerLinks {
        snapshots: snapshot_rx,
        retired: retired_tx,
        commands: command_rx,
        events: event_tx,
        handshakes: handshake_tx,
        latency_in: empty_rx,
        latency_out: full_tx,
        handoff_out: Vec::new(),
        handoff_in: Vec::new(),
        counters: counters.clone(),
        forward_until: forward_until.clone(),
    };
    let control = ControlLinks {
        snapshots: snapshot_tx,
        retired: retired_rx,
        commands: command_tx,
        events: event_rx,
        handshakes: handshake_rx,
        latency_in: empty_tx,
        latency_out: full_rx,
        counters,
    };
    (worker, control)
}
