//! What was measured.

use serde::Serialize;
use std::fmt;

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Sessions of the cold sync.
    pub flows: u32,
    /// SAs of it.
    pub sas: u32,
    /// From a shadow's start to everything installed and acknowledged, seconds.
    pub cold_seconds: f64,
    /// Changes a second at the highest rate that loses nothing.
    pub updates_per_second: f64,
    /// At the paced rate: changes a second, median and 99th percentile of the lag, microseconds.
    pub paced: (f64, u64, u64),
    /// Nanoseconds of the worker's time a packet takes in the session table, without shadowing and with it.
    pub packet_ns: (f64, f64),
    /// The cost of it, percent of throughput.
    pub cost_percent: f64,
    /// Reports that were lost in all phases; 0, or the rates are not sustained.
    pub lost: u64,
    /// Cores of this machine.
    pub cores: usize,
    /// Its load while this ran, beside this.
    pub load: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, p50, p99) = self.paced;
        writeln!(
            f,
            "cold sync      {:.2} s for {} sessions and {} SAs",
            self.cold_seconds, self.flows, self.sas
        )?;
        writeln!(f, "update rate    {:.0} changes/s", self.updates_per_second)?;
        writeln!(f, "lag            p50 {p50} µs, p99 {p99} µs at {rate:.0} changes/s")?;
        writeln!(
            f,
            "cost           {:.1} % ({:.1} ns a packet in the session table without, {:.1} with)",
            self.cost_percent, self.packet_ns.0, self.packet_ns.1
        )?;
        writeln!(f, "reports lost   {}", self.lost)?;
        writeln!(
            f,
            "bounded by     {} cores for two workers, two shadowing threads and TLS; load beside it {:.1}",
            self.cores, self.load
        )
    }
}
