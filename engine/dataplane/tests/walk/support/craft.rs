//! Packets as hosts make them, and a second opinion on those the engine makes: etherparse is both.

use super::draft::{host_v4, host_v6};
use dataplane::wire::MacAddr;
use etherparse::{
    IpHeaders, IpNumber, Ipv4Header, Ipv6Header, NetHeaders, PacketBuilder, PacketHeaders, TcpOptionElement,
    TransportHeader,
};
use std::net::IpAddr;

/// An Ethernet frame, with padding up to 60 bytes where it is short.
pub fn frame(dst: MacAddr, src: MacAddr, vlan: Option<u16>, packet: &[u8]) -> Vec<u8> {
    let ether_type: u16 = if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 };
    typed(dst, src, vlan, ether_type, packet)
}

/// The same, of any type.
pub fn typed(dst: MacAddr, src: MacAddr, vlan: Option<u16>, ether_type: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = [dst.0, src.0].concat();
    if let Some(id) = vlan {
        frame.extend([0x81, 0]);
        frame.extend(id.to_be_bytes());
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(body);
    frame.resize(frame.len().max(60), 0xee);
    frame
}

/// What an IP header says.
#[derive(Clone, Copy)]
pub struct Ip {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub ttl: u8,
    /// DSCP and ECN.
    pub class: u8,
    pub dont_fragment: bool,
}

impl Ip {
    pub fn new(src: IpAddr, dst: IpAddr) -> Ip {
        Ip { src, dst, ttl: 64, class: 0, dont_fragment: false }
    }

    /// From host 9 of a site to host 9 of another.
    pub fn between(from: u8, to: u8, v6: bool) -> Ip {
        let host = if v6 { host_v6 } else { host_v4 };
        Ip::new(host(from, 9), host(to, 9))
    }

    pub fn ttl(self, ttl: u8) -> Ip {
        Ip { ttl, ..self }
    }

    pub fn class(self, class: u8) -> Ip {
        Ip { class, ..self }
    }

    pub fn whole(self) -> Ip {
        Ip { dont_fragment: true, ..self }
    }

    /// The header, for etherparse to complete.
    pub fn header(&self) -> IpHeaders {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header = Ipv4Header {
                    dscp: (self.class >> 2).try_into().unwrap(),
                    ecn: (self.class & 3).try_into().unwrap(),
                    identification: 0x1234,
                    dont_fragment: self.dont_fragment,
                    time_to_live: self.ttl,
                    source: src.octets(),
                    destination: dst.octets(),
                    ..Default::default()
                };
                IpHeaders::Ipv4(header, Default::default())
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let header = Ipv6Header {
                    traffic_class: self.class,
                    flow_label: 0x12345.try_into().unwrap(),
                    hop_limit: self.ttl,
                    source: src.octets(),
                    destination: dst.octets(),
                    ..Default::default()
                };
                IpHeaders::Ipv6(header, Default::default())
            }
            _ => panic!("one family"),
        }
    }

    /// A UDP datagram from port 5000 + `flow` with `length` bytes, no two alike near each other.
    pub fn udp(self, flow: u16, length: usize) -> Vec<u8> {
        self.datagram(5000 + flow, 6000, &(0..length).map(|n| (n * 7 + n / 256) as u8).collect::<Vec<_>>())
    }

    /// A UDP datagram that makes an IP packet of `length` bytes.
    pub fn sized(self, flow: u16, length: usize) -> Vec<u8> {
        self.udp(flow, length - if self.src.is_ipv6() { 48 } else { 28 })
    }

    pub fn datagram(self, from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        PacketBuilder::ip(self.header()).udp(from, to).write(&mut out, payload).unwrap();
        out
    }

    /// A TCP SYN that announces `mss`.
    pub fn syn(self, mss: u16) -> Vec<u8> {
        let mut out = Vec::new();
        let options = [TcpOptionElement::Noop, TcpOptionElement::MaximumSegmentSize(mss)];
        let tcp = PacketBuilder::ip(self.header()).tcp(5000, 80, 1, 1000).syn();
        tcp.options(&options).unwrap().write(&mut out, &[]).unwrap();
        out
    }

    pub fn echo(self, sequence: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let ip = PacketBuilder::ip(self.header());
        match self.src {
            IpAddr::V4(_) => ip.icmpv4_echo_request(7, sequence).write(&mut out, payload),
            IpAddr::V6(_) => ip.icmpv6_echo_request(7, sequence).write(&mut out, payload),
        }
        .unwrap();
        out
    }

    /// Any ICMP or ICMPv6 message: its type and code, the four bytes behind the checksum, and the rest.
    pub fn icmp(self, kind: u8, code: u8, rest: [u8; 4], body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let ip = PacketBuilder::ip(self.header());
        match self.src {
            IpAddr::V4(_) => ip.icmpv4_raw(kind, code, rest).write(&mut out, body),
            IpAddr::V6(_) => ip.icmpv6_raw(kind, code, rest).write(&mut out, body),
        }
        .unwrap();
        out
    }

    /// Any payload of any protocol.
    pub fn raw(self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        PacketBuilder::ip(self.header()).write(&mut out, IpNumber(protocol), payload).unwrap();
        out
    }
}

