//! Unusual rows of many metrics.

use super::MetricDetector;

/// Rows over which a metric's mean and variance are taken; the scores of all are averaged. At one
/// row a minute: a day, two and four.
const MEMORIES: [f64; 3] = [1500.0, 3000.0, 6000.0];
/// Deviations count little below this many standard deviations and by their logarithm above.
const KNEE: f64 = 7.0;
/// How sharp that knee is.
const SHARPNESS: i32 = 8;
/// Weight of the newest row in the score.
const SMOOTHING: f64 = 0.1;
/// A metric's least deviation that matters, as a share of its range in the baseline.
const RANGE_SHARE: f64 = 0.01;

/// There are too few rows, or no metric, to fit a detector to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rows} rows of {metrics} metrics are too few to learn what is normal")]
pub struct TooShort {
    /// Rows given.
    pub rows: usize,
    /// Metrics a row.
    pub metrics: usize,
}

/// Learns from past rows how each metric moves, then scores new ones as they come and goes on
/// learning. A deviation of several standard deviations in one metric outweighs a little of it in
/// all: an incident moves few metrics far, the hour of the day moves all a little.
#[derive(Clone, Debug)]
pub struct MultivariateDetector {
    metrics: Vec<[MetricDetector; MEMORIES.len()]>,
    deviations: Vec<f64>,
    score: f64,
}

/// What a metric was in the baseline.
#[derive(Clone, Copy, Debug)]
struct Baseline {
    count: f64,
    sum: f64,
    low: f64,
    high: f64,
    squares: f64,
}

impl Baseline {
    fn add(&mut self, value: f64) {
        if value.is_finite() {
            self.count += 1.0;
            self.sum += value;
            self.low = self.low.min(value);
            self.high = self.high.max(value);
        }
    }

    fn mean(&self) -> f64 {
        self.sum / self.count.max(1.0)
    }

    fn detectors(&self, resolution: f64) -> [MetricDetector; MEMORIES.len()] {
        let range = if self.count > 0.0 { self.high - self.low } else { 0.0 };
        let deviation = (self.squares / self.count.max(1.0)).sqrt();
        let resolution = resolution.max(RANGE_SHARE * range);
        MEMORIES.map(|memory| MetricDetector::new(self.mean(), deviation, resolution, memory))
    }
}

impl MultivariateDetector {
    /// Fits the detector to rows that are about normal, oldest first. Changes below `resolution` (in
    /// the unit of the metrics) are noise in every metric: 0.01 suits metrics scaled to 0..1.
    pub fn fit<'a>(
        rows: impl Iterator<Item = &'a [f64]> + Clone,
        resolution: f64,
    ) -> Result<MultivariateDetector, TooShort> {
        let metrics = rows.clone().map(<[f64]>::len).max().unwrap_or(0);
        let count = rows.clone().count();
        if count < 2 || metrics == 0 {
            return Err(TooShort { rows: count, metrics });
        }
        let empty =
            Baseline { count: 0.0, sum: 0.0, low: f64::INFINITY, high: f64::NEG_INFINITY, squares: 0.0 };
        let mut baselines = vec![empty; metrics];
        for row in rows.clone() {
            baselines.iter_mut().zip(row).for_each(|(baseline, value)| baseline.add(*value));
        }
        for row in rows.clone() {
            for (baseline, value) in baselines.iter_mut().zip(row).filter(|(_, value)| value.is_finite()) {
                baseline.squares += (value - baseline.mean()).powi(2);
            }
        }
        let metrics: Vec<_> = baselines.iter().map(|baseline| baseline.detectors(resolution)).collect();
        let deviations = vec![0.0; metrics.len()];
        let mut detector = MultivariateDetector { metrics, deviations, score: 0.0 };
        rows.for_each(|row| {
            detector.push(row);
        });
        Ok(detector)
    }

    /// The score of the next row: 0 and up, higher is stranger. Metrics that the row lacks, and values
    /// that are not finite, do not deviate.
    pub fn push(&mut self, row: &[f64]) -> f64 {
        let mut sum = 0.0;
        for (at, (detectors, deviation)) in self.metrics.iter_mut().zip(&mut self.deviations).enumerate() {
            let value = row.get(at).copied().unwrap_or(f64::NAN);
            let deviations = detectors.each_mut().map(|detector| detector.push(value));
            sum += deviations.iter().map(|deviation| (deviation / KNEE).powi(SHARPNESS).ln_1p()).sum::<f64>();
            *deviation = deviations.iter().sum::<f64>() / MEMORIES.len() as f64;
        }
        let raw = sum / (self.metrics.len() * MEMORIES.len()) as f64;
        self.score += SMOOTHING * (raw.min(f64::MAX) - self.score);
        self.score
    }

    /// How far each metric of the last row was from its past, in standard deviations: what drove the
    /// score.
    pub fn deviations(&self) -> &[f64] {
        &self.deviations
    }
}
