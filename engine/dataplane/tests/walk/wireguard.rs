//! WireGuard tunnels: what comes in, what goes out, and what control hears of it.

use crate::support::craft::addresses;
use crate::support::draft::{wan_v4, wan_v6};
use crate::support::sessions::{WIREGUARD, agreed};
use crate::support::{
    Engine, Ip, LAN, WAN, checked, deliver, engine_mac, frame, host_mac, host_v4, host_v6, pair, payload,
    through,
};
use dataplane::drop_reason::DropReason;
use dataplane::id::{Nanos, TunnelId};
use dataplane::message::{Command, Event, Retired};
use dataplane::snapshot::{Encapsulation, WireGuard};
use dataplane::tunnel::inner_mtu;
use dataplane::wire::checksum;
use dataplane::wireguard::{Datagram, Punted, Receiver};
use std::net::IpAddr;

const TUNNEL: TunnelId = TunnelId(0);

/// A host's packet as `from` puts it on the wire.
fn sent(from: &mut Engine, engine: u8, packet: &[u8]) -> Vec<u8> {
    let mut out = from.pass(LAN, &frame(engine_mac(engine, 0), host_mac(), None, packet), WAN);
    assert_eq!(out.len(), 1, "{:?}", from.drops());
    out.remove(0)
}

/// The WireGuard message in a frame over IPv4.
fn message(frame: &[u8]) -> &[u8] {
    &frame[14 + 28..]
}

/// The same from another address or port, to engine `to`.
fn from_elsewhere(sent: &[u8], src: IpAddr, port: u16, to: u8) -> Vec<u8> {
    let packet = Ip::new(src, wan_v4(to)).datagram(port, 51_820, message(sent));
    frame(engine_mac(to, 1), engine_mac(3, 1), None, &packet)
}

#[test]
fn strangers_replays_and_forgeries_are_refused() {
    let (mut a, mut b) = pair(WIREGUARD, false);
    let packet = Ip::between(1, 2, false).udp(1, 33);
    let good = sent(&mut a, 1, &packet);
    let to_b = |body: &[u8]| {
        frame(
            engine_mac(2, 1),
            engine_mac(1, 1),
            None,
            &Ip::new(wan_v4(1), wan_v4(2)).datagram(51_820, 51_820, body),
        )
    };
    let with = |at: usize, byte: u8| {
        let mut body = message(&good).to_vec();
        body[at] ^= byte;
        to_b(&body)
    };
    // Another message, another session, another tunnel, none, another counter, another text.
    b.refuses(WAN, &with(0, 1), DropReason::BadEncapsulation);
    b.refuses(WAN, &with(3, 1), DropReason::BadEncapsulation);
    b.refuses(WAN, &with(6, 1), DropReason::UnknownSpi);
    b.refuses(WAN, &with(4, 1), DropReason::UnknownSpi);
    b.refuses(WAN, &with(8, 1), DropReason::Authentication);
    b.refuses(WAN, &with(20, 1), DropReason::Authentication);
    b.refuses(WAN, &to_b(&message(&good)[..31]), DropReason::BadEncapsulation);
    b.refuses(WAN, &to_b(&[]), DropReason::BadEncapsulation);
    assert_eq!(deliver(&mut b, std::slice::from_ref(&good)).len(), 1, "{:?}", b.drops());
    b.refuses(WAN, &good, DropReason::Replayed);
    // Another port is not WireGuard's: nobody listens there.
    let other = Ip::new(wan_v4(1), wan_v4(2)).datagram(51_820, 51_821, message(&good));
    let told = b.pass(WAN, &frame(engine_mac(2, 1), engine_mac(1, 1), None, &other), WAN);
    assert_eq!(payload(&checked(&told[0]))[..2], [3, 3], "port unreachable");
    // What is between others is theirs.
    let transit = Ip::new(wan_v4(1), host_v4(2, 9)).datagram(51_820, 51_820, message(&good));
    assert_eq!(b.pass(WAN, &frame(engine_mac(2, 1), engine_mac(1, 1), None, &transit), LAN).len(), 1);
}

