//! IP-in-IP, VXLAN and ESP in UDP, from host to host over two engines and a wire.

use crate::support::craft::{addresses, one_hop_less};
use crate::support::draft::{wan_v4, wan_v6};
use crate::support::everything::{ESP_UDP, vxlan};
use crate::support::sessions::WIREGUARD;
use crate::support::{
    Draft, Engine, Ip, LAN, WAN, checked, deliver, engine_mac, frame, host_mac, key, pair, payload, through,
};
use dataplane::drop_reason::DropReason;
use dataplane::id::TunnelId;
use dataplane::message::{Command, Event};
use dataplane::snapshot::{Encapsulation, EspUdp, Nat};
use dataplane::tunnel::inner_mtu;
use dataplane::tunnel::vxlan::derived_mac;
use dataplane::wire::checksum;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::net::IpAddr;

const FOUR: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

fn all() -> [Encapsulation; 4] {
    [Encapsulation::IpIp, vxlan(0xabcdef), ESP_UDP, WIREGUARD]
}

/// A host's packet as engine A puts it on the wire.
fn wire(a: &mut Engine, packet: &[u8]) -> Vec<u8> {
    let mut out = a.pass(LAN, &frame(engine_mac(1, 0), host_mac(), None, packet), WAN);
    assert_eq!(out.len(), 1, "{:?}", a.drops());
    out.remove(0)
}

/// The headers between the outer IP header and the inner packet, or ESP, by the RFCs' figures.
fn expected_headers(encapsulation: Encapsulation, outer: &[u8], inner_v6: bool) -> Vec<u8> {
    let body = payload(outer);
    let length = (body.len() as u16).to_be_bytes();
    match encapsulation {
        // RFC 7348 §5.
        Encapsulation::Vxlan(vxlan) => {
            let vni = (vxlan.vni.get() << 8).to_be_bytes();
            let (src, dst) = addresses(outer);
            [
                &body[..2],
                &[0x12, 0xb5],
                &length,
                &[0, 0, 8, 0, 0, 0],
                &vni,
                &derived_mac(dst).0,
                &derived_mac(src).0,
                if inner_v6 { &[0x86, 0xdd] } else { &[8, 0] },
            ]
            .concat()
        }
        // RFC 3948 §2.1: the checksum is zero over IPv4; `checked` has seen that it is right over IPv6.
        Encapsulation::EspUdp(_) => {
            let check = if outer[0] >> 4 == 6 { &body[6..8] } else { &[0, 0] };
            [&[0x11, 0x94, 0x11, 0x94][..], &length, check].concat()
        }
        Encapsulation::WireGuard(_) => {
            let check = if outer[0] >> 4 == 6 { &body[6..8] } else { &[0, 0] };
            [&[0xca, 0x6c, 0xca, 0x6c][..], &length, check, &[4, 0, 0, 0]].concat()
        }
        _ => vec![],
    }
}

#[test]
fn every_version_through_every_tunnel_over_every_version() {
    for encapsulation in all() {
        for (outer_v6, inner_v6) in FOUR {
            let (mut a, mut b) = pair(encapsulation, outer_v6);
            let protocol = match (encapsulation, inner_v6) {
                (Encapsulation::IpIp, false) => 4,
                (Encapsulation::IpIp, true) => 41,
                _ => 17,
            };
            for length in [0, 1, 2, 3, 100, 1300] {
                let packet = Ip::between(1, 2, inner_v6).ttl(17).udp(1, length);
                let (out, wire) = through(&mut a, &mut b, &packet);
                assert_eq!(out.len(), 1, "{encapsulation:?} {:?} {:?}", a.drops(), b.drops());
                assert_eq!(checked(&out[0]), one_hop_less(&one_hop_less(&packet)));
                let outer = without_zero_checksum(&wire[0]);
                assert_eq!(outer[if outer_v6 { 6 } else { 9 }], protocol);
                let headers = expected_headers(encapsulation, &outer, inner_v6);
                assert_eq!(payload(&outer)[..headers.len()], headers);
                let back = Ip::between(2, 1, inner_v6).udp(1, length);
                let sent = b.pass(LAN, &frame(engine_mac(2, 0), host_mac(), None, &back), WAN);
                assert_eq!(checked(&deliver(&mut a, &sent)[0]), one_hop_less(&one_hop_less(&back)));
            }
            assert_eq!((a.counters().dropped_total(), b.counters().dropped_total()), (0, 0));
            assert_eq!(a.counters().tunnel(0).tx.packets.get(), 6);
            assert_eq!(a.counters().tunnel(0).tx.bytes.get(), b.counters().tunnel(0).rx.bytes.get());
        }
    }
}

