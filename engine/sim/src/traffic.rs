//! Which share of a steady stream would arrive now, given what every worker was told.

use crate::cluster::Cluster;
use crate::node::Node;
use crate::topology::{GROUP, SECOND, neighbours};
use dataplane::id::TunnelId;

/// What becomes of a stream, as shares of 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fate {
    /// Arrives.
    pub delivered: f64,
    /// Refused by a fence.
    pub fenced: f64,
    /// Went round between the two engines of the site.
    pub looped: f64,
}

impl Fate {
    fn add(&mut self, other: Fate, weight: f64) {
        self.delivered += weight * other.delivered;
        self.fenced += weight * other.fenced;
        self.looped += weight * other.looped;
    }
}

const DELIVERED: Fate = Fate { delivered: 1.0, fenced: 0.0, looped: 0.0 };

impl Cluster {
    /// From site a's hosts, which send to the engine that last announced the gateway, to site b's.
    pub fn a_to_b(&self) -> Fate {
        match self.hosts.gateway.and_then(|name| self.nodes.get(name)) {
            Some(node) if node.forwards(self.now) => self.onward(node, true),
            _ => Fate::default(),
        }
    }

    fn onward(&self, node: &Node, first_hop: bool) -> Fate {
        let mut fate = Fate::default();
        for (tunnel, part) in parts(node) {
            let share = f64::from(part) / 65_536.0;
            if part == 0 {
                continue;
            }
            if tunnel != SECOND {
                fate.add(self.through(node, tunnel), share);
                continue;
            }
            let other = &self.nodes[neighbours(node.name)[1]];
            if !first_hop {
                fate.looped += share;
            } else if self.link_passes(node.name, other.name) && other.forwards(self.now) {
                fate.add(self.onward(other, false), share);
            }
        }
        fate
    }

    /// From site b's hosts to site a's, where every engine reaches the hosts.
    pub fn b_to_a(&self) -> Fate {
        let b1 = &self.nodes["b1"];
        let mut fate = Fate::default();
        if b1.forwards(self.now) {
            for (tunnel, part) in parts(b1) {
                fate.add(self.through(b1, tunnel), f64::from(part) / 65_536.0);
            }
        }
        fate
    }

    /// Through an ESP tunnel of `node`: link, SA, the far worker, its fence.
    fn through(&self, node: &Node, tunnel: TunnelId) -> Fate {
        let (peer, far_tunnel) = self.far_end(node.name, tunnel);
        let far = &self.nodes[peer];
        let sas = |n: &Node, t| n.told.sas.get(&t).map(|s| (s.outbound.clone(), s.inbound.clone()));
        let keyed = match (sas(node, tunnel), sas(far, far_tunnel)) {
            (Some((Some(used), _)), Some((_, inbound))) => {
                inbound.get(&used.generation).is_some_and(|(connection, _)| *connection == used.connection)
            }
            _ => false,
        };
        if !keyed || !self.link_passes(node.name, peer) || !far.forwards(self.now) {
            return Fate::default();
        }
        match far.told.tunnels.get(&far_tunnel) {
            Some((_, true)) => Fate { fenced: 1.0, ..Fate::default() },
            _ => DELIVERED,
        }
    }

    fn link_passes(&self, from: &'static str, to: &'static str) -> bool {
        self.network.links[&(from, to)].passes(self.now)
    }
}

fn parts(node: &Node) -> Vec<(TunnelId, u32)> {
    node.told.weights.get(&GROUP).cloned().unwrap_or_default()
}
