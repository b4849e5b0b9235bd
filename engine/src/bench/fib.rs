//! `foreshift bench-fib`: a million routes, changed beside traffic.
//!
//! One worker forwards packets to random destinations while another core changes 100,000 routes a second. Each
//! packet's next hop, read from the MAC address that it left for, is compared with a linear oracle that
//! follows the same changes: it must be the oracle's answer at some moment between the beginning and the end of the
//! packet's round.

mod oracle;
mod traffic;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use dataplane::fib::synthetic::{Random, table_v4};
use dataplane::fib::{Capacity, FibError, FibWriter, Usage};
use dataplane::id::NextHopId;
use dataplane::telemetry::Counters;
use dpdk::{Clock, Eal, EalPlan, LogLevel, Mempool, PoolConfig};
use hdrhistogram::Histogram;
use ipnet::IpNet;
use oracle::{Change, Oracle};
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use traffic::Traffic;

/// Neighbours that routes lead to.
pub const GATEWAYS: u32 = 64;
/// How often a chunk of changes is applied.
const PERIOD: Duration = Duration::from_millis(1);
/// The longest time without updates, before and after them.
const QUIET_MAX: f64 = 10.0;

/// Change a million routes beside traffic, and check every next hop
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// IPv4 routes
    #[arg(long, default_value_t = 1_000_000)]
    pub routes: usize,
    /// Changes a second
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub updates: u32,
    /// How long to change routes
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    pub seconds: f64,
    /// The CPU of the worker
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    pub core: u16,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Cycles a packet.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cycles {
    /// The median poll.
    pub median: f64,
    /// A tenth of the polls is faster.
    pub p10: f64,
    /// A tenth of the polls is slower.
    pub p90: f64,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// IPv4 routes.
    pub routes: usize,
    /// How long the table took to load, seconds.
    pub load_seconds: f64,
    /// Memory of the table, bytes.
    pub bytes: usize,
    /// Before any change.
    pub before: Cycles,
    /// While routes changed.
    pub during: Cycles,
    /// After that.
    pub after: Cycles,
    /// `during` over the mean of `before` and `after`, medians.
    pub ratio: f64,
    /// Changes of routes.
    pub updates: u64,
    /// Changes a second that were reached.
    pub updates_per_second: f64,
    /// Processor time of a change, nanoseconds.
    pub update_ns: f64,
    /// The slowest chunk of changes, microseconds.
    pub chunk_us_max: f64,
    /// Packets whose next hop was compared: all that were forwarded.
    pub packets: u64,
    /// Those that answered differently from the oracle. Must be 0.
    pub wrong: u64,
    /// Packets that were not forwarded though the oracle had a route. Must be 0.
    pub lost: u64,
    /// TSC rate, Hz.
    pub tsc_hz: u64,
}

/// Runs `foreshift bench-fib` and prints what it found.
///
/// # Errors
/// If it cannot run; and if one packet went to a wrong next hop or nowhere.
pub fn command(arguments: &Arguments) -> Result<()> {
    let report = run(arguments)?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    ensure!(report.wrong == 0 && report.lost == 0, "{} wrong, {} lost", report.wrong, report.lost);
    Ok(())
}

/// Measures.
///
/// # Errors
/// If EAL does not start or the routes do not fit.
pub fn run(arguments: &Arguments) -> Result<Report> {
    let Arguments { routes, seconds, core, .. } = *arguments;
    ensure!((1000..=2_000_000).contains(&routes), "--routes {routes}: give 1000 to 2000000");
    ensure!((0.1..=3600.0).contains(&seconds), "--seconds {seconds}: give 0.1 to 3600");
    let plan = EalPlan {
        main_core: core,
        memory_mb: 64,
        file_prefix: "foreshift-bench".into(),
        log_level: LogLevel::Error,
        ..EalPlan::default()
    };
    // EAL ties the thread that starts it to the worker's CPU, and all that are started from it later.
    let (work, changer) = channel::<Changer>();
    let changer = std::thread::spawn(move || changer.recv().ok().map(Changer::run));
    let eal = Eal::init(&plan).context("EAL did not start")?;
    let pool = PoolConfig { packets: 4095, cache: 128, ..PoolConfig::default() };
    let (pool, clock) = (Mempool::new(&eal, pool)?, Clock::new(&eal));
    let table = table_v4(routes, 1);
    let (mut writer, mut oracle) = (FibWriter::new(Capacity::default()), Oracle::default());
    let start = Instant::now();
    for (n, &prefix) in table.iter().enumerate() {
        writer.insert(prefix, gateway(n))?;
    }
    let load_seconds = start.elapsed().as_secs_f64();
    for (n, &prefix) in table.iter().enumerate() {
        oracle.apply(Change { prefix, next_hop: Some(gateway(n)) });
    }
    oracle.begin();
    let usage = writer.usage();
    let traffic = Traffic::new(writer.fib().clone(), &pool, &clock);
    let mut bench = Bench { traffic, oracle, random: Random(3), table, clock, packets: 0, wrong: 0, lost: 0 };
    bench.report(writer, arguments, load_seconds, usage, (work, changer))
}

