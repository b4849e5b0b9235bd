use super::*;
use crate::id::Nanos;
use crate::packet::BURST;
use crate::wire::Protocol;
use arrayvec::ArrayVec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

fn seconds(s: u64) -> Nanos {
    Nanos(s * 1_000_000_000)
}

fn config(capacity: u32, nat: bool, when_full: WhenFull) -> SessionConfig {
    SessionConfig { capacity, nat, timeouts: Timeouts::default(), when_full }
}

/// The `n`th of many flows of either family; ports and addresses are near each other, as a scan's are.
fn tuple(n: u32, v6: bool, protocol: Protocol) -> AnyTuple {
    let (src_port, dst_port, protocol) = (1024 + (n % 50_000) as u16, 443, protocol.0);
    if v6 {
        let address = |low: u32| Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(low));
        return AnyTuple::V6(Tuple { src: address(n), dst: address(!n), src_port, dst_port, protocol });
    }
    let (src, dst) = (Ipv4Addr::from_bits(0x0a00_0000 + n), Ipv4Addr::from_bits(0xc000_0200 + n / 7));
    AnyTuple::V4(Tuple { src, dst, src_port, dst_port, protocol })
}

/// The same flow behind a source port and address of a NAT.
fn translated(forward: AnyTuple, n: u32) -> SessionKey {
    let AnyTuple::V4(forward) = forward else { return SessionKey::plain(forward) };
    let mut reverse = forward.reversed();
    (reverse.dst, reverse.dst_port) = (Ipv4Addr::from_bits(0xcb00_7100 + n / 60_000), (n % 60_000) as u16);
    SessionKey::V4 { forward, reverse }
}

fn note(table: &mut SessionTable, hit: Hit, upper: Upper, now: Nanos) {
    assert_ne!(table.pass(hit, upper, now.into(), 1), Passed::Gone);
}

fn new(key: SessionKey, upper: Upper) -> NewSession {
    NewSession { key, upper, generation: 1, rule: 0, input: 0 }
}

#[test]
fn a_full_table_holds_what_it_promises() {
    for (seed, nat) in [(1, false), (2, true), (3, true)] {
        let capacity = 100_000;
        let mut table =
            SessionTable::new(config(capacity, nat, WhenFull::DropNew), HashKeys::seeded(seed), seconds(0));
        assert!(table.bytes() <= capacity as usize * if nat { 88 } else { 77 } + 128, "{}", table.bytes());
        let key = |n: u32| {
            let forward = tuple(n, n.is_multiple_of(3), Protocol::UDP);
            if nat { translated(forward, n) } else { SessionKey::plain(forward) }
        };
        for n in 0..capacity {
            table.insert(&new(key(n), Upper::Other), seconds(0), |_| unreachable!()).expect("room");
        }
        assert_eq!(table.insert(&new(key(capacity), Upper::Other), seconds(0), |_| ()), Err(Full));
        for n in 0..capacity {
            let forward = table.lookup(&key(n).forward()).expect("a session");
            let reverse = table.lookup(&key(n).reverse()).expect("a session");
            assert_eq!((forward.id, forward.direction), (reverse.id, Direction::Forward));
            assert_eq!(reverse.direction, Direction::Reverse);
        }
        for n in (0..capacity).step_by(2) {
            let id = table.lookup(&key(n).forward()).expect("a session").id;
            assert_eq!(table.remove(id).expect("live").key, key(n));
        }
        let live: usize = (0..capacity).filter(|&n| table.lookup(&key(n).reverse()).is_some()).count();
        assert_eq!((table.len(), live), (50_000, 50_000));
    }
}

#[test]
fn a_new_flow_evicts_the_idlest_that_opens_and_no_other() {
    let mut table =
        SessionTable::new(config(16, false, WhenFull::EvictOpening), HashKeys::seeded(1), seconds(0));
    let flow = |n| tuple(n, false, Protocol::UDP);
    for n in 0..16 {
        table
            .insert(&new(SessionKey::plain(flow(n)), Upper::Other), seconds(n.into()), |_| ())
            .expect("room");
    }
    // All but 5 and 9 get an answer; 5, the older, then sends again.
    for n in (0..16).filter(|n| ![5, 9].contains(n)) {
        let hit = table.lookup(&flow(n).reversed()).expect("a session");
        note(&mut table, hit, Upper::Other, seconds(20));
    }
    let hit = table.lookup(&flow(5)).expect("a session");
    note(&mut table, hit, Upper::Other, seconds(21));
    for (n, gone) in [(16, 9), (17, 5)] {
        let mut ended = None;
        let entered = table.insert(&new(SessionKey::plain(flow(n)), Upper::Other), seconds(22), |session| {
            ended = Some(session.key);
        });
        assert_eq!(ended, Some(SessionKey::plain(flow(gone))));
        let id = entered.expect("room was made");
        note(&mut table, Hit { id, direction: Direction::Reverse }, Upper::Other, seconds(23));
    }
    assert_eq!(table.insert(&new(SessionKey::plain(flow(18)), Upper::Other), seconds(24), |_| ()), Err(Full));
    assert_eq!(table.len(), 16);
}

