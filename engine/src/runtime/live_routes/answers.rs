//! The live routes, to those who ask.

use crate::api::routes::{RouteCount, RouteEntry, RoutesWanted};
use crate::runtime::engine::Engine;
use dataplane::snapshot::NextHop;

impl Engine {
    /// The routes that are wanted.
    pub fn routes(&self, wanted: &RoutesWanted) -> Vec<RouteEntry> {
        let routes = &self.forwarding.routes;
        let entry = |(prefix, next_hop)| RouteEntry { prefix, target: self.target(next_hop) };
        match wanted.of {
            Some(address) => routes.of(address).into_iter().map(entry).collect(),
            None => routes.iter(wanted.within).take(wanted.limit).map(entry).collect(),
        }
    }

    /// How many there are.
    pub fn route_count(&self) -> RouteCount {
        let summary = self.forwarding.routes.summary();
        RouteCount {
            ipv4: summary.usage.routes_v4,
            ipv6: summary.usage.routes_v6,
            next_hops: summary.next_hops,
            pending: summary.pending,
            refused: summary.refused,
            last_error: summary.last_error.map(|error| error.to_string()),
            bytes: summary.usage.bytes + summary.usage.retired_bytes,
            bytes_max: summary.usage.bytes_max,
        }
    }

    /// As in a routes file, where it may stand there.
    pub fn target(&self, next_hop: NextHop) -> String {
        match next_hop {
            NextHop::Unreachable => "unreachable".into(),
            NextHop::Local => "local".into(),
            NextHop::Blackhole => "blackhole".into(),
            NextHop::Connected(interface) => {
                format!("connected {}", self.plan.interface_names[interface.index()])
            }
            NextHop::Via { gateway, .. } => format!("via {gateway}"),
            NextHop::Group(group) => format!("group {}", self.plan.forwarding.groups[group.index()].name),
        }
    }
}
