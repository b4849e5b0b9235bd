//! `foreshift bench`: one worker, the production walk, packets from and to memory.
//!
//! A round hands the worker [`ROUND`] fresh packets through a port that only moves pointers, and times each of its
//! polls until all are transmitted; making the packets and looking at the results is not timed. The figures are
//! medians over polls, a few microseconds each, as the scheduler may take the core away at any time.

pub mod fib;
mod port;
mod rig;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use dataplane::packet::BURST;
use dpdk::{Clock, Eal, EalPlan, LogLevel, Mempool, PoolConfig};
use hdrhistogram::Histogram;
use rig::Rig;
use serde::Serialize;
use std::fmt;
use std::time::{Duration, Instant};

/// Packets of one round: whole bursts, which fit a 1 MiB cache with their headroom.
const ROUND: usize = 8 * BURST;
/// Rounds before the first that counts.
const WARM_UP: usize = 200;
/// Bytes of a frame that no port shows: its check sequence.
const FCS: usize = 4;
/// Preamble, start delimiter and inter-frame gap, bytes on the wire beside the frame.
const WIRE_OVERHEAD: usize = 20;

/// Measure the packet walk of one worker, from and to memory
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// What the worker does with each packet
    #[arg(long, value_enum)]
    pub case: Case,
    /// Frame size of the inner packet in bytes, its check sequence included: 64 to 1518
    #[arg(long, value_name = "BYTES")]
    pub size: usize,
    /// How long to measure
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub seconds: f64,
    /// The CPU to run on
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    pub core: u16,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What the worker does with each packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Case {
    /// Forward IPv4.
    Ipv4,
    /// Forward IPv6.
    Ipv6,
    /// IPv4 into a GRE tunnel.
    GreEncap,
    /// IPv4 out of a GRE tunnel.
    GreDecap,
    /// IPv4 into an ESP tunnel, AES-128-GCM with ESN.
    EspEncrypt,
    /// IPv4 out of one, replay checked.
    EspDecrypt,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The case.
    pub case: Case,
    /// Frame size of the inner packet, FCS included, bytes.
    pub size: usize,
    /// Packets measured.
    pub packets: u64,
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
    /// Packets that were not transmitted. Must be 0.
    pub drops: u64,
}

impl Case {
    fn is_tunnel(self) -> bool {
        !matches!(self, Case::Ipv4 | Case::Ipv6)
    }

    /// Whether the measured end takes packets out of its tunnel rather than putting them in.
    fn is_decap(self) -> bool {
        matches!(self, Case::GreDecap | Case::EspDecrypt)
    }
}

/// Runs `foreshift bench` and prints what it found.
///
/// # Errors
/// See [`run`]; and if a packet was dropped, which makes the figures worthless.
pub fn command(arguments: &Arguments) -> Result<()> {
    let report = run(arguments)?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    ensure!(report.drops == 0, "{} of {} packets were dropped", report.drops, report.packets);
    Ok(())
}

/// Runs one case.
///
/// # Errors
/// If EAL does not start, the size does not fit, or the far end could not read what the worker wrote.
pub fn run(arguments: &Arguments) -> Result<Report> {
    let Arguments { case, size, seconds, core, .. } = *arguments;
    ensure!((64..=1518).contains(&size), "--size {size}: a frame has 64 to 1518 bytes, FCS included");
    ensure!((0.01..=3600.0).contains(&seconds), "--seconds {seconds}: give 0.01 to 3600");
    let pool = PoolConfig { packets: 4 * ROUND as u32 - 1, cache: 128, ..PoolConfig::default() };
    let plan = EalPlan {
        main_core: core,
        memory_mb: 64,
        // One for all runs: EAL leaves a folder behind for each.
        file_prefix: "foreshift-bench".into(),
        log_level: LogLevel::Error,
        ..EalPlan::default()
    };
    let eal = Eal::init(&plan).context("EAL did not start")?;
    let pool = Mempool::new(&eal, pool)?;
    let clock = Clock::new(&eal);
    let mut rig = Rig::new(case, size - FCS, &pool, &clock);
    rig.verify()?;
    let mut polls = Histogram::<u64>::new(3).context("three digits are valid")?;
    for _ in 0..WARM_UP {
        rig.round(&clock, &mut polls)?;
    }
    polls.reset();
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < end {
        rig.round(&clock, &mut polls)?;
    }
    rig.verify().context("after the measurement")?;
    Ok(report(case, size, &polls, clock.hz(), rig.drops()))
}

fn report(case: Case, size: usize, polls: &Histogram<u64>, tsc_hz: u64, drops: u64) -> Report {
    let at = |share: f64| polls.value_at_quantile(share) as f64 / BURST as f64;
    let cycles_per_packet = at(0.5);
    let mpps = tsc_hz as f64 / cycles_per_packet / 1e6;
    Report {
        case,
        size,
        packets: polls.len() * BURST as u64,
        cycles_per_packet,
        cycles_p10: at(0.1),
        cycles_p90: at(0.9),
        tsc_hz,
        mpps,
        gbit_per_s: mpps * ((size + WIRE_OVERHEAD) * 8) as f64 / 1e3,
        drops,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let case = self.case.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let Report { size, packets, tsc_hz, drops, .. } = self;
        writeln!(f, "case           {case:>12}    {size} byte frames")?;
        writeln!(
            f,
            "cycles/packet  {:>12.1}    p10 {:.1}, p90 {:.1}, TSC at {:.2} GHz",
            self.cycles_per_packet,
            self.cycles_p10,
            self.cycles_p90,
            *tsc_hz as f64 / 1e9
        )?;
        writeln!(f, "Mpps           {:>12.2}    on one core", self.mpps)?;
        writeln!(f, "Gbit/s         {:>12.2}    inner frames with preamble and gap", self.gbit_per_s)?;
        write!(f, "drops          {drops:>12}    of {packets}")
    }
}
