//! `foreshift bench`: one worker, the production walk, packets from and to memory.
//!
//! A round hands the worker [`ROUND`] fresh packets through a port that only moves pointers, and times each of its
//! polls until all are transmitted; making the packets and looking at the results is not timed. The figures are
//! medians over polls, a few microseconds each, as the scheduler may take the core away at any time.

mod case;
pub mod fib;
mod machine;
mod pcap;
mod port;
mod report;
mod rig;
pub mod shadow;
mod site;
mod traffic;

pub use case::{Case, Cipher};
pub use report::Report;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use dataplane::packet::{BURST, PacketPool};
use dpdk::{Clock, Eal, EalPlan, LogLevel, Mempool, PoolConfig};
use hdrhistogram::Histogram;
use machine::{Counted, Heap, Stopwatch};
use rig::Rig;
use site::Side;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Packets of one round: whole bursts, which fit a 1 MiB cache with their headroom.
const ROUND: usize = 8 * BURST;
/// Rounds before the first that counts.
const WARM_UP: usize = 200;
/// Bytes of a frame that no port shows: its check sequence.
const FCS: usize = 4;

/// Measure the packet walk of one worker, from and to memory
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// What the worker does with each packet
    #[arg(long, value_enum)]
    pub case: Case,
    /// Frame size of the inner packet in bytes, its check sequence included: 64 to 1518
    #[arg(long, value_name = "BYTES")]
    pub size: usize,
    /// Cipher of the ESP cases
    #[arg(long, value_enum, default_value_t)]
    pub cipher: Cipher,
    /// How long to measure
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub seconds: f64,
    /// The CPU to run on
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    pub core: u16,
    /// Do so many rounds of 256 packets over heap buffers, without DPDK and without a clock: what valgrind can count
    #[arg(long, value_name = "ROUNDS", conflicts_with_all = ["seconds", "core"])]
    pub count: Option<usize>,
    /// Write inner.pcap, received.pcap and sent.pcap of a verified round into this folder, for other tools to check
    #[arg(long, value_name = "DIR")]
    pub sample: Option<PathBuf>,
    /// Only write input.pcap (every packet as the worker receives it) and routes.txt into this folder, for peers
    #[arg(long, value_name = "DIR")]
    pub export: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs `foreshift bench` and prints what it found.
///
/// # Errors
/// If EAL does not start, the size does not fit, the far end could not read what the worker wrote, or a packet was
/// dropped, which makes the figures worthless.
pub fn command(arguments: &Arguments) -> Result<()> {
    let size = arguments.size;
    ensure!((64..=1518).contains(&size), "--size {size}: a frame has 64 to 1518 bytes, FCS included");
    if let Some(folder) = &arguments.export {
        return export(&mut heap(arguments), folder);
    }
    let report = match arguments.count {
        Some(rounds) => count(arguments, rounds)?,
        None => measure(arguments)?,
    };
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    ensure!(
        report.drops == 0,
        "{} of {} packets were dropped: {}",
        report.drops,
        report.packets,
        report.why_dropped
    );
    Ok(())
}

fn heap(arguments: &Arguments) -> Rig<Heap, Counted> {
    Rig::new(arguments.case, arguments.cipher, arguments.size - FCS, &Heap, &Counted::default())
}

/// Measures with DPDK's mbufs and the time stamp counter.
fn measure(arguments: &Arguments) -> Result<Report> {
    let Arguments { case, size, cipher, seconds, core, .. } = *arguments;
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
    let mut rig = Rig::new(case, cipher, size - FCS, &pool, &clock);
    verify(&mut rig, arguments.sample.as_deref())?;
    let mut polls = Histogram::<u64>::new(3).context("three digits are valid")?;
    for _ in 0..WARM_UP {
        rig.round(|_| ())?;
    }
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < end {
        rig.round(|cycles| polls += cycles)?;
    }
    verify(&mut rig, None).context("after the measurement")?;
    Ok(Report::new(arguments, polls.len(), rig.drops(), rig.why_dropped()).with_cycles(&polls, clock.hz()))
}

/// Runs `rounds` for a tool that counts instructions.
fn count(arguments: &Arguments, rounds: usize) -> Result<Report> {
    let mut rig = heap(arguments);
    verify(&mut rig, arguments.sample.as_deref())?;
    let mut polls = 0;
    for _ in 0..rounds {
        rig.round(|_| polls += 1)?;
    }
    Ok(Report::new(arguments, polls, rig.drops(), rig.why_dropped()))
}

fn verify<A: PacketPool + Clone, C: Stopwatch>(rig: &mut Rig<A, C>, folder: Option<&Path>) -> Result<()> {
    let sample = rig.verify()?;
    let Some(folder) = folder else { return Ok(()) };
    for (name, frames) in [("inner", &sample.inner), ("received", &sample.received), ("sent", &sample.sent)] {
        let path = folder.join(name).with_extension("pcap");
        pcap::write(&path, frames.iter().map(Vec::as_slice)).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The same traffic and tables for a peer: one `PREFIX GATEWAY` a line, and one rule.
fn export(rig: &mut Rig<Heap, Counted>, folder: &Path) -> Result<()> {
    let received = rig.received()?;
    pcap::write(&folder.join("input.pcap"), received.iter().map(Vec::as_slice))
        .with_context(|| folder.display().to_string())?;
    let mut routes = String::new();
    for &(net, router) in &rig.scenario().routes {
        let v6 = net.addr().is_ipv6();
        writeln!(routes, "{net} {}", Side::router(v6, router))?;
    }
    fs::write(folder.join("routes.txt"), routes)?;
    let rules: Vec<_> = rig.scenario().rules.iter().map(case::vpp).collect();
    fs::write(folder.join("acl.txt"), rules.join("\n"))?;
    Ok(())
}
