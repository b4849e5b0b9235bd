//! TCP (RFC 9293), as much of it as a router looks at: ports, and the MSS of a SYN.

use super::{Result, WireError, checksum, view, view_mut};
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a header without options.
pub const HEADER_LENGTH: usize = size_of::<TcpHeader>();
const SYN: u8 = 0x02;
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const MSS: u8 = 2;

/// The fixed part of a TCP header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct TcpHeader {
    src_port: U16,
    dst_port: U16,
    sequence: U32,
    acknowledgment: U32,
    data_offset: u8,
    flags: u8,
    window: U16,
    checksum: U16,
    urgent: U16,
}

impl TcpHeader {
    /// The checked header of `segment`, an IP payload. The checksum is the hosts' business.
    #[inline]
    pub fn parse(segment: &[u8]) -> Result<&TcpHeader> {
        let (header, _) = view::<TcpHeader>(segment)?;
        if header.header_length() < HEADER_LENGTH {
            return Err(WireError::HeaderLength);
        }
        if header.header_length() > segment.len() {
            return Err(WireError::Truncated);
        }
        Ok(header)
    }

    /// Source port.
    #[inline]
    pub const fn src_port(&self) -> u16 {
        self.src_port.get()
    }

    /// Destination port.
    #[inline]
    pub const fn dst_port(&self) -> u16 {
        self.dst_port.get()
    }

    /// Header and options, bytes: 20–60 once parsed.
    #[inline]
    pub const fn header_length(&self) -> usize {
        (self.data_offset >> 4) as usize * 4
    }

    /// True for the first segment of either side.
    #[inline]
    pub const fn is_syn(&self) -> bool {
        self.flags & SYN != 0
    }

    /// The checksum as it stands.
    #[inline]
    pub const fn checksum(&self) -> u16 {
        self.checksum.get()
    }
}

/// The offset in `segment` of the MSS value, if it is a SYN that has one (RFC 9293 §3.2, §3.7.1). Options
/// behind a malformed one are not looked at.
fn find_mss(segment: &[u8]) -> Result<Option<usize>> {
    let header = TcpHeader::parse(segment)?;
    let end = if header.is_syn() { header.header_length() } else { HEADER_LENGTH };
    let mut at = HEADER_LENGTH;
    while at < end {
        let length = match (segment[at], segment[at + 1..end].first()) {
            (END_OF_OPTIONS, _) => break,
            (NO_OPERATION, _) => 1,
            (MSS, Some(4)) if at + 4 <= end => return Ok(Some(at + 2)),
            // A length counts its own two bytes (RFC 9293 §3.1).
            (_, Some(&length @ 2..)) => usize::from(length),
            _ => break,
        };
        at += length;
    }
    Ok(None)
}

/// The MSS that `segment`, an IP payload, announces: only a SYN does.
pub fn mss(segment: &[u8]) -> Result<Option<u16>> {
    let at = find_mss(segment)?;
    Ok(at.map(|at| u16::from_be_bytes([segment[at], segment[at + 1]])))
}

/// Lowers the MSS that a SYN announces to `limit`, and keeps the checksum right. True if it was higher.
#[inline]
pub fn clamp_mss(segment: &mut [u8], limit: u16) -> Result<bool> {
    let Some(at) = find_mss(segment)? else { return Ok(false) };
    let old = u16::from_be_bytes([segment[at], segment[at + 1]]);
    if old <= limit {
        return Ok(false);
    }
    segment[at..at + 2].copy_from_slice(&limit.to_be_bytes());
    let (header, _) = view_mut::<TcpHeader>(segment)?;
    let update = if at.is_multiple_of(2) { checksum::update } else { checksum::update_odd };
    header.checksum = U16::new(update(header.checksum.get(), old, limit));
    Ok(true)
}
