//! What was measured.

use super::{Arguments, Case, Cipher};
use clap::ValueEnum as _;
use dataplane::packet::BURST;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt;

/// Preamble, start delimiter and inter-frame gap, bytes on the wire beside the frame.
const WIRE_OVERHEAD: usize = 20;

/// The result of one case.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The case.
    pub case: Case,
    /// Cipher of the ESP cases.
    pub cipher: Cipher,
    /// Frame size of the inner packet, FCS included, bytes.
    pub size: usize,
    /// Packets measured.
    pub packets: u64,
    /// Packets that were not transmitted. Must be 0.
    pub drops: u64,
    /// Their reasons.
    pub why_dropped: String,
    /// Nothing where instructions are counted.
    #[serde(flatten)]
    pub speed: Option<Speed>,
}

/// How fast it was.
#[derive(Debug, Serialize)]
pub struct Speed {
    /// TSC cycles a packet: the median poll.
    pub cycles_per_packet: f64,
    /// A tenth of the polls is faster than this, and a tenth slower than `cycles_p90`.
    pub cycles_p10: f64,
    /// See `cycles_p10`.
    pub cycles_p90: f64,
    /// TSC rate, Hz.
    pub tsc_hz: u64,
    /// Million packets a second on one core.
    pub mpps: f64,
    /// Of inner frames with preamble and gap, Gbit/s.
    pub gbit_per_s: f64,
}

impl Report {
    /// Of `polls` full bursts.
    pub fn new(arguments: &Arguments, polls: u64, drops: u64, why_dropped: String) -> Report {
        let Arguments { case, cipher, size, .. } = *arguments;
        Report { case, cipher, size, packets: polls * BURST as u64, drops, why_dropped, speed: None }
    }

    /// The same with cycles.
    pub fn with_cycles(self, polls: &Histogram<u64>, tsc_hz: u64) -> Report {
        let at = |share: f64| polls.value_at_quantile(share) as f64 / BURST as f64;
        let cycles_per_packet = at(0.5);
        let mpps = tsc_hz as f64 / cycles_per_packet / 1e6;
        let gbit_per_s = mpps * ((self.size + WIRE_OVERHEAD) * 8) as f64 / 1e3;
        let (cycles_p10, cycles_p90) = (at(0.1), at(0.9));
        let speed = Speed { cycles_per_packet, cycles_p10, cycles_p90, tsc_hz, mpps, gbit_per_s };
        Report { speed: Some(speed), ..self }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let case = self.case.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let Report { size, packets, drops, .. } = self;
        writeln!(f, "case           {case:>12}    {size} byte frames")?;
        if case.starts_with("esp") {
            writeln!(f, "cipher         {:>12}", self.cipher.to_string())?;
        }
        if let Some(speed) = &self.speed {
            let Speed { cycles_per_packet, cycles_p10, cycles_p90, .. } = speed;
            let ghz = speed.tsc_hz as f64 / 1e9;
            writeln!(
                f,
                "cycles/packet  {cycles_per_packet:>12.1}    p10 {cycles_p10:.1}, p90 {cycles_p90:.1}, TSC at {ghz:.2} GHz"
            )?;
            writeln!(f, "Mpps           {:>12.2}    on one core", speed.mpps)?;
            writeln!(f, "Gbit/s         {:>12.2}    inner frames with preamble and gap", speed.gbit_per_s)?;
        }
        write!(f, "drops          {drops:>12}    of {packets}")
    }
}