#[test]
fn tcp_goes_through_its_phases() {
    use tcp::{ACK, FIN, RST, SYN};
    let walk = |steps: &[(bool, u8)]| {
        let mut track = Track::first(Upper::Tcp(steps[0].1));
        for &(forward, flags) in &steps[1..] {
            let upper = Upper::Tcp(flags);
            track = if forward { track.forward(upper) } else { track.reverse(upper) };
        }
        track.phase(Protocol::TCP)
    };
    let open = [(true, SYN), (false, SYN | ACK), (true, ACK)];
    let after = |more: &[(bool, u8)]| walk(&[&open[..], more].concat());
    assert_eq!(walk(&open[..1]), Phase::Opening);
    assert_eq!(walk(&open[..2]), Phase::Opening, "a SYN-ACK alone is a flood's reflection");
    assert_eq!(walk(&open), Phase::Established);
    assert_eq!(after(&[(true, FIN | ACK)]), Phase::Established, "half closed");
    assert_eq!(after(&[(true, FIN | ACK), (false, FIN | ACK)]), Phase::Closing);
    assert_eq!(after(&[(false, RST)]), Phase::Closing);
    assert_eq!(walk(&[(true, SYN), (false, RST | ACK)]), Phase::Closing);
    assert_eq!(after(&[(false, RST), (true, SYN)]), Phase::Opening, "the ports are used anew");
    assert_eq!(after(&[(true, SYN)]), Phase::Established, "a forged SYN changes nothing");
    assert_eq!(walk(&[(true, ACK)]), Phase::Opening, "picked up, not answered");
    assert_eq!(walk(&[(true, ACK), (false, ACK)]), Phase::Established);
}

#[test]
fn sessions_end_when_their_time_is_over_and_not_before() {
    let timeouts = Timeouts::default();
    let mut table =
        SessionTable::new(config(1000, false, WhenFull::DropNew), HashKeys::seeded(1), seconds(0));
    let [quiet, answered, kept, closed] = [0, 1, 2, 3].map(|n| tuple(n, n == 1, Protocol::UDP));
    let closed = match closed {
        AnyTuple::V4(tuple) => AnyTuple::V4(Tuple { protocol: Protocol::TCP.0, ..tuple }),
        v6 => v6,
    };
    for flow in [quiet, answered, kept] {
        table.insert(&new(SessionKey::plain(flow), Upper::Other), seconds(0), |_| ()).expect("room");
    }
    table.insert(&new(SessionKey::plain(closed), Upper::Tcp(tcp::ACK)), seconds(0), |_| ()).expect("room");
    let hit = table.lookup(&closed.reversed()).expect("live");
    note(&mut table, hit, Upper::Tcp(tcp::ACK), seconds(1));
    let hit = table.lookup(&answered.reversed()).expect("live");
    note(&mut table, hit, Upper::Other, seconds(10));
    let mut ended = BTreeMap::new();
    for ms in (0..900_000).step_by(100) {
        let now = Nanos::from_millis(ms);
        if ms % 60_000 == 0 && ms < 600_000 {
            let hit = table.lookup(&kept).expect("kept");
            note(&mut table, hit, Upper::Other, now);
        }
        if ms == 300_000 {
            let hit = table.lookup(&closed).expect("two hours");
            note(&mut table, hit, Upper::Tcp(tcp::RST), now);
        }
        table.sweep(now, |session| {
            ended.insert(session.key.forward(), ms / 1000);
        });
    }
    let expected = [
        (quiet, timeouts.udp_one_way),
        (answered, 10 + timeouts.udp_two_way),
        (kept, 540 + timeouts.udp_one_way),
        (closed, 300 + timeouts.tcp_closing),
    ];
    assert_eq!(ended.len(), 4);
    for (flow, at) in expected {
        // A second of rounding, and one for the sweep to come round.
        assert!((u64::from(at)..=u64::from(at) + 2).contains(&ended[&flow]), "{at} {}", ended[&flow]);
    }
    assert!(table.is_empty());
}

