//! The rules that hold at every moment, whatever fails. Each returns what it saw that must not be.

use crate::node::Node;
use control::io::Output;
use dataplane::id::{Epoch, Nanos, TunnelId};
use std::collections::{BTreeMap, BTreeSet};

/// What must not happen, and when it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// True time.
    pub at: Nanos,
    /// What was seen.
    pub what: String,
}

/// The memory of all checkers.
#[derive(Debug, Default)]
pub struct Checkers {
    /// What was seen.
    pub violations: Vec<Violation>,
    /// Two owners of a site are the policy (`dual-active`).
    pub dual_active: bool,
    epochs: BTreeMap<Epoch, (u64, u32)>,
    owners: BTreeMap<u64, Option<Epoch>>,
    spans: u32,
    lapsed: BTreeSet<(u64, Epoch)>,
    keys: BTreeSet<(u64, bool, TunnelId, u64, u64)>,
    live_spis: BTreeMap<(u64, u32), TunnelId>,
}

impl Checkers {
    /// Notes a violation.
    pub fn violate(&mut self, at: Nanos, what: String) {
        if self.violations.len() < 20 {
            self.violations.push(Violation { at, what });
        }
    }

    /// One owner at a time: at no moment do two engines of site a hold an unexpired deadline as owner.
    pub fn one_owner(&mut self, at: Nanos, nodes: &BTreeMap<&'static str, Node>) {
        let owners: Vec<_> = nodes
            .values()
            .filter(|n| n.name.starts_with('a'))
            .filter_map(|n| Some((n.name, n.owns(at)?)))
            .collect();
        if owners.len() > 1 && !self.dual_active {
            self.violate(at, format!("two owners: {owners:?}"));
        }
        for node in nodes.values().filter(|n| n.name.starts_with('a')) {
            self.no_revival(at, node);
        }
    }

    /// An owner whose deadline has passed is never owner again at that epoch.
    fn no_revival(&mut self, at: Nanos, node: &Node) {
        let Some((true, epoch)) = node.told.role else { return };
        if node.owns(at).is_none() {
            self.lapsed.insert((node.process, epoch));
        } else if self.lapsed.contains(&(node.process, epoch)) {
            self.violate(at, format!("{} is owner again at epoch {epoch}", node.name));
        }
    }

    /// One owner an epoch, and never the same epoch twice: an engine that was owner and stopped
    /// being it does not become it again at that epoch.
    pub fn epoch(&mut self, at: Nanos, process: u64, output: &Output) {
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
            self.violate(at, format!("epoch {epoch} owned twice: {earlier:?} and {claim:?}"));
        }
        if before.is_some_and(|b| b > epoch) {
            self.violate(at, format!("epoch went back to {epoch}"));
        }
    }

    /// The parts of a group are exact.
    pub fn weights(&mut self, at: Nanos, output: &Output) {
        if let Output::Weights { members, .. } = output
            && members.iter().map(|(_, part)| part).sum::<u32>() != 65_536
        {
            self.violate(at, format!("parts do not add up: {members:?}"));
        }
    }

    /// No key context twice: one engine never installs the same (connection, generation) of a tunnel and
    /// direction again, for its counter would start anew.
    pub fn key(&mut self, at: Nanos, context: (u64, bool, TunnelId, u64, u64)) {
        if !self.keys.insert(context) {
            self.violate(at, format!("key context used twice: {context:?}"));
        }
    }

    /// An SPI belongs to one live SA of an engine, is not reserved, and says its worker.
    pub fn spi(&mut self, at: Nanos, process: u64, tunnel: TunnelId, spis: &[dataplane::id::Spi]) {
        for (worker, spi) in (0u32..).zip(spis) {
            let taken = self.live_spis.insert((process, spi.0), tunnel).is_some();
            if taken || spi.0 < 256 || spi.0 % spis.len() as u32 != worker {
                self.violate(at, format!("bad SPI {spi} for worker {worker}"));
            }
        }
    }
}
