//! Fitting the network: weighted cross entropy on chunks of runs, stopped by validation.

use candle_core::{Device, Result, Tensor, Var};
use candle_nn::optim::{AdamW, Optimizer, ParamsAdamW};

use super::dataset::{Label, Series};
use super::figures::{FAILING, Scores, average_precision, labelled};
use crate::features::{N_FEATURES, PER_METRIC};
use crate::net::{GruNet, input, layout};
use crate::rng::Rng;
use crate::sample::N_METRICS;

/// How to fit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) hidden: usize,
    pub(crate) window: usize,
    pub(crate) epochs: usize,
}

/// Chunks a step of the optimiser sees.
const BATCH: usize = 32;
/// Windows judged at once.
const JUDGE_BATCH: usize = 128;
/// Epochs without a better validation before the end.
const PATIENCE: usize = 20;
const LEARNING_RATE: f64 = 3e-3;
/// Chance that a metric is hidden in a chunk: teaches not to lean on one, and makes the
/// explanation by hiding (and a metric that is not measured) nothing new to the network.
const HIDE: f32 = 0.1;

/// What came of it.
pub(crate) struct Fitted {
    pub(crate) net: GruNet,
    pub(crate) best_epoch: usize,
    pub(crate) epochs: usize,
}

/// Fits on `train`, keeps the weights that rank `validation` best.
pub(crate) fn fit(
    train: &[Series],
    validation: &[Series],
    plan: Plan,
    mut progress: impl FnMut(&str),
) -> Result<Fitted> {
    let mut rng = Rng::new(plan.seed);
    let vars = initial(plan.hidden, &mut rng)?;
    let net = GruNet::new(std::array::from_fn(|i| vars[i].as_tensor().clone()))?;
    let config = ParamsAdamW { lr: LEARNING_RATE, weight_decay: 0.02, ..ParamsAdamW::default() };
    let mut optimiser = AdamW::new(vars.to_vec(), config)?;
    let weight = failing_weight(train);
    let mut averaged = Averaged::new(&vars)?;
    let mut best = (f64::NEG_INFINITY, 0, averaged.net()?);
    let mut epoch = 0;
    while epoch < plan.epochs && epoch < best.1 + PATIENCE {
        epoch += 1;
        let mut chunks = chunks(train, plan.window, &mut rng);
        rng.shuffle(&mut chunks);
        let mut total = 0.0;
        for batch in chunks.chunks(BATCH) {
            let loss = loss(&net, train, batch, plan.window, weight, &mut rng)?;
            optimiser.backward_step(&loss)?;
            averaged.follow(&vars)?;
            total += f64::from(loss.to_scalar::<f32>()?) * batch.len() as f64;
        }
        let candidate = averaged.net()?;
        let scores = judge(&candidate, validation, plan.window)?;
        let rank = average_precision(&labelled(validation, &scores, &FAILING));
        if rank > best.0 {
            best = (rank, epoch, candidate);
        } else if (epoch - best.1).is_multiple_of(6) {
            optimiser.set_learning_rate(optimiser.learning_rate() * 0.5);
        }
        let mean = total / chunks.len().max(1) as f64;
        progress(&format!("epoch {epoch:3}  loss {mean:.4}  validation AUC-PR {rank:.4}"));
    }
    Ok(Fitted { net: best.2, best_epoch: best.1, epochs: epoch })
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
    fn net(&self) -> Result<GruNet> {
        GruNet::new(std::array::from_fn(|i| self.weights[i].clone()))
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
        vars.push(Var::from_vec(values, shape, &Device::Cpu)?);
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
            chunks.push((i, start));
            start += stride as isize;
        }
    }
    chunks
}

/// Steps at the start of a chunk that are not judged: live, a window is always full.
fn burn_in(window: usize) -> usize {
    window / 2
}

fn loss(
    net: &GruNet,
    train: &[Series],
    batch: &[(usize, isize)],
    window: usize,
    weight: f32,
    rng: &mut Rng,
) -> Result<Tensor> {
    let hidden: Vec<[bool; N_METRICS]> =
        batch.iter().map(|_| std::array::from_fn(|_| rng.unit() < HIDE)).collect();
    let mut values = Vec::with_capacity(window * batch.len() * N_FEATURES);
    for t in 0..window {
        for (&(i, start), hidden) in batch.iter().zip(&hidden) {
            let step = start + t as isize;
            let from = values.len();
            // A chunk that ends after the run repeats its last step; that is not judged.
            values.extend_from_slice(train[i].row(step.min(train[i].len() as isize - 1)));
            for (m, _) in hidden.iter().enumerate().filter(|(_, h)| **h) {
                values[from + m * PER_METRIC..from + (m + 1) * PER_METRIC].fill(0.0);
            }
        }
    }
    let (mut truth, mut weights) = (Vec::new(), Vec::new());
    for &(i, start) in batch {
        for t in burn_in(window)..window {
            let label = usize::try_from(start + t as isize).ok().and_then(|s| train[i].labels.get(s));
            truth.push(f32::from(matches!(label, Some(Label::Failing | Label::Failed))));
            weights.push(match label {
                Some(Label::Failing | Label::Failed) => weight,
                Some(Label::Healthy) => 1.0,
                _ => 0.0,
            });
        }
    }
    let logits = net.logits_from(&input(values, window, batch.len())?, burn_in(window))?;
    let total = weights.iter().sum::<f32>().max(1.0);
    let shape = logits.shape().clone();
    let truth = Tensor::from_vec(truth, &shape, &Device::Cpu)?;
    let weights = Tensor::from_vec(weights, &shape, &Device::Cpu)?;
    // Stable cross entropy: max(x, 0) - x·y + ln(1 + e^-|x|).
    let soft = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
    let each = ((logits.relu()? - (&logits * &truth)?)? + soft)?;
    (each * weights)?.sum_all()? / f64::from(total)
}

/// Raw logits of every step, each from its own full window as live.
pub(crate) fn judge(net: &GruNet, series: &[Series], window: usize) -> Result<Vec<Scores>> {
    let steps: Vec<(usize, usize)> =
        series.iter().enumerate().flat_map(|(i, s)| (0..s.len()).map(move |t| (i, t))).collect();
    let mut scores: Vec<Scores> = series.iter().map(|s| Vec::with_capacity(s.len())).collect();
    for batch in steps.chunks(JUDGE_BATCH) {
        let mut values = Vec::with_capacity(window * batch.len() * N_FEATURES);
        for t in 0..window {
            for &(i, step) in batch {
                values.extend_from_slice(series[i].row(step as isize + 1 + t as isize - window as isize));
            }
        }
        let logits = net.last_logit(&input(values, window, batch.len())?)?.to_vec1::<f32>()?;
        for (&(i, _), logit) in batch.iter().zip(logits) {
            scores[i].push(logit);
        }
    }
    Ok(scores)
}
