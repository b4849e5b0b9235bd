use super::seed_packet;
use crate::wire::arp::{self, Arp, Operation};
use crate::wire::ipv6::Ipv6Header;
use crate::wire::ndp::{ALL_NODES, Advertisement, Flags, MAX_LENGTH, Ndp, Solicitation, solicited_node};
use crate::wire::{MacAddr, Result};
use std::net::{Ipv4Addr, Ipv6Addr};

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x0a]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x0b]);
const IP_A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const IP_B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn parse(packet: &[u8]) -> Result<Ndp> {
    let header = Ipv6Header::parse(packet)?;
    Ndp::parse(header, &packet[header.payload()])
}

fn link_local(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last)
}

#[test]
fn arp_packets_are_those_of_scapy() {
    let cases = [
        ("arp-request.ok", Arp::request(A, IP_A, IP_B)),
        ("arp-announcement.ok", Arp::announcement(A, IP_A)),
        ("arp-reply.ok", Arp::request(B, IP_B, IP_A).reply(A)),
    ];
    for (name, arp) in cases {
        let packet = seed_packet(name);
        assert_eq!(Arp::parse(&packet), Ok(arp), "{name}");
        let mut out = [0; arp::LENGTH];
        assert_eq!(arp.write(&mut out), Ok(28));
        assert_eq!(out, packet[..28], "{name}");
    }
    assert!(Arp::announcement(A, IP_A).is_gratuitous());
    assert!(Arp::request(A, Ipv4Addr::UNSPECIFIED, IP_B).is_probe());
    assert_eq!(Arp::request(A, IP_A, IP_B).operation, Operation::Request);
}

#[test]
fn scapy_ndp_is_read() {
    let target = link_local(0x0b);
    let solicitation = Ndp::Solicitation { target, source_link: Some(A) };
    assert_eq!(parse(&seed_packet("ndp-solicitation.ok")), Ok(solicitation));
    let detection = Ndp::Solicitation { target, source_link: None };
    assert_eq!(parse(&seed_packet("ndp-solicitation-dad.ok")), Ok(detection));
    let flags = Flags { router: true, solicited: true, replace: true };
    let advertisement = Ndp::Advertisement { target, target_link: Some(B), flags };
    assert_eq!(parse(&seed_packet("ndp-advertisement.ok")), Ok(advertisement));
    assert_eq!(parse(&seed_packet("ndp-router-solicitation.ok")), Ok(Ndp::RouterSolicitation));
}

#[test]
fn written_ndp_is_that_of_scapy() {
    // All but the traffic class, which scapy leaves at zero.
    let same = |ours: &[u8], name: &str| {
        let mut theirs = seed_packet(name);
        theirs[..2].copy_from_slice(&ours[..2]);
        assert_eq!(ours, theirs, "{name}");
    };
    let mut out = [0; MAX_LENGTH];
    let asked = Solicitation { src: link_local(0x0a), mac: A, target: link_local(0x0b), unicast: false };
    assert_eq!(asked.write(&mut out), Ok(MAX_LENGTH));
    same(&out, "ndp-solicitation.ok");
    let length = Solicitation { src: Ipv6Addr::UNSPECIFIED, ..asked }.write(&mut out).unwrap();
    same(&out[..length], "ndp-solicitation-dad.ok");
    let answer = Advertisement::answer(link_local(0x0a), link_local(0x0b), B);
    assert_eq!(answer.write(&mut out), Ok(MAX_LENGTH));
    same(&out, "ndp-advertisement.ok");
    assert!(answer.write(&mut out[..MAX_LENGTH - 1]).is_err());
}

#[test]
fn announcements_go_to_everyone_unsolicited() {
    let mut out = [0; MAX_LENGTH];
    let target = "2001:db8::1".parse().unwrap();
    let announcement = Advertisement::unsolicited(target, B);
    announcement.write(&mut out).unwrap();
    assert_eq!(announcement.dst, ALL_NODES);
    let flags = Flags { router: true, solicited: false, replace: true };
    assert_eq!(parse(&out), Ok(Ndp::Advertisement { target, target_link: Some(B), flags }));
}

#[test]
fn solicitations_go_to_the_solicited_node_group_or_the_target() {
    // RFC 4291 §2.7.1, its example.
    let target: Ipv6Addr = "4037::01:800:200e:8c6c".parse().unwrap();
    assert_eq!(solicited_node(target).to_string(), "ff02::1:ff0e:8c6c");
    let asked = Solicitation { src: link_local(1), mac: A, target, unicast: true };
    assert_eq!(asked.dst(), target);
}

#[test]
fn every_single_bit_error_in_a_message_is_refused() {
    let packet = seed_packet("ndp-solicitation.ok");
    for bit in 40 * 8..packet.len() * 8 {
        let mut bad = packet.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(parse(&bad).is_err(), "bit {bit}");
    }
}
