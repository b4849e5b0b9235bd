//! Ethernet II with one 802.1Q tag, or two of them (IEEE 802.3 §3, IEEE 802.1Q §9; 802.1ad, "QinQ").

use super::{WireError, put, view};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZero;
use std::str::FromStr;
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of an untagged Ethernet header.
pub const HEADER_LENGTH: usize = size_of::<Header>();
/// Bytes an 802.1Q tag adds.
pub const TAG_LENGTH: usize = size_of::<Tag>();

/// A 48-bit Ethernet address, written `02:00:00:00:00:01`.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
    Serialize,
    Deserialize,
)]
#[serde(try_from = "String", into = "String")]
#[repr(transparent)]
pub struct MacAddr(pub [u8; 6]);

/// Text that is not six hexadecimal bytes with colons between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Ethernet address; write six hexadecimal bytes, as in 02:00:00:00:00:01")]
pub struct MacAddrError;

impl MacAddr {
    /// No address.
    pub const ZERO: MacAddr = MacAddr([0; 6]);
    /// Every station.
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);

    /// True for [`MacAddr::BROADCAST`].
    #[inline]
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// True for a group address, broadcast among them (IEEE 802 §8.2: the I/G bit).
    #[inline]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// True for one station's address.
    #[inline]
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Self::ZERO
    }

    /// Where a packet to an IPv4 group goes: 01:00:5e and its lower 23 bits (RFC 1112 §6.4).
    pub const fn from_ipv4_multicast(group: Ipv4Addr) -> MacAddr {
        let [_, b, c, d] = group.octets();
        MacAddr([0x01, 0x00, 0x5e, b & 0x7f, c, d])
    }

    /// Where a packet to an IPv6 group goes: 33:33 and its last four bytes (RFC 2464 §7).
    pub const fn from_ipv6_multicast(group: Ipv6Addr) -> MacAddr {
        let [.., a, b, c, d] = group.octets();
        MacAddr([0x33, 0x33, a, b, c, d])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = MacAddrError;

    fn from_str(text: &str) -> Result<MacAddr, MacAddrError> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(MacAddrError)?;
            // from_str_radix alone would take a sign.
            let hex = part.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(part, 16).ok().filter(|_| hex).ok_or(MacAddrError)?;
        }
        if parts.next().is_none() { Ok(MacAddr(bytes)) } else { Err(MacAddrError) }
    }
}

impl TryFrom<String> for MacAddr {
    type Error = MacAddrError;

    fn try_from(text: String) -> Result<MacAddr, MacAddrError> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> String {
        mac.to_string()
    }
}

/// What an Ethernet or GRE header carries (IEEE 802 EtherType).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4 (RFC 894).
    pub const IPV4: EtherType = EtherType(0x0800);
    /// ARP (RFC 826).
    pub const ARP: EtherType = EtherType(0x0806);
    /// Transparent Ethernet bridging, in GRE (RFC 1701).
    pub const BRIDGING: EtherType = EtherType(0x6558);
    /// 802.1Q tag.
    pub const VLAN: EtherType = EtherType(0x8100);
    /// IPv6 (RFC 2464 §3).
    pub const IPV6: EtherType = EtherType(0x86dd);
    /// 802.1ad outer tag (QinQ).
    pub const QINQ: EtherType = EtherType(0x88a8);
}

/// Which VLAN of a port: its number, 1–4094 (IEEE 802.1Q §9.6: 0 and 4095 are reserved), or the numbers of an S-VLAN and
/// of the C-VLAN inside it (802.1ad).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanId {
    service: Option<NonZero<u16>>,
    customer: NonZero<u16>,
}

/// A number that is no VLAN's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a VLAN number; it lies between 1 and 4094")]
pub struct VlanIdError;

impl VlanId {
    /// The C-VLAN `customer` inside the S-VLAN `service`.
    pub fn stacked(service: u16, customer: u16) -> Result<VlanId, VlanIdError> {
        let VlanId { customer: service, .. } = VlanId::try_from(service)?;
        Ok(VlanId { service: Some(service), ..VlanId::try_from(customer)? })
    }

    /// The outer tag's number, if there are two tags.
    #[inline]
    pub const fn service(self) -> Option<u16> {
        match self.service {
            Some(service) => Some(service.get()),
            None => None,
        }
    }

    /// The number of the inner tag, or of the only one.
    #[inline]
    pub const fn customer(self) -> u16 {
        self.customer.get()
    }

    /// Bytes of the tags.
    #[inline]
    pub const fn length(self) -> usize {
        if self.service.is_none() { TAG_LENGTH } else { 2 * TAG_LENGTH }
    }
}

impl TryFrom<u16> for VlanId {
    type Error = VlanIdError;

