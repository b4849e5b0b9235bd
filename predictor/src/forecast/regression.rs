//! Recursive least squares with forgetting, robust against outliers.

use super::history::FEATURES;

/// A row's weight after this many rows is 1/e.
const MEMORY: f64 = 2500.0;
/// Errors beyond this many mean errors count less (Huber).
const HUBER: f64 = 2.0;
/// Variance of the weights before anything is known.
const PRIOR: f64 = 10.0;
/// Where the data say nothing of a direction, forgetting lets its variance grow; up to here.
const VARIANCE_MAX: f64 = 1e6;

/// Weights of a linear regression that follow a stream.
#[derive(Clone, Debug)]
pub struct Regression {
    weights: [f64; FEATURES],
    /// Covariance of the weights, in units of the errors' variance.
    covariance: Box<[[f64; FEATURES]; FEATURES]>,
    /// Mean size of the errors.
    error: f64,
    seen: usize,
}

impl Regression {
    pub fn new() -> Regression {
        let mut covariance = Box::new([[0.0; FEATURES]; FEATURES]);
        (0..FEATURES).for_each(|at| covariance[at][at] = PRIOR);
        Regression { weights: [0.0; FEATURES], covariance, error: 0.0, seen: 0 }
    }

    /// Rows learnt from.
    pub fn seen(&self) -> usize {
        self.seen
    }

    pub fn predict(&self, features: &[f64; FEATURES]) -> f64 {
        dot(&self.weights, features)
    }

    /// One more row. Its weight falls with its error, so that an outage does not bend the regression.
    pub fn learn(&mut self, features: &[f64; FEATURES], value: f64) {
        let error = value - self.predict(features);
        let size = error.abs();
        self.error = if self.error == 0.0 {
            size
        } else {
            self.error + 0.01 * (size.min(5.0 * self.error) - self.error)
        };
        let weight = if size <= HUBER * self.error { 1.0 } else { HUBER * self.error / size };
        let spread: f64 = (0..FEATURES).map(|at| self.covariance[at][at]).sum();
        let keep = if spread < VARIANCE_MAX { 1.0 - 1.0 / MEMORY } else { 1.0 };
        let mut gain = [0.0; FEATURES];
        gain.iter_mut().zip(self.covariance.iter()).for_each(|(gain, row)| *gain = dot(row, features));
        let scale = keep / weight + dot(features, &gain);
        for at in 0..FEATURES {
            self.weights[at] += gain[at] / scale * error;
            // The lower triangle follows the upper, or rounding makes the matrix lose its symmetry.
            for other in at..FEATURES {
                let changed = (self.covariance[at][other] - gain[at] * gain[other] / scale) / keep;
                self.covariance[at][other] = changed;
                self.covariance[other][at] = changed;
            }
        }
        self.seen += 1;
    }
}

fn dot(a: &[f64; FEATURES], b: &[f64; FEATURES]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
