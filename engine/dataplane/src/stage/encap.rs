//! Puts a packet into the tunnel it was steered to.

use super::Verdict;
use crate::context::{Context, Egress, Meta, Version};
use crate::drop_reason::DropReason;
use crate::id::TunnelId;
use crate::message::Event;
use crate::packet::{Packet, PacketPool};
use crate::sa::{OutboundSa, SaError};
use crate::snapshot::Encapsulation;
use crate::tunnel::template::{Template, flow_label};
use crate::tunnel::{ecn, wireguard};
use crate::wire::{Protocol, TrafficClass, flow};
use sync::ring::Producer;

/// Encapsulates, and makes the tunnel's next hop the neighbour to reach.
#[inline(always)]
pub fn encap<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    let Egress::Tunnel(id) = meta.egress else { return Ok(()) };
    let length = packet.len();
    // RFC 6040 §4.1 normal mode: the outer header says what the inner one says.
    let class = ecn::class_of(packet.data(), meta.version).ok_or(DropReason::BadIpHeader)?;
    let outer = context.snapshot.outer(id);
    meta.egress = Egress::Adjacency(outer.adjacency);
    // Without headers, endpoints of two IP versions say, nothing may leave as if it were in the tunnel.
    let template = || outer.template.as_ref().ok_or(DropReason::UnknownTunnel);
    let written = match outer.encapsulation {
        Encapsulation::Esp => {
            let template = template()?;
            let Some(sa) = context.sas.outbound[id.index()].as_mut() else {
                return context.sas.without(id, meta);
            };
            seal(sa, packet, meta, template.length())?;
            report_soft_limit(sa, &mut context.events, id);
            // The flows in it are hidden: SPIs are what the underlay can spread them by.
            template.write(packet.data_mut(), meta.version, class, None, |_| 0)
        }
        Encapsulation::Gre { sequence: false, .. } => {
            template()?.prepend(packet, meta.version, class, None, |inner| label(inner, meta))
        }
        Encapsulation::Gre { sequence: true, .. } => {
            let next = &mut context.sequences[id.index()].gre_tx;
            let sequence = *next;
            *next = sequence.wrapping_add(1);
            template()?.prepend(packet, meta.version, class, Some(sequence), |inner| label(inner, meta))
        }
        Encapsulation::Direct => Some(()),
        Encapsulation::EspUdp(_)
        | Encapsulation::IpIp
        | Encapsulation::Vxlan(_)
        | Encapsulation::WireGuard(_) => {
            return less_often(context, packet, meta, id, class);
        }
    };
    written.ok_or(DropReason::NoRoom)?;
    meta.version = outer.template.as_ref().map_or(meta.version, Template::outer);
    if meta.forwarded() {
        context.counters.tunnel(id.index()).tx.count(length);
    }
    Ok(())
}

/// The same for the protocols with fewer packets: out of the way of the others.
#[inline(never)]
fn less_often<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &mut Meta,
    id: TunnelId,
    class: TrafficClass,
) -> Verdict {
    let (outer, length) = (context.snapshot.outer(id), packet.len());
    let template = outer.template.as_ref().ok_or(DropReason::UnknownTunnel)?;
    let entropy = match outer.encapsulation {
        Encapsulation::EspUdp(_) => {
            let Some(sa) = context.sas.outbound[id.index()].as_mut() else {
                return context.sas.without(id, meta);
            };
            seal(sa, packet, meta, template.length())?;
            report_soft_limit(sa, &mut context.events, id);
            0
        }
        Encapsulation::WireGuard(_) => {
            let room = (template.length(), outer.mtu);
            if wireguard::seal(&mut context.sas.keypairs[id.index()], packet, room, context.now)? {
                let _ = context.events.push(Event::SoftLimit(id));
            }
            context.counters.wireguard(id.index()).sent.add(1);
            0
        }
        _ => {
            let entropy = flow::entropy(packet.data(), meta);
            packet.prepend(template.length()).ok_or(DropReason::NoRoom)?;
            entropy
        }
    };
    template.write_spread(packet.data_mut(), meta.version, class, entropy).ok_or(DropReason::NoRoom)?;
    meta.version = template.outer();
    if meta.forwarded() {
        context.counters.tunnel(id.index()).tx.count(length);
    }
    Ok(())
}

/// The flow label over the packet that `inner` begins with.
fn label(inner: &[u8], meta: &Meta) -> u32 {
    flow_label(flow::entropy(inner, meta))
}

/// ESP around the packet, behind `room` bytes for the outer header.
#[inline(always)]
fn seal<P: Packet>(sa: &mut OutboundSa, packet: &mut P, meta: &Meta, room: usize) -> Verdict {
    let inner = if meta.version == Version::V4 { Protocol::IPV4 } else { Protocol::IPV6 };
    sa.seal_behind(packet, inner.0, room).map_err(|error| match error {
        SaError::SeqExhausted => DropReason::SaExhausted,
        _ => DropReason::NoRoom,
    })
}

/// Repeated, in case a report was lost to a full ring.
#[inline(always)]
fn report_soft_limit(sa: &OutboundSa, events: &mut Producer<Event>, id: TunnelId) {
    if sa.needs_rekey() && sa.sent().is_multiple_of(256) {
        let _ = events.push(Event::SoftLimit(id));
    }
}
