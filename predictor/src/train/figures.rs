//! How good a detector is on runs that it has not seen.

use serde::{Deserialize, Serialize};

use super::dataset::{Label, Series};
use crate::features::STRIDE_MS;
use crate::recording::RunKind;
use crate::rng::Rng;

/// Scores of one series, one each step.
pub type Scores = Vec<f32>;

/// Figures of one detector on one set of runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Runs judged (those without warning left out).
    pub runs: usize,
    /// Share of steps that precede a failure by no more than the horizon.
    pub base_rate: f64,
    /// Area under precision and recall (average precision), by step.
    pub auc_pr: f64,
    /// The same for nine of ten resamplings of whole runs.
    pub auc_pr_range: [f64; 2],
    /// Area under the ROC curve, by step.
    pub auc_roc: f64,
    /// Alarm threshold for what follows.
    pub threshold: f64,
    /// Share of failing steps above the threshold.
    pub recall_steps: f64,
    /// Runs of a fault that failed (those without warning left out), and how many were alarmed between its start and the failure.
    pub foreseen: (usize, usize),
    /// The times from the first such alarm to the failure (ms), shortest first.
    pub leads_ms: Vec<u64>,
    /// Runs that died or lost their path for good (those without warning left out), and how many of them were
    /// alarmed before: in time for traffic to be moved.
    pub deaths: (usize, usize),
    /// Median time from the first such alarm to the death (ms).
    pub median_lead_to_death_ms: Option<u64>,
    /// Alarms in runs that never fail or before the fault began.
    pub false_alarms: usize,
    /// The time that is judged so (hours).
    pub calm_hours: f64,
    /// Runs of a fault that stopped short of failure, and how many of them were alarmed.
    pub stopped_short: (usize, usize),
    /// Mean squared error of the probability, up to the death; only for probabilities.
    pub brier: Option<f64>,
    /// Expected calibration error over ten bins, up to the death; only for probabilities.
    pub ece: Option<f64>,
    /// The same for nine of ten resamplings of whole runs.
    pub ece_range: Option<[f64; 2]>,
    /// How often the interval of the time left was right; only for models that give one.
    pub coverage: Option<Coverage>,
}

impl Figures {
    /// Share of the failing runs that were foreseen.
    pub fn recall_runs(&self) -> f64 {
        ratio(self.foreseen.1 as f64, self.foreseen.0 as f64)
    }
    /// Median of [`Figures::leads_ms`].
    pub fn median_lead_ms(&self) -> Option<u64> {
        self.leads_ms.get(self.leads_ms.len() / 2).copied()
    }
    /// False alarms in a day of calm.
    pub fn false_alarms_per_day(&self) -> f64 {
        ratio(24.0 * self.false_alarms as f64, self.calm_hours)
    }
}

/// How often an interval held what came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Intervals given at steps that a failure followed within the horizon.
    pub given: usize,
    /// Those of them that it came in.
    pub held: usize,
}

impl Coverage {
    /// Share of the intervals that held.
    pub fn share(&self) -> f64 {
        ratio(self.held as f64, self.given as f64)
    }
}

/// Whether a detector's scores are probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Calibrated.
    Probability,
    /// Any number: higher is worse.
    Score,
}

/// What raises the alarm.
#[derive(Clone, Copy, Debug)]
pub struct Alarm<'a> {
    /// Scores of each series: often, but not always, those that are judged by step.
    pub scores: &'a [Scores],
    /// It is raised from this one on.
    pub threshold: f64,
}

