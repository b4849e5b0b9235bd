//! A trained model: what the judges know, how the ensemble weighs them, and how its output is calibrated.
//!
//! One safetensors file holds it all: tensors, and in its metadata under the key `foreshift` the description and the
//! trees. Whatever does not fit is refused with a reason: a bad file never half works.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::calibrate::{Interval, VennAbers};
use crate::features::{FEATURES_VERSION, N_FEATURES, N_NAMELESS, PER_METRIC, STRIDE_MS};
use crate::gbdt::Booster;
use crate::judges::{HORIZONS, JUDGES, Linear, Logits, NAMES, Parts};
use crate::net::{GruNet, layout};
use crate::panel::Panel;
use crate::recurrent::Weights;
use crate::sample::Metric;
use crate::time_left::{Left, TimeLeft};

const META_KEY: &str = "foreshift";
const FORMAT: u32 = 5;
/// Trees of one horizon at most: bounds the time of a judgement.
const MAX_TREES: usize = 400;
/// Larger than any model of this kind; keeps a forged header from claiming gigabytes.
const MAX_WIDTH: usize = 256;

/// Why a model was refused. The one in use stays.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a safetensors file, or a damaged one.
    #[error("not an intact safetensors file: {0}")]
    Format(#[from] safetensors::SafeTensorError),
    /// The description is missing or unreadable.
    #[error("no readable model description under the metadata key `foreshift`: {0}")]
    Description(String),
    /// Made for other features, metrics or time steps.
    #[error("{what} is {found}, this engine needs {needed}; retrain the model")]
    Incompatible {
        /// What differs.
        what: &'static str,
        /// What the file says.
        found: String,
        /// What would be accepted.
        needed: String,
    },
    /// A tensor is missing or has another type or shape.
    #[error("tensor `{tensor}`: {found}, expected {expected}")]
    Tensor {
        /// Its name.
        tensor: &'static str,
        /// What the file holds.
        found: String,
        /// What the network needs.
        expected: String,
    },
    /// A weight or a calibration parameter is NaN or infinite.
    #[error("`{0}` holds a value that is not finite")]
    NotFinite(&'static str),
    /// The network could not be evaluated.
    #[error("evaluation: {0}")]
    Evaluate(#[from] candle_core::Error),
}

/// How the judges' logits become one, for each horizon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ensemble {
    /// By horizon, then by judge; never negative: a judge that calls worse never calms.
    pub weights: [[f32; JUDGES]; HORIZONS],
    /// By horizon.
    pub bias: Logits,
    /// From the sum to a probability and its bounds, by horizon.
    pub calibration: [VennAbers; HORIZONS],
    /// From the sum at the longest horizon to the time that is left.
    pub time_left: TimeLeft,
}

impl Ensemble {
    /// The weighed sum at one horizon.
    pub(crate) fn logit(&self, horizon: usize, said: &[Logits; JUDGES]) -> f32 {
        self.bias[horizon] + self.weights[horizon].iter().zip(said).map(|(w, s)| w * s[horizon]).sum::<f32>()
    }

    /// The bounds of the probability at one horizon; `None` when the judges gave no number.
    pub(crate) fn interval(&self, horizon: usize, said: &[Logits; JUDGES]) -> Option<Interval> {
        let logit = self.logit(horizon, said);
        logit.is_finite().then(|| self.calibration[horizon].interval(logit))
    }

    /// When the failure comes, if it comes within the longest horizon.
    pub(crate) fn time_left(&self, said: &[Logits; JUDGES]) -> Left {
        self.time_left.at(self.logit(HORIZONS - 1, said))
    }
}

/// What a model expects and how it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Version of this description.
    pub format: u32,
    /// Name for logs and roll-backs.
    pub name: String,
    /// [`FEATURES_VERSION`] at training.
    pub features_version: u32,
    /// Metric names in order.
    pub metrics: Vec<String>,
    /// Width of the recurrent state.
    pub hidden: usize,
    /// Steps in a window.
    pub window: usize,
    /// Time between steps (ms).
    pub stride_ms: u64,
    /// The probability is that of a failure within this time (ms).
    pub horizon_ms: u64,
    /// The judges, in the order of the ensemble's weights.
    pub judges: Vec<String>,
    /// How they are weighed and calibrated.
    pub ensemble: Ensemble,
    /// The place of the horizon, shortest first, whose probability raises the alarm.
    pub alarm_horizon: usize,
    /// The probability at which it is time to alarm: found in training, on runs that were left out.
    pub alarm_from: f32,
    /// Seed of the training.
    pub seed: u64,
}

