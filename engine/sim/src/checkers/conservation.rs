//! (3) Packets are conserved and pools are whole: what a worker received, made or was handed, it sent, dropped for
//! a reason, holds or handed on; it counts what its ports count; and every buffer is where one may be.

use super::{Log, Rule};
use crate::node::Node;
use crate::plane::buffer::Pool;
use crate::plane::{BUFFERS, Plane};
use dataplane::id::Nanos;

/// See the module.
#[derive(Debug, Default)]
pub struct Conservation {
    /// Polls looked at.
    pub checks: u64,
}

impl Conservation {
    /// After the polls of an engine's workers.
    pub fn polled(&mut self, at: Nanos, node: &Node, log: &mut Log) {
        let Some(plane) = &node.plane else { return };
        self.checks += 1;
        for (worker, link) in plane.links.iter().enumerate() {
            let counters = &link.counters;
            let into = counters.received.get() + counters.originated.get() + counters.handed_in.get();
            let out = counters.transmitted.get()
                + counters.dropped_total()
                + counters.held.get()
                + counters.handed_out.get();
            let ports = plane.ports[worker].iter().map(|port| port.0.borrow());
            let (given, taken) = ports.fold((0, 0), |(g, t), port| (g + port.given, t + port.taken));
            let counted = (counters.received.get(), counters.transmitted.get());
            if into != out || counted != (given, taken) {
                let what = format!(
                    "worker {worker} of {}: {into} in, {out} out; {counted:?} counted, {given} and {taken} at its ports",
                    node.name
                );
                log.violate(at, Rule::Conservation, what);
            }
        }
        let (used, known) = (BUFFERS - plane.pool.free(), buffers(plane));
        if used != known {
            let what = format!("{} uses {used} buffers, {known} are somewhere", node.name);
            log.violate(at, Rule::Conservation, what);
        }
    }

    /// An engine is gone, with all that it held.
    pub fn gone(&mut self, at: Nanos, name: &str, pool: &Pool, log: &mut Log) {
        if pool.free() != BUFFERS {
            let lost = BUFFERS - pool.free();
            log.violate(at, Rule::Conservation, format!("{lost} buffers of {name} never came back"));
        }
    }
}

/// Where buffers are: in queues, in workers, between workers.
fn buffers(plane: &Plane) -> usize {
    let queued: usize = plane.ports.iter().flatten().map(|port| port.0.borrow().waiting()).sum();
    let sum = |of: fn(&dataplane::telemetry::Counters) -> u64| -> u64 {
        plane.links.iter().map(|link| of(&link.counters)).sum()
    };
    let between = sum(|c| c.handed_out.get()) - sum(|c| c.handed_in.get());
    queued + (sum(|c| c.held.get()) + between) as usize
}
