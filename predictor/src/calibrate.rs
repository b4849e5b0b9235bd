//! From a score to a probability with an interval: isotonic regression and inductive Venn–Abers.
//!
//! Venn–Abers (Vovk, Petej and Fedorova, NIPS 2015) asks twice: what would isotonic regression on the held-out
//! scores say at this score if the new case failed (`high`), and what if it did not (`low`)? The two bracket the
//! probability; they lie far apart where few held-out scores are near.

use serde::{Deserialize, Serialize};

/// Held-out scores are pooled into about this many bins; with fewer distinct scores the fit is exact.
const BINS: usize = 512;

/// A held-out case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// The model's score, on any scale; not NaN.
    pub score: f32,
    /// What came.
    pub positive: bool,
    /// How many cases it stands for, above 0.
    pub weight: f32,
}

/// Why there is no calibration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalibrationError {
    /// Nothing to calibrate on.
    #[error("calibration needs held-out cases of both classes")]
    OneClass,
    /// NaN among the scores, or a weight that is not above 0.
    #[error("case {0} has no usable score or weight")]
    Case(usize),
    /// A stored calibration that does not fit together.
    #[error("calibration: {0}")]
    Damaged(&'static str),
}

/// Two bounds of a probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The probability if the new case were negative.
    pub low: f32,
    /// The probability if the new case were positive.
    pub high: f32,
}

impl Interval {
    /// The one probability that does best in log loss between the two.
    pub fn probability(self) -> f32 {
        self.high / (1.0 - self.low + self.high)
    }
}

/// An inductive Venn–Abers predictor: monotone in the score, without allocation when asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct VennAbers {
    /// First and last score of every bin.
    bins: Vec<[f32; 2]>,
    /// Bounds below the first bin, in it, between it and the second, …, above the last.
    bounds: Vec<[f32; 2]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    bins: Vec<[f32; 2]>,
    bounds: Vec<[f32; 2]>,
}

impl TryFrom<Unchecked> for VennAbers {
    type Error = CalibrationError;

    fn try_from(read: Unchecked) -> Result<Self, CalibrationError> {
        let Unchecked { bins, bounds } = read;
        if bins.is_empty() || bounds.len() != 2 * bins.len() + 1 {
            return Err(CalibrationError::Damaged("bins and bounds do not match"));
        }
        // What is not a number is in no order.
        let within = bins.iter().all(|[first, last]| first <= last);
        if !within || !bins.windows(2).all(|pair| pair[0][1] < pair[1][0]) {
            return Err(CalibrationError::Damaged("bins out of order"));
        }
        if bounds.iter().any(|[low, high]| !(0.0 <= *low && low <= high && *high <= 1.0)) {
            return Err(CalibrationError::Damaged("bounds that are no probabilities"));
        }
        Ok(Self { bins, bounds })
    }
}

impl VennAbers {
    /// Calibrates on cases that the model was not trained on.
    ///
    /// # Errors
    /// Only one class, or a case without a score or weight.
    pub fn fit(cases: &[Scored]) -> Result<Self, CalibrationError> {
        let pooled = pool(cases, BINS)?;
        let mut masses: Vec<Mass> = pooled.iter().map(|bin| bin.mass).collect();
        let mut bounds = vec![[0.0, 1.0]; 2 * pooled.len() + 1];
        for (side, positive) in [0.0, 1.0].into_iter().enumerate() {
            let new = Mass { weight: 1.0, positive };
            for at in 0..=pooled.len() {
                masses.insert(at, new);
                bounds[2 * at][side] = isotonic(&masses)[at] as f32;
                masses.remove(at);
            }
            for at in 0..pooled.len() {
                let old = masses[at];
                masses[at] = old.plus(new);
                bounds[2 * at + 1][side] = isotonic(&masses)[at] as f32;
                masses[at] = old;
            }
        }
        // Rounding must not turn an interval around.
        bounds.iter_mut().for_each(|[low, high]| *low = low.min(*high));
        Ok(Self { bins: pooled.iter().map(|bin| bin.scores).collect(), bounds })
    }