/// The IP packet in a frame the engine sent, every length and checksum of it checked by etherparse.
pub fn checked(frame: &[u8]) -> Vec<u8> {
    let tagged = frame[12..14] == [0x81, 0];
    let packet = frame[if tagged { 18 } else { 14 }..].to_vec();
    check(&packet);
    packet
}

fn check(packet: &[u8]) {
    let headers = PacketHeaders::from_ip_slice(packet).expect("a well-formed packet");
    let body = headers.payload.slice();
    let fragment = matches!(&headers.net, Some(NetHeaders::Ipv4(ip, _)) if ip.is_fragmenting_payload());
    match (&headers.net, &headers.transport) {
        (Some(NetHeaders::Ipv4(ip, _)), transport) => {
            assert_eq!(usize::from(ip.total_len), packet.len(), "total length");
            assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "IPv4 header checksum");
            match transport {
                _ if fragment => {}
                Some(TransportHeader::Udp(udp)) => {
                    assert_eq!(udp.checksum, udp.calc_checksum_ipv4(ip, body).unwrap(), "UDP checksum");
                }
                Some(TransportHeader::Tcp(tcp)) => {
                    assert_eq!(tcp.checksum, tcp.calc_checksum_ipv4(ip, body).unwrap(), "TCP checksum");
                }
                Some(TransportHeader::Icmpv4(icmp)) => {
                    assert_eq!(icmp.checksum, icmp.icmp_type.calc_checksum(body), "ICMP checksum");
                }
                _ => {}
            }
        }
        (Some(NetHeaders::Ipv6(ip, _)), transport) => {
            assert_eq!(usize::from(ip.payload_length) + 40, packet.len(), "payload length");
            match transport {
                Some(TransportHeader::Udp(udp)) => {
                    assert_eq!(udp.checksum, udp.calc_checksum_ipv6(ip, body).unwrap(), "UDP checksum");
                }
                Some(TransportHeader::Tcp(tcp)) => {
                    assert_eq!(tcp.checksum, tcp.calc_checksum_ipv6(ip, body).unwrap(), "TCP checksum");
                }
                Some(TransportHeader::Icmpv6(icmp)) => {
                    let right = icmp.icmp_type.calc_checksum(ip.source, ip.destination, body).unwrap();
                    assert_eq!(icmp.checksum, right, "ICMPv6 checksum");
                }
                _ => {}
            }
        }
        _ => panic!("not an IP packet"),
    }
}

/// What follows the IP header of a packet without extension headers.
pub fn payload(packet: &[u8]) -> &[u8] {
    if packet[0] >> 4 == 6 { &packet[40..] } else { &packet[usize::from(packet[0] & 15) * 4..] }
}

/// Source and destination of an IP packet.
pub fn addresses(packet: &[u8]) -> (IpAddr, IpAddr) {
    let address = |at: usize, length: usize| match length {
        4 => IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap()),
        _ => IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap()),
    };
    if packet[0] >> 4 == 6 { (address(8, 16), address(24, 16)) } else { (address(12, 4), address(16, 4)) }
}

/// The packet with one hop less, as an oracle that recomputes everything.
pub fn one_hop_less(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 6 {
        packet[7] -= 1;
        return packet;
    }
    let mut header = Ipv4Header::from_slice(&packet).unwrap().0;
    header.time_to_live -= 1;
    header.header_checksum = header.calc_header_checksum();
    let bytes = header.to_bytes();
    packet[..bytes.len()].copy_from_slice(&bytes);
    packet
}
