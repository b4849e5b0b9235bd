//! ICMPv6 (RFC 4443).

use super::checksum::{self, pseudo_v6};
use super::ipv6::{self, Ipv6Fields, Ipv6Header, MINIMUM_MTU, walk};
use super::{MacAddr, Protocol, Result, TrafficClass, WireError, put, view, view_mut};
use std::net::Ipv6Addr;
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes before an echo's data or an error's quote.
pub const HEADER_LENGTH: usize = size_of::<Header>();
/// The most bytes of an error, IP header included (RFC 4443 §2.4(c)).
pub const MAX_ERROR_LENGTH: usize = MINIMUM_MTU as usize;

const UNREACHABLE: u8 = 1;
const PACKET_TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER_PROBLEM: u8 = 4;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
const REDIRECT: u8 = 137;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    kind: u8,
    code: u8,
    checksum: U16,
    /// Echo: identifier and sequence number. Errors: unused, the pointer or the MTU.
    rest: U32,
}

/// A checked ICMPv6 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icmpv6<'a> {
    /// Someone asks for an echo.
    EchoRequest(Echo<'a>),
    /// An echo.
    EchoReply(Echo<'a>),
    /// Something went wrong with the quoted packet, often cut off. See [`Ipv6Header::parse_quoted`].
    Error(Icmpv6Error, &'a [u8]),
    /// Neighbour discovery, types 133–137: for [`ndp`](super::ndp).
    NeighborDiscovery,
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
pub enum Icmpv6Error {
    /// No route to the destination (RFC 4443 §3.1).
    NoRoute,
    /// Policy forbids it.
    AdminProhibited,
    /// The destination's link-layer address could not be found out, or anything else.
    AddressUnreachable,
    /// Nobody here listens on the port.
    PortUnreachable,
    /// Longer than the next link's MTU (RFC 4443 §3.2).
    PacketTooBig {
        /// The next link's MTU, bytes.
        mtu: u32,
    },
    /// The hop limit ran out on the way (RFC 4443 §3.3).
    HopLimitExceeded,
    /// Fragments did not arrive in time.
    ReassemblyTimeExceeded,
    /// A header field is wrong (RFC 4443 §3.4).
    ParameterProblem {
        /// What is wrong with it.
        problem: Problem,
        /// The offset of the field, bytes.
        pointer: u32,
    },
}

/// What is wrong with a header field (RFC 4443 §3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Problem {
    /// Its value.
    Field = 0,
    /// An unknown next header.
    NextHeader = 1,
    /// An unknown option.
    Option = 2,
}

impl Icmpv6Error {
    fn header(self) -> Header {
        let (kind, code, rest) = match self {
            Icmpv6Error::NoRoute => (UNREACHABLE, 0, 0),
            Icmpv6Error::AdminProhibited => (UNREACHABLE, 1, 0),
            Icmpv6Error::AddressUnreachable => (UNREACHABLE, 3, 0),
            Icmpv6Error::PortUnreachable => (UNREACHABLE, 4, 0),
            Icmpv6Error::PacketTooBig { mtu } => (PACKET_TOO_BIG, 0, mtu),
            Icmpv6Error::HopLimitExceeded => (TIME_EXCEEDED, 0, 0),
            Icmpv6Error::ReassemblyTimeExceeded => (TIME_EXCEEDED, 1, 0),
            Icmpv6Error::ParameterProblem { problem, pointer } => (PARAMETER_PROBLEM, problem as u8, pointer),
        };
        Header { kind, code, checksum: U16::ZERO, rest: U32::new(rest) }
    }

    fn parse(header: &Header) -> Option<Icmpv6Error> {
        let rest = header.rest.get();
        let problem = |problem| Icmpv6Error::ParameterProblem { problem, pointer: rest };
        Some(match (header.kind, header.code) {
            (UNREACHABLE, 0) => Icmpv6Error::NoRoute,
            (UNREACHABLE, 1) => Icmpv6Error::AdminProhibited,
            (UNREACHABLE, 3) => Icmpv6Error::AddressUnreachable,
            (UNREACHABLE, 4) => Icmpv6Error::PortUnreachable,
            // The code is ignored by the receiver (RFC 4443 §3.2).
            (PACKET_TOO_BIG, _) => Icmpv6Error::PacketTooBig { mtu: rest },
            (TIME_EXCEEDED, 0) => Icmpv6Error::HopLimitExceeded,
            (TIME_EXCEEDED, 1) => Icmpv6Error::ReassemblyTimeExceeded,
            (PARAMETER_PROBLEM, 0) => problem(Problem::Field),
            (PARAMETER_PROBLEM, 1) => problem(Problem::NextHeader),
            (PARAMETER_PROBLEM, 2) => problem(Problem::Option),
            _ => return None,
        })
    }

    /// May be sent about a packet to a group: path MTU discovery works for groups, too (RFC 4443 §2.4(e.3)).
    fn goes_to_groups(self) -> bool {
        let option = matches!(self, Icmpv6Error::ParameterProblem { problem: Problem::Option, .. });
        option || matches!(self, Icmpv6Error::PacketTooBig { .. })
    }
}

/// True if the checksum of `message`, which goes from `src` to `dst`, is right (RFC 4443 §2.3).
pub fn is_intact(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> bool {
    pseudo_v6(src, dst, Protocol::ICMPV6, message.len() as u32).bytes(message).is_intact()
}

/// Puts the checksum into `message`, whose checksum field is zero.
pub(super) fn seal(src: Ipv6Addr, dst: Ipv6Addr, message: &mut [u8]) -> Result<()> {
    let check = pseudo_v6(src, dst, Protocol::ICMPV6, message.len() as u32).bytes(message).finish();
    view_mut::<Header>(message)?.0.checksum = U16::new(check);
    Ok(())
}

impl Icmpv6<'_> {
    /// Checks `message`, the payload of an unfragmented packet from `src` to `dst`, to its last byte.
    pub fn parse(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> Result<Icmpv6<'_>> {
        let (header, data) = view::<Header>(message)?;
        if !is_intact(src, dst, message) {
            return Err(WireError::Checksum);
        }
        let rest = header.rest.get();
        let echo = Echo { id: (rest >> 16) as u16, sequence: rest as u16, data };
        Ok(match (header.kind, header.code) {
            (ECHO_REQUEST, 0) => Icmpv6::EchoRequest(echo),
            (ECHO_REPLY, 0) => Icmpv6::EchoReply(echo),
            (133..=137, _) => Icmpv6::NeighborDiscovery,
            (kind, code) => match Icmpv6Error::parse(header) {
                Some(error) => Icmpv6::Error(error, data),
                None => Icmpv6::Other { kind, code },
            },
        })
    }
}

/// Turns `packet`, an echo request to this engine, into its reply (RFC 4443 §4.2). Unsupported, and unchanged:
/// extension headers. The caller has made sure that the destination is its own unicast address.
pub fn reply_in_place(packet: &mut [u8], hop_limit: u8) -> Result<()> {
    let header = Ipv6Header::parse(packet)?;
    if header.next_header() != Protocol::ICMPV6 {
        return Err(WireError::Unsupported);
    }
    let payload = header.payload();
    let message = Icmpv6::parse(header.src(), header.dst(), &packet[payload.clone()])?;
    if !matches!(message, Icmpv6::EchoRequest(_)) {
        return Err(WireError::Unsupported);
    }
    Ipv6Header::of(packet)?.turn_round(hop_limit);
    let (icmp, _) = view_mut::<Header>(&mut packet[payload])?;
    let word = |kind| u16::from_be_bytes([kind, 0]);
    icmp.checksum = U16::new(checksum::update(icmp.checksum.get(), word(ECHO_REQUEST), word(ECHO_REPLY)));
    icmp.kind = ECHO_REPLY;
    Ok(())
}

/// True if `error` about `packet`, a received IP packet, may be sent (RFC 4443 §2.4(e)). `link_dst` is where its
/// frame went.
pub fn may_send_error(error: Icmpv6Error, packet: &[u8], link_dst: MacAddr) -> bool {
    let (Ok(header), Ok(upper)) = (Ipv6Header::parse_quoted(packet), walk(packet)) else { return false };
    let src = header.src();
    // (e.6): the source must name one node.
    if src.is_unspecified() || src.is_multicast() || src.is_loopback() {
        return false;
    }
    // (e.3)–(e.5).
    if (header.dst().is_multicast() || link_dst.is_multicast()) && !error.goes_to_groups() {
        return false;
    }
    // (e.1), (e.2): types below 128 are errors (§2.1); one that cannot be read could be one.
    let kind = packet.get(upper.offset).copied().filter(|_| upper.has_header());
    upper.protocol != Protocol::ICMPV6 || kind.is_some_and(|kind| kind >= 128 && kind != REDIRECT)
}

/// Writes an error about `original`, a received IP packet, as an IP packet from `from` to its source. Quotes as
/// much as [`MAX_ERROR_LENGTH`] and `out` leave room for, and returns the length. Ask [`may_send_error`] first.
pub fn write_error(error: Icmpv6Error, from: Ipv6Addr, original: &[u8], out: &mut [u8]) -> Result<usize> {
    const HEADERS: usize = ipv6::HEADER_LENGTH + HEADER_LENGTH;
    let header = Ipv6Header::parse_quoted(original)?;
    let whole = header.total_length().min(original.len());
    let quote = whole.min(MAX_ERROR_LENGTH.min(out.len()).saturating_sub(HEADERS));
    // A quote without the addresses and ports would serve nobody.
    if quote < whole.min(ipv6::HEADER_LENGTH + 8) {
        return Err(WireError::NoRoom);
    }
    let fields = Ipv6Fields {
        traffic_class: TrafficClass::NETWORK_CONTROL,
        flow_label: 0,
        payload_length: (HEADER_LENGTH + quote) as u16,
        next_header: Protocol::ICMPV6,
        hop_limit: 64,
        src: from,
        dst: header.src(),
    };
    let out = out.get_mut(..HEADERS + quote).ok_or(WireError::NoRoom)?;
    let message = fields.write(out)?;
    put(&mut out[message..], &error.header())?;
    out[HEADERS..].copy_from_slice(&original[..quote]);
    seal(fields.src, fields.dst, &mut out[message..])?;
    Ok(out.len())
}
