//! The card that travels with a model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::dataset::{HeldOut, Label, Series, Split};
use super::figures::Figures;
use crate::features::STRIDE_MS;
use crate::judges::{HORIZONS, horizons};
use crate::model::Description;
use crate::task;

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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SplitCard {
    /// Fitting, weighing, calibrating, thresholds of the simple detectors.
    pub train: Vec<String>,
    /// The figures.
    pub test: Vec<String>,
    /// What was never trained on.
    pub held_out: HeldOut,
}

impl SplitCard {
    pub(crate) fn new(split: &Split, held_out: &HeldOut) -> Self {
        let names = |set: &[Series]| set.iter().map(|s| s.run.clone()).collect();
        Self { train: names(&split.train), test: names(&split.test), held_out: held_out.clone() }
    }
}

/// What a model expects and how it was weighed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// Its name.
    pub name: String,
    /// Metrics it was shown.
    pub metrics: usize,
    /// Version of the features.
    pub features_version: u32,
    /// Width of the recurrent state.
    pub hidden: usize,
    /// Steps in a window.
    pub window: usize,
    /// Time between steps (ms).
    pub stride_ms: u64,
    /// The longest horizon (ms).
    pub horizon_ms: u64,
    /// Each judge's weight at that horizon.
    pub weights: Vec<(String, f32)>,
    /// The horizon of the probability that raises the alarm (ms).
    pub alarm_within_ms: u64,
    /// The probability at which it is time to alarm.
    pub alarm_from: f32,
    /// Seed of the training.
    pub seed: u64,
}

impl Made {
    pub(crate) fn new(d: &Description) -> Self {
        Self {
            name: d.name.clone(),
            metrics: d.metrics.len(),
            features_version: d.features_version,
            hidden: d.hidden,
            window: d.window,
            stride_ms: d.stride_ms,
            horizon_ms: d.horizon_ms,
            weights: d.judges.iter().cloned().zip(d.ensemble.weights[HORIZONS - 1]).collect(),
            alarm_within_ms: horizons(d.horizon_ms)[d.alarm_horizon],
            alarm_from: d.alarm_from,
            seed: d.seed,
        }
    }
}

/// A model's card: data, split, figures on runs that it never saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// What the model expects, and how it was weighed.
    pub made: Made,
    /// Where the data come from, and caveats.
    pub note: String,
    /// The data.
    pub data: DataCard,
    /// The split.
    pub split: SplitCard,
    /// Epochs of the network.
    pub epochs: usize,
    /// Area under precision and recall on the training runs, each judged without its kind of fault: all judges together, then each.
    pub left_out: Vec<(String, f64)>,
    /// Failures of training runs, each judged without its kind of fault, and how many of them the alarm foresaw; `None`: the model is
    /// older than this figure, and its threshold is the highest probability in calm, and a tenth.
    pub left_out_alarms: Option<(usize, usize)>,
    /// Figures by detector, the model first.
    pub figures: Vec<(String, Figures)>,
}

impl Card {
    /// The model's own figures.
    pub fn model_figures(&self) -> Option<&Figures> {
        self.figures.first().map(|(_, f)| f)
    }

    /// Reads the card of a model.
    ///
    /// # Errors
    /// The file cannot be read, or is no card.
    pub fn read(path: &Path) -> Result<Self, CardError> {
        let failed = |source| CardError::Io { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(failed)?;
        serde_json::from_str(&text).map_err(|source| CardError::Format { path: path.to_owned(), source })
    }

    /// The card of [`crate::Model::default_model`].
    ///
    /// # Errors
    /// It was built with another version of this crate; never, in a tested one.
    pub fn of_default_model() -> Result<Self, CardError> {
        let text = include_str!("../default_model/card.json");
        let path = "the built-in card".into();
        serde_json::from_str(text).map_err(|source| CardError::Format { path, source })
    }

    /// The card for people.
    pub fn markdown(&self) -> String {
        let d = &self.made;
        let runs: Vec<String> = self.data.runs.iter().map(|(kind, n)| format!("{n} × {kind}")).collect();
        let named = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let weights: Vec<String> =
            d.weights.iter().map(|(judge, weight)| format!("{judge} {weight:.2}")).collect();
        let left_out: Vec<String> =
            self.left_out.iter().map(|(who, area)| format!("{who} {area:.3}")).collect();
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
             AdamW), boosted trees that rise with bad news, boosted trees that know the metrics by name, logistic regression, drift, \
             correlation. They are weighed, and the sum is calibrated (Venn–Abers, and the time left by conformal prediction), by what they \
             say of each kind of fault when fitted without it. Weights at the longest horizon: {weights}. AUC-PR on kinds so left \
             out: {left_out}.{foreseen} By whole runs, within each kind in order of time: {train} train, {test} test. \
             Never trained on: faults {faults}; loads {loads}; days {days}.\n\n\
             ## Figures on the test runs\n{table}\n\
             The model alarms by P(failure within {within} s). Its threshold is {spare} at which no calm training run alarmed when it \
             was left out; the others got their best F1 threshold on the training runs. An alarm takes two steps in a row; a run counts as foreseen when one \
             comes between the start of the fault and the failure. In brackets: nine of ten resamplings of whole runs. The lists of \
             runs are in `card.json`.\n",
            name = d.name,
            note = self.note,
            horizon = d.horizon_ms / 1000,
            window = d.window,
            stride = d.stride_ms,
            hidden = d.hidden,
            metrics = d.metrics,
            version = d.features_version,
            runs = runs.join(", "),
            failing = self.data.failing_runs,
            hours = self.data.hours,
            base = 100.0 * self.data.base_rate,
            seed = d.seed,
            epochs = self.epochs,
            weights = weights.join(", "),
            foreseen = self.left_out_alarms.map_or_else(String::new, |(failed, foreseen)| format!(
                " Of {failed} failures so left out the alarm foresaw {foreseen}; no other horizon gives more time."
            )),
            spare = match self.left_out_alarms {
                Some(_) => "of twice the odds of the lowest",
                None => "the lowest",
            },
            within = d.alarm_within_ms as f64 / 1e3,
            left_out = left_out.join(", "),
            train = self.split.train.len(),
            faults = named(&self.split.held_out.faults),
            loads = named(&self.split.held_out.profiles),
            days = named(&self.split.held_out.dates),
            test = self.split.test.len(),
            table = super::task::markdown(&self.table()),
        )
    }

    /// The figures as a table.
    pub fn table(&self) -> task::Figures {
        super::task::table(
            &["detector, on"],
            self.figures.iter().map(|(name, figures)| (vec![name.clone()], figures)),
        )
    }
}

/// Why there is no card.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// Not read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No card.
    #[error("{path} is no card of this version: {source}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}
