//! Offline: recordings in, a calibrated model and its card out. The same seed and recordings
//! give the same bytes.

mod card;
mod dataset;
mod ensemble;
mod figures;
mod fit;
mod logistic;

use crate::calibrate::CalibrationError;
use crate::features::STRIDE_MS;
use crate::gbdt::GbdtError;
use crate::judges::HORIZONS;
use crate::model::{Description, Model, ModelError};
use crate::predict::{Outlook, outlook};
use crate::recording::{Run, RunKind};

pub use card::{Card, DataCard, SplitCard};
pub use dataset::{HeldOut, Label, Series, Simple, Split};
pub use figures::{Figures, Meaning, Scores, best_threshold, judge};

/// Steps of the network's window: 6.4 s.
const WINDOW: usize = 32;

/// What to train.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the model.
    pub name: String,
    /// Remarks for the card, e.g. where the data come from.
    pub note: String,
    /// Seed of weights, order and hiding.
    pub seed: u64,
    /// The probability is that of a failure within this time (ms).
    pub horizon_ms: u64,
    /// Passes of the network over the data.
    pub epochs: usize,
    /// Width of the recurrent state.
    pub hidden: usize,
    /// What is kept for the test.
    pub held_out: HeldOut,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "unnamed".into(),
            note: String::new(),
            seed: 1,
            horizon_ms: 10_000,
            epochs: 24,
            hidden: 16,
            held_out: HeldOut::default(),
        }
    }
}

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A set lacks failing or healthy steps.
    #[error(
        "the {set} runs hold {failing} failing and {healthy} healthy steps; both must be there: record more runs \
         (at least three of each kind of fault and of calm)"
    )]
    OneSided {
        /// Which set.
        set: &'static str,
        /// Steps before a failure.
        failing: usize,
        /// Others.
        healthy: usize,
    },
    /// The result is not a usable model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The trees could not be grown.
    #[error("trees: {0}")]
    Trees(#[from] GbdtError),
    /// The whole could not be calibrated.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// A horizon went missing; a mistake of this crate.
    #[error("a horizon is missing")]
    Horizons,
}

impl From<candle_core::Error> for TrainError {
    fn from(e: candle_core::Error) -> Self {
        Self::Model(e.into())
    }
}

/// A model and what is known about it.
#[derive(Clone, Debug)]
pub struct Trained {
    /// Calibrated.
    pub model: Model,
    /// Data, split, figures.
    pub card: Card,
}

/// Trains, calibrates and judges a model; `progress` gets a line now and then.
pub fn train(runs: &[Run], options: &Options, mut progress: impl FnMut(&str)) -> Result<Trained, TrainError> {
    let series: Vec<Series> = runs.iter().map(|r| Series::new(r, options.horizon_ms)).collect();
    let data = DataCard::new(&series);
    let split = Split::new(series, &options.held_out);
    for (set, series) in [("training", &split.train), ("test", &split.test)] {
        let (failing, healthy) = both_sides(set, series)?;
        progress(&format!("{set}: {} runs, {failing} failing and {healthy} healthy steps", series.len()));
    }
    let plan = fit::Plan {
        seed: options.seed,
        hidden: options.hidden,
        window: WINDOW,
        epochs: options.epochs,
        horizon_ms: options.horizon_ms,
    };
    let said = ensemble::unseen(&split.train, plan, &mut progress)?;
    let weighed = ensemble::weigh(&split.train, &said, options.horizon_ms, &mut progress)?;
    progress("with all");
    let fitted = ensemble::judges(&split.train, plan, &mut progress)?;
    let shape = (options.hidden, WINDOW);
    let alarm_from = ensemble::alarm_from(&split.train, &said, &weighed);
    let description = Description {
        alarm_from,
        ..Description::new(options.name.clone(), shape, options.horizon_ms, weighed, options.seed)
    };
    let model = Model::new(fitted, description)?;
    let figures = compare(&split, &options.held_out, &model);
    let card = Card {
        description: model.description().clone(),
        note: options.note.clone(),
        data,
        split: SplitCard::new(&split, &options.held_out),
        epochs: options.epochs,
        stride_ms: STRIDE_MS,
        figures,
    };
    Ok(Trained { model, card })
}

