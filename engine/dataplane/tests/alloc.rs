//! The packet path allocates nothing: a counting allocator watches whole polls.
#![allow(unsafe_code)]

#[allow(dead_code, unused_imports)]
#[path = "walk/support/mod.rs"]
mod support;

use dataplane::acl::{Acl, Action, synthetic};
use dataplane::flow::{SessionConfig, Timeouts, WhenFull};
use dataplane::id::{Nanos, TunnelId, WorkerId};
use dataplane::message::Command;
use dataplane::nat::NatConfig;
use dataplane::observe::Filter;
use dataplane::observe::session::{ObserverLease, Order, Watch, observe};
use dataplane::packet::Packet;
use dataplane::snapshot::Encapsulation;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use support::draft::wan_v4;
use support::pooled::{Pool, PooledPort};
use support::{Draft, Engine, Ip, LAN, Sizes, WAN, engine_mac, frame, host_mac, host_v4, key};

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
    let mut draft = Draft::new(number, number);
    let tunnel = draft.tunnel(encapsulation, false, far);
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

fn engine_receives(engine: &mut Pooled, pool: &Pool, frames: &[Vec<u8>]) {
    engine.queues[0][LAN.index()].rx.lock().unwrap().extend(frames.iter().map(|f| pool.fill(f).unwrap()));
}
