//! ICMP and ICMPv6: what the engine answers, and what it says of packets that go no further.

use crate::support::craft::addresses;
use crate::support::draft::{wan_v4, wan_v6};
use crate::support::{
    Draft, Engine, GATEWAY_V4, Ip, LAN, WAN, checked, deliver, engine_mac, frame, host_mac, host_v4, host_v6,
    pair, payload,
};
use crate::support::{Sizes, through};
use dataplane::drop_reason::DropReason;
use dataplane::snapshot::{Encapsulation, NextHop};
use dataplane::wire::MacAddr;
use std::net::IpAddr;

fn host(site: u8, n: u8, v6: bool) -> IpAddr {
    if v6 { host_v6(site, n) } else { host_v4(site, n) }
}

fn arrives(packet: &[u8]) -> Vec<u8> {
    frame(engine_mac(1, 0), host_mac(), None, packet)
}

/// The one ICMP error in `out`: its source, destination, type and code, the word behind, and the quote.
fn error(out: &[Vec<u8>]) -> ((IpAddr, IpAddr), [u8; 2], u32, Vec<u8>) {
    assert_eq!(out.len(), 1, "one error");
    let packet = checked(&out[0]);
    let message = payload(&packet);
    let word = u32::from_be_bytes(message[4..8].try_into().unwrap());
    (addresses(&packet), [message[0], message[1]], word, message[8..].to_vec())
}

#[test]
fn echo_of_every_own_address() {
    let mut engine = Engine::new(Draft::new(1, 1));
    let ours = [host_v4(1, 1), host_v4(101, 1), wan_v4(1), host_v6(1, 1), host_v6(101, 1), wan_v6(1)];
    for ours in ours {
        let from = host(1, 9, ours.is_ipv6());
        let echo = Ip::new(from, ours).ttl(3).class(0xb8).echo(5, b"some bytes, odd!!");
        let out = engine.pass(LAN, &arrives(&echo), LAN);
        assert_eq!(out.len(), 1, "{:?}", engine.drops());
        let reply = checked(&out[0]);
        assert_eq!(addresses(&reply), (ours, from));
        assert_eq!(reply[if ours.is_ipv6() { 7 } else { 8 }], 64, "a fresh TTL");
        assert_eq!(payload(&reply)[0], if ours.is_ipv6() { 129 } else { 0 });
        assert_eq!(payload(&reply)[4..], payload(&echo)[4..]);
    }
    assert_eq!(engine.counters().originated.get(), 0, "turned round in place");
    // The other engine's gateway address, and a corrupt request.
    let gateway = Ip::new(host_v4(1, 9), GATEWAY_V4.into()).echo(1, b"");
    engine.draft.routes.push((IpAddr::V4(GATEWAY_V4).into(), NextHop::Local));
    engine.publish();
    engine.refuses(LAN, &arrives(&gateway), DropReason::NoListener);
    let mut corrupt = Ip::new(host_v4(1, 9), host_v4(1, 1)).echo(1, b"hello");
    corrupt[30] ^= 1;
    engine.refuses(LAN, &arrives(&corrupt), DropReason::NoListener);
}

#[test]
fn echo_through_a_tunnel() {
    for encapsulation in [Encapsulation::Gre { key: None, sequence: false }, Encapsulation::Esp] {
        let (mut a, mut b) = pair(encapsulation, false);
        for v6 in [false, true] {
            let echo = Ip::new(host(1, 9, v6), host(2, 2, v6)).echo(1, b"far");
            let (_, wire) = through(&mut a, &mut b, &echo);
            assert_eq!(wire.len(), 1, "{:?}", a.drops());
            let back = b.take(WAN);
            let out = deliver(&mut a, &back);
            assert_eq!(out.len(), 1, "{:?} {:?}", a.drops(), b.drops());
            assert_eq!(addresses(&checked(&out[0])), (host(2, 2, v6), host(1, 9, v6)));
        }
    }
}

#[test]
fn the_last_hop_is_told_by_the_arrival_interface() {
    let mut engine = Engine::new(Draft::new(1, 1));
    for v6 in [false, true] {
        for ttl in [0, 1] {
            let packet = Ip::between(1, 101, v6).ttl(ttl).sized(1, 1500);
            let (ends, kind, _, quote) = error(&engine.pass(LAN, &arrives(&packet), LAN));
            assert_eq!(ends, (host(1, 1, v6), host(1, 9, v6)));
            assert_eq!(kind, if v6 { [3, 0] } else { [11, 0] });
            assert_eq!(quote.len(), if v6 { 1280 - 48 } else { 576 - 28 });
            assert_eq!(packet[..quote.len()], quote[..]);
        }
    }
    assert_eq!(engine.drops(), [("ttl_expired", 4)].into());
}

/// A traceroute from the far site: the second engine answers through the tunnel with its router address.
#[test]
fn the_last_hop_is_told_through_the_tunnel() {
    let (mut a, mut b) = pair(Encapsulation::Esp, true);
    for v6 in [false, true] {
        let packet = Ip::between(1, 2, v6).ttl(2).udp(1, 60);
        through(&mut a, &mut b, &packet);
        let back = b.take(WAN);
        let (ends, kind, ..) = error(&deliver(&mut a, &back));
        assert_eq!(ends, (host(2, 2, v6), host(1, 9, v6)));
        assert_eq!(kind, if v6 { [3, 0] } else { [11, 0] });
    }
    assert_eq!(b.dropped(DropReason::TtlExpired), 2);
}

