//! Foresees the failure of an engine or a path from its telemetry.
//!
//! [`TelemetrySample`] every 100 ms → [`FeatureExtractor`] (relative to the subject's own past)
//! → [`Model`] (a GRU in candle) and drift → [`Prediction`]. [`recording`] and [`train`] make
//! a model offline from recordings of a real engine, with the same features.
//!
//! A leaf crate: it knows no other part of Foreshift.
#![forbid(unsafe_code)]

mod baseline;
pub mod calibrate;
mod correlation;
mod drift;
mod features;
pub mod gbdt;
mod live;
mod model;
mod net;
mod pooled;
mod predict;
pub mod recording;
mod rng;
mod sample;
mod track;
pub mod train;

pub use drift::Drift;
pub use features::{FEATURES_VERSION, FeatureExtractor, N_FEATURES, PER_METRIC, Pushed, STRIDE_MS};
pub use model::{Calibration, Description, Model, ModelError, sigmoid};
pub use predict::{Driver, Prediction, Predictor, Quality};
pub use sample::{Metric, N_METRICS, SAMPLE_MS, TelemetrySample};
