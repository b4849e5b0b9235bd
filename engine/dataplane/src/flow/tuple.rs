//! The five fields that tell flows apart, and what else of a packet classification and sessions look at.

use crate::wire::Protocol;
use crate::wire::ipv4::Ipv4Header;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// TCP flags (RFC 9293 §3.1).
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgment field counts.
    pub const ACK: u8 = 0x10;
}

const ICMP_ECHO_REPLY: u8 = 0;
const ICMP_ECHO: u8 = 8;
const ICMPV6_ECHO: u8 = 128;
const ICMPV6_ECHO_REPLY: u8 = 129;

/// One direction of a flow between addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port; of an ICMP query its identifier (RFC 5508 §3.1); else 0.
    pub src_port: u16,
    /// Destination port; of an ICMP query its identifier; else 0.
    pub dst_port: u16,
    /// What the packet carries.
    pub protocol: u8,
}

impl<A: Copy> Tuple<A> {
    /// The other direction.
    #[inline]
    pub const fn reversed(self) -> Tuple<A> {
        Tuple {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
            protocol: self.protocol,
        }
    }
}

/// A [`Tuple`] of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AnyTuple {
    /// IPv4.
    V4(Tuple<Ipv4Addr>),
    /// IPv6.
    V6(Tuple<Ipv6Addr>),
}

impl AnyTuple {
    /// The other direction.
    #[inline]
    pub const fn reversed(self) -> AnyTuple {
        match self {
            AnyTuple::V4(tuple) => AnyTuple::V4(tuple.reversed()),
            AnyTuple::V6(tuple) => AnyTuple::V6(tuple.reversed()),
        }
    }

    /// What the packet carries.
    #[inline]
    pub const fn protocol(&self) -> Protocol {
        match self {
            AnyTuple::V4(tuple) => Protocol(tuple.protocol),
            AnyTuple::V6(tuple) => Protocol(tuple.protocol),
        }
    }

    /// Source and destination port.
    #[inline]
    pub const fn ports(&self) -> (u16, u16) {
        match self {
            AnyTuple::V4(tuple) => (tuple.src_port, tuple.dst_port),
            AnyTuple::V6(tuple) => (tuple.src_port, tuple.dst_port),
        }
    }

    /// Source and destination address.
    pub const fn addresses(&self) -> (IpAddr, IpAddr) {
        match self {
            AnyTuple::V4(tuple) => (IpAddr::V4(tuple.src), IpAddr::V4(tuple.dst)),
            AnyTuple::V6(tuple) => (IpAddr::V6(tuple.src), IpAddr::V6(tuple.dst)),
        }
    }
}

impl AsRef<AnyTuple> for AnyTuple {
    #[inline]
    fn as_ref(&self) -> &AnyTuple {
        self
    }
}

/// What the upper-layer header shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upper {
    /// Nothing: a later fragment, or cut off before its ports.
    Hidden,
    /// TCP with these flags.
    Tcp(u8),
    /// An ICMP or ICMPv6 query that begins an exchange: an echo request.
    Query { kind: u8, code: u8 },
    /// An ICMP or ICMPv6 echo reply.
    Reply { kind: u8, code: u8 },
    /// Any other ICMP or ICMPv6 message, errors among them.
    Icmp { kind: u8, code: u8 },
    /// Anything else.
    Other,
}

/// What classification and sessions look at in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Addresses, ports, protocol.
    pub tuple: AnyTuple,
    /// The rest.
    pub upper: Upper,
}

impl Flow {
    /// Reads `packet`, an IPv4 packet whose header has been checked and that carries `protocol` from `upper` on;
    /// `shown` is false for a later fragment. `None` if it is shorter than an IPv4 header.
    #[inline]
    pub fn ipv4(packet: &[u8], protocol: Protocol, upper: usize, shown: bool) -> Option<Flow> {
        let (addresses, _) = packet.get(12..)?.split_first_chunk::<8>()?;
        let [a, b, c, d, e, f, g, h] = *addresses;
        let (src_port, dst_port, upper) = read_upper(packet, protocol, upper, shown);
        let (src, dst) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
        let tuple = AnyTuple::V4(Tuple { src, dst, src_port, dst_port, protocol: protocol.0 });
        Some(Flow { tuple, upper })
    }

