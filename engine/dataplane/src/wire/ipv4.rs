//! IPv4 (RFC 791).

use super::{Protocol, Result, TrafficClass, WireError, checksum, put, view, view_mut};
use crate::packet::RxChecksum;
use std::net::Ipv4Addr;
use std::ops::Range;
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a header without options.
pub const HEADER_LENGTH: usize = size_of::<Ipv4Header>();
/// Where the TTL is (RFC 791 §3.1).
pub const TTL: usize = 8;
/// The most bytes options can take: IHL is at most 15 (RFC 791 §3.1).
pub const MAX_OPTIONS: usize = 40;

/// Version 4 and five words of header: no options.
const PLAIN: u8 = 0x45;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// The fixed part of an IPv4 header. Setters keep the checksum right (RFC 1624).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv4Header {
    version_ihl: u8,
    traffic_class: TrafficClass,
    total_length: U16,
    id: U16,
    flags_offset: U16,
    ttl: u8,
    protocol: Protocol,
    checksum: U16,
    src: [u8; 4],
    dst: [u8; 4],
}

/// Where a packet stands in its datagram (RFC 791 §3.1, flags and fragment offset).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fragmentation {
    /// Routers must not fragment it.
    pub dont_fragment: bool,
    /// Another fragment follows.
    pub more: bool,
    /// Offset in the datagram's payload, bytes; a multiple of 8, at most 65,528.
    pub offset: u16,
}

impl Fragmentation {
    /// True if this is a part of a datagram, the first part too.
    #[inline]
    pub const fn is_fragment(self) -> bool {
        self.more || self.offset != 0
    }

    const fn bits(self) -> u16 {
        let flag = if self.dont_fragment { DONT_FRAGMENT } else { 0 };
        let more = if self.more { MORE_FRAGMENTS } else { 0 };
        flag | more | self.offset >> 3
    }
}

impl Ipv4Header {
    /// The checked header of `packet`, which may have link padding behind it. `rx` is what the port says of
    /// the checksum; software checks where the port did not.
    #[inline]
    pub fn parse(packet: &[u8], rx: RxChecksum) -> Result<&Ipv4Header> {
        let (header, _) = view::<Ipv4Header>(packet)?;
        // Without options all lengths but one are known to the compiler.
        let plain = header.version_ihl == PLAIN;
        let length = if plain { HEADER_LENGTH } else { Self::parse_quoted(packet)?.header_length() };
        // RFC 1812 §5.2.2 (4), (5): the total length covers the header and lies within the packet.
        if header.total_length() < length {
            return Err(WireError::TotalLength);
        }
        if header.total_length() > packet.len() {
            return Err(WireError::Truncated);
        }
        // RFC 1812 §5.2.2 (2).
        let intact = match rx {
            RxChecksum::Good => true,
            RxChecksum::Bad => false,
            RxChecksum::Unknown if plain => checksum::is_intact(header.as_bytes()),
            RxChecksum::Unknown => checksum::is_intact(&packet[..length]),
        };
        if intact { Ok(header) } else { Err(WireError::Checksum) }
    }

    /// The header of an `available` bytes long packet that begins with these bytes, if it is plain: without options,
    /// whole, no fragment, right lengths, checksum intact or vouched for. What is not goes through
    /// [`Ipv4Header::parse`], which tells why.
    #[inline(always)]
    pub fn plain(bytes: &[u8; HEADER_LENGTH], available: usize, rx: RxChecksum) -> Option<&Ipv4Header> {
        let header: &Ipv4Header = zerocopy::transmute_ref!(bytes);
        let total = header.total_length();
        let fits = total >= HEADER_LENGTH && total <= available;
        let whole = header.flags_offset.get() & (MORE_FRAGMENTS | OFFSET) == 0;
        let intact = match rx {
            RxChecksum::Good => true,
            RxChecksum::Bad => false,
            RxChecksum::Unknown => checksum::is_intact(bytes),
        };
        (header.version_ihl == PLAIN && fits && whole && intact).then_some(header)
    }

