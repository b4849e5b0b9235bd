//! Takes tunnel headers off packets that are for a tunnel of this engine.

use super::Verdict;
use crate::context::{Context, Egress, Meta, SharedSa, Version, Wait};
use crate::drop_reason::DropReason;
use crate::id::{Spi, TunnelId, WorkerId};
use crate::message::Inbound;
use crate::packet::{Packet, PacketPool};
use crate::sa::SaError;
use crate::snapshot::{Demux, Encapsulation, Tunnel};
use crate::stage::steer::site_link;
use crate::stage::{parse, reassemble};
use crate::tunnel::{self, ecn, esp_udp, ip_in_ip};
use crate::wire::esp::Esp;
use crate::wire::flow::as_bits;
use crate::wire::gre::Gre;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::Ipv6Header;
use crate::wire::udp::UdpHeader;
use crate::wire::{self, EtherType, Protocol, TrafficClass, vxlan};
use std::net::{IpAddr, Ipv4Addr};

/// Source, destination and traffic class of the outermost header.
#[inline]
pub fn outer<P: Packet>(packet: &P, version: Version) -> Result<(IpAddr, IpAddr, TrafficClass), DropReason> {
    // Parsed before: only the view is taken, the checksum is known to be good.
    match version {
        Version::V4 => Ipv4Header::parse_quoted(packet.data())
            .map(|h| (h.src().into(), h.dst().into(), h.traffic_class())),
        Version::V6 => Ipv6Header::parse_quoted(packet.data())
            .map(|h| (h.src().into(), h.dst().into(), h.traffic_class())),
    }
    .map_err(|_| DropReason::BadIpHeader)
}

/// The worker that must handle this packet because it owns its SA, or joins its fragments, if that is another one. An
/// SA's replay window has one owner, whatever queue a packet was steered (or replayed) to.
#[inline]
pub fn owner<A: PacketPool>(context: &Context<A>, packet: &A::Packet, meta: &Meta) -> Option<WorkerId> {
    let owner = match meta.protocol {
        _ if meta.fragment && context.snapshot.wrapped().has(meta.protocol) => {
            reassemble::owner(context, packet, meta)?
        }
        Protocol::ESP => sa_owner(context, Esp::parse(packet.data().get(meta.upper as usize..)?).ok()?.spi),
        Protocol::UDP if context.snapshot.wrapped().has(Protocol::UDP) => {
            sa_owner(context, esp_udp::spi(packet, meta)?)
        }
        _ => return None,
    };
    (owner != context.id).then_some(owner)
}

fn sa_owner<A: PacketPool>(context: &Context<A>, Spi(spi): Spi) -> WorkerId {
    WorkerId((spi % u32::from(context.workers)) as u16)
}

/// Decapsulates what is for a tunnel of ours; everything else passes untouched.
#[inline(always)]
pub fn decap<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    match meta.protocol {
        Protocol::ESP => esp(context, packet, meta),
        Protocol::GRE => gre(context, packet, meta),
        other if context.snapshot.wrapped().has(other) => less_often(context, packet, meta),
        _ => Ok(()),
    }
}

