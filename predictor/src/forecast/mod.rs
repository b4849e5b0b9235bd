//! Quantile forecasts of one series with a daily (or any other) season and a trend, online.
//!
//! [`Forecaster::push`] takes a value each step, [`Forecaster::forecast`] gives quantiles at each
//! horizon. Per horizon, a robust recursive least squares regression (RLS with forgetting and Huber
//! weights) predicts from the recent values, the same time of the last days and weeks, and a profile
//! of the day; its errors, in units of their recent size, are followed by one quantile tracker a
//! level. Quantile tracking (Gibbs and Candès 2021; Angelopoulos, Candès and Tibshirani 2023) keeps
//! each level's long-run coverage whatever the series does: a level that was exceeded too often rises.
//!
//! All works on signed square roots, in which a traffic volume's errors are about as large by night
//! as by day. After the first two seasons nothing is allocated.

mod history;
mod interval;
mod regression;
#[cfg(test)]
mod tests;
pub mod traffic;

use history::{FEATURES, History};
use interval::Interval;
use regression::Regression;

/// The levels of a forecast's quantiles; the outer two bound the central 95 %.
pub const LEVELS: [f64; 8] = [0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975];

/// Rows after which a regression's forecasts are taken for its own: it has seen about four times as
/// many rows as it has weights.
const LEARNED: usize = 100;

/// What cannot be forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForecastError {
    /// No horizon, or a horizon of zero steps.
    #[error("there must be a horizon, and each at least 1 step")]
    Horizon,
    /// The season is not longer than the longest horizon.
    #[error("a season of {season} steps must be more than a step longer than the longest horizon, {horizon}")]
    Season {
        /// Steps of a season.
        season: usize,
        /// Steps of the longest horizon.
        horizon: usize,
    },
}

/// The quantiles of a future value, in the units of the series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantiles {
    /// At [`LEVELS`], never falling.
    pub values: [f64; LEVELS.len()],
}

impl Quantiles {
    /// The value at a level of [`LEVELS`].
    pub fn at(&self, level: f64) -> Option<f64> {
        LEVELS.iter().position(|known| *known == level).map(|at| self.values[at])
    }

    /// The median.
    pub fn median(&self) -> f64 {
        self.values[3]
    }

    /// The central interval that 95 % of the values are in.
    pub fn interval_95(&self) -> (f64, f64) {
        (self.values[0], self.values[LEVELS.len() - 1])
    }
}

/// Forecasts one series. Steps are of equal length.
#[derive(Clone, Debug)]
pub struct Forecaster {
    history: History,
    ahead: Vec<Ahead>,
    /// What values are divided by before the root: their mean size when the learning starts.
    unit: Option<f64>,
    sum: f64,
}

/// One horizon.
#[derive(Clone, Debug)]
struct Ahead {
    horizon: usize,
    regression: Regression,
    interval: Interval,
    /// What was known, forecast and expected to err at the last `horizon` origins and this one.
    origins: Vec<Origin>,
}

#[derive(Clone, Debug)]
struct Origin {
    features: [f64; FEATURES],
    forecast: Option<f64>,
    error: f64,
}

impl Forecaster {
    /// A forecaster for a season and horizons in steps. A series without season may be given any
    /// season that is long enough: the regression finds no weight for it.
    pub fn new(season: usize, horizons: &[usize]) -> Result<Forecaster, ForecastError> {
        let longest = horizons.iter().copied().max().unwrap_or(0);
        if longest == 0 || horizons.contains(&0) {
            return Err(ForecastError::Horizon);
        }
        if season <= longest + 1 {
            return Err(ForecastError::Season { season, horizon: longest });
        }
        let origin = Origin { features: [0.0; FEATURES], forecast: None, error: 0.0 };
        let ahead = |horizon: &usize| Ahead {
            horizon: *horizon,
            regression: Regression::new(),
            interval: Interval::new(season),
            origins: vec![origin.clone(); horizon + 1],
        };
        Ok(Forecaster {
            history: History::new(season),
            ahead: horizons.iter().map(ahead).collect(),
            unit: None,
            sum: 0.0,
        })
    }

    /// Steps before the first forecast of a horizon.
    pub fn warm_up(&self, horizon: usize) -> usize {
        2 * self.history.season() + 2 * horizon + LEARNED + interval::LEARNED - 1
    }

    /// The next value. One that is not finite counts as missing: it is learnt from by nobody, and
    /// later forecasts see the forecast in its place, or the last value before there is any.
    pub fn push(&mut self, value: f64) {
        let seen = self.history.len();
        let value = value.is_finite().then_some(value);
        let unit = match self.unit {
            Some(unit) => unit,
            None => {
                self.sum += value.map_or(0.0, f64::abs);
                if seen + 1 < 2 * self.history.season() {
                    // Raw until the unit is known, then all at once.
                    self.history.push(value.unwrap_or_else(|| self.history.last()));
                    return;
                }
                let mean = self.sum / (seen + 1) as f64;
                let unit = if mean > 0.0 { mean } else { 1.0 };
                self.history.map(|value| root(value / unit));
                *self.unit.insert(unit)
            }
        };
        let value = value.map(|value| root(value / unit));
        let filled = value.unwrap_or_else(|| self.expected().unwrap_or_else(|| self.history.last()));
        self.history.push(filled);
        for ahead in &mut self.ahead {
            ahead.step(&self.history, value);
        }
    }

    /// The median that the last step gave for this one.
    fn expected(&self) -> Option<f64> {
        let next = self.ahead.iter().find(|ahead| ahead.horizon == 1)?;
        next.origins[self.history.len() % next.origins.len()].forecast
    }

    /// The quantiles of the value `horizon` steps after the last one pushed; `None` before
    /// [`Forecaster::warm_up`] or for a horizon that was not asked for.
    pub fn forecast(&self, horizon: usize) -> Option<Quantiles> {
        let unit = self.unit?;
        let ahead = self.ahead.iter().find(|ahead| ahead.horizon == horizon)?;
        let origin = &ahead.origins[self.history.len() % ahead.origins.len()];
        let steps = ahead.interval.quantiles()?;
        let forecast = origin.forecast?;
        Some(Quantiles { values: steps.map(|step| square(forecast + step * origin.error) * unit) })
    }
}

impl Ahead {
    /// Learns from the newest value, if it was measured, and forecasts from it.
    fn step(&mut self, history: &History, value: Option<f64>) {
        let slots = self.origins.len();
        let now = history.len();
        let target = history.slot(0);
        if now >= 2 * history.season() + self.horizon
            && let Some(value) = value
        {
            let origin = &self.origins[(now - self.horizon) % slots];
            if let Some(forecast) = origin.forecast {
                self.interval.learn(value - forecast, origin.error, target);
            }
            self.regression.learn(&origin.features, value);
        }
        let origin = &mut self.origins[now % slots];
        origin.features = history.features(self.horizon);
        origin.forecast =
            (self.regression.seen() > LEARNED).then(|| self.regression.predict(&origin.features));
        origin.error = self.interval.error(history.slot(self.horizon));
    }
}

fn root(value: f64) -> f64 {
    value.abs().sqrt().copysign(value)
}

fn square(value: f64) -> f64 {
    (value * value).copysign(value)
}
