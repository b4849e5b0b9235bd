//! The same network as [`crate::net`], run one subject at a time on the control core: what
//! candle trained, without its allocations. A test holds both to the same output.

use std::sync::Arc;

use crate::judges::{HORIZONS, Judge, Logits, Shown, nameless};
use crate::net::GruNet;

/// Weights laid out so that the inner loops run over neighbouring outputs.
#[derive(Debug)]
pub(crate) struct Weights {
    hidden: usize,
    window: usize,
    /// One row of `3 × hidden` for each feature.
    input: Vec<f32>,
    input_bias: Vec<f32>,
    /// One row of `3 × hidden` for each hidden unit.
    state: Vec<f32>,
    state_bias: Vec<f32>,
    /// One row of `hidden` for each horizon.
    head: Vec<f32>,
    head_bias: Vec<f32>,
}

impl Weights {
    pub(crate) fn new(net: &GruNet, window: usize) -> candle_core::Result<Self> {
        let [input, input_bias, state, state_bias, head, head_bias] = net.tensors();
        Ok(Self {
            hidden: state.dim(1)?,
            window,
            input: input.t()?.contiguous()?.flatten_all()?.to_vec1()?,
            input_bias: input_bias.to_vec1()?,
            state: state.t()?.contiguous()?.flatten_all()?.to_vec1()?,
            state_bias: state_bias.to_vec1()?,
            head: head.contiguous()?.flatten_all()?.to_vec1()?,
            head_bias: head_bias.to_vec1()?,
        })
    }

    /// The input's share of the gates at one step.
    fn project(&self, shown: &Shown, gates: &mut [f32]) {
        gates.copy_from_slice(&self.input_bias);
        for (x, weights) in nameless(shown).iter().zip(self.input.chunks_exact(3 * self.hidden)) {
            add_scaled(gates, *x, weights);
        }
    }
}

/// The window of one subject and the room to judge it; allocates nothing after `new`.
#[derive(Clone, Debug)]
pub(crate) struct Recurrent {
    weights: Arc<Weights>,
    /// The steps' shares of the gates, oldest first: each is computed once.
    projected: Vec<f32>,
    newest: Vec<f32>,
    from_state: Vec<f32>,
    state: Vec<f32>,
}

impl Recurrent {
    /// A subject that always was as ever.
    pub(crate) fn new(weights: Arc<Weights>) -> Self {
        let gates = 3 * weights.hidden;
        Self {
            projected: weights.input_bias.repeat(weights.window),
            newest: vec![0.0; gates],
            from_state: vec![0.0; gates],
            state: vec![0.0; weights.hidden],
            weights,
        }
    }

    fn advance(weights: &Weights, from_input: &[f32], from_state: &mut [f32], state: &mut [f32]) {
        let hidden = weights.hidden;
        from_state.copy_from_slice(&weights.state_bias);
        for (s, row) in state.iter().zip(weights.state.chunks_exact(3 * hidden)) {
            add_scaled(from_state, *s, row);
        }
        for (unit, state) in state.iter_mut().enumerate() {
            let gate = |g: usize| sigmoid(from_input[g * hidden + unit] + from_state[g * hidden + unit]);
            let (reset, update) = (gate(0), gate(1));
            let candidate = (from_input[2 * hidden + unit] + reset * from_state[2 * hidden + unit]).tanh();
            *state = candidate + update * (*state - candidate);
        }
    }
}

impl Judge for Recurrent {
    fn name(&self) -> &'static str {
        "gru"
    }

    fn push(&mut self, newest: &Shown) {
        let gates = 3 * self.weights.hidden;
        self.projected.copy_within(gates.., 0);
        let last = self.projected.len() - gates;
        self.weights.project(newest, &mut self.projected[last..]);
    }

    fn logits(&mut self, newest: &Shown) -> Logits {
        let Self { weights, projected, newest: now, from_state, state } = self;
        let gates = 3 * weights.hidden;
        weights.project(newest, now);
        state.fill(0.0);
        let before = projected.len() - gates;
        for from_input in projected[..before].chunks_exact(gates) {
            Self::advance(weights, from_input, from_state, state);
        }
        Self::advance(weights, now, from_state, state);
        let mut logits = [0.0; HORIZONS];
        let heads = weights.head.chunks_exact(weights.hidden).zip(&weights.head_bias);
        for (logit, (head, bias)) in logits.iter_mut().zip(heads) {
            *logit = bias + state.iter().zip(head).map(|(s, w)| s * w).sum::<f32>();
        }
        logits
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn add_scaled(sum: &mut [f32], x: f32, row: &[f32]) {
    // Many features are exactly as ever.
    if x != 0.0 {
        for (s, w) in sum.iter_mut().zip(row) {
            *s += x * w;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::N_FEATURES;
    use crate::model::Model;
    use crate::net::input;
    use crate::rng::Rng;

    /// What candle trained is what runs.
    #[test]
    fn agrees_with_candle() {
        let model = Model::default_model().unwrap();
        let window = model.description().window;
        let mut live = Recurrent::new(Arc::new(Weights::new(model.net(), window).unwrap()));
        let mut rng = Rng::new(4);
        let mut steps: Vec<Shown> = vec![[0.0; N_FEATURES]; window];
        for _ in 0..2 * window {
            let step: Shown =
                std::array::from_fn(|_| if rng.unit() < 0.5 { 0.0 } else { 4.0 * rng.unit() - 1.0 });
            live.push(&step);
            steps.push(step);
            let newest = &steps[steps.len() - window..];
            let x = input(
                newest.iter().flat_map(nameless).copied().collect(),
                window,
                1,
                &candle_core::Device::Cpu,
            )
            .unwrap();
            let candle = model.net().last_logits(&x).unwrap().get(0).unwrap().to_vec1::<f32>().unwrap();
            for (live, candle) in live.logits(&step).iter().zip(candle) {
                assert!((live - candle).abs() < 1e-4 || steps.len() < 2 * window, "{live} {candle}");
            }
        }
    }
}