/// The protocols with fewer packets: out of the way of the others.
#[inline(never)]
fn less_often<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    match meta.protocol {
        Protocol::IPV4 | Protocol::IPV6 => ip_in_ip::decap(context, packet, meta),
        Protocol::UDP if !meta.fragment => {
            let datagram = packet.data().get(meta.upper as usize..).ok_or(DropReason::Truncated)?;
            match UdpHeader::parse(datagram).map(|(header, _)| header.dst_port()) {
                Ok(vxlan::PORT) => tunnel::vxlan::decap(context, packet, meta),
                Ok(wire::esp_udp::PORT) => esp_udp::decap(context, packet, meta),
                Ok(_) if context.snapshot.has_wireguard() => tunnel::wireguard::decap(context, packet, meta),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// What is between others passes.
#[cold]
pub(crate) fn unless_transit<A: PacketPool>(
    context: &Context<A>,
    packet: &A::Packet,
    meta: &Meta,
    reason: DropReason,
) -> Verdict {
    let (_, dst, _) = outer(packet, meta.version)?;
    if context.snapshot.is_local(dst) { Err(reason) } else { Ok(()) }
}

/// As [`outer`], the addresses as [`as_bits`] has them: parse has noted those of IPv4.
#[inline(always)]
pub(crate) fn ends<P: Packet>(packet: &P, meta: &Meta) -> Result<(u128, u128, TrafficClass), DropReason> {
    let mapped = |bits: u32| as_bits(Ipv4Addr::from_bits(bits).into());
    match (meta.version, packet.data()) {
        (Version::V4, &[_, class, ..]) => Ok((mapped(meta.src_v4), mapped(meta.dst_v4), TrafficClass(class))),
        _ => outer(packet, meta.version).map(|(src, dst, class)| (as_bits(src), as_bits(dst), class)),
    }
}

fn esp<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    let (src, dst, class) = ends(packet, meta)?;
    if meta.fragment {
        // RFC 4303 §3.4.1; what could be joined has been.
        return unless_transit(context, packet, meta, DropReason::FragmentedTunnel);
    }
    let at = meta.upper as usize;
    open(context, packet, meta, (at, class), |tunnel| {
        (as_bits(tunnel.remote), as_bits(tunnel.local)) == (src, dst)
    })
}

/// Opens the ESP that begins `at` bytes into the packet, under an outer header of `class`, if its SA is of a tunnel that
/// is `ours`.
#[inline(always)]
pub(crate) fn open<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &mut Meta,
    (at, class): (usize, TrafficClass),
    ours: impl Fn(&Tunnel) -> bool,
) -> Verdict {
    let payload = packet.data().get(at..).ok_or(DropReason::Truncated)?;
    let Ok(Esp { spi, .. }) = Esp::parse(payload) else {
        return unless_transit(context, packet, meta, DropReason::BadEncapsulation);
    };
    let tunnels = &context.snapshot.tunnels;
    let to_us = |inbound: &&mut Box<Inbound>| ours(&tunnels[inbound.tunnel.index()]);
    let Some(inbound) = context.sas.inbound.get_mut(&spi).filter(to_us) else {
        return unknown(context, packet, meta, spi, ours);
    };
    let tunnel = inbound.tunnel;
    packet.adj(at);
    let inner = match inbound.sa.open(packet) {
        Ok(inner) => inner,
        Err(SaError::Replay) => return Err(DropReason::Replayed),
        Err(SaError::Authentication) => return Err(DropReason::Authentication),
        Err(SaError::Ahead) => return ahead(context, packet, meta, spi, class),
        Err(_) => return Err(DropReason::BadEncapsulation),
    };
    let expected = if inner == Protocol::IPV6.0 { 6 } else { 4 };
    if packet.data().first().is_none_or(|byte| byte >> 4 != expected) {
        return Err(DropReason::BadEncapsulation);
    }
    inside(context, packet, meta, tunnel, class)
}

/// The packet is the inner one already, but its number may not be accepted yet.
#[cold]
fn ahead<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &mut Meta,
    spi: Spi,
    class: TrafficClass,
) -> Verdict {
    let inbound = context.sas.inbound.get(&spi).ok_or(DropReason::UnknownSpi)?;
    let (tunnel, (seq, inner)) = (inbound.tunnel, inbound.sa.ahead());
    let expected = if inner == Protocol::IPV6.0 { 6 } else { 4 };
    if packet.data().first().is_none_or(|byte| byte >> 4 != expected) {
        return Err(DropReason::BadEncapsulation);
    }
    inside(context, packet, meta, tunnel, class)?;
    wait(context, meta, Wait::ToAccept(spi, seq))
}

