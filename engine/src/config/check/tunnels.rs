//! Tunnels and their groups.

use super::Check;
use crate::config::model::{Group, Protocol, Tunnel};
use crate::config::types::Name;
use crate::config::underlay::{self, NoWay};
use crate::plan;
use dataplane::snapshot::{Encapsulation, MAX_MEMBERS};
use std::net::IpAddr;

/// IPv6 asks every link for this much (RFC 8200 §5); so do hosts that expect a useful MTU.
const INNER_MTU_MIN: u64 = 1280;

pub fn check(c: &mut Check<'_>) {
    let config = c.config;
    c.unique(
        "tunnel",
        "name",
        config.tunnels.iter().map(|t| (t.index, &t.name)),
        "give each tunnel its own name",
    );
    let ends = config.tunnels.iter().map(|t| {
        let key = match t.protocol {
            Protocol::Gre { key: Some(key), .. } => format!(" with key {key}"),
            Protocol::Vxlan { vni, .. } => format!(" with VNI {vni}"),
            _ => String::new(),
        };
        let protocol = t.protocol.name().as_str();
        (t.index, format!("the {protocol} pair {} – {}{key}", t.local, t.remote))
    });
    c.unique(
        "tunnel",
        "remote",
        ends,
        "give each tunnel of a protocol its own pair of addresses, gre_key or vxlan_vni",
    );
    for tunnel in &config.tunnels {
        check_tunnel(c, tunnel);
    }
    let inbound = config.tunnels.iter().filter_map(|t| Some((t.index, t.protocol.static_sa()?.spi_in.get())));
    c.unique("tunnel", "static_sa.spi_in", inbound, "give each SA its own SPI");
    c.unique(
        "group",
        "name",
        config.groups.iter().map(|g| (g.index, &g.name)),
        "give each group its own name",
    );
    for group in &config.groups {
        check_group(c, group);
    }
}

fn check_tunnel(c: &mut Check<'_>, tunnel: &Tunnel) {
    let path = format!("tunnel[{}]", tunnel.index);
    c.refers(format!("{path}.peer"), "peer", &tunnel.peer);
    let config = c.config;
    if let Protocol::Gre { sequence: true, .. } = tunnel.protocol
        && config.dpdk.cores.len() > 1
    {
        let what = "several workers cannot number the packets of one tunnel in order";
        c.wrong(format!("{path}.gre_sequence"), what, "remove it, use protocol = \"esp\", or run one worker");
    }
    if tunnel.protocol == Protocol::Direct {
        let peer = config.peers.iter().find(|p| p.name == tunnel.peer);
        if peer.is_some_and(|peer| peer.site != config.engine.site) {
            let what =
                format!("\"direct\" is for the link inside the site, but \"{}\" is of another", tunnel.peer);
            c.wrong(format!("{path}.protocol"), what, "write protocol = \"esp\"");
        }
    }
    if let Protocol::Vxlan { .. } = tunnel.protocol
        && let Encapsulation::Vxlan(vxlan) = plan::encapsulation(tunnel)
        && vxlan.local_mac == vxlan.remote_mac
    {
        let what = format!("{} is the address of both ends inside", vxlan.local_mac);
        c.wrong(format!("{path}.vxlan_remote_mac"), what, "write that of the far end");
    }
    keys(c, &path, tunnel);
    ends(c, &path, tunnel);
}

/// SAs are negotiated with our own kind, and agreed on beforehand with others.
fn keys(c: &mut Check<'_>, path: &str, tunnel: &Tunnel) {
    let (Some(esp), Some(peer)) =
        (tunnel.protocol.esp(), c.config.peers.iter().find(|peer| peer.name == tunnel.peer))
    else {
        return;
    };
    match (&esp.static_sa, peer.address) {
        (None, None) => {
            let what = format!("\"{}\" is foreign: no SA can be negotiated with it", peer.name);
            c.wrong(
                format!("{path}.static_sa"),
                what,
                format!("write [{path}.static_sa] with SPIs and key files"),
            );
        }
        (Some(_), Some(_)) => {
            let what = format!("SAs with \"{}\" are negotiated", peer.name);
            let remedy = "remove it; static keys are for peers with foreign = true";
            c.wrong(format!("{path}.static_sa"), what, remedy);
        }
        (Some(_), None) if c.config.dpdk.cores.len() > 1 => {
            let what = "several workers cannot share one SA's counter";
            c.wrong(format!("{path}.static_sa"), what, "run one worker");
        }
        _ => {}
    }
}

/// A tunnel from an address that moves with the ownership of the site.
fn of_the_owner(c: &mut Check<'_>, path: &str, tunnel: &Tunnel) {
    let path = format!("{path}.local");
    let local = tunnel.local;
    if tunnel.protocol.static_sa().is_none() {
        let what = format!("{local} is the gateway's: whoever owns the site has it");
        let remedy = "write an address of this engine alone; only static SAs with foreign peers move";
        c.wrong(path, what, remedy);
    } else if !c.config.shadow.as_ref().is_some_and(|shadow| shadow.sas) || c.config.ha.is_none() {
        let what = format!("{local} is the gateway's, and nobody shadows the SAs that move with it");
        c.wrong(path, what, "write a [shadow] section, with sas = true, at both engines of the site");
    }
}

