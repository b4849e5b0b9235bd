//! IPv6 neighbour discovery (RFC 4861): address resolution and reachability.

use super::icmpv6::{is_intact, seal};
use super::ipv6::{Ipv6Fields, Ipv6Header};
use super::{MacAddr, Protocol, Result, TrafficClass, WireError, put, view};
use std::net::Ipv6Addr;
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The most bytes [`Solicitation`] and [`Advertisement`] write: IPv6 header, message, one option.
pub const MAX_LENGTH: usize = size_of::<Ipv6Header>() + size_of::<Message>() + size_of::<LinkOption>();

/// Every node on the link (RFC 4291 §2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

const ROUTER_SOLICITATION: u8 = 133;
const NEIGHBOR_SOLICITATION: u8 = 135;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;
const SOURCE_LINK: u8 = 1;
const TARGET_LINK: u8 = 2;
const ROUTER: u32 = 1 << 31;
const SOLICITED: u32 = 1 << 30;
const OVERRIDE: u32 = 1 << 29;
/// What proves that the sender is on this link: no router has decremented it (RFC 4861 §3.1).
const HOP_LIMIT: u8 = 255;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Message {
    kind: u8,
    code: u8,
    checksum: U16,
    flags: U32,
    target: [u8; 16],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct LinkOption {
    kind: u8,
    length: u8,
    mac: MacAddr,
}

/// A checked neighbour discovery message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ndp {
    /// Who has the target address?
    Solicitation {
        /// The address asked for.
        target: Ipv6Addr,
        /// The asker's, if it says; never in duplicate address detection.
        source_link: Option<MacAddr>,
    },
    /// The target address is here.
    Advertisement {
        /// The address it is about.
        target: Ipv6Addr,
        /// Where it is; may be missing in an answer to a unicast solicitation.
        target_link: Option<MacAddr>,
        /// What else it says.
        flags: Flags,
    },
    /// A host looks for routers; this engine does not advertise itself.
    RouterSolicitation,
}

/// The flags of an advertisement (RFC 4861 §4.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The sender is a router.
    pub router: bool,
    /// It answers a solicitation: proof of reachability.
    pub solicited: bool,
    /// It replaces a cached link-layer address.
    pub replace: bool,
}

/// The group that those with an address like `address` listen to (RFC 4291 §2.7.1).
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | a as u16, (b as u16) << 8 | c as u16)
}

impl Ndp {
    /// Checks `message`, the ICMPv6 payload of the packet with header `ip`, to its last byte.
    pub fn parse(ip: &Ipv6Header, message: &[u8]) -> Result<Ndp> {
        // RFC 4861 §6.1.1, §7.1.1, §7.1.2: hop limit, checksum, code.
        if ip.hop_limit() != HOP_LIMIT {
            return Err(WireError::HopLimit);
        }
        let &[kind, code, ..] = message else { return Err(WireError::Truncated) };
        if !is_intact(ip.src(), ip.dst(), message) {
            return Err(WireError::Checksum);
        }
        match (kind, code) {
            (ROUTER_SOLICITATION, 0) => router_solicitation(ip, message),
            (NEIGHBOR_SOLICITATION, 0) => solicitation(ip, message),
            (NEIGHBOR_ADVERTISEMENT, 0) => advertisement(ip, message),
            (ROUTER_SOLICITATION | NEIGHBOR_SOLICITATION | NEIGHBOR_ADVERTISEMENT, _) => {
                Err(WireError::Reserved)
            }
            _ => Err(WireError::Unsupported),
        }
    }
}

/// RFC 4861 §6.1.1.
fn router_solicitation(ip: &Ipv6Header, message: &[u8]) -> Result<Ndp> {
    let options = message.get(8..).ok_or(WireError::Truncated)?;
    match link_option(options, SOURCE_LINK)? {
        Some(_) if ip.src().is_unspecified() => Err(WireError::Option),
        _ => Ok(Ndp::RouterSolicitation),
    }
}

/// RFC 4861 §7.1.1.
fn solicitation(ip: &Ipv6Header, message: &[u8]) -> Result<Ndp> {
    let (body, options) = view::<Message>(message)?;
    let target = Ipv6Addr::from(body.target);
    let source_link = link_option(options, SOURCE_LINK)?;
    if target.is_multicast() {
        return Err(WireError::Address);
    }
    if ip.src().is_unspecified() {
        // Duplicate address detection: to the solicited-node group only, and without a link-layer address.
        if ip.dst() != solicited_node(target) {
            return Err(WireError::Address);
        }
        if source_link.is_some() {
            return Err(WireError::Option);
        }
    }
    Ok(Ndp::Solicitation { target, source_link })
}

/// RFC 4861 §7.1.2.
fn advertisement(ip: &Ipv6Header, message: &[u8]) -> Result<Ndp> {
    let (body, options) = view::<Message>(message)?;
    let target = Ipv6Addr::from(body.target);
    let flag = |bit| body.flags.get() & bit != 0;
    let flags = Flags { router: flag(ROUTER), solicited: flag(SOLICITED), replace: flag(OVERRIDE) };
    if target.is_multicast() {
        return Err(WireError::Address);
    }
    if ip.dst().is_multicast() && flags.solicited {
        return Err(WireError::Reserved);
    }
    Ok(Ndp::Advertisement { target, target_link: link_option(options, TARGET_LINK)?, flags })
}

