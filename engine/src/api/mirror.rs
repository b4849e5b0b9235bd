//! What the running engine says of mirrored traffic.

pub use control::mirror::MirrorReport;
use serde::{Deserialize, Serialize};

/// Mirrored traffic: what this engine mirrors while it owns its site, and what it finds while the other one does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MirrorStatus {
    /// As an owner.
    pub active: Option<MirroringStatus>,
    /// As a shadow: who mirrors here …
    pub from: Option<String>,
    /// … and what this engine would do with it.
    pub found: Option<MirrorReport>,
}

/// What an engine mirrors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MirroringStatus {
    /// To whom.
    pub peer: String,
    /// It takes copies now.
    pub up: bool,
    /// The part of the flows that is mirrored now, 0–1.
    pub share: f64,
    /// What the configuration asks for, as far as the budget allows.
    pub share_max: f64,
    /// The choice of flows, counted.
    pub epoch: u64,
    /// Packets that could have been sampled.
    pub seen_packets: u64,
    /// Packets of sampled flows.
    pub flow_packets: u64,
    /// Bytes copied of them.
    pub flow_bytes: u64,
    /// Packets sampled for themselves.
    pub sampled_packets: u64,
    /// Copies that found no room.
    pub lost: u64,
    /// Packets whose headers are longer than a copy.
    pub too_long: u64,
    /// What the shadow says, while it says anything.
    pub report: Option<MirrorReport>,
}
