//! What the configuration calls the things that workers know by number.

use crate::plan::Plan;
use dataplane::id::{GroupId, InterfaceId, PortId, TunnelId};
use dataplane::observe::Next;
use dataplane::snapshot::NextHop;
use dataplane::wire::Protocol;

/// Names by number.
#[derive(Clone, Debug, Default)]
pub struct Names {
    ports: Vec<String>,
    interfaces: Vec<String>,
    tunnels: Vec<String>,
    groups: Vec<String>,
}

fn name(names: &[String], at: usize) -> String {
    names.get(at).cloned().unwrap_or_else(|| format!("#{at}"))
}

fn find(names: &[String], kind: &str, wanted: &str) -> Result<u16, String> {
    let at = names.iter().position(|name| name == wanted);
    at.map(|at| at as u16).ok_or_else(|| {
        let known = names.join(", ");
        format!("no {kind} is called \"{wanted}\"; known: {}", if known.is_empty() { "none" } else { &known })
    })
}

impl Names {
    /// Those of a plan.
    pub fn of(plan: &Plan) -> Names {
        Names {
            ports: plan.ports.iter().map(|port| port.name.clone()).collect(),
            interfaces: plan.interface_names.clone(),
            tunnels: plan.tunnels.iter().map(|tunnel| tunnel.name.clone()).collect(),
            groups: plan.forwarding.groups.iter().map(|group| group.name.clone()).collect(),
        }
    }

    /// All ports, by number.
    pub fn ports(&self) -> &[String] {
        &self.ports
    }

    /// A port's name.
    pub fn port(&self, id: PortId) -> String {
        name(&self.ports, id.index())
    }

    /// An interface's name.
    pub fn interface(&self, id: InterfaceId) -> String {
        name(&self.interfaces, id.index())
    }

    /// A tunnel's name.
    pub fn tunnel(&self, id: TunnelId) -> String {
        name(&self.tunnels, id.index())
    }

    /// The port of this name.
    ///
    /// # Errors
    /// With the names there are.
    pub fn find_port(&self, wanted: &str) -> Result<PortId, String> {
        find(&self.ports, "port", wanted).map(PortId)
    }

    /// The tunnel of this name.
    ///
    /// # Errors
    /// With the names there are.
    pub fn find_tunnel(&self, wanted: &str) -> Result<TunnelId, String> {
        find(&self.tunnels, "tunnel", wanted).map(TunnelId)
    }

    /// Where a packet goes, in words.
    pub fn next(&self, next: Next) -> String {
        match next {
            Next::Route(NextHop::Unreachable) => "no route".to_owned(),
            Next::Route(NextHop::Local) => "local".to_owned(),
            Next::Route(NextHop::Blackhole) => "blackhole".to_owned(),
            Next::Route(NextHop::Connected(interface)) => {
                format!("connected on {}", self.interface(interface))
            }
            Next::Route(NextHop::Via { interface, gateway }) => {
                format!("via {gateway} on {}", self.interface(interface))
            }
            Next::Route(NextHop::Group(GroupId(group))) => {
                format!("group {}", name(&self.groups, group.into()))
            }
            Next::Tunnel(tunnel) => format!("tunnel {}", self.tunnel(tunnel)),
            Next::Neighbor { interface, ip } => format!("neighbour {ip} on {}", self.interface(interface)),
            Next::Link { interface, mac } => format!("answer to {mac} on {}", self.interface(interface)),
        }
    }
}

/// A protocol's name, or its number.
pub fn protocol(protocol: Protocol) -> String {
    match protocol {
        Protocol::TCP => "tcp".into(),
        Protocol::UDP => "udp".into(),
        Protocol::ICMP => "icmp".into(),
        Protocol::ICMPV6 => "icmp6".into(),
        Protocol::ESP => "esp".into(),
        Protocol::GRE => "gre".into(),
        Protocol::IPV4 | Protocol::IPV6 => "ipip".into(),
        Protocol::SCTP => "sctp".into(),
        Protocol(number) => format!("proto {number}"),
    }
}
