//! How long until the failure, as an interval that holds nine times in ten.
//!
//! Conformal prediction, Mondrian by score (Vovk, Gammerman and Shafer, 2005, §4.5): among the left-out cases with about this
//! score, the times to failure that leave a tenth outside. It says nothing of the shape of the times, and assumes only that the next
//! case is drawn as those were; a kind of fault that was never seen bends that, so the coverage is measured and not taken for granted.

use serde::{Deserialize, Serialize};

/// The share of cases that may fall outside.
pub const MISSED: f64 = 0.1;
/// Nothing is said where fewer cases than this share fail within the horizon: there "no nearer than" would be true of the many
/// that never fail, whatever it says of the few that do, and so the more often the more calm there is.
const LIKELY: f64 = 0.5;
/// Where the scores are cut, as shares of the cases: finer where it matters.
const CUTS: [f64; 9] = [0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.94, 0.97];

/// Bounds of the time to the failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Left {
    /// It is no nearer than this (ms) …
    pub least_ms: u64,
    /// … and no farther than this (ms); `None`: it may not come within the horizon at all.
    pub most_ms: Option<u64>,
}

impl Left {
    /// Whether a failure after `left_ms` (`None`: none within the horizon) is as said.
    pub fn holds(self, left_ms: Option<u64>) -> bool {
        match (left_ms, self.most_ms) {
            (Some(left), most) => left >= self.least_ms && most.is_none_or(|most| left <= most),
            (None, most) => most.is_none(),
        }
    }
}

/// From a score to the bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct TimeLeft {
    /// Scores that part the bins, rising.
    cuts: Vec<f32>,
    /// One a bin; `None`: in most cases nothing comes within the horizon.
    bounds: Vec<Option<Left>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    cuts: Vec<f32>,
    bounds: Vec<Option<Left>>,
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
        if bounds.iter().flatten().any(|left| left.most_ms.is_some_and(|most| most < left.least_ms)) {
            return Err(Damaged("an empty interval"));
        }
        Ok(Self { cuts, bounds })
    }
}

impl TimeLeft {
    /// From left-out cases: a finite score, and the time to the failure (ms) if one came within the horizon.
    pub fn fit(cases: &[(f32, Option<u64>)]) -> Self {
        let mut scores: Vec<f32> = cases.iter().map(|case| case.0).collect();
        scores.sort_by(f32::total_cmp);
        let at = |share: f64| scores.get((share * scores.len() as f64) as usize).copied();
        let mut cuts: Vec<f32> = CUTS.into_iter().filter_map(at).collect();
        cuts.dedup();
        let mut bins = vec![Vec::new(); cuts.len() + 1];
        for (score, left) in cases {
            bins[cuts.partition_point(|cut| cut <= score)].push(left.unwrap_or(u64::MAX));
        }
        let bounds = bins.into_iter().map(bounds).collect();
        Self { cuts, bounds }
    }

    /// The bounds at a score; `None`: nothing within the horizon, in most cases.
    pub fn at(&self, score: f32) -> Option<Left> {
        self.bounds[self.cuts.partition_point(|cut| *cut <= score)]
    }
}

/// The bounds of one bin's times, of which `u64::MAX` stands for never. What never fails is no tail to be cut off.
fn bounds(mut times: Vec<u64>) -> Option<Left> {
    times.sort_unstable();
    let cases = times.len() as f64 + 1.0;
    let never = times.iter().filter(|time| **time == u64::MAX).count() as f64;
    let failing = times.len() as f64 - never;
    if failing == 0.0 || failing < LIKELY * times.len() as f64 {
        return None;
    }
    let open = never >= MISSED / 2.0 * times.len() as f64;
    let below = if open { MISSED } else { MISSED / 2.0 };
    let least_ms = match (below * cases) as usize {
        0 => 0,
        rank => times[rank - 1],
    };
    let last = times.get(((1.0 - MISSED / 2.0) * cases).ceil() as usize - 1);
    let most_ms = last.copied().filter(|most| !open && *most != u64::MAX);
    Some(Left { least_ms, most_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Higher scores fail sooner; a third never do.
    fn cases(n: usize, seed: u64) -> Vec<(f32, Option<u64>)> {
        let mut rng = Rng::new(seed);
        (0..n)
            .map(|_| {
                let score = rng.unit();
                let left = (f64::from(1.2 - score) * 9000.0 * f64::from(rng.unit())) as u64;
                (score, (rng.unit() < 0.1 + score).then_some(left))
            })
            .collect()
    }

    #[test]
    fn nine_of_ten_new_cases_are_as_said() {
        let fitted = TimeLeft::fit(&cases(8000, 1));
        let (mut said, mut held) = (0, 0);
        for (score, left) in cases(20_000, 2) {
            if let Some(bounds) = fitted.at(score) {
                said += 1;
                held += usize::from(bounds.holds(left));
            }
        }
        let coverage = f64::from(held as u32) / f64::from(said);
        assert!((0.89..0.92).contains(&coverage), "{coverage}");
        assert!(said > 10_000, "{said}");
        let (near, far) = (fitted.at(0.99).unwrap(), fitted.at(0.6).unwrap());
        assert!(
            near.least_ms < far.least_ms && near.most_ms.is_some() && far.most_ms.is_none(),
            "{near:?} {far:?}"
        );
    }

    #[test]
    fn nothing_is_said_where_most_never_fail() {
        let rare: Vec<_> = (0..100u64).map(|i| (0.0, (i < 40).then_some(100 * i))).collect();
        assert_eq!(TimeLeft::fit(&rare).at(0.0), None);
        let common: Vec<_> = (0..100u64).map(|i| (0.0, (i < 60).then_some(100 * i))).collect();
        let left = TimeLeft::fit(&common).at(0.0).unwrap();
        assert!(left.least_ms < 1_000 && left.most_ms.is_none(), "{left:?}");
    }

    #[test]
    fn few_cases_promise_nothing_and_a_damaged_table_is_refused() {
        let few = TimeLeft::fit(&[(0.0, None), (1.0, Some(10))]);
        assert_eq!(few.at(2.0), Some(Left { least_ms: 0, most_ms: None }));
        assert_eq!(TimeLeft::fit(&[]).at(0.0), None);
        let text = serde_json::to_string(&few).unwrap();
        assert_eq!(serde_json::from_str::<TimeLeft>(&text).unwrap(), few);
        for damaged in [
            r#"{"cuts":[0],"bounds":[null]}"#,
            r#"{"cuts":[1,0],"bounds":[null,null,null]}"#,
            r#"{"cuts":[],"bounds":[{"least_ms":9,"most_ms":1}]}"#,
        ] {
            assert!(serde_json::from_str::<TimeLeft>(damaged).is_err(), "{damaged}");
        }
    }
}
