//! The card that travels with a model.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::dataset::{HeldOut, Label, Series, Split};
use super::figures::Figures;
use crate::features::STRIDE_MS;
use crate::judges::HORIZONS;
use crate::model::Description;

/// What a model was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataCard {
    /// Runs of each `kind/fault`.
    pub runs: BTreeMap<String, usize>,
    /// Runs that failed.
    pub failing_runs: usize,
    /// Recorded time up to the failures (hours).
    pub hours: f64,
    /// Share of steps within the horizon of a failure.
    pub base_rate: f64,
}

impl DataCard {
    pub(crate) fn new(series: &[Series]) -> Self {
        let mut runs = BTreeMap::new();
        for s in series {
            *runs.entry(format!("{}/{}", s.kind.name(), s.fault)).or_insert(0) += 1;
        }
        let steps: usize = series.iter().map(Series::len).sum();
        let failing = series.iter().flat_map(|s| &s.labels).filter(|l| **l == Label::Failing).count();
        Self {
            runs,
            failing_runs: series.iter().filter(|s| s.failure_ms.is_some()).count(),
            hours: (steps as u64 * STRIDE_MS) as f64 / 3.6e6,
            base_rate: failing as f64 / steps.max(1) as f64,
        }
    }
}

/// Which runs served for what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitCard {
    /// Fitting, weighing, calibrating, thresholds of the simple detectors.
    pub train: Vec<String>,
    /// The figures.
    pub test: Vec<String>,
    /// Faults never trained on.
    pub held_out_faults: Vec<String>,
    /// Loads never trained on.
    pub held_out_profiles: Vec<String>,
}

impl SplitCard {
    pub(crate) fn new(split: &Split, held_out: &HeldOut) -> Self {
        let names = |set: &[Series]| set.iter().map(|s| s.run.clone()).collect();
        Self {
            train: names(&split.train),
            test: names(&split.test),
            held_out_faults: held_out.faults.clone(),
            held_out_profiles: held_out.profiles.clone(),
        }
    }
}

/// A model's card: data, split, figures on runs that it never saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// What the model expects, its seed and calibration.
    pub description: Description,
    /// Where the data come from, and caveats.
    pub note: String,
    /// The data.
    pub data: DataCard,
    /// The split.
    pub split: SplitCard,
    /// Epochs of the network.
    pub epochs: usize,
    /// Time between steps (ms).
    pub stride_ms: u64,
    /// Figures by detector, the model first.
    pub figures: Vec<(String, Figures)>,
}

impl Card {
    /// The model's own figures.
    pub fn model_figures(&self) -> Option<&Figures> {
        self.figures.first().map(|(_, f)| f)
    }

    /// The comparison as a Markdown table.
    pub fn table(&self) -> String {
        let mut t = String::from(
            "| detector | AUC-PR | AUC-ROC | threshold | breaches foreseen | median lead s | deaths foreseen | median lead s | \
             steps recalled | false alarms/h | stopped short, alarmed | Brier | ECE |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        let seconds =
            |ms: Option<u64>| ms.map_or("–".to_owned(), |ms| format!("{:.1}", ms as f64 / 1000.0));
        let number = |v: Option<f64>| v.map_or("–".to_owned(), |v| format!("{v:.3}"));
        for (name, f) in &self.figures {
            let foreseen = (f.recall_runs * f.failing_runs as f64).round();
            // Writing to a String cannot fail.
            let _ = writeln!(
                t,
                "| {name} | {:.3} | {:.3} | {:.3} | {foreseen} of {} | {} | {} of {} | {} | {:.2} | {:.1} | {} of {} | {} | {} |",
                f.auc_pr,
                f.auc_roc,
                f.threshold,
                f.failing_runs,
                seconds(f.median_lead_ms),
                f.deaths.1,
                f.deaths.0,
                seconds(f.median_lead_to_death_ms),
                f.recall_steps,
                f.false_alarms_per_hour,
                f.stopped_short.1,
                f.stopped_short.0,
                number(f.brier),
                number(f.ece),
            );
        }
        t
    }

    /// The card for people.
    pub fn markdown(&self) -> String {
        let d = &self.description;
        let runs: Vec<String> = self.data.runs.iter().map(|(kind, n)| format!("{n} × {kind}")).collect();
        let calm = self.model_figures().map_or(0.0, |f| f.calm_hours);
        let named = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let weighed = d.judges.iter().zip(d.ensemble.weights[HORIZONS - 1]);
        let weights: Vec<String> = weighed.map(|(judge, weight)| format!("{judge} {weight:.2}")).collect();
        format!(
            "# Model `{name}`\n\n{note}\n\n\
             P(failure within {horizon} s, and within a half and a quarter of it) of one subject, {metrics} metrics, features \
             version {version} every {stride} ms. Failure is a measured breach of the SLO or death, never the injection of a \
             fault.\n\n\
             ## Data\n{runs}; {failing} runs fail; {hours:.2} h; {base:.1} % of the steps precede a failure by no more than the \
             horizon. Steps between a breach and death are taught as failing; the probability is calibrated over them too (failing \
             within the horizon, or already), the areas and the recall are of the steps before the breach alone. Steps after the \
             end, of the warm-up, and before a fault began are left out; abrupt faults are not judged.\n\n\
             ## Training\nSeed {seed}. Judges: a GRU of {hidden} units over {window} steps ({epochs} epochs, weighted cross entropy, \
             AdamW), boosted trees that rise with bad news, logistic regression, drift, correlation. They are weighed, and the sum \
             is calibrated (Venn–Abers), by what they say of each kind of fault when fitted without it. Weights at the longest \
             horizon: {weights}. By whole runs, within each kind in order of time: {train} train, {test} test. Never trained on: \
             faults {faults}; loads {loads}.\n\n\
             ## Figures on the test runs\n{table}\n\
             The model's threshold is the lowest at which no calm training run alarmed when it was left out; the others got their \
             best F1 threshold on the training runs. A run counts \
             as foreseen when an alarm comes between the start of the fault and the failure. False alarms of the first row are \
             counted over {calm:.2} h without a fault. The lists of runs are in `card.json`.\n",
            name = d.name,
            note = self.note,
            horizon = d.horizon_ms / 1000,
            window = d.window,
            stride = d.stride_ms,
            hidden = d.hidden,
            metrics = d.metrics.len(),
            version = d.features_version,
            runs = runs.join(", "),
            failing = self.data.failing_runs,
            hours = self.data.hours,
            base = 100.0 * self.data.base_rate,
            seed = d.seed,
            epochs = self.epochs,
            weights = weights.join(", "),
            train = self.split.train.len(),
            faults = named(&self.split.held_out_faults),
            loads = named(&self.split.held_out_profiles),
            test = self.split.test.len(),
            table = self.table(),
        )
    }
}
