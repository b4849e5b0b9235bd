//! The boosting loop.

use super::grow::{Grower, RoundTree};
use super::{Binned, Booster, GbdtError, Loss, loss};
use crate::rng::Rng;

/// Stop after this many draws of rows and columns that offer no split.
const BARREN_MAX: usize = 20;

/// How to fit. [`Params::new`] gives sound defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// What to fit.
    pub loss: Loss,
    /// At most this many trees.
    pub trees: usize,
    /// Most leaves of a tree, 2 ..= 4096.
    pub leaves: usize,
    /// Most splits between root and leaf.
    pub depth: usize,
    /// Shrinkage of every tree, 0 < rate <= 1.
    pub rate: f32,
    /// Least sum of curvatures in a leaf.
    pub min_child_weight: f32,
    /// Least number of rows in a leaf.
    pub min_child_rows: u32,
    /// Added to a leaf's curvature: pulls its value towards 0.
    pub l2: f32,
    /// A split must save this much.
    pub min_gain: f32,
    /// Share of the features that a tree sees, 0 < share <= 1.
    pub columns: f32,
    /// Share of the rows that a tree sees, 0 < share <= 1.
    pub rows: f32,
    /// Stop when the loss on the rows kept apart has not fallen for this many rounds, and keep the best.
    pub patience: usize,
    /// Of the draws of rows and columns; the same seed gives the same model.
    pub seed: u64,
    /// Features whose rise may never lower the prediction (by number; the others are free).
    pub rising: Vec<usize>,
}

impl Params {
    /// 200 trees of 31 leaves at a rate of 0.1.
    pub fn new(loss: Loss) -> Self {
        Self {
            loss,
            trees: 200,
            leaves: 31,
            depth: 32,
            rate: 0.1,
            min_child_weight: 1e-3,
            min_child_rows: 20,
            l2: 1.0,
            min_gain: 0.0,
            columns: 1.0,
            rows: 1.0,
            patience: 30,
            seed: 1,
            rising: Vec::new(),
        }
    }

    fn check(&self, features: usize) -> Result<(), GbdtError> {
        self.loss.check()?;
        let share = |x: f32| x > 0.0 && x <= 1.0;
        let sound = [
            (self.trees > 0, "trees: at least 1"),
            ((2..=4096).contains(&self.leaves), "leaves: 2 to 4096"),
            (self.depth > 0, "depth: at least 1"),
            (share(self.rate), "rate: above 0, at most 1"),
            (self.min_child_weight >= 0.0, "min_child_weight: at least 0"),
            (self.l2 >= 0.0 && self.l2.is_finite(), "l2: at least 0"),
            (self.min_gain >= 0.0, "min_gain: at least 0"),
            (share(self.columns), "columns: above 0, at most 1"),
            (share(self.rows), "rows: above 0, at most 1"),
            (self.patience > 0, "patience: at least 1"),
            (self.rising.iter().all(|f| *f < features), "rising: a feature that there is not"),
        ];
        sound.into_iter().find(|(ok, _)| !ok).map_or(Ok(()), |(_, what)| Err(GbdtError::Param(what)))
    }
}

/// Targets and weights of all rows, checked.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    y: &'a [f32],
    weights: Option<&'a [f32]>,
}

impl<'a> Target<'a> {
    /// Without weights, every row weighs 1.
    ///
    /// # Errors
    /// A target that is not finite, a weight that is not finite or below 0, different lengths.
    pub fn new(y: &'a [f32], weights: Option<&'a [f32]>) -> Result<Self, GbdtError> {
        let bad =
            |what, values: &[f32], usable: fn(f32) -> bool| match values.iter().position(|x| !usable(*x)) {
                Some(row) => Err(GbdtError::Value { what, row, value: values[row] }),
                None => Ok(()),
            };
        bad("target", y, f32::is_finite)?;
        if let Some(weights) = weights {
            if weights.len() != y.len() {
                return Err(GbdtError::Shape { what: "weights", found: weights.len(), expected: y.len() });
            }
            bad("weight", weights, |w| w.is_finite() && w >= 0.0)?;
        }
        Ok(Self { y, weights })
    }

    fn weight(&self, row: usize) -> f32 {
        self.weights.map_or(1.0, |weights| weights[row])
    }
}

/// Which rows to train on, and which to stop on.
#[derive(Clone, Debug)]
pub struct Rows {
    train: Vec<u32>,
    valid: Vec<u32>,
}

impl Rows {
    /// Train on all of `rows` rows, for the full number of trees.
    pub fn all(rows: usize) -> Self {
        Self { train: (0..rows as u32).collect(), valid: Vec::new() }
    }

    /// Train on some rows and stop early on others (none: never stop early).
    pub fn split(train: Vec<u32>, valid: Vec<u32>) -> Self {
        Self { train, valid }
    }
}

