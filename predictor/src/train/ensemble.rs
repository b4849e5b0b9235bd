//! Fitting the judges, weighing them, and calibrating the whole on faults that the judges had not seen.
//!
//! The next failure is of a kind that is in no training set. So the weights and the calibration are learnt from what the
//! judges say about each kind of fault when fitted on the others (and on other calm runs): never from their own fit.
//!
//! More of the calm is kept for the test than of the faults. So that a probability is one of all that was recorded, and not of the part
//! that trains, a step counts in the calibration for as many as it stands for: by the lengths of the runs, never by what came of them.

use std::collections::BTreeSet;

use super::TrainError;
use super::dataset::{Label, Series};
use super::figures::{average_precision, calm_until};
use super::fit::{self, Plan, Steps};
use super::logistic::{self, Cases, How};
use crate::calibrate::{Interval, Scored, VennAbers};
use crate::features::{N_FEATURES, N_NAMELESS, NAMELESS};
use crate::gbdt::{Binned, Booster, Loss, Params, Rows, Target};
use crate::judges::{HORIZONS, JUDGES, Linear, Logits, NAMES, horizons};
use crate::model::{Ensemble, Fitted};
use crate::panel::Panel;
use crate::pooled::POOLED;
use crate::recording::RunKind;
use crate::time_left::{Failed, TimeLeft};

/// Neighbouring steps of a run say the same: so many count as one (5 s).
const ALIKE: f32 = 25.0;
/// The features that tell of load and of movement, which may be good or bad news. The rest may only make things worse
/// when they rise: that is what carries over to a fault that was never seen.
const FREE: [usize; 3] = [POOLED, POOLED + 3, POOLED + 9];

fn rising() -> Vec<usize> {
    (0..N_NAMELESS).filter(|feature| !FREE.contains(feature)).collect()
}

/// What every judge said at every step of one run.
pub(crate) type Said = Vec<[Logits; JUDGES]>;

/// Fits all judges.
pub(crate) fn judges(train: &[Series], plan: Plan, steps: &mut Steps<'_>) -> Result<Fitted, TrainError> {
    let net = fit::fit(train, plan, steps)?;
    let (mut rows, mut columns) = (Vec::new(), vec![Vec::new(); N_FEATURES]);
    let mut truth: [Vec<bool>; HORIZONS] = Default::default();
    for series in train {
        for step in (0..series.len()).filter(|step| series.labels[*step] != Label::Ignored) {
            let row = series.row(step as isize);
            rows.extend_from_slice(&row[NAMELESS..]);
            columns.iter_mut().zip(row).for_each(|(column, value)| column.push(*value));
            for (truth, horizon) in truth.iter_mut().zip(horizons(plan.horizon_ms)) {
                truth.push(series.target(step, horizon).0);
            }
        }
    }
    let rising = rising();
    let mut linear = Linear { weights: [[0.0; N_NAMELESS]; HORIZONS], bias: [0.0; HORIZONS] };
    for (h, truth) in truth.iter().enumerate() {
        let cases = Cases { x: &rows, columns: N_NAMELESS, y: truth };
        let (weights, bias) = logistic::fit(cases, How { l2: 0.01, rising: &rising });
        linear.weights[h].copy_from_slice(&weights);
        linear.bias[h] = bias;
    }
    let trees = grown(&columns[NAMELESS..], &truth, &rising, plan.seed)?;
    let named = grown(&columns, &truth, &[], plan.seed)?;
    steps.done();
    Ok(Fitted { net, trees, named, linear })
}

/// Every judge of the ensemble.
const ALL: [usize; JUDGES] = [0, 1, 2, 3, 4, 5];

/// Trees for each horizon, of the columns of these features.
fn grown(
    columns: &[Vec<f32>],
    truth: &[Vec<bool>; HORIZONS],
    rising: &[usize],
    seed: u64,
) -> Result<[Booster; HORIZONS], TrainError> {
    let binned = Binned::new(columns, 64)?;
    let trees: Vec<Booster> =
        truth.iter().map(|truth| grow(&binned, truth, rising, seed)).collect::<Result<_, _>>()?;
    <[Booster; HORIZONS]>::try_from(trees).map_err(|_| TrainError::Horizons)
}

fn grow(binned: &Binned, truth: &[bool], rising: &[usize], seed: u64) -> Result<Booster, TrainError> {
    let y: Vec<f32> = truth.iter().map(|y| f32::from(u8::from(*y))).collect();
    let params = Params {
        // Small, and each from few of the rows and features: what is learnt of these faults must hold for others.
        trees: 120,
        leaves: 8,
        rate: 0.06,
        min_child_rows: 60,
        l2: 5.0,
        columns: 0.1,
        rows: 0.5,
        seed,
        rising: rising.to_vec(),
        ..Params::new(Loss::logistic())
    };
    Ok(Booster::fit(binned, &Target::new(&y, None)?, Rows::all(y.len()), &params)?)
}

