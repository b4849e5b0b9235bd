//! IP in IP: IPv4 or IPv6 right behind an IPv4 header (RFC 2003, RFC 4213 §3) or an IPv6 header (RFC 2473).

use crate::context::{Context, Meta};
use crate::drop_reason::DropReason;
use crate::packet::{Packet, PacketPool};
use crate::snapshot::Demux;
use crate::stage::Verdict;
use crate::stage::decap::{ends, inside, unless_transit};
use crate::wire::Protocol;

/// Takes the outer header off a packet that is for a tunnel of ours.
pub fn decap<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    let (src, dst, class) = ends(packet, meta)?;
    if meta.fragment {
        return unless_transit(context, packet, meta, DropReason::FragmentedTunnel);
    }
    let Some(tunnel) = context.snapshot.tunnel(src, dst, Demux::IpIp) else {
        return unless_transit(context, packet, meta, DropReason::UnknownTunnel);
    };
    let version = if meta.protocol == Protocol::IPV6 { 6 } else { 4 };
    if packet.data().get(meta.upper as usize).is_none_or(|byte| byte >> 4 != version) {
        return Err(DropReason::BadEncapsulation);
    }
    packet.adj(meta.upper as usize);
    inside(context, packet, meta, tunnel, class)
}
