//! What `[gateway.vrrp]` says of the gateway's interface and of the pair.

use super::Check;
use crate::config::model::Interface;
use crate::config::underlay;
use dataplane::virtual_router::MAX_VIRTUAL_ADDRESSES;
use std::net::IpAddr;

pub(super) fn check(c: &mut Check<'_>) {
    let config = c.config;
    let Some((gateway, vrrp)) = config.gateway.as_ref().and_then(|g| Some((g, g.vrrp.as_ref()?))) else {
        return;
    };
    if gateway.addresses.len() > MAX_VIRTUAL_ADDRESSES {
        let what = format!("has {} addresses", gateway.addresses.len());
        c.wrong("gateway.addresses", what, format!("a virtual router has at most {MAX_VIRTUAL_ADDRESSES}"));
    }
    if config.ha.is_some() && vrrp.failing_priority.is_some() {
        let what = "the other engine of the site takes over from one that is about to fail";
        c.wrong("gateway.vrrp.failing_priority", what, "remove it, or [ha]");
    }
    let Some(interface) = config.interfaces.iter().find(|i| i.name == gateway.interface) else { return };
    if gateway.addresses.iter().any(IpAddr::is_ipv6) {
        link_local(c, &gateway.addresses, interface);
    }
}

/// RFC 9568 §5.1.2.1, §5.2.9: both the router and the virtual router have a link-local address.
fn link_local(c: &mut Check<'_>, addresses: &[IpAddr], interface: &Interface) {
    let is_link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    if !addresses.iter().any(is_link_local) {
        let what = "a virtual router of IPv6 has a link-local address, and this has none";
        c.wrong(
            "gateway.addresses",
            what,
            "add one such as \"fe80::5e:1\", which hosts have as their gateway",
        );
    }
    if underlay::link_local(interface).is_none() {
        let what = "advertisements of an IPv6 gateway come from a link-local address";
        let remedy = "add one of its own, such as \"fe80::2/64\"";
        c.wrong(format!("interface[{}].addresses", interface.index), what, remedy);
    }
}
