//! Which tunnel of its group, or which neighbour, a routed packet takes.

use super::Verdict;
use crate::context::{Context, Egress, Meta, Version};
use crate::drop_reason::DropReason;
use crate::id::{GroupId, InterfaceId, TunnelId};
use crate::packet::{Packet, PacketPool};
use crate::snapshot::{Encapsulation, Way};
use crate::stage::decap::outer;
use crate::stage::icmp_error::{self, Problem};
use crate::wire::flow;
use std::net::{IpAddr, Ipv4Addr};

/// All engines hash alike, so that a flow's bucket is the same wherever it is handed over.
const HASH_SEED: u64 = 0;

/// Turns `way` into a tunnel or a neighbour.
#[inline(always)]
pub fn steer<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &mut Meta,
    way: Way,
) -> Verdict {
    // Each arm writes what it knows: a copy of the whole would cost more than the decision.
    match way {
        Way::Neighbor(adjacency) => meta.egress = Egress::Adjacency(adjacency),
        Way::Group(group) => match member(context, packet, meta, group) {
            Some(tunnel) => meta.egress = Egress::Tunnel(tunnel),
            None => {
                icmp_error::send(context, packet, meta, Problem::NoRoute);
                return Err(DropReason::NoTunnel);
            }
        },
        Way::Connected(interface) => neighbor(context, packet, meta, interface)?,
        Way::Local | Way::Blackhole | Way::Unreachable => return Err(DropReason::NoListener),
    }
    Ok(())
}

/// The destination itself, unless it stands for everyone on the link: a router forwards no directed broadcast
/// (RFC 2644 §2).
#[inline(always)]
fn neighbor<A: PacketPool>(
    context: &Context<A>,
    packet: &A::Packet,
    meta: &mut Meta,
    interface: InterfaceId,
) -> Verdict {
    let ip = match meta.version {
        Version::V4 => IpAddr::V4(Ipv4Addr::from_bits(meta.dst_v4)),
        Version::V6 => outer(packet, meta.version)?.1,
    };
    if let Some(adjacency) = context.snapshot.adjacencies.find(interface, ip) {
        meta.egress = Egress::Adjacency(adjacency);
        return Ok(());
    }
    if let IpAddr::V4(v4) = ip
        && context.snapshot.interfaces[interface.index()].broadcasts(v4)
    {
        return Err(DropReason::Multicast);
    }
    meta.egress = Egress::Neighbor { interface, ip };
    Ok(())
}

/// The tunnel that the packet's bucket takes now.
#[inline(always)]
fn member<A: PacketPool>(
    context: &mut Context<A>,
    packet: &A::Packet,
    meta: &Meta,
    group: GroupId,
) -> Option<TunnelId> {
    let bucket = flow::bucket(packet.data(), meta, HASH_SEED)?;
    let snapshot = &context.snapshot;
    let group = &snapshot.groups[group.index()];
    let up = |tunnel: TunnelId| snapshot.tunnels.get(tunnel.index()).is_some_and(|tunnel| tunnel.up);
    let foreign = !meta.own && meta.tunnel_in.is_none();
    if foreign && snapshot.interfaces[meta.interface.index()].site_link {
        // Never back: what the other engine of the site handed over leaves by a tunnel of our own.
        let own = *group.own.get(bucket.index() % group.own.len().max(1))?;
        return up(own).then_some(own);
    }
    let steering = &mut context.steering[group.id.index()];
    let (gap, deadline) = (group.flowlet_gap, group.move_deadline);
    let steered = steering.steer(&group.buckets, bucket, context.now, gap, deadline, up)?;
    if let Some(moved) = steered.moved {
        context.counters.moved(moved.kind).add(1);
    }
    // From a tunnel of this group back into it: a loop, unless it is only the way to the standby.
    let loops = !meta.own
        && meta.tunnel_in.is_some_and(|from| group.members.contains(&from))
        && snapshot.outer(steered.tunnel).encapsulation != Encapsulation::Direct;
    (!loops).then_some(steered.tunnel)
}
