//! When the failure comes, if it comes within the horizon: an interval that holds nine times in ten.
//!
//! The probability says whether; this says when. Conformal prediction, Mondrian by score (Vovk, Gammerman and Shafer, 2005, §4.5):
//! among the left-out cases that failed, those with about this score, and of their times to failure all but a tenth. What never
//! fails has no time and no part in it, so that it holds however much calm there is. It says nothing of the shape of the times. The next
//! failure is of a kind that was never seen, and not drawn as those were: how much is cut off is therefore chosen by how kinds fare in a
//! table that was made without them (groups are exchangeable, not cases: Dunn, Wasserman and Ramdas, 2022).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The share of cases that may fall outside, half of it on either side.
pub const MISSED: f64 = 0.1;
/// As many bins of equal size the scores are cut into.
const BINS: usize = 10;
/// As many shares are tried, from [`MISSED`] down to a tenth of it.
const TRIED: u32 = 10;

/// Bounds of the time to the failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Left {
    /// It is no nearer than this (ms) …
    pub least_ms: u64,
    /// … and no farther than this (ms).
    pub most_ms: u64,
}

impl Left {
    /// Whether a failure after `left_ms` is as said.
    pub fn holds(self, left_ms: u64) -> bool {
        (self.least_ms..=self.most_ms).contains(&left_ms)
    }
}

/// A left-out case that failed within the horizon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Failed {
    /// What was said of it; finite.
    pub score: f32,
    /// The time to the failure (ms).
    pub left_ms: u64,
    /// Its kind of fault.
    pub kind: usize,
}

/// From a score to the bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct TimeLeft {
    /// Scores that part the bins, rising.
    cuts: Vec<f32>,
    /// One a bin.
    bounds: Vec<Left>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    cuts: Vec<f32>,
    bounds: Vec<Left>,
}