/// Cryptokey routing: authentic, but from a source that is not this peer's.
#[test]
fn a_peer_uses_its_own_addresses_only() {
    let (mut a, mut b) = pair(WIREGUARD, false);
    let (v4, v6) = ((host_v4(1, 9), host_v4(1, 99)), (host_v6(1, 9), host_v6(1, 99)));
    for (src, reason) in
        [(v4.0, None), (v4.1, Some(DropReason::Spoofed)), (v6.0, None), (v6.1, Some(DropReason::Spoofed))]
    {
        let dst = if src.is_ipv4() { host_v4(2, 9) } else { host_v6(2, 9) };
        let wire = sent(&mut a, 1, &Ip::new(src, dst).udp(1, 20));
        match reason {
            Some(reason) => b.refuses(WAN, &wire, reason),
            None => assert_eq!(deliver(&mut b, &[wire]).len(), 1, "{src} {:?}", b.drops()),
        }
    }
}

/// §6.3: what was sent under the old keys is taken after the new ones are there, and the responder changes over with the first
/// packet under them.
#[test]
fn keys_are_replaced_under_traffic() {
    let (mut a, mut b) = pair(WIREGUARD, false);
    let packet = Ip::between(1, 2, false).udp(1, 33);
    let back = Ip::between(2, 1, false).udp(1, 33);
    let receiver = |wire: &[u8]| u32::from_le_bytes(message(wire)[4..8].try_into().unwrap());
    for number in 2..6 {
        let (late_a, late_b) = (sent(&mut a, 1, &packet), sent(&mut b, 2, &back));
        let (for_b, for_a) = agreed(TUNNEL, number, Nanos::MAX);
        b.command(0, for_b);
        b.poll();
        let still_old = sent(&mut b, 2, &back);
        assert_eq!(receiver(&still_old), receiver(&late_b), "the far end has not shown that it has the keys");
        a.command(0, for_a);
        a.poll();
        a.command(0, Command::Keepalive(TUNNEL));
        a.poll();
        let keepalive = a.take(WAN).remove(0);
        assert_eq!(message(&keepalive).len(), 32);
        b.events();
        b.refuses(WAN, &keepalive, DropReason::KeepaliveConsumed);
        let confirmed = b.events().into_iter().filter_map(|event| match event {
            Event::SessionConfirmed(receiver) => Some(receiver),
            _ => None,
        });
        assert_eq!(confirmed.collect::<Vec<_>>(), [Receiver::new(TUNNEL, number + 0x100)]);
        let new = sent(&mut b, 2, &back);
        assert_eq!(receiver(&new), Receiver::new(TUNNEL, number).0);
        assert_eq!(deliver(&mut a, &[new, late_b, still_old]).len(), 3, "{:?}", a.drops());
        assert_eq!(deliver(&mut b, &[late_a]).len(), 1, "{:?}", b.drops());
        assert_eq!(through(&mut a, &mut b, &packet).0.len(), 1);
    }
    let retired = |engine: &mut Engine| {
        let gone = |event: &Event| matches!(event, Event::Retired(Retired::Session(_)));
        engine.events().iter().filter(|event| gone(event)).count()
    };
    a.command(0, Command::RemoveSessions(TUNNEL));
    a.poll();
    assert_eq!(retired(&mut a), 5, "all that ever were");
    let refused = frame(engine_mac(1, 0), host_mac(), None, &packet);
    a.refuses(LAN, &refused, DropReason::NoSa);
}

#[test]
fn a_session_has_its_time() {
    let (mut a, mut b) = pair(WIREGUARD, false);
    let packet = Ip::between(1, 2, false).udp(1, 33);
    let over = a.now().plus(Nanos::from_millis(180_000));
    let (for_b, for_a) = agreed(TUNNEL, 2, over);
    a.command(0, for_a);
    b.command(0, for_b);
    b.poll();
    a.poll();
    let late = sent(&mut a, 1, &packet);
    a.wait(180_000);
    b.wait(180_000);
    a.refuses(LAN, &frame(engine_mac(1, 0), host_mac(), None, &packet), DropReason::SaExhausted);
    b.refuses(WAN, &late, DropReason::SaExhausted);
}

