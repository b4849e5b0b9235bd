//! Mirroring, as far as it is decided: how much is mirrored ([`Budget`]), what a shadow's verdicts are worth
//! ([`Findings`]), and what two engines tell each other of it ([`Hello`], [`MirrorReport`]).

mod budget;
mod findings;

pub use budget::{Budget, Limits, Load};
pub use findings::{Findings, Judged, Kind, Outcome, reason_named};

use dataplane::drop_reason::DropReason;
use serde::{Deserialize, Serialize};

/// What the mirroring engine says first: the names that its copies then call by their places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Its interfaces.
    pub interfaces: Vec<String>,
    /// The sites that it knows.
    pub sites: Vec<String>,
    /// Reasons why packets end.
    pub reasons: Vec<String>,
}

impl Hello {
    /// With this build's reasons.
    pub fn new(interfaces: Vec<String>, sites: Vec<String>) -> Hello {
        let reasons = DropReason::ALL.iter().map(|reason| reason.name().to_owned()).collect();
        Hello { interfaces, sites, reasons }
    }
}

/// Residence in decades of nanoseconds: below 1 µs, below 10 µs, … below 10 ms, and longer.
pub const CLASSES: usize = 6;

/// The latency class of a residence.
pub const fn class(residence_ns: u32) -> usize {
    match residence_ns {
        0..1_000 => 0,
        1_000..10_000 => 1,
        10_000..100_000 => 2,
        100_000..1_000_000 => 3,
        1_000_000..10_000_000 => 4,
        _ => 5,
    }
}

/// What a shadow says of the traffic that is mirrored to it. Everything is counted since the mirror began, but for the alarm
/// and the load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MirrorReport {
    /// Packets whose two verdicts were compared.
    pub compared: u64,
    /// … and differed, by kind ([`Kind::name`]).
    pub diverged: Vec<(String, u64)>,
    /// Packets of sessions that began before the shadow looked: it cannot know better.
    pub unseen_session: u64,
    /// Packets whose end depended on load or on the lease.
    pub incomparable: u64,
    /// Copies that were lost on the way, or for which the shadow had no time.
    pub lost: u64,
    /// What the mirroring engine carries, as its packet sample says: packets a second.
    pub packets_ps: u64,
    /// Bytes a second, likewise.
    pub bytes_ps: u64,
    /// Packets by residence there, by [`class`].
    pub latency_active: [u64; CLASSES],
    /// … and here.
    pub latency_shadow: [u64; CLASSES],
    /// Raised, with an example.
    pub alarm: Option<String>,
    /// The last packets that diverged, oldest first.
    pub examples: Vec<String>,
}

impl MirrorReport {
    /// Packets that diverged in any way.
    pub fn diverged_total(&self) -> u64 {
        self.diverged.iter().map(|(_, many)| many).sum()
    }
}

#[cfg(test)]
mod tests;
