//! Puts a packet into the tunnel it was steered to.

use super::Verdict;
use super::local::TTL;
use crate::context::{Context, Egress, Meta, Version};
use crate::drop_reason::DropReason;
use crate::message::Event;
use crate::packet::{Packet, PacketPool};
use crate::sa::SaError;
use crate::snapshot::{Encapsulation, Tunnel};
use crate::tunnel::ecn;
use crate::wire::gre::Gre;
use crate::wire::ipv4::{Fragmentation, Ipv4Fields};
use crate::wire::ipv6::Ipv6Fields;
use crate::wire::{EtherType, Protocol, TrafficClass, ipv4, ipv6};
use std::net::IpAddr;

/// Encapsulates, and makes the tunnel's far end the next neighbour to reach.
#[inline]
pub fn encap<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    let Egress::Tunnel(id) = meta.egress else { return Ok(()) };
    let tunnel = &context.snapshot.tunnels[id.index()];
    meta.egress = Egress::Neighbor { interface: tunnel.interface, ip: tunnel.next_hop };
    let length = packet.len();
    // RFC 6040 §4.1 normal mode: the outer header says what the inner one says.
    let class = ecn::traffic_class(packet.data())?;
    match tunnel.encapsulation {
        Encapsulation::Direct => {}
        Encapsulation::Gre { key, sequence } => {
            let next = &mut context.sequences[id.index()].gre_tx;
            let sequence = sequence.then_some(*next);
            *next = next.wrapping_add(1);
            let protocol = if meta.version == Version::V4 { EtherType::IPV4 } else { EtherType::IPV6 };
            gre(packet, Gre { protocol, key, sequence })?;
            outer(packet, tunnel, Protocol::GRE, class)?;
        }
        Encapsulation::Esp => {
            let inner = if meta.version == Version::V4 { Protocol::IPV4 } else { Protocol::IPV6 };
            let sa = context.sas.outbound[id.index()].as_mut().ok_or(DropReason::NoSa)?;
            sa.seal(packet, inner.0).map_err(|error| match error {
                SaError::SeqExhausted => DropReason::SaExhausted,
                _ => DropReason::NoRoom,
            })?;
            // Repeated, in case a report was lost to a full ring.
            let soft = sa.needs_rekey() && sa.sent().is_multiple_of(256);
            outer(packet, tunnel, Protocol::ESP, class)?;
            if soft {
                let _ = context.events.push(Event::SoftLimit(id));
            }
        }
    }
    if meta.forwarded() {
        context.counters.tunnel(id.index()).tx.count(length);
    }
    Ok(())
}

fn gre<P: Packet>(packet: &mut P, header: Gre) -> Verdict {
    let data = packet.prepend(header.length()).ok_or(DropReason::NoRoom)?;
    header.write(data).map(|_| ()).map_err(|_| DropReason::NoRoom)
}

/// The outer IP header. DF is set: the tunnel's MTU follows the path's (RFC 1191), and a fragment of ESP would be
/// dropped at the far end (RFC 4303 §3.4.1).
#[inline]
fn outer<P: Packet>(packet: &mut P, tunnel: &Tunnel, protocol: Protocol, class: TrafficClass) -> Verdict {
    let payload_length = u16::try_from(packet.len()).map_err(|_| DropReason::NoRoom)?;
    let written = match (tunnel.local, tunnel.remote) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let fields = Ipv4Fields {
                traffic_class: class,
                payload_length,
                id: 0,
                fragmentation: Fragmentation { dont_fragment: true, more: false, offset: 0 },
                ttl: TTL,
                protocol,
                src,
                dst,
            };
            packet.prepend(ipv4::HEADER_LENGTH).map(|data| fields.write(data))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let fields = Ipv6Fields {
                traffic_class: class,
                flow_label: 0,
                payload_length,
                next_header: protocol,
                hop_limit: TTL,
                src,
                dst,
            };
            packet.prepend(ipv6::HEADER_LENGTH).map(|data| fields.write(data))
        }
        _ => return Err(DropReason::BadEncapsulation),
    };
    written.ok_or(DropReason::NoRoom)?.map(|_| ()).map_err(|_| DropReason::NoRoom)
}
