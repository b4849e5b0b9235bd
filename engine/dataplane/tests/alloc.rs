//! The packet path allocates nothing: a counting allocator watches whole polls.
#![allow(unsafe_code)]

#[allow(dead_code, unused_imports)]
#[path = "walk/support/mod.rs"]
mod support;

use dataplane::acl::{Acl, Action, synthetic};
use dataplane::flow::{SessionConfig, Timeouts, WhenFull};
use dataplane::id::{Nanos, Spi, TunnelId, WorkerId};
use dataplane::message::{Command, Inbound};
use dataplane::mirror::{self, FlowSampler, Rate, SipKey, Threshold, mirror};
use dataplane::nat::NatConfig;
use dataplane::observe::Filter;
use dataplane::observe::session::{ObserverLease, Order, Watch, observe};
use dataplane::packet::{Packet, PacketPool};
use dataplane::replay::WindowSize;
use dataplane::sa::{Algorithm, AwsLc, InboundSa, SaKey};
use dataplane::snapshot::Encapsulation;
use dataplane::telemetry::Latency;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use support::draft::{wan_v4, wan_v6};
use support::everything::{Act, ESP_UDP, WAYS_IN, everything, keyed, prepare, vxlan};
use support::pooled::{Pool, Pooled as PooledPacket, PooledPort};
use support::{Draft, Engine, Ip, LAN, PORTS, Sizes, VLAN, WAN, engine_mac, frame, host_mac, host_v4, key};

struct Counting;

thread_local! {
    // By thread: the test harness has others.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator unchanged; the counter is a plain cell of this thread, which
// needs neither allocation nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is System's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is System's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Pooled = Engine<PooledPort, Pool>;

/// Allocations and releases in `polls` polls with `frames` in a queue of the port before each.
fn counted(engine: &mut Pooled, pool: &Pool, port: usize, frames: &[Vec<u8>], polls: usize) -> u64 {
    let mut counted = 0;
    for _ in 0..polls {
        engine.queues[0][port].rx.lock().unwrap().extend(frames.iter().map(|f| pool.fill(f).unwrap()));
        engine.wait(10);
        let before = ALLOCATIONS.with(Cell::get);
        engine.workers[0].poll();
        counted += ALLOCATIONS.with(Cell::get) - before;
        engine.queues[0].iter().for_each(|queue| queue.tx.lock().unwrap().clear());
    }
    counted
}

fn engine(number: u8, far: u8, encapsulation: Encapsulation, pool: &Pool) -> Pooled {
    over(number, far, encapsulation, false, pool)
}

fn over(number: u8, far: u8, encapsulation: Encapsulation, outer_v6: bool, pool: &Pool) -> Pooled {
    let mut draft = Draft::new(number, number);
    let tunnel = draft.tunnel(encapsulation, outer_v6, far);
    draft.group(far, &[(tunnel, 1)], &[tunnel]);
    let sizes = Sizes { workers: 1, icmp_errors_per_second: 1_000_000 };
    Engine::assemble(draft, &sizes, || PooledPort::new(32), || pool.clone())
}

#[test]
fn access_allocates_nothing() {
    let pool = Pool::new(500);
    let mut draft = Draft::new(1, 1);
    let rules = synthetic::rules(1, 1000, true);
    draft.acl = Some(Arc::new(Acl::compile(&rules, Action::PermitSession).unwrap()));
    let timeouts = Timeouts { udp_one_way: 1, ..Timeouts::default() };
    let when_full = WhenFull::EvictOpening;
    draft.sessions = Some(SessionConfig { capacity: 64, nat: true, timeouts, when_full });
    draft.nat = Some(NatConfig {
        inside: vec!["10.1.0.0/24".parse().unwrap()],
        pool: vec![[192, 0, 2, 1].into()],
        ..NatConfig::default()
    });
    let sizes = Sizes { workers: 1, icmp_errors_per_second: 1_000_000 };
    let mut engine: Pooled = Engine::assemble(draft, &sizes, || PooledPort::new(32), || pool.clone());
    let mut counted_all = 0;
    // New flows, their second packets, evictions and expiry.
    for round in 0..200 {
        let to = |n: u16| if n.is_multiple_of(2) { wan_v4(2) } else { host_v4(101, 9) };
        let packets: Vec<_> =
            (0..30).map(|n| Ip::new(host_v4(1, 9), to(n)).udp((round / 2) * 30 + n, 100)).collect();
        let new = counted(&mut engine, &pool, LAN.index(), &to_lan(&packets), 2);
        counted_all += if round > 0 { new } else { 0 };
    }
    let sessions = &engine.control[0].counters.sessions;
    assert!(sessions.begun.get() > 2500 && sessions.evicted.get() > 100, "{sessions:?}");
    assert_eq!(counted_all, 0);
}

fn to_lan(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    packets.iter().map(|packet| frame(engine_mac(1, 0), host_mac(), None, packet)).collect()
}

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.with(Cell::get);
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 2);
}