impl Description {
    /// The description of a model trained on this crate's features.
    pub fn new(name: String, shape: (usize, usize), horizon_ms: u64, ensemble: Ensemble, seed: u64) -> Self {
        Self {
            format: FORMAT,
            name,
            features_version: FEATURES_VERSION,
            metrics: Metric::all().map(|m| m.name().to_owned()).collect(),
            hidden: shape.0,
            window: shape.1,
            stride_ms: STRIDE_MS,
            horizon_ms,
            judges: NAMES.map(str::to_owned).into(),
            ensemble,
            alarm_horizon: HORIZONS - 1,
            alarm_from: 0.7,
            seed,
        }
    }

    fn check(&self) -> Result<(), ModelError> {
        let metrics: Vec<_> = Metric::all().map(Metric::name).collect();
        require("format", self.format, FORMAT)?;
        require("features_version", self.features_version, FEATURES_VERSION)?;
        require("stride_ms", self.stride_ms, STRIDE_MS)?;
        // Metrics are only ever appended: an older model goes on, and does not see what came later.
        let known = &metrics[..metrics.len().min(self.metrics.len())];
        require("the list of metrics", self.metrics.join(","), known.join(","))?;
        in_range("hidden", self.hidden, MAX_WIDTH)?;
        in_range("window", self.window, MAX_WIDTH)?;
        in_range("horizon_ms", self.horizon_ms as usize, 3_600_000)?;
        require("the list of judges", self.judges.join(","), NAMES.join(","))?;
        let weights = self.ensemble.weights.iter().flatten();
        if !weights.chain(&self.ensemble.bias).all(|w| w.is_finite()) {
            return Err(ModelError::NotFinite("ensemble"));
        }
        in_range("the alarm's horizon", self.alarm_horizon.saturating_add(1), HORIZONS)?;
        if !(0.0..=1.0).contains(&self.alarm_from) {
            return Err(ModelError::NotFinite("alarm_from"));
        }
        if self.ensemble.weights.iter().flatten().any(|w| *w < 0.0) {
            return Err(ModelError::Description("the ensemble turns a judge around".into()));
        }
        Ok(())
    }
}

fn require<T: PartialEq + ToString>(what: &'static str, found: T, needed: T) -> Result<(), ModelError> {
    if found == needed {
        return Ok(());
    }
    Err(ModelError::Incompatible { what, found: found.to_string(), needed: needed.to_string() })
}

fn in_range(what: &'static str, found: usize, max: usize) -> Result<(), ModelError> {
    if (1..=max).contains(&found) {
        return Ok(());
    }
    Err(ModelError::Incompatible { what, found: found.to_string(), needed: format!("1 to {max}") })
}

/// A model ready to judge subjects.
#[derive(Clone, Debug)]
pub struct Model {
    net: GruNet,
    parts: Parts,
    description: Description,
}

/// What training makes, before it is a model.
#[derive(Clone, Debug)]
pub(crate) struct Fitted {
    pub(crate) net: GruNet,
    pub(crate) trees: [Booster; HORIZONS],
    pub(crate) named: [Booster; HORIZONS],
    pub(crate) linear: Linear,
}

impl Fitted {
    /// For judges whose window is `window` steps.
    pub(crate) fn parts(&self, window: usize) -> Result<Parts, ModelError> {
        Ok(Parts {
            recurrent: Arc::new(Weights::new(&self.net, window)?),
            trees: Arc::new(self.trees.clone()),
            named: Arc::new(self.named.clone()),
            linear: Arc::new(self.linear.clone()),
        })
    }
}

impl Model {
    pub(crate) fn new(fitted: Fitted, description: Description) -> Result<Self, ModelError> {
        description.check()?;
        let named = description.metrics.len() * PER_METRIC + N_NAMELESS;
        for (all, features) in [(&fitted.trees, N_NAMELESS), (&fitted.named, named)] {
            for trees in all {
                in_range("trees", trees.len().max(1), MAX_TREES)?;
                require("features of the trees", trees.features(), features)?;
            }
        }
        let parts = fitted.parts(description.window)?;
        let model = Self { net: fitted.net, parts, description };
        // Finite weights can still overflow; a calm subject must get a number.
        let calm = model.panel().said(&[0.0; N_FEATURES]);
        if calm.iter().flatten().all(|l| l.is_finite()) {
            Ok(model)
        } else {
            Err(ModelError::NotFinite("output"))
        }
    }

