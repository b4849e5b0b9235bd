//! Figures by which scores and forecasts are judged, as their benchmarks define them.

mod forecast;
mod nab;
mod vus;

pub use forecast::{ForecastSums, pinball};
pub use nab::{NabFile, NabScore, nab_probation, nab_score};
pub use vus::vus_pr;
