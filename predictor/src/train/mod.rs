//! Offline: recordings in, a calibrated model and its card out. The same seed and recordings
//! give the same bytes.

mod calibrate;
mod card;
mod dataset;
mod figures;
mod fit;

use crate::features::STRIDE_MS;
use crate::model::{Calibration, Description, Model, ModelError, sigmoid};
use crate::recording::Run;

pub use card::{Card, DataCard, SplitCard};
pub use dataset::{Label, Series, Simple, Split};
pub use figures::{Figures, Meaning, Scores, best_threshold, judge};

/// Steps of the network's window: 6.4 s.
const WINDOW: usize = 32;
/// The alarm threshold of the figures, the product's default.
pub const THRESHOLD: f64 = 0.7;

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
    /// At most this many passes over the data.
    pub epochs: usize,
    /// Width of the recurrent state.
    pub hidden: usize,
    /// Faults whose runs are all kept for the test.
    pub held_out: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "unnamed".into(),
            note: String::new(),
            seed: 1,
            horizon_ms: 10_000,
            epochs: 60,
            hidden: 24,
            held_out: Vec::new(),
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
    let named = [("training", &split.train), ("validation", &split.validation), ("test", &split.test)];
    for (set, series) in named {
        let (failing, healthy) = both_sides(set, series)?;
        progress(&format!("{set}: {} runs, {failing} failing and {healthy} healthy steps", series.len()));
    }
    let plan =
        fit::Plan { seed: options.seed, hidden: options.hidden, window: WINDOW, epochs: options.epochs };
    let fitted = fit::fit(&split.train, &split.validation, plan, &mut progress)?;
    let shape = (options.hidden, WINDOW);
    let mut description = Description::new(options.name.clone(), shape, options.horizon_ms, options.seed);
    let raw = fit::judge(&fitted.net, &split.validation, WINDOW)?;
    if let Some(calibration) =
        calibrate::platt(&figures::labelled(&split.validation, &raw, &figures::FAILING))
    {
        description.calibration = calibration;
    }
    let model = Model::new(fitted.net.clone(), description)?;
    let test = fit::judge(&fitted.net, &split.test, WINDOW)?;
    let calibration = model.description().calibration;
    let figures = compare(&split, &probabilities(&test, calibration));
    let card = Card {
        description: model.description().clone(),
        note: options.note.clone(),
        data,
        split: SplitCard::new(&split, &options.held_out),
        epochs: fitted.epochs,
        best_epoch: fitted.best_epoch,
        stride_ms: STRIDE_MS,
        figures,
    };
    Ok(Trained { model, card })
}

/// A model on runs that it has not seen, at the product's threshold.
pub fn evaluate(model: &Model, series: &[Series]) -> Result<Figures, ModelError> {
    Ok(judge(series, &probabilities_of(model, series)?, THRESHOLD, Meaning::Probability))
}

/// The probability at every step, as the live predictor gives it.
pub fn probabilities_of(model: &Model, series: &[Series]) -> Result<Vec<Scores>, ModelError> {
    let raw = fit::judge(model.net(), series, model.description().window)?;
    Ok(probabilities(&raw, model.description().calibration))
}

fn both_sides(set: &'static str, series: &[Series]) -> Result<(usize, usize), TrainError> {
    let count = |wanted| series.iter().flat_map(|s| &s.labels).filter(|l| **l == wanted).count();
    let (failing, healthy) = (count(Label::Failing), count(Label::Healthy));
    if failing == 0 || healthy == 0 {
        return Err(TrainError::OneSided { set, failing, healthy });
    }
    Ok((failing, healthy))
}

fn probabilities(raw: &[Scores], c: Calibration) -> Vec<Scores> {
    raw.iter().map(|s| s.iter().map(|l| sigmoid(c.scale * l + c.offset)).collect()).collect()
}

/// The model and the simple detectors on the test runs. The model has its fixed threshold; the
/// others get the one that serves them best on the validation runs.
fn compare(split: &Split, model: &[Scores]) -> Vec<(String, Figures)> {
    let mut rows = vec![("gru".to_owned(), judge(&split.test, model, THRESHOLD, Meaning::Probability))];
    type Score = fn(&Simple) -> f32;
    let simple: [(&str, Score); 3] =
        [("drift score", |s| s.drift), ("loss threshold", |s| s.loss), ("EWMA z", |s| s.ewma)];
    for (name, score) in simple {
        let scores = |set: &[Series]| -> Vec<Scores> {
            set.iter().map(|s| s.simple.iter().map(score).collect()).collect()
        };
        let threshold = best_threshold(&split.validation, &scores(&split.validation));
        rows.push((name.to_owned(), judge(&split.test, &scores(&split.test), threshold, Meaning::Score)));
    }
    rows
}
