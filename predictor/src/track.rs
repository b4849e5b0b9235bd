//! The streaming state of one metric of one subject.

use crate::baseline::Baseline;
use crate::drift::{Cusum, urgency};
use crate::sample::{Role, SAMPLE_MS, Scale, Spec};

/// Time constants of the three averages (ms).
const FAST_MS: f32 = 500.0;
const MID_MS: f32 = 2_500.0;
const SLOW_MS: f32 = 10_000.0;
/// Spread of `fast - mid` and `mid - slow` under mildly correlated noise of spread 1.
const FAST_DELTA_NOISE: f32 = 0.5;
const SLOW_DELTA_NOISE: f32 = 0.3;
/// Unmeasured for this long: the metric counts as absent (ms).
const ABSENT_MS: u32 = 1_000;
/// A baseline frozen this long (ms) is given up: the new level is the normal one.
const NEW_NORMAL_MS: u32 = 120_000;
/// The same for metrics whose very level is harm.
const NEW_NORMAL_HARM_MS: u32 = 600_000;
/// Time constant of the autocorrelation estimate (ms).
const AR_MS: f32 = 20_000.0;
/// The trend's CUSUM looks this often (ms): its input changes slowly.
const TREND_EVERY_MS: u32 = 500;

/// Average that starts as the plain mean and becomes exponential with `tau`.
#[derive(Clone, Copy, Debug, Default)]
struct Average {
    value: f32,
    seen_ms: f32,
}

impl Average {
    fn push(&mut self, y: f32, dt_ms: f32, tau_ms: f32) {
        self.seen_ms = (self.seen_ms + dt_ms).min(tau_ms);
        self.value += (y - self.value) * (dt_ms / self.seen_ms).min(1.0);
    }
}

/// Averages, baseline and change detectors of one metric.
#[derive(Clone, Debug)]
pub(crate) struct Track {
    spec: &'static Spec,
    baseline: Baseline,
    fast: Average,
    mid: Average,
    slow: Average,
    raw_fast: Average,
    raw_mid: Average,
    raw_slow: Average,
    unmeasured_ms: u32,
    frozen_ms: u32,
    last_z: f32,
    ar_power: f32,
    ar_product: f32,
    level: Cusum,
    trend: Cusum,
    trend_wait_ms: u32,
}

impl Track {
    pub(crate) fn new(spec: &'static Spec) -> Self {
        Self {
            spec,
            baseline: Baseline::new(spec.noise),
            fast: Average::default(),
            mid: Average::default(),
            slow: Average::default(),
            raw_fast: Average::default(),
            raw_mid: Average::default(),
            raw_slow: Average::default(),
            unmeasured_ms: ABSENT_MS,
            frozen_ms: 0,
            last_z: 0.0,
            ar_power: 1.0,
            ar_product: 0.0,
            level: Cusum::level(),
            trend: Cusum::trend(),
            trend_wait_ms: 0,
        }
    }

    /// Takes the raw value of one interval of `dt_ms`.
    pub(crate) fn push(&mut self, raw: f32, dt_ms: u32) {
        let Some(raw) = Spec::usable(raw) else {
            self.unmeasured_ms = self.unmeasured_ms.saturating_add(dt_ms);
            if self.absent() {
                self.level.fade();
                self.trend.fade();
            }
            return;
        };
        self.unmeasured_ms = 0;
        let y = self.spec.scaled(raw);
        let dt = dt_ms as f32;
        self.raw_fast.push(raw, dt, FAST_MS);
        self.raw_mid.push(raw, dt, MID_MS);
        self.raw_slow.push(raw, dt, SLOW_MS);
        self.fast.push(y, dt, FAST_MS);
        self.mid.push(y, dt, MID_MS);
        self.slow.push(y, dt, SLOW_MS);
        if self.baseline.is_empty() {
            self.baseline.push(y, dt_ms);
        }
        self.detect(y, dt_ms);
        self.learn(y, dt_ms);
    }

    fn detect(&mut self, y: f32, dt_ms: u32) {
        let z = ((y - self.baseline.median()) / self.baseline.spread()).clamp(-4.0, 4.0);
        let phi = (self.ar_product / self.ar_power.max(1e-3)).clamp(0.0, 0.9);
        // Pre-whitened: what is new in z after its own autocorrelation.
        self.level.push((z - phi * self.last_z) / (1.0 - phi * phi).sqrt());
        if self.level.height() < 0.5 {
            let a = dt_ms as f32 / AR_MS;
            self.ar_power += a * (self.last_z * self.last_z - self.ar_power);
            self.ar_product += a * (z * self.last_z - self.ar_product);
        }
        self.last_z = z;
        self.trend_wait_ms += dt_ms;
        if self.trend_wait_ms >= TREND_EVERY_MS {
            self.trend_wait_ms = 0;
            self.trend.push(self.slow_delta());
        }
    }

