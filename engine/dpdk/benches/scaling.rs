//! How the walk scales from one worker to two: `cargo bench -p foreshift-dpdk --bench scaling [SECONDS [CPU CPU]]`.
//!
//! Each worker receives 64-byte frames that it takes from the pool both share, walks them (IPv4 forwarding, or into a GRE
//! tunnel), and transmits by its own queue of one net_null device. Windows with the first worker alone, the second alone
//! and both are interleaved, so that what else the machine does hits all alike. Two figures: packets a second of wall time,
//! which other processes spoil, and packets a second of the worker's own CPU time, in which only what the workers do to
//! each other shows (shared lines, pool, memory).

use dataplane::ecmp::{BucketTable, Shares};
use dataplane::fib::FibBuilder;
use dataplane::id::{Generation, GroupId, InterfaceId, Nanos, NextHopId, PortId, TunnelId, WorkerId};
use dataplane::links::{ControlLinks, connect};
use dataplane::packet::{Burst, Packet, PacketPool, Port};
use dataplane::snapshot::{Encapsulation, Group, Interface, NextHop, Snapshot, Tables, Tunnel};
use dataplane::wire::ethernet::Ethernet;
use dataplane::wire::ipv4::{Fragmentation, Ipv4Fields};
use dataplane::wire::{EtherType, MacAddr, Protocol, TrafficClass, udp};
use dataplane::worker::{Worker, WorkerParts};
use dpdk::{Clock, Device, Eal, EalPlan, LogLevel, Mbuf, Mempool, PoolConfig, PortConfig, QueuePair};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const FRAME: usize = 60;
const WINDOW: Duration = Duration::from_millis(50);
const LAN: PortId = PortId(0);
const WAN: PortId = PortId(1);
const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const FAR: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

/// Receives the worker's frames without end, or only sends.
struct Source {
    frames: Vec<[u8; FRAME]>,
    next: usize,
    pool: Mempool,
    queue: QueuePair,
}

impl Port for Source {
    type Packet = Mbuf;

    fn rx_burst(&mut self, burst: &mut Burst<Mbuf>) {
        if self.frames.is_empty() || !self.pool.alloc_burst(burst, 32) {
            return;
        }
        for mbuf in burst {
            self.next = (self.next + 1) % self.frames.len();
            if let Some(room) = mbuf.append(FRAME) {
                room.copy_from_slice(&self.frames[self.next]);
            }
        }
    }

    fn tx_burst(&mut self, burst: &mut Burst<Mbuf>) {
        self.queue.tx_burst(burst);
    }
}

/// What a worker is told, and tells.
#[derive(Default)]
#[repr(align(128))]
struct Shared {
    run: AtomicBool,
    stop: AtomicBool,
    /// It rests, and `cpu_ns` is what it has used so far.
    rests: AtomicBool,
    cpu_ns: AtomicU64,
}

fn main() {
    let arguments: Vec<f64> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let seconds = arguments.first().copied().unwrap_or(10.0);
    let cores = match arguments.get(1..3) {
        Some(&[first, second]) => vec![first as u16, second as u16],
        _ => vec![0, 1],
    };
    let plan = EalPlan {
        main_core: cores[0],
        worker_cores: cores,
        memory_mb: 128,
        vdevs: vec!["net_null0".into(), "net_null1".into(), "net_null2".into(), "net_null3".into()],
        file_prefix: "foreshift-bench".into(),
        log_level: LogLevel::Error,
        ..EalPlan::default()
    };
    let eal = Eal::init(&plan).expect("EAL starts");
    let pool = Mempool::new(&eal, PoolConfig { packets: 16_383, ..PoolConfig::default() }).expect("a pool");
    for (name, devices, tunnel) in
        [("ipv4", ["net_null0", "net_null1"], false), ("gre-encap", ["net_null2", "net_null3"], true)]
    {
        measure(&eal, &pool, name, devices, tunnel, seconds);
    }
}

