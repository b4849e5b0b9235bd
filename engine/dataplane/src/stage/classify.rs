//! Which packets may come in this way: the reverse path of a protected site is its tunnels.

use super::Verdict;
use crate::context::{Context, Meta};
use crate::drop_reason::DropReason;
use crate::packet::PacketPool;
use crate::snapshot::NextHop;
use crate::stage::decap::outer;
use crate::stage::parse;
use std::net::IpAddr;

/// RFC 4301 §5.2 step 4 and RFC 3704 §2.3: a source behind a tunnel group must come out of that group, and
/// nothing else may come out of it, so that a site's addresses can be forged neither in clear nor by another site.
/// Errors of routers on the way to a group (outer endpoints) come in clear and pass.
#[inline]
pub fn classify<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    let (src, dst, _) = outer(packet, meta.version)?;
    if let IpAddr::V6(dst) = dst
        && dst.is_multicast()
    {
        return Ok(()); // neighbour discovery, checked by its own rules
    }
    if parse::is_link_local(src) {
        // Known on their link only, whatever a default route says.
        return if meta.tunnel_in.is_none() { Ok(()) } else { Err(DropReason::Spoofed) };
    }
    let group = match context.snapshot.route(src) {
        Some(&NextHop::Group(group)) => Some(group),
        _ => None,
    };
    match (group, meta.tunnel_in) {
        (None, None) => Ok(()),
        (Some(group), Some(tunnel)) if context.snapshot.groups[group.index()].members.contains(&tunnel) => {
            Ok(())
        }
        // The far engine itself: probes and errors from its outer address.
        (None, Some(tunnel)) if context.snapshot.tunnels[tunnel.index()].remote == src => Ok(()),
        // From the site link come packets of our own hosts, and nothing else.
        _ => Err(DropReason::Spoofed),
    }
}