    /// Lets the baseline follow, unless the metric is drifting: a failing subject must not
    /// teach us that failing is normal.
    fn learn(&mut self, y: f32, dt_ms: u32) {
        if self.level.height() < 1.0 && self.trend.height() < 1.0 {
            self.frozen_ms = 0;
            self.baseline.push(y, dt_ms);
            return;
        }
        self.frozen_ms = self.frozen_ms.saturating_add(dt_ms);
        let patience = if self.spec.role == Role::Harm { NEW_NORMAL_HARM_MS } else { NEW_NORMAL_MS };
        if self.frozen_ms >= patience {
            self.frozen_ms = 0;
            self.baseline.reset();
            self.baseline.push(y, dt_ms);
            self.level = Cusum::level();
            self.trend = Cusum::trend();
        }
    }

    pub(crate) fn spec(&self) -> &'static Spec {
        self.spec
    }
    /// Not measured for so long that the metric says nothing.
    pub(crate) fn absent(&self) -> bool {
        self.unmeasured_ms >= ABSENT_MS
    }

    /// Where the metric is, in scaled units: above the healthy zero where the metric has one,
    /// else above the subject's own normal.
    pub(crate) fn rise(&self) -> f32 {
        match self.spec.scale {
            Scale::Count { .. } | Scale::Good => self.fast.value,
            Scale::Ratio { .. } | Scale::Share => self.fast.value - self.baseline.median(),
        }
    }
    /// Robust z of the fast average.
    pub(crate) fn z(&self) -> f32 {
        (self.fast.value - self.baseline.median()) / self.baseline.spread()
    }
    /// Change within the last seconds, in units of its noise.
    pub(crate) fn fast_delta(&self) -> f32 {
        (self.fast.value - self.mid.value) / (self.baseline.spread() * FAST_DELTA_NOISE)
    }
    /// Change within the last seconds, in scaled units.
    pub(crate) fn recent_change(&self) -> f32 {
        self.fast.value - self.mid.value
    }
    /// Change within the last ten seconds, in units of its noise.
    pub(crate) fn slow_delta(&self) -> f32 {
        (self.mid.value - self.slow.value) / (self.baseline.spread() * SLOW_DELTA_NOISE)
    }

    /// Time until the metric's limit at its present rate (ms); `None` when not heading there.
    fn time_to_limit_ms(&self) -> Option<f32> {
        let limit = self.spec.raw_limit(self.baseline.median())?;
        let (fast, mid, slow) = (self.raw_fast.value, self.raw_mid.value, self.raw_slow.value);
        if fast >= limit {
            return Some(0.0);
        }
        // Lower bounds of the slope: what noise may have added is taken off first. The short
        // pair sees a young trend, the long pair measures an old one better.
        let noise = self.baseline.spread() * self.spec.raw_per_scaled(mid);
        let young = (fast - mid - FAST_DELTA_NOISE * noise) / (MID_MS - FAST_MS);
        let old = (mid - slow - SLOW_DELTA_NOISE * noise) / (SLOW_MS - MID_MS);
        let rate = young.max(old);
        (rate > 0.0).then(|| (limit - fast) / rate)
    }

    /// The raw value over its limit; 0 without one.
    pub(crate) fn nearness(&self) -> f32 {
        self.spec.raw_limit(self.baseline.median()).map_or(0.0, |limit| self.raw_fast.value / limit)
    }

    /// How near in time the metric's limit is: 1 at it, e-fold every 10 s. Only for a trend that has lasted, so that a
    /// blip is not extrapolated.
    pub(crate) fn urgency(&self) -> f32 {
        match self.time_to_limit_ms() {
            Some(ms) if ms == 0.0 || self.trend.rise() >= 0.3 => urgency(ms, 10_000.0),
            _ => 0.0,
        }
    }

    /// The same by the look of the last seconds alone, further ahead: e-fold every 30 s.
    pub(crate) fn prospect(&self) -> f32 {
        self.time_to_limit_ms().map_or(0.0, |ms| urgency(ms, 30_000.0))
    }

    /// This metric's part of the drift score (0..1); the rate of change and the time to the
    /// limit outweigh the level. `calm` (0..1) discounts what a growing load explains.
    pub(crate) fn drift(&self, calm: f32) -> f32 {
        if self.absent() {
            return 0.0;
        }
        let explained = if self.spec.role == Role::Strain { calm } else { 1.0 };
        // The detectors remember; what is over by now does not count.
        let level = self.level.rise() * (self.z() / 3.0).clamp(0.0, 1.0);
        let trend = self.trend.rise() * (self.slow_delta() / 3.0).clamp(0.0, 1.0);
        let parts = 0.25 * level + 0.35 * trend + 0.4 * self.urgency();
        self.spec.weight * explained * parts
    }
}

/// The longest step (ms) that counts as time; anything else is a clock jump.
pub(crate) const MAX_STEP_MS: u64 = 20 * SAMPLE_MS;
