//! ICMP (RFC 792), as a router must send it (RFC 1812 §4.3) and as path MTU discovery needs it (RFC 1191).

use super::checksum::{self, Sum};
use super::ipv4::{self, Fragmentation, Ipv4Fields, Ipv4Header};
use super::{MacAddr, Protocol, Result, TrafficClass, WireError, put, view, view_mut};
use crate::packet::RxChecksum;
use std::net::Ipv4Addr;
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes before an echo's data or an error's quote.
pub const HEADER_LENGTH: usize = size_of::<Header>();
/// The most bytes of an error, IP header included (RFC 1812 §4.3.2.3).
pub const MAX_ERROR_LENGTH: usize = 576;

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const ECHO_REQUEST: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    kind: u8,
    code: u8,
    checksum: U16,
    /// Echo: identifier and sequence number. Errors: unused, the pointer, or the next-hop MTU behind.
    rest: [U16; 2],
}

/// A checked ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icmp<'a> {
    /// Someone asks for an echo.
    EchoRequest(Echo<'a>),
    /// An echo.
    EchoReply(Echo<'a>),
    /// Something went wrong with the quoted packet: its header and at least 8 more bytes, often cut off. See
    /// [`Ipv4Header::parse_quoted`].
    Error(IcmpError, &'a [u8]),
    /// Any other type or code.
    Other {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
}

/// What an echo request or reply carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo<'a> {
    /// Identifier.
    pub id: u16,
    /// Sequence number.
    pub sequence: u16,
    /// Data.
    pub data: &'a [u8],
}

/// Why a packet went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// No route to the destination (RFC 1812 §4.3.3.1).
    NetUnreachable,
    /// The destination's link-layer address could not be found out.
    HostUnreachable,
    /// Nobody here speaks the protocol.
    ProtocolUnreachable,
    /// Nobody here listens on the port.
    PortUnreachable,
    /// Longer than the next link's MTU, and DF set (RFC 1191 §4).
    FragmentationNeeded {
        /// The next link's MTU, bytes; 0 from routers older than RFC 1191.
        mtu: u16,
    },
    /// Policy forbids it (RFC 1812 §5.2.7.1).
    AdminProhibited,
    /// TTL ran out on the way.
    TimeExceeded,
    /// Fragments did not arrive in time.
    ReassemblyTimeExceeded,
    /// A header field is wrong.
    ParameterProblem {
        /// The offset of the field, bytes.
        pointer: u8,
    },
}

impl IcmpError {
    fn header(self) -> Header {
        let (kind, code, rest) = match self {
            IcmpError::NetUnreachable => (UNREACHABLE, 0, [0, 0]),
            IcmpError::HostUnreachable => (UNREACHABLE, 1, [0, 0]),
            IcmpError::ProtocolUnreachable => (UNREACHABLE, 2, [0, 0]),
            IcmpError::PortUnreachable => (UNREACHABLE, 3, [0, 0]),
            IcmpError::FragmentationNeeded { mtu } => (UNREACHABLE, 4, [0, mtu]),
            IcmpError::AdminProhibited => (UNREACHABLE, 13, [0, 0]),
            IcmpError::TimeExceeded => (TIME_EXCEEDED, 0, [0, 0]),
            IcmpError::ReassemblyTimeExceeded => (TIME_EXCEEDED, 1, [0, 0]),
            IcmpError::ParameterProblem { pointer } => (PARAMETER_PROBLEM, 0, [u16::from(pointer) << 8, 0]),
        };
        Header { kind, code, checksum: U16::ZERO, rest: rest.map(U16::new) }
    }

    fn parse(header: &Header) -> Option<IcmpError> {
        let [first, second] = header.rest.map(U16::get);
        Some(match (header.kind, header.code) {
            (UNREACHABLE, 0) => IcmpError::NetUnreachable,
            (UNREACHABLE, 1) => IcmpError::HostUnreachable,
            (UNREACHABLE, 2) => IcmpError::ProtocolUnreachable,
            (UNREACHABLE, 3) => IcmpError::PortUnreachable,
            (UNREACHABLE, 4) => IcmpError::FragmentationNeeded { mtu: second },
            (UNREACHABLE, 13) => IcmpError::AdminProhibited,
            (TIME_EXCEEDED, 0) => IcmpError::TimeExceeded,
            (TIME_EXCEEDED, 1) => IcmpError::ReassemblyTimeExceeded,
            (PARAMETER_PROBLEM, 0) => IcmpError::ParameterProblem { pointer: (first >> 8) as u8 },
            _ => return None,
        })
    }
}

impl Icmp<'_> {
    /// Checks `message`, the payload of an unfragmented IP packet, to its last byte.
    pub fn parse(message: &[u8]) -> Result<Icmp<'_>> {
        let (header, data) = view::<Header>(message)?;
        if !Sum::default().bytes(message).is_intact() {
            return Err(WireError::Checksum);
        }
        let [id, sequence] = header.rest.map(U16::get);
        Ok(match (header.kind, header.code) {
            (ECHO_REQUEST, 0) => Icmp::EchoRequest(Echo { id, sequence, data }),
            (ECHO_REPLY, 0) => Icmp::EchoReply(Echo { id, sequence, data }),
            (kind, code) => match IcmpError::parse(header) {
                Some(error) => Icmp::Error(error, data),
                None => Icmp::Other { kind, code },
            },
        })
    }
}

