//! Streaming anomaly detection: a score for every row, from that row and the past only.

mod multivariate;
pub mod smd;

pub use multivariate::{MultivariateDetector, TooShort};
