//! What a worker counts and measures. Counters are cumulative, written by their worker alone and
//! read from outside at any time; histograms are swapped out whole.

use crate::drop_reason::DropReason;
use crate::ecmp::MoveKind;
use crate::id::Nanos;
use crate::shaper::MAX_CLASSES;
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicU64, Ordering};

/// A cumulative counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning worker calls this, so no read-modify-write cycle is needed.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Overwrites a gauge.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Overwrites what control waits for: who sees `n` sees that the worker has passed this point.
    #[inline]
    pub fn announce(&self, n: u64) {
        self.0.store(n, Ordering::Release);
    }

    /// What was announced last.
    #[inline]
    pub fn announced(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// The value now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Packets and bytes.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Packets.
    pub packets: Counter,
    /// Bytes of inner IP packets.
    pub bytes: Counter,
}

impl Traffic {
    /// Counts one packet of `bytes`.
    #[inline]
    pub fn count(&self, bytes: usize) {
        self.packets.add(1);
        self.bytes.add(bytes as u64);
    }
}

/// A tunnel's traffic on one worker.
#[derive(Debug, Default)]
pub struct TunnelCounters {
    /// Encapsulated.
    pub tx: Traffic,
    /// Decapsulated.
    pub rx: Traffic,
    /// What its shaper did, by class.
    pub shaper: [ShaperCounters; MAX_CLASSES],
}

/// What became of packets of a shaper's class on one worker.
#[derive(Debug, Default)]
pub struct ShaperCounters {
    /// Had to wait.
    pub waited: Counter,
    /// Were dropped: too many waited.
    pub dropped: Counter,
}

/// What became of sessions on one worker.
#[derive(Debug, Default)]
pub struct SessionCounters {
    /// Begun.
    pub begun: Counter,
    /// Ended, for any reason.
    pub ended: Counter,
    /// … to make room for another one.
    pub evicted: Counter,
    /// Ports that NAT has given out, now.
    pub nat_ports: Counter,
    /// Copies of other engines' sessions that were installed …
    pub copied: Counter,
    /// … that went on here …
    pub adopted: Counter,
    /// … and those that there was no room for, or whose NAT binding somebody else has here.
    pub copies_refused: Counter,
}

impl SessionCounters {
    /// Live now, as far as both counters were read at one time.
    pub fn live(&self) -> u64 {
        let ended = self.ended.get();
        self.begun.get().saturating_sub(ended)
    }
}

/// Buckets that were held behind a MARK on one worker.
#[derive(Debug, Default)]
pub struct MarkCounters {
    /// MARKs sent.
    pub sent: Counter,
    /// MARKs answered in time.
    pub answered: Counter,
    /// Packets that waited.
    pub packets: Counter,
    /// Time that rounds waited, nanoseconds in all.
    pub wait_ns: Counter,
    /// The longest of them.
    pub wait_ns_max: Counter,
}

impl MarkCounters {
    /// A round waited so long.
    pub fn waited(&self, wait: Nanos) {
        self.wait_ns.add(wait.0);
        self.wait_ns_max.set(self.wait_ns_max.get().max(wait.0));
    }
}

/// One worker's counters. After every poll:
/// received + originated + handed_in = transmitted + Σ dropped + held + handed_out.
#[derive(Debug)]
pub struct Counters {
    /// Packets taken from ports.
    pub received: Counter,
    /// Packets this engine made: ICMP, ARP, ND, probes, fragments.
    pub originated: Counter,
    /// Packets that a port accepted.
    pub transmitted: Counter,
    /// Packets waiting for a neighbour, a fragment, a MARK or room in a TX ring, now.
    pub held: Counter,
    /// Packets taken from other workers' handoff rings.
    pub handed_in: Counter,
    /// Packets given to the worker that owns their SA.
    pub handed_out: Counter,
    /// Polls of all queues.
    pub polls: Counter,
    /// Polls that found a packet.
    pub busy_polls: Counter,
    /// When the worker last polled, on the engine's clock.
    pub polled_at: Counter,
    /// The snapshot that it has taken, announced.
    pub generation: Counter,
    /// The epoch of the FIB that it has come to, announced: it reads nothing that was replaced before.
    pub fib_epoch: Counter,
    /// Sessions, where they are kept.
    pub sessions: SessionCounters,
    /// What moved behind MARKs.
    pub marks: MarkCounters,
    moved: [Counter; 4],
    dropped: Box<[Counter]>,
    tunnels: Box<[TunnelCounters]>,
}

impl Counters {
    /// Zeroed counters for `tunnels` tunnels.
    pub fn new(tunnels: usize) -> Counters {
        Counters {
            received: Counter::default(),
            originated: Counter::default(),
            transmitted: Counter::default(),
            held: Counter::default(),
            handed_in: Counter::default(),
            handed_out: Counter::default(),
            polls: Counter::default(),
            busy_polls: Counter::default(),
            polled_at: Counter::default(),
            generation: Counter::default(),
            fib_epoch: Counter::default(),
            sessions: SessionCounters::default(),
            marks: MarkCounters::default(),
            moved: Default::default(),
            dropped: DropReason::ALL.iter().map(|_| Counter::default()).collect(),
            tunnels: (0..tunnels).map(|_| TunnelCounters::default()).collect(),
        }
    }

    /// Packets dropped for `reason`.
    #[inline]
    pub fn dropped(&self, reason: DropReason) -> &Counter {
        &self.dropped[reason as usize]
    }

    /// Buckets that changed tunnel, by why they could.
    #[inline]
    pub fn moved(&self, kind: MoveKind) -> &Counter {
        &self.moved[kind as usize]
    }

    /// Packets dropped for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().map(Counter::get).sum()
    }

    /// The traffic of tunnel number `index`.
    #[inline]
    pub fn tunnel(&self, index: usize) -> &TunnelCounters {
        &self.tunnels[index]
    }
}

/// Latency of one interval. Made by the control core, filled by a worker, swapped through a mailbox.
#[derive(Clone, Debug)]
pub struct Latency {
    /// RX to TX of forwarded packets, nanoseconds.
    pub residence_ns: Histogram<u32>,
    /// Between two polls that found packets, nanoseconds.
    pub gap_ns: Histogram<u32>,
    /// Longest time between two polls.
    pub poll_gap_max: Nanos,
}

/// Values above this are recorded as this: 10 s.
const HIGHEST_NS: u64 = 10_000_000_000;

impl Default for Latency {
    /// Empty histograms with fixed bounds (1 ns – 10 s, two digits), so that recording never allocates.
    fn default() -> Latency {
        let histogram = || Histogram::new_with_bounds(1, HIGHEST_NS, 2).expect("constant bounds are valid");
        Latency { residence_ns: histogram(), gap_ns: histogram(), poll_gap_max: Nanos(0) }
    }
}

impl Latency {
    /// Empties the histograms, keeping their memory.
    pub fn clear(&mut self) {
        self.residence_ns.reset();
        self.gap_ns.reset();
        self.poll_gap_max = Nanos(0);
    }

    /// Records the residence of `packets` packets.
    #[inline]
    pub fn record_residence(&mut self, residence: Nanos, packets: u32) {
        let ns = residence.0.clamp(1, HIGHEST_NS);
        // In range by the clamp, so it cannot fail; and a lost sample is no reason to panic here.
        let _ = self.residence_ns.record_n(ns, packets);
    }

    /// Records the time since the last poll that found packets.
    #[inline]
    pub fn record_gap(&mut self, gap: Nanos) {
        let _ = self.gap_ns.record(gap.0.clamp(1, HIGHEST_NS));
    }
}