    /// The model committed with this crate; its card is `src/default_model/card.md`.
    pub fn default_model() -> Result<Self, ModelError> {
        Self::from_bytes(include_bytes!("default_model/model.safetensors"))
    }

    /// Reads and checks a model file.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let bytes = std::fs::read(path).map_err(|source| ModelError::Io { path: path.to_owned(), source })?;
        Self::from_bytes(&bytes)
    }

    /// Reads and checks a model file's content.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let file = SafeTensors::deserialize(bytes)?;
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let text = header
            .metadata()
            .as_ref()
            .and_then(|m| m.get(META_KEY))
            .ok_or_else(|| ModelError::Description("missing".into()))?;
        let (description, [trees, named]): (Description, [[Booster; HORIZONS]; 2]) =
            serde_json::from_str(text).map_err(|e| ModelError::Description(e.to_string()))?;
        description.check()?;
        let linear = Linear {
            weights: rows(&read(&file, "linear.weight", &[HORIZONS, N_NAMELESS])?),
            bias: rows::<1, HORIZONS>(&read(&file, "linear.bias", &[HORIZONS])?)[0],
        };
        let mut tensors = Vec::with_capacity(6);
        for (name, shape) in layout(description.hidden) {
            tensors.push(Tensor::from_vec(read(&file, name, &shape)?, shape, &Device::Cpu)?);
        }
        match <[Tensor; 6]>::try_from(tensors) {
            Ok(tensors) => {
                Self::new(Fitted { net: GruNet::new(tensors)?, trees, named, linear }, description)
            }
            Err(_) => Err(ModelError::Description("wrong number of tensors".into())),
        }
    }

    /// The content of a model file; the same model always gives the same bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelError> {
        // One key: the order of several would be the map's whim.
        let text = serde_json::to_string(&(&self.description, [&*self.parts.trees, &*self.parts.named]))
            .map_err(|e| ModelError::Description(e.to_string()))?;
        let mut tensors = Vec::with_capacity(8);
        for ((name, shape), tensor) in layout(self.description.hidden).into_iter().zip(self.net.tensors()) {
            tensors.push((name, shape, bytes(&tensor.flatten_all()?.to_vec1::<f32>()?)));
        }
        let linear = &self.parts.linear;
        tensors.push(("linear.weight", vec![HORIZONS, N_NAMELESS], bytes(linear.weights.as_flattened())));
        tensors.push(("linear.bias", vec![HORIZONS], bytes(&linear.bias)));
        let mut views = Vec::with_capacity(tensors.len());
        for (name, shape, data) in &tensors {
            views.push((*name, TensorView::new(Dtype::F32, shape.clone(), data)?));
        }
        Ok(safetensors::serialize(views, Some([(META_KEY.to_owned(), text)].into()))?)
    }

    /// Writes the model file.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        std::fs::write(path, self.to_bytes()?)
            .map_err(|source| ModelError::Io { path: path.to_owned(), source })
    }

    /// What the model expects and how it was made.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The network as candle runs it.
    #[cfg(test)]
    pub(crate) fn net(&self) -> &GruNet {
        &self.net
    }

    /// The judges of one subject, live.
    pub(crate) fn panel(&self) -> Panel {
        Panel::new(&self.parts)
    }
}

fn read(file: &SafeTensors<'_>, name: &'static str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
    let wrong = |found| ModelError::Tensor { tensor: name, found, expected: format!("F32 {shape:?}") };
    let view = file.tensor(name).map_err(|_| wrong("missing".into()))?;
    if view.dtype() != Dtype::F32 || view.shape() != shape {
        return Err(wrong(format!("{:?} {:?}", view.dtype(), view.shape())));
    }
    let values: Vec<f32> =
        view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    if values.iter().any(|v| !v.is_finite()) {
        return Err(ModelError::NotFinite(name));
    }
    Ok(values)
}

/// As many rows as the checked shape says.
fn rows<const R: usize, const C: usize>(values: &[f32]) -> [[f32; C]; R] {
    std::array::from_fn(|r| std::array::from_fn(|c| values[r * C + c]))
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
