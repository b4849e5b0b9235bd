//! GRE (RFC 2784) with key and sequence number (RFC 2890).

use super::checksum::Sum;
use super::{EtherType, Result, WireError, put, view};
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const CHECKSUM: u16 = 0x8000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
// Routing present, strict source route, and bit 5, which RFC 1701 used: a receiver discards a packet
// that has any of them (RFC 2784 §2.3, as amended by RFC 2890 §2). It ignores bits 6–12.
const RESERVED: u16 = 0x4c00;
const VERSION: u16 = 0x0007;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Base {
    flags: U16,
    protocol: U16,
}

/// A GRE header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gre {
    /// What the payload is.
    pub protocol: EtherType,
    /// Names the tunnel among those with the same endpoints (RFC 2890 §2.1).
    pub key: Option<u32>,
    /// The packet's number (RFC 2890 §2.2).
    pub sequence: Option<u32>,
}

impl Gre {
    /// The header of `packet`, an IP payload, and the offset of its own payload. A checksum is verified, so
    /// `packet` must end where the IP packet does.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<(Gre, usize)> {
        let (base, mut rest) = view::<Base>(packet)?;
        let flags = base.flags.get();
        if flags & VERSION != 0 {
            return Err(WireError::Version);
        }
        if flags & RESERVED != 0 {
            return Err(WireError::Reserved);
        }
        let mut field = |flag: u16| -> Result<Option<u32>> {
            if flags & flag == 0 {
                return Ok(None);
            }
            let (value, behind) = view::<U32>(rest)?;
            rest = behind;
            Ok(Some(value.get()))
        };
        // Checksum, key, sequence, in this order (RFC 2890 §2).
        let (checksum, key, sequence) = (field(CHECKSUM)?, field(KEY)?, field(SEQUENCE)?);
        let payload = packet.len() - rest.len();
        if checksum.is_some() && !Sum::default().bytes(packet).is_intact() {
            return Err(WireError::Checksum);
        }
        Ok((Gre { protocol: EtherType(base.protocol.get()), key, sequence }, payload))
    }

    /// Bytes that [`Gre::write`] takes.
    #[inline]
    pub const fn length(&self) -> usize {
        4 + if self.key.is_some() { 4 } else { 0 } + if self.sequence.is_some() { 4 } else { 0 }
    }

    /// Writes the header, without a checksum, at the start of `out` and returns its length.
    #[inline]
    pub fn write(&self, out: &mut [u8]) -> Result<usize> {
        let room = out.get_mut(..self.length()).ok_or(WireError::NoRoom)?;
        let key = if self.key.is_some() { KEY } else { 0 };
        let sequence = if self.sequence.is_some() { SEQUENCE } else { 0 };
        let base = Base { flags: U16::new(key | sequence), protocol: U16::new(self.protocol.0) };
        let mut length = put(room, &base)?;
        for value in [self.key, self.sequence].into_iter().flatten() {
            length += put(&mut room[length..], &U32::new(value))?;
        }
        Ok(length)
    }
}
