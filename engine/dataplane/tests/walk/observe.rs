//! What observers see of real walks.

use crate::support::{Engine, Ip, LAN, WAN, checked, deliver, engine_mac, frame, host_mac, pair, through};
use dataplane::drop_reason::DropReason;
use dataplane::id::{Nanos, TunnelId, WorkerId};
use dataplane::message::{Command, Event, Retired};
use dataplane::observe::headers::Upper;
use dataplane::observe::record::Direction;
use dataplane::observe::session::{Directions, Ends, ObserverLease, Order, Side, Source, Watch, observe};
use dataplane::observe::{Filter, Next, Origin, Outcome, Point, Record};
use dataplane::snapshot::{Encapsulation, NextHop};
use dataplane::wire::Protocol;
use std::collections::BTreeMap;

const GRE: Encapsulation = Encapsulation::Gre { key: Some(42), sequence: true };

/// The engine's first worker observes.
fn look(engine: &mut Engine, watch: Watch, filter: &str) -> (Source, ObserverLease) {
    let filter = Filter::compile(filter, |_| Ok(TunnelId(0))).expect("a filter");
    let lease = ObserverLease::default();
    lease.renew(Nanos::MAX);
    let order = Order { watch, filter, snaplen: 2048, rate: 1_000_000 };
    let (observer, source) = observe(WorkerId(0), &order, &lease);
    engine.command(0, Command::Observe(observer));
    (source, lease)
}

fn shown<T>(source: &mut Source, mut show: impl FnMut(&Record) -> T) -> Vec<T> {
    let mut out = Vec::new();
    while source.next(|record| out.push(show(record))) {}
    out
}

fn points(record: &Record) -> Vec<Point> {
    record.steps.iter().map(|step| step.point).collect()
}

#[test]
fn a_trace_follows_a_packet_into_a_tunnel_and_out_of_it() {
    for (encapsulation, protocol) in [(GRE, Protocol::GRE), (Encapsulation::Esp, Protocol::ESP)] {
        let (mut a, mut b) = pair(encapsulation, false);
        let ours = Ip::between(1, 2, false);
        let filter = format!("host {} and udp", ours.dst);
        let ((mut from, _), (mut to, _)) =
            (look(&mut a, Watch::Trace, &filter), look(&mut b, Watch::Trace, &filter));
        for flow in 0..3 {
            through(&mut a, &mut b, &ours.udp(flow, 100));
        }
        through(&mut a, &mut b, &ours.echo(1, b"not udp"));
        let into = shown(&mut from, |record| {
            assert_eq!((record.origin, record.outcome), (Origin::Port(LAN), Some(Outcome::Sent(WAN))));
            let at = |point| *record.steps.iter().find(|step| step.point == point).expect("a step");
            assert!(matches!(at(Point::Lookup).next, Some(Next::Route(NextHop::Group(_)))), "{record:?}");
            assert_eq!(at(Point::Steer).next, Some(Next::Tunnel(TunnelId(0))));
            assert!(at(Point::Steer).bucket.is_some());
            let outer = at(Point::Encap).header.expect("an IP header");
            assert_eq!(outer.protocol, protocol);
            match outer.upper {
                Upper::Esp(esp) => esp.sequence,
                Upper::Gre { key: Some(42), sequence: Some(sequence) } => sequence + 1,
                other => panic!("{other:?}"),
            }
        });
        assert_eq!(into, [1, 2, 3], "sequence numbers");
        let out = shown(&mut to, |record| {
            assert_eq!((record.origin, record.outcome), (Origin::Port(WAN), Some(Outcome::Sent(LAN))));
            let decap = record.steps.iter().find(|step| step.point == Point::Decap).expect("a step");
            assert_eq!(
                (decap.tunnel_in, decap.header.map(|header| header.src)),
                (Some(TunnelId(0)), Some(ours.src))
            );
            points(record)
        });
        assert_eq!(out.len(), 3);
        let way = [
            Point::Parse,
            Point::Decap,
            Point::Classify,
            Point::Lookup,
            Point::Steer,
            Point::Forward,
            Point::Encap,
            Point::Transmit,
        ];
        assert_eq!(out[0], way);
    }
}

#[test]
fn captures_of_a_tunnel_are_what_is_inside_and_what_is_on_the_wire() {
    for encapsulation in [GRE, Encapsulation::Esp] {
        for v6 in [false, true] {
            for side in [Side::Inside, Side::Outside] {
                let (mut a, mut b) = pair(encapsulation, v6);
                let watch = |engine: &mut Engine| {
                    let ends = Ends::from(&engine.draft.tunnels[0]);
                    look(engine, Watch::Tunnel { ends, side, directions: Directions::Both }, "").0
                };
                let (mut at_a, mut at_b) = (watch(&mut a), watch(&mut b));
                let packet = Ip::between(1, 2, v6).ttl(9).udp(1, 60);
                let (out, wire) = through(&mut a, &mut b, &packet);
                // What B captures has a TTL that B has not taken from yet.
                let seen = |record: &Record| (record.direction, record.data().to_vec());
                let (sent, received) = (shown(&mut at_a, seen), shown(&mut at_b, seen));
                assert_eq!((sent.len(), received.len(), out.len()), (1, 1, 1), "{side:?} {encapsulation:?}");
                assert_eq!((sent[0].0, received[0].0), (Direction::Tx, Direction::Rx));
                assert_eq!(sent[0].1, received[0].1, "{side:?}");
                let expected = match side {
                    Side::Inside => Ip::between(1, 2, v6).ttl(8).udp(1, 60),
                    Side::Outside => checked(&wire[0]),
                };
                assert_eq!(sent[0].1, expected, "{side:?}");
            }
        }
    }
}

