//! VRRP version 3 advertisements (RFC 9568 §5).

use super::checksum::{Sum, pseudo_v4, pseudo_v6};
use super::{MacAddr, Protocol, Result, WireError, put, view};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Who IPv4 advertisements are for (RFC 9568 §5.1.1.2).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// The same for IPv6 (§5.1.2.2).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// What only a router on the link can send, and nothing else is taken (§5.1.1.3, §5.1.2.3).
pub const TTL: u8 = 255;
/// The priority of an Active Router that leaves (§5.2.4).
pub const LEAVES: u8 = 0;
/// Bytes of an advertisement before its addresses.
pub const HEADER_LENGTH: usize = size_of::<Header>();

const VERSION_TYPE: u8 = 3 << 4 | 1;
const MAX_INTERVAL: u16 = 0x0fff;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    version_type: u8,
    virtual_router: u8,
    priority: u8,
    addresses: u8,
    interval_cs: U16,
    checksum: U16,
}

const _: () = assert!(HEADER_LENGTH == 8);

/// The number of a virtual router on its link, 1–255 (RFC 9568 §5.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vrid(pub u8);

impl Vrid {
    /// The MAC address of the virtual router for one IP version (RFC 9568 §7.3).
    pub const fn mac(self, v6: bool) -> MacAddr {
        MacAddr([0x00, 0x00, 0x5e, 0x00, if v6 { 0x02 } else { 0x01 }, self.0])
    }
}

/// What an advertisement says, its addresses aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// Which virtual router.
    pub virtual_router: Vrid,
    /// The sender's priority; 0 if it leaves.
    pub priority: u8,
    /// How often the sender sends, centiseconds, at most 4095.
    pub interval_cs: u16,
}

impl Advertisement {
    /// Reads the VRRP message in `src`'s packet to `dst` (RFC 9568 §7.1). What the checksum of an IPv4 message covers has been
    /// read in two ways, with and without the pseudo-header of RFC 5798 §5.2.8; both are in use, and either is taken.
    ///
    /// # Errors
    /// Too short, another version or type, no address, or damaged.
    pub fn parse(message: &[u8], src: IpAddr, dst: IpAddr) -> Result<Advertisement> {
        let (header, _) = view::<Header>(message)?;
        if header.version_type != VERSION_TYPE {
            return Err(WireError::Version);
        }
        if header.addresses == 0 || header.virtual_router == 0 {
            return Err(WireError::Reserved);
        }
        let whole = length(dst.is_ipv6(), header.addresses.into());
        let message = message.get(..whole).ok_or(WireError::TotalLength)?;
        let over = |sum: Sum| sum.bytes(message).is_intact();
        let pseudo = pseudo(src, dst, whole).ok_or(WireError::Address)?;
        if !over(pseudo) && (dst.is_ipv6() || !over(Sum::zero())) {
            return Err(WireError::Checksum);
        }
        Ok(Advertisement {
            virtual_router: Vrid(header.virtual_router),
            priority: header.priority,
            interval_cs: header.interval_cs.get() & MAX_INTERVAL,
        })
    }

    /// Writes the message about `addresses` as `src` sends it to `dst`, all of one IP version, at the start of `out` and
    /// returns its [`length`]. `pseudo_header` says whether the checksum of an IPv4 message covers one.
    ///
    /// # Errors
    /// No room; no address or more than 255, or addresses of two versions.
    pub fn write(
        &self,
        (src, dst): (IpAddr, IpAddr),
        addresses: impl Iterator<Item = IpAddr> + Clone,
        pseudo_header: bool,
        out: &mut [u8],
    ) -> Result<usize> {
        let count = u8::try_from(addresses.clone().count()).map_err(|_| WireError::Address)?;
        let whole = length(dst.is_ipv6(), count.into());
        let out = out.get_mut(..whole).ok_or(WireError::NoRoom)?;
        let mut header = Header {
            version_type: VERSION_TYPE,
            virtual_router: self.virtual_router.0,
            priority: self.priority,
            addresses: count,
            interval_cs: U16::new(self.interval_cs.min(MAX_INTERVAL)),
            checksum: U16::new(0),
        };
        let mut at = put(out, &header)?;
        for address in addresses {
            let room = out.get_mut(at..).ok_or(WireError::NoRoom)?;
            at += match (address, dst) {
                (IpAddr::V4(ip), IpAddr::V4(_)) => put(room, &ip.octets())?,
                (IpAddr::V6(ip), IpAddr::V6(_)) => put(room, &ip.octets())?,
                _ => return Err(WireError::Address),
            };
        }
        let over = if pseudo_header || dst.is_ipv6() { pseudo(src, dst, whole) } else { Some(Sum::zero()) };
        header.checksum = U16::new(over.ok_or(WireError::Address)?.bytes(out).finish());
        put(out, &header)?;
        Ok(whole)
    }
}

/// Bytes of a message with so many addresses.
pub const fn length(v6: bool, addresses: usize) -> usize {
    HEADER_LENGTH + addresses * if v6 { 16 } else { 4 }
}

/// `None` for addresses of two versions.
fn pseudo(src: IpAddr, dst: IpAddr, length: usize) -> Option<Sum> {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            Some(pseudo_v4(src, dst, Protocol::VRRP, u16::try_from(length).ok()?))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            Some(pseudo_v6(src, dst, Protocol::VRRP, u32::try_from(length).ok()?))
        }
        _ => None,
    }
}
