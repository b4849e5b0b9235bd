//! Which tunnel of its group, or which neighbour, a routed packet takes.

use super::{Verdict, probe};
use crate::context::{Context, Egress, Meta, Version};
use crate::drop_reason::DropReason;
use crate::ecmp::mark::{Admission, Marks, Round};
use crate::ecmp::{Old, Steered};
use crate::id::{Bucket, GroupId, InterfaceId, Nanos, TunnelId};
use crate::packet::{Packet, PacketPool};
use crate::snapshot::{Encapsulation, Group, Snapshot, Way};
use crate::stage::decap::outer;
use crate::stage::icmp_error::{self, Problem};
use crate::wire::flow;
use std::net::{IpAddr, Ipv4Addr};

/// All engines hash alike, so that a flow's bucket is the same wherever it is handed over.
const HASH_SEED: u64 = 0;

/// Longer than any cable between two engines of a site takes.
const LINK_BOUND: Nanos = Nanos::from_millis(50);
/// Shortest wait for a MARK's answer.
const BOUND_MIN: Nanos = Nanos::from_millis(4);

/// What becomes of a steered packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It goes on.
    Goes,
    /// It waits for a MARK ([`crate::ecmp::mark`]).
    Waits,
}

/// Turns `way` into a tunnel or a neighbour.
#[inline(always)]
pub fn steer<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &mut Meta,
    way: Way,
) -> Result<Passage, DropReason> {
    // Each arm writes what it knows: a copy of the whole would cost more than the decision.
    match way {
        Way::Neighbor(adjacency) => meta.egress = Egress::Adjacency(adjacency),
        Way::Group(group) => match member(context, packet, meta, group) {
            Some(Steered::To { tunnel, .. }) => meta.egress = Egress::Tunnel(tunnel),
            Some(Steered::Waits) => {
                meta.egress = Egress::Moving(group);
                return Ok(Passage::Waits);
            }
            None => {
                icmp_error::send(context, packet, meta, Problem::NoRoute);
                return Err(DropReason::NoTunnel);
            }
        },
        Way::Connected(interface) => neighbor(context, packet, meta, interface)?,
        Way::Local | Way::Blackhole | Way::Unreachable => return Err(DropReason::NoListener),
    }
    Ok(Passage::Goes)
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
) -> Option<Steered> {
    let bucket = bucket(packet, meta)?;
    let snapshot = &context.snapshot;
    let group = &snapshot.groups[group.index()];
    let up = |tunnel: TunnelId| snapshot.is_up(tunnel);
    let foreign = !meta.own && meta.tunnel_in.is_none();
    let steering = &mut context.steering[group.id.index()];
    if foreign && snapshot.interfaces[meta.interface.index()].site_link {
        // Never back: what the other engine of the site handed over leaves by a tunnel of our own.
        let own = *group.own.get(bucket.index() % group.own.len().max(1))?;
        steering.handed_over(bucket, context.now);
        return up(own).then_some(Steered::To { tunnel: own, moved: None });
    }
    let mut mark = None;
    let marks = &mut context.marks;
    let hold = |old| admit(marks, snapshot, group, old, context.now, &mut mark);
    let times = (group.flowlet_gap, group.move_deadline);
    let steered = steering.steer(&group.buckets, bucket, context.now, times, up, hold)?;
    let Steered::To { tunnel, moved } = steered else {
        if let Some((tunnel, sequence)) = mark {
            probe::mark(context, tunnel, sequence);
        }
        return Some(Steered::Waits);
    };
    if let Some(moved) = moved {
        context.counters.moved(moved.kind).add(1);
    }
    // From a tunnel of this group back into it: a loop, unless it is only the way to the standby.
    let loops = !meta.own
        && meta.tunnel_in.is_some_and(|from| group.members.contains(&from))
        && !is_direct(snapshot, tunnel);
    (!loops).then_some(steered)
}

/// The bucket of a packet's flow.
#[inline(always)]
pub fn bucket<P: Packet>(packet: &P, meta: &Meta) -> Option<Bucket> {
    flow::bucket(packet.data(), meta, HASH_SEED)
}

fn is_direct(snapshot: &Snapshot, tunnel: TunnelId) -> bool {
    snapshot.outer(tunnel).encapsulation == Encapsulation::Direct
}

/// The group's way to the other engine of the site, if that is up.
pub(crate) fn site_link(snapshot: &Snapshot, group: &Group) -> Option<TunnelId> {
    group.members.iter().copied().find(|tunnel| snapshot.is_up(*tunnel) && is_direct(snapshot, *tunnel))
}

/// Whether a bucket of `group` that leaves the `old` way is held; `mark` becomes the MARK to send.
#[cold]
fn admit<P>(
    marks: &mut Marks<P>,
    snapshot: &Snapshot,
    group: &Group,
    old: Old,
    now: Nanos,
    mark: &mut Option<(TunnelId, u32)>,
) -> bool {
    let (tunnel, bound, answers) = match old {
        Old::Link => match site_link(snapshot, group) {
            Some(link) => (link, LINK_BOUND, true),
            None => return false,
        },
        // The other engine would answer before it has sent on what came before: only time tells.
        Old::Tunnel(tunnel) if is_direct(snapshot, tunnel) => (tunnel, group.flowlet_gap, false),
        Old::Tunnel(tunnel) => (tunnel, Nanos(2 * group.flowlet_gap.0), true),
    };
    match marks.admit(Round { group: group.id, old, tunnel }, now, bound.max(BOUND_MIN)) {
        Admission::First { sequence } => {
            *mark = answers.then_some((tunnel, sequence));
            true
        }
        Admission::Admitted => true,
        Admission::Refused => false,
    }
}