    /// The probability's bounds at a score; NaN knows nothing: 0 to 1.
    pub fn interval(&self, score: f32) -> Interval {
        if score.is_nan() {
            return Interval { low: 0.0, high: 1.0 };
        }
        let below = self.bins.partition_point(|[_, last]| *last < score);
        let inside = self.bins.get(below).is_some_and(|[first, _]| *first <= score);
        let [low, high] = self.bounds[2 * below + usize::from(inside)];
        Interval { low, high }
    }

    /// [`Interval::probability`] at a score.
    pub fn probability(&self, score: f32) -> f32 {
        self.interval(score).probability()
    }
}

/// A sum of weights, and of those of the positives.
#[derive(Clone, Copy, Debug, Default)]
struct Mass {
    weight: f64,
    positive: f64,
}

impl Mass {
    fn plus(self, other: Self) -> Self {
        Self { weight: self.weight + other.weight, positive: self.positive + other.positive }
    }

    fn mean(self) -> f64 {
        self.positive / self.weight
    }
}

#[derive(Clone, Copy, Debug)]
struct Bin {
    scores: [f32; 2],
    mass: Mass,
}

/// Equal scores together, and neighbours until a bin holds its share of one of the classes:
/// where failures are rare, bins of equal size would lump all high scores.
fn pool(cases: &[Scored], bins: usize) -> Result<Vec<Bin>, CalibrationError> {
    if let Some(at) =
        cases.iter().position(|case| case.score.is_nan() || !(case.weight > 0.0 && case.weight.is_finite()))
    {
        return Err(CalibrationError::Case(at));
    }
    let mut sorted = cases.to_vec();
    sorted.sort_by(|a, b| a.score.total_cmp(&b.score));
    let mut distinct: Vec<Bin> = Vec::new();
    for case in &sorted {
        let weight = f64::from(case.weight);
        let mass = Mass { weight, positive: if case.positive { weight } else { 0.0 } };
        match distinct.last_mut() {
            // Not to_bits: −0 and 0 are one score.
            Some(last) if last.scores[1] == case.score => last.mass = last.mass.plus(mass),
            _ => distinct.push(Bin { scores: [case.score; 2], mass }),
        }
    }
    let all = distinct.iter().fold(Mass::default(), |sum, bin| sum.plus(bin.mass));
    if !(all.positive > 0.0 && all.positive < all.weight) {
        return Err(CalibrationError::OneClass);
    }
    if distinct.len() <= bins {
        return Ok(distinct);
    }
    let share = 2.0 / bins as f64;
    let full = |mass: Mass| {
        mass.positive >= share * all.positive
            || mass.weight - mass.positive >= share * (all.weight - all.positive)
    };
    let mut pooled: Vec<Bin> = Vec::new();
    for bin in distinct {
        match pooled.last_mut() {
            Some(open) if !full(open.mass) => {
                open.scores[1] = bin.scores[1];
                open.mass = open.mass.plus(bin.mass);
            }
            _ => pooled.push(bin),
        }
    }
    Ok(pooled)
}