impl Booster {
    /// Fits a model; the same input gives the same model on every machine.
    ///
    /// # Errors
    /// Parameters out of range, rows that there are not, no row of weight to train on, or a target outside
    /// 0 ..= 1 under the logistic loss.
    pub fn fit(binned: &Binned, target: &Target<'_>, rows: Rows, params: &Params) -> Result<Self, GbdtError> {
        params.check(binned.features())?;
        check_rows(binned, target, &rows, params.loss)?;
        let mut round = Round::new(binned, target, rows, params);
        let mut best = (round.valid_loss(), 0);
        while round.trees.len() < params.trees {
            if !round.grow() {
                break;
            }
            if round.rows.valid.is_empty() {
                best.1 = round.trees.len();
                continue;
            }
            let loss = round.valid_loss();
            if loss < best.0 {
                best = (loss, round.trees.len());
            } else if round.trees.len() - best.1 >= params.patience {
                break;
            }
        }
        let trees = round.trees.into_iter().take(best.1).map(|grown| grown.tree).collect();
        Ok(Self { features: binned.features(), base: round.base, loss: params.loss, trees })
    }
}

fn check_rows(binned: &Binned, target: &Target<'_>, rows: &Rows, loss: Loss) -> Result<(), GbdtError> {
    if target.y.len() != binned.rows() {
        return Err(GbdtError::Shape { what: "targets", found: target.y.len(), expected: binned.rows() });
    }
    if let Some(row) = rows.train.iter().chain(&rows.valid).find(|row| **row as usize >= binned.rows()) {
        return Err(GbdtError::Shape {
            what: "a row's number",
            found: *row as usize,
            expected: binned.rows(),
        });
    }
    if !rows.train.iter().any(|row| target.weight(*row as usize) > 0.0) {
        return Err(GbdtError::Empty("no row with a weight to train on"));
    }
    if let Loss::Logistic { .. } = loss
        && let Some(row) = target.y.iter().position(|y| !(0.0..=1.0).contains(y))
    {
        return Err(GbdtError::Value { what: "target", row, value: target.y[row] });
    }
    Ok(())
}

/// The state between rounds.
struct Round<'a> {
    binned: &'a Binned,
    target: &'a Target<'a>,
    params: &'a Params,
    rows: Rows,
    base: f32,
    /// Raw predictions, by row.
    raw: Vec<f32>,
    /// Gradient and curvature, by row.
    gradients: Vec<[f32; 2]>,
    grower: Grower<'a>,
    trees: Vec<RoundTree>,
    /// Draws in a row without a split.
    barren: usize,
    rng: Rng,
}

impl<'a> Round<'a> {
    fn new(binned: &'a Binned, target: &'a Target<'a>, rows: Rows, params: &'a Params) -> Self {
        let mut weighted: Vec<(f32, f32)> = rows
            .train
            .iter()
            .map(|row| {
                let y = target.y[*row as usize];
                (y, params.loss.weight(y, target.weight(*row as usize)))
            })
            .collect();
        let base = params.loss.constant(&mut weighted);
        Self {
            binned,
            target,
            params,
            base,
            raw: vec![base; binned.rows()],
            gradients: vec![[0.0; 2]; binned.rows()],
            grower: Grower::new(binned, params),
            trees: Vec::new(),
            barren: 0,
            rng: Rng::new(params.seed),
            rows,
        }
    }

    /// Adds a tree; false when no split is worth anything any more.
    fn grow(&mut self) -> bool {
        let (loss, target) = (self.params.loss, self.target);
        let mut bag = Vec::with_capacity(self.rows.train.len());
        for &row in &self.rows.train {
            if self.params.rows < 1.0 && self.rng.unit() >= self.params.rows {
                continue;
            }
            let i = row as usize;
            self.gradients[i] = loss.gradient(self.raw[i], target.y[i], target.weight(i));
            bag.push(row);
        }
        let mut columns: Vec<usize> = (0..self.binned.features()).collect();
        if self.params.columns < 1.0 {
            self.rng.shuffle(&mut columns);
            let kept = (self.params.columns * columns.len() as f32).ceil() as usize;
            columns.truncate(kept.max(1));
            columns.sort_unstable();
        }
        let Some(mut grown) = self.grower.grow(bag, columns, &self.gradients) else {
            // An unlucky draw of rows or columns need not be the end.
            self.barren += 1;
            return (self.params.rows < 1.0 || self.params.columns < 1.0) && self.barren < BARREN_MAX;
        };
        if let Loss::Quantile { level } = loss {
            let raw = &self.raw;
            grown.renew_leaves(|rows| {
                let mut errors: Vec<(f32, f32)> = rows
                    .iter()
                    .map(|row| (target.y[*row as usize] - raw[*row as usize], target.weight(*row as usize)))
                    .collect();
                loss::quantile(&mut errors, level)
            });
        }
        self.barren = 0;
        grown.finish(self.params.rate);
        for &row in self.rows.train.iter().chain(&self.rows.valid) {
            self.raw[row as usize] += grown.predict(self.binned, row as usize);
        }
        self.trees.push(grown);
        true
    }

    fn valid_loss(&self) -> f64 {
        let loss = self.params.loss;
        self.rows
            .valid
            .iter()
            .map(|row| *row as usize)
            .map(|i| loss.value(self.raw[i], self.target.y[i], self.target.weight(i)))
            .sum()
    }
}
