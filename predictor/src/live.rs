//! The same network as [`crate::net`], run one subject at a time on the control core: what
//! candle trained, without its allocations. A test holds both to the same output.

use std::sync::Arc;

use crate::features::{N_FEATURES, PER_METRIC};
use crate::model::{Calibration, ModelError};
use crate::net::GruNet;

/// Weights laid out so that the inner loops run over neighbouring outputs.
#[derive(Debug)]
pub(crate) struct Weights {
    hidden: usize,
    window: usize,
    calibration: Calibration,
    /// One row of `3 × hidden` for each feature.
    input: Vec<f32>,
    input_bias: Vec<f32>,
    /// One row of `3 × hidden` for each hidden unit.
    state: Vec<f32>,
    state_bias: Vec<f32>,
    head: Vec<f32>,
    head_bias: f32,
}

impl Weights {
    pub(crate) fn new(net: &GruNet, window: usize, calibration: Calibration) -> Result<Self, ModelError> {
        let [input, input_bias, state, state_bias, head, head_bias] = net.tensors();
        let head = head.flatten_all()?.to_vec1()?;
        Ok(Self {
            hidden: head.len(),
            window,
            calibration,
            input: input.t()?.contiguous()?.flatten_all()?.to_vec1()?,
            input_bias: input_bias.to_vec1()?,
            state: state.t()?.contiguous()?.flatten_all()?.to_vec1()?,
            state_bias: state_bias.to_vec1()?,
            head,
            head_bias: head_bias.squeeze(0)?.to_scalar()?,
        })
    }
}

/// The window of one subject and the room to judge it; allocates nothing after `new`.
#[derive(Clone, Debug)]
pub(crate) struct LiveNet {
    weights: Arc<Weights>,
    /// The last feature vectors, oldest first.
    features: Vec<f32>,
    /// Their share of the gates, so that each is computed once.
    projected: Vec<f32>,
    from_input: Vec<f32>,
    from_state: Vec<f32>,
    state: Vec<f32>,
}

impl LiveNet {
    /// A subject that always was as ever.
    pub(crate) fn new(weights: Arc<Weights>) -> Self {
        let gates = 3 * weights.hidden;
        Self {
            features: vec![0.0; weights.window * N_FEATURES],
            projected: weights.input_bias.repeat(weights.window),
            from_input: vec![0.0; gates],
            from_state: vec![0.0; gates],
            state: vec![0.0; weights.hidden],
            weights,
        }
    }

    /// Adds the newest feature vector and drops the oldest.
    pub(crate) fn push(&mut self, features: &[f32; N_FEATURES]) {
        let gates = 3 * self.weights.hidden;
        self.features.copy_within(N_FEATURES.., 0);
        let last = self.features.len() - N_FEATURES;
        self.features[last..].copy_from_slice(features);
        self.projected.copy_within(gates.., 0);
        let last = self.projected.len() - gates;
        let row = &mut self.projected[last..];
        row.copy_from_slice(&self.weights.input_bias);
        for (x, weights) in features.iter().zip(self.weights.input.chunks_exact(gates)) {
            add_scaled(row, *x, weights);
        }
    }

    /// The calibrated logit of the window, as if the metric `hidden` (by index) were as ever.
    pub(crate) fn logit(&mut self, hidden: Option<usize>) -> f32 {
        let weights = Arc::clone(&self.weights);
        self.state.fill(0.0);
        for step in 0..weights.window {
            self.gather(&weights, step, hidden);
            self.advance(weights.hidden);
        }
        let dot: f32 = self.state.iter().zip(&weights.head).map(|(s, w)| s * w).sum();
        let Calibration { scale, offset } = weights.calibration;
        scale * (dot + weights.head_bias) + offset
    }

    /// What the step's features and the state so far say to the gates.
    fn gather(&mut self, weights: &Weights, step: usize, hidden: Option<usize>) {
        let gates = 3 * weights.hidden;
        self.from_input.copy_from_slice(&self.projected[step * gates..(step + 1) * gates]);
        if let Some(metric) = hidden {
            let block = metric * PER_METRIC..(metric + 1) * PER_METRIC;
            let features = &self.features[step * N_FEATURES..(step + 1) * N_FEATURES];
            let rows = weights.input[block.start * gates..].chunks_exact(gates);
            for (x, row) in features[block].iter().zip(rows) {
                add_scaled(&mut self.from_input, -x, row);
            }
        }
        self.from_state.copy_from_slice(&weights.state_bias);
        for (s, row) in self.state.iter().zip(weights.state.chunks_exact(gates)) {
            add_scaled(&mut self.from_state, *s, row);
        }
    }

    fn advance(&mut self, hidden: usize) {
        let (i, s) = (&self.from_input, &self.from_state);
        for (unit, state) in self.state.iter_mut().enumerate() {
            let gate = |g: usize| 1.0 / (1.0 + (-(i[g * hidden + unit] + s[g * hidden + unit])).exp());
            let (reset, update) = (gate(0), gate(1));
            let candidate = (i[2 * hidden + unit] + reset * s[2 * hidden + unit]).tanh();
            *state = candidate + update * (*state - candidate);
        }
    }
}

fn add_scaled(sum: &mut [f32], x: f32, row: &[f32]) {
    // Many features are exactly as ever.
    if x != 0.0 {
        for (s, w) in sum.iter_mut().zip(row) {
            *s += x * w;
        }
    }
}
