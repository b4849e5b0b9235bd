//! (5) While nothing is broken, whatever is moved, drained or rekeyed: nothing is lost, reordered or duplicated.
//!
//! What the partner sends may be lost or doubled no more than the rest, but bears no order here: a gateway of another make sets no
//! MARK, so what it has still sent to the last owner, which sends it on once it has found out the next one by ARP, may be
//! overtaken by what it sends to that one. And a copy that an attacker brings is new, and late, where the first one
//! came before the site had an owner: RFC 4303 §3.4.3 has it accepted.

use super::deliveries::{Arrival, Deliveries};
use super::{Log, Rule};
use crate::hosts::{Hosts, PacketId};
use dataplane::id::Nanos;

/// See the module.
#[derive(Debug, Default)]
pub struct Planned {
    /// Something was broken at some time: the rule says nothing any more.
    pub disturbed: bool,
}

impl Planned {
    /// A packet arrived at its host.
    pub fn delivered(&self, at: Nanos, packet: PacketId, arrival: Arrival, log: &mut Log) {
        if !self.disturbed && (arrival.overtaken || arrival.again) {
            log.violate(at, Rule::Planned, format!("{packet:?} arrives after its successor"));
        }
    }

    /// Nothing is on its way any more.
    pub fn silence(&self, at: Nanos, hosts: &Hosts, deliveries: &Deliveries, log: &mut Log) {
        if self.disturbed {
            return;
        }
        for (flow, sent) in (0..).zip(hosts.flows.iter().map(|flow| flow.sent)) {
            let lost = (0..sent).filter(|&number| !deliveries.has(PacketId { flow, number })).count();
            if lost > 0 {
                log.violate(at, Rule::Planned, format!("{lost} of {sent} packets of flow {flow} are lost"));
            }
        }
    }
}
