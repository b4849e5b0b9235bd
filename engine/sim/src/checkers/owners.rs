//! (2) One owner an epoch: no two engines hold site a at once, no epoch is owned twice, and packets bear it out:
//! nobody forwards past the deadline it was given, and nothing of an engine whose epoch is over is delivered.

use super::{Log, Rule};
use crate::hosts::PacketId;
use crate::node::Node;
use crate::topology::neighbours;
use control::io::Output;
use dataplane::id::{Epoch, Nanos, TunnelId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// See the module.
#[derive(Debug, Default)]
pub struct Owners {
    /// Two owners of a site are the policy (`dual-active`).
    pub dual_active: bool,
    epochs: BTreeMap<Epoch, (u64, u32)>,
    owners: BTreeMap<u64, Option<Epoch>>,
    spans: u32,
    lapsed: BTreeSet<(u64, Epoch)>,
    sealed_by: HashMap<PacketId, &'static str>,
    /// Packets that came when their sender's epoch was over, by sender.
    stale: HashMap<PacketId, &'static str>,
}

impl Owners {
    /// At no moment do two engines of site a hold an unexpired deadline as owner.
    pub fn one_owner(&mut self, at: Nanos, nodes: &BTreeMap<&'static str, Node>, log: &mut Log) {
        let in_a = || nodes.values().filter(|n| n.name.starts_with('a'));
        if !self.dual_active && in_a().filter(|n| n.owns(at).is_some()).count() > 1 {
            let owners: Vec<_> = in_a().filter_map(|n| Some((n.name, n.owns(at)?))).collect();
            log.violate(at, Rule::Owners, format!("two owners: {owners:?}"));
        }
        in_a().for_each(|node| self.no_revival(at, node, log));
    }

    /// An owner whose deadline has passed is never owner again at that epoch.
    fn no_revival(&mut self, at: Nanos, node: &Node, log: &mut Log) {
        let Some((true, epoch)) = node.told.role else { return };
        if node.owns(at).is_none() {
            self.lapsed.insert((node.process, epoch));
        } else if self.lapsed.contains(&(node.process, epoch)) {
            log.violate(at, Rule::Owners, format!("{} is owner again at epoch {epoch}", node.name));
        }
    }

    /// Never the same epoch twice: an engine that was owner and stopped being it does not become it again at that
    /// epoch.
    pub fn epoch(&mut self, at: Nanos, process: u64, output: &Output, log: &mut Log) {
        let Output::Role { owner, epoch } = *output else { return };
        let before = self.owners.insert(process, owner.then_some(epoch)).flatten();
        if !owner || before == Some(epoch) {
            return;
        }
        self.spans += 1;
        let claim = (process, self.spans);
        if let Some(earlier) = self.epochs.insert(epoch, claim)
            && !self.dual_active
        {
            log.violate(at, Rule::Owners, format!("epoch {epoch} owned twice: {earlier:?} and {claim:?}"));
        }
        if before.is_some_and(|b| b > epoch) {
            log.violate(at, Rule::Owners, format!("epoch went back to {epoch}"));
        }
    }

    /// An engine put a packet into a tunnel.
    pub fn sealed(&mut self, engine: &'static str, packet: PacketId) {
        self.sealed_by.insert(packet, engine);
    }

    /// An engine sent a host's packet on.
    pub fn forwarded(&self, at: Nanos, node: &Node, packet: PacketId, log: &mut Log) {
        let (now, until) = (node.clock.local(at), node.told.forward_until);
        if now >= until {
            let late = now.since(until).as_millis();
            log.violate(at, Rule::Owners, format!("{} sends {packet:?} {late} ms past its lease", node.name));
        }
    }

    /// A packet came out of a tunnel of `node`. What is accepted before its sender's epoch ends may be sent on later.
    pub fn opened(&mut self, node: &Node, packet: PacketId) {
        let Some(&sender) = self.sealed_by.get(&packet) else { return };
        let tunnel = TunnelId(u16::from(neighbours(node.name)[1] == sender));
        if node.told.tunnels.get(&tunnel).is_some_and(|(_, fenced)| *fenced) {
            self.stale.insert(packet, sender);
        }
    }

    /// An engine sent a packet to its host.
    pub fn delivered(&self, at: Nanos, node: &Node, packet: PacketId, log: &mut Log) {
        if let Some(sender) = self.stale.get(&packet) {
            let what = format!("{} delivers {packet:?} of {sender}, whose epoch is over", node.name);
            log.violate(at, Rule::Owners, what);
        }
    }
}
