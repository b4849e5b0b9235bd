//! Joins the fragments of tunnel packets that are for this engine (RFC 4303 §3.4.1: ESP is processed whole; RFC 2784 §2.5
//! leaves GRE to its delivery protocol). Only what comes from a tunnel's far end to its near end is kept: nobody else
//! can make a worker hold packets.

use crate::batch::Batch;
use crate::context::{Context, Meta};
use crate::id::WorkerId;
use crate::packet::{Packet, PacketPool};
use crate::reassembly::Reassembly;
use crate::stage::{decap, parse};
use crate::wire::flow::FlowKey;

/// Whether a packet may be a fragment of one for a tunnel of ours.
#[inline]
pub fn is_wanted(meta: &Meta) -> bool {
    meta.fragment && decap::is_tunnelled(meta)
}

/// Whether it comes from the far end of a tunnel and is for the near end.
fn is_between_ends<A: PacketPool>(context: &Context<A>, packet: &A::Packet, meta: &Meta) -> bool {
    let Ok((src, dst, _)) = decap::outer(packet, meta.version) else { return false };
    context.snapshot.tunnels.iter().any(|tunnel| (tunnel.remote, tunnel.local) == (src, dst))
}

/// The worker that joins this fragment with the others of its datagram: all of them, whatever queue they came by.
#[cold]
pub fn owner<A: PacketPool>(context: &Context<A>, packet: &A::Packet, meta: &Meta) -> Option<WorkerId> {
    if !is_between_ends(context, packet, meta) {
        return None;
    }
    let flow = FlowKey::of(packet.data()).ok()?;
    Some(WorkerId((flow.hash(0) % u64::from(context.workers)) as u16))
}

/// Takes such fragments out of `batch`, and puts those datagrams in that are whole now.
#[cold]
pub fn reassemble<A: PacketPool>(
    context: &mut Context<A>,
    reassembly: &mut Reassembly<A::Packet>,
    batch: &mut Batch<A::Packet>,
) {
    let mut i = 0;
    while i < batch.len() {
        let (packet, meta) = batch.get(i);
        if !is_wanted(meta) || !is_between_ends(context, packet, meta) {
            i += 1;
            continue;
        }
        let mut slot = batch.remove(i);
        let Context { now, pool, counters, .. } = &mut *context;
        let whole = reassembly.push(slot.packet, *now, pool, &mut |reason| counters.dropped(reason).add(1));
        let Some(packet) = whole else { continue };
        slot.packet = packet;
        slot.meta = Meta { interface: slot.meta.interface, link_src: slot.meta.link_src, ..Meta::NEW };
        let verdict = parse::ip_header(&mut slot.packet, &mut slot.meta);
        if context.passes(verdict) {
            batch.push(slot);
        }
    }
}