/// Judges a detector on whole runs.
pub fn judge(series: &[Series], scores: &[Scores], alarm: Alarm<'_>, meaning: Meaning) -> Figures {
    let warned = |scores| -> Vec<(&Series, &Scores)> {
        series.iter().zip::<&[Scores]>(scores).filter(|(s, _)| s.kind != RunKind::Abrupt).collect()
    };
    let (judged, threshold) = (warned(scores), alarm.threshold);
    let by_run = |positive: &[Label]| -> Vec<Vec<Step>> {
        judged.iter().map(|(s, scores)| labelled_run(s, scores, positive)).collect()
    };
    let (before, whole) = (by_run(&[Label::Failing]), by_run(&FAILING));
    let (steps, to_death) = (before.concat(), whole.concat());
    let alarms = alarms(&warned(alarm.scores), threshold);
    let failing = steps.iter().filter(|s| s.1).count();
    let alarming: Vec<Step> = warned(alarm.scores)
        .iter()
        .flat_map(|(s, scores)| labelled_run(s, scores, &[Label::Failing]))
        .collect();
    let hits = alarming.iter().filter(|(score, failing)| *failing && *score >= threshold).count();
    let probability = meaning == Meaning::Probability;
    let mut leads_ms = alarms.leads;
    leads_ms.sort_unstable();
    Figures {
        runs: judged.len(),
        base_rate: ratio(failing as f64, steps.len() as f64),
        auc_pr: average_precision(&steps),
        auc_pr_range: resampled(&before, average_precision),
        auc_roc: auc_roc(&steps),
        threshold,
        recall_steps: ratio(hits as f64, failing as f64),
        foreseen: (alarms.failing, leads_ms.len()),
        leads_ms,
        deaths: (alarms.deaths, alarms.leads_to_death.len()),
        median_lead_to_death_ms: median(alarms.leads_to_death),
        false_alarms: alarms.wrong,
        calm_hours: alarms.calm_ms as f64 / 3.6e6,
        stopped_short: alarms.stopped_short,
        brier: probability.then(|| brier(&to_death)),
        ece: probability.then(|| calibration_error(&to_death)),
        ece_range: probability.then(|| resampled(&whole, calibration_error)),
        coverage: None,
    }
}

/// A score and what came.
pub(crate) type Step = (f64, bool);

/// Times that whole runs are drawn anew.
const RESAMPLED: usize = 200;

/// What a figure is for nine of ten draws of as many runs: neighbouring steps of a run say the same, so runs are drawn and not
/// steps.
fn resampled(by_run: &[Vec<Step>], figure: impl Fn(&[Step]) -> f64) -> [f64; 2] {
    let mut rng = Rng::new(1);
    let mut found: Vec<f64> = (0..RESAMPLED)
        .map(|_| {
            let drawn: Vec<Step> =
                by_run.iter().flat_map(|_| &by_run[rng.below(by_run.len())]).copied().collect();
            figure(&drawn)
        })
        .collect();
    found.sort_by(f64::total_cmp);
    [found[RESAMPLED / 20], found[RESAMPLED - 1 - RESAMPLED / 20]]
}

/// What a calibrated probability means: the subject fails within the horizon, or has begun to.
pub(crate) const FAILING: [Label; 2] = [Label::Failing, Label::Failed];

/// Score and truth of every healthy step of a run and of those labelled `positive`.
fn labelled_run(series: &Series, scores: &[f32], positive: &[Label]) -> Vec<Step> {
    let step = |(label, score): (&Label, &f32)| {
        let failing = positive.contains(label);
        (failing || *label == Label::Healthy).then_some((f64::from(*score), failing))
    };
    series.labels.iter().zip(scores).filter_map(step).collect()
}

/// The same of all runs but those that fail without warning.
pub(crate) fn labelled(series: &[Series], scores: &[Scores], positive: &[Label]) -> Vec<Step> {
    let judged = series.iter().zip(scores).filter(|(s, _)| s.kind != RunKind::Abrupt);
    judged.flat_map(|(s, scores)| labelled_run(s, scores, positive)).collect()
}

/// The threshold with the best F1, for detectors that come without one.
pub fn best_threshold(series: &[Series], scores: &[Scores]) -> f64 {
    let mut best = (0.0, f64::INFINITY);
    curve(&labelled(series, scores, &[Label::Failing]), |threshold, hits, alarms, positives| {
        let f1 = 2.0 * hits / (alarms + positives);
        if f1 > best.0 {
            best = (f1, threshold);
        }
    });
    best.1
}

/// Walks the thresholds from the highest score down: `(threshold, hits, alarms, positives)`.
pub(crate) fn curve(steps: &[Step], mut at: impl FnMut(f64, f64, f64, f64)) {
    let mut sorted = steps.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let positives = sorted.iter().filter(|s| s.1).count() as f64;
    let mut hits = 0.0;
    for (i, step) in sorted.iter().enumerate() {
        hits += f64::from(u8::from(step.1));
        // Equal scores share one point of the curve.
        if sorted.get(i + 1).is_none_or(|next| next.0 < step.0) {
            at(step.0, hits, (i + 1) as f64, positives);
        }
    }
}