    /// The header that an ICMP error quotes: its packet may be cut off, its checksum changed on the way.
    #[inline]
    pub fn parse_quoted(packet: &[u8]) -> Result<&Ipv4Header> {
        let (header, _) = view::<Ipv4Header>(packet)?;
        // RFC 1812 §5.2.2 (1), (3), (4).
        if header.version_ihl >> 4 != 4 {
            return Err(WireError::Version);
        }
        if header.header_length() < HEADER_LENGTH {
            return Err(WireError::HeaderLength);
        }
        if header.header_length() > packet.len() {
            return Err(WireError::Truncated);
        }
        Ok(header)
    }

    /// The header of a packet that [`Ipv4Header::parse`] has accepted, to change.
    #[inline]
    pub fn of(packet: &mut [u8]) -> Result<&mut Ipv4Header> {
        Ok(view_mut(packet)?.0)
    }

    /// Header and options, bytes: 20–60 once parsed.
    #[inline]
    pub const fn header_length(&self) -> usize {
        (self.version_ihl & 0x0f) as usize * 4
    }

    /// Header and payload, bytes.
    #[inline]
    pub const fn total_length(&self) -> usize {
        self.total_length.get() as usize
    }

    /// Where the options lie in the packet.
    #[inline]
    pub const fn options(&self) -> Range<usize> {
        HEADER_LENGTH..self.header_length()
    }

    /// Where the payload lies in the packet.
    #[inline]
    pub const fn payload(&self) -> Range<usize> {
        self.header_length()..self.total_length()
    }

    /// DSCP and ECN.
    #[inline]
    pub const fn traffic_class(&self) -> TrafficClass {
        self.traffic_class
    }

    /// Identification, which fragments of a datagram share.
    #[inline]
    pub const fn id(&self) -> u16 {
        self.id.get()
    }

    /// Flags and fragment offset.
    #[inline]
    pub const fn fragmentation(&self) -> Fragmentation {
        let bits = self.flags_offset.get();
        Fragmentation {
            dont_fragment: bits & DONT_FRAGMENT != 0,
            more: bits & MORE_FRAGMENTS != 0,
            offset: (bits & OFFSET) << 3,
        }
    }

    /// Time to live.
    #[inline]
    pub const fn ttl(&self) -> u8 {
        self.ttl
    }

    /// What the payload is.
    #[inline]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The header checksum as it stands.
    #[inline]
    pub const fn checksum(&self) -> u16 {
        self.checksum.get()
    }

    /// Source.
    #[inline]
    pub const fn src(&self) -> Ipv4Addr {
        let [a, b, c, d] = self.src;
        Ipv4Addr::new(a, b, c, d)
    }

    /// Destination.
    #[inline]
    pub const fn dst(&self) -> Ipv4Addr {
        let [a, b, c, d] = self.dst;
        Ipv4Addr::new(a, b, c, d)
    }

    /// One hop less. False, and unchanged, if the packet may go no further: the next router would get it
    /// with TTL 0 (RFC 1812 §5.3.1).
    #[inline]
    #[must_use]
    pub fn decrement_ttl(&mut self) -> bool {
        let alive = self.ttl > 1;
        if alive {
            self.ttl -= 1;
            // The word of TTL and protocol is 0x0100 less (RFC 1624 §3); never 0xffff, which stands for zero.
            let sum = u32::from(self.checksum.get()) + 0x0100;
            self.checksum = U16::new((sum + u32::from(sum >= 0xffff)) as u16);
        }
        alive
    }

    /// Sets the TTL.
    #[inline]
    pub fn set_ttl(&mut self, ttl: u8) {
        let word = |ttl: u8| u16::from_be_bytes([ttl, self.protocol.0]);
        self.fix(word(self.ttl), word(ttl));
        self.ttl = ttl;
    }

    /// Sets DSCP and ECN.
    #[inline]
    pub fn set_traffic_class(&mut self, class: TrafficClass) {
        let word = |class: TrafficClass| u16::from_be_bytes([self.version_ihl, class.0]);
        self.fix(word(self.traffic_class), word(class));
        self.traffic_class = class;
    }

    /// Sets the length of header and payload.
    #[inline]
    pub fn set_total_length(&mut self, length: u16) {
        self.fix(self.total_length.get(), length);
        self.total_length = U16::new(length);
    }

    /// Sets the identification.
    #[inline]
    pub fn set_id(&mut self, id: u16) {
        self.fix(self.id.get(), id);
        self.id = U16::new(id);
    }

