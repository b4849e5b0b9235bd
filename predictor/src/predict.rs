//! Live: telemetry in, probability and reasons out.

use std::sync::Arc;

use crate::calibrate::Interval;
use crate::drift::top3;
use crate::features::{FeatureExtractor, N_FEATURES, NAMELESS, PER_METRIC, Vitals};
use crate::judges::{HORIZONS, JUDGES, Logits, Shown, horizons};
use crate::model::Model;
use crate::panel::Panel;
use crate::pooled::{self, POOLED};
use crate::recording::{Hearsay, Run};
use crate::sample::{Metric, N_METRICS, TelemetrySample};
use crate::time_left::Left;

/// From this probability on, every prediction says what the model saw.
const EXPLAIN_FROM: f32 = 0.3;
/// Steps that an explanation holds after its own: a second in all.
const REASONS_LAST: u8 = 4;

/// How far a prediction can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// No normal to compare with yet; the probability is 0.
    WarmingUp,
    /// As trained.
    Good,
    /// The model gave no number: the probability is the uncalibrated drift score.
    Degraded,
    /// Nothing has been measured for a second: the probability is the last one.
    Blind,
}

/// A metric that drove a prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Driver {
    /// Which.
    pub metric: Metric,
    /// How much: with the model, the logit lost if the metric were as ever now; else its drift (0..1).
    pub contribution: f32,
}

/// P(failure within a time).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outlook {
    /// The time (ms).
    pub within_ms: u64,
    /// Calibrated.
    pub probability: f32,
    /// The bounds of it (Venn–Abers): what calibration would say had this very case been seen to come out well, or ill.
    pub low: f32,
    /// See `low`.
    pub high: f32,
}

/// The model's word on one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Verdict {
    /// By horizon, shortest first.
    pub outlook: [Outlook; HORIZONS],
    /// When the failure comes, if it comes within the longest horizon, nine times in ten; `None`: nothing was judged yet.
    pub time_left: Option<Left>,
}

impl Verdict {
    /// P(failure within the longest horizon).
    pub fn probability(&self) -> f32 {
        self.outlook[HORIZONS - 1].probability
    }
}

/// What is to be expected of the subject.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Time of the sample (ms).
    pub at_ms: u64,
    /// P(failure within the horizon), calibrated when `quality` is `Good`.
    pub probability: f32,
    /// By horizon, shortest first; the last is the model's own. Zero unless `quality` is `Good` or `Blind`.
    pub outlook: [Outlook; HORIZONS],
    /// What the alarm is raised by: the outlook of the horizon that the model was trained to alarm by; where the model gave no
    /// number, the drift score.
    pub alarm: Outlook,
    /// See [`Verdict::time_left`]; `None` also where the model gave no number.
    pub time_left: Option<Left>,
    /// Drift score (0..1).
    pub drift: f32,
    /// The horizon (ms).
    pub horizon_ms: u64,
    /// The strongest drivers, strongest first.
    pub drivers: [Option<Driver>; 3],
    /// Whether to believe it.
    pub quality: Quality,
    /// The sample's clock jumped; one nominal period was assumed.
    pub clock_jump: bool,
    /// Metrics that were infinite or negative and were ignored: a bit mask by [`Metric::index`].
    pub invalid: u32,
}

/// Watches one subject; allocates nothing after `new`.
#[derive(Debug)]
pub struct Predictor {
    model: Arc<Model>,
    extractor: FeatureExtractor,
    panel: Panel,
    judged: Judged,
}

/// The model's latest word; lives until the next feature step.
#[derive(Clone, Copy, Debug, Default)]
struct Judged {
    /// `None`: no number.
    verdict: Option<Verdict>,
    drivers: [Option<Driver>; 3],
    /// Steps for which the drivers still hold.
    stale: u8,
}

impl Predictor {
    /// Subjects may share a model.
    pub fn new(model: Arc<Model>) -> Self {
        let panel = model.panel();
        let calm = horizons(model.description().horizon_ms)
            .map(|within_ms| Outlook { within_ms, ..Outlook::default() });
        let verdict = Some(Verdict { outlook: calm, time_left: None });
        let judged = Judged { verdict, ..Judged::default() };
        Self { model, extractor: FeatureExtractor::new(), panel, judged }
    }