#[test]
fn forwarding_and_errors_allocate_nothing() {
    let pool = Pool::new(500);
    let mut engine = engine(1, 2, Encapsulation::Gre { key: None, sequence: true }, &pool);
    let mut packets = Vec::new();
    for v6 in [false, true] {
        let (local, far) = (Ip::between(1, 101, v6), Ip::between(1, 2, v6));
        let ours = engine.draft.interfaces[0].towards(local.src).unwrap();
        packets.extend([
            local.udp(1, 100),
            local.ttl(1).udp(1, 100),
            far.udp(1, 100),
            far.sized(1, 1500),
            far.syn(9000),
            Ip::new(local.src, ours).echo(1, b"echo"),
            Ip::new(local.src, ours).udp(1, 20),
            // Nobody has this address: it waits, makes room, and expires.
            Ip::new(local.src, if v6 { "2001:db8:65::77" } else { "10.101.0.77" }.parse().unwrap())
                .udp(1, 20),
        ]);
    }
    let frames = to_lan(&packets);
    counted(&mut engine, &pool, LAN.index(), &frames, 2);
    assert_eq!(counted(&mut engine, &pool, LAN.index(), &frames, 500), 0);
    let counters = engine.control[0].counters.clone();
    assert!(counters.originated.get() > 3500 && counters.held.get() == 32, "{counters:?}");
    // Those that wait are given up, and their senders told.
    engine.wait(3000);
    let before = counters.originated.get();
    assert_eq!(counted(&mut engine, &pool, LAN.index(), &[], 1), 0);
    assert_eq!((counters.originated.get() - before, counters.held.get()), (32, 0));
}

#[test]
fn esp_and_probes_allocate_nothing() {
    let pool = Pool::new(2000);
    let (mut a, mut b) = (engine(1, 2, Encapsulation::Esp, &pool), engine(2, 1, Encapsulation::Esp, &pool));
    key(&mut a, &mut b, TunnelId(0), TunnelId(0), 0x1000);
    key(&mut b, &mut a, TunnelId(0), TunnelId(0), 0x2000);
    let packets: Vec<_> = (0..30).map(|flow| Ip::between(1, 2, flow % 2 == 0).udp(flow, 400)).collect();
    let frames = to_lan(&packets);
    let (mut sealing, mut opening) = (0, 0);
    for round in 0..100 {
        engine_receives(&mut a, &pool, &frames);
        a.command(0, Command::Probe { tunnel: TunnelId(0), sequence: round });
        let before = ALLOCATIONS.with(Cell::get);
        a.workers[0].poll();
        sealing += ALLOCATIONS.with(Cell::get) - before;
        let sent: Vec<Vec<u8>> =
            a.queues[0][WAN.index()].tx.lock().unwrap().drain(..).map(|p| p.data().to_vec()).collect();
        assert_eq!(sent.len(), 31);
        if round == 0 {
            (sealing, _) = (0, counted(&mut b, &pool, WAN.index(), &sent, 1));
        } else {
            // The second time all of them are replays.
            opening += counted(&mut b, &pool, WAN.index(), &sent, 2);
        }
    }
    assert_eq!((sealing, opening), (0, 0));
    assert_eq!(b.drops(), [("probe_consumed", 100), ("replayed", 31 * 99)].into());
}

