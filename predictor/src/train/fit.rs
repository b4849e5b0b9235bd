//! Fitting the network: weighted cross entropy on chunks of runs, at every horizon.

use candle_core::{Device, Result, Tensor, Var};
use candle_nn::optim::{AdamW, Optimizer, ParamsAdamW};

use super::dataset::{Label, Series};
use crate::features::{N_NAMELESS, NAMELESS};
use crate::judges::{HORIZONS, horizons};
use crate::net::{GruNet, input, layout};
use crate::pooled::{self, POOLED};
use crate::recording::RunKind;
use crate::rng::Rng;
use crate::sample::N_METRICS;
use crate::task::{OnProgress, Progress};

/// How to fit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) hidden: usize,
    pub(crate) window: usize,
    pub(crate) epochs: usize,
    pub(crate) horizon_ms: u64,
}

impl Plan {
    /// Steps of progress that one fit of all judges takes: the epochs, and the trees.
    pub(crate) fn steps(&self) -> usize {
        self.epochs + 1
    }
}

/// How far a training is.
pub(crate) struct Steps<'a> {
    what: String,
    done: usize,
    total: usize,
    on: OnProgress<'a>,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(on: OnProgress<'a>) -> Self {
        Self { what: String::new(), done: 0, total: 0, on }
    }
    /// So many in all.
    pub(crate) fn expect(&mut self, total: usize) {
        self.total = total;
    }
    /// What comes now.
    pub(crate) fn name(&mut self, what: String) {
        self.what = what;
    }
    /// One more is done.
    pub(crate) fn done(&mut self) {
        self.done += 1;
        (self.on)(Progress { what: &self.what, done: self.done, total: self.total });
    }
}

/// Chunks a step of the optimiser sees.
const BATCH: usize = 32;
const LEARNING_RATE: f64 = 3e-3;
/// Chance that a metric is hidden in a chunk: teaches not to lean on one, and makes the
/// explanation by hiding (and a metric that is not measured) nothing new to the network.
const HIDE: f32 = 0.15;

/// Where the network is fitted: the first CUDA device with the feature `cuda`, if there is one, else the CPU.
fn device() -> Result<Device> {
    if cfg!(feature = "cuda") { Device::cuda_if_available(0) } else { Ok(Device::Cpu) }
}

/// Fits on `train` for all epochs; the rate of learning falls to nothing, so that none has to be chosen.
pub(crate) fn fit(train: &[Series], plan: Plan, steps: &mut Steps<'_>) -> Result<GruNet> {
    let mut rng = Rng::new(plan.seed);
    let vars = initial(plan.hidden, &mut rng)?;
    let net = GruNet::new(std::array::from_fn(|i| vars[i].as_tensor().clone()))?;
    let config = ParamsAdamW { lr: LEARNING_RATE, weight_decay: 0.05, ..ParamsAdamW::default() };
    let mut optimiser = AdamW::new(vars.to_vec(), config)?;
    let weight = failing_weight(train);
    let mut averaged = Averaged::new(&vars)?;
    for epoch in 0..plan.epochs {
        let left = 1.0 - epoch as f64 / plan.epochs as f64;
        optimiser.set_learning_rate(LEARNING_RATE * left);
        let mut chunks = chunks(train, plan.window, &mut rng);
        rng.shuffle(&mut chunks);
        for batch in chunks.chunks(BATCH) {
            let loss = loss(&net, train, batch, plan, weight, &mut rng)?;
            optimiser.backward_step(&loss)?;
            averaged.follow(&vars)?;
        }
        steps.done();
    }
    averaged.net()
}

/// The running mean of the weights: steadier than any of the steps, as the data are few.
struct Averaged {
    weights: Vec<Tensor>,
    steps: usize,
}

impl Averaged {
    fn new(vars: &[Var]) -> Result<Self> {
        let weights = vars.iter().map(|v| v.as_detached_tensor().copy()).collect::<Result<_>>()?;
        Ok(Self { weights, steps: 0 })
    }
    fn follow(&mut self, vars: &[Var]) -> Result<()> {
        self.steps += 1;
        let share = (1.0 / self.steps as f64).max(0.02);
        for (mean, var) in self.weights.iter_mut().zip(vars) {
            *mean = ((&*mean * (1.0 - share))? + (var.as_detached_tensor() * share)?)?;
        }
        Ok(())
    }
    /// On the CPU, where it will run.
    fn net(&self) -> Result<GruNet> {
        let weights = self.weights.iter().map(|w| w.to_device(&Device::Cpu)).collect::<Result<Vec<_>>>()?;
        GruNet::new(<[Tensor; 6]>::try_from(weights).map_err(|_| candle_core::Error::Msg("layout".into()))?)
    }
}

