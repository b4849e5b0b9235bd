//! What the predictor says, as the controller is told it: live, and of a recording.

use control::io::Assessment;
use predictor::Prediction;

/// Of an engine whose workers are `busy` (0–1, NaN if unknown), by a model that was trained to alarm from `alarm_from` on.
pub fn assessment(prediction: &Prediction, alarm_from: f32, busy: f32) -> Assessment {
    let drivers = prediction.drivers.iter().flatten();
    let said = prediction.alarm;
    Assessment {
        probability: said.probability,
        drift: prediction.drift,
        interval: said.probability.is_finite().then_some((said.low, said.high)),
        horizon_ms: said.within_ms,
        alarm_from,
        busy,
        drivers: drivers.map(|driver| (driver.metric.name().to_owned(), driver.contribution)).collect(),
    }
}
