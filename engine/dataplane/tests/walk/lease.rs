//! Ownership: what an engine does, and no longer does, without its lease.

use crate::support::{
    Draft, Engine, Ip, LAN, WAN, checked, deliver, engine_mac, frame, host_mac, host_v4, pair, payload,
    through,
};
use dataplane::drop_reason::DropReason;
use dataplane::id::{Nanos, TunnelId};
use dataplane::message::Command;
use dataplane::snapshot::Encapsulation;

fn arrives(packet: &[u8]) -> Vec<u8> {
    frame(engine_mac(1, 0), host_mac(), None, packet)
}

#[test]
fn without_its_lease_an_engine_forwards_nothing_and_still_answers() {
    let (mut a, mut b) = pair(Encapsulation::Esp, false);
    let (there, back) = (Ip::between(1, 2, false).udp(1, 20), Ip::between(2, 1, false).udp(1, 20));
    assert_eq!(through(&mut a, &mut b, &there).0.len(), 1);
    let late = b.pass(LAN, &frame(engine_mac(2, 0), host_mac(), None, &back), WAN);
    a.lease(a.now());
    a.refuses(LAN, &arrives(&there), DropReason::LeaseExpired);
    a.refuses(LAN, &arrives(&Ip::between(1, 101, true).udp(1, 20)), DropReason::LeaseExpired);
    a.refuses(WAN, &late[0], DropReason::LeaseExpired);
    // Not even in fragments, nor with an error about it.
    a.refuses(LAN, &arrives(&Ip::between(1, 2, false).sized(1, 1500)), DropReason::LeaseExpired);
    a.refuses(LAN, &arrives(&Ip::between(1, 2, false).ttl(1).udp(1, 20)), DropReason::LeaseExpired);

    let echo = a.pass(LAN, &arrives(&Ip::new(host_v4(1, 9), host_v4(1, 1)).echo(1, b"")), LAN);
    assert_eq!(payload(&checked(&echo[0]))[0], 0);
    b.command(0, Command::Probe { tunnel: TunnelId(0), sequence: 1 });
    b.poll();
    let probe = b.take(WAN);
    assert_eq!(a.pass(WAN, &probe[0], WAN).len(), 1);
    // And once it has one again, all is as before.
    a.lease(a.now().plus(Nanos(1)));
    assert_eq!(through(&mut a, &mut b, &there).0.len(), 1);
}

/// A paused engine wakes with packets that waited for a neighbour: they are not sent.
#[test]
fn what_waited_longer_than_the_lease_stays() {
    let mut engine = Engine::new(Draft::new(1, 1));
    let known = std::mem::take(&mut engine.draft.neighbors);
    engine.publish();
    let forwarded = Ip::between(101, 1, false).udp(1, 20);
    let own = Ip::new(host_v4(1, 9), host_v4(1, 1)).echo(1, b"own");
    engine.put(0, LAN, &frame(engine_mac(1, 2), host_mac(), Some(100), &forwarded));
    engine.put(0, LAN, &arrives(&own));
    engine.poll();
    assert_eq!(engine.counters().held.get(), 2);
    engine.lease(Nanos(0));
    engine.draft.neighbors = known;
    engine.publish();
    engine.poll();
    let out = engine.take(LAN);
    assert_eq!(out.len(), 1);
    assert_eq!(payload(&checked(&out[0]))[8..], *b"own");
    assert_eq!(engine.drops(), [("lease_expired", 1)].into());
}

#[test]
fn a_fenced_tunnel_delivers_nothing() {
    let (mut a, mut b) = pair(Encapsulation::Esp, true);
    let packet = Ip::between(1, 2, true).udp(1, 20);
    b.draft.tunnels[0].fenced = true;
    b.publish();
    let wire = a.pass(LAN, &arrives(&packet), WAN);
    b.refuses(WAN, &wire[0], DropReason::StaleEpoch);
    b.draft.tunnels[0].fenced = false;
    b.publish();
    let wire = a.pass(LAN, &arrives(&packet), WAN);
    assert_eq!(deliver(&mut b, &wire).len(), 1);
}
