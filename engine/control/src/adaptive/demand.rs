//! How much capacity the traffic to one far engine needs, now and as forecast.

use crate::config::AdaptiveConfig;
use crate::io::{Forecast, TunnelTraffic};
use dataplane::id::Nanos;

/// A tunnel may carry this much more than its part: few flows do not spread evenly.
const SKEW_MAX: f64 = 2.0;
/// Below this share of the capacity, what one tunnel carries beside another says nothing.
const SKEW_FROM: f64 = 0.2;
/// A forecast of more than this many times all that was ever measured is none.
const FORECAST_MAX: f64 = 10.0;

/// The traffic to one far engine beside what its tunnels let through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// Measured, bits a second.
    pub load: f64,
    /// Forecast: the upper quantile that is highest within the lead, and when that is.
    pub ahead: Option<(f64, Nanos)>,
    /// What the carriers' shapers let through; `None` if any has none.
    pub capacity: Option<f64>,
    /// What those let through that are being made.
    pub coming: f64,
    /// How much busier the busiest carrier is than all of them together.
    pub skew: f64,
}

impl Demand {
    pub fn new(load: f64, ahead: Option<(f64, Nanos)>, carriers: &[TunnelTraffic], coming: f64) -> Demand {
        let rate = |t: &TunnelTraffic| t.rate_bps.filter(|rate| *rate > 0).map(|rate| rate as f64);
        let capacity: Option<f64> = carriers.iter().map(rate).sum();
        let capacity = capacity.filter(|capacity| *capacity > 0.0);
        let sent: f64 = carriers.iter().map(|t| t.sent_bps).sum();
        let mean = capacity.map_or(0.0, |capacity| sent / capacity);
        let hottest = carriers.iter().filter_map(|t| Some(t.sent_bps / rate(t)?)).fold(0.0, f64::max);
        let skew = if mean >= SKEW_FROM { (hottest / mean).clamp(1.0, SKEW_MAX) } else { 1.0 };
        Demand { load, ahead, capacity, coming, skew }
    }

    /// Share of the capacity that is used, 0–1; of the busiest carrier.
    pub fn utilisation(&self) -> Option<f64> {
        self.capacity.map(|capacity| self.load / capacity * self.skew)
    }

    /// Capacity at which `load` would use no more than `share` of it.
    fn needed(&self, load: f64, share: f64) -> f64 {
        load * self.skew / share
    }

    /// What the measured load needs.
    pub fn needed_now(&self, config: &AdaptiveConfig) -> f64 {
        self.needed(self.load, config.utilisation)
    }

    /// The capacity that there should be, if it is more than there is and is on its way; and whether only the forecast says so.
    pub fn wants(&self, config: &AdaptiveConfig) -> Option<(f64, bool)> {
        let there = self.capacity? + self.coming;
        let ahead = self.ahead.map_or(0.0, |(load, _)| self.needed(load, config.utilisation));
        let now = self.needed_now(config);
        let most = now.max(ahead);
        (most > there).then_some((most, now <= there))
    }

    /// Whether `left` would be enough, with room to spare.
    pub fn can_do_with(&self, left: f64, config: &AdaptiveConfig) -> bool {
        let load = self.ahead.map_or(self.load, |(ahead, _)| ahead.max(self.load));
        left > 0.0 && self.needed(load, config.release) <= left
    }
}

/// The highest of the upper quantiles within the lead; `Err` if any of them cannot be. `peak` is the most ever measured.
pub fn ahead(forecast: &[Forecast], lead: Nanos, peak: f64) -> Result<Option<(f64, Nanos)>, String> {
    for f in forecast {
        let ordered = f.median >= 0.0 && f.upper >= f.median;
        if !(ordered && f.upper.is_finite()) || f.upper > FORECAST_MAX * peak {
            return Err(format!(
                "median {:.0} and upper {:.0} bit/s in {} ms, after at most {peak:.0} until now",
                f.median,
                f.upper,
                f.ahead.as_millis()
            ));
        }
    }
    let within = forecast.iter().filter(|f| f.ahead <= lead).map(|f| (f.upper, f.ahead));
    Ok(within.reduce(|a, b| if b.0 > a.0 { b } else { a }))
}