/// The IP packet in a frame; its UDP checksum, if there is one, is right, and so are all lengths.
fn without_zero_checksum(frame: &[u8]) -> Vec<u8> {
    let outer = frame[14..].to_vec();
    let v6 = outer[0] >> 4 == 6;
    let zero = outer[if v6 { 6 } else { 9 }] == 17 && payload(&outer)[6..8] == [0, 0];
    if zero {
        let end = if v6 { 40 + usize::from(u16::from_be_bytes([outer[4], outer[5]])) } else { outer.len() };
        assert_eq!((end, outer.len()), (outer.len(), end));
        return outer;
    }
    checked(frame)
}

/// RFC 7348 §5, RFC 6438 §3: the source port and the flow label are a flow's own and many flows' many.
#[test]
fn flows_are_told_apart_outside() {
    for (encapsulation, outer_v6, hidden) in [
        (vxlan(1), false, false),
        (vxlan(1), true, false),
        (Encapsulation::IpIp, true, false),
        (Encapsulation::Gre { key: None, sequence: false }, true, false),
        (ESP_UDP, true, true),
        (WIREGUARD, true, true),
        (Encapsulation::Esp, true, true),
    ] {
        let (mut a, _) = pair(encapsulation, outer_v6);
        let mut entropy = |flow: u16, length: usize| {
            let outer = wire(&mut a, &Ip::between(1, 2, false).udp(flow, length))[14..].to_vec();
            if outer_v6 {
                u32::from_be_bytes([0, outer[1] & 15, outer[2], outer[3]])
            } else {
                u32::from(u16::from_be_bytes([outer[20], outer[21]]))
            }
        };
        let seen: BTreeSet<u32> = (0..64).map(|flow| entropy(flow, 10)).collect();
        for flow in 0..64 {
            assert!(seen.contains(&entropy(flow, 700)), "one flow, one value");
        }
        if hidden {
            assert_eq!(seen, [0].into());
        } else {
            assert!(seen.len() > 50, "{encapsulation:?}: {} values for 64 flows", seen.len());
            assert!(outer_v6 || seen.first() >= Some(&49_152));
        }
    }
}

#[test]
fn congestion_marks_cross_them() {
    for encapsulation in all() {
        for (outer_v6, inner_v6) in FOUR {
            let (mut a, mut b) = pair(encapsulation, outer_v6);
            for class in [0xb8, 0xba] {
                let packet = Ip::between(1, 2, inner_v6).class(class).udp(1, 20);
                let mut sent = wire(&mut a, &packet);
                mark(&mut sent, class);
                if class & 3 == 0 {
                    b.refuses(WAN, &sent, DropReason::CongestionLost);
                } else {
                    let out = checked(&deliver(&mut b, &[sent])[0]);
                    let got = if inner_v6 { out[0] << 4 | out[1] >> 4 } else { out[1] };
                    assert_eq!(got, class | 3);
                }
            }
        }
    }
}

/// Sets Congestion Experienced in the outer header, which says `class`.
fn mark(frame: &mut [u8], class: u8) {
    let packet = &mut frame[14..];
    if packet[0] >> 4 == 6 {
        assert_eq!(packet[0] << 4 | packet[1] >> 4, class);
        packet[1] |= 0x30;
        return;
    }
    assert_eq!(packet[1], class);
    packet[1] |= 3;
    packet[10..12].fill(0);
    let check = checksum::checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&check.to_be_bytes());
}

/// Arrives at engine B's WAN from engine 1, unless `src` says otherwise.
fn arrives(src: u8, protocol: u8, body: &[u8]) -> Vec<u8> {
    frame(engine_mac(2, 1), engine_mac(src, 1), None, &Ip::new(wan_v4(src), wan_v4(2)).raw(protocol, body))
}

