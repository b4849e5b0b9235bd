//! The stages of a switchover and the only ways between them.

use dataplane::id::Nanos;
use serde::{Deserialize, Serialize};

/// Where a switchover is. Every one, whatever caused it, passes the first seven in this order, or leaves for [`Stage::RollBack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The target is made sure of: connected, its paths up, what its application checks say known, what is shadowed
    /// to it there.
    Prewarm,
    /// What it makes of mirrored traffic is looked at.
    MirrorCheck,
    /// Shares of the traffic move to it, each watched before the next.
    Shift,
    /// It carries everything; a whole round of its application checks must be good.
    Verify,
    /// Ownership is on its way to it.
    HandOver,
    /// It owns the site and is watched.
    Watch,
    /// What still reaches the former owner goes on to it until this ends: then the former owner is free.
    Decommission,
    /// Given up, and what was moved is undone.
    RollBack,
}

impl Stage {
    /// All of them.
    pub const ALL: [Stage; 8] = [
        Stage::Prewarm,
        Stage::MirrorCheck,
        Stage::Shift,
        Stage::Verify,
        Stage::HandOver,
        Stage::Watch,
        Stage::Decommission,
        Stage::RollBack,
    ];

    /// The stages that may follow: the whole table of transitions. A stage that is not needed is passed and recorded as skipped,
    /// not left out.
    pub const fn next(self) -> &'static [Stage] {
        match self {
            Stage::Prewarm => &[Stage::MirrorCheck, Stage::RollBack],
            Stage::MirrorCheck => &[Stage::Shift, Stage::RollBack],
            Stage::Shift => &[Stage::Verify, Stage::RollBack],
            Stage::Verify => &[Stage::HandOver, Stage::RollBack],
            Stage::HandOver => &[Stage::Watch, Stage::RollBack],
            Stage::Watch => &[Stage::Decommission, Stage::RollBack],
            Stage::Decommission | Stage::RollBack => &[],
        }
    }

    /// As in JSON and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Prewarm => "prewarm",
            Stage::MirrorCheck => "mirror_check",
            Stage::Shift => "shift",
            Stage::Verify => "verify",
            Stage::HandOver => "hand_over",
            Stage::Watch => "watch",
            Stage::Decommission => "decommission",
            Stage::RollBack => "roll_back",
        }
    }

    /// True while the site's traffic or its ownership is on its way.
    pub const fn is_moving(self) -> bool {
        matches!(self, Stage::Prewarm | Stage::MirrorCheck | Stage::Shift | Stage::Verify | Stage::HandOver)
    }
}

/// One stage that a switchover came through, or is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// The stage.
    pub stage: Stage,
    /// Since when, on the engine's clock.
    pub at: Nanos,
    /// There was nothing to do in it, or no time.
    pub skipped: bool,
    /// Why it was entered, or skipped.
    pub reason: String,
}

/// The way that one switchover takes. Nothing else changes its stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    passages: Vec<Passage>,
    ended: Option<Nanos>,
}

impl Way {
    pub fn new(now: Nanos, reason: String) -> Way {
        let first = Passage { stage: Stage::Prewarm, at: now, skipped: false, reason };
        Way { passages: vec![first], ended: None }
    }

    fn last(&self) -> &Passage {
        self.passages.last().expect("a way begins with a stage")
    }

    pub fn stage(&self) -> Stage {
        self.last().stage
    }

    /// When the stage began.
    pub fn since(&self) -> Nanos {
        self.last().at
    }

    pub fn passages(&self) -> &[Passage] {
        &self.passages
    }

    pub fn ended(&self) -> Option<Nanos> {
        self.ended
    }

    /// Enters `next`, if the table allows it; or else stays, and says so.
    pub fn go(&mut self, now: Nanos, next: Stage, reason: impl Into<String>) -> bool {
        let allowed = self.ended.is_none() && self.stage().next().contains(&next);
        if allowed {
            self.passages.push(Passage { stage: next, at: now, skipped: false, reason: reason.into() });
        }
        allowed
    }

    /// Passes all stages before `to`, each recorded as skipped with `reason`, and enters it.
    pub fn skip_to(&mut self, now: Nanos, to: Stage, reason: &str) {
        if let [first] = &mut self.passages[..]
            && first.at == now
            && first.stage < to
        {
            // Nothing was done in it.
            (first.skipped, first.reason) = (true, reason.to_owned());
        }
        while self.stage() < to && self.go(now, self.stage().next()[0], reason) {
            let last = self.passages.last_mut().expect("a way begins with a stage");
            last.skipped = last.stage != to;
        }
    }

    /// Nothing more is to be done. Ends in [`Stage::Decommission`] or [`Stage::RollBack`] alone.
    pub fn end(&mut self, now: Nanos) -> bool {
        let may = self.ended.is_none() && self.stage().next().is_empty();
        if may {
            self.ended = Some(now);
        }
        may
    }
}
