//! Ports, interfaces, the gateway and what memory they need.

use super::Check;
use crate::config::model::{Interface, Port, RouteTarget};
use crate::config::types::Device;
use crate::config::underlay;
use crate::plan;
use ipnet::IpNet;

/// IPv6 asks every link for this much (RFC 8200 §5).
const IPV6_MTU_MIN: u64 = 1280;
/// Packets under way in one worker: caches, bursts, waiting for neighbours; and fragments waiting for the rest.
const MBUFS_PER_WORKER: u64 = 512 + dataplane::reassembly::HELD as u64;
/// What EAL and the drivers take, MiB.
const OVERHEAD_MB: u64 = 16;

pub fn check(c: &mut Check<'_>) {
    ports(c);
    memory(c);
    interfaces(c);
    addresses(c);
    gateway(c);
    routes(c);
}

fn ports(c: &mut Check<'_>) {
    let config = c.config;
    let ports = &config.ports;
    c.unique("port", "name", ports.iter().map(|p| (p.index, &p.name)), "give each port its own name");
    let devices = ports.iter().flat_map(|p| p.devices().map(|device| (p.index, device.name())));
    c.unique(
        "port",
        "device",
        devices,
        "give each port its own device; number virtual ones: net_af_packet0, net_af_packet1",
    );
    let kernel = ports.iter().flat_map(|p| {
        p.devices().filter_map(|d| Some((p.index, format!("kernel interface {}", d.arg("iface")?))))
    });
    c.unique("port", "device", kernel, "give each port its own iface=");
    let workers = config.dpdk.cores.len() as u64;
    for port @ Port { index, queues, .. } in ports {
        if let Some(queues) = queues.map(|q| q.get()).filter(|queues| *queues > workers) {
            let what = format!("{queues} queues, but {workers} workers: nobody would poll the rest");
            c.wrong(
                format!("port[{index}].queues"),
                what,
                format!("write at most {workers}, or name more dpdk.cores"),
            );
        }
        let wanted = plan::ports::rx_queues(port, workers as u16);
        for pairs in port.devices().filter_map(|device| device.arg("qpairs")) {
            if pairs != wanted.to_string() {
                let what =
                    format!("qpairs={pairs}, but the port has {wanted} queues, and the kernel fills all");
                let remedy = "leave qpairs out: it follows from port.queues and dpdk.cores";
                c.wrong(format!("port[{index}].device"), what, remedy);
            }
        }
        buffers(c, port);
    }
}

/// Drivers of the kernel's ports copy a frame into one buffer, however small.
fn buffers(c: &mut Check<'_>, port: &Port) {
    let Some(data_room) = c.config.dpdk.data_room.map(|bytes| bytes.get()) else { return };
    let needed = u64::from(plan::ports::frame_room(port));
    if data_room < needed && port.devices().any(Device::is_af_packet) {
        let what = format!("{data_room} bytes do not hold a frame of port {}", port.name);
        c.wrong("dpdk.data_room", what, format!("write {needed} or more, or remove it"));
    }
}

fn memory(c: &mut Check<'_>) {
    let workers = c.config.dpdk.cores.len() as u64;
    let rings = |port: &Port| {
        let rx = port.queues.map_or(workers, |q| q.get());
        (rx + workers) * port.descriptors.get()
    };
    let needed = c.config.ports.iter().map(rings).sum::<u64>() + workers * MBUFS_PER_WORKER;
    let (mbufs, memory_mb) = (c.config.dpdk.mbufs.get(), c.config.dpdk.memory_mb.get());
    if mbufs < needed {
        let what = format!("{mbufs} packet buffers do not fill the descriptors of all queues");
        c.wrong("dpdk.mbufs", what, format!("write {needed} or more, or lower port.descriptors"));
    }
    let jumbo = plan::ports::jumbo(c.config).map_or(0, |pool| pool.memory_mb());
    let needed = u64::from(plan::ports::pool(c.config).memory_mb() + jumbo) + OVERHEAD_MB;
    if memory_mb < needed {
        let what = format!("{memory_mb} MiB do not hold {mbufs} packet buffers");
        c.wrong("dpdk.memory_mb", what, format!("write {needed} or more, or lower dpdk.mbufs"));
    }
}

