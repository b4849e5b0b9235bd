//! `foreshift load`: offers UDP at a paced rate to an engine between two of its ports, and says what became of it.
//!
//! Loss, order and delay come from a sequence number and a time in each packet, never from port statistics: virtual
//! ports lose packets that no counter of theirs shows.

mod frame;
mod report;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use dataplane::packet::{BURST, Burst, Packet as _, PacketPool as _, Port as _};
use dataplane::wire::MacAddr;
use dpdk::{Clock, Device, Eal, EalPlan, LogLevel, Mbuf, Mempool, PoolConfig, PortConfig, QueuePair};
use frame::{Stamp, Template};
use report::Report;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

/// How long a link may take to come up.
const LINK_UP: Duration = Duration::from_secs(20);
/// How long what is under way may take after the last packet was offered.
const DRAIN: Duration = Duration::from_millis(500);
/// More than this behind its schedule, the generator itself was stalled: it gives up what is due rather than flood. A
/// quarter of a memif ring of the greatest size.
const BACKLOG_MAX: u64 = 128 * BURST as u64;
/// Packets before the first that counts: neighbours are resolved, caches and branch predictors have seen some.
const WARM_UP: Duration = Duration::from_millis(300);

/// Offer paced traffic to an engine and count what comes back, by sequence numbers in the packets
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// DPDK device towards the engine's receiving port, e.g. net_memif0,role=client,socket=/run/lan.sock
    #[arg(long, value_name = "DEVICE")]
    tx: String,
    /// DPDK device towards the port that the engine transmits on
    #[arg(long, value_name = "DEVICE")]
    rx: String,
    /// Packets a second
    #[arg(long, value_name = "PPS")]
    rate: u64,
    /// How long to offer them
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    seconds: f64,
    /// Frame size in bytes, its check sequence included: 64 to 1518
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    size: usize,
    /// Where the packets come from; it answers ARP requests for every address
    #[arg(long, value_name = "IP", default_value = "10.1.0.10")]
    src: Ipv4Addr,
    /// Where they go
    #[arg(long, value_name = "IP", default_value = "10.2.0.10")]
    dst: Ipv4Addr,
    /// MAC address of the engine's receiving port
    #[arg(long, value_name = "MAC", value_parser = parse_mac)]
    gateway_mac: MacAddr,
    /// Flows, told apart by their source port
    #[arg(long, default_value_t = 64)]
    flows: u16,
    /// The CPU to run on
    #[arg(long, value_name = "CPU", default_value_t = 1)]
    core: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn parse_mac(text: &str) -> Result<MacAddr, String> {
    let parts: Vec<_> = text.split(':').map(|part| u8::from_str_radix(part, 16)).collect();
    let bytes: Result<Vec<u8>, _> = parts.into_iter().collect();
    let wrong = || format!("{text} is no MAC address: write it as 02:00:00:00:00:01");
    bytes.map_err(|_| wrong())?.try_into().map(MacAddr).map_err(|_| wrong())
}

/// Both ports and the pool of their packets.
struct Ports {
    tx: QueuePair,
    rx: QueuePair,
    pool: Mempool,
    clock: Clock,
}

/// Offers the traffic and prints the report.
///
/// # Errors
/// If EAL or a port does not start, a link stays down, or the arguments make no sense.
pub fn command(arguments: &Arguments) -> Result<()> {
    ensure!((64..=1518).contains(&arguments.size), "--size {}: a frame has 64 to 1518 bytes", arguments.size);
    ensure!((0.1..=86_400.0).contains(&arguments.seconds), "--seconds: give 0.1 to 86400");
    ensure!(arguments.rate > 0, "--rate: at least one packet a second");
    let names =
        [&arguments.tx, &arguments.rx].map(|device| device.split(',').next().unwrap_or("").to_owned());
    let plan = EalPlan {
        main_core: arguments.core,
        memory_mb: 256,
        file_prefix: format!("foreshift-load-{}", std::process::id()),
        vdevs: vec![arguments.tx.clone(), arguments.rx.clone()],
        log_level: LogLevel::Error,
        ..EalPlan::default()
    };
    let eal = Eal::init(&plan).context("EAL did not start")?;
    let pool = Mempool::new(&eal, PoolConfig { packets: 32_767, ..PoolConfig::default() })?;
    let mut devices = Vec::new();
    for name in &names {
        let (device, mut pairs) = Device::start(&eal, &PortConfig::new(name), &pool)?;
        devices.push((device, pairs.pop().context("one queue pair was asked for")?));
    }
    wait_for_links(devices.iter().map(|(device, _)| device))?;
    let [tx, rx] = devices.try_into().map_err(|_| anyhow::anyhow!("two ports were asked for"))?;
    let clock = Clock::new(&eal);
    let report = Load::new(arguments, Ports { tx: tx.1, rx: rx.1, pool, clock }).run();
    println!("{}", if arguments.json { serde_json::to_string(&report)? } else { report.to_string() });
    Ok(())
}

