//! The rules that hold at every moment, whatever fails. Each checker remembers what it must and says what it
//! saw that must not be.

pub mod conservation;
pub mod deliveries;
pub mod digests;
pub mod loops;
pub mod nonces;
pub mod orders;
pub mod owners;
pub mod planned;
pub mod records;
pub mod recovery;
pub mod replays;
pub mod shadows;

use crate::hosts::PacketId;
use crate::plane::tape::{Act, Use};
use dataplane::id::Nanos;
use deliveries::Arrival;

/// What must not happen, and when it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// True time.
    pub at: Nanos,
    /// The checker.
    pub rule: Rule,
    /// What was seen.
    pub what: String,
}

/// Who saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// See [`nonces`].
    Nonces,
    /// See [`owners`].
    Owners,
    /// See [`conservation`].
    Conservation,
    /// See [`replays`].
    Replays,
    /// See [`planned`].
    Planned,
    /// See [`digests`].
    Digests,
    /// See [`recovery`].
    Recovery,
    /// See [`loops`].
    Loops,
    /// See [`orders`].
    Orders,
    /// See [`records`].
    Records,
    /// See [`shadows`].
    Shadows,
}

/// Violations kept of each rule; what follows the first ones says little.
const KEPT: usize = 8;

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Log(Vec<Violation>);

impl Log {
    /// Notes a violation.
    pub fn violate(&mut self, at: Nanos, rule: Rule, what: String) {
        let told = self.0.last().is_some_and(|last| last.what == what);
        if self.0.iter().filter(|earlier| earlier.rule == rule).count() < KEPT && !told {
            self.0.push(Violation { at, rule, what });
        }
    }
}

/// All checkers.
#[derive(Debug, Default)]
pub struct Checkers {
    /// What arrived at hosts.
    pub deliveries: deliveries::Deliveries,
    /// See [`nonces`].
    pub nonces: nonces::Nonces,
    /// See [`owners`].
    pub owners: owners::Owners,
    /// See [`conservation`].
    pub conservation: conservation::Conservation,
    /// See [`replays`].
    pub replays: replays::Replays,
    /// See [`planned`].
    pub planned: planned::Planned,
    /// See [`digests`].
    pub digests: digests::Digests,
    /// See [`recovery`].
    pub recovery: recovery::Recovery,
    /// See [`loops`].
    pub loops: loops::Loops,
    /// See [`orders`].
    pub orders: orders::Orders,
    /// See [`records`].
    pub records: records::Records,
    /// See [`shadows`].
    pub shadows: shadows::Shadows,
    /// What they saw.
    pub log: Log,
}

impl Checkers {
    /// What was seen.
    pub fn violations(&self) -> &[Violation] {
        &self.log.0
    }

    /// A worker of `engine` used a nonce.
    pub fn used(&mut self, at: Nanos, engine: &'static str, entry: Use) {
        match entry.act {
            Act::Sealed => {
                self.nonces.sealed(at, engine, entry, &mut self.log);
                if let Some(packet) = entry.packet {
                    self.owners.sealed(engine, packet);
                    self.loops.sent(at, engine, packet, &mut self.log);
                }
            }
            Act::Opened => self.replays.opened(at, engine, entry, &mut self.log),
        }
    }

    /// A packet arrived at its host.
    pub fn delivered(&mut self, at: Nanos, packet: PacketId) {
        let arrival = self.brought(at, packet);
        self.planned.delivered(at, packet, arrival, &mut self.log);
    }

    /// A packet arrived that bears no order.
    pub fn brought(&mut self, at: Nanos, packet: PacketId) -> Arrival {
        let arrival = self.deliveries.note(packet);
        self.replays.delivered(at, packet, arrival, &mut self.log);
        arrival
    }
}
