//! All judges of one subject, asked together.

use crate::judges::{JUDGES, Judge, Logits, Parts, Shown};

/// The judges, in the order of the ensemble's weights. Allocates nothing after `new`.
#[derive(Debug)]
pub(crate) struct Panel {
    judges: [Box<dyn Judge>; JUDGES],
}

impl Panel {
    /// For a subject that always was as ever.
    pub(crate) fn new(parts: &Parts) -> Self {
        Self { judges: parts.judges() }
    }

    /// The next step.
    pub(crate) fn push(&mut self, newest: &Shown) {
        self.judges.iter_mut().for_each(|judge| judge.push(newest));
    }

    /// What each says, as if the newest step were `newest`.
    pub(crate) fn said(&mut self, newest: &Shown) -> [Logits; JUDGES] {
        let mut said = [Logits::default(); JUDGES];
        said.iter_mut().zip(&mut self.judges).for_each(|(said, judge)| *said = judge.logits(newest));
        said
    }
}
