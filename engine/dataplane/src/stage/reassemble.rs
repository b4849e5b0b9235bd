//! Joins fragments where the walk needs the whole. Of tunnel packets that are for this engine (RFC 4303 §3.4.1: ESP is
//! processed whole; RFC 2784 §2.5 leaves GRE to its delivery protocol) only those from a tunnel's far end to its near end.
//! Of what an access list or a NAT is asked about, all of IPv4: only the first fragment shows ports (RFC 1858 §3). The
//! whole goes on in fragments for the MTU of its way out. IPv6 is never fragmented by a router (RFC 8200 §5), so what is
//! asked about there stays in its fragments, and the later ones show no ports.

use crate::batch::Batch;
use crate::context::{Context, Meta, Version};
use crate::id::WorkerId;
use crate::packet::{Packet, PacketPool};
use crate::reassembly::Reassembly;
use crate::stage::{decap, parse};
use crate::wire::flow;

/// Whether an access list or a NAT, if there is one, must see the whole packet.
#[inline]
pub fn is_asked_about(meta: &Meta) -> bool {
    meta.fragment && meta.version == Version::V4
}

/// Whether it comes from the far end of a tunnel and is for the near end.
pub fn is_between_ends<A: PacketPool>(context: &Context<A>, packet: &A::Packet, meta: &Meta) -> bool {
    let Ok((src, dst, _)) = decap::outer(packet, meta.version) else { return false };
    context.snapshot.tunnels.iter().any(|tunnel| (tunnel.remote, tunnel.local) == (src, dst))
}

/// The worker that joins this fragment with the others of its datagram: all of them, whatever queue they came by.
#[cold]
pub fn owner<A: PacketPool>(context: &Context<A>, packet: &A::Packet, meta: &Meta) -> Option<WorkerId> {
    if !is_between_ends(context, packet, meta) {
        return None;
    }
    let bucket = flow::bucket(packet.data(), meta, 0)?;
    Some(WorkerId(bucket.0 % context.workers))
}

/// Takes the fragments that are `wanted` out of `batch`, and puts those datagrams in that are whole now.
#[cold]
pub fn reassemble<A: PacketPool>(
    context: &mut Context<A>,
    reassembly: &mut Reassembly<A::Packet>,
    batch: &mut Batch<A::Packet>,
    wanted: impl Fn(&Context<A>, &A::Packet, &Meta) -> bool,
) {
    let mut i = 0;
    while i < batch.len() {
        let (packet, meta) = batch.get(i);
        if !wanted(context, packet, meta) {
            i += 1;
            continue;
        }
        let mut slot = batch.remove(i);
        let Context { now, pool, counters, .. } = &mut *context;
        let whole = reassembly.push(slot.packet, *now, pool, &mut |reason| counters.dropped(reason).add(1));
        let Some(packet) = whole else { continue };
        slot.packet = packet;
        let Meta { interface, link_src, tunnel_in, trace, .. } = slot.meta;
        slot.meta = Meta { interface, link_src, tunnel_in, trace, ..Meta::NEW };
        let verdict = parse::ip_header(&mut slot.packet, &mut slot.meta);
        if context.passes(verdict) {
            batch.push(slot);
        }
    }
}
