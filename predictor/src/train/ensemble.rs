//! Fitting the judges, weighing them, and calibrating the whole on faults that the judges had not seen.
//!
//! The next failure is of a kind that is in no training set. So the weights and the calibration are learnt from what the
//! judges say about each kind of fault when fitted on the others (and on other calm runs): never from their own fit.

use super::TrainError;
use super::dataset::{Label, Series};
use super::figures::average_precision;
use super::fit::{self, Plan};
use super::logistic::{self, Cases, How};
use crate::calibrate::{Scored, VennAbers};
use crate::features::N_NAMELESS;
use crate::gbdt::{Binned, Booster, Loss, Params, Rows, Target};
use crate::judges::{HORIZONS, JUDGES, Linear, Logits, NAMES, horizons};
use crate::model::{Ensemble, Fitted};
use crate::panel::Panel;
use crate::pooled::POOLED;
use crate::recording::RunKind;

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
pub(crate) fn judges(
    train: &[Series],
    plan: Plan,
    progress: &mut impl FnMut(&str),
) -> Result<Fitted, TrainError> {
    let net = fit::fit(train, plan, &mut *progress)?;
    let mut rows = Vec::new();
    let mut truth: [Vec<bool>; HORIZONS] = Default::default();
    for series in train {
        for step in (0..series.len()).filter(|step| series.labels[*step] != Label::Ignored) {
            rows.extend_from_slice(series.shown(step as isize));
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
    let columns: Vec<Vec<f32>> =
        (0..N_NAMELESS).map(|c| rows.iter().skip(c).step_by(N_NAMELESS).copied().collect()).collect();
    let binned = Binned::new(&columns, 64)?;
    let trees: Vec<Booster> =
        truth.iter().map(|truth| grow(&binned, truth, plan.seed)).collect::<Result<_, _>>()?;
    let trees = <[Booster; HORIZONS]>::try_from(trees).map_err(|_| TrainError::Horizons)?;
    Ok(Fitted { net, trees, linear })
}

/// Every judge of the ensemble.
const ALL: [usize; JUDGES] = [0, 1, 2, 3, 4];

fn grow(binned: &Binned, truth: &[bool], seed: u64) -> Result<Booster, TrainError> {
    let y: Vec<f32> = truth.iter().map(|y| f32::from(u8::from(*y))).collect();
    let params = Params {
        // Few and shallow: what is learnt of these faults must hold for others.
        trees: 80,
        leaves: 4,
        rate: 0.05,
        min_child_rows: 60,
        l2: 5.0,
        columns: 0.3,
        rows: 0.7,
        seed,
        rising: rising(),
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
        let mut shown = [0.0; N_NAMELESS];
        shown.copy_from_slice(series.shown(step as isize));
        panel.push(&shown);
        panel.said(&shown)
    };
    (0..series.len()).map(step).collect()
}

/// What the judges say of every run when they were fitted without its kind of fault.
pub(crate) fn unseen(
    train: &[Series],
    plan: Plan,
    progress: &mut impl FnMut(&str),
) -> Result<Vec<Said>, TrainError> {
    let mut kinds: Vec<&str> =
        train.iter().filter(|s| s.kind != RunKind::Calm).map(|s| s.fault.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    // Calm runs go around. With a single kind of fault there is none to leave out: its runs go around too.
    let folds = if kinds.len() > 1 { kinds.len() } else { 4 };
    let fold =
        |i: usize, s: &Series| match kinds.iter().position(|k| s.kind != RunKind::Calm && *k == s.fault) {
            Some(kind) if kinds.len() > 1 => kind,
            _ => i % folds,
        };
    let mut said: Vec<Said> = vec![Vec::new(); train.len()];
    for out in 0..folds {
        progress(&format!("without {}", kinds.get(out).filter(|_| kinds.len() > 1).unwrap_or(&"a part")));
        let rest: Vec<Series> =
            train.iter().enumerate().filter(|(i, s)| fold(*i, s) != out).map(|(_, s)| s.clone()).collect();
        let fitted = judges(&rest, plan, progress)?;
        for (i, series) in train.iter().enumerate().filter(|(i, s)| fold(*i, s) == out) {
            said[i] = ask(&fitted, series, plan.window)?;
        }
    }
    Ok(said)
}

/// Weighs the judges by what they said of faults they had not seen, and calibrates the sum.
pub(crate) fn weigh(
    train: &[Series],
    said: &[Said],
    horizon_ms: u64,
    progress: &mut impl FnMut(&str),
) -> Result<Ensemble, TrainError> {
    let mut weights = [[0.0; JUDGES]; HORIZONS];
    let mut bias = [0.0; HORIZONS];
    let mut calibration = Vec::with_capacity(HORIZONS);
    for (h, horizon) in horizons(horizon_ms).into_iter().enumerate() {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for (series, said) in train.iter().zip(said) {
            for (step, said) in said.iter().enumerate() {
                let (fails, teaches) = series.target(step, horizon);
                if teaches {
                    x.extend(said.iter().map(|logits| logits[h]));
                    y.push(fails);
                }
            }
        }
        let cases = Cases { x: &x, columns: JUDGES, y: &y };
        let (found, at) = logistic::fit(cases, How { l2: 0.01, rising: &ALL });
        weights[h].copy_from_slice(&found);
        bias[h] = at;
        let sum = |row: &[f32]| at + row.iter().zip(&found).map(|(x, w)| x * w).sum::<f32>();
        let scored: Vec<Scored> = x
            .chunks_exact(JUDGES)
            .zip(&y)
            .map(|(row, &positive)| Scored { score: sum(row), positive, weight: 1.0 / ALIKE })
            .collect();
        calibration.push(VennAbers::fit(&scored)?);
        let rank = |score: &dyn Fn(&[f32]) -> f32| {
            let steps: Vec<_> =
                x.chunks_exact(JUDGES).zip(&y).map(|(row, y)| (f64::from(score(row)), *y)).collect();
            average_precision(&steps)
        };
        let each = NAMES.iter().enumerate().map(|(j, name)| format!("{name} {:.3}", rank(&|row| row[j])));
        let each: Vec<String> = each.collect();
        progress(&format!(
            "within {horizon} ms, on faults left out: AUC-PR {:.3} ({})",
            rank(&sum),
            each.join(", ")
        ));
    }
    let calibration = <[VennAbers; HORIZONS]>::try_from(calibration).map_err(|_| TrainError::Horizons)?;
    Ok(Ensemble { weights, bias, calibration })
}

/// The lowest probability at which no calm step of the training runs would have alarmed, with a tenth to spare; judged,
/// as all of the ensemble, by what was said of runs that were left out. Never below [`LEAST_ALARM`].
pub(crate) fn alarm_from(train: &[Series], said: &[Said], ensemble: &Ensemble) -> f32 {
    let mut highest = 0.0f32;
    for (series, said) in train.iter().zip(said) {
        let calm_until = match series.kind {
            RunKind::Calm => series.failure_ms,
            _ => series.inject_ms,
        };
        let mut before = 0.0;
        for (at, said) in series.at_ms.iter().zip(said) {
            if calm_until.is_none_or(|until| *at < until)
                && let Some(interval) = ensemble.interval(HORIZONS - 1, said)
            {
                // An alarm takes two steps in a row.
                highest = highest.max(interval.probability().min(before));
                before = interval.probability();
            }
        }
    }
    (1.1 * highest).clamp(LEAST_ALARM, 0.95)
}

/// A failure that is less likely than this is no reason to move traffic, whatever the data say.
const LEAST_ALARM: f32 = 0.2;
