//! BFD packets through the walk: two neighbours on a link, and who else might send some.

use crate::support::draft::{net, wan_v4};
use crate::support::{Draft, Engine, WAN, engine_mac};
use dataplane::bfd::{Hops, Parameters};
use dataplane::drop_reason::DropReason;
use dataplane::id::InterfaceId;
use dataplane::message::Event;
use dataplane::snapshot::NextHop;
use dataplane::wire::bfd::{Diagnostic, State};
use dataplane::wire::ipv4::Ipv4Header;
use std::net::IpAddr;
use std::time::Duration;

fn engine(id: u8, far: u8) -> Engine {
    let mut draft = Draft::new(id, id);
    draft.bfd.push(Parameters {
        interface: InterfaceId(1),
        hops: Hops::Single,
        local: wan_v4(id),
        remote: wan_v4(far),
        discriminator: 7,
        interval: Duration::from_millis(10),
        multiplier: 3,
    });
    Engine::new(draft)
}

fn told(engine: &mut Engine) -> Vec<(State, Diagnostic)> {
    let said = |event| match event {
        Event::Bfd { session: 0, state, diagnostic } => Some((state, diagnostic)),
        _ => None,
    };
    engine.events().into_iter().filter_map(said).collect()
}

/// A millisecond on a wire between them; what `a` sent.
fn tick(a: &mut Engine, b: &mut Engine) -> Vec<Vec<u8>> {
    a.wait(1);
    b.wait(1);
    a.poll();
    b.poll();
    let (from_a, from_b) = (a.take(WAN), b.take(WAN));
    from_a.iter().for_each(|frame| b.put(0, WAN, frame));
    from_b.iter().for_each(|frame| a.put(0, WAN, frame));
    from_a
}

#[test]
fn neighbours_see_each_other_and_notice_when_one_falls_silent() {
    let (mut a, mut b) = (engine(1, 2), engine(2, 1));
    for _ in 0..2500 {
        tick(&mut a, &mut b);
    }
    assert_eq!(told(&mut a).last(), Some(&(State::Up, Diagnostic::NONE)));
    assert_eq!(told(&mut b).last(), Some(&(State::Up, Diagnostic::NONE)));
    let frame = (0..20).flat_map(|_| tick(&mut a, &mut b)).next().expect("three packets at least");
    // RFC 5881 §5: TTL 255, so that nobody further away can have sent it.
    assert_eq!(frame[14 + 8], 255);
    let mut routed = frame.clone();
    assert!(Ipv4Header::of(&mut routed[14..]).unwrap().decrement_ttl());
    b.poll();
    b.refuses(WAN, &routed, DropReason::NoListener);
    let mut damaged = frame;
    let last = damaged.len() - 9;
    damaged[last] ^= 1;
    b.refuses(WAN, &damaged, DropReason::BadChecksum);
    told(&mut b);
    for _ in 0..31 {
        b.wait(1);
        b.poll();
    }
    assert_eq!(told(&mut b), [(State::Down, Diagnostic::TIMED_OUT)]);
}

/// An engine whose session ends at `local` of interface `on` and is with `remote`, at least `ttl_min` away from it.
fn beyond(id: u8, on: usize, (local, remote): (IpAddr, IpAddr), ttl_min: u8) -> Engine {
    let mut draft = Draft::new(id, id);
    draft.bfd.push(Parameters {
        interface: InterfaceId(on as u16),
        hops: Hops::Multi { ttl_min },
        local,
        remote,
        discriminator: 7,
        interval: Duration::from_millis(10),
        multiplier: 3,
    });
    if !draft.interfaces[on].has(local) {
        draft.interfaces[on].addresses.push(net(local, 24));
    }
    let via = NextHop::Via { interface: InterfaceId(1), gateway: wan_v4(3 - id) };
    draft.routes.push((net(remote, 32), via));
    Engine::new(draft)
}

#[test]
fn one_that_is_hops_away_is_reached_by_its_route_and_heard_on_any_interface() {
    let far: IpAddr = "198.51.100.9".parse().unwrap();
    let (mut a, mut b) = (beyond(1, 1, (wan_v4(1), far), 254), beyond(2, 0, (far, wan_v4(1)), 255));
    let mut sent = Vec::new();
    for _ in 0..2500 {
        sent = tick(&mut a, &mut b);
    }
    assert_eq!(told(&mut a).last(), Some(&(State::Up, Diagnostic::NONE)));
    assert_eq!(told(&mut b).last(), Some(&(State::Up, Diagnostic::NONE)));
    while sent.is_empty() {
        sent = tick(&mut a, &mut b);
    }
    assert_eq!(sent[0][14 + 20 + 2..][..2], 4784_u16.to_be_bytes(), "RFC 5883 §5");
    assert_eq!(sent[0][..6], engine_mac(2, 1).0, "the router on the way there");
    // A router on the way takes one from the TTL: a takes that, b, which allows none, does not; two are too many for a.
    let mut farther = sent[0].clone();
    assert!(Ipv4Header::of(&mut farther[14..]).unwrap().decrement_ttl());
    b.refuses(WAN, &farther, DropReason::NoListener);
    let mut sent = Vec::new();
    while sent.is_empty() {
        a.wait(1);
        b.wait(1);
        b.poll();
        sent = b.take(WAN);
    }
    let mut routed = sent.remove(0);
    assert!(Ipv4Header::of(&mut routed[14..]).unwrap().decrement_ttl());
    a.poll();
    let taken = a.dropped(DropReason::ProbeConsumed);
    a.put(0, WAN, &routed);
    a.poll();
    assert_eq!(a.dropped(DropReason::ProbeConsumed), taken + 1);
    a.take(WAN);
    assert!(Ipv4Header::of(&mut routed[14..]).unwrap().decrement_ttl());
    a.refuses(WAN, &routed, DropReason::NoListener);
}
