use super::seed_packet;
use crate::packet::RxChecksum;
use crate::wire::icmp::{self, Icmp, IcmpError};
use crate::wire::icmpv6::{self, Icmpv6, Icmpv6Error, Problem};
use crate::wire::ipv4::{Fragmentation, Ipv4Fields, Ipv4Header};
use crate::wire::ipv6::Ipv6Header;
use crate::wire::{MacAddr, Protocol, TrafficClass, WireError};
use std::net::{Ipv4Addr, Ipv6Addr};

const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const UNICAST: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

fn router6() -> Ipv6Addr {
    "2001:db8:1::1".parse().unwrap()
}

/// An IPv4 UDP packet of `length` bytes.
fn ipv4(length: usize, src: &str, dst: &str, offset: u16) -> Vec<u8> {
    let mut packet = vec![0xaa; length];
    let fields = Ipv4Fields {
        traffic_class: TrafficClass(0),
        payload_length: (length - 20) as u16,
        id: 7,
        fragmentation: Fragmentation { dont_fragment: false, more: false, offset },
        ttl: 9,
        protocol: Protocol::UDP,
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
    };
    fields.write(&mut packet).unwrap();
    packet
}

#[test]
fn scapy_errors_are_read() {
    let packet = seed_packet("icmp-frag-needed.ok");
    let header = Ipv4Header::parse(&packet, RxChecksum::Unknown).unwrap();
    let Ok(Icmp::Error(IcmpError::FragmentationNeeded { mtu: 1400 }, quoted)) =
        Icmp::parse(&packet[header.payload()])
    else {
        panic!("not read")
    };
    let quoted = Ipv4Header::parse_quoted(quoted).unwrap();
    assert_eq!((quoted.src().to_string(), quoted.id()), ("192.0.2.10".to_owned(), 0x1234));
    let packet = seed_packet("icmpv6-too-big.ok");
    let header = Ipv6Header::parse(&packet).unwrap();
    let Ok(Icmpv6::Error(Icmpv6Error::PacketTooBig { mtu: 1300 }, quoted)) =
        Icmpv6::parse(header.src(), header.dst(), &packet[header.payload()])
    else {
        panic!("not read")
    };
    assert_eq!(quoted, seed_packet("ipv6-udp.ok"));
}

#[test]
fn ipv4_errors_round_trip_and_quote_up_to_576_bytes() {
    use IcmpError::*;
    let all = [
        (NetUnreachable, 3, 0),
        (HostUnreachable, 3, 1),
        (ProtocolUnreachable, 3, 2),
        (PortUnreachable, 3, 3),
        (FragmentationNeeded { mtu: 1400 }, 3, 4),
        (AdminProhibited, 3, 13),
        (TimeExceeded, 11, 0),
        (ReassemblyTimeExceeded, 11, 1),
        (ParameterProblem { pointer: 20 }, 12, 0),
    ];
    for (error, kind, code) in all {
        for length in [20, 28, 100, 548, 549, 1500] {
            let mut original = ipv4(length, "198.51.100.7", "203.0.113.9", 0);
            original.extend([0; 6]); // Link padding must not be quoted.
            let mut out = [0; 2000];
            let written = icmp::write_error(error, ROUTER, &original, &mut out).unwrap();
            assert_eq!(written, (length + 28).min(576));
            let oracle = etherparse::SlicedPacket::from_ip(&out[..written]).unwrap();
            let Some(etherparse::TransportSlice::Icmpv4(message)) = oracle.transport else {
                panic!("not ICMP")
            };
            assert_eq!((message.type_u8(), message.code_u8()), (kind, code));
            let header = Ipv4Header::parse(&out[..written], RxChecksum::Unknown).unwrap();
            assert_eq!((header.src(), header.dst()), (ROUTER, "198.51.100.7".parse().unwrap()));
            let quoted = &original[..length.min(548)];
            assert_eq!(Icmp::parse(&out[header.payload()]), Ok(Icmp::Error(error, quoted)));
            assert!(!icmp::may_send_error(&out[..written], UNICAST), "an error about an error");
        }
    }
    let original = ipv4(100, "198.51.100.7", "203.0.113.9", 0);
    assert_eq!(icmp::write_error(TimeExceeded, ROUTER, &original, &mut [0; 55]), Err(WireError::NoRoom));
    assert_eq!(icmp::write_error(TimeExceeded, ROUTER, &original, &mut [0; 56]), Ok(56));
}

#[test]
fn when_not_to_send_an_ipv4_error() {
    let may = |src, dst, offset| icmp::may_send_error(&ipv4(60, src, dst, offset), UNICAST);
    assert!(may("198.51.100.7", "203.0.113.9", 0));
    assert!(!may("198.51.100.7", "203.0.113.9", 8), "fragment");
    for dst in ["224.0.0.5", "255.255.255.255"] {
        assert!(!may("198.51.100.7", dst, 0), "{dst}");
    }
    for src in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1"] {
        assert!(!may(src, "203.0.113.9", 0), "{src}");
    }
    let packet = ipv4(60, "198.51.100.7", "203.0.113.9", 0);
    assert!(!icmp::may_send_error(&packet, MacAddr::BROADCAST));
    assert!(!icmp::may_send_error(&packet, MacAddr([1, 0, 0x5e, 0, 0, 1])));
    assert!(icmp::may_send_error(&seed_packet("icmp-echo.ok"), UNICAST));
    assert!(!icmp::may_send_error(&seed_packet("icmp-ttl.ok"), UNICAST));
}