/// The link-layer address option of a kind. Every option's length must be above zero (RFC 4861 §4.6); unknown
/// ones are skipped (§7.1.1).
fn link_option(mut options: &[u8], kind: u8) -> Result<Option<MacAddr>> {
    let mut found = None;
    while let &[this, units, ..] = options {
        let length = usize::from(units) * 8;
        if length == 0 || length > options.len() {
            return Err(WireError::Option);
        }
        if this == kind {
            // One unit on Ethernet (RFC 2464 §6); a group is no neighbour's address.
            let (option, _) = view::<LinkOption>(options)?;
            if units != 1 || !option.mac.is_unicast() {
                return Err(WireError::Option);
            }
            found = Some(option.mac);
        }
        options = &options[length..];
    }
    if options.is_empty() { Ok(found) } else { Err(WireError::Option) }
}

/// A question for a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicitation {
    /// The asker's address; unspecified in duplicate address detection.
    pub src: Ipv6Addr,
    /// The asker's link-layer address.
    pub mac: MacAddr,
    /// The address asked for.
    pub target: Ipv6Addr,
    /// To the target itself, to find out whether it is still reachable (RFC 4861 §7.3.1), and not to its
    /// solicited-node group.
    pub unicast: bool,
}

impl Solicitation {
    /// Where the packet goes.
    pub const fn dst(&self) -> Ipv6Addr {
        if self.unicast { self.target } else { solicited_node(self.target) }
    }

    /// Writes the IP packet at the start of `out` and returns its length (RFC 4861 §4.3).
    pub fn write(&self, out: &mut [u8]) -> Result<usize> {
        let link = Some((SOURCE_LINK, self.mac)).filter(|_| !self.src.is_unspecified());
        write(NEIGHBOR_SOLICITATION, (self.src, self.dst()), (self.target, 0), link, out)
    }
}

/// An answer to a solicitation, or an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// Who says so.
    pub src: Ipv6Addr,
    /// To whom.
    pub dst: Ipv6Addr,
    /// The address it is about.
    pub target: Ipv6Addr,
    /// Where it is.
    pub mac: MacAddr,
    /// What else it says.
    pub flags: Flags,
}

impl Advertisement {
    /// A router's answer to a solicitation from `asker` for `target`; to everyone if the asker has no address
    /// yet (RFC 4861 §7.2.4).
    pub const fn answer(asker: Ipv6Addr, target: Ipv6Addr, mac: MacAddr) -> Advertisement {
        let solicited = !asker.is_unspecified();
        let dst = if solicited { asker } else { ALL_NODES };
        let flags = Flags { router: true, solicited, replace: true };
        Advertisement { src: target, dst, target, mac, flags }
    }

    /// Tells everyone that a router's address is at `mac` now (RFC 4861 §7.2.6).
    pub const fn unsolicited(target: Ipv6Addr, mac: MacAddr) -> Advertisement {
        Advertisement::answer(Ipv6Addr::UNSPECIFIED, target, mac)
    }

    /// Writes the IP packet at the start of `out` and returns its length, [`MAX_LENGTH`] (RFC 4861 §4.4).
    pub fn write(&self, out: &mut [u8]) -> Result<usize> {
        let flag = |set, bit| if set { bit } else { 0 };
        let Flags { router, solicited, replace } = self.flags;
        let flags = flag(router, ROUTER) | flag(solicited, SOLICITED) | flag(replace, OVERRIDE);
        let link = Some((TARGET_LINK, self.mac));
        write(NEIGHBOR_ADVERTISEMENT, (self.src, self.dst), (self.target, flags), link, out)
    }
}

fn write(
    kind: u8,
    (src, dst): (Ipv6Addr, Ipv6Addr),
    (target, flags): (Ipv6Addr, u32),
    link: Option<(u8, MacAddr)>,
    out: &mut [u8],
) -> Result<usize> {
    let option = if link.is_some() { size_of::<LinkOption>() } else { 0 };
    let length = size_of::<Message>() + option;
    let fields = Ipv6Fields {
        traffic_class: TrafficClass::NETWORK_CONTROL,
        flow_label: 0,
        payload_length: length as u16,
        next_header: Protocol::ICMPV6,
        hop_limit: HOP_LIMIT,
        src,
        dst,
    };
    let start = fields.write(out)?;
    let message = out.get_mut(start..start + length).ok_or(WireError::NoRoom)?;
    let body =
        Message { kind, code: 0, checksum: U16::ZERO, flags: U32::new(flags), target: target.octets() };
    let options = put(message, &body)?;
    if let Some((kind, mac)) = link {
        put(&mut message[options..], &LinkOption { kind, length: 1, mac })?;
    }
    seal(src, dst, message)?;
    Ok(start + length)
}