#[test]
fn looking_at_packets_allocates_nothing() {
    let pool = Pool::new(500);
    let mut engine = engine(1, 2, Encapsulation::Gre { key: None, sequence: true }, &pool);
    let packets = [true, false].map(|v6| {
        [
            Ip::between(1, 101, v6).udp(1, 100),
            Ip::between(1, 2, v6).udp(1, 100),
            Ip::between(1, 101, v6).ttl(1).udp(1, 9),
        ]
    });
    let frames = to_lan(packets.as_flattened());
    let lease = ObserverLease::default();
    lease.renew(Nanos::MAX);
    for watch in [Watch::Trace, Watch::Drop(None)] {
        let filter = Filter::compile("inner udp or tunnel x", |_| Ok(TunnelId(0))).unwrap();
        let order = Order { watch, filter, snaplen: 1600, rate: 1_000_000 };
        // More packets than records: losing them is free too.
        let (observer, mut source) = observe(WorkerId(0), &order, &lease);
        engine.command(0, Command::Observe(observer));
        assert_eq!(counted(&mut engine, &pool, LAN.index(), &frames, 1000), 0);
        assert!(source.next(|_| ()), "it did look");
        let matched = source.tally.matched.get();
        lease.renew(Nanos(0));
        assert_eq!(counted(&mut engine, &pool, LAN.index(), &frames, 1), 0);
        assert_eq!(source.tally.matched.get(), matched, "its lease is over");
        lease.renew(Nanos::MAX);
        engine.events();
    }
}

/// With room for copies, and when they are all taken.
#[test]
fn mirroring_allocates_nothing() {
    let pool = Pool::new(500);
    let mut engine = engine(1, 2, Encapsulation::Gre { key: Some(42), sequence: true }, &pool);
    let packets: Vec<_> = (0..30).map(|n| Ip::between(1, 2, n % 3 == 0).udp(n, 100)).collect();
    let frames = to_lan(&packets);
    let rate = Rate::default();
    let order = mirror::Order { flows: FlowSampler::new(SipKey([1, 2]), 1), rate: rate.clone(), seed: 1 };
    let (mirror, mut source) = mirror(WorkerId(0), &order);
    engine.command(0, Command::Mirror(mirror));
    for share in [0.0, 0.05, 1.0] {
        rate.set(Threshold::of(share));
        assert_eq!(counted(&mut engine, &pool, LAN.index(), &frames, 200), 0, "{share}");
    }
    let tally = &source.tally;
    assert!(tally.flow_packets.get() > 6000 && tally.lost.get() > 3000, "{tally:?}");
    assert!(source.next(|copied| copied.head().len()).is_some_and(|bytes| bytes > 100));
}

fn engine_receives(engine: &mut Pooled, pool: &Pool, frames: &[Vec<u8>]) {
    engine.queues[0][LAN.index()].rx.lock().unwrap().extend(frames.iter().map(|f| pool.fill(f).unwrap()));
}