    /// Sets flags and fragment offset; the offset's lower three bits are cut off. Clears the reserved flag.
    #[inline]
    pub fn set_fragmentation(&mut self, fragmentation: Fragmentation) {
        self.fix(self.flags_offset.get(), fragmentation.bits());
        self.flags_offset = U16::new(fragmentation.bits());
    }

    /// Turns the packet round: back to its source, with a fresh `ttl`.
    #[inline]
    pub fn turn_round(&mut self, ttl: u8) {
        // A sum does not depend on the order of its words: the addresses need no checksum fix.
        std::mem::swap(&mut self.src, &mut self.dst);
        self.set_ttl(ttl);
    }

    #[inline]
    fn fix(&mut self, old: u16, new: u16) {
        self.checksum = U16::new(checksum::update(self.checksum.get(), old, new));
    }
}

/// What a header without options says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Fields {
    /// DSCP and ECN.
    pub traffic_class: TrafficClass,
    /// Bytes behind the header.
    pub payload_length: u16,
    /// Identification; 0 will do where fragmentation is forbidden (RFC 6864 §4.1).
    pub id: u16,
    /// Flags and fragment offset.
    pub fragmentation: Fragmentation,
    /// Time to live.
    pub ttl: u8,
    /// What the payload is.
    pub protocol: Protocol,
    /// Source.
    pub src: Ipv4Addr,
    /// Destination.
    pub dst: Ipv4Addr,
}

impl Ipv4Fields {
    /// Writes the header with its checksum at the start of `out` and returns its length, [`HEADER_LENGTH`].
    #[inline]
    pub fn write(&self, out: &mut [u8]) -> Result<usize> {
        let total = self.payload_length.checked_add(HEADER_LENGTH as u16).ok_or(WireError::TotalLength)?;
        let mut header = Ipv4Header {
            version_ihl: PLAIN,
            traffic_class: self.traffic_class,
            total_length: U16::new(total),
            id: U16::new(self.id),
            flags_offset: U16::new(self.fragmentation.bits()),
            ttl: self.ttl,
            protocol: self.protocol,
            checksum: U16::ZERO,
            src: self.src.octets(),
            dst: self.dst.octets(),
        };
        header.checksum = U16::new(checksum::checksum(header.as_bytes()));
        put(out, &header)
    }
}

/// Writes a header with `options`, the copied ones of a fragment, and returns its length. The payload length
/// in `fields` counts no options.
pub fn write_with_options(fields: &Ipv4Fields, options: &[u8], out: &mut [u8]) -> Result<usize> {
    let length = HEADER_LENGTH + options.len();
    if options.len() > MAX_OPTIONS || !options.len().is_multiple_of(4) {
        return Err(WireError::Option);
    }
    let room = out.get_mut(..length).ok_or(WireError::NoRoom)?;
    let payload_length =
        fields.payload_length.checked_add(options.len() as u16).ok_or(WireError::TotalLength)?;
    Ipv4Fields { payload_length, ..*fields }.write(room)?;
    room[HEADER_LENGTH..].copy_from_slice(options);
    let header = Ipv4Header::of(room)?;
    header.version_ihl = 0x40 | (length / 4) as u8;
    header.checksum = U16::ZERO;
    let check = checksum::checksum(room);
    Ipv4Header::of(room)?.checksum = U16::new(check);
    Ok(length)
}

/// The options that every fragment carries, those with the copied flag (RFC 791 §3.1), padded to a multiple of
/// four with end-of-list; the first fragment keeps them all. Returns them and their length.
pub fn copied_options(options: &[u8]) -> Result<([u8; MAX_OPTIONS], usize)> {
    let mut copied = [0; MAX_OPTIONS];
    let (mut at, mut length) = (0, 0);
    while let Some(&kind) = options.get(at) {
        let size = match kind {
            0 => break,
            1 => 1,
            _ => usize::from(*options.get(at + 1).ok_or(WireError::Option)?),
        };
        let option = options.get(at..at + size).filter(|_| size > usize::from(kind != 1));
        let option = option.ok_or(WireError::Option)?;
        if kind & 0x80 != 0 {
            let room = copied.get_mut(length..length + size).ok_or(WireError::Option)?;
            room.copy_from_slice(option);
            length += size;
        }
        at += size;
    }
    Ok((copied, length.next_multiple_of(4)))
}