/// An SA that is not here: the site's owner has it, or has handed it over and it is on its way here; or it is nobody's.
#[cold]
fn unknown<A: PacketPool>(
    context: &mut Context<A>,
    packet: &A::Packet,
    meta: &mut Meta,
    spi: Spi,
    ours: impl Fn(&Tunnel) -> bool,
) -> Verdict {
    let (snapshot, sas) = (&context.snapshot, &context.sas);
    let here = sas.inbound.contains_key(&spi);
    let shared =
        |shared: &&SharedSa| shared.spi == spi && !here && ours(&snapshot.tunnels[shared.tunnel.index()]);
    let shared = sas.shared.iter().find(shared).map(|shared| shared.tunnel);
    let handed_over = snapshot.interfaces[meta.interface.index()].site_link;
    match (shared, unless_transit(context, packet, meta, DropReason::UnknownSpi)) {
        (None, verdict) => verdict,
        // What the last owner hands over may be here before this engine knows that it is the next one.
        (Some(_), verdict) if verdict.is_err() || handed_over => wait(context, meta, Wait::ToOpen(spi)),
        (Some(tunnel), _) => {
            to_owner(context, meta, tunnel);
            Ok(())
        }
    }
}

/// The far end has not heard yet that the gateway's address is another engine's: what still comes goes there by the site link.
fn to_owner<A: PacketPool>(context: &Context<A>, meta: &mut Meta, tunnel: TunnelId) {
    let snapshot = &context.snapshot;
    let group = snapshot.groups.iter().find(|group| group.members.contains(&tunnel));
    if let Some(link) = group.and_then(|group| site_link(snapshot, group)) {
        meta.egress = Egress::Tunnel(link);
    }
}

fn wait<A: PacketPool>(context: &mut Context<A>, meta: &mut Meta, wait: Wait) -> Verdict {
    context.sas.waits.try_push(wait).map_err(|_| DropReason::Unreserved)?;
    meta.waits = true;
    Ok(())
}

fn gre<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    let (src, dst, class) = ends(packet, meta)?;
    if meta.fragment {
        return unless_transit(context, packet, meta, DropReason::FragmentedTunnel);
    }
    let payload = packet.data().get(meta.upper as usize..).ok_or(DropReason::Truncated)?;
    let Ok((header, length)) = Gre::parse(payload) else {
        return unless_transit(context, packet, meta, DropReason::BadEncapsulation);
    };
    let Some(tunnel) = context.snapshot.tunnel(src, dst, Demux::Gre(header.key)) else {
        return unless_transit(context, packet, meta, DropReason::UnknownTunnel);
    };
    let Encapsulation::Gre { sequence, .. } = context.snapshot.tunnels[tunnel.index()].encapsulation else {
        return Err(DropReason::UnknownTunnel);
    };
    let expected = match header.protocol {
        EtherType::IPV4 => 4,
        EtherType::IPV6 => 6,
        _ => return Err(DropReason::BadEncapsulation),
    };
    if payload.get(length).is_none_or(|byte| byte >> 4 != expected) {
        return Err(DropReason::BadEncapsulation);
    }
    if sequence {
        in_sequence(&mut context.sequences[tunnel.index()].gre_rx, header.sequence)?;
    }
    packet.adj(meta.upper as usize + length);
    inside_here(context, packet, meta, tunnel, class)
}

/// RFC 2890 §2.2: the last number and the 2^31 − 1 before it are out of sequence.
fn in_sequence(last: &mut Option<u32>, number: Option<u32>) -> Verdict {
    let number = number.ok_or(DropReason::BadEncapsulation)?;
    if let Some(last) = *last
        && last.wrapping_sub(number) < 1 << 31
    {
        return Err(DropReason::OutOfSequence);
    }
    *last = Some(number);
    Ok(())
}

/// The inner packet takes the place of the outer one. Out of line: what opens ESP is large enough without it.
#[inline(never)]
pub(crate) fn inside<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &mut Meta,
    tunnel: TunnelId,
    outer: TrafficClass,
) -> Verdict {
    inside_here(context, packet, meta, tunnel, outer)
}

#[inline(always)]
fn inside_here<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &mut Meta,
    tunnel: TunnelId,
    outer: TrafficClass,
) -> Verdict {
    *meta = Meta { interface: meta.interface, tunnel_in: Some(tunnel), trace: meta.trace, ..Meta::default() };
    parse::inner(packet, meta)?;
    ecn::decap(packet.data_mut(), meta.version, outer)?;
    context.counters.tunnel(tunnel.index()).rx.count(packet.len());
    Ok(())
}
