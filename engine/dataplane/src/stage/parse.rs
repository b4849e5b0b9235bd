//! From a frame to an IP packet on an interface: link header off, IP header checked.

use super::Verdict;
use crate::context::{Context, Meta, Version};
use crate::drop_reason::DropReason;
use crate::id::{InterfaceId, PortId};
use crate::packet::{Packet, PacketPool, RxChecksum};
use crate::snapshot::Snapshot;
use crate::stage::{neighbor, vrrp};
use crate::wire::ethernet::{self, Ethernet};
use crate::wire::ipv4::{self, Ipv4Header};
use crate::wire::ipv6::{self, Ipv6Header};
use crate::wire::{EtherType, MacAddr, Protocol, WireError};
use std::net::{IpAddr, Ipv4Addr};

/// What a burst of one port has in common.
#[derive(Clone, Copy, Debug)]
pub struct Ingress {
    port: PortId,
    /// Who untagged frames are for, and the address that nearly all of those with IPv4 are sent to.
    untagged: Option<(InterfaceId, MacAddr)>,
}

impl Ingress {
    /// The ingress of what `port` receives.
    #[inline]
    pub fn of(snapshot: &Snapshot, port: PortId) -> Ingress {
        let untagged =
            snapshot.interface_of(port, None).map(|interface| (interface.id, interface.ipv4_mac()));
        Ingress { port, untagged }
    }
}

/// Takes the link header off a frame and checks what is inside.
#[inline(always)]
pub fn parse<A: PacketPool>(
    context: &mut Context<A>,
    ingress: Ingress,
    packet: &mut A::Packet,
    meta: &mut Meta,
) -> Verdict {
    if plain_ipv4(ingress, packet, meta) { Ok(()) } else { any(context, ingress, packet, meta) }
}

/// Recognises by one look what nearly all packets are: an untagged frame for this port, with a plain IPv4 packet from one
/// host to another. False, and nothing changed, if it is anything else.
#[inline(always)]
fn plain_ipv4<P: Packet>(ingress: Ingress, packet: &mut P, meta: &mut Meta) -> bool {
    const LINK: usize = ethernet::HEADER_LENGTH;
    let data = packet.data();
    let (Some((interface, mac)), Some(frame)) = (ingress.untagged, data.first_chunk::<PLAIN>()) else {
        return false;
    };
    let (Some((dst, rest)), Some((_, ip))) =
        (frame.split_first_chunk::<6>(), frame.split_first_chunk::<LINK>())
    else {
        return false;
    };
    let ether_type = u16::from_be_bytes([rest[6], rest[7]]);
    let Some(ip) = ip.first_chunk() else { return false };
    let available = data.len() - LINK;
    let Some(header) = Ipv4Header::plain(ip, available, packet.rx_checksum()) else { return false };
    if *dst != mac.0 || ether_type != EtherType::IPV4.0 || !between_hosts(header) {
        return false;
    }
    let padding = available - header.total_length();
    meta.interface = interface;
    plain_meta(header, meta);
    packet.adj(LINK);
    if padding > 0 {
        packet.trim(padding);
    }
    true
}

#[inline(always)]
fn between_hosts(header: &Ipv4Header) -> bool {
    !(is_special(header.src()) | is_special(header.dst()))
}

/// What the walk needs of a plain IPv4 header, where nothing is known yet.
#[inline(always)]
fn plain_meta(header: &Ipv4Header, meta: &mut Meta) {
    meta.protocol = header.protocol();
    addresses_v4(header.src(), header.dst(), meta);
    meta.upper = ipv4::HEADER_LENGTH as u16;
    meta.has_upper = true;
}

/// What came out of a tunnel: nearly always a plain IPv4 packet from one host to another.
#[inline(always)]
pub fn inner<P: Packet>(packet: &mut P, meta: &mut Meta) -> Verdict {
    let data = packet.data();
    if let Some(bytes) = data.first_chunk()
        // The port has seen the outermost header only.
        && let Some(header) = Ipv4Header::plain(bytes, data.len(), RxChecksum::Unknown)
        && header.total_length() == data.len()
        && between_hosts(header)
    {
        plain_meta(header, meta);
        return Ok(());
    }
    ip_header(packet, meta)
}

/// Bytes of an untagged frame up to the end of a plain IPv4 header.
const PLAIN: usize = ethernet::HEADER_LENGTH + ipv4::HEADER_LENGTH;

#[inline(always)]
fn addresses_v4(src: Ipv4Addr, dst: Ipv4Addr, meta: &mut Meta) {
    (meta.src_v4, meta.dst_v4) = (src.to_bits(), dst.to_bits());
    meta.link_local = src.is_link_local() | dst.is_link_local();
}

