//! Why something was done, or was not.

use dataplane::id::Nanos;
use serde::{Deserialize, Serialize};

/// One decision: what, by which rule, from which inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Counts up from 1 in one process.
    pub id: u64,
    /// When, on the engine's clock.
    pub at: Nanos,
    /// What was done or proposed, e.g. `shift a1 -> a2 25 %`.
    pub action: String,
    /// The rule that fired, e.g. `probability > threshold for 3 samples`.
    pub rule: String,
    /// What it was decided from: name and value.
    pub inputs: Vec<(String, String)>,
    /// Whether it was carried out, only proposed, or only observed.
    pub outcome: Outcome,
}

/// What became of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Carried out.
    Done,
    /// Waits for a person (`approve` mode).
    Proposed,
    /// Recorded only (`observe` mode).
    Observed,
    /// Given up or undone; the rule says why.
    RolledBack,
}