    /// The same of an IPv6 packet; `protocol` and `upper` are behind its extension headers.
    #[inline]
    pub fn ipv6(packet: &[u8], protocol: Protocol, upper: usize, shown: bool) -> Option<Flow> {
        let (src, rest) = packet.get(8..)?.split_first_chunk::<16>()?;
        let (dst, _) = rest.split_first_chunk::<16>()?;
        let (src_port, dst_port, upper) = read_upper(packet, protocol, upper, shown);
        let (src, dst) = (Ipv6Addr::from(*src), Ipv6Addr::from(*dst));
        let tuple = AnyTuple::V6(Tuple { src, dst, src_port, dst_port, protocol: protocol.0 });
        Some(Flow { tuple, upper })
    }
}

/// The flow of `packet`, which an ICMP error quotes from its IP header on and which is often cut off behind its ports.
/// `None` if it does not show which flow that is.
pub fn quoted(packet: &[u8]) -> Option<AnyTuple> {
    let (protocol, upper) = match packet.first()? >> 4 {
        4 => {
            let header = Ipv4Header::parse_quoted(packet).ok()?;
            if header.fragmentation().offset != 0 {
                return None;
            }
            (header.protocol(), header.header_length())
        }
        // Extension headers are rare in what errors are about.
        6 => (Protocol(*packet.get(6)?), 40),
        _ => return None,
    };
    let ports = match *packet.get(upper..)? {
        [a, b, c, d, ..] if protocol.has_ports() => (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
        [ICMP_ECHO | ICMP_ECHO_REPLY, _, _, _, a, b, ..] if protocol == Protocol::ICMP => {
            (u16::from_be_bytes([a, b]), u16::from_be_bytes([a, b]))
        }
        [ICMPV6_ECHO | ICMPV6_ECHO_REPLY, _, _, _, a, b, ..] if protocol == Protocol::ICMPV6 => {
            (u16::from_be_bytes([a, b]), u16::from_be_bytes([a, b]))
        }
        _ if protocol.has_ports() => return None,
        _ => (0, 0),
    };
    let flow = match packet[0] >> 4 {
        4 => Flow::ipv4(packet, protocol, upper, false)?,
        _ => Flow::ipv6(packet, protocol, upper, false)?,
    };
    Some(match flow.tuple {
        AnyTuple::V4(tuple) => AnyTuple::V4(Tuple { src_port: ports.0, dst_port: ports.1, ..tuple }),
        AnyTuple::V6(tuple) => AnyTuple::V6(Tuple { src_port: ports.0, dst_port: ports.1, ..tuple }),
    })
}

/// Ports, and the rest that the upper-layer header shows.
#[inline]
fn read_upper(packet: &[u8], protocol: Protocol, upper: usize, shown: bool) -> (u16, u16, Upper) {
    let hidden = (0, 0, Upper::Hidden);
    let Some(header) = packet.get(upper..).filter(|_| shown) else { return hidden };
    if protocol.has_ports() {
        let &[a, b, c, d, ..] = header else { return hidden };
        let (src, dst) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        return match (protocol, header.get(13)) {
            (Protocol::TCP, Some(&flags)) => (src, dst, Upper::Tcp(flags)),
            (Protocol::TCP, None) => hidden,
            _ => (src, dst, Upper::Other),
        };
    }
    if protocol != Protocol::ICMP && protocol != Protocol::ICMPV6 {
        return (0, 0, Upper::Other);
    }
    let &[kind, code, _, _, a, b, ..] = header else { return hidden };
    let id = u16::from_be_bytes([a, b]);
    match (protocol, kind) {
        (Protocol::ICMP, ICMP_ECHO) | (Protocol::ICMPV6, ICMPV6_ECHO) => {
            (id, id, Upper::Query { kind, code })
        }
        (Protocol::ICMP, ICMP_ECHO_REPLY) | (Protocol::ICMPV6, ICMPV6_ECHO_REPLY) => {
            (id, id, Upper::Reply { kind, code })
        }
        _ => (0, 0, Upper::Icmp { kind, code }),
    }
}
