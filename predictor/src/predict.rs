//! Live: telemetry in, probability and reasons out.

use std::sync::Arc;

use crate::drift::top3;
use crate::features::FeatureExtractor;
use crate::live::LiveNet;
use crate::model::{Model, sigmoid};
use crate::sample::{Metric, N_METRICS, TelemetrySample};

/// From this probability on, every prediction says what the model saw.
const EXPLAIN_FROM: f32 = 0.3;

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
    /// How much: with the model, the logit lost if the metric were as ever; else its drift (0..1).
    pub contribution: f32,
}

/// What is to be expected of the subject.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Time of the sample (ms).
    pub at_ms: u64,
    /// P(failure within the horizon), calibrated when `quality` is `Good`.
    pub probability: f32,
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
#[derive(Clone, Debug)]
pub struct Predictor {
    model: Arc<Model>,
    extractor: FeatureExtractor,
    net: LiveNet,
    judged: Judged,
}

/// The model's latest word; lives until the next feature step.
#[derive(Clone, Copy, Debug)]
struct Judged {
    probability: Option<f32>,
    drivers: [Option<Driver>; 3],
}

impl Predictor {
    /// Subjects may share a model.
    pub fn new(model: Arc<Model>) -> Self {
        let net = model.live();
        let judged = Judged { probability: Some(0.0), drivers: [None; 3] };
        Self { model, extractor: FeatureExtractor::new(), net, judged }
    }

    /// The model in use.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Takes the next sample (every 100 ms). The model is asked at every second one; in between
    /// its last word stands.
    pub fn push(&mut self, sample: &TelemetrySample) -> Prediction {
        let pushed = self.extractor.push(sample);
        if pushed.stepped && self.extractor.ready() {
            self.net.push(self.extractor.features());
            self.judge();
        }
        let drift = self.extractor.drift();
        let (probability, quality) = match (self.extractor.ready(), self.judged.probability) {
            (false, _) => (0.0, Quality::WarmingUp),
            (true, Some(p)) if self.extractor.blind() => (p, Quality::Blind),
            (true, Some(p)) => (p, Quality::Good),
            (true, None) => (drift.score, Quality::Degraded),
        };
        let explained = self.judged.drivers[0].is_some();
        let drivers = if explained { self.judged.drivers } else { as_drivers(&drift.parts) };
        Prediction {
            at_ms: sample.at_ms,
            probability,
            drift: drift.score,
            horizon_ms: self.model.description().horizon_ms,
            drivers,
            quality,
            clock_jump: pushed.clock_jump,
            invalid: pushed.invalid,
        }
    }

    fn judge(&mut self) {
        if self.extractor.blind() {
            return;
        }
        let logit = self.net.logit(None);
        let probability = (!logit.is_nan()).then(|| sigmoid(logit));
        let drivers = match probability {
            Some(p) if p > EXPLAIN_FROM => self.explain(),
            _ => [None; 3],
        };
        self.judged = Judged { probability, drivers };
    }

    /// What the present window says, metric by metric: the logit lost when one metric is taken
    /// as normal throughout the window. Empty when the model gives no number.
    pub fn explain(&mut self) -> [Option<Driver>; 3] {
        let logit = self.net.logit(None);
        let lost: [f32; N_METRICS] = std::array::from_fn(|m| logit - self.net.logit(Some(m)));
        as_drivers(&lost)
    }
}

fn as_drivers(scores: &[f32; N_METRICS]) -> [Option<Driver>; 3] {
    top3(scores).map(|t| t.map(|(metric, contribution)| Driver { metric, contribution }))
}