/// A model on runs that it has not seen, at the threshold that its training found.
pub fn evaluate(model: &Model, series: &[Series]) -> Figures {
    let threshold = f64::from(model.description().alarm_from);
    judge(series, &probabilities_of(model, series), threshold, Meaning::Probability)
}

/// What the model says at every step of a run, as the live predictor does; `None` where it gives no number.
pub fn outlooks_of(model: &Model, series: &Series) -> Vec<Option<[Outlook; HORIZONS]>> {
    ensemble::listen(&mut model.panel(), series).iter().map(|said| outlook(model, said)).collect()
}

/// The probability at every step; NaN where there is none.
pub fn probabilities_of(model: &Model, series: &[Series]) -> Vec<Scores> {
    let last = |o: Option<[Outlook; HORIZONS]>| o.map_or(f32::NAN, |o| o[HORIZONS - 1].probability);
    series.iter().map(|s| outlooks_of(model, s).into_iter().map(last).collect()).collect()
}

fn both_sides(set: &'static str, series: &[Series]) -> Result<(usize, usize), TrainError> {
    let count = |wanted| series.iter().flat_map(|s| &s.labels).filter(|l| **l == wanted).count();
    let (failing, healthy) = (count(Label::Failing), count(Label::Healthy));
    if failing == 0 || healthy == 0 {
        return Err(TrainError::OneSided { set, failing, healthy });
    }
    Ok((failing, healthy))
}

/// The parts of the test: the faults never trained on, the loads never trained on, and later runs of what was.
fn parts(split: &Split, held_out: &HeldOut) -> Vec<(&'static str, Vec<Series>)> {
    let calm = |s: &&Series| s.kind == RunKind::Calm;
    let of = |wanted: &dyn Fn(&Series) -> bool| -> Vec<Series> {
        split.test.iter().filter(|s| wanted(s)).cloned().collect()
    };
    let unseen_fault = |s: &Series| held_out.faults.contains(&s.fault);
    let unseen_load = |s: &Series| held_out.profiles.contains(&s.profile);
    let parts = [
        ("unseen faults", of(&|s| unseen_fault(s) || calm(&s))),
        ("unseen loads", of(&|s| unseen_load(s) && !unseen_fault(s))),
        ("later runs", of(&|s| !unseen_load(s) && !unseen_fault(s))),
    ];
    parts.into_iter().filter(|(_, series)| both_sides("", series).is_ok()).collect()
}

/// The model and the simple detectors on the parts of the test. The model has its fixed threshold; the
/// others get the one that serves them best on the training runs.
fn compare(split: &Split, held_out: &HeldOut, model: &Model) -> Vec<(String, Figures)> {
    let mut rows = Vec::new();
    for (part, series) in parts(split, held_out) {
        rows.push((format!("ensemble, {part}"), evaluate(model, &series)));
        type Score = fn(&Simple) -> f32;
        let simple: [(&str, Score); 4] = [
            ("drift score", |s| s.drift),
            ("threshold", |s| s.level),
            ("EWMA z", |s| s.ewma),
            ("linear time to exhaustion", |s| s.exhaustion),
        ];
        for (name, score) in simple {
            let scores = |set: &[Series]| -> Vec<Scores> {
                set.iter().map(|s| s.simple.iter().map(score).collect()).collect()
            };
            let threshold = best_threshold(&split.train, &scores(&split.train));
            let figures = judge(&series, &scores(&series), threshold, Meaning::Score);
            rows.push((format!("{name}, {part}"), figures));
        }
    }
    rows
}
