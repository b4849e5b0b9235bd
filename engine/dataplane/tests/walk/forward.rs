//! Plain forwarding, and what is not forwarded.

use crate::support::craft::{self, one_hop_less};
use crate::support::draft::wan_v4;
use crate::support::{Draft, Engine, Ip, LAN, VLAN, WAN, checked, engine_mac, frame, host_mac, host_v4};
use dataplane::drop_reason::DropReason;
use dataplane::id::InterfaceId;
use dataplane::snapshot::NextHop;
use dataplane::wire::MacAddr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const HERE: u8 = 1;
const TAGGED: u8 = 101;

fn engine() -> Engine {
    Engine::new(Draft::new(1, HERE))
}

/// To the engine's LAN interface, untagged.
fn arrives(packet: &[u8]) -> Vec<u8> {
    frame(engine_mac(1, 0), host_mac(), None, packet)
}

#[test]
fn both_versions_cross_from_and_to_a_vlan() {
    let mut engine = engine();
    for v6 in [false, true] {
        // 4 bytes of payload: the frame is padded, the packet that leaves is not. 1472: it fills the link.
        for length in [4, 1452] {
            let packet = Ip::between(HERE, TAGGED, v6).udp(1, length);
            let out = engine.pass(LAN, &arrives(&packet), LAN);
            assert_eq!(out.len(), 1, "{:?}", engine.drops());
            assert_eq!(out[0][..12], [host_mac().0, engine_mac(1, 2).0].concat());
            assert_eq!(out[0][12..16], [0x81, 0, 0, VLAN as u8]);
            assert_eq!(checked(&out[0]), one_hop_less(&packet));

            let back = Ip::between(TAGGED, HERE, v6).udp(1, length);
            let tagged = frame(engine_mac(1, 2), host_mac(), Some(VLAN), &back);
            let out = engine.pass(LAN, &tagged, LAN);
            assert_eq!(out.len(), 1, "{:?}", engine.drops());
            assert_eq!(out[0][..12], [host_mac().0, engine_mac(1, 0).0].concat());
            assert_eq!(checked(&out[0]), one_hop_less(&back));
        }
    }
    assert_eq!(engine.counters().dropped_total(), 0);
    assert_eq!(engine.counters().transmitted.get(), 8);
}

#[test]
fn a_priority_tag_is_no_vlan_and_a_gateway_is_the_next_hop() {
    let mut draft = Draft::new(1, HERE);
    let via = NextHop::Via { interface: InterfaceId(1), gateway: wan_v4(2) };
    draft.routes.push(("0.0.0.0/0".parse().unwrap(), via));
    let mut engine = Engine::new(draft);
    let packet = Ip::new(host_v4(HERE, 9), "8.8.8.8".parse().unwrap()).udp(1, 100);
    let out = engine.pass(LAN, &frame(engine_mac(1, 0), host_mac(), Some(0), &packet), WAN);
    assert_eq!(out[0][..6], engine_mac(2, 1).0);
    assert_eq!(checked(&out[0]), one_hop_less(&packet));
}

#[test]
fn frames_for_others_end_at_the_link_layer() {
    let mut engine = engine();
    let packet = Ip::between(HERE, TAGGED, false).udp(1, 50);
    let to = |mac, vlan| frame(mac, host_mac(), vlan, &packet);
    engine.refuses(LAN, &to(engine_mac(2, 0), None), DropReason::NotForUs);
    engine.refuses(LAN, &to(engine_mac(1, 0), Some(77)), DropReason::UnknownVlan);
    engine.refuses(LAN, &to(engine_mac(1, 2), None), DropReason::NotForUs);
    engine.refuses(LAN, &to(MacAddr::BROADCAST, None), DropReason::NotForUs);
    let unknown = craft::typed(engine_mac(1, 0), host_mac(), None, 0x88cc, &packet);
    engine.refuses(LAN, &unknown, DropReason::UnknownEtherType);
    engine.refuses(LAN, &unknown[..13], DropReason::Truncated);
}

#[test]
fn malformed_packets_end_under_their_reason() {
    let mut engine = engine();
    let good = Ip::between(HERE, TAGGED, false).udp(1, 50);
    let with = |at: usize, byte: u8| {
        let mut packet = good.clone();
        packet[at] = byte;
        arrives(&packet)
    };
    engine.refuses(LAN, &with(0, 0x55), DropReason::BadIpHeader);
    engine.refuses(LAN, &with(0, 0x44), DropReason::BadIpHeader);
    engine.refuses(LAN, &with(2, 0xff), DropReason::Truncated);
    engine.refuses(LAN, &with(3, 19), DropReason::BadIpHeader);
    engine.refuses(LAN, &with(10, good[10] ^ 1), DropReason::BadChecksum);
    engine.refuses(LAN, &arrives(&good)[..14], DropReason::Truncated);
    let v6 = Ip::between(HERE, TAGGED, true).udp(1, 50);
    engine.refuses(LAN, &arrives(&v6)[..60], DropReason::Truncated);
    // Hop-by-hop options behind destination options (RFC 8200 §4.1).
    let late = Ip::between(HERE, TAGGED, true).raw(60, &[0, 0, 1, 4, 0, 0, 0, 0, 59, 0, 1, 4, 0, 0, 0, 0]);
    engine.refuses(LAN, &arrives(&late), DropReason::BadExtension);
}

#[test]
fn addresses_that_stay_off_the_wire() {
    let mut engine = engine();
    let host = host_v4(HERE, 9);
    let mut v4 = |src: IpAddr, dst: IpAddr, reason| {
        engine.refuses(LAN, &arrives(&Ip::new(src, dst).udp(1, 50)), reason);
    };
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let there = host_v4(TAGGED, 9);
    for src in ["127.0.0.1", "0.1.2.3", "255.255.255.255", "224.0.0.5", "250.0.0.1"] {
        v4(ip(src), there, DropReason::Martian);
    }
    v4(host, ip("127.0.0.1"), DropReason::Martian);
    v4(host, ip("224.0.0.5"), DropReason::Multicast);
    v4(host, Ipv4Addr::BROADCAST.into(), DropReason::Multicast);
    // Directed broadcasts, new form and old (RFC 2644).
    v4(host, host_v4(TAGGED, 255), DropReason::Multicast);
    v4(host, host_v4(TAGGED, 0), DropReason::Multicast);
    v4(ip("169.254.1.1"), there, DropReason::Martian);
    let there = host_v6(TAGGED);
    v4(ip("ff02::1"), there, DropReason::Martian);
    v4(ip("::1"), there, DropReason::Martian);
    v4(ip("::"), there, DropReason::Martian);
    v4(host_v6(HERE), ip("ff0e::1"), DropReason::Multicast);
    v4(ip("fe80::9"), there, DropReason::Martian);
}

fn host_v6(site: u8) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, site.into(), 0, 0, 0, 0, 9).into()
}

#[test]
fn a_blackhole_says_nothing() {
    let mut draft = Draft::new(1, HERE);
    draft.routes.push(("198.51.100.0/24".parse().unwrap(), NextHop::Blackhole));
    let mut engine = Engine::new(draft);
    let packet = Ip::new(host_v4(HERE, 9), "198.51.100.1".parse().unwrap()).udp(1, 50);
    engine.refuses(LAN, &arrives(&packet), DropReason::Blackhole);
    assert_eq!(engine.counters().originated.get(), 0);
}
