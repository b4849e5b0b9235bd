//! The models, each behind one trait: what a judge is shown, and what it says.

use std::sync::Arc;

use crate::features::{DRIFT_SCORE, N_FEATURES, N_NAMELESS, NAMELESS, STRANGENESS};
use crate::gbdt::Booster;
use crate::recurrent::Weights;

/// How many horizons every judge speaks about, the last one being the model's own.
pub const HORIZONS: usize = 3;
/// Features of one step.
pub type Shown = [f32; N_FEATURES];
/// A logit for each horizon, shortest first.
pub type Logits = [f32; HORIZONS];

/// Those of them that know no metric by name.
pub(crate) fn nameless(shown: &Shown) -> &[f32] {
    &shown[NAMELESS..]
}

/// The horizons of a model (ms): a quarter, a half and the whole of its own.
pub fn horizons(horizon_ms: u64) -> [u64; HORIZONS] {
    [horizon_ms / 4, horizon_ms / 2, horizon_ms]
}

/// Says how near a failure one subject is. Allocates nothing once it is made.
pub trait Judge: std::fmt::Debug + Send {
    /// Its name in cards.
    fn name(&self) -> &'static str;
    /// Takes the next step.
    fn push(&mut self, newest: &Shown);
    /// What follows from the steps before the newest, and from `newest` in its place. Higher is worse; only the order
    /// of what it says at one horizon means anything until the ensemble has weighed it.
    fn logits(&mut self, newest: &Shown) -> Logits;
}

/// Logistic regression on standardised features.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    pub(crate) weights: [[f32; N_NAMELESS]; HORIZONS],
    pub(crate) bias: Logits,
}

impl Linear {
    pub(crate) fn at(&self, shown: &Shown) -> Logits {
        std::array::from_fn(|h| {
            self.bias[h] + self.weights[h].iter().zip(nameless(shown)).map(|(w, x)| w * x).sum::<f32>()
        })
    }
}

/// [`Linear`] for one subject.
#[derive(Debug)]
pub(crate) struct LinearJudge(pub(crate) Arc<Linear>);

impl Judge for LinearJudge {
    fn name(&self) -> &'static str {
        "linear"
    }
    fn push(&mut self, _: &Shown) {}
    fn logits(&mut self, newest: &Shown) -> Logits {
        self.0.at(newest)
    }
}

/// Boosted trees that know no metric by name: for faults that were never seen.
#[derive(Debug)]
pub(crate) struct TreesJudge(pub(crate) Arc<[Booster; HORIZONS]>);

impl Judge for TreesJudge {
    fn name(&self) -> &'static str {
        "trees"
    }
    fn push(&mut self, _: &Shown) {}
    fn logits(&mut self, newest: &Shown) -> Logits {
        std::array::from_fn(|h| self.0[h].raw(nameless(newest)))
    }
}

/// Boosted trees that see every metric by name as well: for faults of a kind that has been seen. Metrics that there were not yet in
/// their training they do not see.
#[derive(Debug)]
pub(crate) struct NamedJudge(pub(crate) Arc<[Booster; HORIZONS]>);

impl Judge for NamedJudge {
    fn name(&self) -> &'static str {
        "named"
    }
    fn push(&mut self, _: &Shown) {}
    fn logits(&mut self, newest: &Shown) -> Logits {
        // As many for every horizon: checked with the model.
        let (features, mut row) = (self.0[0].features(), *newest);
        row.copy_within(NAMELESS.., features - N_NAMELESS);
        std::array::from_fn(|h| self.0[h].raw(&row[..features]))
    }
}

/// Change detection: CUSUM on level and slope, and the time to each limit.
#[derive(Debug)]
pub(crate) struct DriftJudge;

impl Judge for DriftJudge {
    fn name(&self) -> &'static str {
        "drift"
    }
    fn push(&mut self, _: &Shown) {}
    fn logits(&mut self, newest: &Shown) -> Logits {
        [nameless(newest)[DRIFT_SCORE]; HORIZONS]
    }
}

/// Metrics that move together as they never did.
#[derive(Debug)]
pub(crate) struct CorrelationJudge;

impl Judge for CorrelationJudge {
    fn name(&self) -> &'static str {
        "correlation"
    }
    fn push(&mut self, _: &Shown) {}
    fn logits(&mut self, newest: &Shown) -> Logits {
        [nameless(newest)[STRANGENESS]; HORIZONS]
    }
}

/// How many judges there are.
pub(crate) const JUDGES: usize = 6;
/// Their names, in the order of the ensemble's weights.
pub(crate) const NAMES: [&str; JUDGES] = ["gru", "trees", "named", "linear", "drift", "correlation"];

/// What all judges know, shared by the subjects.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) recurrent: Arc<Weights>,
    pub(crate) trees: Arc<[Booster; HORIZONS]>,
    pub(crate) named: Arc<[Booster; HORIZONS]>,
    pub(crate) linear: Arc<Linear>,
}

impl Parts {
    /// The judges of one subject, in the order of [`NAMES`].
    pub(crate) fn judges(&self) -> [Box<dyn Judge>; JUDGES] {
        [
            Box::new(crate::recurrent::Recurrent::new(Arc::clone(&self.recurrent))),
            Box::new(TreesJudge(Arc::clone(&self.trees))),
            Box::new(NamedJudge(Arc::clone(&self.named))),
            Box::new(LinearJudge(Arc::clone(&self.linear))),
            Box::new(DriftJudge),
            Box::new(CorrelationJudge),
        ]
    }
}