#[test]
fn ip_in_ip_refuses_strangers_and_nonsense() {
    let (_, mut b) = pair(Encapsulation::IpIp, false);
    let packet = Ip::between(1, 2, false).udp(1, 33);
    assert_eq!(b.pass(WAN, &arrives(1, 4, &packet), LAN).len(), 1);
    b.refuses(WAN, &arrives(3, 4, &packet), DropReason::UnknownTunnel);
    b.refuses(WAN, &arrives(1, 41, &packet), DropReason::BadEncapsulation);
    b.refuses(WAN, &arrives(1, 4, &[]), DropReason::BadEncapsulation);
    b.refuses(WAN, &arrives(1, 4, &packet[..30]), DropReason::Truncated);
    // What is between others is routed like any packet.
    let transit = Ip::new(wan_v4(3), crate::support::host_v4(2, 9)).raw(4, &packet);
    let transit = frame(engine_mac(2, 1), engine_mac(3, 1), None, &transit);
    assert_eq!(checked(&b.pass(WAN, &transit, LAN)[0])[9], 4);
    // Without such a tunnel the sender is told so.
    let (_, mut b) = pair(Encapsulation::Gre { key: None, sequence: false }, false);
    let told = b.pass(WAN, &arrives(1, 4, &packet), WAN);
    assert_eq!(payload(&checked(&told[0]))[..2], [3, 2], "protocol unreachable");
}

#[test]
fn vxlan_refuses_other_networks_and_frames() {
    let (mut a, mut b) = pair(vxlan(0xabcdef), false);
    let packet = Ip::between(1, 2, false).udp(1, 33);
    let sent = payload(&without_zero_checksum(&wire(&mut a, &packet))).to_vec();
    let with = |edits: &[(usize, u8)]| {
        let mut body = sent.clone();
        edits.iter().for_each(|&(at, byte)| body[at] = byte);
        arrives(1, 17, &body)
    };
    assert_eq!(b.pass(WAN, &with(&[]), LAN).len(), 1);
    // Reserved bits are ignored, the I bit is not.
    assert_eq!(b.pass(WAN, &with(&[(8, 0xff), (9, 1), (11, 7), (15, 9)]), LAN).len(), 1);
    b.refuses(WAN, &with(&[(8, 0)]), DropReason::BadEncapsulation);
    b.refuses(WAN, &with(&[(14, 0xee)]), DropReason::UnknownTunnel);
    b.refuses(WAN, &arrives(3, 17, &sent), DropReason::UnknownTunnel);
    // Another station's, everyone's, a tagged one, ARP, IPv4 said to be IPv6.
    b.refuses(WAN, &with(&[(21, 1)]), DropReason::NotForUs);
    b.refuses(WAN, &with(&[(16, 0xff), (17, 0xff)]), DropReason::NotForUs);
    b.refuses(WAN, &with(&[(28, 0x81), (29, 0)]), DropReason::BadEncapsulation);
    b.refuses(WAN, &with(&[(28, 8), (29, 6)]), DropReason::BadEncapsulation);
    b.refuses(WAN, &with(&[(28, 0x86), (29, 0xdd)]), DropReason::BadEncapsulation);
    // A checksum is not asked for, but a wrong one says that something is.
    b.refuses(WAN, &with(&[(6, 0x12), (7, 0x34)]), DropReason::BadChecksum);
    let (src, dst) = ((wan_v4(1), 50_000), (wan_v4(2), 4789));
    let summed = Ip::new(src.0, dst.0).datagram(src.1, dst.1, &sent[8..]);
    assert_eq!(b.pass(WAN, &frame(engine_mac(2, 1), engine_mac(1, 1), None, &summed), LAN).len(), 1);
    // Other ports are not ours to take apart: nobody listens there.
    let told = b.pass(WAN, &with(&[(3, 0xb6)]), WAN);
    assert_eq!(payload(&checked(&told[0]))[..2], [3, 3], "port unreachable");
}

#[test]
fn esp_in_udp_shares_its_port() {
    for outer_v6 in [false, true] {
        let (mut a, mut b) = pair(ESP_UDP, outer_v6);
        let wan = if outer_v6 { wan_v6 } else { wan_v4 };
        let to_b = |from: u8, port: u16, body: &[u8]| {
            let packet = Ip::new(wan(from), wan(2)).datagram(port, 4500, body);
            frame(engine_mac(2, 1), engine_mac(from, 1), None, &packet)
        };
        let sent = wire(&mut a, &Ip::between(1, 2, false).udp(1, 64));
        let esp = payload(&without_zero_checksum(&sent))[8..].to_vec();
        // RFC 3948 §2.2, §2.3.
        b.refuses(WAN, &to_b(1, 4500, &[0xff]), DropReason::KeepaliveConsumed);
        let told = b.pass(WAN, &to_b(1, 4500, &[0, 0, 0, 0, 1, 2, 3, 4]), WAN);
        assert_eq!(told.len(), 1, "no IKE here: port unreachable");
        b.refuses(WAN, &to_b(1, 4500, &[0, 0, 0]), DropReason::BadEncapsulation);
        let mut strange = esp.clone();
        strange[0] ^= 1;
        b.refuses(WAN, &to_b(1, 4500, &strange), DropReason::UnknownSpi);
        // Without a NAT nobody else may bring it.
        b.refuses(WAN, &to_b(3, 4500, &esp), DropReason::UnknownSpi);
        b.refuses(WAN, &to_b(1, 4501, &esp), DropReason::UnknownSpi);
        let mut forged = esp.clone();
        forged[20] ^= 1;
        b.refuses(WAN, &to_b(1, 4500, &forged), DropReason::Authentication);
        assert_eq!(deliver(&mut b, std::slice::from_ref(&sent)).len(), 1);
        b.refuses(WAN, &sent, DropReason::Replayed);
    }
}