/// Turns `packet`, an echo request to this engine, into its reply with `ttl` (RFC 792, RFC 1812 §4.3.3.6).
/// Unsupported, and unchanged: fragments, and options, which a reply would have to treat one by one. The
/// caller has made sure that the destination is its own unicast address.
pub fn reply_in_place(packet: &mut [u8], ttl: u8) -> Result<()> {
    let header = Ipv4Header::parse(packet, RxChecksum::Good)?;
    if header.fragmentation().is_fragment() || !header.options().is_empty() {
        return Err(WireError::Unsupported);
    }
    let payload = header.payload();
    if header.protocol() != Protocol::ICMP
        || !matches!(Icmp::parse(&packet[payload.clone()])?, Icmp::EchoRequest(_))
    {
        return Err(WireError::Unsupported);
    }
    Ipv4Header::of(packet)?.turn_round(ttl);
    let (icmp, _) = view_mut::<Header>(&mut packet[payload])?;
    let word = |kind| u16::from_be_bytes([kind, 0]);
    icmp.checksum = U16::new(checksum::update(icmp.checksum.get(), word(ECHO_REQUEST), word(ECHO_REPLY)));
    icmp.kind = ECHO_REPLY;
    Ok(())
}

/// True if an error about `packet`, a received IP packet, may be sent (RFC 1812 §4.3.2.7). `link_dst` is where
/// its frame went. The caller knows, as this function cannot, a directed broadcast to one of its own subnets.
pub fn may_send_error(packet: &[u8], link_dst: MacAddr) -> bool {
    let Ok(header) = Ipv4Header::parse_quoted(packet) else { return false };
    let (src, dst) = (header.src(), header.dst());
    // "The source address does not define a single host": zero, loopback, broadcast, group, class E.
    let one_host = !matches!(src.octets()[0], 0 | 127 | 224..);
    let group = dst.is_multicast() || dst.is_broadcast() || link_dst.is_multicast();
    if !one_host || group || header.fragmentation().offset != 0 {
        return false;
    }
    // Never about an error; a type that cannot be read could be one.
    header.protocol() != Protocol::ICMP || packet.get(header.header_length()).copied().is_some_and(is_query)
}

/// Echo, router discovery, timestamp, information, address mask: everything else is or may be an error.
const fn is_query(kind: u8) -> bool {
    matches!(kind, ECHO_REPLY | ECHO_REQUEST | 9 | 10 | 13..=18)
}

/// Writes an error about `original`, a received IP packet, as an IP packet from `from` to its source. Quotes
/// as much as [`MAX_ERROR_LENGTH`] and `out` leave room for, and returns the length. Ask [`may_send_error`]
/// first.
pub fn write_error(error: IcmpError, from: Ipv4Addr, original: &[u8], out: &mut [u8]) -> Result<usize> {
    const HEADERS: usize = ipv4::HEADER_LENGTH + HEADER_LENGTH;
    let header = Ipv4Header::parse_quoted(original)?;
    // Link padding is no part of the packet.
    let whole = header.total_length().min(original.len());
    let quote = whole.min(MAX_ERROR_LENGTH.min(out.len()).saturating_sub(HEADERS));
    // At least the header and 8 bytes of what follows (RFC 792).
    if quote < whole.min(header.header_length() + 8) {
        return Err(WireError::NoRoom);
    }
    let fields = Ipv4Fields {
        // Errors go with internetwork control precedence (RFC 1812 §4.3.2.5).
        traffic_class: TrafficClass::NETWORK_CONTROL,
        payload_length: (HEADER_LENGTH + quote) as u16,
        // Never fragmented, so the identification says nothing (RFC 6864 §4.1).
        id: 0,
        fragmentation: Fragmentation { dont_fragment: true, ..Default::default() },
        ttl: 64,
        protocol: Protocol::ICMP,
        src: from,
        dst: header.src(),
    };
    let out = out.get_mut(..HEADERS + quote).ok_or(WireError::NoRoom)?;
    let message = fields.write(out)?;
    put(&mut out[message..], &error.header())?;
    out[HEADERS..].copy_from_slice(&original[..quote]);
    let check = checksum::checksum(&out[message..]);
    view_mut::<Header>(&mut out[message..])?.0.checksum = U16::new(check);
    Ok(out.len())
}

/// The path MTU that a fragmentation-needed error implies: the one it states, or the next lower plateau where
/// it states none (RFC 1191 §5, §7.1). Never below 68.
pub fn path_mtu(stated: u16, quoted: &Ipv4Header) -> u16 {
    const PLATEAUS: [u16; 10] = [32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68];
    if stated != 0 {
        return stated.max(68);
    }
    let length = quoted.total_length();
    PLATEAUS.into_iter().find(|&plateau| usize::from(plateau) < length).unwrap_or(68)
}
