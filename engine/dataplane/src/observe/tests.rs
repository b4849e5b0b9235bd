//! An observer and its source, driven as the walk drives them.

use super::record::{Direction, Place};
use super::session::{Directions, Ends, ObserverLease, Order, Side, Source, Watch, observe};
use super::*;
use crate::context::{Egress, Meta};
use crate::drop_reason::DropReason;
use crate::id::{InterfaceId, Nanos, PortId, Spi, TunnelId, WorkerId};
use crate::snapshot::Encapsulation;
use crate::wire::Protocol;
use etherparse::PacketBuilder;
use headers::Upper;

const NOW: Nanos = Nanos::from_millis(1000);
const WAN: PortId = PortId(1);

fn begin(watch: Watch, filter: &str) -> (Box<Observer>, Source) {
    // A million at once, so that tests about other things do not meet the rate.
    at_rate(watch, filter, 10_000_000)
}

fn at_rate(watch: Watch, filter: &str, rate: u32) -> (Box<Observer>, Source) {
    let filter = Filter::compile(filter, |_| Ok(TunnelId(0))).expect("a filter");
    let lease = ObserverLease::default();
    lease.renew(Nanos::MAX);
    observe(WorkerId(0), &Order { watch, filter, snaplen: 64, rate }, &lease)
}

/// What has come out.
fn shown<T>(source: &mut Source, mut show: impl FnMut(&Record) -> T) -> Vec<T> {
    let mut out = Vec::new();
    while source.next(|record| out.push(show(record))) {}
    out
}

/// UDP from 10.1.0.10 to 10.2.0.20.
fn inner() -> Vec<u8> {
    let mut out = Vec::new();
    PacketBuilder::ipv4([10, 1, 0, 10], [10, 2, 0, 20], 64)
        .udp(4000, 5000)
        .write(&mut out, b"hello")
        .unwrap();
    out
}

/// ESP from 192.0.2.1 to 192.0.2.2.
fn esp() -> Vec<u8> {
    let mut out = Vec::new();
    let payload = [&[0, 0, 0x10, 0, 0, 0, 0, 7][..], &[0xaa; 40]].concat();
    PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .write(&mut out, etherparse::IpNumber::ENCAPSULATING_SECURITY_PAYLOAD, &payload)
        .unwrap();
    out
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&[2; 12][..], &[8, 0], packet].concat()
}

fn seen<'a>(data: &'a [u8], meta: &'a Meta) -> Seen<'a> {
    Seen { data, meta, next: None }
}

/// Takes an ESP packet through the walk to a neighbour on interface 0.
fn walk(observer: &mut Observer, end: Option<DropReason>) {
    let frame = framed(&esp());
    let tag = observer.received(NOW, Origin::Port(WAN), &frame);
    let mut meta = Meta { interface: InterfaceId(1), protocol: Protocol::ESP, ..Meta::default() };
    observer.note(NOW, Point::Parse, tag, seen(&esp(), &meta), Ok(()));
    meta.tunnel_in = Some(TunnelId(0));
    observer.note(NOW, Point::Decap, tag, seen(&inner(), &meta), Ok(()));
    observer.note(NOW, Point::Classify, tag, seen(&inner(), &meta), Ok(()));
    if let Some(reason) = end {
        return observer.note(NOW, Point::Lookup, tag, seen(&inner(), &meta), Err(reason));
    }
    observer.note(NOW, Point::Lookup, tag, seen(&inner(), &meta), Ok(()));
    meta.egress = Egress::Neighbor { interface: InterfaceId(0), ip: [10, 2, 0, 20].into() };
    for point in [Point::Steer, Point::Forward, Point::Encap] {
        observer.note(NOW, point, tag, seen(&inner(), &meta), Ok(()));
    }
    observer.transmit(NOW, PortId(0), tag, seen(&framed(&inner()), &meta));
}

#[test]
fn a_trace_tells_the_whole_way() {
    for filter in ["", "host 10.1.0.10", "outer esp and inner udp", "tunnel a and not tcp", "inner port 5000"]
    {
        let (mut observer, mut source) = begin(Watch::Trace, filter);
        walk(&mut observer, None);
        let told = shown(&mut source, |record| {
            let points: Vec<&str> = record.steps.iter().map(|step| step.point.name()).collect();
            (points.join(" "), record.outcome, record.steps[0].header.map(|header| header.upper))
        });
        let way = "parse decap classify lookup steer forward encap transmit".to_owned();
        let spi = Upper::Esp(crate::wire::esp::Esp { spi: Spi(0x1000), sequence: 7 });
        assert_eq!(told, [(way, Some(Outcome::Sent(PortId(0))), Some(spi))], "{filter}");
    }
}

#[test]
fn a_trace_leaves_out_what_the_filter_refuses() {
    for filter in ["tcp", "outer udp", "inner host 192.0.2.1", "not tunnel a", "ip6"] {
        let (mut observer, mut source) = begin(Watch::Trace, filter);
        walk(&mut observer, None);
        assert_eq!(shown(&mut source, |_| ()).len(), 0, "{filter}");
        assert_eq!(source.tally.matched.get(), 0);
    }
}

#[test]
fn drops_are_captured_as_they_came_in() {
    for (watched, reason, wanted) in [
        (None, DropReason::NoRoute, true),
        (Some(DropReason::NoRoute), DropReason::NoRoute, true),
        (Some(DropReason::TooBig), DropReason::NoRoute, false),
        (None, DropReason::IcmpConsumed, false),
        (Some(DropReason::IcmpConsumed), DropReason::IcmpConsumed, true),
    ] {
        let (mut observer, mut source) = begin(Watch::Drop(watched), "inner udp");
        walk(&mut observer, None);
        walk(&mut observer, Some(reason));
        let told = shown(&mut source, |record| {
            (record.place, record.data().to_vec(), record.length, record.outcome)
        });
        let frame = framed(&esp());
        let outcome = Some(Outcome::Dropped { at: Point::Lookup, reason });
        let expected = (Place::Port(WAN), frame[..64].to_vec(), frame.len(), outcome);
        assert_eq!(told, if wanted { vec![expected] } else { vec![] }, "{watched:?} {reason}");
    }
}