    fn try_from(id: u16) -> Result<VlanId, VlanIdError> {
        let customer = NonZero::new(id).filter(|id| id.get() <= 4094).ok_or(VlanIdError)?;
        Ok(VlanId { service: None, customer })
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.service() {
            Some(service) => write!(f, "{service}.{}", self.customer),
            None => self.customer.fmt(f),
        }
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    dst: MacAddr,
    src: MacAddr,
    ether_type: U16,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Tag {
    tci: U16,
    ether_type: U16,
}

impl Tag {
    /// The VLAN's number; 0 for a priority tag.
    #[inline]
    fn id(&self) -> u16 {
        self.tci.get() & 0x0fff
    }
}

/// An Ethernet II header with at most two 802.1Q tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// Destination.
    pub dst: MacAddr,
    /// Source.
    pub src: MacAddr,
    /// The VLAN, if the frame is tagged with one.
    pub vlan: Option<VlanId>,
    /// What the payload is.
    pub ether_type: EtherType,
}

impl Ethernet {
    /// The header of `frame` and the offset of its payload. A priority tag (VLAN 0) counts as untagged
    /// (IEEE 802.1Q §9.6). Unsupported: 802.3 length frames, a third tag, an S-tag without a C-tag, VLAN 4095.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<(Ethernet, usize), WireError> {
        let (header, rest) = view::<Header>(frame)?;
        let mut ethernet = Ethernet {
            dst: header.dst,
            src: header.src,
            vlan: None,
            ether_type: EtherType(header.ether_type.get()),
        };
        let mut payload = HEADER_LENGTH;
        if matches!(ethernet.ether_type, EtherType::VLAN | EtherType::QINQ) {
            let (vlan, ether_type, length) = tags(ethernet.ether_type, rest)?;
            (ethernet.vlan, ethernet.ether_type) = (vlan, ether_type);
            payload += length;
        }
        match ethernet.ether_type {
            EtherType::VLAN | EtherType::QINQ => Err(WireError::Unsupported),
            // Below 0x0600 the field is a length (IEEE 802.3 §3.2.6).
            EtherType(..0x0600) => Err(WireError::Unsupported),
            _ => Ok((ethernet, payload)),
        }
    }

    /// Bytes that [`Ethernet::write`] takes.
    #[inline]
    pub const fn length(&self) -> usize {
        match self.vlan {
            Some(vlan) => HEADER_LENGTH + vlan.length(),
            None => HEADER_LENGTH,
        }
    }

    /// Writes the header at the start of `out` and returns its length.
    #[inline]
    pub fn write(&self, out: &mut [u8]) -> Result<usize, WireError> {
        let outer = match self.vlan {
            Some(vlan) if vlan.service.is_some() => EtherType::QINQ,
            Some(_) => EtherType::VLAN,
            None => self.ether_type,
        };
        let header = Header { dst: self.dst, src: self.src, ether_type: U16::new(outer.0) };
        let room = out.get_mut(..self.length()).ok_or(WireError::NoRoom)?;
        let mut length = put(room, &header)?;
        if let Some(vlan) = self.vlan {
            if let Some(service) = vlan.service() {
                let tag = Tag { tci: U16::new(service), ether_type: U16::new(EtherType::VLAN.0) };
                length += put(&mut room[length..], &tag)?;
            }
            let tag = Tag { tci: U16::new(vlan.customer.get()), ether_type: U16::new(self.ether_type.0) };
            length += put(&mut room[length..], &tag)?;
        }
        Ok(length)
    }
}

/// The VLAN that the tags at the start of `rest` name, what is behind them, and their length. The outer one of two is an
/// S-tag whatever its TPID: many switches, and drivers that put back a tag the kernel took out, stack two of 0x8100.
#[inline]
fn tags(outer: EtherType, rest: &[u8]) -> Result<(Option<VlanId>, EtherType, usize), WireError> {
    let (first, rest) = view::<Tag>(rest)?;
    let inner = EtherType(first.ether_type.get());
    if inner == EtherType::VLAN {
        let (second, _) = view::<Tag>(rest)?;
        let vlan = match (first.id(), second.id()) {
            (0, 0) => None,
            (0, id) => Some(VlanId::try_from(id)),
            (service, id) => Some(VlanId::stacked(service, id)),
        };
        let vlan = vlan.transpose().map_err(|_| WireError::Unsupported)?;
        return Ok((vlan, EtherType(second.ether_type.get()), 2 * TAG_LENGTH));
    }
    let vlan = match first.id() {
        0 => None,
        id if outer == EtherType::VLAN => Some(VlanId::try_from(id).map_err(|_| WireError::Unsupported)?),
        _ => return Err(WireError::Unsupported),
    };
    Ok((vlan, inner, TAG_LENGTH))
}
