//! How good a detector is on runs that it has not seen.

use serde::{Deserialize, Serialize};

use super::dataset::{Label, Series};
use crate::features::STRIDE_MS;
use crate::recording::RunKind;

/// Scores of one series, one each step.
pub type Scores = Vec<f32>;

/// Figures of one detector on one set of runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Area under precision and recall (average precision), by step.
    pub auc_pr: f64,
    /// Area under the ROC curve, by step.
    pub auc_roc: f64,
    /// Alarm threshold for what follows.
    pub threshold: f64,
    /// Share of failing steps above the threshold.
    pub recall_steps: f64,
    /// Failing runs (those without warning left out).
    pub failing_runs: usize,
    /// Share of those alarmed between the start of the fault and the failure.
    pub recall_runs: f64,
    /// Median time from the first such alarm to the failure (ms).
    pub median_lead_ms: Option<u64>,
    /// Runs that died or lost their path for good (those without warning left out), and how many of them were
    /// alarmed before: in time for traffic to be moved.
    pub deaths: (usize, usize),
    /// Median time from the first such alarm to the death (ms).
    pub median_lead_to_death_ms: Option<u64>,
    /// Alarms in runs that never fail or before the fault began, an hour.
    pub false_alarms_per_hour: f64,
    /// The time that is judged so (hours).
    pub calm_hours: f64,
    /// Runs of a fault that stopped short of failure, and how many of them were alarmed.
    pub stopped_short: (usize, usize),
    /// Mean squared error of the probability, up to the death; only for probabilities.
    pub brier: Option<f64>,
    /// Expected calibration error over ten bins, up to the death; only for probabilities.
    pub ece: Option<f64>,
}

/// Whether a detector's scores are probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Calibrated.
    Probability,
    /// Any number: higher is worse.
    Score,
}

/// Judges a detector on whole runs.
pub fn judge(series: &[Series], scores: &[Scores], threshold: f64, meaning: Meaning) -> Figures {
    let steps = labelled(series, scores, &[Label::Failing]);
    let whole = labelled(series, scores, &FAILING);
    let alarms = alarms(series, scores, threshold);
    let failing: Vec<f64> = steps.iter().filter(|s| s.1).map(|s| s.0).collect();
    let hits = failing.iter().filter(|&&s| s >= threshold).count();
    let probability = meaning == Meaning::Probability;
    Figures {
        auc_pr: average_precision(&steps),
        auc_roc: auc_roc(&steps),
        threshold,
        recall_steps: ratio(hits as f64, failing.len() as f64),
        failing_runs: alarms.failing,
        recall_runs: ratio(alarms.leads.len() as f64, alarms.failing as f64),
        median_lead_ms: median(alarms.leads),
        deaths: (alarms.deaths, alarms.leads_to_death.len()),
        median_lead_to_death_ms: median(alarms.leads_to_death),
        false_alarms_per_hour: ratio(alarms.wrong as f64, alarms.calm_ms as f64 / 3.6e6),
        calm_hours: alarms.calm_ms as f64 / 3.6e6,
        stopped_short: alarms.stopped_short,
        brier: probability.then(|| brier(&whole)),
        ece: probability.then(|| calibration_error(&whole)),
    }
}

/// What a calibrated probability means: the subject fails within the horizon, or has begun to.
pub(crate) const FAILING: [Label; 2] = [Label::Failing, Label::Failed];

/// Score and truth of every healthy step and of those labelled `positive`.
pub(crate) fn labelled(series: &[Series], scores: &[Scores], positive: &[Label]) -> Vec<(f64, bool)> {
    let mut steps = Vec::new();
    for (s, scores) in series.iter().zip(scores).filter(|(s, _)| s.kind != RunKind::Abrupt) {
        for (label, &score) in s.labels.iter().zip(scores) {
            let failing = positive.contains(label);
            if failing || *label == Label::Healthy {
                steps.push((f64::from(score), failing));
            }
        }
    }
    steps
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
fn curve(steps: &[(f64, bool)], mut at: impl FnMut(f64, f64, f64, f64)) {
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

pub(crate) fn average_precision(steps: &[(f64, bool)]) -> f64 {
    let (mut area, mut recall) = (0.0, 0.0);
    curve(steps, |_, hits, alarms, positives| {
        let now = ratio(hits, positives);
        area += (now - recall) * hits / alarms;
        recall = now;
    });
    area
}

fn auc_roc(steps: &[(f64, bool)]) -> f64 {
    let (mut area, mut tpr, mut fpr) = (0.0, 0.0, 0.0);
    curve(steps, |_, hits, alarms, positives| {
        let (t, f) = (ratio(hits, positives), ratio(alarms - hits, steps.len() as f64 - positives));
        area += (f - fpr) * (t + tpr) / 2.0;
        (tpr, fpr) = (t, f);
    });
    area
}

fn brier(steps: &[(f64, bool)]) -> f64 {
    let sum: f64 = steps.iter().map(|(p, y)| (p - f64::from(u8::from(*y))).powi(2)).sum();
    ratio(sum, steps.len() as f64)
}

fn calibration_error(steps: &[(f64, bool)]) -> f64 {
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
fn alarms(series: &[Series], scores: &[Scores], threshold: f64) -> Alarms {
    const QUIET_MS: u64 = 10_000;
    let mut sum = Alarms::default();
    for (s, scores) in series.iter().zip(scores).filter(|(s, _)| s.kind != RunKind::Abrupt) {
        // A fault that was injected is no calm, even if it never gets as far as a failure.
        let inject = s.inject_ms.filter(|_| s.kind != RunKind::Calm);
        let calm_until = inject.or(s.failure_ms).unwrap_or(u64::MAX);
        let (mut warned, mut last_above) = (None, None::<u64>);
        let too_late = s.failure_ms.unwrap_or(u64::MAX);
        let mut before = false;
        for (&at, &score) in s.at_ms.iter().zip(scores).take_while(|(at, _)| **at < too_late) {
            let calm = at < calm_until;
            sum.calm_ms += if calm { STRIDE_MS } else { 0 };
            // The controller waits for three samples: two steps in a row.
            let above = f64::from(score) >= threshold;
            let alarming = above && std::mem::replace(&mut before, above);
            if !alarming {
                before = above;
                continue;
            }
            if calm && last_above.is_none_or(|last| at > last + QUIET_MS) {
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
            sum.leads_to_death.extend(s.at_ms.iter().zip(scores).find(alarmed).map(|(at, _)| death - at));
        }
        match s.failure_ms {
            Some(failure) => {
                sum.failing += 1;
                sum.leads.extend(warned.map(|at| failure - at));
            }
            None if s.kind == RunKind::StoppedShort => {
                sum.stopped_short.0 += 1;
                sum.stopped_short.1 += usize::from(warned.is_some());
            }
            None => {}
        }
    }
    sum
}

fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

fn ratio(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}
