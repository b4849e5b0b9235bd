//! The route of a packet, and what happens to one that is for this engine.

use super::Verdict;
use crate::context::{Context, Egress, Meta};
use crate::drop_reason::DropReason;
use crate::packet::PacketPool;
use crate::snapshot::NextHop;
use crate::stage::decap::outer;
use crate::stage::icmp_error::{self, Problem};
use crate::stage::local;
use std::net::IpAddr;

/// Finds where the packet goes, unless an earlier stage has.
#[inline]
pub fn lookup<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    if !matches!(meta.egress, Egress::Unknown) {
        return Ok(());
    }
    let (_, dst, _) = outer(packet, meta.version)?;
    if is_link_scoped(dst) {
        return on_link(context, packet, meta, dst);
    }
    match context.snapshot.route(dst) {
        Some(NextHop::Local) => local::deliver(context, packet, meta),
        Some(NextHop::Blackhole) => Err(DropReason::Blackhole),
        Some(&next_hop) => {
            meta.egress = Egress::Routed(next_hop);
            Ok(())
        }
        None => {
            icmp_error::send(context, packet, meta, Problem::NoRoute);
            Err(DropReason::NoRoute)
        }
    }
}

/// Groups are not routed here, and link-local addresses mean nothing off their link (RFC 4291 §2.5.6): no route, a
/// default route least of all, leads to them.
#[inline]
fn is_link_scoped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_multicast() || ip.is_unicast_link_local())
}

#[cold]
fn on_link<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &mut Meta,
    dst: IpAddr,
) -> Verdict {
    if meta.own && !dst.is_multicast() {
        // An answer goes back to the link that asked.
        meta.egress = Egress::Neighbor { interface: meta.interface, ip: dst };
        return Ok(());
    }
    local::deliver(context, packet, meta)
}
