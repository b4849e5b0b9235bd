//! What being forwarded asks of a packet: a lease, a hop, a size that fits, an MSS that will.

use super::Verdict;
use crate::context::{Context, Egress, Meta, Version};
use crate::drop_reason::DropReason;
use crate::packet::{Packet, PacketPool};
use crate::snapshot::Encapsulation;
use crate::stage::fragment;
use crate::stage::icmp_error::{self, Problem};
use crate::wire::Protocol;
use crate::wire::ipv4::{self, Ipv4Header};
use crate::wire::ipv6::{self, Ipv6Header};
use crate::wire::tcp::{self, TcpHeader};

/// IP and TCP headers without options: what an MSS leaves out of an MTU (RFC 9293 §3.7.1).
const MSS_OVERHEAD_V4: u16 = 40;
const MSS_OVERHEAD_V6: u16 = 60;

/// Checks and changes a packet that has found its way out.
#[inline(always)]
pub fn forward<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    let (mtu, handed_over) = match meta.egress {
        Egress::Tunnel(tunnel) => {
            let outer = context.snapshot.outer(tunnel);
            (outer.mtu, outer.encapsulation == Encapsulation::Direct)
        }
        Egress::Adjacency(id) => (context.snapshot.adjacencies.get(id).mtu, false),
        Egress::Neighbor { interface, .. } => (context.snapshot.interfaces[interface.index()].mtu, false),
        _ => return Ok(()),
    };
    if !meta.own {
        permitted(context, meta)?;
        match handed_over {
            true => has_hop(context, packet, meta)?,
            false => take_hop(context, packet, meta)?,
        }
        if meta.protocol == Protocol::TCP {
            clamp(context, packet, meta);
        }
    }
    fits(context, packet, meta, mtu)
}

/// Whether this engine may forward at all, and what came out of this tunnel.
#[inline(always)]
fn permitted<A: PacketPool>(context: &Context<A>, meta: &Meta) -> Verdict {
    if !context.may_forward() {
        return Err(DropReason::LeaseExpired);
    }
    if meta.tunnel_in.is_some_and(|tunnel| context.snapshot.tunnels[tunnel.index()].fenced) {
        return Err(DropReason::StaleEpoch);
    }
    if meta.link_local { Err(DropReason::Martian) } else { Ok(()) }
}

/// One hop less, or time exceeded. The site link is no hop: the standby takes it.
#[inline(always)]
fn take_hop<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &Meta) -> Verdict {
    let taken = match meta.version {
        Version::V4 => Ipv4Header::of(packet.data_mut()).map(Ipv4Header::decrement_ttl),
        Version::V6 => Ipv6Header::of(packet.data_mut()).map(Ipv6Header::decrement_hop_limit),
    };
    match taken {
        Ok(true) => Ok(()),
        Ok(false) => {
            icmp_error::send(context, packet, meta, Problem::TimeExceeded);
            Err(DropReason::TtlExpired)
        }
        Err(_) => Err(DropReason::BadIpHeader),
    }
}

/// The site link takes no hop, but what has none left goes over no link (RFC 1812 §4.2.2.9).
#[inline(always)]
fn has_hop<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &Meta) -> Verdict {
    let at = if meta.version == Version::V4 { ipv4::TTL } else { ipv6::HOP_LIMIT };
    if packet.data().get(at).is_some_and(|hops| *hops > 0) {
        return Ok(());
    }
    icmp_error::send(context, packet, meta, Problem::TimeExceeded);
    Err(DropReason::TtlExpired)
}

/// Lowers the MSS of a SYN to what the tunnel it takes, or came by, carries.
#[inline(always)]
fn clamp<A: PacketPool>(context: &Context<A>, packet: &mut A::Packet, meta: &Meta) {
    let tunnel_out = match meta.egress {
        Egress::Tunnel(tunnel) => Some(tunnel),
        _ => None,
    };
    let segment = packet.data().get(meta.upper as usize..).unwrap_or_default();
    if !meta.has_upper
        || tunnel_out.or(meta.tunnel_in).is_none()
        || !TcpHeader::parse(segment).is_ok_and(TcpHeader::is_syn)
    {
        return;
    }
    let snapshot = &context.snapshot;
    let mtu = [tunnel_out, meta.tunnel_in]
        .into_iter()
        .flatten()
        .filter(|&tunnel| snapshot.outer(tunnel).mss_clamp)
        .map(|tunnel| snapshot.tunnels[tunnel.index()].mtu)
        .min();
    let overhead = if meta.version == Version::V4 { MSS_OVERHEAD_V4 } else { MSS_OVERHEAD_V6 };
    if let Some(mtu) = mtu
        && let Some(segment) = packet.data_mut().get_mut(meta.upper as usize..)
    {
        // A malformed segment is the hosts' business.
        let _ = tcp::clamp_mss(segment, mtu.saturating_sub(overhead));
    }
}

/// Fragments or refuses what does not fit.
#[inline(always)]
fn fits<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &Meta, mtu: u16) -> Verdict {
    if packet.len() <= usize::from(mtu) {
        return Ok(());
    }
    let whole = meta.version == Version::V6
        || Ipv4Header::of(packet.data_mut()).map_or(true, |header| header.fragmentation().dont_fragment);
    if whole {
        icmp_error::send(context, packet, meta, Problem::TooBig { mtu });
        return Err(DropReason::TooBig);
    }
    fragment::fragment(context, packet, meta, mtu)
}