fn measure(eal: &Eal, pool: &Mempool, name: &str, devices: [&str; 2], tunnel: bool, seconds: f64) {
    let config = |device: &str| PortConfig { rx_queues: 2, tx_queues: 2, ..PortConfig::new(device) };
    let start = |device: &str| Device::start(eal, &config(device), pool).expect("net_null starts");
    let [(lan, lan_queues), (wan, wan_queues)] = devices.map(start);
    let clock = Clock::new(eal);
    let forward_until = Arc::new(AtomicU64::new(u64::MAX));
    let mut control = Vec::new();
    let mut handles = Vec::new();
    let shared: Vec<Arc<Shared>> = (0..2).map(|_| Arc::default()).collect();
    let queues = lan_queues.into_iter().zip(wan_queues);
    for (((id, (links, ends)), (lan, wan)), shared) in
        (0..).zip(connect(2, 1, &forward_until)).zip(queues).zip(&shared)
    {
        let source = |queue, frames| Source { frames, next: 0, pool: pool.clone(), queue };
        let worker = Worker::new(WorkerParts {
            sessions: None,
            bfd: Vec::new(),
            id: WorkerId(id),
            ports: vec![source(lan, frames(id)), source(wan, Vec::new())],
            pool: pool.clone(),
            clock,
            snapshot: snapshot(tunnel),
            links,
            icmp_errors_per_second: 0,
        });
        control.push(ends);
        let shared = shared.clone();
        handles.push(eal.launch(WorkerId(id), move || run(worker, &shared)).expect("the lcore is free"));
    }
    let mut samples: [Vec<[f64; 2]>; 3] = Default::default();
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < end {
        for (mode, samples) in samples.iter_mut().enumerate() {
            samples.push(window(&shared, &control, [mode != 1, mode != 0]));
        }
    }
    shared.iter().for_each(|shared| shared.stop.store(true, Ordering::Relaxed));
    handles.into_iter().for_each(|handle| drop(handle.join().expect("the worker ends")));
    report(name, &samples);
    let dropped: u64 = control.iter().map(|ends| ends.counters.dropped_total()).sum();
    assert_eq!(dropped, 0, "packets were dropped: the figures are worthless");
    drop((lan, wan));
}

