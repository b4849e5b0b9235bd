//! VXLAN (RFC 7348): Ethernet frames in UDP.

use super::{Result, WireError, put, view};
use std::fmt;
use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The UDP destination port (RFC 7348 §5).
pub const PORT: u16 = 4789;
/// Bytes of a VXLAN header.
pub const HEADER_LENGTH: usize = size_of::<Header>();

/// The flags' I bit: there is a VNI.
const HAS_VNI: u32 = 0x0800_0000;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    flags: U32,
    /// VNI, then 8 reserved bits.
    vni: U32,
}

/// A VXLAN network identifier: 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vni(u32);

/// A number that has more than 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a VNI has 24 bits")]
pub struct VniError;

impl Vni {
    /// The number.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Vni {
    type Error = VniError;

    fn try_from(number: u32) -> std::result::Result<Vni, VniError> {
        if number >> 24 == 0 { Ok(Vni(number)) } else { Err(VniError) }
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The VNI of `datagram`, a UDP payload; the Ethernet frame begins at [`HEADER_LENGTH`]. Reserved bits are ignored
/// (RFC 7348 §5).
#[inline]
pub fn parse(datagram: &[u8]) -> Result<Vni> {
    let (header, _) = view::<Header>(datagram)?;
    if header.flags.get() & HAS_VNI == 0 {
        return Err(WireError::Reserved);
    }
    Ok(Vni(header.vni.get() >> 8))
}

/// Writes the header at the start of `out` and returns its length, [`HEADER_LENGTH`].
#[inline]
pub fn write(vni: Vni, out: &mut [u8]) -> Result<usize> {
    put(out, &Header { flags: U32::new(HAS_VNI), vni: U32::new(vni.0 << 8) })
}