fn gateway(n: usize) -> NextHopId {
    NextHopId(1 + n as u32 % GATEWAYS)
}

/// The measuring side.
struct Bench {
    traffic: Traffic,
    oracle: Oracle,
    random: Random,
    table: Vec<IpNet>,
    clock: Clock,
    packets: u64,
    wrong: u64,
    lost: u64,
}

/// What passes between the changing core and the measuring one.
struct Shared {
    /// Changes that have begun, and have ended.
    begun: AtomicU64,
    ended: AtomicU64,
    stop: AtomicBool,
}

impl Bench {
    fn report(
        &mut self,
        writer: FibWriter,
        arguments: &Arguments,
        load_seconds: f64,
        usage: Usage,
        (work, changer): (Sender<Changer>, JoinHandle<Option<Result<Changed>>>),
    ) -> Result<Report> {
        let shared = Arc::new(Shared {
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let (changes, log) = channel();
        let quiet = arguments.seconds.min(QUIET_MAX);
        self.measure(1.0, &shared, &log)?;
        let before = self.measure(quiet, &shared, &log)?;
        let (table, counters) = (self.table.clone(), self.traffic.counters());
        let rate = arguments.updates;
        let changes = Changer { writer, table, rate, shared: shared.clone(), log: changes, counters };
        work.send(changes).ok().context("the changing thread has ended")?;
        let during = self.measure(arguments.seconds, &shared, &log)?;
        shared.stop.store(true, Ordering::Relaxed);
        let changed = changer.join().ok().flatten().context("the changing thread panicked")??;
        let after = self.measure(quiet, &shared, &log)?;
        Ok(Report {
            routes: self.table.len(),
            load_seconds,
            bytes: usage.bytes,
            before,
            during,
            after,
            ratio: 2.0 * during.median / (before.median + after.median),
            updates: changed.updates,
            updates_per_second: changed.updates as f64 / changed.seconds,
            update_ns: changed.busy.as_nanos() as f64 / changed.updates.max(1) as f64,
            chunk_us_max: changed.chunk_max.as_nanos() as f64 / 1e3,
            packets: self.packets,
            wrong: self.wrong,
            lost: self.lost,
            tsc_hz: self.clock.hz(),
        })
    }

    /// Forwards rounds for so long; each packet's next hop is compared when its round is over.
    fn measure(&mut self, seconds: f64, shared: &Shared, log: &Receiver<Change>) -> Result<Cycles> {
        let mut polls = Histogram::<u64>::new(3).context("three digits are valid")?;
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        while Instant::now() < end {
            self.round(shared, log, &mut polls)?;
        }
        let at = |share: f64| polls.value_at_quantile(share) as f64 / dataplane::packet::BURST as f64;
        Ok(Cycles { median: at(0.5), p10: at(0.1), p90: at(0.9) })
    }

    fn round(&mut self, shared: &Shared, log: &Receiver<Change>, polls: &mut Histogram<u64>) -> Result<()> {
        let destinations = self.traffic.offer(&self.table, &mut self.random)?;
        let ended = shared.ended.load(Ordering::Acquire);
        while self.oracle.changes() < ended {
            self.oracle.apply(log.recv().context("the log of changes ended early")?);
        }
        self.traffic.forward(&self.clock, polls)?;
        // Whatever a packet met had begun by now.
        let begun = shared.begun.load(Ordering::Acquire);
        let mut allowed: Vec<Vec<Option<NextHopId>>> =
            destinations.iter().map(|&to| vec![self.oracle.lookup(to)]).collect();
        if self.oracle.changes() > ended {
            // The last change that the round before saw begin was still going on when this one began.
            let before = destinations.iter().map(|&to| self.oracle.lookup_before(to));
            allowed.iter_mut().zip(before).for_each(|(allowed, before)| allowed.push(before));
        }
        while self.oracle.changes() < begun {
            let change = log.recv().context("the log of changes ended early")?;
            self.oracle.apply(change);
            for (allowed, &to) in allowed.iter_mut().zip(&destinations) {
                if oracle::contains(change.prefix, to) {
                    allowed.push(self.oracle.lookup(to));
                }
            }
        }
        for (found, allowed) in self.traffic.led()?.iter().zip(&allowed) {
            self.packets += u64::from(found.is_some());
            match found {
                found if allowed.contains(found) => {}
                Some(_) => self.wrong += 1,
                None => self.lost += 1,
            }
        }
        Ok(())
    }
}

/// What the changing core did.
struct Changed {
    updates: u64,
    seconds: f64,
    busy: Duration,
    chunk_max: Duration,
}

/// The changing side.
struct Changer {
    writer: FibWriter,
    table: Vec<IpNet>,
    /// Changes a second.
    rate: u32,
    shared: Arc<Shared>,
    log: Sender<Change>,
    counters: Arc<Counters>,
}

impl Changer {
    /// Changes routes until it is told to stop: two thirds to another next hop, one third withdrawn and announced
    /// again.
    fn run(mut self) -> Result<Changed> {
        let mut random = Random(17);
        let mut changed =
            Changed { updates: 0, seconds: 0.0, busy: Duration::ZERO, chunk_max: Duration::ZERO };
        let start = Instant::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let due = (start.elapsed().as_secs_f64() * f64::from(self.rate)) as u64;
            let chunk = Instant::now();
            while changed.updates < due && chunk.elapsed() < 10 * PERIOD {
                changed.updates += 1;
                self.change(&mut random, changed.updates)?;
            }
            self.writer.advance();
            self.writer.reclaim(self.counters.fib_epoch.announced());
            changed.busy += chunk.elapsed();
            changed.chunk_max = changed.chunk_max.max(chunk.elapsed());
            std::thread::sleep(PERIOD.saturating_sub(chunk.elapsed()));
        }
        changed.seconds = start.elapsed().as_secs_f64();
        Ok(changed)
    }

    fn change(&mut self, random: &mut Random, number: u64) -> Result<()> {
        let prefix = self.table[random.below(self.table.len())];
        let withdraw = random.below(3) == 0 && self.writer.get(prefix).is_some();
        let next_hop = (!withdraw).then(|| gateway(random.below(GATEWAYS as usize)));
        // Logged before it begins: whoever sees that it has begun finds it in the log.
        self.log.send(Change { prefix, next_hop }).ok().context("nobody reads the log of changes")?;
        self.shared.begun.store(number, Ordering::Release);
        while let Err(error) = apply(&mut self.writer, prefix, next_hop) {
            ensure!(matches!(error, FibError::Stalled { .. }), "{error}");
            self.writer.advance();
            self.writer.reclaim(self.counters.fib_epoch.announced());
            std::thread::yield_now();
        }
        self.shared.ended.store(number, Ordering::Release);
        Ok(())
    }
}

fn apply(writer: &mut FibWriter, prefix: IpNet, next_hop: Option<NextHopId>) -> Result<(), FibError> {
    match next_hop {
        Some(next_hop) => writer.insert(prefix, next_hop).map(drop),
        None => writer.remove(prefix).map(drop),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.bytes as f64 / f64::from(1 << 20);
        writeln!(
            f,
            "routes         {:>12}    loaded in {:.2} s, {mib:.0} MiB",
            self.routes, self.load_seconds
        )?;
        let cycles = [("before", self.before), ("during", self.during), ("after", self.after)];
        for (name, Cycles { median, p10, p90 }) in cycles {
            writeln!(f, "cycles/packet  {median:>12.1}    {name} updates; p10 {p10:.1}, p90 {p90:.1}")?;
        }
        writeln!(f, "ratio          {:>12.3}    during, to before and after", self.ratio)?;
        writeln!(
            f,
            "updates/s      {:>12.0}    {} in all, {:.0} ns each, {:.0} us the longest chunk",
            self.updates_per_second, self.updates, self.update_ns, self.chunk_us_max
        )?;
        writeln!(f, "packets        {:>12}    each compared with a linear oracle", self.packets)?;
        write!(f, "wrong          {:>12}    and {} lost", self.wrong, self.lost)
    }
}
