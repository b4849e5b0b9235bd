//! Which metrics move together, and whether they always did.
//!
//! Two moving averages of the products of the metrics' z: one over the calm past, one over the last seconds. A pair
//! that moves together now and did not before (or the other way round) is news, whatever the metrics are.

use crate::sample::{Metric, N_METRICS};

const PAIRS: usize = N_METRICS * (N_METRICS - 1) / 2;
/// Time constants (ms).
const PAST_MS: f32 = 60_000.0;
const NOW_MS: f32 = 3_000.0;
/// One z of a single metric counts so much at most: no outlier makes a correlation.
const CLIP: f32 = 4.0;

/// Streaming correlations of one subject's metrics; allocates nothing.
#[derive(Clone, Debug)]
pub struct Correlation {
    past: Moments,
    now: Moments,
}

#[derive(Clone, Debug)]
struct Moments {
    square: [f32; N_METRICS],
    product: [f32; PAIRS],
}

impl Moments {
    fn follow(&mut self, z: &[f32; N_METRICS], share: f32) {
        let mut pair = self.product.iter_mut();
        for i in 0..N_METRICS {
            self.square[i] += (z[i] * z[i] - self.square[i]) * share;
            for other in &z[i + 1..] {
                if let Some(product) = pair.next() {
                    *product += (z[i] * other - *product) * share;
                }
            }
        }
    }
}

impl Default for Correlation {
    fn default() -> Self {
        let moments = Moments { square: [1.0; N_METRICS], product: [0.0; PAIRS] };
        Self { past: moments.clone(), now: Moments { square: [0.0; N_METRICS], ..moments } }
    }
}

impl Correlation {
    /// Takes the metrics' z (NaN: not measured); the past learns while all is calm.
    pub(crate) fn push(&mut self, z: &[f32; N_METRICS], dt_ms: f32, calm: bool) {
        let z = z.map(|z| if z.is_finite() { z.clamp(-CLIP, CLIP) } else { 0.0 });
        if calm {
            self.past.follow(&z, (dt_ms / PAST_MS).min(1.0));
        }
        self.now.follow(&z, (dt_ms / NOW_MS).min(1.0));
    }

    /// How much joint movement the past does not know, and how much there is in all (0: none; both unbounded but tame).
    pub(crate) fn read(&self) -> (f32, f32) {
        let (mut broken, mut together) = (0.0f32, 0.0f32);
        self.each(|_, _, product, surprise| {
            broken += surprise;
            together += product.max(0.0);
        });
        (broken.ln_1p(), together.ln_1p())
    }

    /// The pair whose joint movement is the greatest surprise, and how great (0 and more); `None` when nothing moves.
    pub fn strangest(&self) -> Option<(Metric, Metric, f32)> {
        let mut best = (0, 0, 0.0);
        self.each(|i, j, _, surprise| {
            if surprise > best.2 {
                best = (i, j, surprise);
            }
        });
        let metric = |i| Metric::all().nth(i);
        (best.2 > 0.0).then(|| Some((metric(best.0)?, metric(best.1)?, best.2))).flatten()
    }

    /// `(i, j, joint movement now, its distance from what the past would make of the two metrics' movement)`.
    fn each(&self, mut at: impl FnMut(usize, usize, f32, f32)) {
        let mut pair = 0;
        for i in 0..N_METRICS {
            for j in i + 1..N_METRICS {
                let (past, now) = (self.past.product[pair], self.now.product[pair]);
                let usual = (self.past.square[i] * self.past.square[j]).sqrt().max(0.1);
                let moving = (self.now.square[i] * self.now.square[j]).sqrt();
                at(i, j, now, (now - past / usual * moving).abs());
                pair += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn z(values: &[(Metric, f32)]) -> [f32; N_METRICS] {
        let mut z = [0.0; N_METRICS];
        values.iter().for_each(|(m, v)| z[m.index()] = *v);
        z
    }

    #[test]
    fn what_always_moves_together_is_no_news() {
        let mut c = Correlation::default();
        let wave = |i: i32| 3.0 * (i as f32 * 0.3).sin();
        for i in 0..3000 {
            c.push(&z(&[(Metric::RxPps, wave(i)), (Metric::TxPps, wave(i))]), 100.0, true);
        }
        let usual = c.read().0;
        for i in 0..50 {
            let moved = [(Metric::RxPps, wave(i)), (Metric::TxPps, wave(i)), (Metric::MempoolUsed, wave(i))];
            c.push(&z(&moved), 100.0, true);
        }
        assert!(c.read().0 > usual + 1.0, "{usual} {:?}", c.read());
        let (a, b, _) = c.strangest().unwrap();
        assert!(a == Metric::MempoolUsed || b == Metric::MempoolUsed, "{a} {b}");
    }
}
