//! (5) While nothing is broken, whatever is moved, drained or rekeyed: nothing is lost, reordered or duplicated.
//!
//! What an attacker brings has no order: a packet of the partner that found no SA, before the site had an owner, is new to
//! the window when its copy comes, and RFC 4303 §3.4.3 has it accepted.

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
