//! A model's card.

use serde::{Deserialize, Serialize};

use super::figures::Figures;
use super::task;

/// What a model was made from, and what it did on fault kinds it had not seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Runs, of which so many crashed.
    pub runs: usize,
    /// Runs with a crash.
    pub crashed: usize,
    /// Rows of telemetry, and metrics.
    pub rows: usize,
    /// Metrics of a row.
    pub metrics: usize,
    /// The kinds of fault.
    pub faults: Vec<String>,
    /// How the training data were divided to measure.
    pub split: String,
    /// Trees of each member of the ensemble.
    pub trees: usize,
    /// Whether metrics are also known by name, for telemetry of the same metrics.
    pub named: bool,
    /// Seed of the training.
    pub seed: u64,
    /// On the parts left out, with probabilities from a calibration on the other parts.
    pub held_out: Figures,
}

impl Card {
    /// The card as Markdown.
    pub fn markdown(&self) -> String {
        let table = task::table(&self.held_out);
        let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let header = row(table.header.iter().map(ToString::to_string).collect());
        let rule = row(vec!["---".into(); table.header.len()]);
        let body: String = table.rows.into_iter().map(row).collect();
        format!(
            "# Ramp model\n\nP(a node crashes within {} minutes), from one-minute samples of its cluster.\n\n\
             - data: {} rows of {} metrics, {} runs of which {} crashed; kinds of fault: {}\n\
             - measured on: {}\n\
             - trees: 3 × {}, seed {}; metrics known by name: {}\n\n{header}{rule}{body}\n\
             Rows in calm are a weighted draw. Scores come from trees that saw neither the run nor its kind of fault, \
             probabilities from a calibration on the other groups. Abrupt crashes, which nothing announces, count as \
             misses.\n\n\
             Not for: deciding alone. It knows ramps; it has not seen your cluster until it is trained on it.\n",
            super::HORIZON_MINUTES,
            self.rows,
            self.metrics,
            self.runs,
            self.crashed,
            self.faults.join(", "),
            self.split,
            self.trees,
            self.seed,
            if self.named { "yes, beside the nameless features" } else { "no" },
        )
    }
}