/// Pool adjacent violators: the rising values nearest to the means, one for each mass.
fn isotonic(masses: &[Mass]) -> Vec<f64> {
    let mut blocks: Vec<(Mass, usize)> = Vec::with_capacity(masses.len());
    for mass in masses {
        let mut block = (*mass, 1);
        while let Some(last) = blocks.last()
            && last.0.mean() >= block.0.mean()
        {
            block = (last.0.plus(block.0), last.1 + block.1);
            blocks.pop();
        }
        blocks.push(block);
    }
    blocks.iter().flat_map(|(mass, len)| std::iter::repeat_n(mass.mean(), *len)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn cases(n: usize, levels: usize, seed: u64) -> Vec<Scored> {
        let mut rng = Rng::new(seed);
        (0..n)
            .map(|_| {
                let score = rng.below(levels) as f32 / levels as f32;
                let positive = rng.unit() < score * score;
                Scored { score: 4.0 * score - 1.0, positive, weight: 1.0 + rng.below(3) as f32 }
            })
            .collect()
    }

    /// Isotonic regression at one place by its min-max formula, with a new case at `score`.
    fn oracle(cases: &[Scored], score: f32, positive: bool) -> f64 {
        let mut all = cases.to_vec();
        all.push(Scored { score, positive, weight: 1.0 });
        let mut levels: Vec<f32> = all.iter().map(|case| case.score).collect();
        levels.sort_by(f32::total_cmp);
        levels.dedup();
        let mean = |from: f32, to: f32| {
            let (mut sum, mut total) = (0.0, 0.0);
            for case in all.iter().filter(|case| case.score >= from && case.score <= to) {
                total += f64::from(case.weight);
                sum += if case.positive { f64::from(case.weight) } else { 0.0 };
            }
            sum / total
        };
        levels
            .iter()
            .filter(|from| **from <= score)
            .map(|from| {
                let ends = levels.iter().filter(|to| **to >= score);
                ends.map(|to| mean(*from, *to)).fold(f64::INFINITY, f64::min)
            })
            .fold(f64::NEG_INFINITY, f64::max)
    }

    #[test]
    fn agrees_with_the_definition() {
        for seed in 0..5 {
            let cases = cases(80, 25, seed);
            let fitted = VennAbers::fit(&cases).unwrap();
            for i in -5..115 {
                let score = i as f32 * 0.04 - 1.0;
                let interval = fitted.interval(score);
                assert!((f64::from(interval.low) - oracle(&cases, score, false)).abs() < 1e-6);
                assert!((f64::from(interval.high) - oracle(&cases, score, true)).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn probabilities_are_true_and_rise() {
        let fitted = VennAbers::fit(&cases(40_000, 20_000, 7)).unwrap();
        let mut last = 0.0;
        for i in 1..20 {
            let truth = (i as f32 / 20.0).powi(2);
            let interval = fitted.interval(4.0 * i as f32 / 20.0 - 1.0);
            assert!((interval.probability() - truth).abs() < 0.05, "{i}: {interval:?}");
            assert!(interval.high - interval.low < 0.05 && interval.probability() >= last);
            last = interval.probability();
        }
        assert!(fitted.bins.len() <= BINS + 1);
        assert_eq!(fitted.interval(f32::NAN), Interval { low: 0.0, high: 1.0 });
    }

    #[test]
    fn rare_failures_keep_their_resolution() {
        let mut rng = Rng::new(3);
        let mut cases: Vec<Scored> =
            (0..100_000).map(|_| Scored { score: rng.unit(), positive: false, weight: 1.0 }).collect();
        cases.extend((0..200).map(|i| Scored {
            score: 1.0 + i as f32 / 100.0,
            positive: i % 2 == 0 || i > 100,
            weight: 1.0,
        }));
        let fitted = VennAbers::fit(&cases).unwrap();
        assert!(fitted.probability(0.5) < 0.001);
        assert!((fitted.probability(1.4) - 0.5).abs() < 0.1 && fitted.probability(2.5) > 0.95);
    }

    #[test]
    fn few_cases_give_wide_bounds_and_unusable_ones_an_error() {
        let case = |score, positive| Scored { score, positive, weight: 1.0 };
        let few = VennAbers::fit(&[case(0.0, false), case(1.0, true)]).unwrap();
        let top = few.interval(2.0);
        assert!(top.low <= 0.5 && top.high == 1.0, "{top:?}");
        assert_eq!(VennAbers::fit(&[case(0.0, false)]), Err(CalibrationError::OneClass));
        assert_eq!(VennAbers::fit(&[case(f32::NAN, false)]), Err(CalibrationError::Case(0)));
        assert_eq!(VennAbers::fit(&[]), Err(CalibrationError::OneClass));
    }

    #[test]
    fn a_stored_calibration_is_checked() {
        let fitted = VennAbers::fit(&cases(50, 20, 1)).unwrap();
        let text = serde_json::to_string(&fitted).unwrap();
        assert_eq!(serde_json::from_str::<VennAbers>(&text).unwrap(), fitted);
        for damaged in [
            r#"{"bins":[],"bounds":[[0,1]]}"#,
            r#"{"bins":[[1,0]],"bounds":[[0,1],[0,1],[0,1]]}"#,
            r#"{"bins":[[0,1]],"bounds":[[0,1],[0,2],[0,1]]}"#,
            r#"{"bins":[[0,1]],"bounds":[[0,1]]}"#,
        ] {
            assert!(serde_json::from_str::<VennAbers>(damaged).is_err(), "{damaged}");
        }
    }
}