/// Frames that end in many ways, and some that get through.
fn frames(engine: &Engine) -> Vec<Vec<u8>> {
    let local = Ip::between(1, 101, false);
    let ours = engine.draft.interfaces[0].towards(local.src).unwrap();
    let mut broken = local.udp(1, 40);
    broken[10] ^= 1;
    let packets = [
        local.udp(1, 100),
        local.ttl(1).udp(1, 100),
        Ip::between(1, 2, false).sized(1, 1600),
        Ip::between(1, 2, false).udp(1, 100),
        Ip::new(local.src, "9.9.9.9".parse().unwrap()).udp(1, 10),
        Ip::new("10.2.0.9".parse().unwrap(), local.dst).udp(1, 10),
        Ip::new(local.src, ours).echo(1, b"echo"),
        Ip::new(local.src, ours).udp(1, 20),
        Ip::new(local.src, "10.101.0.77".parse().unwrap()).udp(1, 20),
        broken,
    ];
    let mut frames: Vec<_> =
        packets.iter().map(|packet| frame(engine_mac(1, 0), host_mac(), None, packet)).collect();
    frames.push(frame(engine_mac(7, 7), host_mac(), None, &packets[0]));
    frames.push(vec![0xff; 20]);
    frames
}

/// A trace of everything agrees with the counters: no end goes unseen, none is seen twice.
#[test]
fn every_end_is_seen_once() {
    let (mut a, _) = pair(GRE, false);
    let (mut source, _) = look(&mut a, Watch::Trace, "");
    a.poll();
    let before = (a.drops(), a.counters().transmitted.get(), a.counters().held.get());
    assert_eq!((before.0.len(), before.2), (0, 0));
    for frame in frames(&a) {
        a.put(0, LAN, &frame);
    }
    a.poll();
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    let ends = shown(&mut source, |record| record.outcome.expect("a trace tells the end"));
    for end in &ends {
        let name = match end {
            Outcome::Dropped { reason, .. } => reason.name(),
            Outcome::Sent(_) => "sent",
            Outcome::Held => "held",
            Outcome::HandedTo(_) => "handed",
        };
        *seen.entry(name).or_default() += 1;
    }
    let mut counted = a.drops();
    counted.insert("sent", a.counters().transmitted.get() - before.1);
    counted.insert("held", a.counters().held.get());
    assert_eq!(seen, counted);
    assert!(counted.len() >= 8, "{counted:?}");
    assert_eq!((source.tally.lost.get(), source.tally.over_rate.get()), (0, 0));
}

#[test]
fn drops_are_captured_with_the_frame_that_came_in() {
    let (mut a, _) = pair(GRE, false);
    let (mut source, _) = look(&mut a, Watch::Drop(Some(DropReason::TtlExpired)), "udp");
    let frames = frames(&a);
    for frame in &frames {
        a.put(0, LAN, frame);
    }
    a.poll();
    let seen = shown(&mut source, |record| (record.data().to_vec(), record.outcome));
    let outcome = Some(Outcome::Dropped { at: Point::Forward, reason: DropReason::TtlExpired });
    assert_eq!(seen, [(frames[1].clone(), outcome)]);
}

#[test]
fn ports_are_captured_both_ways() {
    let (mut a, mut b) = pair(Encapsulation::Esp, false);
    let (mut source, _) = look(&mut b, Watch::Port { port: WAN, directions: Directions::Both }, "esp");
    let (_, wire) = through(&mut a, &mut b, &Ip::between(1, 2, false).udp(1, 100));
    let back = frame(engine_mac(2, 0), host_mac(), None, &Ip::between(2, 1, false).udp(1, 100));
    let sent = b.pass(LAN, &back, WAN);
    let seen = shown(&mut source, |record| (record.direction, record.data().to_vec()));
    assert_eq!(seen, [(Direction::Rx, wire[0].clone()), (Direction::Tx, sent[0].clone())]);
}

#[test]
fn an_abandoned_observer_goes_home() {
    let (mut a, mut b) = pair(GRE, false);
    let (mut source, lease) = look(&mut b, Watch::Trace, "");
    let packet = Ip::between(1, 2, false).udp(1, 100);
    let (_, wire) = through(&mut a, &mut b, &packet);
    assert_eq!(shown(&mut source, |_| ()).len(), 1);
    lease.renew(Nanos(0));
    let retired = |events: Vec<Event>| {
        events.iter().filter(|event| matches!(event, Event::Retired(Retired::Observer(_)))).count()
    };
    assert_eq!(retired(b.events()), 0);
    deliver(&mut b, &wire);
    assert_eq!(shown(&mut source, |_| ()).len(), 0);
    assert_eq!(retired(b.events()), 1);
    // One takes the other's place; told to end, it ends.
    let (_first, _) = look(&mut b, Watch::Trace, "");
    let (_second, _) = look(&mut b, Watch::Trace, "");
    b.poll();
    assert_eq!(retired(b.events()), 1);
    b.command(0, Command::Unobserve);
    b.poll();
    assert_eq!(retired(b.events()), 1);
}
