//! Gradient boosting of histogram trees: small, deterministic, without threads.
//!
//! [`Binned`] holds the features in at most 255 bins each, [`Booster::fit`] grows leaf-wise trees on
//! them (second-order gains, L2, shrinkage, rows and columns drawn from a seed, early stopping on
//! rows kept apart), and [`Booster::raw`] walks them without allocating. The method is that of Friedman
//! (Annals of Statistics 2001), with the regularised gain of Chen and Guestrin (KDD 2016) and the
//! leaf-wise histograms of Ke et al. (NeurIPS 2017).
//!
//! ```
//! use predictor::gbdt::{Binned, Booster, Loss, Params, Rows, Target};
//!
//! let x: Vec<f32> = (0..400).map(|i| i as f32).collect();
//! let y: Vec<f32> = x.iter().map(|x| f32::from(*x > 250.0)).collect();
//! let binned = Binned::new(&[x], 255)?;
//! let target = Target::new(&y, None)?;
//! let params = Params { trees: 20, min_child_rows: 5, ..Params::new(Loss::logistic()) };
//! let booster = Booster::fit(&binned, &target, Rows::all(400), &params)?;
//! assert!(booster.predict(&[300.0]) > 0.8 && booster.predict(&[100.0]) < 0.2);
//! # Ok::<(), predictor::gbdt::GbdtError>(())
//! ```

mod bins;
mod fit;
mod grow;
mod loss;
mod tree;

pub use bins::Binned;
pub use fit::{Params, Rows, Target};
pub use loss::Loss;

use serde::{Deserialize, Serialize};
use tree::Tree;

/// Why a model could not be fitted or read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GbdtError {
    /// No feature, no row, or none left to train on.
    #[error("nothing to learn from: {0}")]
    Empty(&'static str),
    /// Columns, targets or weights that do not belong together.
    #[error("{what}: {found} values where {expected} are needed")]
    Shape {
        /// What has the wrong length.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length that fits.
        expected: usize,
    },
    /// A target or weight that is not a number in its range.
    #[error("row {row}: the {what} {value} is not usable")]
    Value {
        /// Which number.
        what: &'static str,
        /// Its row.
        row: usize,
        /// Its value.
        value: f32,
    },
    /// A parameter out of its range.
    #[error("parameter {0}")]
    Param(&'static str),
    /// A model that does not fit together: damaged or made by something else.
    #[error("tree {tree}: {what}")]
    Tree {
        /// Number of the tree.
        tree: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A model whose head is unusable.
    #[error("model: {0}")]
    Model(&'static str),
}

/// A sum of trees. Serialisable; reading one checks it whole, so a walk can neither loop nor leave the trees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Booster {
    features: usize,
    base: f32,
    loss: Loss,
    trees: Vec<Tree>,
}

/// A booster as read, before its checks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    features: usize,
    base: f32,
    loss: Loss,
    trees: Vec<Tree>,
}

impl TryFrom<Unchecked> for Booster {
    type Error = GbdtError;

    fn try_from(read: Unchecked) -> Result<Self, GbdtError> {
        read.loss.check()?;
        if read.features == 0 || read.features > bins::FEATURES_MAX {
            return Err(GbdtError::Model("a number of features that cannot be"));
        }
        if !read.base.is_finite() {
            return Err(GbdtError::Model("a base that is not a finite number"));
        }
        for (tree, checked) in read.trees.iter().enumerate() {
            checked.check(read.features).map_err(|what| GbdtError::Tree { tree, what })?;
        }
        Ok(Self { features: read.features, base: read.base, loss: read.loss, trees: read.trees })
    }
}

impl Booster {
    /// Number of features of a row.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Number of trees.
    pub fn len(&self) -> usize {
        self.trees.len()
    }

    /// Whether it has no tree, and predicts a constant.
    pub fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    /// What it was fitted to.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// The sum of the trees: a logit, a quantile or a mean. NaN, and features beyond the end of `row`, count as missing.
    /// Does not allocate.
    pub fn raw(&self, row: &[f32]) -> f32 {
        self.base + self.trees.iter().map(|tree| tree.predict(row)).sum::<f32>()
    }

    /// [`raw`](Self::raw) on the scale of the target: a probability under the logistic loss.
    pub fn predict(&self, row: &[f32]) -> f32 {
        self.loss.output(self.raw(row))
    }

    /// Adds to `out` what every feature contributes to [`raw`](Self::raw) and returns the rest: rest + Σ out = raw,
    /// up to rounding. Along a walk, a split's feature owns the change of the node's mean (path attribution,
    /// Saabas 2014). Features beyond the end of `out` are left out.
    pub fn contributions(&self, row: &[f32], out: &mut [f32]) -> f32 {
        out.fill(0.0);
        self.base + self.trees.iter().map(|tree| tree.contributions(row, out)).sum::<f32>()
    }

    /// The features' share of the loss that the splits saved, summing to 1 (all 0 without a split).
    pub fn importance(&self) -> Vec<f32> {
        let mut gains = vec![0.0f32; self.features];
        self.trees.iter().for_each(|tree| tree.add_gains(&mut gains));
        let total: f32 = gains.iter().sum();
        if total > 0.0 {
            gains.iter_mut().for_each(|gain| *gain /= total);
        }
        gains
    }

    /// The model of the first `trees` rounds.
    pub fn truncated(mut self, trees: usize) -> Self {
        self.trees.truncate(trees);
        self
    }
}

#[cfg(test)]
mod tests;