/// Every protocol, GRE with and without its options, over and under both versions, both ways.
#[test]
fn tunnels_allocate_nothing() {
    let gre = |key, sequence| Encapsulation::Gre { key, sequence };
    let protocols =
        [gre(None, false), gre(Some(1), true), Encapsulation::Esp, Encapsulation::IpIp, vxlan(7), ESP_UDP];
    for encapsulation in protocols {
        for outer_v6 in [false, true] {
            let pool = Pool::new(500);
            let mut a = over(1, 2, encapsulation, outer_v6, &pool);
            let mut b = over(2, 1, encapsulation, outer_v6, &pool);
            if encapsulation.is_esp() {
                key(&mut a, &mut b, TunnelId(0), TunnelId(0), 0x1000);
            }
            let packets: Vec<_> =
                (0..30).map(|flow| Ip::between(1, 2, flow % 2 == 0).udp(flow, 900)).collect();
            let (frames, mut allocated) = (to_lan(&packets), 0);
            for _ in 0..50 {
                engine_receives(&mut a, &pool, &frames);
                let before = ALLOCATIONS.with(Cell::get);
                a.workers[0].poll();
                allocated += ALLOCATIONS.with(Cell::get) - before;
                let mut tx = a.queues[0][WAN.index()].tx.lock().unwrap();
                let sent: Vec<Vec<u8>> = tx.drain(..).map(|p| p.data().to_vec()).collect();
                drop(tx);
                assert_eq!(sent.len(), 30);
                allocated += counted(&mut b, &pool, WAN.index(), &sent, 1);
            }
            assert_eq!(allocated, 0, "{encapsulation:?}, outer IPv6: {outer_v6}");
            assert_eq!(b.counters().transmitted.get(), 50 * 30);
        }
    }
}

/// Allocations and releases in one poll of each worker.
fn poll_all(engine: &mut Pooled) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    engine.workers.iter_mut().for_each(|worker| _ = worker.poll());
    let counted = ALLOCATIONS.with(Cell::get) - before;
    for queues in &engine.queues {
        (0..PORTS).for_each(|port| queues[port].tx.lock().unwrap().clear());
    }
    counted
}

/// Frames that hosts, routers and attackers send, by the way they come in: the corpus, whole and with bytes changed.
fn hostile() -> Vec<(usize, Vec<u8>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/wire");
    let files = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    let mut frames = Vec::new();
    for (n, frame) in files.filter(|frame| frame.len() > 18).enumerate() {
        for (way, &(_, interface)) in WAYS_IN.iter().enumerate() {
            let mut frame = frame.clone();
            if n % 8 != 0 {
                frame[..6].copy_from_slice(&engine_mac(1, interface).0);
            }
            if n % 3 == 0 {
                let at = 12 + (n * 7 + way) % (frame.len() - 12);
                frame[at] ^= 1 << (n % 8);
            }
            if interface == 2 && frame[12..14] != [0x81, 0] {
                frame.splice(12..12, [0x81, 0, 0, VLAN as u8]);
            }
            frames.push((way, frame));
        }
    }
    for v6 in [false, true] {
        let (there, near) = (Ip::between(1, 2, v6), Ip::between(1, 101, v6));
        let from = |src: &str| Ip { src: src.parse().unwrap(), ..there };
        let to = |dst: &str| Ip { dst: dst.parse().unwrap(), ..there };
        let packets = [
            there.udp(1, 1400),
            there.whole().sized(3, 1500),
            there.ttl(1).udp(1, 9),
            near.sized(1, 1500),
            near.syn(9000),
            there.udp(2, 9),
            Ip::between(2, 1, v6).udp(1, 9),
            from(if v6 { "::1" } else { "127.0.0.1" }).udp(1, 9),
            to(if v6 { "ff05::1" } else { "239.1.1.1" }).udp(1, 9),
        ];
        frames.extend(to_lan(&packets).into_iter().map(|frame| (0, frame)));
        let outer = if v6 { Ip::new(wan_v6(2), wan_v6(1)) } else { Ip::new(wan_v4(2), wan_v4(1)) };
        let tunnels = [
            outer.raw(47, &[0x20, 0, 8, 0, 0, 0, 0, 99, 0x45, 0]),
            outer.raw(47, &[0x20, 7, 8, 0, 0, 0, 0, 42, 0x45, 0]),
            outer.raw(50, &[9; 80]),
            outer.raw(50, &[[0, 0, 0x11, 0, 0, 0, 0, 1], [0; 8]].concat().repeat(4)),
        ];
        frames.extend(tunnels.map(|packet| (1, frame(engine_mac(1, 1), engine_mac(2, 1), None, &packet))));
    }
    frames
}

