//! `foreshift bench-shadow`: what session shadowing costs and how fast it is.
//!
//! Two engines' shadowing threads in one process, joined by the real channel: TLS over loopback, the real codec, real
//! session tables on both sides, each polled by a thread of its own as a worker would. Threads share the machine's cores,
//! so what bounds each figure is mostly how many of those there are: the report says.

mod report;

use crate::api::shadow::ShadowTarget;
use crate::peer::{PeerAddress, PeerConfig, pki};
use crate::shadow::{Ends, Shadow, ShadowConfig};
use anyhow::{Context as _, Result, ensure};
use clap::Args;
use control::message::SaParameters;
use control::shadow::sas::{KeyId, SaState};
use dataplane::flow::{
    AnyTuple, HashKeys, NewSession, SessionConfig, SessionKey, SessionTable, Timeouts, Tuple, Upper, WhenFull,
};
use dataplane::id::{Nanos, Spi};
use dataplane::packet::BURST;
use dataplane::sa::Algorithm;
use dataplane::shadow::{Task, WorkerShadow, connect};
use dataplane::stage::access::Sessions;
use dataplane::telemetry::Counters;
use report::Report;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Room for reports that the generator of changes leaves: it is to measure the channel, not what is lost.
const ROOM: usize = 8192;
/// How long a worker with nothing to do sleeps, as one that backs off: cores are shared here.
const BACKOFF: Duration = Duration::from_micros(50);
/// Polls between two such sleeps.
const POLLS: usize = 8;
/// The longest that any phase waits for another.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measure session shadowing: cold sync, rate, lag, and what it costs a worker
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Sessions of the cold sync
    #[arg(long, default_value_t = 1_000_000)]
    pub flows: u32,
    /// Static SAs of the cold sync
    #[arg(long, default_value_t = 100_000)]
    pub sas: u32,
    /// How long each rate is held
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    pub seconds: f64,
    /// Changes a second of the phase that measures lag
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    pub rate: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs `foreshift bench-shadow` and prints what it found.
///
/// # Errors
/// If it cannot run, or a phase does not end.
pub fn command(arguments: &Arguments) -> Result<()> {
    let report = run(arguments)?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

fn run(arguments: &Arguments) -> Result<Report> {
    ensure!((1..=16_000_000).contains(&arguments.flows), "--flows: give 1 to 16000000");
    ensure!((0.1..=600.0).contains(&arguments.seconds), "--seconds: give 0.1 to 600");
    let folder = std::env::temp_dir().join(format!("foreshift-bench-shadow-{}", std::process::id()));
    pki::run(&folder, &["a1".to_owned(), "a2".to_owned()], false)?;
    let measured = measure(arguments, &folder);
    let _ = std::fs::remove_dir_all(&folder);
    measured
}

fn measure(arguments: &Arguments, folder: &Path) -> Result<Report> {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().and_then(|one| one.parse().ok()).unwrap_or(f64::NAN);
    let length = Duration::from_secs_f64(arguments.seconds);
    let (cold_seconds, lost_cold) = cold(arguments, folder)?;
    let (paced_rate, row, lost_paced) = steady(folder, Some(arguments.rate), length)?;
    let (updates_per_second, _, lost_max) = steady(folder, None, length)?;
    let packet_ns = cost(folder, length)?;
    Ok(Report {
        flows: arguments.flows,
        sas: arguments.sas,
        cold_seconds,
        updates_per_second,
        paced: (paced_rate, row.lag_p50_us.unwrap_or(0), row.lag_p99_us.unwrap_or(0)),
        packet_ns,
        cost_percent: 100.0 * (1.0 - packet_ns.0 / packet_ns.1),
        lost: lost_cold + lost_paced + lost_max,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        load,
    })
}

/// Everything at once, to a shadow that has nothing.
fn cold(arguments: &Arguments, folder: &Path) -> Result<(f64, u64)> {
    let start = Instant::now();
    let mut active = Active::new(arguments.flows, start);
    for n in 0..arguments.flows {
        active.begin(n)?;
    }
    let address = free_address()?;
    // The table was filled before anybody listened.
    let lost_before = active.links.as_ref().map_or(0, |links| links.reports.overflow());
    let mut a1 = Side::start(folder, "a1", Some(address), active.links.take().into_iter().collect(), start)?;
    for n in 0..arguments.sas {
        a1.shadow.reserve(u64::from(n), sa(n));
    }
    let worker = active.run(Work::Poll);
    let began = Instant::now();
    let a2 = Holder::start(folder, address, arguments.flows, start)?;
    let all = |to: &ShadowTarget| {
        let copied = a2.counters.sessions.copied.get() + a2.counters.sessions.copies_refused.get();
        let sas = a2.side.shadow.status().from.first().map_or(0, |from| from.sas);
        to.in_sync && to.pending == 0 && copied >= u64::from(arguments.flows) && sas >= arguments.sas as usize
    };
    a1.wait(all).context("cold sync")?;
    let seconds = began.elapsed().as_secs_f64();
    let refused = a2.counters.sessions.copies_refused.get();
    ensure!(refused == 0, "{refused} sessions found no room");
    worker.stop()?;
    a2.stop()?;
    Ok((seconds, a1.lost() - lost_before))
}

/// Changes at a rate, or as fast as they are taken: what was reached, the shadow's row, what was lost.
fn steady(folder: &Path, rate: Option<u64>, length: Duration) -> Result<(f64, ShadowTarget, u64)> {
    const FLOWS: u32 = 100_000;
    let start = Instant::now();
    let mut active = Active::new(FLOWS, start);
    for n in 0..FLOWS / 2 {
        active.begin(n)?;
    }
    let address = free_address()?;
    let mut a1 = Side::start(folder, "a1", Some(address), active.links.take().into_iter().collect(), start)?;
    let a2 = Holder::start(folder, address, FLOWS * 2, start)?;
    let worker = active.run(Work::Change { rate, live: FLOWS / 2 });
    a1.wait(|to| to.in_sync).context("a shadow")?;
    std::thread::sleep(Duration::from_millis(500));
    let (before, lost_before, began) = (a1.row().acknowledged, a1.lost(), Instant::now());
    std::thread::sleep(length);
    let row = a1.row();
    let reached = (row.acknowledged - before) as f64 / began.elapsed().as_secs_f64();
    worker.stop()?;
    a2.stop()?;
    Ok((reached, row, a1.lost() - lost_before))
}

/// What a packet takes in the session table, without shadowing and with a shadow connected: by turns, and the median.
fn cost(folder: &Path, length: Duration) -> Result<(f64, f64)> {
    const FLOWS: u32 = 200_000;
    const TURNS: u32 = 7;
    let start = Instant::now();
    let mut figures = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        for shadowed in [false, true] {
            let mut active = Active::new(FLOWS, start);
            for n in 0..FLOWS / 2 {
                active.begin(n)?;
            }
            let mut kept = None;
            if shadowed {
                let address = free_address()?;
                let links = active.links.take().into_iter().collect();
                let mut a1 = Side::start(folder, "a1", Some(address), links, start)?;
                let a2 = Holder::start(folder, address, FLOWS, start)?;
                let worker = active.run(Work::Poll);
                a1.wait(|to| to.in_sync && to.pending == 0).context("a shadow")?;
                active = worker.stop()?;
                kept = Some((a1, a2));
            } else {
                active.table = active.table.unshadowed();
            }
            let ns = active.packets(length / (2 * TURNS), FLOWS / 2)?;
            if shadowed {
                figures.1.push(ns)
            } else {
                figures.0.push(ns)
            }
            if let Some((a1, a2)) = kept {
                a2.stop()?;
                drop(a1);
            }
        }
    }
    let median = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    Ok((median(figures.0), median(figures.1)))
}

