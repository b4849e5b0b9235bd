//! Feeds the neighbour table and asks its questions through the workers.

use super::forwarding::Forwarding;
use super::workers::Workers;
use dataplane::id::{InterfaceId, Nanos, WorkerId};
use dataplane::message::Command;
use dataplane::neighbor::{Claim, NeighborConfig, NeighborTable, Solicit};
use dataplane::wire::MacAddr;
use std::net::IpAddr;

/// The neighbours of this engine.
pub struct Neighbors {
    table: NeighborTable,
    questions: Vec<Solicit>,
    changed: bool,
}

impl Neighbors {
    /// None known.
    pub fn new() -> Neighbors {
        Neighbors {
            table: NeighborTable::new(NeighborConfig::default()),
            questions: Vec::new(),
            changed: false,
        }
    }

    /// Goes on with what another process knew.
    pub fn resume(&mut self, known: &[(InterfaceId, IpAddr, MacAddr)], now: Nanos) {
        known.iter().for_each(|&(interface, ip, mac)| self.table.resume(interface, ip, mac, now));
    }

    /// All that are known.
    pub fn known(&self) -> dataplane::neighbor::Neighbors {
        self.table.export()
    }

    /// A packet waits for `ip`.
    pub fn wanted(&mut self, interface: InterfaceId, ip: IpAddr, now: Nanos, forwarding: &Forwarding) {
        if forwarding.on_link(interface, ip) {
            self.questions.extend(self.table.wanted(interface, ip, now));
        }
    }

    /// A neighbour told its address.
    pub fn seen(&mut self, interface: InterfaceId, ip: IpAddr, mac: MacAddr, claim: Claim, now: Nanos) {
        self.changed |= self.table.seen(interface, ip, mac, claim, now);
    }

    /// Asks what is due and puts what changed into the forwarding state.
    pub fn tick(&mut self, now: Nanos, forwarding: &mut Forwarding, workers: &mut Workers) {
        self.changed |= self.table.tick(now, &mut self.questions);
        for Solicit { interface, ip, unicast } in self.questions.drain(..) {
            workers.command(WorkerId(0), Command::Solicit { interface, ip, unicast });
        }
        if std::mem::take(&mut self.changed) {
            forwarding.set_neighbors(self.table.export());
        }
    }
}
