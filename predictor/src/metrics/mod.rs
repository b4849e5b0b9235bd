//! Figures by which scores and forecasts are judged, as their benchmarks define them.

mod vus;

pub use vus::vus_pr;