fn flow(n: u32) -> SessionKey {
    let [_, a, b, c] = n.to_be_bytes();
    SessionKey::plain(AnyTuple::V4(Tuple {
        src: [10, a, b, c].into(),
        dst: [192, 0, 2, 7].into(),
        src_port: 1024 + (n % 50_000) as u16,
        dst_port: 443,
        protocol: 17,
    }))
}

fn sa(n: u32) -> SaState {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    let other = id.map(|octet| !octet);
    SaState {
        key_in: KeyId::new(id),
        key_out: KeyId::new(other),
        spi_in: Spi(0x1000 + n),
        spi_out: Spi(0x8000_0000 + n),
        parameters: SaParameters { algorithm: Algorithm::Aes256Gcm, esn: true },
        epoch: 1,
        reserved: 1 << 24,
        limit: u64::from(n),
        rate: 1000,
    }
}

/// A port of this machine that nobody has.
fn free_address() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// One engine's shadowing thread.
struct Side {
    shadow: Shadow,
}

impl Side {
    /// `a1` brings its sessions to `peer`; `a2` listens there.
    fn start(
        folder: &Path,
        name: &str,
        peer: Option<SocketAddr>,
        workers: Vec<dataplane::shadow::ControlShadow>,
        start: Instant,
    ) -> Result<Side> {
        let file = |name: &str| -> PathBuf { folder.join(name) };
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        let (active, other) = (name == "a1", if name == "a1" { "a2" } else { "a1" });
        let other = PeerAddress { name: other.to_owned(), address: peer.unwrap_or(here) };
        let config = ShadowConfig {
            identity: PeerConfig {
                name: name.to_owned(),
                listen: if active { here } else { other.address },
                ca: file("ca.pem"),
                cert: file(&format!("{name}.pem")),
                key: file(&format!("{name}.key")),
                peers: vec![other.clone()],
            },
            to: if active { vec![other.clone()] } else { Vec::new() },
            from: if active { Vec::new() } else { vec![other.name] },
            inputs: vec!["lan".to_owned()],
        };
        let clock = move || Nanos(start.elapsed().as_nanos() as u64 + 1_000_000_000);
        let ends = Ends { workers, clock: Box::new(clock), keep: Box::new(|_| Ok(())) };
        Ok(Side { shadow: Shadow::start(config, ends)? })
    }