/// A worker's life: it polls while it is told to, and tells how much CPU time it has used.
fn run(mut worker: Worker<Source, Mempool, Clock>, shared: &Shared) -> Worker<Source, Mempool, Clock> {
    while !shared.stop.load(Ordering::Relaxed) {
        if shared.run.load(Ordering::Relaxed) {
            (0..64).for_each(|_| {
                worker.poll();
            });
        } else {
            shared.cpu_ns.store(cpu_time_ns(), Ordering::Relaxed);
            shared.rests.store(true, Ordering::Release);
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    worker
}

fn cpu_time_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the struct is ours to fill.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Lets the workers that `runs` names work for a while: million packets a second of wall time, and of CPU time, both
/// added up over the workers.
fn window(shared: &[Arc<Shared>], control: &[ControlLinks], runs: [bool; 2]) -> [f64; 2] {
    let sent = || [0, 1].map(|i: usize| control[i].counters.transmitted.get());
    let cpu = || [0, 1].map(|i: usize| shared[i].cpu_ns.load(Ordering::Relaxed));
    rest(shared);
    let (sent_before, cpu_before, begin) = (sent(), cpu(), Instant::now());
    for (shared, run) in shared.iter().zip(runs) {
        shared.rests.store(!run, Ordering::Relaxed);
        shared.run.store(run, Ordering::Release);
    }
    std::thread::sleep(WINDOW);
    shared.iter().for_each(|shared| shared.run.store(false, Ordering::Relaxed));
    let wall = begin.elapsed();
    rest(shared);
    let (sent_after, cpu_after) = (sent(), cpu());
    let mut sums = [0.0; 2];
    for i in (0..2).filter(|&i| runs[i]) {
        let packets = (sent_after[i] - sent_before[i]) as f64;
        sums[0] += packets / wall.as_secs_f64() / 1e6;
        sums[1] += packets * 1e3 / (cpu_after[i] - cpu_before[i]).max(1) as f64;
    }
    sums
}

/// Waits until both rest.
fn rest(shared: &[Arc<Shared>]) {
    while !shared.iter().all(|shared| shared.rests.load(Ordering::Acquire)) {
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn report(name: &str, samples: &[Vec<[f64; 2]>; 3]) {
    let at = |mode: usize, figure: usize, share: f64| {
        let mut sorted: Vec<f64> = samples[mode].iter().map(|sample| sample[figure]).collect();
        sorted.sort_by(f64::total_cmp);
        sorted[((sorted.len() - 1) as f64 * share) as usize]
    };
    for (figure, time) in ["wall", "CPU"].into_iter().enumerate() {
        let [first, second, both] = [0, 1, 2].map(|mode| at(mode, figure, 0.5));
        println!(
            "{name:10} {time:4} time: {first:6.2} and {second:6.2} Mpps alone, {both:6.2} together (p10 {:.2}, p90 {:.2}): \
             {:.2} times one worker, {} windows each",
            at(2, figure, 0.1),
            at(2, figure, 0.9),
            2.0 * both / (first + second),
            samples[2].len()
        );
    }
}

/// 64-byte frames, check sequence included, of 256 flows that are the worker's own.
fn frames(worker: u16) -> Vec<[u8; FRAME]> {
    (0..256).map(|flow| frame(worker << 8 | flow)).collect()
}

fn frame(flow: u16) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    let link = Ethernet { dst: OWN, src: FAR, vlan: None, ether_type: EtherType::IPV4 };
    let ip = link.write(&mut frame).expect("a frame holds its header");
    let (src, dst) = (Ipv4Addr::new(10, 1, 0, 10), Ipv4Addr::new(10, 2, 0, 10));
    let upper = ip + 20;
    udp::write(&mut frame[upper..], (IpAddr::V4(src), 1024 + flow), (IpAddr::V4(dst), 4789))
        .expect("a frame holds a UDP header");
    let fields = Ipv4Fields {
        traffic_class: TrafficClass(0),
        payload_length: (FRAME - upper) as u16,
        id: 0,
        fragmentation: Fragmentation { dont_fragment: true, more: false, offset: 0 },
        ttl: 64,
        protocol: Protocol::UDP,
        src,
        dst,
    };
    fields.write(&mut frame[ip..]).expect("a frame holds an IP header");
    frame
}

/// One route to the far site: by a neighbour, or through a GRE tunnel to it.
fn snapshot(through_tunnel: bool) -> Snapshot {
    let interface = |port: PortId, net: &str| Interface {
        id: InterfaceId(port.0),
        port,
        vlan: None,
        mac: OWN,
        mtu: 1600,
        addresses: vec![net.parse().expect("a constant prefix")],
        gateway: Vec::new(),
        site_link: false,
        virtual_router: None,
    };
    let far = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
    let (wan, group) = (InterfaceId(WAN.0), GroupId(0));
    let tunnel = Tunnel {
        id: TunnelId(0),
        encapsulation: Encapsulation::Gre { key: None, sequence: false },
        local: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        remote: far,
        interface: wan,
        next_hop: far,
        mtu: 1500,
        up: true,
        fenced: false,
    };
    let to_far =
        if through_tunnel { NextHop::Group(group) } else { NextHop::Via { interface: wan, gateway: far } };
    let mut fib = FibBuilder::new();
    fib.insert("10.2.0.0/24".parse().expect("a constant prefix"), NextHopId(1));
    let shares = Shares::by_weight(&[(TunnelId(0), 1)]).expect("one member has all");
    Snapshot::from(Tables {
        acl: None,
        generation: Generation(1),
        interfaces: [interface(LAN, "10.1.0.1/24"), interface(WAN, "192.0.2.1/24")].into(),
        fib: fib.build().expect("a route fits"),
        next_hops: [NextHop::Unreachable, to_far].into(),
        neighbors: Arc::new([(wan, far, FAR)].into_iter().collect()),
        tunnels: [tunnel].into(),
        groups: [Group {
            id: group,
            buckets: Arc::new(BucketTable::new(&shares)),
            own: [TunnelId(0)].into_iter().collect(),
            members: [TunnelId(0)].into_iter().collect(),
            flowlet_gap: Nanos(0),
            move_deadline: Nanos(0),
            taken_over: 0,
            mss_clamp: true,
        }]
        .into(),
        router_v4: None,
        router_v6: None,
    })
}