/// What engine 2 is told of its tunnel.
fn behind_nat(remote_port: u16, nat: Nat, inside: Option<IpAddr>) -> Encapsulation {
    Encapsulation::EspUdp(EspUdp { local_port: 4500, remote_port, nat, inside })
}

/// Engine 1 is behind a NAT that calls it engine 3's address, and engine 2 is told so.
fn natted() -> (Engine, Engine) {
    let side = |engine: u8, far: u8, nat| {
        let mut draft = Draft::new(engine, engine);
        let tunnel = draft.tunnel(behind_nat(4500, nat, None), false, far);
        draft.group(far, &[(tunnel, 1)], &[tunnel]);
        Engine::new(draft)
    };
    let (mut a, mut b) = (side(1, 2, Nat::Local), side(2, 1, Nat::Remote));
    key(&mut a, &mut b, TunnelId(0), TunnelId(0), 0x1000);
    key(&mut b, &mut a, TunnelId(0), TunnelId(0), 0x2000);
    b.events();
    (a, b)
}

/// What engine 1 sent as its NAT sends it on.
fn translated(sent: &[u8], port: u16) -> Vec<u8> {
    let outer = without_zero_checksum(sent);
    let packet = Ip::new(wan_v4(3), wan_v4(2)).datagram(port, 4500, &payload(&outer)[8..]);
    frame(engine_mac(2, 1), engine_mac(3, 1), None, &packet)
}

/// What engine 2 sent as the NAT brings it home.
fn home(sent: &[u8]) -> Vec<u8> {
    let outer = without_zero_checksum(sent);
    let packet = Ip::new(wan_v4(2), wan_v4(1)).datagram(4500, 4500, &payload(&outer)[8..]);
    frame(engine_mac(1, 1), engine_mac(2, 1), None, &packet)
}

/// RFC 7296 §2.23: the newest authentic packet says where the far end is, and no other.
#[test]
fn the_far_end_behind_a_nat_is_followed() {
    let (mut a, mut b) = natted();
    let sent: Vec<_> = (0..3).map(|_| wire(&mut a, &Ip::between(1, 2, false).udp(1, 64))).collect();
    let learnt = |b: &mut Engine| {
        let ends = b.events().into_iter().filter_map(|event| match event {
            Event::FarEnd { tunnel: TunnelId(0), ip, port } => Some((ip, port)),
            _ => None,
        });
        ends.collect::<Vec<_>>()
    };
    assert_eq!(b.pass(WAN, &translated(&sent[1], 61_000), LAN).len(), 1);
    assert_eq!(learnt(&mut b), [(wan_v4(3), 61_000)]);
    // Older, replayed or forged ones say nothing.
    assert_eq!(b.pass(WAN, &translated(&sent[0], 61_001), LAN).len(), 1);
    b.refuses(WAN, &translated(&sent[1], 61_002), DropReason::Replayed);
    let mut forged = translated(&sent[2], 61_003);
    forged[70] ^= 1;
    b.refuses(WAN, &forged, DropReason::Authentication);
    assert_eq!(learnt(&mut b), []);
    // Control follows, and what is sent goes there.
    let tunnel = &mut b.draft.tunnels[0];
    (tunnel.remote, tunnel.next_hop) = (wan_v4(3), wan_v4(3));
    tunnel.encapsulation = behind_nat(61_000, Nat::Remote, None);
    b.publish();
    let back = Ip::between(2, 1, false).udp(1, 10);
    let back = b.pass(LAN, &frame(engine_mac(2, 0), host_mac(), None, &back), WAN);
    let outer = without_zero_checksum(&back[0]);
    assert_eq!((addresses(&outer).1, &payload(&outer)[..4]), (wan_v4(3), &[0x11, 0x94, 0xee, 0x48][..]));
    assert_eq!(deliver(&mut a, &[home(&back[0])]).len(), 1);
    assert_eq!(b.pass(WAN, &translated(&sent[2], 61_000), LAN).len(), 1);
    assert_eq!(learnt(&mut b), [], "as expected by now");
    // The mapping is kept alive from inside.
    a.command(0, Command::Keepalive(TunnelId(0)));
    a.poll();
    let outer = without_zero_checksum(&a.take(WAN)[0]);
    assert_eq!(payload(&outer), [0x11, 0x94, 0x11, 0x94, 0, 9, 0, 0, 0xff]);
}

