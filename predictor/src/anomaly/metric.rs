//! How far one metric is from its own recent past.

/// A deviation counts for the variance up to this many standard deviations of the baseline, so that
/// an incident does not make itself normal.
const CLIP: f64 = 20.0;

/// A mean and a variance that follow the metric, and the last value's distance from them.
#[derive(Clone, Debug)]
pub struct MetricDetector {
    mean: f64,
    variance: f64,
    /// Square of the least deviation that matters.
    floor: f64,
    /// Largest square of a deviation that the variance learns from.
    clip: f64,
    /// Weight of the newest value.
    weight: f64,
}

impl MetricDetector {
    /// A detector that starts from a baseline's mean and standard deviation and forgets it with a time
    /// constant of `memory` rows. Changes well below `resolution` (in the metric's unit) never count.
    pub fn new(mean: f64, deviation: f64, resolution: f64, memory: f64) -> MetricDetector {
        let (variance, floor) = (deviation * deviation, resolution * resolution);
        MetricDetector { mean, variance, floor, clip: CLIP * CLIP * (variance + floor), weight: 1.0 / memory }
    }

    /// The next value's deviation from the mean in standard deviations, ≥ 0, before it is learnt from;
    /// 0 for a value that is not finite.
    pub fn push(&mut self, value: f64) -> f64 {
        if !value.is_finite() {
            return 0.0;
        }
        let deviation = value - self.mean;
        let scale = (self.variance + self.floor).sqrt();
        self.mean += self.weight * deviation;
        self.variance += self.weight * ((deviation * deviation).min(self.clip) - self.variance);
        if scale > 0.0 { deviation.abs() / scale } else { 0.0 }
    }
}