pub(crate) fn average_precision(steps: &[Step]) -> f64 {
    let (mut area, mut recall) = (0.0, 0.0);
    curve(steps, |_, hits, alarms, positives| {
        let now = ratio(hits, positives);
        area += (now - recall) * hits / alarms;
        recall = now;
    });
    area
}

fn auc_roc(steps: &[Step]) -> f64 {
    let (mut area, mut tpr, mut fpr) = (0.0, 0.0, 0.0);
    curve(steps, |_, hits, alarms, positives| {
        let (t, f) = (ratio(hits, positives), ratio(alarms - hits, steps.len() as f64 - positives));
        area += (f - fpr) * (t + tpr) / 2.0;
        (tpr, fpr) = (t, f);
    });
    area
}

fn brier(steps: &[Step]) -> f64 {
    let sum: f64 = steps.iter().map(|(p, y)| (p - f64::from(u8::from(*y))).powi(2)).sum();
    ratio(sum, steps.len() as f64)
}

fn calibration_error(steps: &[Step]) -> f64 {
    let mut bins = [(0.0f64, 0.0f64); 10];
    for (p, y) in steps {
        let bin = &mut bins[((p * 10.0) as usize).min(9)];
        bin.0 += p;
        bin.1 += f64::from(u8::from(*y));
    }
    let gap: f64 = bins.iter().map(|(said, was)| (said - was).abs()).sum();
    ratio(gap, steps.len() as f64)
}

#[derive(Default)]
struct Alarms {
    failing: usize,
    leads: Vec<u64>,
    wrong: usize,
    calm_ms: u64,
    stopped_short: (usize, usize),
    deaths: usize,
    leads_to_death: Vec<u64>,
}

/// Counts alarms as an operator would: one begins with the second step in a row above the
/// threshold and lasts until the score has been below it for ten seconds.
fn alarms(judged: &[(&Series, &Scores)], threshold: f64) -> Alarms {
    const QUIET_MS: u64 = 10_000;
    let mut sum = Alarms::default();
    for (s, scores) in judged {
        let calm_until = calm_until(s);
        let (mut warned, mut last_above) = (None, None::<u64>);
        let too_late = s.failure_ms.unwrap_or(u64::MAX);
        let mut before = false;
        let steps = s.at_ms.iter().zip(*scores).zip(&s.labels);
        for ((&at, &score), label) in steps.take_while(|((at, _), _)| **at < too_late) {
            let calm = at < calm_until;
            sum.calm_ms += if calm { STRIDE_MS } else { 0 };
            // The controller waits for three samples: two steps in a row.
            let above = f64::from(score) >= threshold;
            let alarming = above && std::mem::replace(&mut before, above);
            if !alarming {
                before = above;
                continue;
            }
            // Where the service fails without a fault of ours, what says so before is no false alarm.
            let right = s.kind == RunKind::Calm && *label == Label::Failing;
            if calm && !right && last_above.is_none_or(|last| at > last + QUIET_MS) {
                sum.wrong += 1;
            }
            if !calm {
                warned.get_or_insert(at);
            }
            last_above = Some(at);
        }
        if let Some(death) = s.death_ms {
            let alarmed = |(at, score): &(&u64, &f32)| **at >= calm_until && f64::from(**score) >= threshold;
            sum.deaths += 1;
            sum.leads_to_death.extend(s.at_ms.iter().zip(*scores).find(alarmed).map(|(at, _)| death - at));
        }
        match s.failure_ms {
            // Without a fault there is no time in which an alarm would be right.
            Some(failure) if s.kind != RunKind::Calm => {
                sum.failing += 1;
                sum.leads.extend(warned.map(|at| failure - at));
            }
            None if s.kind == RunKind::StoppedShort => {
                sum.stopped_short.0 += 1;
                sum.stopped_short.1 += usize::from(warned.is_some());
            }
            _ => {}
        }
    }
    sum
}

/// When the time ends in which an alarm is false (ms). A fault that was injected is no calm, even if it never gets as far as a failure;
/// of a failure in the engine's own history nobody knows when it began, and who alarms within the horizon is right.
pub(crate) fn calm_until(s: &Series) -> u64 {
    let foreseeable = || s.labels.iter().position(|label| *label == Label::Failing).map(|step| s.at_ms[step]);
    let bad = s.inject_ms.or_else(foreseeable).filter(|_| s.kind != RunKind::Calm);
    bad.or(s.failure_ms).unwrap_or(u64::MAX)
}

fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

pub(crate) fn ratio(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}