#[test]
fn unreachable_networks_ports_and_protocols() {
    let mut engine = Engine::new(Draft::new(1, 1));
    for v6 in [false, true] {
        let nowhere: IpAddr = if v6 { "2001:db8:dead::1" } else { "203.0.113.1" }.parse().unwrap();
        let (from, ours) = (host(1, 9, v6), host(1, 1, v6));
        let mut told = |packet: Vec<u8>| {
            let (_, kind, word, quote) = error(&engine.pass(LAN, &arrives(&packet), LAN));
            assert_eq!(quote, packet, "quoted as it came");
            (kind, word)
        };
        assert_eq!(told(Ip::new(from, nowhere).udp(1, 20)).0, if v6 { [1, 0] } else { [3, 0] });
        assert_eq!(told(Ip::new(from, ours).udp(1, 20)).0, if v6 { [1, 4] } else { [3, 3] });
        let (kind, pointer) = told(Ip::new(from, ours).raw(99, &[0; 20]));
        if v6 {
            // The pointer is where the field with the unknown number lies (RFC 4443 §3.4).
            assert_eq!((kind, pointer), ([4, 1], 6));
            let options = [&[99, 0, 1, 4, 0, 0, 0, 0][..], &[1; 12]].concat();
            assert_eq!(told(Ip::new(from, ours).raw(60, &options)), ([4, 1], 40));
        } else {
            assert_eq!(kind, [3, 2]);
        }
    }
}

#[test]
fn errors_come_at_a_limited_rate() {
    let draft = Draft::new(1, 1);
    let mut engine = Engine::sized(draft, &Sizes { icmp_errors_per_second: 5, ..Sizes::default() });
    let packet = arrives(&Ip::between(1, 101, false).ttl(1).udp(1, 20));
    let mut burst = |wait| {
        engine.wait(wait);
        (0..20).map(|_| engine.pass(LAN, &packet, LAN).len()).sum::<usize>()
    };
    assert_eq!(burst(0), 5);
    assert_eq!(burst(200), 1);
    assert_eq!(burst(60_000), 5);
    assert_eq!(engine.dropped(DropReason::TtlExpired), 60);
}

/// RFC 1812 §4.3.2.7, RFC 4443 §2.4 (e).
#[test]
fn no_errors_about_errors_fragments_and_groups() {
    let mut engine = Engine::new(Draft::new(1, 1));
    let quiet = |engine: &mut Engine, frame: &[u8], reason| engine.refuses(LAN, frame, reason);
    let about = Ip::between(101, 1, false).udp(1, 20);
    let v4 = Ip::between(1, 101, false).ttl(1);
    let v6 = Ip::between(1, 101, true).ttl(1);
    for (kind, code) in [(3, 1), (5, 0), (11, 0), (12, 0), (200, 0)] {
        quiet(&mut engine, &arrives(&v4.icmp(kind, code, [0; 4], &about)), DropReason::TtlExpired);
    }
    for kind in [1, 2, 3, 4, 127, 137] {
        quiet(&mut engine, &arrives(&v6.icmp(kind, 0, [0; 4], &about)), DropReason::TtlExpired);
    }
    // A later fragment; the first one would be told of.
    let mut later = v4.udp(1, 64);
    later[6..8].copy_from_slice(&[0x00, 0x10]);
    later[10..12].fill(0);
    let check = !later[..20].chunks(2).fold(0u32, |sum, pair| {
        let sum = sum + u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        (sum & 0xffff) + (sum >> 16)
    }) as u16;
    later[10..12].copy_from_slice(&check.to_be_bytes());
    quiet(&mut engine, &arrives(&later), DropReason::TtlExpired);
    let group = Ip::new(host_v6(1, 9), "ff02::5".parse().unwrap()).raw(89, &[0; 20]);
    quiet(
        &mut engine,
        &frame(MacAddr([0x33, 0x33, 0, 0, 0, 5]), host_mac(), None, &group),
        DropReason::Multicast,
    );
    let echo = Ip::new(host_v6(1, 9), "ff02::1".parse().unwrap()).echo(1, b"");
    quiet(
        &mut engine,
        &frame(MacAddr([0x33, 0x33, 0, 0, 0, 1]), host_mac(), None, &echo),
        DropReason::NoListener,
    );
    // From an address that is nobody's alone: the broadcast address of the LAN.
    let amplified = Ip::new(host_v4(1, 255), host_v4(101, 9)).ttl(1).udp(1, 20);
    engine.put(0, LAN, &arrives(&amplified));
    engine.poll();
    assert!(engine.take(LAN).is_empty());
    // An echo request, however, is no error.
    assert_eq!(engine.pass(LAN, &arrives(&v4.echo(1, b"")), LAN).len(), 1);
    assert_eq!(engine.pass(LAN, &arrives(&v6.echo(1, b"")), LAN).len(), 1);
}

#[test]
fn a_link_smaller_than_the_packet_is_named() {
    let mut draft = Draft::new(1, 1);
    draft.interfaces[2].mtu = 1400;
    let mut engine = Engine::new(draft);
    let v4 = Ip::between(1, 101, false).whole();
    let (ends, kind, mtu, _) = error(&engine.pass(LAN, &arrives(&v4.sized(1, 1401)), LAN));
    assert_eq!((ends, kind, mtu), ((host_v4(1, 1), host_v4(1, 9)), [3, 4], 1400));
    let v6 = Ip::between(1, 101, true);
    let (ends, kind, mtu, _) = error(&engine.pass(LAN, &arrives(&v6.sized(1, 1401)), LAN));
    assert_eq!((ends, kind, mtu), ((host_v6(1, 1), host_v6(1, 9)), [2, 0], 1400));
    assert_eq!(engine.drops(), [("too_big", 2)].into());
    assert_eq!(engine.pass(LAN, &arrives(&v4.sized(1, 1400)), LAN).len(), 1);
    assert_eq!(engine.pass(LAN, &arrives(&v6.sized(1, 1400)), LAN).len(), 1);
}
