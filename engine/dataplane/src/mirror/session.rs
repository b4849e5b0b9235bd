//! The two ends of a mirror: a [`Mirror`] for each worker, and a [`Source`] for whoever sends on what it copied. Copies go
//! round: from the source's ring of empty ones to the worker and back, so that a worker neither allocates, frees nor waits.

use super::copy::Copied;
use super::sample::{FlowSampler, PacketSampler, Rate};
use super::tap::{Chosen, Mirror};
use crate::id::WorkerId;
use crate::telemetry::Counter;
use std::sync::Arc;
use sync::ring::{Consumer, Producer, ring};

/// Copies of a worker that may wait: at the largest budget, some tens of milliseconds.
const COPIES: usize = 2048;

/// What every worker mirrors.
pub struct Order {
    /// Which flows.
    pub flows: FlowSampler,
    /// How many of them, and of the packets; changes while workers run.
    pub rate: Rate,
    /// Seeds the packets' sample, each worker's by its number.
    pub seed: u64,
}

/// What one worker counts while it mirrors.
#[derive(Debug, Default)]
pub struct Tally {
    /// Packets that could have been sampled.
    pub seen: Counter,
    /// Packets of sampled flows.
    pub flow_packets: Counter,
    /// Bytes copied of them.
    pub flow_bytes: Counter,
    /// Packets sampled for themselves.
    pub packets: Counter,
    /// Sampled packets without a copy because none was free.
    pub lost: Counter,
    /// Packets of sampled flows without a copy because their headers are longer than one.
    pub too_long: Counter,
}

/// The reading end of one worker's mirror.
pub struct Source {
    /// The worker.
    pub worker: WorkerId,
    /// What it counts.
    pub tally: Arc<Tally>,
    full: Consumer<Box<Copied>>,
    free: Producer<Box<Copied>>,
}

impl Source {
    /// Shows the oldest copy to `show` and gives it back. `None` if there is none.
    pub fn next<T>(&mut self, show: impl FnOnce(&Copied) -> T) -> Option<T> {
        let copied = self.full.pop()?;
        let shown = show(&copied);
        // There is room: it came from there.
        drop(self.free.push(copied));
        Some(shown)
    }
}

/// Begins a mirror at one worker.
pub fn mirror(worker: WorkerId, order: &Order) -> (Box<Mirror>, Source) {
    let packets = PacketSampler::new(order.seed.wrapping_add(u64::from(worker.0)), order.rate.get());
    begin(worker, Chosen::Sampled { flows: order.flows, rate: order.rate.clone(), packets }, COPIES)
}

/// The same, of every packet: what a shadow does with each.
pub(super) fn of_all(worker: WorkerId) -> (Box<Mirror>, Source) {
    begin(worker, Chosen::All, 8)
}

fn begin(worker: WorkerId, chosen: Chosen, copies: usize) -> (Box<Mirror>, Source) {
    let (full_tx, full) = ring(copies);
    let (mut free, free_rx) = ring(copies);
    for _ in 0..copies {
        drop(free.push(Box::new(Copied::empty())));
    }
    let tally = Arc::new(Tally::default());
    let mirror = Mirror::new(chosen, free_rx, full_tx, tally.clone());
    (Box::new(mirror), Source { worker, tally, full, free })
}
