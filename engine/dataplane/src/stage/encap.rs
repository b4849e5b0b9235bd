//! Puts a packet into the tunnel it was steered to.

use super::Verdict;
use crate::context::{Context, Egress, Meta, Version};
use crate::drop_reason::DropReason;
use crate::id::TunnelId;
use crate::message::Event;
use crate::packet::{Packet, PacketPool};
use crate::sa::SaError;
use crate::snapshot::Encapsulation;
use crate::tunnel::ecn;
use crate::wire::Protocol;

/// Encapsulates, and makes the tunnel's next hop the neighbour to reach.
#[inline(always)]
pub fn encap<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    let Egress::Tunnel(id) = meta.egress else { return Ok(()) };
    let length = packet.len();
    // RFC 6040 §4.1 normal mode: the outer header says what the inner one says.
    let class = ecn::class_of(packet.data(), meta.version).ok_or(DropReason::BadIpHeader)?;
    let mut sequence = None;
    match context.snapshot.tunnels[id.index()].encapsulation {
        Encapsulation::Esp => seal(context, packet, meta, id)?,
        Encapsulation::Gre { sequence: true, .. } => {
            let next = &mut context.sequences[id.index()].gre_tx;
            sequence = Some(*next);
            *next = next.wrapping_add(1);
        }
        Encapsulation::Gre { .. } | Encapsulation::Direct => {}
    }
    let outer = context.snapshot.outer(id);
    meta.egress = Egress::Adjacency(outer.adjacency);
    if let Some(template) = &outer.template {
        template.prepend(packet, meta.version, class, sequence).ok_or(DropReason::NoRoom)?;
        meta.version = template.outer();
    }
    if meta.forwarded() {
        context.counters.tunnel(id.index()).tx.count(length);
    }
    Ok(())
}

/// ESP around the packet, without the outer IP header.
#[inline]
fn seal<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &Meta,
    id: TunnelId,
) -> Verdict {
    let inner = if meta.version == Version::V4 { Protocol::IPV4 } else { Protocol::IPV6 };
    let sa = context.sas.outbound[id.index()].as_mut().ok_or(DropReason::NoSa)?;
    sa.seal(packet, inner.0).map_err(|error| match error {
        SaError::SeqExhausted => DropReason::SaExhausted,
        _ => DropReason::NoRoom,
    })?;
    // Repeated, in case a report was lost to a full ring.
    if sa.needs_rekey() && sa.sent().is_multiple_of(256) {
        let _ = context.events.push(Event::SoftLimit(id));
    }
    Ok(())
}
