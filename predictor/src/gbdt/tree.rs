//! One tree, as flat arrays that are checked when read.

use serde::{Deserialize, Serialize};

/// A binary tree; node 0 is the root, children stand behind their parent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tree {
    /// Feature a node splits on (0 in leaves).
    pub(super) feature: Vec<u16>,
    /// A value at or below it goes left.
    pub(super) threshold: Vec<f32>,
    /// Left child; 0 in leaves, as the root is nobody's child. The right child follows the left.
    pub(super) left: Vec<u16>,
    /// Whether a missing value goes left.
    pub(super) missing_left: Vec<bool>,
    /// The mean of the leaves below; in a leaf, what it adds to the prediction.
    pub(super) value: Vec<f32>,
    /// Loss saved by the split (0 in leaves).
    pub(super) gain: Vec<f32>,
}

impl Tree {
    pub(super) fn len(&self) -> usize {
        self.left.len()
    }

    /// Appends a leaf.
    pub(super) fn push_leaf(&mut self) -> usize {
        self.feature.push(0);
        self.threshold.push(0.0);
        self.left.push(0);
        self.missing_left.push(false);
        self.value.push(0.0);
        self.gain.push(0.0);
        self.len() - 1
    }

    /// The child of an inner node that a row goes to.
    fn step(&self, node: usize, row: &[f32]) -> usize {
        let x = row.get(usize::from(self.feature[node])).copied().unwrap_or(f32::NAN);
        let goes_left = if x.is_nan() { self.missing_left[node] } else { x <= self.threshold[node] };
        usize::from(self.left[node]) + usize::from(!goes_left)
    }

    pub(super) fn predict(&self, row: &[f32]) -> f32 {
        let mut node = 0;
        while self.left[node] != 0 {
            node = self.step(node, row);
        }
        self.value[node]
    }

    /// Adds the change of the mean at every split to its feature; returns the root's mean.
    pub(super) fn contributions(&self, row: &[f32], out: &mut [f32]) -> f32 {
        let mut node = 0;
        while self.left[node] != 0 {
            let next = self.step(node, row);
            if let Some(owner) = out.get_mut(usize::from(self.feature[node])) {
                *owner += self.value[next] - self.value[node];
            }
            node = next;
        }
        self.value[0]
    }

    pub(super) fn add_gains(&self, gains: &mut [f32]) {
        for (node, gain) in self.gain.iter().enumerate().filter(|(node, _)| self.left[*node] != 0) {
            gains[usize::from(self.feature[node])] += gain;
        }
    }

    /// Whether every walk ends in a leaf of finite value.
    pub(super) fn check(&self, features: usize) -> Result<(), &'static str> {
        let n = self.len();
        let lengths = [
            self.feature.len(),
            self.threshold.len(),
            self.missing_left.len(),
            self.value.len(),
            self.gain.len(),
        ];
        if n == 0 || lengths.iter().any(|length| *length != n) {
            return Err("its parts have different lengths or none");
        }
        if n > usize::from(u16::MAX) {
            return Err("too many nodes");
        }
        for node in 0..n {
            let left = usize::from(self.left[node]);
            if left != 0 && (left <= node || left + 1 >= n) {
                return Err("a child that does not follow its parent");
            }
            if left != 0 && usize::from(self.feature[node]) >= features {
                return Err("a split on a feature that there is not");
            }
            if [self.threshold[node], self.value[node], self.gain[node]].iter().any(|x| !x.is_finite()) {
                return Err("a number that is not finite");
            }
        }
        Ok(())
    }
}
