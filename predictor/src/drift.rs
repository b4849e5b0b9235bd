//! Change detection: CUSUM on level and trend, time to the limit, and one score from all.

use crate::sample::{Metric, N_METRICS};

/// Two-sided CUSUM; heights are relative to its alarm threshold.
#[derive(Clone, Debug)]
pub(crate) struct Cusum {
    slack: f32,
    threshold: f32,
    up: f32,
    down: f32,
}

impl Cusum {
    /// On the pre-whitened level at 10 Hz: k = 0.5 and h = 20, as with many metrics h = 5 would
    /// alarm every minute.
    pub(crate) fn level() -> Self {
        Self { slack: 0.5, threshold: 20.0, up: 0.0, down: 0.0 }
    }
    /// On the trend at 2 Hz, whose input is correlated: a wider slack.
    pub(crate) fn trend() -> Self {
        Self { slack: 1.5, threshold: 8.0, up: 0.0, down: 0.0 }
    }
    /// One value, clipped so that no single outlier can alarm.
    pub(crate) fn push(&mut self, e: f32) {
        let e = e.clamp(-4.0, 4.0);
        // Capped at 1.5 thresholds: recovery is seen as fast as illness.
        let cap = 1.5 * self.threshold;
        self.up = (self.up + e - self.slack).clamp(0.0, cap);
        self.down = (self.down - e - self.slack).clamp(0.0, cap);
    }
    /// Without measurements an alarm fades.
    pub(crate) fn fade(&mut self) {
        self.up *= 0.95;
        self.down *= 0.95;
    }
    /// Either side, 1 = alarm.
    pub(crate) fn height(&self) -> f32 {
        self.up.max(self.down) / self.threshold
    }
    /// The upper side, clipped to 0..1.
    pub(crate) fn rise(&self) -> f32 {
        (self.up / self.threshold).min(1.0)
    }
}

/// 1 at the limit, fading with the time left (e-fold every `scale_ms`).
pub(crate) fn urgency(time_to_limit_ms: f32, scale_ms: f32) -> f32 {
    (-time_to_limit_ms / scale_ms).exp()
}

/// How far a subject has left its own normal, and what says so.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Drift {
    /// 0 (as ever) to 1 (failing or about to).
    pub score: f32,
    /// Every metric's own score (0..1), in the order of [`Metric::all`].
    pub parts: [f32; N_METRICS],
}

impl Drift {
    /// The strongest metric counts fully, the second shows that it is no fluke.
    pub(crate) fn from_parts(parts: [f32; N_METRICS]) -> Self {
        let (mut first, mut second) = (0.0f32, 0.0f32);
        for &p in &parts {
            if p > first {
                (first, second) = (p, first);
            } else {
                second = second.max(p);
            }
        }
        Self { score: first + (1.0 - first) * 0.5 * second, parts }
    }

    /// The three metrics that contribute most, strongest first; those with none are left out.
    pub fn top(&self) -> [Option<(Metric, f32)>; 3] {
        top3(&self.parts)
    }
}

/// The three largest positive scores, in order.
pub(crate) fn top3(scores: &[f32; N_METRICS]) -> [Option<(Metric, f32)>; 3] {
    let mut best: [Option<(Metric, f32)>; 3] = [None; 3];
    for (metric, &score) in Metric::all().zip(scores) {
        if score.is_nan() || score <= 0.0 {
            continue;
        }
        let place = best.iter().position(|b| b.is_none_or(|(_, s)| score > s));
        if let Some(place) = place {
            best[place..].rotate_right(1);
            best[place] = Some((metric, score));
        }
    }
    best
}
