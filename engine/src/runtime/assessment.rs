//! What the predictor says, as the controller is told it: live, and of a recording.

use control::io::Assessment;
use predictor::Prediction;

/// Of an engine whose workers are `busy` (0–1, NaN if unknown), by a model that was trained to alarm from `alarm_from` on.
pub fn assessment(prediction: &Prediction, alarm_from: f32, busy: f32) -> Assessment {
    let drivers = prediction.drivers.iter().flatten();
    let outlook = prediction.outlook.last().filter(|_| prediction.probability.is_finite());
    Assessment {
        probability: prediction.probability,
        drift: prediction.drift,
        interval: outlook.map(|outlook| (outlook.low, outlook.high)),
        horizon_ms: prediction.horizon_ms,
        alarm_from,
        busy,
        drivers: drivers.map(|driver| (driver.metric.name().to_owned(), driver.contribution)).collect(),
    }
}
