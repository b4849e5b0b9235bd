//! Foresees the failure of an engine or a path from its telemetry.
//!
//! [`TelemetrySample`] every 100 ms → [`FeatureExtractor`] (relative to the subject's own past
//! and to its peers) → the judges of a [`Model`] (a GRU trained in candle, boosted trees, a linear model, drift,
//! correlation), weighed and calibrated → [`Prediction`]. [`recording`] and [`train`] make a model offline from
//! recordings of a real engine, with the same features.
//!
//! A leaf crate: it knows no other part of Foreshift.
#![forbid(unsafe_code)]

pub mod anomaly;
mod baseline;
pub mod calibrate;
mod correlation;
mod drift;
mod features;
pub mod forecast;
pub mod gbdt;
mod judges;
pub mod lifecycle;
mod median;
pub mod metrics;
mod model;
mod net;
mod panel;
pub mod plot;
mod pooled;
mod predict;
pub mod ramp;
pub mod recording;
mod recurrent;
mod rng;
mod sample;
pub mod table;
pub mod task;
mod time_left;
mod track;
pub mod train;

pub use correlation::Correlation;
pub use drift::Drift;
pub use features::{
    FEATURE_NAMES, FEATURES_VERSION, FeatureExtractor, N_FEATURES, N_NAMELESS, NAMELESS, PER_METRIC, Pushed,
    STRIDE_MS, Vitals,
};
pub use judges::{HORIZONS, Judge, Logits, Shown, horizons};
pub use model::{Description, Ensemble, Model, ModelError};
pub use predict::{Driver, Outlook, Prediction, Predictor, Quality, Verdict};
pub use sample::{Metric, N_METRICS, SAMPLE_MS, TelemetrySample, from_values};
pub use time_left::{Failed, Left, TimeLeft};
