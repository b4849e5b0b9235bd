//! The link header of the next hop.

use crate::context::{Context, Egress, Meta};
use crate::drop_reason::DropReason;
use crate::id::{InterfaceId, PortId};
use crate::packet::{Packet, PacketPool};
use crate::wire::ethernet::Ethernet;
use crate::wire::{EtherType, MacAddr};
use std::net::IpAddr;

/// What rewriting led to.
pub enum Rewritten {
    /// Ready to be sent by this port.
    Ready(PortId),
    /// The neighbour's MAC address is not known yet.
    Unresolved { interface: InterfaceId, ip: IpAddr },
}

/// Puts the link header on.
///
/// # Errors
/// If the packet has found no way out, or has no headroom.
#[inline]
pub fn rewrite<A: PacketPool>(
    context: &Context<A>,
    packet: &mut A::Packet,
    meta: &Meta,
) -> Result<Rewritten, DropReason> {
    let (interface, mac, ether_type) = match meta.egress {
        Egress::Link { interface, mac, ether_type } => (interface, mac, ether_type),
        Egress::Neighbor { interface, ip } => match context.snapshot.adjacencies.get(interface, ip) {
            Some(mac) => (interface, mac, ether_type(packet)),
            None => return Ok(Rewritten::Unresolved { interface, ip }),
        },
        _ => return Err(DropReason::NoRoute),
    };
    link_header(context, packet, interface, mac, ether_type).map(Rewritten::Ready)
}

/// After encapsulation the outer header decides, not what `meta` said of the inner one.
#[inline]
fn ether_type<P: Packet>(packet: &P) -> EtherType {
    let version = packet.data().first().map_or(4, |byte| byte >> 4);
    if version == 6 { EtherType::IPV6 } else { EtherType::IPV4 }
}

#[inline]
fn link_header<A: PacketPool>(
    context: &Context<A>,
    packet: &mut A::Packet,
    interface: InterfaceId,
    dst: MacAddr,
    ether_type: EtherType,
) -> Result<PortId, DropReason> {
    let interface = &context.snapshot.interfaces[interface.index()];
    let ethernet = Ethernet { dst, src: interface.mac, vlan: interface.vlan, ether_type };
    let data = packet.prepend(ethernet.length()).ok_or(DropReason::NoRoom)?;
    ethernet.write(data).map_err(|_| DropReason::NoRoom)?;
    Ok(interface.port)
}
