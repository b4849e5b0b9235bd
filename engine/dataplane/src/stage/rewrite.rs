//! The link header of the next hop.

use crate::context::{Context, Egress, Meta, Version};
use crate::drop_reason::DropReason;
use crate::id::{InterfaceId, PortId};
use crate::packet::{Packet, PacketPool};
use crate::wire::ethernet::Ethernet;
use crate::wire::{EtherType, MacAddr};
use std::net::IpAddr;

/// Puts the link header on and returns the port to send by; `None` while the neighbour's MAC address is not known, or the
/// tunnel's SA is not here.
///
/// # Errors
/// If the packet has found no way out, or has no headroom.
#[inline(always)]
pub fn rewrite<A: PacketPool>(
    context: &Context<A>,
    packet: &mut A::Packet,
    meta: &Meta,
) -> Result<Option<PortId>, DropReason> {
    let adjacencies = &context.snapshot.adjacencies;
    let adjacency = match meta.egress {
        Egress::Adjacency(id) => adjacencies.get(id),
        Egress::Neighbor { interface, ip } => match adjacencies.find(interface, ip) {
            Some(id) => adjacencies.get(id),
            None => return Ok(None),
        },
        Egress::Link { interface, src, mac, ether_type } => {
            return link_header(context, packet, interface, (src, mac), ether_type).map(Some);
        }
        Egress::Tunnel(_) | Egress::Moving(_) => return Ok(None),
        Egress::Unknown => return Err(DropReason::NoRoute),
    };
    let Some(header) = &adjacency.header else { return Ok(None) };
    let ether_type = if meta.version == Version::V4 { EtherType::IPV4 } else { EtherType::IPV6 };
    header.prepend(packet, ether_type).ok_or(DropReason::NoRoom)?;
    Ok(Some(adjacency.port))
}

/// The neighbour that a packet waits for.
pub fn neighbor<A: PacketPool>(context: &Context<A>, meta: &Meta) -> Option<(InterfaceId, IpAddr)> {
    match meta.egress {
        Egress::Adjacency(id) => {
            let adjacency = context.snapshot.adjacencies.get(id);
            Some((adjacency.interface, adjacency.ip))
        }
        Egress::Neighbor { interface, ip } => Some((interface, ip)),
        _ => None,
    }
}

/// The header of an answer on the link.
#[cold]
fn link_header<A: PacketPool>(
    context: &Context<A>,
    packet: &mut A::Packet,
    interface: InterfaceId,
    (src, dst): (MacAddr, MacAddr),
    ether_type: EtherType,
) -> Result<PortId, DropReason> {
    let interface = &context.snapshot.interfaces[interface.index()];
    let ethernet = Ethernet { dst, src, vlan: interface.vlan, ether_type };
    let data = packet.prepend(ethernet.length()).ok_or(DropReason::NoRoom)?;
    ethernet.write(data).map_err(|_| DropReason::NoRoom)?;
    Ok(interface.port)
}
