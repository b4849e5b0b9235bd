//! Groups whose tunnels follow their traffic.

use super::Check;
use crate::config::adaptive::Adaptive;
use crate::config::model::{Group, Protocol, Tunnel};
use crate::config::underlay;
use crate::plan::{self, adaptive as planned};
use dataplane::snapshot::MAX_MEMBERS;
use std::net::IpAddr;

pub(super) fn check(c: &mut Check<'_>) {
    let config = c.config;
    for group in &config.groups {
        if let Some(adaptive) = &group.adaptive {
            places(c, group, adaptive);
            for (i, name) in group.members.iter().enumerate() {
                let tunnel = planned::own(config, group).find(|tunnel| tunnel.name == *name);
                tunnel.iter().for_each(|tunnel| member(c, group, i, tunnel));
            }
        }
    }
    let raised = |tunnel: &Tunnel| {
        let of = |group: &&Group| group.members.contains(&tunnel.name) && group.adaptive.is_some();
        config.groups.iter().any(|group| of(&group))
    };
    for tunnel in &config.tunnels {
        if tunnel.shaper.as_ref().is_some_and(|s| s.ceiling_kbps.is_some()) && !raised(tunnel) {
            let path = format!("tunnel[{}].shaper.ceiling_kbps", tunnel.index);
            let remedy = "write [group.adaptive] below the tunnel's group, or remove it";
            c.wrong(path, "nobody raises the rate of this tunnel", remedy);
        }
    }
}

/// Room for what may be made, and names for it that the far end can tell apart.
fn places(c: &mut Check<'_>, group: &Group, adaptive: &Adaptive) {
    let (config, path) = (c.config, format!("group[{}].adaptive", group.index));
    let (own, most) = (planned::own(config, group).count(), adaptive.tunnels_max.get() as usize);
    if most < own {
        let what = format!("the group has {own} configured tunnels already");
        c.wrong(format!("{path}.tunnels_max"), what, format!("write {own} or more"));
        return;
    }
    let spares = planned::spares(config, group);
    let members = group.members.len() + spares.len();
    if members > MAX_MEMBERS {
        let what = format!("{members} tunnels, with those that could be made beside each configured one");
        let remedy = format!("a group has at most {MAX_MEMBERS}: write less, or name fewer tunnels");
        c.wrong(format!("{path}.tunnels_max"), what, remedy);
    }
    let ends = |tunnel: &Tunnel| match tunnel.protocol {
        Protocol::Gre { key, .. } => Some(("gre_key", tunnel.local, tunnel.remote, key.map(u64::from))),
        Protocol::Vxlan { vni, .. } => {
            Some(("vxlan_vni", tunnel.local, tunnel.remote, Some(vni.get().into())))
        }
        _ => None,
    };
    for spare in &spares {
        let taken = ends(spare).and_then(|of| config.tunnels.iter().find(|other| ends(other) == Some(of)));
        if let (Some(other), Some((key, _, _, Some(number)))) = (taken, ends(spare)) {
            let what = format!("{number} would be that of a tunnel made beside \"{}\"", parent(spare));
            let remedy = format!("leave the {most} numbers from that one's on free");
            c.wrong(format!("tunnel[{}].{key}", other.index), what, remedy);
        }
    }
}

fn parent(spare: &Tunnel) -> &str {
    spare.parallel.as_ref().map_or(spare.name.as_str(), |parallel| parallel.to.as_str())
}

/// What a group names, its policy must allow.
fn member(c: &mut Check<'_>, group: &Group, i: usize, tunnel: &Tunnel) {
    let Some(adaptive) = &group.adaptive else { return };
    let (config, name, path) = (c.config, &tunnel.name, format!("group[{}].members[{i}]", group.index));
    let policy = planned::policy(adaptive);
    if policy.encrypted && !planned::encrypts(tunnel) {
        let what = format!("\"{name}\" does not encrypt, and adaptive.encrypted asks for it");
        c.wrong(path.clone(), what, "remove it, or write encrypted = false");
    }
    if tunnel.cost > policy.cost_max {
        let what = format!("\"{name}\" costs {}, more than adaptive.cost_max", tunnel.cost);
        c.wrong(path.clone(), what, format!("remove it, or write cost_max = {}", tunnel.cost));
    }
    let other = config.groups.iter().find(|other| other.index != group.index && other.members.contains(name));
    if let Some(other) = other {
        let what = format!("\"{name}\" is in group \"{}\" too", other.name);
        c.wrong(path.clone(), what, "what follows one group's traffic cannot serve another: name it once");
    }
    if tunnel.remote.is_ipv4() != tunnel.local.is_ipv4() || own_address(c, tunnel.remote) {
        return;
    }
    let Ok(way) = underlay::resolve(config, tunnel.remote) else { return };
    let Some(port) = config.ports.iter().find(|p| p.name == way.interface.port) else { return };
    let inner = plan::inner_mtu(port.mtu.get() as u16, tunnel);
    if inner < policy.mtu_min {
        let what = format!("\"{name}\" has room for {inner} octets, less than adaptive.mtu_min");
        c.wrong(
            path,
            what,
            format!("write mtu_min = {inner} or less, or a larger mtu of port {}", port.name),
        );
    }
}

fn own_address(c: &Check<'_>, ip: IpAddr) -> bool {
    c.config.interfaces.iter().flat_map(|i| &i.addresses).any(|net| net.addr() == ip)
}