/// What the judges say at every step, with the live code.
pub(crate) fn ask(fitted: &Fitted, series: &Series, window: usize) -> Result<Said, TrainError> {
    let mut panel = Panel::new(&fitted.parts(window)?);
    Ok(listen(&mut panel, series))
}

/// The same with a panel that has heard nothing yet.
pub(crate) fn listen(panel: &mut Panel, series: &Series) -> Said {
    let step = |step: usize| {
        let mut shown = [0.0; N_FEATURES];
        shown.copy_from_slice(series.row(step as isize));
        panel.push(&shown);
        panel.said(&shown)
    };
    (0..series.len()).map(step).collect()
}

/// What was said at one horizon, row after row; what came; and what is known of each step beside.
#[derive(Default)]
struct Heard {
    x: Vec<f32>,
    y: Vec<bool>,
    of: Vec<About>,
}

/// A step.
struct About {
    /// How many recorded ones it stands for.
    stands_for: f32,
    /// Its kind of fault, by number.
    kind: usize,
    /// To the failure, if it comes within the horizon.
    left_ms: Option<u64>,
}

impl Heard {
    fn new(train: &[Series], said: &[Said], h: usize, horizon: u64) -> Self {
        let mut heard = Self::default();
        let kinds: BTreeSet<&String> = train.iter().map(|series| &series.fault).collect();
        for (series, said) in train.iter().zip(said) {
            let kind = kinds.iter().position(|kind| **kind == series.fault).unwrap_or(kinds.len());
            for (step, said) in said.iter().enumerate() {
                let (fails, teaches) = series.target(step, horizon);
                if teaches {
                    heard.x.extend(said.iter().map(|logits| logits[h]));
                    heard.y.push(fails);
                    let left_ms = series.left_ms(step, horizon);
                    heard.of.push(About { stands_for: series.stands_for, kind, left_ms });
                }
            }
        }
        heard
    }

    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.x.chunks_exact(JUDGES)
    }

    fn area(&self, score: impl Fn(&[f32]) -> f32) -> f64 {
        let steps: Vec<_> = self.rows().zip(&self.y).map(|(row, y)| (f64::from(score(row)), *y)).collect();
        average_precision(&steps)
    }
}

/// Weighs the judges by what they said of runs they had not seen, and calibrates the sum. Also gives the area under precision and
/// recall of that sum and of each judge, at the longest horizon.
pub(crate) fn weigh(
    train: &[Series],
    said: &[Said],
    horizon_ms: u64,
) -> Result<(Ensemble, Vec<(String, f64)>), TrainError> {
    let mut weights = [[0.0; JUDGES]; HORIZONS];
    let mut bias = [0.0; HORIZONS];
    let mut calibration = Vec::with_capacity(HORIZONS);
    let (mut time_left, mut areas) = (None, Vec::new());
    for (h, horizon) in horizons(horizon_ms).into_iter().enumerate() {
        let heard = Heard::new(train, said, h, horizon);
        let cases = Cases { x: &heard.x, columns: JUDGES, y: &heard.y };
        let (found, at) = logistic::fit(cases, How { l2: 0.01, rising: &ALL });
        weights[h].copy_from_slice(&found);
        bias[h] = at;
        let sum = |row: &[f32]| at + row.iter().zip(&found).map(|(x, w)| x * w).sum::<f32>();
        let scored = heard.rows().zip(&heard.y).zip(&heard.of).map(|((row, &positive), of)| Scored {
            score: sum(row),
            positive,
            weight: of.stands_for / ALIKE,
        });
        let scored: Vec<Scored> = scored.collect();
        calibration.push(VennAbers::fit(&scored)?);
        let failed = scored.iter().zip(&heard.of).filter_map(|(case, &About { kind, left_ms, .. })| {
            let left_ms = left_ms.filter(|left| *left > 0)?;
            Some(Failed { score: case.score, left_ms, kind })
        });
        let failed: Vec<Failed> = failed.collect();
        time_left = Some(TimeLeft::fit(&failed, horizon));
        areas = vec![("all together".to_owned(), heard.area(sum))];
        areas
            .extend(NAMES.iter().enumerate().map(|(j, name)| ((*name).to_owned(), heard.area(|row| row[j]))));
    }
    let calibration = <[VennAbers; HORIZONS]>::try_from(calibration).map_err(|_| TrainError::Horizons)?;
    let time_left = time_left.ok_or(TrainError::Horizons)?;
    Ok((Ensemble { weights, bias, calibration, time_left }, areas))
}