#[test]
fn a_sweep_is_done_in_small_steps() {
    let capacity = 100_000;
    let mut table =
        SessionTable::new(config(capacity, false, WhenFull::DropNew), HashKeys::seeded(1), seconds(0));
    for n in 0..capacity {
        let key = SessionKey::plain(tuple(n, false, Protocol::ICMP));
        table.insert(&new(key, Upper::Other), seconds(0), |_| ()).expect("room");
    }
    let (mut polls, mut most) = (0, 0);
    while !table.is_empty() {
        let mut ended = 0;
        table.sweep(Nanos::from_millis(61_000 + polls), |_| ended += 1);
        (polls, most) = (polls + 1, most.max(ended));
    }
    assert!(most <= 32 && polls < 4000, "{most} at once, {polls} polls");
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, bool),
    Remove(u32),
    Packet(u32, bool),
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..60_u32, any::<bool>()).prop_map(|(n, nat)| Step::Insert(n, nat)),
        1 => (0..60_u32).prop_map(Step::Remove),
        4 => (0..60_u32, any::<bool>()).prop_map(|(n, reverse)| Step::Packet(n, reverse)),
        1 => (0..400_u16).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Against a map: no session lost, none found that is not there, burst and single lookups alike.
    #[test]
    fn the_table_is_a_map(steps in prop::collection::vec(step(), 1..300), seed in any::<u64>()) {
        let mut table = SessionTable::new(config(40, true, WhenFull::DropNew), HashKeys::seeded(seed), seconds(5));
        let flow = |n: u32| tuple(n, n % 3 == 1, Protocol::UDP);
        let mut model: BTreeMap<u32, SessionKey> = BTreeMap::new();
        let mut now = 5;
        for step in steps {
            match step {
                Step::Insert(n, nat) if !model.contains_key(&n) => {
                    let key = if nat { translated(flow(n), n) } else { SessionKey::plain(flow(n)) };
                    let entered = table.insert(&new(key, Upper::Other), seconds(now), |_| unreachable!());
                    prop_assert_eq!(entered.is_ok(), model.len() < 40);
                    if entered.is_ok() {
                        model.insert(n, key);
                    }
                }
                Step::Insert(..) => {}
                Step::Remove(n) => {
                    let removed = table.lookup(&flow(n)).and_then(|hit| table.remove(hit.id));
                    prop_assert_eq!(removed.map(|session| session.key), model.remove(&n));
                }
                Step::Packet(n, reverse) => {
                    let Some(key) = model.get(&n) else { continue };
                    let tuple = if reverse { key.reverse() } else { key.forward() };
                    let hit = table.lookup(&tuple).expect("in the model");
                    prop_assert_eq!(hit.direction == Direction::Reverse, reverse);
                    note(&mut table, hit, Upper::Other, seconds(now));
                }
                Step::Wait(s) => {
                    now += u64::from(s);
                    let mut ended = BTreeSet::new();
                    table.sweep(seconds(now), |session| { ended.insert(session.key.forward()); });
                    model.retain(|_, key| !ended.contains(&key.forward()));
                }
            }
            prop_assert_eq!(table.len(), model.len());
            let tuples: ArrayVec<AnyTuple, BURST> = (0..30).map(flow).collect();
            let mut hits = ArrayVec::new();
            table.lookup_burst(&tuples, &mut hits);
            for (n, (tuple, hit)) in tuples.iter().zip(&hits).enumerate() {
                prop_assert_eq!(*hit, table.lookup(tuple));
                prop_assert_eq!(hit.is_some(), model.contains_key(&(n as u32)));
            }
        }
    }
}

#[test]
fn what_a_packet_shows() {
    let mut packet = vec![0; 60];
    packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    packet[20..24].copy_from_slice(&[0x04, 0x00, 0x01, 0xbb]);
    packet[33] = tcp::SYN;
    let flow = Flow::ipv4(&packet, Protocol::TCP, 20, true).expect("long enough");
    assert_eq!((flow.tuple.ports(), flow.upper), ((1024, 443), Upper::Tcp(tcp::SYN)));
    assert_eq!(flow.tuple.addresses(), ([10, 0, 0, 1].into(), [10, 0, 0, 2].into()));
    let later = Flow::ipv4(&packet, Protocol::TCP, 20, false).expect("long enough");
    assert_eq!((later.tuple.ports(), later.upper), ((0, 0), Upper::Hidden));
    // Too short for its flags: nothing of it counts.
    assert_eq!(Flow::ipv4(&packet[..30], Protocol::TCP, 20, true).expect("a header").upper, Upper::Hidden);
    packet[20..26].copy_from_slice(&[8, 0, 0, 0, 0x12, 0x34]);
    let echo = Flow::ipv4(&packet, Protocol::ICMP, 20, true).expect("long enough");
    assert_eq!((echo.tuple.ports(), echo.upper), ((0x1234, 0x1234), Upper::Query { kind: 8, code: 0 }));
    packet[20] = 3;
    let error = Flow::ipv4(&packet, Protocol::ICMP, 20, true).expect("long enough");
    assert_eq!((error.tuple.ports(), error.upper), ((0, 0), Upper::Icmp { kind: 3, code: 0 }));
    assert_eq!(Flow::ipv4(&packet[..19], Protocol::ICMP, 20, true), None);
}
