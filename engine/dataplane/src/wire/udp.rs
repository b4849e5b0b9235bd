//! UDP (RFC 768).

use super::checksum::{Sum, pseudo_v4, pseudo_v6};
use super::{Protocol, Result, WireError, put, view};
use std::net::IpAddr;
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a UDP header.
pub const HEADER_LENGTH: usize = size_of::<UdpHeader>();

/// A UDP header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct UdpHeader {
    src_port: U16,
    dst_port: U16,
    length: U16,
    checksum: U16,
}

impl UdpHeader {
    /// The header of `datagram`, an IP payload, and its own payload. The checksum is not looked at; see
    /// [`verify`].
    #[inline]
    pub fn parse(datagram: &[u8]) -> Result<(&UdpHeader, &[u8])> {
        let (header, _) = view::<UdpHeader>(datagram)?;
        let length = usize::from(header.length.get());
        if length < HEADER_LENGTH {
            return Err(WireError::TotalLength);
        }
        let payload = datagram.get(HEADER_LENGTH..length).ok_or(WireError::Truncated)?;
        Ok((header, payload))
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

    /// The checksum as it stands; 0 means none.
    #[inline]
    pub const fn checksum(&self) -> u16 {
        self.checksum.get()
    }
}

/// Checks the checksum of `datagram`, an IP payload between `src` and `dst`. None at all is right over IPv4
/// (RFC 768) and wrong over IPv6 (RFC 8200 §8.1).
pub fn verify(datagram: &[u8], src: IpAddr, dst: IpAddr) -> Result<()> {
    let (header, payload) = UdpHeader::parse(datagram)?;
    if header.checksum() == 0 {
        return if src.is_ipv4() { Ok(()) } else { Err(WireError::Checksum) };
    }
    let length = HEADER_LENGTH + payload.len();
    if pseudo(src, dst, length)?.bytes(&datagram[..length]).is_intact() {
        Ok(())
    } else {
        Err(WireError::Checksum)
    }
}

/// Writes the header with its checksum before the payload that already lies in `datagram` from
/// [`HEADER_LENGTH`] on. The addresses are of one family.
pub fn write(datagram: &mut [u8], src: (IpAddr, u16), dst: (IpAddr, u16)) -> Result<()> {
    let length = u16::try_from(datagram.len()).map_err(|_| WireError::TotalLength)?;
    let (src_port, dst_port) = (U16::new(src.1), U16::new(dst.1));
    let mut header = UdpHeader { src_port, dst_port, length: U16::new(length), checksum: U16::ZERO };
    put(datagram, &header)?;
    // A computed zero is sent as its other representation: zero says "no checksum" (RFC 768).
    let check = match pseudo(src.0, dst.0, datagram.len())?.bytes(datagram).finish() {
        0 => 0xffff,
        check => check,
    };
    header.checksum = U16::new(check);
    put(datagram, &header)?;
    Ok(())
}

fn pseudo(src: IpAddr, dst: IpAddr, length: usize) -> Result<Sum> {
    let length = u16::try_from(length).map_err(|_| WireError::TotalLength)?;
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Ok(pseudo_v4(src, dst, Protocol::UDP, length)),
        (IpAddr::V6(src), IpAddr::V6(dst)) => Ok(pseudo_v6(src, dst, Protocol::UDP, u32::from(length))),
        _ => Err(WireError::Address),
    }
}
