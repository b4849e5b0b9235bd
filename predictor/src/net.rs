//! The recurrent network: one GRU layer and a logit for each horizon, in candle.

use candle_core::{Device, Result, Tensor};
use candle_nn::ops::sigmoid;

use crate::features::N_NAMELESS;
use crate::judges::HORIZONS;

/// Names and shapes of the network's tensors for a hidden width of `hidden`.
pub(crate) fn layout(hidden: usize) -> [(&'static str, Vec<usize>); 6] {
    [
        ("gru.input.weight", vec![3 * hidden, N_NAMELESS]),
        ("gru.input.bias", vec![3 * hidden]),
        ("gru.state.weight", vec![3 * hidden, hidden]),
        ("gru.state.bias", vec![3 * hidden]),
        ("head.weight", vec![HORIZONS, hidden]),
        ("head.bias", vec![HORIZONS]),
    ]
}

/// A GRU over feature vectors with a sigmoid head for each horizon (as logits).
#[derive(Clone, Debug)]
pub(crate) struct GruNet {
    tensors: [Tensor; 6],
    input_t: Tensor,
    state_t: Tensor,
    head_t: Tensor,
    hidden: usize,
}

impl GruNet {
    /// `tensors` in the order of [`layout`], with its shapes.
    pub(crate) fn new(tensors: [Tensor; 6]) -> Result<Self> {
        let hidden = tensors[2].dim(1)?;
        let (input_t, state_t, head_t) = (tensors[0].t()?, tensors[2].t()?, tensors[4].t()?);
        Ok(Self { tensors, input_t, state_t, head_t, hidden })
    }

    pub(crate) fn tensors(&self) -> &[Tensor; 6] {
        &self.tensors
    }

    /// Hidden states after each step of `x` `[steps, batch, features]`, from a zero state.
    fn states(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        let (steps, batch, _) = x.dims3()?;
        let h = self.hidden;
        let mut state = Tensor::zeros((batch, h), x.dtype(), x.device())?;
        let mut states = Vec::with_capacity(steps);
        for t in 0..steps {
            // One product a step: small enough to stay on the calling thread.
            let i = x.get(t)?.matmul(&self.input_t)?.broadcast_add(&self.tensors[1])?;
            let s = state.matmul(&self.state_t)?.broadcast_add(&self.tensors[3])?;
            let gates = sigmoid(&(i.narrow(1, 0, 2 * h)? + s.narrow(1, 0, 2 * h)?)?)?;
            let (reset, update) = (gates.narrow(1, 0, h)?, gates.narrow(1, h, h)?);
            let candidate = (i.narrow(1, 2 * h, h)? + (reset * s.narrow(1, 2 * h, h)?)?)?.tanh()?;
            state = (&candidate + (update * (state - &candidate)?)?)?;
            states.push(state.clone());
        }
        Ok(states)
    }

    fn head(&self, state: &Tensor) -> Result<Tensor> {
        state.matmul(&self.head_t)?.broadcast_add(&self.tensors[5])
    }

    /// The logits after the last step, `[batch, horizons]`.
    #[cfg(test)]
    pub(crate) fn last_logits(&self, x: &Tensor) -> Result<Tensor> {
        let states = self.states(x)?;
        let last = states.last().ok_or_else(|| candle_core::Error::Msg("empty window".into()))?;
        self.head(last)
    }

    /// The logits after each step from `from` on, `[steps - from, batch, horizons]`.
    pub(crate) fn logits_from(&self, x: &Tensor, from: usize) -> Result<Tensor> {
        let logits = self.states(x)?.iter().skip(from).map(|s| self.head(s)).collect::<Result<Vec<_>>>()?;
        Tensor::stack(&logits, 0)
    }
}

/// A batch of time-major windows as a tensor `[steps, batch, features]`.
pub(crate) fn input(values: Vec<f32>, steps: usize, batch: usize, device: &Device) -> Result<Tensor> {
    Tensor::from_vec(values, (steps, batch, N_NAMELESS), device)
}
