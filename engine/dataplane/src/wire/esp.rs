//! ESP (RFC 4303): the header in the clear, and the trailer once decrypted.

use super::{Protocol, Result, WireError, put, view};
use crate::id::Spi;
use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of SPI and sequence number.
pub const HEADER_LENGTH: usize = size_of::<Header>();
/// Bytes of pad length and next header.
pub const TRAILER_LENGTH: usize = 2;
/// The trailer ends on a multiple of this (RFC 4303 §2.4).
pub const ALIGNMENT: usize = 4;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    spi: U32,
    sequence: U32,
}

/// The start of an ESP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Esp {
    /// Names the security association.
    pub spi: Spi,
    /// The sequence number, its lower 32 bits if extended (RFC 4303 §2.2.1).
    pub sequence: u32,
}

impl Esp {
    /// The header of `packet`, an IP payload; what follows it begins at [`HEADER_LENGTH`].
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<Esp> {
        let (header, _) = view::<Header>(packet)?;
        // 0 never appears on the wire (RFC 4303 §2.1). 1–255 are reserved; nobody has an SA for them.
        if header.spi.get() == 0 {
            return Err(WireError::Reserved);
        }
        Ok(Esp { spi: Spi(header.spi.get()), sequence: header.sequence.get() })
    }

    /// Writes the header at the start of `out` and returns its length, [`HEADER_LENGTH`].
    #[inline]
    pub fn write(&self, out: &mut [u8]) -> Result<usize> {
        put(out, &Header { spi: U32::new(self.spi.0), sequence: U32::new(self.sequence) })
    }
}

/// What the end of a decrypted packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// What the payload is.
    pub next_header: Protocol,
    /// Bytes before the padding.
    pub payload_length: usize,
}

impl Trailer {
    /// The trailer of `plaintext`, payload to next header. The padding must count 1, 2, 3, …
    /// (RFC 4303 §2.4, §3.4.4.1).
    #[inline]
    pub fn parse(plaintext: &[u8]) -> Result<Trailer> {
        let [rest @ .., pad_length, next_header] = plaintext else { return Err(WireError::Truncated) };
        let payload_length =
            rest.len().checked_sub(usize::from(*pad_length)).ok_or(WireError::HeaderLength)?;
        if !rest[payload_length..].iter().copied().eq(1..=*pad_length) {
            return Err(WireError::Padding);
        }
        Ok(Trailer { next_header: Protocol(*next_header), payload_length })
    }

    /// Bytes of padding and trailer behind a payload of `payload_length`.
    #[inline]
    pub const fn length(payload_length: usize) -> usize {
        (payload_length + TRAILER_LENGTH).next_multiple_of(ALIGNMENT) - payload_length
    }

    /// Writes padding and trailer behind the payload of `payload_length` bytes at the start of `out`, in
    /// one store of 8 bytes: those behind the trailer, which the ICV will take, are overwritten too.
    /// Nothing is written, and it is false, if they are fewer than 8 bytes.
    #[inline]
    pub fn write(next_header: Protocol, out: &mut [u8], payload_length: usize) -> bool {
        let Some(tail) = out.get_mut(payload_length..).and_then(|tail| tail.first_chunk_mut::<8>()) else {
            return false;
        };
        // 1, 2, 3, … (RFC 4303 §2.4), then the pad length.
        const PADDED: [[u8; 8]; ALIGNMENT] =
            [[0; 8], [1, 1, 0, 0, 0, 0, 0, 0], [1, 2, 2, 0, 0, 0, 0, 0], [1, 2, 3, 3, 0, 0, 0, 0]];
        let padding = Trailer::length(payload_length) - TRAILER_LENGTH;
        let next = u64::from(next_header.0) << (8 * (padding + 1));
        *tail = (u64::from_le_bytes(PADDED[padding % ALIGNMENT]) | next).to_le_bytes();
        true
    }
}
