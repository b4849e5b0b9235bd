//! What adaptive groups carry: measured every telemetry interval, forecast, and told to the controller.

use crate::plan::{AdaptivePlan, ForecastPlan};
use control::health::PathStats;
use control::io::{Forecast, GroupTraffic, TunnelTraffic};
use dataplane::id::{Nanos, TunnelId};
use predictor::forecast::{ForecastError, Forecaster};
use predictor::{Model, Predictor, TelemetrySample};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The level of [`Forecast::upper`].
const UPPER: f64 = 0.95;

/// What is known of a tunnel when it is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Inner bytes that went into it since the start.
    pub sent_bytes: u64,
    /// Bits a second that its shaper lets through, if it has one.
    pub rate_bps: Option<u64>,
    /// Largest inner packet, bytes.
    pub mtu: u16,
}

/// All adaptive groups.
pub struct TrafficWatch {
    groups: Vec<Group>,
}

struct Group {
    plan: AdaptivePlan,
    sent: BTreeMap<TunnelId, u64>,
    measured_at: Nanos,
    series: Option<Series>,
    paths: Paths,
}

/// The group's traffic as the forecaster sees it.
struct Series {
    plan: ForecastPlan,
    forecaster: Forecaster,
    /// Of the step that is under way.
    begun: Nanos,
    bytes: u64,
}

/// The model once more for each configured tunnel, where there is a choice: with what is measured of that path alone.
struct Paths(BTreeMap<TunnelId, Predictor>);

impl TrafficWatch {
    /// Nothing measured yet.
    ///
    /// # Errors
    /// If a forecast's season and horizons do not fit together.
    pub fn new(
        plans: &[AdaptivePlan],
        model: &Arc<Model>,
        now: Nanos,
    ) -> Result<TrafficWatch, ForecastError> {
        let group = |plan: &AdaptivePlan| {
            let series = plan.forecast.as_ref().map(|forecast| Series::new(forecast, now)).transpose()?;
            let choice = if plan.configured.len() > 1 { plan.configured.as_slice() } else { &[] };
            let paths = choice.iter().map(|&tunnel| (tunnel, Predictor::new(Arc::clone(model)))).collect();
            let (plan, sent) = (plan.clone(), BTreeMap::new());
            Ok(Group { plan, sent, measured_at: now, series, paths: Paths(paths) })
        };
        Ok(TrafficWatch { groups: plans.iter().map(group).collect::<Result<_, _>>()? })
    }

    /// One telemetry interval: `sample` is the engine's, `path` what was measured of a tunnel.
    pub fn sample(
        &mut self,
        now: Nanos,
        seen: impl Fn(TunnelId) -> Seen,
        (sample, model): (&TelemetrySample, &Arc<Model>),
        path: impl Fn(TunnelId) -> Option<PathStats>,
    ) -> Vec<GroupTraffic> {
        let one = |group: &mut Group| {
            let failures = group.paths.sample(sample, model, &path);
            group.measure(now, &seen, &failures)
        };
        self.groups.iter_mut().map(one).collect()
    }
}

impl Group {
    fn measure(
        &mut self,
        now: Nanos,
        seen: &impl Fn(TunnelId) -> Seen,
        failures: &BTreeMap<TunnelId, f32>,
    ) -> GroupTraffic {
        let seconds = now.since(self.measured_at).0 as f64 / 1e9;
        self.measured_at = now;
        let mut total = 0;
        let mut tunnels = Vec::with_capacity(self.plan.tunnels.len());
        for &tunnel in &self.plan.tunnels {
            let Seen { sent_bytes, rate_bps, mtu } = seen(tunnel);
            let before = self.sent.insert(tunnel, sent_bytes).unwrap_or(sent_bytes);
            let bytes = sent_bytes.saturating_sub(before);
            total += bytes;
            let sent_bps = if seconds > 0.0 { bytes as f64 * 8.0 / seconds } else { 0.0 };
            let failure = failures.get(&tunnel).copied().unwrap_or(f32::NAN);
            tunnels.push(TunnelTraffic { tunnel, sent_bps, rate_bps, mtu, failure });
        }
        let forecast = self.series.as_mut().map(|series| series.add(total, now)).unwrap_or_default();
        GroupTraffic { group: self.plan.group, tunnels, forecast }
    }
}

impl Series {
    fn new(plan: &ForecastPlan, now: Nanos) -> Result<Series, ForecastError> {
        let forecaster = Forecaster::new(plan.season, &plan.horizons)?;
        Ok(Series { plan: plan.clone(), forecaster, begun: now, bytes: 0 })
    }

    /// Counts what was carried until `now`; what follows from all that was.
    fn add(&mut self, bytes: u64, now: Nanos) -> Vec<Forecast> {
        self.bytes += bytes;
        let step = Nanos(self.plan.step.as_nanos() as u64);
        // Telemetry comes a little early or late: the step ends with the sample nearest to its end.
        let slack = Nanos::from_millis(predictor::SAMPLE_MS / 2);
        let due = |series: &Series| now.plus(slack).since(series.begun) >= step;
        if due(self) {
            let seconds = now.since(self.begun).0 as f64 / 1e9;
            self.forecaster.push(self.bytes as f64 * 8.0 / seconds);
            self.bytes = 0;
            self.begun = self.begun.plus(step);
            // A machine that stood still measured nothing meanwhile.
            while due(self) {
                self.forecaster.push(f64::NAN);
                self.begun = self.begun.plus(step);
            }
        }
        let of = |&horizon: &usize| {
            let quantiles = self.forecaster.forecast(horizon)?;
            // Less than nothing is nothing.
            let [median, upper] = [quantiles.median(), quantiles.at(UPPER)?].map(|value| value.max(0.0));
            Some(Forecast { ahead: Nanos(step.0 * horizon as u64), median, upper })
        };
        self.plan.horizons.iter().filter_map(of).collect()
    }
}

impl Paths {
    /// P(failure) of each path.
    fn sample(
        &mut self,
        engine: &TelemetrySample,
        model: &Arc<Model>,
        path: &impl Fn(TunnelId) -> Option<PathStats>,
    ) -> BTreeMap<TunnelId, f32> {
        let one = |(&tunnel, predictor): (&TunnelId, &mut Predictor)| {
            if !Arc::ptr_eq(predictor.model(), model) {
                predictor.replace(Arc::clone(model));
            }
            let mut sample = *engine;
            super::telemetry::set_paths(&mut sample, &path(tunnel).into_iter().collect::<Vec<_>>());
            (tunnel, predictor.push(&sample).probability)
        };
        self.0.iter_mut().map(one).collect()
    }
}

#[cfg(test)]
mod tests;
