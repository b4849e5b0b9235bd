//! Unusual stretches of a single series.

use super::rarity::SortedWindow;

/// Values remembered.
const WINDOW: usize = 16_384;
/// The newest values are no neighbours yet: an incident must not make its own values common at once.
const YOUNG: usize = 5;
/// Rows before which nothing can be said.
const LEARNED: usize = 20;
/// Values of the short mean.
const MEAN: usize = 6;
/// Nearest neighbours that make a value common: of the value, its short mean, its change.
const NEIGHBOURS: [usize; 3] = [2, 3, 5];
/// The longer the past, the rarer a value must be, or the alarms would be as many as the rows. 1
/// would make them as many as the logarithm of the rows.
const RARER: f64 = 0.35;
/// The length of past for which no such correction is made.
const RARER_FROM: f64 = 1000.0;
/// What counts as the tail of the distances; beyond, a distance counts by how much farther it is.
const TAIL: f64 = 0.99;
/// The surprise from which a row may be an onset: about one in 20 rows of the past was as rare,
/// in all three views.
const ALARM: f64 = 1.3;
/// An onset is the most surprising row of this many.
const APART: usize = 100;
/// Weight of the newest row in the level.
const SMOOTHING: f64 = 0.05;
/// Surprise may be this far below zero for a common row of a long past.
const LIFT: f64 = 2.0;

/// The score of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SeriesScore {
    /// 0..1. Below ½: how strange the series has been of late. Above: an onset, by its surprise.
    pub score: f64,
    /// Whether something unusual seems to begin here.
    pub onset: bool,
}

/// Scores a series by the rarity of its values.
///
/// Three views of each row (the value, a short mean, the change) are compared with their own past: the
/// distance to the k-th nearest earlier value, and how rare so large a distance is (a conformal
/// p-value: Laxhammar and Falkman 2011, as used on NAB by Burnaev and Ishimtsev 2016). The surprise
/// is the mean of the three −log₁₀ p. A level follows it, which stays up through an incident; where
/// the surprise is the highest of a hundred rows, the score jumps above every level, once.
#[derive(Clone, Debug)]
pub struct SeriesDetector {
    views: [View; 3],
    recent: Ring<MEAN>,
    surprises: Ring<APART>,
    level: f64,
}

impl Default for SeriesDetector {
    fn default() -> SeriesDetector {
        SeriesDetector::new()
    }
}

impl SeriesDetector {
    /// A detector that knows nothing yet. It needs 1.6 MB.
    pub fn new() -> SeriesDetector {
        SeriesDetector {
            views: NEIGHBOURS.map(View::new),
            recent: Ring::default(),
            surprises: Ring::default(),
            level: 0.0,
        }
    }

    /// The score of the next value. One that is not finite is missing: the level stays as it is.
    pub fn push(&mut self, value: f64) -> SeriesScore {
        if !value.is_finite() {
            return SeriesScore { score: level_score(self.level), onset: false };
        }
        let change = self.recent.newest().map_or(0.0, |before| value - before);
        self.recent.push(value);
        let seen = [value, self.recent.mean(), change];
        let surprises = self.views.iter_mut().zip(seen).map(|(view, value)| view.surprise(value));
        let surprise = surprises.sum::<f64>() / NEIGHBOURS.len() as f64;
        let highest = self.surprises.highest();
        self.surprises.push(surprise);
        self.level += SMOOTHING * ((surprise + LIFT).max(0.0) - self.level);
        if surprise > ALARM && surprise > highest {
            let over = surprise - ALARM;
            return SeriesScore { score: 0.5 + 0.5 * over / (1.0 + over), onset: true };
        }
        SeriesScore { score: level_score(self.level), onset: false }
    }
}

/// A level of 0 and up, as a score below ½.
fn level_score(level: f64) -> f64 {
    0.5 * level / (1.0 + level)
}

/// One view of the series and its past.
#[derive(Clone, Debug)]
struct View {
    neighbours: usize,
    young: Ring<YOUNG>,
    values: SortedWindow,
    distances: SortedWindow,
}

impl View {
    fn new(neighbours: usize) -> View {
        let window = || SortedWindow::new(WINDOW);
        View { neighbours, young: Ring::default(), values: window(), distances: window() }
    }

    /// −log₁₀ of how often a value was as far from the values before it, corrected for the length of
    /// the past, plus how far beyond the tail it is.
    fn surprise(&mut self, value: f64) -> f64 {
        if let Some(old) = self.young.push(value) {
            self.values.push(old);
        }
        let known = self.values.len() >= LEARNED;
        let distance = if known { self.values.distance(value, self.neighbours) } else { 0.0 };
        let past = self.distances.len();
        let farther = past - self.distances.below(distance);
        let rows = past as f64 + 1.0;
        let rare = (rows / (farther as f64 + 1.0)).log10();
        let tail = self.distances.quantile(TAIL).filter(|tail| past > LEARNED && *tail > 0.0);
        let beyond = tail.map_or(0.0, |tail| (distance / tail).max(1.0).log10());
        self.distances.push(distance);
        rare - RARER * (rows / RARER_FROM).log10() + beyond
    }
}

/// The last `N` values.
#[derive(Clone, Debug)]
struct Ring<const N: usize> {
    values: [f64; N],
    pushed: usize,
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Ring<N> {
        Ring { values: [0.0; N], pushed: 0 }
    }
}

impl<const N: usize> Ring<N> {
    /// Takes in a value and gives back the one that leaves.
    fn push(&mut self, value: f64) -> Option<f64> {
        let slot = self.pushed % N;
        let leaving = (self.pushed >= N).then_some(self.values[slot]);
        self.values[slot] = value;
        self.pushed += 1;
        leaving
    }

    fn newest(&self) -> Option<f64> {
        self.pushed.checked_sub(1).map(|last| self.values[last % N])
    }

    fn kept(&self) -> &[f64] {
        &self.values[..self.pushed.min(N)]
    }

    fn mean(&self) -> f64 {
        self.kept().iter().sum::<f64>() / self.kept().len() as f64
    }

    fn highest(&self) -> f64 {
        self.kept().iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}