/// The outer addresses, and the way to the far one.
fn ends(c: &mut Check<'_>, path: &str, tunnel: &Tunnel) {
    let config = c.config;
    let (local, remote) = (tunnel.local, tunnel.remote);
    let gateway = config.gateway.as_ref().filter(|gateway| gateway.addresses.contains(&local));
    if gateway.is_some() {
        of_the_owner(c, path, tunnel);
    }
    let own = |ip: IpAddr| {
        let of_gateway =
            |name: &Name| gateway.is_some_and(|gateway| gateway.interface == *name && ip == local);
        let mut interfaces = config.interfaces.iter();
        interfaces.find(|i| i.addresses.iter().any(|net| net.addr() == ip) || of_gateway(&i.name))
    };
    if own(local).is_none() {
        let nets = config.interfaces.iter().flat_map(|i| &i.addresses);
        let known: Vec<String> = nets
            .map(|n| n.addr())
            .filter(|a| a.is_ipv4() == remote.is_ipv4())
            .map(|a| a.to_string())
            .collect();
        let remedy = format!("write one of this engine's own addresses: {}", known.join(", "));
        c.wrong(format!("{path}.local"), format!("{local} is an address of no interface"), remedy);
    }
    let path = format!("{path}.remote");
    if local.is_ipv4() != remote.is_ipv4() {
        let what = format!("{local} and {remote} are not of one IP version");
        return c.wrong(path, what, "write two IPv4 or two IPv6 addresses");
    }
    if own(remote).is_some() {
        return c.wrong(path, format!("{remote} is this engine itself"), "write the address of the far end");
    }
    let way = match underlay::resolve(config, remote) {
        Ok(way) => way,
        Err(no_way) => return unreachable(c, path, remote, no_way),
    };
    if tunnel.protocol == Protocol::Direct && (way.next_hop != remote || own(local) != Some(way.interface)) {
        let what = format!("{remote} is not a neighbour on the network of {local}");
        return c.wrong(path, what, "a direct tunnel joins two addresses of one network");
    }
    let Some(port) = config.ports.iter().find(|p| p.name == way.interface.port) else { return };
    let inner = plan::inner_mtu(port.mtu.get() as u16, tunnel);
    if u64::from(inner) < INNER_MTU_MIN {
        let what = format!(
            "the mtu {} of port {} leaves {inner} octets inside the tunnel",
            port.mtu.get(),
            port.name
        );
        let mtu = port.mtu.get() + INNER_MTU_MIN - u64::from(inner) + 4;
        c.wrong(path, what, format!("IPv6 needs 1280 (RFC 8200 §5): write mtu = {mtu} or more there"));
    }
}

fn unreachable(c: &mut Check<'_>, path: String, remote: IpAddr, no_way: NoWay<'_>) {
    let what = match no_way {
        NoWay::NoRoute => format!("no interface and no route leads to {remote}"),
        NoWay::Blackhole => format!("the route to {remote} is a blackhole"),
        NoWay::Group(group) => format!("the route to {remote} leads into tunnel group \"{group}\""),
        // Said of the route itself already.
        NoWay::Router(_) => return,
    };
    c.wrong(path, what, format!("add a [[route]] that covers {remote}, with via = a router on the WAN"));
}

fn check_group(c: &mut Check<'_>, group: &Group) {
    let path = format!("group[{}]", group.index);
    let config = c.config;
    if group.site == config.engine.site {
        let what = format!("\"{}\" is this engine's own site", group.site);
        c.wrong(format!("{path}.site"), what, "write the far site's name");
    }
    if group.members.is_empty() || group.members.len() > MAX_MEMBERS {
        let what = format!("{} tunnels", group.members.len());
        c.wrong(
            format!("{path}.members"),
            what,
            format!("name 1 to {MAX_MEMBERS} tunnels that lead to the site"),
        );
    }
    for (i, member) in group.members.iter().enumerate() {
        let path = format!("{path}.members[{i}]");
        c.refers(path.clone(), "tunnel", member);
        if group.members[..i].contains(member) {
            c.wrong(path.clone(), format!("\"{member}\" is a member already"), "name each tunnel once");
        }
        let tunnel = config.tunnels.iter().find(|t| t.name == *member);
        let peer = tunnel.and_then(|t| config.peers.iter().find(|p| p.name == t.peer));
        let (Some(tunnel), Some(peer)) = (tunnel, peer) else { continue };
        if tunnel.protocol != Protocol::Direct && peer.site != group.site {
            let what = format!("\"{member}\" leads to site \"{}\", not \"{}\"", peer.site, group.site);
            c.wrong(path, what, "name tunnels to engines of the group's site, or direct ones");
        }
    }
}
