//! From raw metrics to features that mean the same on every machine.
//!
//! Everything is relative to the subject's own past: log ratios, robust z, rates of change,
//! drift. Live and offline run this very code.

use crate::drift::Drift;
use crate::sample::{Metric, N_METRICS, Role, SAMPLE_MS, SPECS, TelemetrySample};
use crate::track::{MAX_STEP_MS, Track};

/// Features of each metric: rise, z, fast change, slow change, drift, nearness of its limit.
pub const PER_METRIC: usize = 6;
/// Features of the subject: growth of the load, forwarding deficit, age of the drift.
const GLOBALS: usize = 3;
/// Length of a feature vector: each metric's block, then the subject's.
pub const N_FEATURES: usize = N_METRICS * PER_METRIC + GLOBALS;
/// Changes with any change of the meaning of a feature: models of another version are refused.
pub const FEATURES_VERSION: u32 = 1;
/// A feature vector leaves every this many milliseconds.
pub const STRIDE_MS: u64 = 200;
/// Before this time (ms) there is no normal to compare with.
const WARM_UP_MS: u64 = 3_000;
/// Drift at which its clock starts.
const DRIFTING: f32 = 0.3;

/// What one sample did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// A new feature vector is ready.
    pub stepped: bool,
    /// The clock went backwards, stood still or leapt; one nominal period was assumed.
    pub clock_jump: bool,
    /// Metrics whose value was infinite or negative, as a bit mask by [`Metric::index`].
    pub invalid: u32,
}

/// Streaming features of one subject; allocates nothing after `new`.
#[derive(Clone, Debug)]
pub struct FeatureExtractor {
    tracks: [Track; N_METRICS],
    last_ms: Option<u64>,
    age_ms: u64,
    stride_wait_ms: u64,
    drifting_ms: u64,
    drift: Drift,
    features: [f32; N_FEATURES],
}

impl Default for FeatureExtractor {
    fn default() -> Self {
        Self::new()
    }
}

impl FeatureExtractor {
    /// A subject without a past.
    pub fn new() -> Self {
        Self {
            tracks: std::array::from_fn(|i| Track::new(&SPECS[i])),
            last_ms: None,
            age_ms: 0,
            stride_wait_ms: 0,
            drifting_ms: 0,
            drift: Drift::default(),
            features: [0.0; N_FEATURES],
        }
    }

    /// Takes the next sample.
    pub fn push(&mut self, sample: &TelemetrySample) -> Pushed {
        let (dt, clock_jump) = self.elapsed(sample.at_ms);
        self.age_ms += dt;
        let mut invalid = 0;
        for (i, (track, &raw)) in self.tracks.iter_mut().zip(&sample.metrics).enumerate() {
            if raw.is_infinite() || raw < 0.0 {
                invalid |= 1 << i;
            }
            track.push(raw, dt as u32);
        }
        self.score(dt);
        self.stride_wait_ms += dt;
        let stepped = self.stride_wait_ms >= STRIDE_MS;
        if stepped {
            self.stride_wait_ms = 0;
            self.fill();
        }
        Pushed { stepped, clock_jump, invalid }
    }

    fn elapsed(&mut self, at_ms: u64) -> (u64, bool) {
        let step = self.last_ms.map(|last| at_ms.checked_sub(last));
        self.last_ms = Some(at_ms);
        match step {
            None => (SAMPLE_MS, false),
            Some(Some(dt)) if (1..=MAX_STEP_MS).contains(&dt) => (dt, false),
            Some(_) => (SAMPLE_MS, true),
        }
    }

    fn score(&mut self, dt: u64) {
        if !self.ready() {
            return;
        }
        let calm = (-self.load_growth()).exp();
        self.drift = Drift::from_parts(std::array::from_fn(|i| self.tracks[i].drift(calm)));
        let drifting = self.drift.score >= DRIFTING;
        self.drifting_ms = if drifting { self.drifting_ms + dt } else { 0 };
    }

    /// How much the received load exceeds its normal (log ratio beyond noise, never negative).
    fn load_growth(&self) -> f32 {
        let rx = &self.tracks[Metric::RxPps.index()];
        if rx.absent() { 0.0 } else { (rx.rise() - 0.2).max(0.0) }
    }

    /// How much less than usual is forwarded of what is received (log ratio).
    fn forwarding_deficit(&self) -> f32 {
        let (rx, tx) = (&self.tracks[Metric::RxPps.index()], &self.tracks[Metric::TxPps.index()]);
        if rx.absent() || tx.absent() { 0.0 } else { rx.rise() - tx.rise() }
    }

    fn fill(&mut self) {
        if !self.ready() {
            return;
        }
        let (metrics, _) = self.features.split_at_mut(N_METRICS * PER_METRIC);
        for ((block, track), part) in
            metrics.chunks_exact_mut(PER_METRIC).zip(&self.tracks).zip(&self.drift.parts)
        {
            if track.absent() {
                block.fill(0.0);
                continue;
            }
            // Load matters in what it explains; its own z would only say how busy the day is.
            let damp = if track.spec().role == Role::Load { 0.5 } else { 1.0 };
            block[0] = squash(track.rise());
            block[1] = 0.5 * damp * squash(track.z());
            block[2] = 0.5 * damp * squash(track.fast_delta());
            block[3] = 0.5 * damp * squash(track.slow_delta());
            block[4] = *part;
            block[5] = track.urgency();
        }
        let age = (self.drifting_ms as f32 / 20_000.0).min(1.0);
        let (load, deficit) = (self.load_growth(), self.forwarding_deficit());
        self.features[N_FEATURES - GLOBALS..].copy_from_slice(&[squash(load), squash(deficit), age]);
    }

    /// Whether the subject has a normal to compare with.
    pub fn ready(&self) -> bool {
        self.age_ms > WARM_UP_MS
    }
    /// Whether nothing has been measured for a second.
    pub fn blind(&self) -> bool {
        self.tracks.iter().all(Track::absent)
    }
    /// The latest feature vector; all zero (as ever) until ready.
    pub fn features(&self) -> &[f32; N_FEATURES] {
        &self.features
    }
    /// The latest drift.
    pub fn drift(&self) -> &Drift {
        &self.drift
    }
}

/// Keeps the sign and the order, tames the tail; finite for finite input.
fn squash(x: f32) -> f32 {
    x.signum() * x.abs().min(1e4).ln_1p()
}

#[cfg(test)]
#[path = "features_tests.rs"]
mod tests;
