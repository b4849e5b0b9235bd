//! The past of a series, as the regression sees it.

/// Recent values that are features, by their age in steps.
const AGES: [usize; 13] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 23];
/// Seasons back that are features.
const SEASONS: [usize; 3] = [1, 2, 7];
/// Weight of the newest day in the profile.
const PROFILE: f64 = 0.15;

/// Features of a forecast: a constant, the recent values, three of the profile, the same time of past
/// seasons as origin and as target, and the neighbours of both a season ago.
pub const FEATURES: usize = 1 + AGES.len() + 3 + 2 * SEASONS.len() + 4;

/// A ring of values and a profile of the season.
#[derive(Clone, Debug)]
pub struct History {
    values: Vec<f64>,
    /// The mean of past seasons at each step of the season, newer ones weighing more.
    profile: Vec<f64>,
    /// The profile at the newest value and the one before, from the seasons before theirs.
    expected: [f64; 2],
    pushed: usize,
}

impl History {
    pub fn new(season: usize) -> History {
        let kept = SEASONS[SEASONS.len() - 1] * season + 1;
        History { values: vec![0.0; kept], profile: vec![0.0; season], expected: [0.0; 2], pushed: 0 }
    }

    pub fn season(&self) -> usize {
        self.profile.len()
    }

    /// Values pushed so far.
    pub fn len(&self) -> usize {
        self.pushed
    }

    /// The newest value; 0 before the first.
    pub fn last(&self) -> f64 {
        self.back(0)
    }

    pub fn push(&mut self, value: f64) {
        let slot = self.pushed % self.season();
        let first_season = self.pushed < self.season();
        let expected = if first_season { value } else { self.profile[slot] };
        self.expected = [expected, self.expected[0]];
        self.profile[slot] = expected + PROFILE * (value - expected);
        let kept = self.values.len();
        self.values[self.pushed % kept] = value;
        self.pushed += 1;
    }

    /// Changes all values, as if others had been pushed.
    pub fn map(&mut self, change: impl Fn(f64) -> f64) {
        let kept: Vec<f64> =
            (0..self.pushed.min(self.values.len())).rev().map(|age| self.back(age)).collect();
        let pushed = self.pushed;
        *self = History::new(self.season());
        self.pushed = pushed - kept.len();
        kept.iter().for_each(|value| self.push(change(*value)));
    }

    /// The value of that age in steps, or the oldest that is kept.
    fn back(&self, age: usize) -> f64 {
        let kept = self.values.len();
        let age = age.min(self.pushed.saturating_sub(1)).min(kept - 1);
        self.values[(self.pushed + kept - 1 - age) % kept]
    }

    /// The step of the season `ahead` steps after the newest value.
    pub fn slot(&self, ahead: usize) -> usize {
        (self.pushed + self.season() - 1 + ahead) % self.season()
    }

    /// What is known now of the value `horizon` steps ahead.
    pub fn features(&self, horizon: usize) -> [f64; FEATURES] {
        let season = self.season();
        let mut features = [1.0; FEATURES];
        let profile = [self.profile[self.slot(horizon)], self.expected[0], self.expected[1]];
        let past = SEASONS.iter().flat_map(|n| [self.back(n * season - horizon), self.back(n * season)]);
        let neighbours = [season - horizon - 1, season - horizon + 1, season + 1, season - 1];
        let all = AGES.iter().map(|age| self.back(*age)).chain(profile).chain(past);
        let all = all.chain(neighbours.map(|age| self.back(age)));
        features[1..].iter_mut().zip(all).for_each(|(feature, value)| *feature = value);
        features
    }
}
