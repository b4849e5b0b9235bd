//! The two ends of one observation: an [`Observer`] for each worker, and a [`Source`] for whoever shows what it saw.
//! Records go round: from the source's ring of empty ones to the worker and back, so that a worker neither allocates,
//! frees nor waits. Without an empty record a packet is counted as lost.

use super::Observer;
use super::filter::Filter;
use super::record::{Direction, Record};
use crate::drop_reason::DropReason;
use crate::id::{Nanos, PortId, TunnelId, WorkerId};
use crate::snapshot::{Encapsulation, Tunnel};
use crate::telemetry::Counter;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use sync::ring::{Consumer, Producer, ring};

/// Memory for the packets' bytes and steps, each worker.
const MEMORY: usize = 8 << 20;
/// Fewest and most records of a worker.
const RECORDS: std::ops::RangeInclusive<usize> = 256..=4096;

/// Which directions are watched; not none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Directions {
    /// Coming in.
    Rx,
    /// Going out.
    Tx,
    /// Either.
    Both,
}

impl Directions {
    /// Whether `direction` is among them.
    pub fn has(self, direction: Direction) -> bool {
        match self {
            Directions::Rx => direction == Direction::Rx,
            Directions::Tx => direction == Direction::Tx,
            Directions::Both => true,
        }
    }
}

/// Which packets of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// As hosts sent them.
    Inside,
    /// As they are on the wire, without link header.
    Outside,
}

/// How a tunnel's packets are known on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Its number.
    pub id: TunnelId,
    /// This engine.
    pub local: IpAddr,
    /// The far one.
    pub remote: IpAddr,
    /// The protocol.
    pub encapsulation: Encapsulation,
}

impl From<&Tunnel> for Ends {
    fn from(tunnel: &Tunnel) -> Ends {
        Ends {
            id: tunnel.id,
            local: tunnel.local,
            remote: tunnel.remote,
            encapsulation: tunnel.encapsulation,
        }
    }
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Packets' ways through the stages.
    Trace,
    /// Frames of a port.
    Port { port: PortId, directions: Directions },
    /// Packets of a tunnel.
    Tunnel { ends: Ends, side: Side, directions: Directions },
    /// Packets dropped for a reason, as they came in; `None` for every reason but those of packets that did their work
    /// here ([`DropReason::is_consumed`]).
    Drop(Option<DropReason>),
}

/// What every worker is asked for.
#[derive(Clone, Debug)]
pub struct Order {
    /// What is watched.
    pub watch: Watch,
    /// Of which packets.
    pub filter: Filter,
    /// Bytes kept of each packet.
    pub snaplen: usize,
    /// The most records a second of each worker.
    pub rate: u32,
}

/// Until when workers observe, nanoseconds of the engine's clock. Control renews it while somebody looks, so that nothing
/// is left on when control or the client is gone.
#[derive(Clone, Debug, Default)]
pub struct ObserverLease(Arc<AtomicU64>);

impl ObserverLease {
    /// Until `until`.
    pub fn renew(&self, until: Nanos) {
        self.0.store(until.0, Ordering::Relaxed);
    }

    /// Whether it has ended.
    pub fn lapsed(&self, now: Nanos) -> bool {
        now.0 > self.0.load(Ordering::Relaxed)
    }
}

/// What one worker counts while it observes.
#[derive(Debug, Default)]
pub struct Tally {
    /// Packets that passed the filter, those not recorded among them.
    pub matched: Counter,
    /// Packets not recorded because no record was free.
    pub lost: Counter,
    /// Packets not recorded because of the rate.
    pub over_rate: Counter,
}

/// The showing end of one worker's observation.
pub struct Source {
    /// The worker.
    pub worker: WorkerId,
    /// What it counts.
    pub tally: Arc<Tally>,
    full: Consumer<Box<Record>>,
    free: Producer<Box<Record>>,
}

impl Source {
    /// Shows the oldest record to `show` and gives it back. False if there is none.
    pub fn next(&mut self, show: impl FnOnce(&Record)) -> bool {
        let Some(record) = self.full.pop() else { return false };
        show(&record);
        // There is room: it came from there.
        drop(self.free.push(record));
        true
    }
}

/// Begins an observation by one worker.
pub fn observe(worker: WorkerId, order: &Order, lease: &ObserverLease) -> (Box<Observer>, Source) {
    let each = order.snaplen + size_of::<Record>();
    let records = (MEMORY / each).clamp(*RECORDS.start(), *RECORDS.end());
    let (full_tx, full_rx) = ring(records);
    let (mut free_tx, free_rx) = ring(records);
    for _ in 0..records {
        drop(free_tx.push(Box::new(Record::new(order.snaplen))));
    }
    let tally = Arc::new(Tally::default());
    let observer = Observer::new(order, lease.clone(), free_rx, full_tx, tally.clone());
    (Box::new(observer), Source { worker, tally, full: full_rx, free: free_tx })
}
