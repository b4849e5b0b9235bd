//! The route of a packet, and what happens to one that is for this engine.

use crate::batch::Batch;
use crate::context::{Context, Egress, Meta, Version};
use crate::drop_reason::DropReason;
use crate::fib::Fib;
use crate::id::NextHopId;
use crate::packet::{BURST, Packet, PacketPool};
use crate::snapshot::Way;
use crate::stage::decap::outer;
use crate::stage::icmp_error::{self, Problem};
use crate::stage::local;
use crate::wire::ipv6::Ipv6Header;
use arrayvec::ArrayVec;
use std::net::IpAddr;

/// Finds the routes to the destinations of a burst, together: their cache misses overlap.
#[inline]
pub fn routes<P: Packet>(fib: &Fib, batch: &mut Batch<P>) {
    let dst_v6 = |header: &Ipv6Header| header.dst().to_bits();
    burst(fib, batch, |meta| meta.dst_v4, dst_v6, |meta, route| meta.route = route);
}

/// Finds the routes back to the sources of a burst.
#[inline]
pub fn reverse_routes<A: PacketPool>(context: &mut Context<A>, batch: &mut Batch<A::Packet>) {
    let Context { snapshot, reverse, .. } = context;
    reverse.renew(snapshot.fib.epoch());
    let mut all_known = true;
    for meta in batch.metas_mut() {
        let (route, known) = reverse.get(meta.src_v4);
        meta.reverse = route;
        all_known &= known & (meta.version == Version::V4);
    }
    if all_known {
        return;
    }
    let src_v6 = |header: &Ipv6Header| header.src().to_bits();
    burst(&snapshot.fib, batch, |meta| meta.src_v4, src_v6, |meta, route| meta.reverse = route);
    for meta in batch.metas().iter().filter(|meta| meta.version == Version::V4) {
        reverse.put(meta.src_v4, meta.reverse);
    }
}

#[inline(always)]
fn burst<P: Packet>(
    fib: &Fib,
    batch: &mut Batch<P>,
    v4: impl Fn(&Meta) -> u32,
    v6: impl Fn(&Ipv6Header) -> u128,
    set: impl Fn(&mut Meta, NextHopId),
) {
    let (mut keys, mut routes, many) = ([0; BURST], [NextHopId::NONE; BURST], batch.len());
    // IPv6 packets too: what is found for them is replaced below.
    for (key, meta) in keys.iter_mut().zip(batch.metas()) {
        *key = v4(meta);
    }
    fib.lookup4_burst(&keys[..many], &mut routes[..many]);
    for (meta, &route) in batch.metas_mut().iter_mut().zip(&routes) {
        set(meta, route);
    }
    if batch.metas().iter().any(|meta| meta.version == Version::V6) {
        burst_v6(fib, batch, v6, set);
    }
}

#[inline(never)]
fn burst_v6<P: Packet>(
    fib: &Fib,
    batch: &mut Batch<P>,
    v6: impl Fn(&Ipv6Header) -> u128,
    set: impl Fn(&mut Meta, NextHopId),
) {
    let (mut keys, mut routes) = (ArrayVec::<u128, BURST>::new(), [NextHopId::NONE; BURST]);
    for (packet, meta) in batch.iter_mut() {
        if meta.version == Version::V6 {
            keys.push(Ipv6Header::parse_quoted(packet.data()).map_or(0, &v6));
        }
    }
    fib.lookup6_burst(&keys, &mut routes[..keys.len()]);
    let v6_metas = batch.metas_mut().iter_mut().filter(|meta| meta.version == Version::V6);
    for (meta, &route) in v6_metas.zip(&routes) {
        set(meta, route);
    }
}

/// The way that the route found by [`routes`] leads; `None` if where the packet goes is known otherwise.
#[inline(always)]
pub fn lookup<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &mut Meta,
) -> Result<Option<Way>, DropReason> {
    if !matches!(meta.egress, Egress::Unknown) {
        return Ok(None);
    }
    if meta.version == Version::V6
        && let (_, dst, _) = outer(packet, meta.version)?
        && is_link_scoped(dst)
    {
        return on_link(context, packet, meta, dst);
    }
    match context.snapshot.way(meta.route) {
        Way::Local => deliver(context, packet, meta),
        Way::Blackhole => Err(DropReason::Blackhole),
        Way::Unreachable => {
            icmp_error::send(context, packet, meta, Problem::NoRoute);
            Err(DropReason::NoRoute)
        }
        way => Ok(Some(way)),
    }
}

/// To this engine itself. A reply made in place finds its own way.
#[cold]
fn deliver<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &mut Meta,
) -> Result<Option<Way>, DropReason> {
    local::deliver(context, packet, meta)?;
    *meta = meta.addressed(packet.data());
    let (_, dst, _) = outer(packet, meta.version)?;
    meta.route = context.snapshot.route(dst);
    // Own by now, so that it is not delivered again.
    lookup(context, packet, meta)
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
) -> Result<Option<Way>, DropReason> {
    if meta.own && !dst.is_multicast() {
        // An answer goes back to the link that asked.
        meta.egress = Egress::Neighbor { interface: meta.interface, ip: dst };
        return Ok(None);
    }
    deliver(context, packet, meta)
}
