//! Offline: recordings in, a calibrated model and its card out. The same seed and recordings
//! give the same bytes.

mod card;
mod compare;
mod dataset;
mod ensemble;
mod figures;
mod fit;
mod left_out;
mod logistic;
mod pictures;
mod task;

use std::path::Path;

use crate::calibrate::CalibrationError;
use crate::gbdt::GbdtError;
use crate::judges::HORIZONS;
use crate::lifecycle;
use crate::model::{Description, Model, ModelError};
use crate::predict::{Verdict, verdict};
use crate::recording::Run;
use crate::task::OnProgress;

pub use card::{Card, CardError, DataCard, Made, SplitCard};
use compare::Sets;
pub use dataset::{HeldOut, Label, Series, Simple, Split};
pub use figures::{Alarm, Coverage, Figures, Meaning, Scores, best_threshold, judge};
pub use task::{Asked, EvaluateError, evaluate as evaluate_recordings};

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
    /// Kinds of fault that are left out at the same time, each on a core; the outcome is the same.
    pub jobs: usize,
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
            jobs: 1,
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
    /// There is nothing to hold out.
    #[error("no run is of the fault, load, day or hour {0} that is to be held out")]
    NotThere(String),
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

impl Trained {
    /// Writes the model and its card, for machines and for people, into a folder that is made if it is not there.
    pub fn save(&self, folder: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let bytes = self.model.to_bytes().map_err(std::io::Error::other)?;
        std::fs::write(folder.join(lifecycle::MODEL), bytes)?;
        std::fs::write(folder.join(lifecycle::CARD), serde_json::to_string(&self.card)? + "\n")?;
        std::fs::write(folder.join(lifecycle::CARD_TEXT), self.card.markdown())
    }
}

/// Trains, calibrates and judges a model; `progress` hears of every step.
pub fn train(runs: &[Run], options: &Options, progress: OnProgress<'_>) -> Result<Trained, TrainError> {
    let series = Series::all(runs, options.horizon_ms);
    let data = DataCard::new(&series);
    if let Some(name) = options.held_out.absent(&series) {
        return Err(TrainError::NotThere(name.to_owned()));
    }
    let split = Split::new(series, &options.held_out);
    both_sides("training", &split.train)?;
    both_sides("test", &split.test)?;
    let plan = fit::Plan {
        seed: options.seed,
        hidden: options.hidden,
        window: WINDOW,
        epochs: options.epochs,
        horizon_ms: options.horizon_ms,
    };
    let steps = &mut fit::Steps::new(progress);
    let said = left_out::unseen(&split.train, plan, options.jobs, steps)?;
    let (weighed, left_out) = ensemble::weigh(&split.train, &said, options.horizon_ms)?;
    steps.name("with all".into());
    let fitted = ensemble::judges(&split.train, plan, steps)?;
    let shape = (options.hidden, WINDOW);
    let alarm = ensemble::alarm(&split.train, &said, &weighed, options.horizon_ms);
    let description = Description {
        alarm_horizon: alarm.horizon,
        alarm_from: alarm.from,
        ..Description::new(options.name.clone(), shape, options.horizon_ms, weighed, options.seed)
    };
    let model = Model::new(fitted, description)?;
    let mut card = Card {
        made: Made::new(model.description()),
        note: options.note.clone(),
        data,
        split: SplitCard::new(&split, &options.held_out),
        epochs: options.epochs,
        left_out,
        left_out_alarms: Some(alarm.foreseen),
        figures: Vec::new(),
    };
    let sets = Sets::new(&card.split, [split.train, split.test].concat());
    let name = |row: &compare::Row| format!("{}, {}", row.name, sets.parts[row.part].name);
    let rows = compare::rows(&model, &sets, &[]);
    card.figures = rows.into_iter().map(|row| (name(&row), row.figures)).collect();
    Ok(Trained { model, card })
}

/// A model on runs that it has not seen, at the threshold that its training found.
pub fn evaluate(model: &Model, series: &[Series]) -> Figures {
    Spoken::of(model, series).judge(model, series)
}

/// What the model says at every step of a run, as the live predictor does; `None` where it gives no number.
pub fn verdicts_of(model: &Model, series: &Series) -> Vec<Option<Verdict>> {
    ensemble::listen(&mut model.panel(), series).iter().map(|said| verdict(model, said)).collect()
}

/// What a model says at every step of each run; NaN where there is no number.
#[derive(Clone, Debug, Default)]
pub struct Spoken {
    /// P(failure within the longest horizon).
    pub probability: Vec<Scores>,
    /// The probability that raises the alarm.
    pub alarm: Vec<Scores>,
}

impl Spoken {
    /// Asks the model.
    pub fn of(model: &Model, series: &[Series]) -> Self {
        let mut spoken = Self::default();
        series.iter().for_each(|series| spoken.push(model, &verdicts_of(model, series)));
        spoken
    }

    /// The words on one more run.
    pub(crate) fn push(&mut self, model: &Model, verdicts: &[Option<Verdict>]) {
        let at = |horizon: usize| -> Scores {
            let p = |verdict: &Option<Verdict>| verdict.map_or(f32::NAN, |v| v.outlook[horizon].probability);
            verdicts.iter().map(p).collect()
        };
        self.probability.push(at(HORIZONS - 1));
        self.alarm.push(at(model.description().alarm_horizon));
    }

    /// The figures of it.
    pub fn judge(&self, model: &Model, series: &[Series]) -> Figures {
        let threshold = f64::from(model.description().alarm_from);
        let alarm = Alarm { scores: &self.alarm, threshold };
        judge(series, &self.probability, alarm, Meaning::Probability)
    }
}

fn both_sides(set: &'static str, series: &[Series]) -> Result<(usize, usize), TrainError> {
    let count = |wanted| series.iter().flat_map(|s| &s.labels).filter(|l| **l == wanted).count();
    let (failing, healthy) = (count(Label::Failing), count(Label::Healthy));
    if failing == 0 || healthy == 0 {
        return Err(TrainError::OneSided { set, failing, healthy });
    }
    Ok((failing, healthy))
}