/// Probes inside go by the far end's own address, which it alone knows until it has sent one.
#[test]
fn probes_come_back_through_a_nat() {
    let (mut a, mut b) = natted();
    let probe = |engine: &mut Engine, sequence| {
        engine.command(0, Command::Probe { tunnel: TunnelId(0), sequence });
        engine.poll();
        engine.take(WAN)
    };
    assert!(probe(&mut b, 1).is_empty(), "where to is not known yet");
    let sent = probe(&mut a, 1);
    let reflected = b.pass(WAN, &translated(&sent[0], 61_000), WAN);
    let inside = b.events().into_iter().find_map(|event| match event {
        Event::FarInside { ip, .. } => Some(ip),
        _ => None,
    });
    assert_eq!(inside, Some(wan_v4(1)));
    a.refuses(WAN, &home(&reflected[0]), DropReason::ProbeConsumed);
    assert!(a.events().iter().any(|event| matches!(event, Event::ProbeReply { sequence: 1, .. })));
    b.draft.tunnels[0].encapsulation = behind_nat(61_000, Nat::Remote, inside);
    b.publish();
    let sent = probe(&mut b, 2);
    let reflected = a.pass(WAN, &home(&sent[0]), WAN);
    b.refuses(WAN, &translated(&reflected[0], 61_000), DropReason::ProbeConsumed);
    assert!(b.events().iter().any(|event| matches!(event, Event::ProbeReply { sequence: 2, .. })));
}

/// Fragments of tunnel packets are joined before they are opened, whatever the protocol.
#[test]
fn outer_fragments_are_joined() {
    for encapsulation in all() {
        let (mut a, mut b) = pair(encapsulation, false);
        let sent = without_zero_checksum(&wire(&mut a, &Ip::between(1, 2, false).udp(1, 1000)));
        let part = |from: usize, to: usize, more: bool| {
            let mut packet = Ip::new(wan_v4(1), wan_v4(2)).raw(sent[9], &payload(&sent)[from..to]);
            let bits = (from / 8) as u16 | if more { 0x2000 } else { 0 };
            packet[6..8].copy_from_slice(&bits.to_be_bytes());
            packet[10..12].fill(0);
            let check = checksum::checksum(&packet[..20]);
            packet[10..12].copy_from_slice(&check.to_be_bytes());
            frame(engine_mac(2, 1), engine_mac(1, 1), None, &packet)
        };
        let all = payload(&sent).len();
        assert!(deliver(&mut b, &[part(512, all, false)]).is_empty());
        assert_eq!(deliver(&mut b, &[part(0, 512, true)]).len(), 1, "{:?}", b.drops());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What `inner_mtu` promises fits the underlay as the walk really wraps it, and one byte more would not.
    #[test]
    fn the_inner_mtu_is_exact(underlay in 600u16..1500, protocol in 0..5usize, outer_v6: bool) {
        let encapsulation = [
            Encapsulation::IpIp, vxlan(5), ESP_UDP, Encapsulation::Esp, Encapsulation::Gre { key: Some(1), sequence: true },
        ][protocol];
        let (mut a, _) = pair(encapsulation, outer_v6);
        a.draft.tunnels[0].mtu = 1500;
        a.publish();
        let mtu = inner_mtu(underlay, encapsulation, !outer_v6);
        let mut wrapped = |length: usize| wire(&mut a, &Ip::between(1, 2, false).sized(1, length)).len() - 14;
        prop_assert!(wrapped(mtu.into()) <= underlay.into());
        prop_assert!(wrapped(usize::from(mtu) + 1) > underlay.into());
    }
}
