//! A detector of unusual rows of many metrics.

/// Deviations count up to this many standard deviations.
const CLIP: f64 = 30.0;
/// Weight of the newest row in the smoothed score.
const SMOOTHING: f64 = 0.2;
/// The least standard deviation: below it a metric counts as constant.
const DEVIATION_MIN: f64 = 1e-4;

/// There are too few rows, or no metric, to fit a detector to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rows} rows of {metrics} metrics are too few to learn what is normal")]
pub struct TooShort {
    /// Rows given.
    pub rows: usize,
    /// Metrics a row.
    pub metrics: usize,
}

/// Learns what is normal from past rows, then scores new ones as they come.
#[derive(Clone, Debug)]
pub struct MultivariateDetector {
    mean: Vec<f64>,
    deviation: Vec<f64>,
    smoothed: Option<f64>,
}

impl MultivariateDetector {
    /// Fits the detector to rows that are about normal. A value that is not finite is left out.
    pub fn fit<'a>(rows: impl Iterator<Item = &'a [f64]>) -> Result<MultivariateDetector, TooShort> {
        let mut sums: Vec<(f64, f64, f64)> = Vec::new();
        let mut count = 0;
        for row in rows {
            sums.resize(row.len(), (0.0, 0.0, 0.0));
            count += 1;
            for ((n, sum, squares), value) in sums.iter_mut().zip(row).filter(|(_, value)| value.is_finite())
            {
                (*n, *sum, *squares) = (*n + 1.0, *sum + value, *squares + value * value);
            }
        }
        if count < 2 || sums.is_empty() {
            return Err(TooShort { rows: count, metrics: sums.len() });
        }
        let mean: Vec<f64> = sums.iter().map(|(n, sum, _)| sum / n.max(1.0)).collect();
        let variance =
            sums.iter().zip(&mean).map(|((n, _, squares), mean)| squares / n.max(1.0) - mean * mean);
        let deviation = variance.map(|variance| variance.max(0.0).sqrt().max(DEVIATION_MIN)).collect();
        Ok(MultivariateDetector { mean, deviation, smoothed: None })
    }

    /// The score of the next row: 0 and up, higher is stranger. A value that is not finite counts as
    /// the metric's mean; so do metrics that the row lacks.
    pub fn push(&mut self, row: &[f64]) -> f64 {
        let deviations = self.mean.iter().zip(&self.deviation).zip(row);
        let sum: f64 = deviations
            .map(|((mean, deviation), value)| ((value - mean).abs() / deviation).min(CLIP))
            .filter(|deviation| deviation.is_finite())
            .map(|deviation| deviation * deviation)
            .sum();
        let raw = sum / self.mean.len() as f64;
        let smoothed = self.smoothed.map_or(raw, |before| before + SMOOTHING * (raw - before));
        *self.smoothed.insert(smoothed)
    }
}
