//! How a tunnel's far end is reached: longest prefix match over the connected prefixes and the static
//! routes. Tunnels do not run inside tunnels.

use super::Config;
use super::model::{Interface, RouteTarget};
use super::types::Name;
use std::net::IpAddr;

/// The way to an address.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Way<'a> {
    /// Out of this interface …
    pub interface: &'a Interface,
    /// … to this neighbour on it: the address itself, or a router.
    pub next_hop: IpAddr,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NoWay<'a> {
    /// No prefix covers it.
    NoRoute,
    /// The longest prefix is a blackhole.
    Blackhole,
    /// The longest prefix leads into a tunnel group.
    Group(&'a Name),
    /// The longest prefix leads to a router that is on none of our prefixes.
    Router(IpAddr),
}

/// The interface on whose prefix `address` lies.
pub fn connected(config: &Config, address: IpAddr) -> Option<&Interface> {
    let prefixes = config.interfaces.iter().flat_map(|i| i.addresses.iter().map(move |net| (net, i)));
    prefixes.filter(|(net, _)| net.contains(&address)).max_by_key(|(net, _)| net.prefix_len()).map(|(_, i)| i)
}

/// The interface's own address from which a neighbour is spoken to.
pub fn address_towards(interface: &Interface, neighbor: IpAddr) -> Option<IpAddr> {
    let nets = interface.addresses.iter().filter(|net| net.contains(&neighbor));
    nets.max_by_key(|net| net.prefix_len()).map(|net| net.addr())
}

/// The interface's first own address of the version of `ip` that is not link-local.
pub fn address_like(interface: &Interface, ip: IpAddr) -> Option<IpAddr> {
    let own = interface.addresses.iter().map(|net| net.addr());
    let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    own.into_iter().find(|own| own.is_ipv4() == ip.is_ipv4() && !link_local(own))
}

/// The interface's own link-local address of IPv6.
pub fn link_local(interface: &Interface) -> Option<IpAddr> {
    let own = interface.addresses.iter().map(|net| net.addr());
    own.into_iter().find(|ip| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()))
}

/// The way to `destination`.
pub fn resolve(config: &Config, destination: IpAddr) -> Result<Way<'_>, NoWay<'_>> {
    let nets = config.interfaces.iter().flat_map(|i| &i.addresses);
    let on_link = nets.filter(|net| net.contains(&destination)).map(|net| net.prefix_len()).max();
    let routed = config.routes.iter().filter(|r| r.prefix.contains(&destination));
    let routed = routed.max_by_key(|r| r.prefix.prefix_len());
    let (next_hop, unreachable) = match routed {
        Some(route) if Some(route.prefix.prefix_len()) > on_link => match &route.target {
            RouteTarget::Group(group) => return Err(NoWay::Group(group)),
            RouteTarget::Blackhole => return Err(NoWay::Blackhole),
            RouteTarget::Via(router) => (*router, NoWay::Router(*router)),
        },
        _ => (destination, NoWay::NoRoute),
    };
    let interface = connected(config, next_hop).ok_or(unreachable)?;
    Ok(Way { interface, next_hop })
}