/// By what, and from where on, to alarm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alarm {
    /// The place of the horizon.
    pub(crate) horizon: usize,
    pub(crate) from: f32,
    /// Failures of the training runs, and those that it would have foreseen.
    pub(crate) foreseen: (usize, usize),
}

/// The best of the alarms by one horizon whose probability has [`SPARE`] times the odds of any that two calm steps in a row have: the one
/// that gives most of ten times what a move takes. Judged, as all of the ensemble, by what was said of runs that were left out.
pub(crate) fn alarm(train: &[Series], said: &[Said], ensemble: &Ensemble, horizon_ms: u64) -> Alarm {
    let within_ms = horizons(horizon_ms);
    let by = |horizon: usize| {
        let warning =
            |(series, said): (&Series, &Said)| Warning::of(series, &lasting(said, ensemble, horizon));
        let warnings: Vec<Warning> = train.iter().zip(said).map(warning).collect();
        let calm = warnings.iter().fold(0.0f32, |highest, warning| highest.max(warning.calm));
        let from = (SPARE * calm / (1.0 + (SPARE - 1.0) * calm)).clamp(LEAST_ALARM, 0.95);
        let failures = warnings.iter().filter_map(|warning| warning.failing.as_ref());
        let leads: Vec<u64> = failures.clone().filter_map(|course| course.lead_ms(from)).collect();
        let ten_moves = (within_ms[horizon] / 2).max(10 * LEAST_MOVE_MS);
        let enough = |lead: &u64| (*lead as f64 / ten_moves as f64).min(1.0);
        let given: f64 = leads.iter().map(enough).sum();
        (given, Alarm { horizon, from, foreseen: (failures.count(), leads.len()) })
    };
    let longest = by(HORIZONS - 1);
    (0..HORIZONS - 1).map(by).fold(longest, |best, other| if other.0 > best.0 { other } else { best }).1
}

/// The least probability of each two steps in a row: that is what an alarm takes.
fn lasting(said: &Said, ensemble: &Ensemble, horizon: usize) -> Vec<f32> {
    let mut before = 0.0f32;
    let probability = |said| ensemble.interval(horizon, said).map_or(0.0, Interval::probability);
    said.iter().map(probability).map(|p| std::mem::replace(&mut before, p).min(p)).collect()
}

/// What was said of one run.
#[derive(Clone, Debug, Default)]
struct Warning {
    /// The highest while all was well.
    calm: f32,
    /// Between the start of a fault and the failure; `None`: there was none.
    failing: Option<Course>,
}

/// Each probability that was higher than all before it, and how long before the failure that was (ms).
#[derive(Clone, Debug, Default)]
struct Course(Vec<(f32, u64)>);

impl Course {
    fn push(&mut self, p: f32, left_ms: u64) {
        if self.0.last().is_none_or(|(highest, _)| p > *highest) {
            self.0.push((p, left_ms));
        }
    }

    /// How long before the failure an alarm from this probability on begins.
    fn lead_ms(&self, from: f32) -> Option<u64> {
        self.0.iter().find(|(p, _)| *p >= from).map(|(_, left_ms)| *left_ms)
    }
}

impl Warning {
    fn of(series: &Series, lasting: &[f32]) -> Self {
        let faulty = series.kind != RunKind::Calm;
        let calm_until = calm_until(series);
        let mut warning =
            Self { calm: 0.0, failing: (faulty && series.failure_ms.is_some()).then(Course::default) };
        for ((at, label), p) in series.at_ms.iter().zip(&series.labels).zip(lasting) {
            if *at < calm_until {
                warning.calm = if *label == Label::Healthy { warning.calm.max(*p) } else { warning.calm };
            } else if let (Some(course), Some(failure)) = (&mut warning.failing, series.failure_ms)
                && *at < failure
            {
                course.push(*p, failure - at);
            }
        }
        warning
    }
}

/// A move takes a twentieth of the time that the alarm speaks of, but no less than this (`control::switchover`).
const LEAST_MOVE_MS: u64 = 450;
/// The odds at which to alarm, as a multiple of the highest in calm. Where the threshold came from one half of the calm and the
/// other half was judged, that left one false alarm in twenty and two thirds of the failures foreseen.
const SPARE: f32 = 2.0;
/// A failure that is less likely than this is no reason to move traffic, whatever the data say.
const LEAST_ALARM: f32 = 0.2;
