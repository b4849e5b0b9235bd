//! Which packets may come in this way: the reverse path of a protected site is its tunnels.

use super::Verdict;
use crate::context::{Context, Egress, Meta, Version};
use crate::drop_reason::DropReason;
use crate::packet::{Packet, PacketPool};
use crate::snapshot::{Encapsulation, EspUdp, Nat, Snapshot, Tunnel, Way};
use crate::stage::decap::outer;
use crate::stage::parse;
use std::net::IpAddr;

/// Whether there is anything to tell apart: without tunnels, every way in is as good as another.
#[inline]
pub fn is_needed(snapshot: &Snapshot) -> bool {
    !snapshot.tunnels.is_empty()
}

/// RFC 4301 §5.2 step 4 and RFC 3704 §2.3: a source behind a tunnel group must come out of that group, and
/// nothing else may come out of it, so that a site's addresses can be forged neither in clear nor by another site.
/// Errors of routers on the way to a group (outer endpoints) come in clear and pass.
#[inline(always)]
pub fn classify<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    let group = match context.snapshot.way(meta.reverse) {
        Way::Group(group) => Some(group),
        _ => None,
    };
    if group.is_none() && meta.tunnel_in.is_none() {
        return Ok(());
    }
    if matches!(meta.egress, Egress::Link { .. }) {
        return Ok(()); // an answer of ours
    }
    if meta.version == Version::V6 || meta.link_local {
        let (src, dst, _) = outer(packet, meta.version)?;
        if matches!(dst, IpAddr::V6(dst) if dst.is_multicast()) {
            return Ok(()); // neighbour discovery, checked by its own rules
        }
        if parse::is_link_local(src) {
            // Known on their link only, whatever a default route says.
            return if meta.tunnel_in.is_none() { Ok(()) } else { Err(DropReason::Spoofed) };
        }
    }
    match (group, meta.tunnel_in) {
        (Some(group), Some(tunnel)) if context.snapshot.groups[group.index()].members.contains(&tunnel) => {
            Ok(())
        }
        // The far engine itself: probes and errors from its outer address.
        (None, Some(tunnel))
            if context.snapshot.tunnels[tunnel.index()].remote == outer(packet, meta.version)?.0 =>
        {
            Ok(())
        }
        (None, Some(tunnel)) if is_behind_nat(&context.snapshot.tunnels[tunnel.index()], packet, meta) => {
            Ok(())
        }
        // From the site link come packets of our own hosts, and nothing else.
        _ => Err(DropReason::Spoofed),
    }
}

/// The far engine itself, behind a NAT: it probes this end from an address that only it knows, and may speak to nobody else
/// by it.
fn is_behind_nat<P: Packet>(tunnel: &Tunnel, packet: &P, meta: &Meta) -> bool {
    let nat = matches!(tunnel.encapsulation, Encapsulation::EspUdp(EspUdp { nat: Nat::Remote, .. }));
    nat && outer(packet, meta.version).is_ok_and(|(_, dst, _)| dst == tunnel.local)
}
