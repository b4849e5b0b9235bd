//! IPv6 and its extension headers (RFC 8200).

use super::{Protocol, Result, TrafficClass, WireError, put, view, view_mut};
use std::net::Ipv6Addr;
use std::ops::Range;
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the fixed header.
pub const HEADER_LENGTH: usize = size_of::<Ipv6Header>();
/// Where the hop limit is (RFC 8200 §3).
pub const HOP_LIMIT: usize = 7;
/// The least MTU of an IPv6 link (RFC 8200 §5).
pub const MINIMUM_MTU: u16 = 1280;
/// The most extension headers followed. Each kind occurs once, destination options twice (RFC 8200 §4.1), and every kind
/// that the standards know must be passed over to find what the packet carries (RFC 7045 §2.1).
pub const MAX_EXTENSIONS: usize = 8;

/// The fixed IPv6 header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv6Header {
    version_class_flow: U32,
    payload_length: U16,
    next_header: Protocol,
    hop_limit: u8,
    src: [u8; 16],
    dst: [u8; 16],
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ExtensionHeader {
    next_header: Protocol,
    length: u8,
    kind: u8,
    segments_left: u8,
    _data: [u8; 4],
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct FragmentHeader {
    next_header: Protocol,
    _reserved: u8,
    offset_more: U16,
    id: U32,
}

/// What a fragment header says (RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Offset in the fragmentable part, bytes; a multiple of 8.
    pub offset: u16,
    /// Another fragment follows.
    pub more: bool,
    /// What fragments of a packet share.
    pub id: u32,
}

impl Fragment {
    /// True for a whole packet that carries a fragment header (RFC 6946 §2).
    #[inline]
    pub const fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }
}

/// What lies behind the extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// The upper-layer protocol.
    pub protocol: Protocol,
    /// Where it begins in the packet. In a fragment other than the first it is the middle of something.
    pub offset: usize,
    /// The fragment header, if there is one.
    pub fragment: Option<Fragment>,
    /// The packet has hop-by-hop options.
    pub hop_by_hop: bool,
    /// A routing header has segments left: the destination address is not the last one (RFC 8200 §4.4).
    pub segments_left: bool,
}

impl Upper {
    /// True if `offset` is where the upper-layer header begins.
    #[inline]
    pub fn has_header(&self) -> bool {
        self.fragment.is_none_or(|fragment| fragment.offset == 0)
    }

    /// True if this is a part of a packet, the first part too.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| !fragment.is_atomic())
    }
}