/// Uniform in ±1/√fan-in, biases zero except an update gate that remembers.
fn initial(hidden: usize, rng: &mut Rng) -> Result<[Var; 6]> {
    let mut vars = Vec::with_capacity(6);
    for (name, shape) in layout(hidden) {
        let count = shape.iter().product();
        let values: Vec<f32> = match shape.as_slice() {
            [_, fan_in] => {
                let bound = 1.0 / (*fan_in as f32).sqrt();
                (0..count).map(|_| (rng.unit() * 2.0 - 1.0) * bound).collect()
            }
            _ if name == "gru.input.bias" => {
                (0..count).map(|i| f32::from((hidden..2 * hidden).contains(&i))).collect()
            }
            _ => vec![0.0; count],
        };
        vars.push(Var::from_vec(values, shape, &device()?)?);
    }
    <[Var; 6]>::try_from(vars).map_err(|_| candle_core::Error::Msg("layout".into()))
}

/// Failures are rare: their steps weigh more, within bounds.
fn failing_weight(train: &[Series]) -> f32 {
    let count = |wanted| train.iter().flat_map(|s| &s.labels).filter(|l| **l == wanted).count() as f32;
    (count(Label::Healthy) / count(Label::Failing).max(1.0)).sqrt().clamp(1.0, 10.0)
}

/// `(series, first step)` of chunks that cover every run once; the first may begin before it.
fn chunks(train: &[Series], window: usize, rng: &mut Rng) -> Vec<(usize, isize)> {
    let stride = window - burn_in(window);
    let mut chunks = Vec::new();
    for (i, s) in train.iter().enumerate() {
        let mut start = -((burn_in(window) + rng.below(stride)) as isize);
        while start + (burn_in(window) as isize) < s.len() as isize {
            if rng.below(thinned(s)) == 0 {
                chunks.push((i, start));
            }
            start += stride as isize;
        }
    }
    chunks
}

/// The network is fitted to one of so many chunks: hours of calm say little to it that minutes of it do not.
fn thinned(series: &Series) -> usize {
    const LONG: usize = 500;
    if series.kind == RunKind::Calm && series.len() > LONG { 5 } else { 1 }
}

/// Steps at the start of a chunk that are not judged: live, a window is always full.
fn burn_in(window: usize) -> usize {
    window / 2
}

fn loss(
    net: &GruNet,
    train: &[Series],
    batch: &[(usize, isize)],
    plan: Plan,
    weight: f32,
    rng: &mut Rng,
) -> Result<Tensor> {
    let from = burn_in(plan.window);
    let values = windows(train, batch, plan.window, rng);
    let (mut truth, mut weights) = (Vec::new(), Vec::new());
    for t in from..plan.window {
        for &(i, start) in batch {
            let step = usize::try_from(start + t as isize).ok().filter(|step| *step < train[i].len());
            for horizon in horizons(plan.horizon_ms) {
                let (fails, teaches) = step.map_or((false, false), |step| train[i].target(step, horizon));
                truth.push(f32::from(u8::from(fails)));
                weights.push(f32::from(u8::from(teaches)) * if fails { weight } else { 1.0 });
            }
        }
    }
    let logits = net.logits_from(&input(values, plan.window, batch.len(), &device()?)?, from)?;
    let total = weights.iter().sum::<f32>().max(1.0);
    let shape = (plan.window - from, batch.len(), HORIZONS);
    let truth = Tensor::from_vec(truth, shape, &device()?)?;
    let weights = Tensor::from_vec(weights, shape, &device()?)?;
    // Stable cross entropy: max(x, 0) - x·y + ln(1 + e^-|x|).
    let soft = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
    let each = ((logits.relu()? - (&logits * &truth)?)? + soft)?;
    (each * weights)?.sum_all()? / f64::from(total)
}

/// The batch's windows, step by step, each with some metrics hidden throughout.
fn windows(train: &[Series], batch: &[(usize, isize)], window: usize, rng: &mut Rng) -> Vec<f32> {
    let hidden: Vec<u32> = batch
        .iter()
        .map(|_| (0..N_METRICS).filter(|_| rng.unit() < HIDE).fold(0, |mask, metric| mask | 1 << metric))
        .collect();
    let mut values = Vec::with_capacity(window * batch.len() * N_NAMELESS);
    for t in 0..window {
        for (&(i, start), &hidden) in batch.iter().zip(&hidden) {
            // A chunk that ends after the run repeats its last step; that is not judged.
            let row = train[i].row((start + t as isize).min(train[i].len() as isize - 1));
            let (blocks, shown) = row.split_at(NAMELESS);
            let from = values.len();
            values.extend_from_slice(shown);
            pooled::fill(blocks, hidden, &mut values[from..from + POOLED]);
        }
    }
    values
}