    /// The model in use.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    fn horizon_ms(&self) -> u64 {
        self.model.description().horizon_ms
    }

    /// Another model from the next step on; the subject's past stays known, its last steps are judged as calm ones.
    pub fn replace(&mut self, model: Arc<Model>) {
        self.panel = model.panel();
        self.model = model;
    }

    /// What the peers say of themselves now (their mean); counts for a second, as after that does nothing.
    pub fn hear(&mut self, peers: &Vitals) {
        self.extractor.hear(peers);
    }

    /// Takes a recording's samples, and what its peers said, up to a time (ms); the last prediction, if there was a sample.
    pub fn follow(&mut self, run: &Run, until_ms: u64) -> Option<Prediction> {
        let mut peers = Hearsay::new(run);
        let samples = run.samples.iter().take_while(|sample| sample.at_ms <= until_ms);
        samples
            .map(|sample| {
                peers.until(sample.at_ms).inspect(|vitals| self.hear(vitals));
                self.push(sample)
            })
            .last()
    }

    /// The features of the latest step; [`crate::FEATURE_NAMES`] names those of a metric's block.
    pub fn features(&self) -> &[f32; N_FEATURES] {
        self.extractor.features()
    }

    /// What the peers are to hear; `None` while there is no normal to compare with.
    pub fn vitals(&self) -> Option<Vitals> {
        self.extractor.ready().then(|| self.extractor.vitals())
    }

    /// Takes the next sample (every 100 ms). The model is asked at every second one; in between
    /// its last word stands.
    pub fn push(&mut self, sample: &TelemetrySample) -> Prediction {
        let pushed = self.extractor.push(sample);
        if pushed.stepped && self.extractor.ready() {
            let shown = *self.extractor.features();
            self.panel.push(&shown);
            if !self.extractor.blind() {
                self.judge(&shown);
            }
        }
        let drift = self.extractor.drift();
        let verdict = self.judged.verdict.filter(|_| self.extractor.ready());
        let said = verdict.map(|verdict| verdict.probability());
        let (probability, quality) = match (self.extractor.ready(), said) {
            (false, _) => (0.0, Quality::WarmingUp),
            (true, Some(p)) if self.extractor.blind() => (p, Quality::Blind),
            (true, Some(p)) => (p, Quality::Good),
            (true, None) => (drift.score, Quality::Degraded),
        };
        let outlook = verdict.unwrap_or_default().outlook;
        let alarm = match quality {
            Quality::Degraded => Outlook { probability, low: 0.0, high: 1.0, within_ms: self.horizon_ms() },
            _ => outlook[self.model.description().alarm_horizon],
        };
        let explained = self.judged.drivers[0].is_some();
        let drivers = if explained { self.judged.drivers } else { as_drivers(&drift.parts) };
        Prediction {
            at_ms: sample.at_ms,
            probability,
            outlook,
            alarm,
            time_left: verdict.and_then(|verdict| verdict.time_left),
            drift: drift.score,
            horizon_ms: self.horizon_ms(),
            drivers,
            quality,
            clock_jump: pushed.clock_jump,
            invalid: pushed.invalid,
        }
    }

    fn judge(&mut self, shown: &Shown) {
        let said = self.panel.said(shown);
        let verdict = verdict(&self.model, &said);
        let by = self.model.description().alarm_horizon;
        let alarming = verdict.is_some_and(|verdict| {
            verdict.probability() > EXPLAIN_FROM || verdict.outlook[by].probability > EXPLAIN_FROM
        });
        let (drivers, stale) = match self.judged {
            _ if !alarming => ([None; 3], 0),
            // Reasons change more slowly than numbers, and cost twenty judgements.
            Judged { drivers, stale, .. } if stale > 0 => (drivers, stale - 1),
            _ => (self.explain(), REASONS_LAST),
        };
        self.judged = Judged { verdict, drivers, stale };
    }

    /// What drives the judgement now, metric by metric: the logit lost when one metric is taken as normal in the
    /// newest step. Empty when the model gives no number.
    pub fn explain(&mut self) -> [Option<Driver>; 3] {
        let now = *self.extractor.features();
        let model = Arc::clone(&self.model);
        let logit = |panel: &mut Panel, shown: &Shown| {
            model.description().ensemble.logit(HORIZONS - 1, &panel.said(shown))
        };
        let whole = logit(&mut self.panel, &now);
        let mut lost = [0.0; N_METRICS];
        for (i, lost) in lost.iter_mut().enumerate() {
            let block = i * PER_METRIC..(i + 1) * PER_METRIC;
            if now[block.clone()].iter().all(|feature| *feature <= 0.0) {
                continue; // what is as ever, or better, drives nothing
            }
            let mut shown = now;
            shown[block].fill(0.0);
            let (blocks, rest) = shown.split_at_mut(NAMELESS);
            pooled::fill(blocks, 1 << i, &mut rest[..POOLED]);
            *lost = whole - logit(&mut self.panel, &shown);
        }
        as_drivers(&lost)
    }
}

/// Probabilities from what the judges said; `None` if they gave no number at any horizon.
pub(crate) fn verdict(model: &Model, said: &[Logits; JUDGES]) -> Option<Verdict> {
    let description = model.description();
    let mut verdict = Verdict { time_left: Some(description.ensemble.time_left(said)), ..Verdict::default() };
    for (h, within_ms) in horizons(description.horizon_ms).into_iter().enumerate() {
        let Interval { low, high } = description.ensemble.interval(h, said)?;
        let probability = Interval { low, high }.probability();
        verdict.outlook[h] = Outlook { within_ms, probability, low, high };
    }
    Some(verdict)
}

fn as_drivers(scores: &[f32; N_METRICS]) -> [Option<Driver>; 3] {
    top3(scores).map(|t| t.map(|(metric, contribution)| Driver { metric, contribution }))
}