impl Ipv6Header {
    /// The checked header of `packet`, which may have link padding behind it.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<&Ipv6Header> {
        let header = Self::parse_quoted(packet)?;
        if header.total_length() > packet.len() {
            return Err(WireError::Truncated);
        }
        Ok(header)
    }

    /// The header that an ICMPv6 error quotes: its packet may be cut off.
    #[inline]
    pub fn parse_quoted(packet: &[u8]) -> Result<&Ipv6Header> {
        let (header, _) = view::<Ipv6Header>(packet)?;
        if header.version_class_flow.get() >> 28 != 6 {
            return Err(WireError::Version);
        }
        Ok(header)
    }

    /// The header of a packet that [`Ipv6Header::parse`] has accepted, to change.
    #[inline]
    pub fn of(packet: &mut [u8]) -> Result<&mut Ipv6Header> {
        Ok(view_mut(packet)?.0)
    }

    /// Header and payload, bytes.
    #[inline]
    pub const fn total_length(&self) -> usize {
        HEADER_LENGTH + self.payload_length.get() as usize
    }

    /// Where extension headers and payload lie in the packet.
    #[inline]
    pub const fn payload(&self) -> Range<usize> {
        HEADER_LENGTH..self.total_length()
    }

    /// DSCP and ECN.
    #[inline]
    pub const fn traffic_class(&self) -> TrafficClass {
        TrafficClass((self.version_class_flow.get() >> 20) as u8)
    }

    /// The flow label, 20 bits (RFC 6437).
    #[inline]
    pub const fn flow_label(&self) -> u32 {
        self.version_class_flow.get() & 0xf_ffff
    }

    /// What follows the fixed header.
    #[inline]
    pub const fn next_header(&self) -> Protocol {
        self.next_header
    }

    /// Hops left.
    #[inline]
    pub const fn hop_limit(&self) -> u8 {
        self.hop_limit
    }

    /// Source.
    #[inline]
    pub const fn src(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(u128::from_be_bytes(self.src))
    }

    /// Destination.
    #[inline]
    pub const fn dst(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(u128::from_be_bytes(self.dst))
    }

    /// One hop less. False, and unchanged, if the packet may go no further (RFC 8200 §3, hop limit).
    #[inline]
    #[must_use]
    pub fn decrement_hop_limit(&mut self) -> bool {
        let alive = self.hop_limit > 1;
        self.hop_limit -= u8::from(alive);
        alive
    }

    /// Sets the hop limit.
    #[inline]
    pub fn set_hop_limit(&mut self, hops: u8) {
        self.hop_limit = hops;
    }

    /// Sets DSCP and ECN.
    #[inline]
    pub fn set_traffic_class(&mut self, class: TrafficClass) {
        let rest = self.version_class_flow.get() & !0x0ff0_0000;
        self.version_class_flow = U32::new(rest | u32::from(class.0) << 20);
    }

    /// Sets the length of what follows the fixed header.
    #[inline]
    pub fn set_payload_length(&mut self, length: u16) {
        self.payload_length = U16::new(length);
    }

    /// Turns the packet round: back to its source, with a fresh hop limit.
    #[inline]
    pub fn turn_round(&mut self, hops: u8) {
        std::mem::swap(&mut self.src, &mut self.dst);
        self.hop_limit = hops;
    }
}

/// Follows the extension headers of a packet that [`Ipv6Header::parse`] has accepted.
#[inline]
pub fn walk(packet: &[u8]) -> Result<Upper> {
    let header = Ipv6Header::parse_quoted(packet)?;
    let packet = &packet[..header.total_length().min(packet.len())];
    let mut upper = Upper {
        protocol: header.next_header,
        offset: HEADER_LENGTH,
        fragment: None,
        hop_by_hop: false,
        segments_left: false,
    };
    if !header.next_header.is_extension() {
        return Ok(upper);
    }
    for _ in 0..=MAX_EXTENSIONS {
        if !upper.has_header() || !step(packet, &mut upper)? {
            return Ok(upper);
        }
    }
    Err(WireError::Extension)
}