    fn row(&self) -> ShadowTarget {
        self.shadow.status().to[0].clone()
    }

    /// Reports that were lost, as of the thread's last word.
    fn lost(&self) -> u64 {
        std::thread::sleep(Duration::from_millis(150));
        self.shadow.status().reports_lost
    }

    fn wait(&mut self, good: impl Fn(&ShadowTarget) -> bool) -> Result<()> {
        let began = Instant::now();
        while !good(&self.row()) {
            ensure!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {:?}", self.row());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// The shadow, its thread and its worker.
struct Holder {
    side: Side,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    worker: JoinHandle<()>,
}

impl Holder {
    fn start(folder: &Path, address: SocketAddr, flows: u32, start: Instant) -> Result<Holder> {
        let (links, control) = connect();
        let table = table(flows + flows / 4, now(start));
        let mut sessions = Sessions::new(table, None).shadowed(links);
        let side = Side::start(folder, "a2", Some(address), vec![control], start)?;
        let (counters, stop) = (Arc::new(Counters::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, stopped) = (counters.clone(), stop.clone());
        let worker = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                (0..POLLS).for_each(|_| sessions.poll(now(start), &seen));
                std::thread::sleep(BACKOFF);
            }
        });
        Ok(Holder { side, counters, stop, worker })
    }

    fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.worker.join().map_err(|_| anyhow::anyhow!("the shadow's worker ended badly"))
    }
}

fn now(start: Instant) -> Nanos {
    Nanos(start.elapsed().as_nanos() as u64 + 1_000_000_000)
}

fn table(capacity: u32, now: Nanos) -> SessionTable {
    let config =
        SessionConfig { capacity, nat: false, timeouts: Timeouts::default(), when_full: WhenFull::DropNew };
    SessionTable::new(config, HashKeys::seeded(1), now)
}

