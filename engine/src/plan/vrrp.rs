//! `[gateway.vrrp]`: what the snapshot and the controller are told.

use crate::config::model::Interface;
use crate::config::{Config, underlay};
use control::config::VrrpConfig;
use dataplane::id::Nanos;
use dataplane::virtual_router::{Versions, VirtualRouter};
use dataplane::wire::vrrp::Vrid;
use std::net::IpAddr;

/// The virtual router that the gateway addresses of `interface` belong to; not active before the election.
pub fn virtual_router(config: &Config, interface: &Interface) -> Option<VirtualRouter> {
    let gateway = config.gateway.as_ref().filter(|gateway| gateway.interface == interface.name)?;
    let vrrp = gateway.vrrp.as_ref()?;
    let link_local = |ip: &&IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let first = gateway.addresses.iter().filter(link_local);
    let rest = gateway.addresses.iter().filter(|ip| !link_local(ip));
    Some(VirtualRouter {
        number: Vrid(vrrp.vrid.get() as u8),
        addresses: first.chain(rest).copied().collect(),
        active: Versions::default(),
        pseudo_header: vrrp.pseudo_header,
    })
}

/// This engine's part in the election.
pub fn election(config: &Config) -> Option<VrrpConfig> {
    let gateway = config.gateway.as_ref()?;
    let vrrp = gateway.vrrp.as_ref()?;
    let interface = config.interfaces.iter().find(|i| i.name == gateway.interface)?;
    let v4 = gateway.addresses.iter().find(|ip| ip.is_ipv4());
    let v6 = gateway.addresses.iter().find(|ip| ip.is_ipv6());
    let local_v4 = v4.and_then(|ip| underlay::address_towards(interface, *ip));
    let local_v6 = v6.and_then(|_| underlay::link_local(interface));
    Some(VrrpConfig {
        local: local_v4.into_iter().chain(local_v6).collect(),
        priority: vrrp.priority.get() as u8,
        failing_priority: vrrp.failing_priority.map(|priority| priority.get() as u8),
        interval: Nanos::from_millis(vrrp.interval_ms.get()),
        preempt: vrrp.preempt,
    })
}
