//! What became of the traffic.

use super::frame::Stamp;
use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};
use std::fmt;

/// Counts of one run, in packets unless said otherwise.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Frame size, FCS included, bytes.
    pub size: usize,
    /// Packets a second that were asked for.
    pub rate: u64,
    /// Made and handed to the port.
    pub offered: u64,
    /// Of those, what the port had no room for: the engine's receive queue was full.
    pub refused: u64,
    /// Of those, what the generator had no buffer for.
    pub no_buffer: u64,
    /// Not offered: the generator itself had been stalled for longer than it may make up for.
    pub skipped: u64,
    /// Came back.
    pub received: u64,
    /// Offered and not received.
    pub lost: u64,
    /// Came back after a later one.
    pub reordered: u64,
    /// The longest time in which the generator did nothing, µs: it bounds what the figures say.
    pub stall_us_max: f64,
    /// From being offered to being received.
    #[serde(serialize_with = "percentiles")]
    pub latency_ns: Histogram<u64>,
    #[serde(skip)]
    hz: u64,
    #[serde(skip)]
    highest: Option<u64>,
    #[serde(skip)]
    stall_max: u64,
}

/// What took longer counts as this.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

const PERCENTILES: [f64; 6] = [0.0, 10.0, 50.0, 90.0, 99.0, 99.9];

fn percentiles<S: Serializer>(histogram: &Histogram<u64>, to: S) -> Result<S::Ok, S::Error> {
    let named = PERCENTILES.iter().map(|&at| (format!("p{at}"), histogram.value_at_percentile(at)));
    to.collect_map(named.chain([("max".into(), histogram.max())]))
}

impl Report {
    /// Nothing yet.
    pub fn new(size: usize, rate: u64, hz: u64) -> Report {
        Report {
            size,
            rate,
            offered: 0,
            refused: 0,
            no_buffer: 0,
            skipped: 0,
            received: 0,
            lost: 0,
            reordered: 0,
            stall_us_max: 0.0,
            latency_ns: Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("valid bounds"),
            hz,
            highest: None,
            stall_max: 0,
        }
    }

    /// Forgets the warm-up; the next packet is number `first`.
    pub fn begin(&mut self, first: u64) {
        *self = Report { highest: first.checked_sub(1), ..Report::new(self.size, self.rate, self.hz) };
    }

    /// The generator looked again after so many cycles.
    #[inline]
    pub fn gap(&mut self, cycles: u64) {
        self.stall_max = self.stall_max.max(cycles);
    }

    /// A packet came back.
    #[inline]
    pub fn received(&mut self, stamp: Stamp, now: u64) {
        self.received += 1;
        if self.highest.is_some_and(|highest| stamp.sequence <= highest) {
            self.reordered += 1;
        } else {
            self.highest = Some(stamp.sequence);
        }
        let cycles = now.saturating_sub(stamp.sent);
        self.latency_ns.saturating_record((u128::from(cycles) * 1_000_000_000 / u128::from(self.hz)) as u64);
    }

    /// Nothing more comes.
    pub fn end(&mut self) {
        self.lost = self.offered.saturating_sub(self.received);
        self.stall_us_max = self.stall_max as f64 * 1e6 / self.hz as f64;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { offered, received, lost, refused, reordered, skipped, .. } = self;
        writeln!(
            f,
            "offered     {offered:>12}    {} a second asked for, {} byte frames",
            self.rate, self.size
        )?;
        writeln!(f, "received    {received:>12}    {reordered} of them reordered")?;
        writeln!(f, "lost        {lost:>12}    {refused} of them refused by a full queue")?;
        writeln!(f, "skipped     {skipped:>12}    generator stalled for up to {:.0} µs", self.stall_us_max)?;
        write!(f, "latency ns ")?;
        for at in PERCENTILES {
            write!(f, " p{at} {}", self.latency_ns.value_at_percentile(at))?;
        }
        write!(f, " max {}", self.latency_ns.max())
    }
}