/// A stored table that does not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("time left: {0}")]
pub struct Damaged(&'static str);

impl TryFrom<Unchecked> for TimeLeft {
    type Error = Damaged;

    fn try_from(read: Unchecked) -> Result<Self, Damaged> {
        let Unchecked { cuts, bounds } = read;
        if bounds.len() != cuts.len() + 1 {
            return Err(Damaged("cuts and bounds do not match"));
        }
        if cuts.iter().any(|cut| !cut.is_finite()) || !cuts.is_sorted() {
            return Err(Damaged("cuts out of order"));
        }
        if bounds.iter().any(|left| left.most_ms < left.least_ms) {
            return Err(Damaged("an empty interval"));
        }
        Ok(Self { cuts, bounds })
    }
}

impl TimeLeft {
    /// From left-out cases. So much is cut off the times that nine in ten failures hold of each kind when the others made the table.
    pub fn fit(cases: &[Failed], horizon_ms: u64) -> Self {
        let kinds: BTreeSet<usize> = cases.iter().map(|case| case.kind).collect();
        let held_without = |kind: usize, missed: f64| {
            let (left_out, rest): (Vec<Failed>, Vec<Failed>) =
                cases.iter().partition(|case| case.kind == kind);
            let others = Self::cut(&rest, horizon_ms, missed);
            left_out.iter().filter(|case| others.at(case.score).holds(case.left_ms)).count()
        };
        let enough = |missed: f64| {
            let held: usize = kinds.iter().map(|kind| held_without(*kind, missed)).sum();
            kinds.len() < 2 || held as f64 >= (1.0 - MISSED) * cases.len() as f64
        };
        let mut levels = (1..=TRIED).rev().map(|level| MISSED * f64::from(level) / f64::from(TRIED));
        Self::cut(cases, horizon_ms, levels.find(|missed| enough(*missed)).unwrap_or(0.0))
    }

    /// A table that leaves the share `missed` of each bin's cases outside.
    fn cut(cases: &[Failed], horizon_ms: u64, missed: f64) -> Self {
        let mut scores: Vec<f32> = cases.iter().map(|case| case.score).collect();
        scores.sort_by(f32::total_cmp);
        let mut cuts: Vec<f32> =
            (1..BINS).filter_map(|bin| scores.get(bin * scores.len() / BINS).copied()).collect();
        cuts.dedup();
        let mut bins = vec![Vec::new(); cuts.len() + 1];
        for case in cases {
            bins[cuts.partition_point(|cut| *cut <= case.score)].push(case.left_ms);
        }
        let bounds = bins.into_iter().map(|times| bounds(times, horizon_ms, missed)).collect();
        Self { cuts, bounds }
    }

    /// The bounds at a score.
    pub fn at(&self, score: f32) -> Left {
        self.bounds[self.cuts.partition_point(|cut| *cut <= score)]
    }
}

/// The bounds of one bin's times; of too few, that it comes within the horizon is all that there is to say.
fn bounds(mut times: Vec<u64>, horizon_ms: u64, missed: f64) -> Left {
    times.sort_unstable();
    let rank = |share: f64| share * (times.len() as f64 + 1.0);
    let (first, last) = (rank(missed / 2.0) as usize, rank(1.0 - missed / 2.0).ceil() as usize);
    let least_ms = if first == 0 { 0 } else { times[first - 1] };
    Left { least_ms, most_ms: times.get(last - 1).copied().unwrap_or(horizon_ms) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Higher scores fail sooner, and each kind of fault a little sooner or later than the others.
    fn cases(n: usize, kinds: std::ops::Range<usize>, seed: u64) -> Vec<Failed> {
        let mut rng = Rng::new(seed);
        let case = |_| {
            let (score, kind) = (rng.unit(), kinds.start + rng.below(kinds.len()));
            let pace = f64::from(Rng::new(kind as u64).unit()) + 0.5;
            let left_ms = (pace * f64::from(1.2 - score) * 9000.0 * f64::from(rng.unit())) as u64;
            Failed { score, left_ms, kind }
        };
        (0..n).map(case).collect()
    }

    fn coverage(fitted: &TimeLeft, new: &[Failed]) -> f64 {
        new.iter().filter(|case| fitted.at(case.score).holds(case.left_ms)).count() as f64 / new.len() as f64
    }

    #[test]
    fn nine_of_ten_new_failures_are_as_said() {
        let old = cases(8000, 0..12, 1);
        let fitted = TimeLeft::fit(&old, 20_000);
        let naive = TimeLeft::cut(&old, 20_000, MISSED);
        // Of kinds that the table has not seen, some pace of their own.
        let (fitted_new, naive_new) =
            [&fitted, &naive].map(|table| coverage(table, &cases(60_000, 100..300, 2))).into();
        assert!((0.88..0.93).contains(&fitted_new) && naive_new < fitted_new, "{fitted_new} {naive_new}");
        // Of one kind, all that there is to know is in the table.
        let one = TimeLeft::fit(&cases(8000, 0..1, 3), 20_000);
        assert!((0.89..0.91).contains(&coverage(&one, &cases(20_000, 0..1, 4))));
        let (near, far) = (fitted.at(0.99), fitted.at(0.1));
        assert!(near.least_ms < far.least_ms && near.most_ms < far.most_ms / 2, "{near:?} {far:?}");
    }

    #[test]
    fn few_cases_promise_nothing_and_a_damaged_table_is_refused() {
        let failed = |score, left_ms| Failed { score, left_ms, kind: 0 };
        let few = TimeLeft::fit(&[failed(0.0, 7000), failed(1.0, 10)], 20_000);
        assert_eq!(few.at(2.0), Left { least_ms: 0, most_ms: 20_000 });
        assert_eq!(TimeLeft::fit(&[], 20_000).at(0.0), Left { least_ms: 0, most_ms: 20_000 });
        let text = serde_json::to_string(&few).unwrap();
        assert_eq!(serde_json::from_str::<TimeLeft>(&text).unwrap(), few);
        for damaged in [
            r#"{"cuts":[0],"bounds":[{"least_ms":0,"most_ms":9}]}"#,
            r#"{"cuts":[1,0],"bounds":[{"least_ms":0,"most_ms":9},{"least_ms":0,"most_ms":9},{"least_ms":0,"most_ms":9}]}"#,
            r#"{"cuts":[],"bounds":[{"least_ms":9,"most_ms":1}]}"#,
        ] {
            assert!(serde_json::from_str::<TimeLeft>(damaged).is_err(), "{damaged}");
        }
    }
}
