//! What the trees are fitted to.

use serde::{Deserialize, Serialize};

use super::GbdtError;

/// A loss, with its gradients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Loss {
    /// Log loss of a target in 0 ..= 1; a positive row weighs `positive_weight` times as much.
    Logistic {
        /// > 0.
        positive_weight: f32,
    },
    /// Pinball loss of the quantile `level`, 0 < level < 1.
    Quantile {
        /// Share of the targets that should lie below.
        level: f32,
    },
    /// Half the squared error.
    Squared,
}

impl Loss {
    /// Log loss without a class weight.
    pub fn logistic() -> Self {
        Self::Logistic { positive_weight: 1.0 }
    }

    pub(super) fn check(self) -> Result<(), GbdtError> {
        match self {
            Self::Logistic { positive_weight } if !(positive_weight > 0.0 && positive_weight.is_finite()) => {
                Err(GbdtError::Param("positive_weight: above 0"))
            }
            Self::Quantile { level } if !(level > 0.0 && level < 1.0) => {
                Err(GbdtError::Param("level of the quantile: between 0 and 1"))
            }
            _ => Ok(()),
        }
    }

    /// The weight of a row in this loss.
    pub(super) fn weight(self, y: f32, weight: f32) -> f32 {
        match self {
            Self::Logistic { positive_weight } => weight * (1.0 + (positive_weight - 1.0) * y),
            _ => weight,
        }
    }

    /// The best constant for targets with weights (of [`weight`](Self::weight)).
    pub(super) fn constant(self, targets: &mut [(f32, f32)]) -> f32 {
        let total: f64 = targets.iter().map(|(_, w)| f64::from(*w)).sum();
        let mean = || targets.iter().map(|(y, w)| f64::from(*y) * f64::from(*w)).sum::<f64>() / total;
        match self {
            Self::Logistic { .. } => {
                let p = mean().clamp(1e-6, 1.0 - 1e-6);
                (p / (1.0 - p)).ln() as f32
            }
            Self::Squared => mean() as f32,
            Self::Quantile { level } => quantile(targets, level),
        }
    }

    /// Gradient and curvature at a raw prediction.
    pub(super) fn gradient(self, raw: f32, y: f32, weight: f32) -> [f32; 2] {
        let w = self.weight(y, weight);
        match self {
            Self::Logistic { .. } => {
                let p = sigmoid(raw);
                [w * (p - y), w * (p * (1.0 - p)).max(1e-6)]
            }
            Self::Squared => [w * (raw - y), w],
            // No curvature: that of a squared error of unit scale; the leaves are set to their quantile afterwards.
            Self::Quantile { level } => [if y > raw { -w * level } else { w * (1.0 - level) }, w],
        }
    }

    /// The loss of a raw prediction, weighted.
    pub(super) fn value(self, raw: f32, y: f32, weight: f32) -> f64 {
        let w = f64::from(self.weight(y, weight));
        let (raw, y) = (f64::from(raw), f64::from(y));
        w * match self {
            // ln(1 + e^x) − y·x, without overflow.
            Self::Logistic { .. } => raw.max(0.0) + (-raw.abs()).exp().ln_1p() - y * raw,
            Self::Squared => 0.5 * (raw - y) * (raw - y),
            Self::Quantile { level } => {
                let error = y - raw;
                (f64::from(level) * error).max((f64::from(level) - 1.0) * error)
            }
        }
    }

    /// From the sum of the trees to the scale of the target.
    pub(super) fn output(self, raw: f32) -> f32 {
        match self {
            Self::Logistic { .. } => sigmoid(raw),
            _ => raw,
        }
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The weighted quantile: the least value with at least `level` of the weight at or below it.
pub(super) fn quantile(values: &mut [(f32, f32)], level: f32) -> f32 {
    values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let total: f64 = values.iter().map(|(_, w)| f64::from(*w)).sum();
    let mut below = 0.0f64;
    for &(x, w) in values.iter() {
        below += f64::from(w);
        if below >= f64::from(level) * total {
            return x;
        }
    }
    values.last().map_or(0.0, |(x, _)| *x)
}