/// §2.1: the newest authentic packet says where the far end is, and no other.
#[test]
fn a_far_end_roams() {
    let (mut a, mut b) = pair(WIREGUARD, false);
    let wires: Vec<_> = (0..3).map(|_| sent(&mut a, 1, &Ip::between(1, 2, false).udp(1, 64))).collect();
    let heard = |b: &mut Engine| {
        let ends = b.events().into_iter().filter_map(|event| match event {
            Event::FarEnd { tunnel: TUNNEL, ip, port } => Some((ip, port)),
            _ => None,
        });
        ends.collect::<Vec<_>>()
    };
    assert_eq!(b.pass(WAN, &from_elsewhere(&wires[1], wan_v4(3), 61_000, 2), LAN).len(), 1);
    assert_eq!(heard(&mut b), [(wan_v4(3), 61_000)]);
    // Older, replayed or forged ones say nothing.
    assert_eq!(b.pass(WAN, &from_elsewhere(&wires[0], wan_v4(3), 61_001, 2), LAN).len(), 1);
    b.refuses(WAN, &from_elsewhere(&wires[1], wan_v4(3), 61_002, 2), DropReason::Replayed);
    let mut forged = wires[2].clone();
    forged[70] ^= 1;
    b.refuses(WAN, &from_elsewhere(&forged, wan_v4(3), 61_003, 2), DropReason::Authentication);
    assert_eq!(heard(&mut b), []);
    // Control follows, and what is sent goes there.
    let tunnel = &mut b.draft.tunnels[0];
    (tunnel.remote, tunnel.next_hop) = (wan_v4(3), wan_v4(3));
    tunnel.encapsulation = Encapsulation::WireGuard(WireGuard { local_port: 51_820, remote_port: 61_000 });
    b.publish();
    let back = sent(&mut b, 2, &Ip::between(2, 1, false).udp(1, 10));
    assert_eq!(addresses(&back[14..]).1, wan_v4(3));
    assert_eq!(back[14 + 20..14 + 24], [0xca, 0x6c, 0xee, 0x48]);
    let home = Ip::new(wan_v4(2), wan_v4(1)).datagram(51_820, 51_820, message(&back));
    let home = frame(engine_mac(1, 1), engine_mac(2, 1), None, &home);
    assert_eq!(deliver(&mut a, &[home]).len(), 1, "its NAT brings it home");
}

/// Handshakes are control's, and there is an end to what it is given.
#[test]
fn handshakes_go_to_control_and_come_from_there() {
    for v6 in [false, true] {
        let (_, mut b) = pair(WIREGUARD, v6);
        let (src, dst) = if v6 { (wan_v6(1), wan_v6(2)) } else { (wan_v4(1), wan_v4(2)) };
        let arrives = |kind: u8, length: usize| {
            let body = [&[kind, 0, 0, 0][..], &vec![7; length - 4]].concat();
            frame(
                engine_mac(2, 1),
                engine_mac(1, 1),
                None,
                &Ip::new(src, dst).datagram(40_000, 51_820, &body),
            )
        };
        for (kind, length) in [(1, 148), (2, 92), (3, 64)] {
            b.refuses(WAN, &arrives(kind, length - 1), DropReason::BadEncapsulation);
            b.refuses(WAN, &arrives(kind, length + 1), DropReason::BadEncapsulation);
            b.refuses(WAN, &arrives(kind, length), DropReason::HandshakeConsumed);
            let Punted { from, to, message } = b.control[0].handshakes.pop().unwrap();
            assert_eq!((from, to, message.len(), message[0]), ((src, 40_000), (dst, 51_820), length, kind));
        }
        for _ in 0..64 {
            b.refuses(WAN, &arrives(1, 148), DropReason::HandshakeConsumed);
        }
        b.refuses(WAN, &arrives(1, 148), DropReason::HandshakeOverflow);
        let message: Vec<u8> = (0..92).collect();
        let datagram =
            Datagram { from: (dst, 51_820), to: (src, 40_000), message: message[..].try_into().unwrap() };
        b.command(0, Command::Send(Box::new(datagram)));
        b.poll();
        let sent = checked(&b.take(WAN)[0]);
        assert_eq!(addresses(&sent), (dst, src));
        assert_eq!(payload(&sent)[..4], [0xca, 0x6c, 0x9c, 0x40]);
        assert_eq!(payload(&sent)[8..], message);
        let freed = b.events();
        assert!(
            freed.iter().any(|event| matches!(event, Event::Retired(Retired::Datagram(_)))),
            "by control"
        );
    }
}

