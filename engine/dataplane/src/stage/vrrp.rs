//! VRRP advertisements of the interfaces' virtual routers: checked here and told to control, which elects (RFC 9568).

use super::Verdict;
use crate::context::{Context, Egress, Meta, Version};
use crate::drop_reason::DropReason;
use crate::id::InterfaceId;
use crate::message::Event;
use crate::packet::{Packet, PacketPool};
use crate::stage::probe::ip_header;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::Ipv6Header;
use crate::wire::vrrp::{self, Advertisement, GROUP_V4, GROUP_V6, TTL};
use crate::wire::{EtherType, MacAddr, Protocol, TrafficClass, ipv4, ipv6};
use std::net::IpAddr;

/// Takes what came for a group of routers; anything but an advertisement for this interface's virtual router is
/// [`DropReason::Multicast`] as before.
#[cold]
pub fn receive<A: PacketPool>(context: &mut Context<A>, packet: &A::Packet, meta: &Meta) -> Verdict {
    let router = context.snapshot.interfaces[meta.interface.index()].virtual_router.as_ref();
    let (Some(router), Some((src, dst, message))) = (router, opened(packet.data())) else {
        return Err(DropReason::Multicast);
    };
    let said = Advertisement::parse(message, src, dst).map_err(|_| DropReason::BadAdvertisement)?;
    if said.virtual_router != router.number {
        return Err(DropReason::Multicast);
    }
    let Advertisement { priority, interval_cs, .. } = said;
    let interface = meta.interface;
    context.report_neighbor(Event::Advertised { interface, from: src, priority, interval_cs });
    Err(DropReason::NeighborConsumed)
}

/// Source, destination and message of a VRRP packet for the routers of the link, with the only TTL that one may have.
fn opened(data: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    if let Ok(header) = Ipv4Header::parse_quoted(data) {
        let taken = header.protocol() == Protocol::VRRP
            && header.dst() == GROUP_V4
            && !header.fragmentation().is_fragment()
            && header.ttl() == TTL;
        let message = data.get(header.payload()).filter(|_| taken)?;
        return Some((header.src().into(), header.dst().into(), message));
    }
    let header = Ipv6Header::parse(data).ok()?;
    let taken =
        header.next_header() == Protocol::VRRP && header.dst() == GROUP_V6 && header.hop_limit() == TTL;
    let message = data.get(header.payload()).filter(|_| taken)?;
    Some((header.src().into(), header.dst().into(), message))
}

/// Advertises the virtual router of an interface with this priority, from the virtual router's MAC address (§7.2).
#[cold]
pub fn advertise<A: PacketPool>(
    context: &mut Context<A>,
    interface: InterfaceId,
    (from, priority, interval_cs): (IpAddr, u8, u16),
) {
    let Some(on) = context.snapshot.interfaces.get(interface.index()) else { return };
    let Some(router) = on.virtual_router.clone() else { return };
    // What waited for a paused worker would teach bridges that the virtual router is here. That this router stands back (priority 0,
    // §6.4.3) it says when it has stopped to forward.
    if priority != 0 && !context.may_forward() {
        return;
    }
    let (version, dst, header, mac) = match from {
        IpAddr::V4(_) => {
            (Version::V4, GROUP_V4.into(), ipv4::HEADER_LENGTH, MacAddr::from_ipv4_multicast(GROUP_V4))
        }
        IpAddr::V6(_) => {
            (Version::V6, GROUP_V6.into(), ipv6::HEADER_LENGTH, MacAddr::from_ipv6_multicast(GROUP_V6))
        }
    };
    let addresses = router.addresses.iter().copied().filter(|ip| ip.is_ipv6() == from.is_ipv6());
    let length = vrrp::length(from.is_ipv6(), addresses.clone().count());
    let ether_type = if from.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 };
    let src = router.number.mac(from.is_ipv6());
    let egress = Egress::Link { interface, src, mac, ether_type };
    let said = Advertisement { virtual_router: router.number, priority, interval_cs };
    let meta = Meta { interface, version, protocol: Protocol::VRRP, egress, ..Meta::default() };
    let like = (TrafficClass::NETWORK_CONTROL, TTL, Protocol::VRRP);
    context.originate(meta, header + length, |out| {
        let (ip, message) = out.split_at_mut(header);
        said.write((from, dst), addresses, router.pseudo_header, message).is_ok()
            && ip_header(ip, like, from, dst, length as u16)
    });
}