/// Moves `upper` behind one extension header; false if there is none.
#[inline]
fn step(packet: &[u8], upper: &mut Upper) -> Result<bool> {
    let rest = packet.get(upper.offset..).ok_or(WireError::Truncated)?;
    match upper.protocol {
        Protocol::HOP_BY_HOP | Protocol::ROUTING | Protocol::DESTINATION => {
            let (extension, _) = view::<ExtensionHeader>(rest)?;
            if upper.protocol == Protocol::HOP_BY_HOP {
                // Only directly behind the IPv6 header (RFC 8200 §4.1).
                if upper.offset != HEADER_LENGTH {
                    return Err(WireError::Extension);
                }
                upper.hop_by_hop = true;
            }
            if upper.protocol == Protocol::ROUTING {
                // Type 0 must be treated as unrecognised (RFC 5095 §3); either way segments are left.
                upper.segments_left |= extension.segments_left != 0;
            }
            // In units of 8 bytes, without the first 8 (RFC 8200 §4.3).
            upper.offset += 8 + usize::from(extension.length) * 8;
            upper.protocol = extension.next_header;
        }
        // Mobility, HIP and Shim6 have the common form (RFC 6564 §4), but end the chain where nothing follows them
        // (RFC 6275 §6.1.1, RFC 7401 §5.1, RFC 5533 §5.1.1): they are the upper layer then.
        Protocol::MOBILITY | Protocol::HIP | Protocol::SHIM6 => {
            let (extension, _) = view::<ExtensionHeader>(rest)?;
            if extension.next_header == Protocol::NO_NEXT {
                return Ok(false);
            }
            upper.offset += 8 + usize::from(extension.length) * 8;
            upper.protocol = extension.next_header;
        }
        Protocol::AUTHENTICATION => {
            let (extension, _) = view::<ExtensionHeader>(rest)?;
            // In units of 4 bytes, without the first 8 (RFC 4302 §2.2); sequence number and ICV need more than 8.
            if extension.length == 0 {
                return Err(WireError::Extension);
            }
            upper.offset += 8 + usize::from(extension.length) * 4;
            upper.protocol = extension.next_header;
        }
        Protocol::FRAGMENT => {
            if upper.fragment.is_some() {
                return Err(WireError::Extension);
            }
            let (fragment, _) = view::<FragmentHeader>(rest)?;
            let bits = fragment.offset_more.get();
            upper.fragment =
                Some(Fragment { offset: bits & 0xfff8, more: bits & 1 != 0, id: fragment.id.get() });
            upper.offset += size_of::<FragmentHeader>();
            upper.protocol = fragment.next_header;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Where a packet's fragment header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentPlace {
    /// Of the next-header field that names it.
    pub named_at: usize,
    /// Of its first byte: so long is the part that every fragment repeats (RFC 8200 §4.5).
    pub at: usize,
    /// What it says.
    pub fragment: Fragment,
    /// The next header that it names.
    pub next_header: Protocol,
}

impl FragmentPlace {
    /// Where the fragment's own bytes begin.
    #[inline]
    pub const fn data(&self) -> usize {
        self.at + size_of::<FragmentHeader>()
    }
}

/// Finds the fragment header of a packet that [`Ipv6Header::parse`] has accepted; `None` if it has none.
pub fn fragment_place(packet: &[u8]) -> Result<Option<FragmentPlace>> {
    let header = Ipv6Header::parse_quoted(packet)?;
    let packet = &packet[..header.total_length().min(packet.len())];
    let mut upper = Upper {
        protocol: header.next_header,
        offset: HEADER_LENGTH,
        fragment: None,
        hop_by_hop: false,
        segments_left: false,
    };
    // Of the next-header field in the fixed header; in an extension header it is the first byte.
    let mut named_at = 6;
    for _ in 0..=MAX_EXTENSIONS {
        let (at, kind) = (upper.offset, upper.protocol);
        if !step(packet, &mut upper)? {
            return Ok(None);
        }
        if let (Protocol::FRAGMENT, Some(fragment)) = (kind, upper.fragment) {
            return Ok(Some(FragmentPlace { named_at, at, fragment, next_header: upper.protocol }));
        }
        named_at = at;
    }
    Err(WireError::Extension)
}

/// What a fixed header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Fields {
    /// DSCP and ECN.
    pub traffic_class: TrafficClass,
    /// Flow label; bits beyond the lower 20 are cut off.
    pub flow_label: u32,
    /// Bytes behind the fixed header.
    pub payload_length: u16,
    /// What follows.
    pub next_header: Protocol,
    /// Hops left.
    pub hop_limit: u8,
    /// Source.
    pub src: Ipv6Addr,
    /// Destination.
    pub dst: Ipv6Addr,
}

impl Ipv6Fields {
    /// Writes the header at the start of `out` and returns its length, [`HEADER_LENGTH`].
    #[inline]
    pub fn write(&self, out: &mut [u8]) -> Result<usize> {
        let class = u32::from(self.traffic_class.0) << 20;
        let header = Ipv6Header {
            version_class_flow: U32::new(6 << 28 | class | self.flow_label & 0xf_ffff),
            payload_length: U16::new(self.payload_length),
            next_header: self.next_header,
            hop_limit: self.hop_limit,
            src: self.src.octets(),
            dst: self.dst.octets(),
        };
        put(out, &header)
    }
}