/// A router on the way names a smaller MTU: it quotes one of ours, or it is not believed.
#[test]
fn the_path_mtu_is_learnt() {
    let (mut a, _) = pair(WIREGUARD, false);
    let wire = sent(&mut a, 1, &Ip::between(1, 2, false).sized(1, 1400))[14..].to_vec();
    let mut learnt = |quoted: &[u8]| {
        let told = Ip::new(wan_v4(77), wan_v4(1)).icmp(3, 4, 1300u32.to_be_bytes(), quoted);
        a.refuses(WAN, &frame(engine_mac(1, 1), engine_mac(9, 9), None, &told), DropReason::IcmpConsumed);
        a.events().into_iter().any(|event| matches!(event, Event::PathMtu { tunnel: TUNNEL, mtu: 1300, .. }))
    };
    assert!(learnt(&wire[..60]));
    // Too little to tell; another receiver; another port.
    assert!(!learnt(&wire[..28]));
    let mut bent = wire[..60].to_vec();
    bent[32] ^= 1;
    assert!(!learnt(&bent));
    bent.copy_from_slice(&wire[..60]);
    bent[21] ^= 1;
    assert!(!learnt(&bent));
}

/// The MTU is filled to the last byte, over either version, and padding goes no further.
#[test]
fn padding_stays_within_the_mtu() {
    for outer_v6 in [false, true] {
        for underlay in [1280u16, 1411, 1492, 1500] {
            let (mut a, mut b) = pair(WIREGUARD, outer_v6);
            let mtu = inner_mtu(underlay, WIREGUARD, !outer_v6);
            assert_eq!(mtu, underlay - if outer_v6 { 80 } else { 60 });
            for engine in [&mut a, &mut b] {
                engine.draft.tunnels[0].mtu = mtu;
                engine.publish();
            }
            for inner in (mtu - 33..=mtu).map(usize::from) {
                let (out, wire) = through(&mut a, &mut b, &Ip::between(1, 2, false).sized(1, inner));
                let length = wire[0].len() - 14;
                assert_eq!(length, usize::from(underlay - mtu) + inner.next_multiple_of(16).min(mtu.into()));
                assert_eq!(checked(&out[0]).len(), inner);
            }
        }
    }
}

/// What is left behind the UDP datagram in a frame is not the message's.
#[test]
fn a_short_frames_padding_is_cut_off() {
    let (mut a, mut b) = pair(WIREGUARD, false);
    a.command(0, Command::Keepalive(TUNNEL));
    a.poll();
    let keepalive = a.take(WAN).remove(0);
    let mut longer = keepalive.clone();
    longer.extend([0; 6]);
    // The datagram ends before the IP packet does.
    let packet = &mut longer[14..];
    let total = (packet.len() as u16).to_be_bytes();
    packet[2..4].copy_from_slice(&total);
    packet[10..12].fill(0);
    let check = checksum::checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&check.to_be_bytes());
    b.refuses(WAN, &longer, DropReason::KeepaliveConsumed);
    assert_eq!(b.counters().wireguard(0).keepalives_received.get(), 1);
}