/// What the active engine's worker does beside polling.
#[derive(Clone, Copy)]
enum Work {
    Poll,
    Change { rate: Option<u64>, live: u32 },
}

/// The active engine's worker.
struct Active {
    table: SessionTable,
    worker: dataplane::shadow::Asks,
    links: Option<dataplane::shadow::ControlShadow>,
    start: Instant,
}

/// It, at work.
struct Working {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Active>,
}

impl Working {
    fn stop(self) -> Result<Active> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the worker ended badly"))
    }
}

impl Active {
    fn new(capacity: u32, start: Instant) -> Active {
        let (WorkerShadow { reports, asks }, control) = connect();
        let mut table = table(capacity, now(start));
        table.shadow(reports);
        Active { table, worker: asks, links: Some(control), start }
    }

    fn begin(&mut self, n: u32) -> Result<()> {
        let new = NewSession { key: flow(n), upper: Upper::Other, generation: 1, rule: 0, input: 0 };
        self.table.insert(&new, now(self.start), |_| ()).map(drop).context("the table")
    }

    fn poll(&mut self) {
        self.table.shadow_step(now(self.start), |_| ());
        while let Some(batch) = self.worker.batches.pop() {
            for task in &batch.tasks {
                if let Task::Report(round) = task {
                    self.table.report_all(*round);
                }
            }
            let _ = self.worker.done.push(batch);
        }
    }

    fn run(mut self, work: Work) -> Working {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (began, mut done, mut oldest) = (Instant::now(), 0_u64, 0_u32);
            while !stopped.load(Ordering::Relaxed) {
                self.poll();
                let Work::Change { rate, live } = work else {
                    (0..POLLS).for_each(|_| self.poll());
                    std::thread::sleep(BACKOFF);
                    continue;
                };
                let due = rate.map_or(u64::MAX, |rate| (began.elapsed().as_secs_f64() * rate as f64) as u64);
                for _ in 0..512 {
                    if done >= due || self.table.report_room() < ROOM {
                        std::thread::sleep(BACKOFF);
                        break;
                    }
                    // One ends, one begins: two changes.
                    let ended = self.table.lookup(&flow(oldest % (2 * live)).forward());
                    ended.and_then(|hit| self.table.remove(hit.id));
                    let _ = self.begin((oldest + live) % (2 * live));
                    (oldest, done) = (oldest.wrapping_add(1), done + 2);
                }
            }
            self
        });
        Working { stop, thread }
    }

    /// Packets of sessions in bursts, as the walk looks them up; this thread's time for one, ns.
    fn packets(&mut self, length: Duration, live: u32) -> Result<f64> {
        let mut hits = Default::default();
        let (began, used, mut packets, mut at) = (Instant::now(), on_cpu()?, 0_u64, 1_u32);
        while began.elapsed() < length {
            for _ in 0..64 {
                self.table.shadow_step(now(self.start), |_| ());
                let tuples: [Looked; BURST] = std::array::from_fn(|_| {
                    at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    Looked(flow((at >> 8) % live).forward())
                });
                self.table.lookup_burst(&tuples, &mut hits);
                let second = now(self.start).into();
                for hit in hits.iter().flatten() {
                    self.table.pass(*hit, Upper::Other, second, 1);
                }
                packets += BURST as u64;
            }
        }
        ensure!(packets > 0, "no packet in {length:?}");
        Ok((on_cpu()? - used) as f64 / packets as f64)
    }
}

/// Time that this thread has run, nanoseconds: what others do on its core meanwhile does not count.
fn on_cpu() -> Result<u64> {
    let stat =
        std::fs::read_to_string("/proc/thread-self/schedstat").context("/proc/thread-self/schedstat")?;
    stat.split(' ')
        .next()
        .and_then(|ns| ns.parse().ok())
        .context("/proc/thread-self/schedstat begins with no number")
}

struct Looked(AnyTuple);

impl AsRef<AnyTuple> for Looked {
    fn as_ref(&self) -> &AnyTuple {
        &self.0
    }
}
