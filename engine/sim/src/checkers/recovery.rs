//! (7) Once the last fault is over and time has passed, forwarding is whole again: in a window of time every packet
//! of every host arrives.

use super::deliveries::Deliveries;
use super::{Log, Rule};
use crate::hosts::{Hosts, PacketId};
use dataplane::id::Nanos;

/// See the module.
#[derive(Debug, Default)]
pub struct Recovery {
    /// By flow, the first number of the window.
    first: Option<Vec<u32>>,
}

impl Recovery {
    /// From now on everything arrives.
    pub fn begin(&mut self, hosts: &Hosts) {
        self.first = Some(hosts.flows.iter().map(|flow| flow.sent).collect());
    }

    /// The window is over and nothing is on its way any more.
    pub fn end(&mut self, at: Nanos, hosts: &Hosts, deliveries: &Deliveries, log: &mut Log) {
        let Some(first) = self.first.take() else { return };
        let (mut sent, mut lost) = (0, 0);
        for (flow, (first, now)) in (0..).zip(first.into_iter().zip(&hosts.flows)) {
            sent += now.sent - first;
            lost += (first..now.sent).filter(|&number| !deliveries.has(PacketId { flow, number })).count();
        }
        if lost > 0 {
            log.violate(at, Rule::Recovery, format!("{lost} of {sent} packets are lost after all is well"));
        }
    }
}
