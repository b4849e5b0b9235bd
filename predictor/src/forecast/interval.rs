//! Quantiles of the forecast's errors, with coverage that holds in the long run.

use super::LEVELS;

/// Errors after which the quantiles are taken for learnt.
pub const LEARNED: usize = 100;
/// Errors after which they are followed; before, only the errors' size is learnt.
const SIZED: usize = 50;
/// Step of a quantile at an error, of its own size; falls to this.
const STEP: f64 = 0.01;
/// Weight of the newest error in the recent size, and of the newest season in the season's profile.
const RECENT: f64 = 0.05;
const PROFILE: f64 = 0.1;
/// An error counts for the size up to this many mean errors.
const CLIP: f64 = 10.0;
/// Steps of the season on each side over which its profile is averaged.
const SMOOTH: usize = 3;

/// Follows the size of the errors, overall, recently and by the time of the season, and the quantiles
/// of the errors in that unit.
#[derive(Clone, Debug)]
pub struct Interval {
    overall: f64,
    recent: f64,
    profile: Vec<f64>,
    quantiles: [f64; LEVELS.len()],
    seen: usize,
}

impl Interval {
    pub fn new(season: usize) -> Interval {
        // Three times the distance from the median: about the errors' quantiles if they are normal.
        let quantiles = LEVELS.map(|level| 3.0 * (level - 0.5));
        Interval { overall: 0.0, recent: 0.0, profile: vec![0.0; season], quantiles, seen: 0 }
    }

    /// The size to expect of an error at a step of the season.
    pub fn error(&self, slot: usize) -> f64 {
        let season = self.profile.len();
        let near =
            (0..=2 * SMOOTH).map(|at| self.profile[(slot + season + at - SMOOTH.min(season)) % season]);
        let (count, sum) =
            near.filter(|size| *size > 0.0).fold((0.0, 0.0), |(n, sum), size| (n + 1.0, sum + size));
        let profile = if count > 0.0 { sum / count } else { self.overall };
        0.2 * self.overall + 0.4 * self.recent + 0.4 * profile
    }

    /// Learns from an error at a step of the season, which was expected to be of that size.
    pub fn learn(&mut self, error: f64, expected: f64, slot: usize) {
        self.seen += 1;
        if self.seen > SIZED && expected > 0.0 {
            let step = STEP.max((self.seen as f64).powf(-0.7));
            for (quantile, level) in self.quantiles.iter_mut().zip(LEVELS) {
                let above = if error > *quantile * expected { 1.0 } else { 0.0 };
                *quantile += step * (above - (1.0 - level)) * (1.0 + quantile.abs());
            }
        }
        let clip = |size: f64| if self.seen == 1 { size } else { size.min(CLIP * self.overall) };
        let size = clip(error.abs());
        let follow = |mean: &mut f64, weight: f64| *mean += weight * (size - *mean);
        follow(&mut self.overall, (1.0 / self.seen as f64).max(0.002));
        follow(&mut self.recent, (1.0 / self.seen as f64).max(RECENT));
        let first = self.profile[slot] == 0.0;
        follow(&mut self.profile[slot], if first { 1.0 } else { PROFILE });
    }

    /// The quantiles at [`LEVELS`] in units of [`Interval::error`], never falling; `None` before there
    /// are enough errors.
    pub fn quantiles(&self) -> Option<[f64; LEVELS.len()]> {
        let mut sorted = self.quantiles;
        sorted.sort_unstable_by(f64::total_cmp);
        (self.seen >= LEARNED).then_some(sorted)
    }
}
