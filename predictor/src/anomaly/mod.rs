//! Streaming anomaly detection: a score for every row, from that row and the past only.
//!
//! - [`MultivariateDetector`]: rows of many metrics, against how each metric has moved of late
//!   ([`MetricDetector`] is its part for one metric).
//! - [`SeriesDetector`]: a single series, by the rarity of its values, with a score that rises while
//!   the series is strange and jumps where that begins.
//!
//! None allocates after it was made. A value that is not finite is missing: nothing is learnt from it.

mod metric;
mod multivariate;
pub mod nab;
mod rarity;
mod series;
pub mod smd;
#[cfg(test)]
mod tests;

pub use metric::MetricDetector;
pub use multivariate::{MultivariateDetector, TooShort};
pub use series::{SeriesDetector, SeriesScore};