/// Two workers with every kind of tunnel, and hostile frames at each port, while control publishes, forgets and
/// learns neighbours, shifts, moves tunnels up and down, takes the lease away, asks, replaces SAs and takes histograms.
#[test]
fn nothing_that_control_does_makes_workers_allocate() {
    let (pool, peers) = (Pool::new(3000), Pool::new(100));
    let (mut engine, mut far) = (everything(1, 2, &pool, 32), everything(2, 1, &peers, 32));
    keyed(&mut engine, &mut far);
    let acts = [
        Act::Poll,
        Act::Forget,
        Act::Wait(100),
        Act::Know,
        Act::Shift(7),
        Act::Up(1, false),
        Act::Ask,
        Act::Forget,
        Act::Wait(4000),
        Act::Know,
        Act::Up(1, true),
        Act::Lease(false),
        Act::Poll,
        Act::Lease(true),
        Act::Shift(1),
    ];
    let frames = hostile();
    let (mut acts, mut allocated) = (acts.iter().cycle(), 0);
    for round in 0..40u32 {
        for burst in frames.chunks(32) {
            for (n, (way, frame)) in burst.iter().enumerate() {
                let queue = &engine.queues[n % 2][WAYS_IN[*way].0.index()];
                queue.rx.lock().unwrap().extend(pool.fill(frame));
            }
            let act = *acts.next().unwrap();
            prepare(&mut engine, act);
            let polled = poll_all(&mut engine);
            assert_eq!(polled, 0, "{act:?}");
            allocated += polled;
            engine.events();
        }
        replace_sa(&mut engine, Spi(0x2000 + 2 * (round % 2)));
        for control in &mut engine.control {
            drop(control.latency_in.post(Box::<Latency>::default()));
        }
        allocated += poll_all(&mut engine);
        for control in &mut engine.control {
            assert!(control.latency_out.take().is_some(), "the worker gives its histograms back");
        }
        engine.events();
    }
    assert_eq!(allocated, 0);
    let drops = engine.drops();
    assert!(drops.len() >= 20, "only these reasons were reached: {drops:?}");
    assert!(drops.contains_key("lease_expired") && drops.contains_key("neighbor_unresolved"), "{drops:?}");
}

fn replace_sa(engine: &mut Pooled, spi: Spi) {
    let sa = InboundSa::new(
        spi,
        SaKey::new(&AwsLc, Algorithm::Aes128Gcm, &[3; 20]).unwrap(),
        WindowSize::default(),
        true,
    )
    .unwrap();
    engine.command(0, Command::InstallInbound(Box::new(Inbound { tunnel: TunnelId(1), sa })));
    engine.command(0, Command::RemoveInbound(Spi(spi.0 ^ 2)));
}

/// A pool that allocates once for each packet, as a mistake would.
#[derive(Clone)]
struct Planted(Pool);

impl PacketPool for Planted {
    type Packet = PooledPacket;

    fn alloc(&mut self) -> Option<PooledPacket> {
        drop(std::hint::black_box(Box::new(1)));
        self.0.alloc()
    }
}

/// What the tests above would see.
#[test]
fn a_planted_allocation_is_seen() {
    let pool = Pool::new(100);
    let mut draft = Draft::new(1, 1);
    let tunnel = draft.tunnel(Encapsulation::Esp, false, 2);
    draft.group(2, &[(tunnel, 1)], &[tunnel]);
    let sizes = Sizes { workers: 1, icmp_errors_per_second: 1_000_000 };
    let mut engine = Engine::assemble(draft, &sizes, || PooledPort::new(32), || Planted(pool.clone()));
    let frames = to_lan(&[Ip::between(1, 101, false).ttl(1).udp(1, 20)]);
    engine.queues[0][0].rx.lock().unwrap().extend(frames.iter().map(|f| pool.fill(f).unwrap()));
    let before = ALLOCATIONS.with(Cell::get);
    engine.workers[0].poll();
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 2, "one allocation and its release, for one ICMP error");
}
