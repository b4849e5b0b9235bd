//! What a filter tests and a trace shows of a packet's IP headers.

use crate::id::TunnelId;
use crate::wire::esp::Esp;
use crate::wire::ethernet::Ethernet;
use crate::wire::gre::Gre;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::{self, Ipv6Header};
use crate::wire::{EtherType, Protocol, esp_udp, udp, vxlan};
use std::net::IpAddr;

/// What follows an IP header, as far as it tells packets apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upper {
    /// Nothing known: another protocol, a later fragment, or cut off.
    Other,
    /// A protocol with ports.
    Ports { src: u16, dst: u16 },
    /// ESP (RFC 4303 §2).
    Esp(Esp),
    /// GRE (RFC 2784).
    Gre { key: Option<u32>, sequence: Option<u32> },
    /// ICMP or ICMPv6.
    Icmp { kind: u8, code: u8 },
}

/// One IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// What it carries, behind IPv6 extension headers.
    pub protocol: Protocol,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Bytes of the IP packet, as its header says.
    pub length: usize,
    /// What it carries says of itself.
    pub upper: Upper,
}

impl Header {
    /// The header that `packet` begins with, and what it carries. A packet that is cut off or whose checksum is wrong
    /// is shown all the same: it may be dropped for that.
    pub fn of(packet: &[u8]) -> Option<(Header, &[u8])> {
        match packet.first()? >> 4 {
            4 => Header::v4(packet),
            6 => Header::v6(packet),
            _ => None,
        }
    }

    fn v4(packet: &[u8]) -> Option<(Header, &[u8])> {
        let header = Ipv4Header::parse_quoted(packet).ok()?;
        let payload = packet.get(header.header_length()..).unwrap_or_default();
        let first = header.fragmentation().offset == 0;
        let shown = Header {
            src: header.src().into(),
            dst: header.dst().into(),
            protocol: header.protocol(),
            hop_limit: header.ttl(),
            length: header.total_length(),
            upper: if first { upper(header.protocol(), payload) } else { Upper::Other },
        };
        Some((shown, payload))
    }

    fn v6(packet: &[u8]) -> Option<(Header, &[u8])> {
        let header = Ipv6Header::parse_quoted(packet).ok()?;
        let walked = ipv6::walk(packet).ok();
        let protocol = walked.map_or(header.next_header(), |walked| walked.protocol);
        let offset = walked.map_or(ipv6::HEADER_LENGTH, |walked| walked.offset);
        let payload = packet.get(offset..).unwrap_or_default();
        let first = walked.is_some_and(|walked| walked.has_header());
        let shown = Header {
            src: header.src().into(),
            dst: header.dst().into(),
            protocol,
            hop_limit: header.hop_limit(),
            length: header.total_length(),
            upper: if first { upper(protocol, payload) } else { Upper::Other },
        };
        Some((shown, payload))
    }
}

fn upper(protocol: Protocol, payload: &[u8]) -> Upper {
    match (protocol, payload) {
        (Protocol::ESP, _) => Esp::parse(payload).map_or(Upper::Other, Upper::Esp),
        (Protocol::GRE, _) => Gre::parse(payload)
            .map_or(Upper::Other, |(gre, _)| Upper::Gre { key: gre.key, sequence: gre.sequence }),
        (Protocol::ICMP | Protocol::ICMPV6, &[kind, code, ..]) => Upper::Icmp { kind, code },
        (_, &[a, b, c, d, ..]) if protocol.has_ports() => {
            Upper::Ports { src: u16::from_be_bytes([a, b]), dst: u16::from_be_bytes([c, d]) }
        }
        _ => Upper::Other,
    }
}

/// A header that may not have been seen yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layer {
    /// A later stage will tell.
    #[default]
    Unknown,
    /// There is none.
    Absent,
    /// Here it is.
    Present(Header),
}

/// The tunnels a packet takes part in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tunnels {
    /// It came out of this one.
    pub rx: Option<TunnelId>,
    /// It goes into this one.
    pub tx: Option<TunnelId>,
    /// Nothing will be added.
    pub complete: bool,
}

/// All that a filter tests. `outer` is the IP header before GRE, ESP, VXLAN or another IP header, whoever's tunnel that is, and `inner` the packet
/// in it; of any other packet `inner` is its own header and there is no `outer`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The encapsulation.
    pub outer: Layer,
    /// What is inside, or the only header.
    pub inner: Layer,
    /// Its tunnels.
    pub tunnels: Tunnels,
}

impl View {
    /// What an IP packet shows. Inside GRE the inner header is in the clear; inside ESP it is still to be seen.
    pub fn ip(packet: &[u8]) -> View {
        let Some((header, payload)) = Header::of(packet) else { return View::nothing() };
        let (outer, inner) = match header.protocol {
            Protocol::ESP => (Layer::Present(header), Layer::Unknown),
            Protocol::GRE => (Layer::Present(header), in_gre(payload)),
            Protocol::IPV4 | Protocol::IPV6 => (Layer::Present(header), present(payload)),
            Protocol::UDP => match header.upper {
                Upper::Ports { dst: esp_udp::PORT, .. } if is_esp(payload) => {
                    (Layer::Present(header), Layer::Unknown)
                }
                Upper::Ports { dst: vxlan::PORT, .. } => (Layer::Present(header), in_vxlan(payload)),
                _ => (Layer::Absent, Layer::Present(header)),
            },
            _ => (Layer::Absent, Layer::Present(header)),
        };
        View { outer, inner, tunnels: Tunnels::default() }
    }

    /// What an Ethernet frame shows.
    pub fn frame(frame: &[u8]) -> View {
        match Ethernet::parse(frame) {
            Ok((ethernet, at)) if is_ip(ethernet.ether_type) => View::ip(&frame[at..]),
            _ => View::nothing(),
        }
    }

    /// No IP header at all.
    fn nothing() -> View {
        View { outer: Layer::Absent, inner: Layer::Absent, tunnels: Tunnels::default() }
    }

    /// Nothing more will be seen: what is unknown is not there.
    pub fn complete(mut self) -> View {
        for layer in [&mut self.outer, &mut self.inner] {
            if *layer == Layer::Unknown {
                *layer = Layer::Absent;
            }
        }
        self.tunnels.complete = true;
        self
    }
}

fn in_gre(payload: &[u8]) -> Layer {
    let inner = Gre::parse(payload).ok().filter(|(gre, _)| is_ip(gre.protocol));
    inner.and_then(|(_, at)| payload.get(at..)).map_or(Layer::Absent, present)
}

fn in_vxlan(datagram: &[u8]) -> Layer {
    let frame = datagram.get(udp::HEADER_LENGTH..).filter(|payload| vxlan::parse(payload).is_ok());
    let frame = frame.and_then(|payload| payload.get(vxlan::HEADER_LENGTH..)).unwrap_or_default();
    match Ethernet::parse(frame) {
        Ok((ethernet, at)) if is_ip(ethernet.ether_type) => present(&frame[at..]),
        _ => Layer::Absent,
    }
}

fn is_esp(datagram: &[u8]) -> bool {
    let payload = datagram.get(udp::HEADER_LENGTH..).unwrap_or_default();
    matches!(esp_udp::Payload::parse(payload), Ok(esp_udp::Payload::Esp(_)))
}

fn present(packet: &[u8]) -> Layer {
    Header::of(packet).map_or(Layer::Absent, |(header, _)| Layer::Present(header))
}

fn is_ip(ether_type: EtherType) -> bool {
    matches!(ether_type, EtherType::IPV4 | EtherType::IPV6)
}
