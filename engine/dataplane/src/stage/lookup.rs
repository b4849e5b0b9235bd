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
use arrayvec::ArrayVec;
use std::net::IpAddr;

/// Where an IPv4 header has its addresses (RFC 791 §3.1), and an IPv6 header (RFC 8200 §3).
struct Place {
    v4: usize,
    v6: usize,
}

const SOURCE: Place = Place { v4: 12, v6: 8 };
const DESTINATION: Place = Place { v4: 16, v6: 24 };

/// Finds the routes to the destinations of a burst, together: their cache misses overlap.
#[inline]
pub fn routes<P: Packet>(fib: &Fib, batch: &mut Batch<P>) {
    burst(fib, batch, DESTINATION, |meta, route| meta.route = route);
}

/// Finds the routes back to the sources of a burst.
#[inline]
pub fn reverse_routes<P: Packet>(fib: &Fib, batch: &mut Batch<P>) {
    burst(fib, batch, SOURCE, |meta, route| meta.reverse = route);
}

#[inline]
fn burst<P: Packet>(fib: &Fib, batch: &mut Batch<P>, at: Place, set: impl Fn(&mut Meta, NextHopId)) {
    let (mut v4, mut v6) = (ArrayVec::<u32, BURST>::new(), ArrayVec::<u128, BURST>::new());
    for (packet, meta) in batch.iter_mut() {
        // Parsed before. What is no IP packet (an ARP reply) is looked up in vain.
        let data = packet.data();
        match meta.version {
            Version::V4 => v4.push(bytes(data, at.v4).map_or(0, u32::from_be_bytes)),
            Version::V6 => v6.push(bytes(data, at.v6).map_or(0, u128::from_be_bytes)),
        }
    }
    let (mut routes4, mut routes6) = ([NextHopId::NONE; BURST], [NextHopId::NONE; BURST]);
    if !v4.is_empty() {
        fib.lookup4_burst(&v4, &mut routes4[..v4.len()]);
    }
    if !v6.is_empty() {
        fib.lookup6_burst(&v6, &mut routes6[..v6.len()]);
    }
    let (mut routes4, mut routes6) = (routes4.iter(), routes6.iter());
    for (_, meta) in batch.iter_mut() {
        let route = match meta.version {
            Version::V4 => routes4.next(),
            Version::V6 => routes6.next(),
        };
        set(meta, route.copied().unwrap_or_default());
    }
}

#[inline]
fn bytes<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..)?.first_chunk().copied()
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
    let (_, dst, _) = outer(packet, meta.version)?;
    meta.route = context.snapshot.fib.lookup(dst).unwrap_or(NextHopId::NONE);
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
