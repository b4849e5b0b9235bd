//! From raw metrics to features that mean the same on every machine.
//!
//! Everything is relative: to the subject's own past (log ratios, robust z, rates of change, drift, time to a limit),
//! and to what its peers see at the same time. Each metric has its block; [`crate::pooled`] then forgets which metric it
//! was, because the next failure will show in another one. Live and offline run this very code.

use crate::correlation::Correlation;
use crate::drift::Drift;
use crate::pooled::{self, POOLED};
use crate::sample::{Metric, N_METRICS, Role, SAMPLE_MS, SPECS, TelemetrySample};
use crate::track::{MAX_STEP_MS, Track};

/// Features of each metric: rise, z, fast change, slow change, drift, urgency, prospect, excess over the peers.
pub const PER_METRIC: usize = 8;
/// Their names.
pub const FEATURE_NAMES: [&str; PER_METRIC] =
    ["rise", "z", "fast change", "slow change", "drift", "urgency", "prospect", "over peers"];
/// Features of the subject as a whole.
const GLOBALS: usize = 10;
/// Where the features begin that know no metric by name: the pooled and the subject's.
pub const NAMELESS: usize = N_METRICS * PER_METRIC;
/// How many those are: what the models see.
pub const N_NAMELESS: usize = POOLED + GLOBALS;
/// Length of a feature vector: each metric's block, the pooled, the subject's.
pub const N_FEATURES: usize = NAMELESS + N_NAMELESS;
/// Places among the nameless: the drift score, and how strangely the metrics move together.
pub(crate) const DRIFT_SCORE: usize = POOLED + 5;
pub(crate) const STRANGENESS: usize = POOLED + 8;
/// Changes with any change of the meaning of a feature: models of another version are refused.
pub const FEATURES_VERSION: u32 = 2;
/// A feature vector leaves every this many milliseconds.
pub const STRIDE_MS: u64 = 200;
/// Before this time (ms) there is no normal to compare with.
const WARM_UP_MS: u64 = 3_000;
/// Drift at which its clock starts.
const DRIFTING: f32 = 0.3;
/// What peers said counts this long (ms); then they count as being as ever.
const HEARD_MS: u64 = 1_000;
/// Time constants of the "how long ago" features (ms).
const SINCE_MS: f32 = 5_000.0;
/// A jump of the load by this much (log ratio within seconds) is one worth remembering.
const LOAD_JUMP: f32 = 0.3;

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

/// How far each metric is from its own normal (robust z; NaN: not measured), in the order of [`Metric::all`]. What
/// engines tell each other.
pub type Vitals = [f32; N_METRICS];

/// Streaming features of one subject; allocates nothing after `new`.
#[derive(Clone, Debug)]
pub struct FeatureExtractor {
    tracks: [Track; N_METRICS],
    correlation: Correlation,
    peers: Vitals,
    heard_ms: u64,
    last_ms: Option<u64>,
    age_ms: u64,
    stride_wait_ms: u64,
    drifting_ms: u64,
    /// 1 at the event, fading with [`SINCE_MS`]: a jump of the load, harm.
    jumped: f32,
    harmed: f32,
    /// The drift score, averaged over 2 s and over 8 s.
    lasting: [f32; 2],
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
            correlation: Correlation::default(),
            peers: [f32::NAN; N_METRICS],
            heard_ms: HEARD_MS,
            last_ms: None,
            age_ms: 0,
            stride_wait_ms: 0,
            drifting_ms: 0,
            jumped: 0.0,
            harmed: 0.0,
            lasting: [0.0; 2],
            drift: Drift::default(),
            features: [0.0; N_FEATURES],
        }
    }

    /// Takes what the peers' metrics are now (their mean); valid for a second.
    pub fn hear(&mut self, peers: &Vitals) {
        self.peers = *peers;
        self.heard_ms = 0;
    }

    /// Takes the next sample.
    pub fn push(&mut self, sample: &TelemetrySample) -> Pushed {
        let (dt, clock_jump) = self.elapsed(sample.at_ms);
        self.age_ms += dt;
        self.heard_ms = self.heard_ms.saturating_add(dt);
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
        let z = self.vitals();
        self.correlation.push(&z, dt as f32, !drifting);
        let fade = (-(dt as f32) / SINCE_MS).exp();
        let rx = &self.tracks[Metric::RxPps.index()];
        let jump = !rx.absent() && rx.recent_change().abs() > LOAD_JUMP;
        let harm = (0..N_METRICS).any(|i| SPECS[i].role == Role::Harm && z[i] > 3.0);
        self.jumped = if jump { 1.0 } else { self.jumped * fade };
        self.harmed = if harm { 1.0 } else { self.harmed * fade };
        for (mean, tau) in self.lasting.iter_mut().zip([2_000.0, 8_000.0]) {
            *mean += (self.drift.score - *mean) * (dt as f32 / tau).min(1.0);
        }
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
        let globals = self.globals();
        let (blocks, nameless) = self.features.split_at_mut(NAMELESS);
        for (i, (block, track)) in blocks.chunks_exact_mut(PER_METRIC).zip(&self.tracks).enumerate() {
            if track.absent() {
                block.fill(0.0);
                continue;
            }
            let peer =
                if self.heard_ms < HEARD_MS && self.peers[i].is_finite() { self.peers[i] } else { 0.0 };
            // Load matters in what it explains; its own z would only say how busy the day is.
            let damp = if track.spec().role == Role::Load { 0.25 } else { 0.5 };
            block.copy_from_slice(&[
                squash(track.rise()),
                damp * squash(track.z()),
                damp * squash(track.fast_delta()),
                damp * squash(track.slow_delta()),
                self.drift.parts[i],
                track.urgency(),
                track.prospect(),
                damp * squash(track.z() - peer),
            ]);
        }
        pooled::fill(blocks, 0, &mut nameless[..POOLED]);
        nameless[POOLED..].copy_from_slice(&globals);
    }

    fn globals(&self) -> [f32; GLOBALS] {
        let age = (self.drifting_ms as f32 / 20_000.0).min(1.0);
        let (broken, together) = self.correlation.read();
        [
            squash(self.load_growth()),
            squash(self.forwarding_deficit()),
            age,
            self.jumped,
            self.harmed,
            self.drift.score,
            self.lasting[0],
            self.lasting[1],
            broken,
            together,
        ]
    }

    /// The largest raw value over its limit (1: at it): what a plain threshold watches.
    pub fn nearness(&self) -> f32 {
        self.tracks.iter().filter(|track| !track.absent()).map(Track::nearness).fold(0.0, f32::max)
    }
    /// How far every metric is from its normal: for the peers.
    pub fn vitals(&self) -> Vitals {
        let z = |track: &Track| if track.absent() { f32::NAN } else { track.z().clamp(-100.0, 100.0) };
        std::array::from_fn(|i| z(&self.tracks[i]))
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
    /// The pairs of metrics that move together as they never did.
    pub fn correlation(&self) -> &Correlation {
        &self.correlation
    }
}

/// Keeps the sign and the order, tames the tail; finite for finite input.
fn squash(x: f32) -> f32 {
    x.signum() * x.abs().min(1e4).ln_1p()
}

#[cfg(test)]
#[path = "features_tests.rs"]
mod tests;