fn interfaces(c: &mut Check<'_>) {
    let config = c.config;
    let interfaces = &config.interfaces;
    c.unique(
        "interface",
        "name",
        interfaces.iter().map(|i| (i.index, &i.name)),
        "give each interface its own name",
    );
    let places = interfaces.iter().map(|i| match i.vlan {
        Some(vlan) => (i.index, format!("VLAN {vlan} of port {}", i.port)),
        None => (i.index, format!("untagged port {}", i.port)),
    });
    c.unique(
        "interface",
        "port",
        places,
        "write all addresses in one interface, or give this one its own vlan",
    );
    for interface in interfaces {
        let path = format!("interface[{}]", interface.index);
        c.refers(format!("{path}.port"), "port", &interface.port);
        let mtu =
            config.ports.iter().find(|p| p.name == interface.port).map_or(IPV6_MTU_MIN, |p| p.mtu.get());
        let v6 = interface.addresses.iter().find(|net| matches!(net, IpNet::V6(_)));
        if let Some(net) = v6.filter(|_| mtu < IPV6_MTU_MIN) {
            let what = format!("{net} is IPv6, but the MTU of port {} is {mtu}", interface.port);
            c.wrong(format!("{path}.addresses"), what, "IPv6 needs an mtu of 1280 or more (RFC 8200 §5)");
        }
        for (i, net) in interface.addresses.iter().enumerate() {
            let address = net.addr();
            if address.is_unspecified() || address.is_multicast() || address.is_loopback() || is_edge(net) {
                let what = format!("{net} is not an address a host can have");
                c.wrong(
                    format!("{path}.addresses[{i}]"),
                    what,
                    "write the engine's own address on this network",
                );
            }
        }
    }
}

/// The network or the broadcast address of an IPv4 prefix.
fn is_edge(net: &IpNet) -> bool {
    matches!(net, IpNet::V4(net) if net.prefix_len() < 31 && (net.addr() == net.network() || net.addr() == net.broadcast()))
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// Link-local prefixes are the same on every link (RFC 4291 §2.5.6).
fn is_link_local(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local())
}

fn addresses(c: &mut Check<'_>) {
    let nets = |i: &Interface| -> Vec<(usize, IpNet)> { i.addresses.iter().copied().enumerate().collect() };
    let interfaces = &c.config.interfaces;
    for (at, later) in interfaces.iter().enumerate() {
        for (place, net) in nets(later).into_iter().filter(|(_, net)| !is_link_local(net)) {
            let path = format!("interface[{}].addresses[{place}]", later.index);
            let twin = nets(later).into_iter().find(|(i, other)| *i < place && other.addr() == net.addr());
            if twin.is_some() {
                c.wrong(
                    path.clone(),
                    format!("{} is already an address of this interface", net.addr()),
                    "remove it",
                );
            }
            for earlier in &interfaces[..at] {
                if let Some((_, other)) = nets(earlier).into_iter().find(|(_, other)| overlap(&net, other)) {
                    let what = format!("{net} overlaps {other} of interface {}", earlier.name);
                    c.wrong(path.clone(), what, "give each interface a network of its own");
                }
            }
        }
    }
}

fn gateway(c: &mut Check<'_>) {
    let config = c.config;
    let Some(gateway) = &config.gateway else { return };
    c.refers("gateway.interface", "interface", &gateway.interface);
    let Some(interface) = config.interfaces.iter().find(|i| i.name == gateway.interface) else { return };
    for (i, address) in gateway.addresses.iter().enumerate() {
        let path = format!("gateway.addresses[{i}]");
        if !interface.addresses.iter().any(|net| net.contains(address)) {
            let what = format!("{address} is on no network of interface {}", interface.name);
            c.wrong(path, what, "write an address that the hosts there can reach directly");
        } else if config.ha.is_some() && interface.addresses.iter().any(|net| net.addr() == *address) {
            let what =
                format!("{address} is this engine's own address, but a gateway address moves to the standby");
            c.wrong(path, what, format!("give interface {} another address of its own", interface.name));
        }
    }
    if gateway.addresses.is_empty() {
        c.wrong("gateway.addresses", "is empty", "name the addresses the hosts use, or remove [gateway]");
    }
}

fn routes(c: &mut Check<'_>) {
    let config = c.config;
    let prefixes = config.routes.iter().map(|r| (r.index, r.prefix));
    c.unique("route", "prefix", prefixes, "keep one of them");
    for route in &config.routes {
        let path = format!("route[{}]", route.index);
        if route.prefix != route.prefix.trunc() {
            let what = format!("{} has host bits", route.prefix);
            c.wrong(format!("{path}.prefix"), what, format!("write \"{}\"", route.prefix.trunc()));
        }
        match &route.target {
            RouteTarget::Group(group) => c.refers(format!("{path}.group"), "group", group),
            RouteTarget::Via(router) => via(c, &path, route.prefix, *router),
            RouteTarget::Blackhole => {}
        }
    }
}

fn via(c: &mut Check<'_>, path: &str, prefix: IpNet, router: std::net::IpAddr) {
    let path = format!("{path}.via");
    let own = c.config.interfaces.iter().flat_map(|i| &i.addresses).any(|net| net.addr() == router);
    if router.is_ipv4() != prefix.addr().is_ipv4() {
        let what = format!("{router} and {prefix} are not of one IP version");
        c.wrong(path, what, "write a router of the prefix's version");
    } else if own {
        c.wrong(path, format!("{router} is this engine itself"), "write the address of a neighbour");
    } else if underlay::connected(c.config, router).is_none() {
        let what = format!("{router} is on no network of any interface");
        c.wrong(path, what, "write a router that is a direct neighbour");
    }
}
