//! A trained model: weights, what they expect, and how to read their output.
//!
//! One safetensors file holds it all; the description travels in its metadata under the key
//! `foreshift`. Whatever does not fit is refused with a reason: a bad file never half works.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::features::{FEATURES_VERSION, N_FEATURES, STRIDE_MS};
use crate::live::{LiveNet, Weights};
use crate::net::{GruNet, input, layout};
use crate::sample::Metric;

const META_KEY: &str = "foreshift";
const FORMAT: u32 = 1;
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

/// Platt scaling: calibrated logit = `scale` × logit + `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Slope (> 0: keeps the order).
    pub scale: f32,
    /// Offset.
    pub offset: f32,
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
    /// From raw to calibrated logit.
    pub calibration: Calibration,
    /// Seed of the training.
    pub seed: u64,
}

impl Description {
    /// The description of a model trained on this crate's features.
    pub fn new(name: String, shape: (usize, usize), horizon_ms: u64, seed: u64) -> Self {
        Self {
            format: FORMAT,
            name,
            features_version: FEATURES_VERSION,
            metrics: Metric::all().map(|m| m.name().to_owned()).collect(),
            hidden: shape.0,
            window: shape.1,
            stride_ms: STRIDE_MS,
            horizon_ms,
            calibration: Calibration { scale: 1.0, offset: 0.0 },
            seed,
        }
    }

    fn check(&self) -> Result<(), ModelError> {
        let metrics: Vec<_> = Metric::all().map(Metric::name).collect();
        require("format", self.format, FORMAT)?;
        require("features_version", self.features_version, FEATURES_VERSION)?;
        require("stride_ms", self.stride_ms, STRIDE_MS)?;
        require("the list of metrics", self.metrics.join(","), metrics.join(","))?;
        in_range("hidden", self.hidden, MAX_WIDTH)?;
        in_range("window", self.window, MAX_WIDTH)?;
        in_range("horizon_ms", self.horizon_ms as usize, 3_600_000)?;
        let Calibration { scale, offset } = self.calibration;
        if !(scale.is_finite() && offset.is_finite() && scale > 0.0) {
            return Err(ModelError::NotFinite("calibration"));
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

/// A model ready to judge windows of features.
#[derive(Clone, Debug)]
pub struct Model {
    net: GruNet,
    weights: Arc<Weights>,
    description: Description,
}

impl Model {
    pub(crate) fn new(net: GruNet, description: Description) -> Result<Self, ModelError> {
        description.check()?;
        let weights = Arc::new(Weights::new(&net, description.window, description.calibration)?);
        let model = Self { net, weights, description };
        // Finite weights can still overflow; a calm window must give a number.
        let calm = model.logits(vec![0.0; model.description.window * N_FEATURES], 1)?;
        if calm.iter().all(|l| l.is_finite()) { Ok(model) } else { Err(ModelError::NotFinite("output")) }
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
        let description: Description =
            serde_json::from_str(text).map_err(|e| ModelError::Description(e.to_string()))?;
        description.check()?;
        let mut tensors = Vec::with_capacity(6);
        for (name, shape) in layout(description.hidden) {
            tensors.push(read_tensor(&file, name, &shape)?);
        }
        match <[Tensor; 6]>::try_from(tensors) {
            Ok(tensors) => Self::new(GruNet::new(tensors)?, description),
            Err(_) => Err(ModelError::Description("wrong number of tensors".into())),
        }
    }

    /// The content of a model file; the same model always gives the same bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelError> {
        let text =
            serde_json::to_string(&self.description).map_err(|e| ModelError::Description(e.to_string()))?;
        let names = layout(self.description.hidden);
        let mut raw = Vec::with_capacity(names.len());
        for tensor in self.net.tensors() {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            raw.push(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
        }
        let mut views = Vec::with_capacity(names.len());
        for ((name, shape), data) in names.into_iter().zip(&raw) {
            views.push((name, TensorView::new(Dtype::F32, shape, data)?));
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

    pub(crate) fn net(&self) -> &GruNet {
        &self.net
    }

    /// The network for one subject, live.
    pub(crate) fn live(&self) -> LiveNet {
        LiveNet::new(Arc::clone(&self.weights))
    }

    /// Calibrated logits of `batch` windows given step by step (`[window][batch][features]`).
    pub fn logits(&self, windows: Vec<f32>, batch: usize) -> Result<Vec<f32>, ModelError> {
        let x = input(windows, self.description.window, batch)?;
        let Calibration { scale, offset } = self.description.calibration;
        let raw = self.net.last_logit(&x)?.to_vec1::<f32>()?;
        Ok(raw.into_iter().map(|l| scale * l + offset).collect())
    }
}

/// Logit to probability.
pub fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

fn read_tensor(file: &SafeTensors<'_>, name: &'static str, shape: &[usize]) -> Result<Tensor, ModelError> {
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
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}
