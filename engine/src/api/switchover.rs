//! What the running engine says of a switchover and of application checks.

pub use control::checks::CheckState;
pub use control::status::Cause;
pub use control::switchover::Stage;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The switchover under way or watched, or else the last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchoverStatus {
    /// The decision that started it.
    pub decision: u64,
    /// Why.
    pub cause: Cause,
    /// Who owned the site.
    pub from: String,
    /// Who receives the traffic.
    pub target: String,
    /// Where it is, or ended.
    pub stage: Stage,
    /// Since it is there, milliseconds.
    pub stage_ms: u64,
    /// What that waits for.
    pub waits_for: Option<String>,
    /// The traffic, or the ownership, is on its way now.
    pub moving: bool,
    /// Percent that the target carries after this step.
    pub percent: u8,
    /// The step, from 1.
    pub step: usize,
    /// How many there are.
    pub steps: usize,
    /// Since it began, milliseconds.
    pub elapsed_ms: u64,
    /// Since it ended, milliseconds; `None`: it has not.
    pub ended_ms: Option<u64>,
    /// The stages that it came through.
    pub passages: Vec<PassageStatus>,
}

/// A stage that a switchover came through, or is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassageStatus {
    /// The stage.
    pub stage: Stage,
    /// From the begin of the switchover, milliseconds.
    pub after_ms: u64,
    /// There was nothing to do in it, or no time.
    pub skipped: bool,
    /// Why it was entered, or skipped.
    pub reason: String,
}

/// An application check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// Its name.
    pub name: String,
    /// `tcp`, `http` or `postgresql`.
    pub kind: String,
    /// The application.
    pub address: SocketAddr,
    /// The group of tunnels behind which it is.
    pub group: Option<String>,
    /// Planned moves depend on it.
    pub blocks: bool,
    /// What it says here.
    pub here: CheckView,
    /// What the other engine of the site says of its own; `None` where there is none.
    pub there: Option<CheckView>,
}

/// One engine's view of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckView {
    /// What it says.
    pub state: CheckState,
    /// Since the begin of the newest attempt that has ended, milliseconds.
    pub age_ms: Option<u64>,
    /// What was wrong last, or why nothing is known.
    pub reason: Option<String>,
}