fn wait_for_links<'a>(devices: impl Iterator<Item = &'a Device>) -> Result<()> {
    let deadline = Instant::now() + LINK_UP;
    for device in devices {
        while !device.link()?.up {
            ensure!(Instant::now() < deadline, "{}: no link after {LINK_UP:?}", device.name());
            thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

/// A run of the generator.
struct Load {
    ports: Ports,
    template: Template,
    rate: u64,
    seconds: f64,
    next: u64,
    /// The first sequence number that counts.
    first: u64,
    report: Report,
}

impl Load {
    fn new(arguments: &Arguments, ports: Ports) -> Load {
        let template = Template::new(arguments);
        let report = Report::new(arguments.size, arguments.rate, ports.clock.hz());
        let Arguments { rate, seconds, .. } = *arguments;
        Load { ports, template, rate, seconds, next: 0, first: 0, report }
    }

    fn run(mut self) -> Report {
        self.offer(WARM_UP);
        self.drain();
        self.first = self.next;
        self.report.begin(self.first);
        self.offer(Duration::from_secs_f64(self.seconds));
        self.drain();
        self.report.end();
        self.report
    }

    /// Offers packets when they are due, and receives in between.
    fn offer(&mut self, time: Duration) {
        let hz = u128::from(self.ports.clock.hz());
        let cycles = (time.as_secs_f64() * self.ports.clock.hz() as f64) as u64;
        let begin = self.ports.clock.cycles();
        let (mut offered, mut last) = (0u64, begin);
        loop {
            let now = self.ports.clock.cycles();
            self.report.gap(now - last);
            last = now;
            if now - begin >= cycles {
                return;
            }
            let due = (u128::from(now - begin) * u128::from(self.rate) / hz) as u64;
            let behind = due.saturating_sub(offered);
            if behind > BACKLOG_MAX {
                self.report.skipped += behind - BACKLOG_MAX;
                offered += behind - BACKLOG_MAX;
            }
            let many = due.saturating_sub(offered).min(BURST as u64);
            offered += many;
            self.send(many as usize);
            self.receive();
        }
    }

    fn drain(&mut self) {
        let end = Instant::now() + DRAIN;
        while Instant::now() < end {
            self.receive();
        }
    }

    fn send(&mut self, many: usize) {
        let mut burst = Burst::new();
        let sent = self.ports.clock.cycles();
        for _ in 0..many {
            let stamp = Stamp { sequence: self.next, sent };
            self.next += 1;
            let Some(mut packet) = self.ports.pool.alloc() else {
                self.report.no_buffer += 1;
                continue;
            };
            let room = packet.append(self.template.length()).expect("a frame fits an mbuf");
            self.template.write(room, stamp);
            burst.push(packet);
        }
        self.report.offered += many as u64;
        if !burst.is_empty() {
            self.ports.tx.tx_burst(&mut burst);
            // A full queue of the engine is loss, as on a wire.
            self.report.refused += burst.len() as u64;
        }
    }

    fn receive(&mut self) {
        let mut burst = Burst::new();
        self.ports.rx.rx_burst(&mut burst);
        let now = self.ports.clock.cycles();
        let mut answers = Burst::new();
        for packet in burst.drain(..) {
            match frame::stamp(packet.data()) {
                Some(stamp) if stamp.sequence >= self.first => self.report.received(stamp, now),
                Some(_) => {}
                None => answers.extend(answer(packet)),
            }
        }
        self.ports.rx.tx_burst(&mut answers);
        let (mut burst, mut answers) = (Burst::new(), Burst::new());
        self.ports.tx.rx_burst(&mut burst);
        answers.extend(burst.drain(..).filter_map(answer));
        self.ports.tx.tx_burst(&mut answers);
    }
}

/// The answer to an ARP request, in its own buffer.
fn answer(mut packet: Mbuf) -> Option<Mbuf> {
    frame::answer(packet.data_mut()).then_some(packet)
}