#[test]
fn a_port_shows_its_frames_and_no_others() {
    for (directions, rx, tx) in [(Directions::Rx, 1, 0), (Directions::Tx, 0, 1), (Directions::Both, 1, 1)] {
        let (mut observer, mut source) = begin(Watch::Port { port: WAN, directions }, "");
        for port in [PortId(0), WAN] {
            observer.received(NOW, Origin::Port(port), &framed(&esp()));
            observer.transmit(NOW, port, Tag::NONE, seen(&framed(&inner()), &Meta::default()));
        }
        let told = shown(&mut source, |record| (record.place, record.direction, record.length));
        let mut expected = vec![(Place::Port(WAN), Direction::Rx, framed(&esp()).len()); rx];
        expected.extend(vec![(Place::Port(WAN), Direction::Tx, framed(&inner()).len()); tx]);
        assert_eq!(told, expected);
    }
}

#[test]
fn a_tunnel_shows_either_side() {
    let ends = Ends {
        id: TunnelId(0),
        local: [192, 0, 2, 2].into(),
        remote: [192, 0, 2, 1].into(),
        encapsulation: Encapsulation::Esp,
    };
    for (side, id, expected) in
        [(Side::Inside, 0, Some(inner())), (Side::Outside, 0, Some(esp())), (Side::Inside, 1, None)]
    {
        let ends = Ends { id: TunnelId(id), ..ends };
        let watch = Watch::Tunnel { ends, side, directions: Directions::Both };
        let (mut observer, mut source) = begin(watch, "");
        walk(&mut observer, None);
        let told = shown(&mut source, |record| (record.data().to_vec(), record.direction));
        let expected: Vec<_> =
            expected.map(|data| (data[..data.len().min(64)].to_vec(), Direction::Rx)).into_iter().collect();
        assert_eq!(told, expected, "{side:?}");
    }
    // What is sent: inside before encapsulation, outside after it; the other way round it is another's.
    let mut meta = Meta { egress: Egress::Tunnel(TunnelId(0)), ..Meta::default() };
    let towards = Ends { local: ends.remote, remote: ends.local, ..ends };
    for (side, sent) in [(Side::Inside, inner()), (Side::Outside, esp())] {
        let watch = Watch::Tunnel { ends: towards, side, directions: Directions::Tx };
        let (mut observer, mut source) = begin(watch, "");
        observer.note(NOW, Point::Forward, Tag::NONE, seen(&inner(), &meta), Ok(()));
        meta.egress = Egress::Neighbor { interface: InterfaceId(1), ip: ends.remote };
        observer.note(NOW, Point::Encap, Tag::NONE, seen(&esp(), &meta), Ok(()));
        meta.egress = Egress::Tunnel(TunnelId(0));
        assert_eq!(shown(&mut source, |record| record.length), [sent.len()], "{side:?}");
    }
}

#[test]
fn more_than_there_is_room_for_is_lost_and_counted() {
    let (mut observer, mut source) = begin(Watch::Port { port: WAN, directions: Directions::Rx }, "udp");
    let frame = framed(&inner());
    for _ in 0..10_000 {
        observer.received(NOW, Origin::Port(WAN), &frame);
    }
    let (lost, shown_first) = (source.tally.lost.get(), shown(&mut source, |_| ()).len() as u64);
    assert_eq!((lost + shown_first, lost > 0), (10_000, true));
    // Given back, they are used again.
    observer.received(NOW, Origin::Port(WAN), &frame);
    assert_eq!(shown(&mut source, |record| record.length), [frame.len()]);
}

#[test]
fn the_rate_bounds_what_comes_out() {
    let (mut observer, mut source) = at_rate(Watch::Trace, "", 1000);
    for ms in 0..1000 {
        let now = NOW.plus(Nanos::from_millis(ms));
        for _ in 0..10 {
            let tag = observer.received(now, Origin::Own, &inner());
            observer.left(now, tag, Outcome::Held);
        }
    }
    let out = shown(&mut source, |_| ()).len() as u64;
    assert!((1000..=1101).contains(&out), "{out} of 10,000 at 1000 a second and a burst of 100");
    assert_eq!(out + source.tally.over_rate.get(), 10_000);
}

#[test]
fn packets_that_never_end_are_counted_and_their_records_come_back() {
    let (mut observer, mut source) = begin(Watch::Trace, "");
    for _ in 0..100_000 {
        observer.received(NOW, Origin::Own, &inner());
    }
    assert_eq!(source.tally.lost.get(), 100_000 - 128);
    let tag = observer.received(NOW, Origin::Own, &inner());
    observer.left(NOW, tag, Outcome::HandedTo(WorkerId(1)));
    assert_eq!(shown(&mut source, |record| record.outcome), [Some(Outcome::HandedTo(WorkerId(1)))]);
}

#[test]
fn a_lease_that_nobody_renews_ends_it() {
    let lease = ObserverLease::default();
    let order = Order { watch: Watch::Trace, filter: Filter::default(), snaplen: 0, rate: 1 };
    let (observer, _source) = observe(WorkerId(0), &order, &lease);
    assert!(observer.lapsed(NOW));
    lease.renew(NOW);
    assert!(!observer.lapsed(NOW));
    assert!(observer.lapsed(NOW.plus(Nanos(1))));
}