/// The general case of [`parse`].
fn any<A: PacketPool>(
    context: &mut Context<A>,
    ingress: Ingress,
    packet: &mut A::Packet,
    meta: &mut Meta,
) -> Verdict {
    let (ethernet, offset) = Ethernet::parse(packet.data()).map_err(link_error)?;
    let interface = match ethernet.vlan {
        None => ingress.untagged,
        vlan => context.snapshot.interface_of(ingress.port, vlan).map(|tagged| (tagged.id, tagged.mac)),
    };
    let (interface, mac) = interface.ok_or(DropReason::UnknownVlan)?;
    if ethernet.dst != mac && !context.snapshot.interfaces[interface.index()].takes(ethernet.dst) {
        meta.link_group = ethernet.dst.is_multicast();
        if !meta.link_group {
            return Err(DropReason::NotForUs);
        }
    }
    meta.interface = interface;
    meta.link_src = ethernet.src;
    packet.adj(offset);
    let verdict = match ethernet.ether_type {
        EtherType::IPV4 => ipv4_header(packet, meta),
        EtherType::IPV6 => ipv6_header(packet, meta),
        EtherType::ARP => return neighbor::arp(context, packet, meta),
        _ => return Err(DropReason::UnknownEtherType),
    };
    if verdict == Err(DropReason::Multicast) { vrrp::receive(context, packet, meta) } else { verdict }
}

fn link_error(error: WireError) -> DropReason {
    match error {
        WireError::Truncated => DropReason::Truncated,
        _ => DropReason::UnknownEtherType,
    }
}

/// Checks the IP header that the packet begins with, cuts off padding and notes what the
/// walk needs. The general case of [`inner`].
#[inline(never)]
pub fn ip_header<P: Packet>(packet: &mut P, meta: &mut Meta) -> Verdict {
    match packet.data().first().map(|byte| byte >> 4) {
        Some(4) => ipv4_header(packet, meta),
        Some(6) => ipv6_header(packet, meta),
        Some(_) => Err(DropReason::BadIpHeader),
        None => Err(DropReason::Truncated),
    }
}

fn ip_error(error: WireError) -> DropReason {
    match error {
        WireError::Truncated => DropReason::Truncated,
        WireError::Checksum => DropReason::BadChecksum,
        WireError::Extension => DropReason::BadExtension,
        _ => DropReason::BadIpHeader,
    }
}

#[inline]
fn ipv4_header<P: Packet>(packet: &mut P, meta: &mut Meta) -> Verdict {
    // The port has seen the outermost header only.
    let checked = if meta.tunnel_in.is_none() { packet.rx_checksum() } else { RxChecksum::Unknown };
    let header = Ipv4Header::parse(packet.data(), checked).map_err(ip_error)?;
    let (src, dst) = (header.src(), header.dst());
    if is_special(src) || is_special(dst) {
        return Err(special_v4(src, dst));
    }
    // A frame for everyone that holds a packet for one (RFC 1812 §5.3.4).
    if meta.link_group {
        return Err(DropReason::NotForUs);
    }
    let fragmentation = header.fragmentation();
    meta.version = Version::V4;
    meta.protocol = header.protocol();
    meta.upper = header.header_length() as u16;
    meta.fragment = fragmentation.is_fragment();
    meta.has_upper = fragmentation.offset == 0;
    addresses_v4(src, dst, meta);
    let padding = packet.len() - header.total_length();
    if padding > 0 {
        packet.trim(padding);
    }
    Ok(())
}

/// First octets 0, 127 and 224 and above.
#[inline]
fn is_special(ip: Ipv4Addr) -> bool {
    SPECIAL[usize::from(ip.octets()[0])]
}

static SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = matches!(octet, 0 | 127 | 224..);
        octet += 1;
    }
    table
};

/// RFC 1812 §5.3.7: never a source or destination on a wire, but for groups and broadcast as destination.
#[cold]
fn special_v4(src: Ipv4Addr, dst: Ipv4Addr) -> DropReason {
    let martian = |ip: Ipv4Addr| matches!(ip.octets()[0], 0 | 127 | 240..);
    let to_all = dst.is_multicast() || dst.is_broadcast();
    if martian(src) || src.is_multicast() || !to_all { DropReason::Martian } else { DropReason::Multicast }
}

#[inline]
fn ipv6_header<P: Packet>(packet: &mut P, meta: &mut Meta) -> Verdict {
    let header = Ipv6Header::parse(packet.data()).map_err(ip_error)?;
    let (src, dst) = (header.src(), header.dst());
    // RFC 4291 §2.5.2, §2.5.3, §2.7. An unspecified source is right in duplicate address detection only,
    // which goes to a group.
    if src.is_multicast() || src.is_loopback() || dst.is_loopback() || dst.is_unspecified() {
        return Err(DropReason::Martian);
    }
    if src.is_unspecified() && !dst.is_multicast() {
        return Err(DropReason::Martian);
    }
    if meta.link_group && !dst.is_multicast() {
        return Err(DropReason::NotForUs);
    }
    meta.version = Version::V6;
    meta.link_local = src.is_unicast_link_local() || dst.is_unicast_link_local();
    let multicast = dst.is_multicast();
    let padding = packet.len() - header.total_length();
    if padding > 0 {
        packet.trim(padding);
    }
    let upper = ipv6::walk(packet.data()).map_err(ip_error)?;
    meta.protocol = upper.protocol;
    meta.upper = upper.offset as u16;
    meta.fragment = upper.is_fragment();
    meta.has_upper = upper.has_header();
    match multicast {
        true if meta.protocol == Protocol::ICMPV6 && meta.has_upper && !meta.fragment => Ok(()),
        true => Err(DropReason::Multicast),
        false => Ok(()),
    }
}

/// A packet with a link-local address never leaves its link (RFC 3927 §2.7, RFC 4291 §2.5.6).
pub fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}