#[test]
fn ipv6_errors_round_trip_and_quote_up_to_1280_bytes() {
    use Icmpv6Error::*;
    let all = [
        (NoRoute, 1, 0),
        (AdminProhibited, 1, 1),
        (AddressUnreachable, 1, 3),
        (PortUnreachable, 1, 4),
        (PacketTooBig { mtu: 1400 }, 2, 0),
        (HopLimitExceeded, 3, 0),
        (ReassemblyTimeExceeded, 3, 1),
        (ParameterProblem { problem: Problem::NextHeader, pointer: 6 }, 4, 1),
    ];
    let short = seed_packet("ipv6-udp.ok");
    let mut long = short.clone();
    long.resize(1500, 0);
    Ipv6Header::of(&mut long).unwrap().set_payload_length(1460);
    for (error, kind, code) in all {
        for original in [&short, &long] {
            let mut out = [0; 2000];
            let written = icmpv6::write_error(error, router6(), original, &mut out).unwrap();
            assert_eq!(written, (original.len() + 48).min(1280));
            let oracle = etherparse::SlicedPacket::from_ip(&out[..written]).unwrap();
            let Some(etherparse::TransportSlice::Icmpv6(message)) = oracle.transport else {
                panic!("not ICMPv6")
            };
            assert_eq!((message.type_u8(), message.code_u8()), (kind, code));
            let header = Ipv6Header::parse(&out[..written]).unwrap();
            let (src, dst) = (header.src(), header.dst());
            assert!(message.is_checksum_valid(src.octets(), dst.octets()));
            let quoted = &original[..original.len().min(1232)];
            let parsed = Icmpv6::parse(src, dst, &out[header.payload()]);
            assert_eq!(parsed, Ok(Icmpv6::Error(error, quoted)));
            assert!(!icmpv6::may_send_error(NoRoute, &out[..written], UNICAST), "an error about an error");
        }
    }
}

#[test]
fn when_not_to_send_an_ipv6_error() {
    let too_big = Icmpv6Error::PacketTooBig { mtu: 1280 };
    let packet = seed_packet("ipv6-udp.ok");
    let with = |at: usize, address: &str| {
        let mut packet = packet.clone();
        packet[at..at + 16].copy_from_slice(&address.parse::<Ipv6Addr>().unwrap().octets());
        packet
    };
    assert!(icmpv6::may_send_error(Icmpv6Error::NoRoute, &packet, UNICAST));
    for src in ["::", "::1", "ff02::1"] {
        assert!(!icmpv6::may_send_error(too_big, &with(8, src), UNICAST), "{src}");
    }
    let group = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
    assert!(!icmpv6::may_send_error(Icmpv6Error::NoRoute, &with(24, "ff0e::1"), group));
    assert!(!icmpv6::may_send_error(Icmpv6Error::NoRoute, &packet, group));
    assert!(icmpv6::may_send_error(too_big, &with(24, "ff0e::1"), group));
    let option = Icmpv6Error::ParameterProblem { problem: Problem::Option, pointer: 42 };
    assert!(icmpv6::may_send_error(option, &with(24, "ff0e::1"), group));
    assert!(icmpv6::may_send_error(Icmpv6Error::NoRoute, &seed_packet("icmpv6-echo.ok"), UNICAST));
    let mut redirect = seed_packet("icmpv6-echo.ok");
    redirect[40] = 137;
    assert!(!icmpv6::may_send_error(Icmpv6Error::NoRoute, &redirect, UNICAST));
}

#[test]
fn echo_requests_become_replies_in_place() {
    let request = seed_packet("icmp-echo.ok");
    let mut reply = request.clone();
    icmp::reply_in_place(&mut reply, 64).unwrap();
    let header = Ipv4Header::parse(&reply, RxChecksum::Unknown).unwrap();
    assert_eq!((header.src().to_string(), header.ttl()), ("198.51.100.20".to_owned(), 64));
    let echo = icmp::Echo { id: 77, sequence: 5, data: &request[28..] };
    assert_eq!(Icmp::parse(&reply[header.payload()]), Ok(Icmp::EchoReply(echo)));
    assert_eq!(icmp::reply_in_place(&mut reply, 64), Err(WireError::Unsupported));

    let request = seed_packet("icmpv6-echo.ok");
    let mut reply = request.clone();
    icmpv6::reply_in_place(&mut reply, 64).unwrap();
    let header = Ipv6Header::parse(&reply).unwrap();
    assert_eq!(header.src().to_string(), "2001:db8:2::20");
    let echo = icmpv6::Echo { id: 9, sequence: 8, data: b"ping" };
    let parsed = Icmpv6::parse(header.src(), header.dst(), &reply[header.payload()]);
    assert_eq!(parsed, Ok(Icmpv6::EchoReply(echo)));
}

#[test]
fn path_mtu_without_a_stated_one_is_the_next_plateau() {
    for (length, plateau) in [(1500, 1492), (1492, 1006), (1006, 508), (69, 68), (60, 68)] {
        let packet = ipv4(length, "198.51.100.7", "203.0.113.9", 0);
        let quoted = Ipv4Header::parse_quoted(&packet).unwrap();
        assert_eq!(icmp::path_mtu(0, quoted), plateau, "{length}");
        assert_eq!(icmp::path_mtu(1400, quoted), 1400);
        assert_eq!(icmp::path_mtu(1, quoted), 68);
    }
}
