//! What became of access list, sessions and NAT, summed over the workers.

use super::engine::Engine;
use crate::api::status::{AccessStatus, AclStatus, NatStatus, SessionsStatus};
use dataplane::drop_reason::DropReason;
use dataplane::telemetry::Counters;

impl Engine {
    /// The status of all three.
    pub fn access(&self) -> AccessStatus {
        let sum = |of: fn(&Counters) -> u64| self.workers.counters().map(of).sum::<u64>();
        let dropped = |reason| self.workers.counters().map(|c| c.dropped(reason).get()).sum::<u64>();
        let acl = self.forwarding.acl().map(|acl| AclStatus {
            rules: acl.len(),
            bytes: acl.bytes(),
            denied: dropped(DropReason::AclDenied),
            rejected: dropped(DropReason::AclRejected),
        });
        let (capacity, addresses) = (self.plan.access.capacity(), self.plan.access.pool());
        let sessions = (capacity > 0).then(|| SessionsStatus {
            live: sum(|c| c.sessions.live()),
            capacity,
            begun: sum(|c| c.sessions.begun.get()),
            ended: sum(|c| c.sessions.ended.get()),
            evicted: sum(|c| c.sessions.evicted.get()),
            refused: dropped(DropReason::SessionTableFull),
        });
        let nat = (addresses > 0).then(|| NatStatus {
            addresses,
            ports_in_use: sum(|c| c.sessions.nat_ports.get()),
            exhausted: dropped(DropReason::NatExhausted),
            untranslatable: dropped(DropReason::NatFragment) + dropped(DropReason::NatUnsupported),
        });
        AccessStatus { acl, sessions, nat }
    }
}
