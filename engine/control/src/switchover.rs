//! A switchover: the site's traffic and ownership go from one engine to the other, stage by stage, or come back. One machine for all
//! causes: [`Stage::next`] is its table, `Switchover::poll` drives it. It decides nothing else and does nothing itself: the
//! controller tells it what it sees and carries out what it orders. What was not foreseen is sudden: ownership has moved, or must at
//! once, and the stages before that are recorded as skipped.

mod pace;
mod stage;
mod target;
#[cfg(test)]
mod tests;

pub use stage::{Passage, Stage};
pub(crate) use target::{Fault, OWN_LOSS_URGENT, Sight, Target, rtt_limit};

use crate::checks::{CheckState, Sighted};
use crate::config::ShiftConfig;
use crate::status::{Cause, SwitchoverStatus};
use dataplane::id::Nanos;
use stage::Way;
use std::collections::BTreeSet;

/// A soft fault of the target must last this long to undo a shift.
const SOFT_FAULT: Nanos = Nanos::from_millis(150);
/// How long the target's checks may take to have an opinion, and its sessions to be complete, before anything moves.
const PREWARM: Nanos = Nanos::from_millis(10_000);

/// What the controller shall do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Order {
    Wait,
    Apply {
        percent: u8,
    },
    HandOver,
    /// Undo it: the traffic is still ours to take back.
    RollBack(String),
    /// Ask the new owner for the site.
    AskBack(String),
    /// Nothing more is to be done.
    End,
}

/// A step of [`Stage::Shift`]; the last one's watch is [`Stage::Verify`].
#[derive(Clone, Debug)]
enum Step {
    Applying { version: u64, waiting: BTreeSet<String>, deadline: Nanos },
    Watching { since: Nanos },
}

/// What the checks said when traffic began to move; only what gets worse is held against the move.
#[derive(Clone, Debug, Default)]
struct Baseline {
    /// Passed at the target.
    target: BTreeSet<String>,
    /// Passed here.
    own: BTreeSet<String>,
}

/// Which engine drives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// The one that owned the site.
    Giving,
    /// The one that took it over.
    Taking,
}

/// What begins a switchover.
#[derive(Clone, Debug)]
pub(crate) struct Begin {
    /// Its decision.
    pub decision: u64,
    pub cause: Cause,
    /// Why, in words.
    pub rule: String,
    pub from: String,
    pub to: String,
    /// A person overrules what mirror and checks say against it.
    pub overrule: bool,
    /// It undoes another one, and is not undone itself.
    pub undoes: bool,
}

/// One switchover.
#[derive(Clone, Debug)]
pub(crate) struct Switchover {
    begin: Begin,
    side: Side,
    config: ShiftConfig,
    way: Way,
    step: usize,
    phase: Step,
    /// The least time that an alarm has left it since it began; `None`: there was none.
    left: Option<Nanos>,
    /// Until when the target may take ownership, once it was given away.
    handover_until: Option<Nanos>,
    rtt_max_us: f32,
    soft_since: Option<Nanos>,
    baseline: Baseline,
    /// Rounds of reports that the target had sent when the last step was applied.
    rounds: u32,
    waits_for: String,
}

impl Switchover {
    /// Begins at [`Stage::Prewarm`]: [`Switchover::poll`] says what comes next.
    pub fn new(begin: Begin, config: ShiftConfig, sight: &Sight) -> Switchover {
        let way = Way::new(sight.now, begin.rule.clone());
        Switchover {
            begin,
            side: Side::Giving,
            config,
            way,
            step: 0,
            phase: Step::Watching { since: sight.now },
            left: None,
            handover_until: None,
            rtt_max_us: rtt_limit(sight.own, &sight.target),
            soft_since: None,
            baseline: Baseline::default(),
            rounds: 0,
            waits_for: String::new(),
        }
    }

    /// Ownership is to move at once: what comes before it is skipped for `reason`. The caller hands over.
    pub fn at_once(begin: Begin, config: ShiftConfig, sight: &Sight, reason: &str) -> Switchover {
        let mut new = Switchover::new(begin, config, sight);
        new.take_baseline(sight);
        new.way.skip_to(sight.now, Stage::HandOver, reason);
        new
    }

    /// Ownership was taken over from an engine that is silent: it remains to be watched what came of it.
    pub fn taken(begin: Begin, config: ShiftConfig, sight: &Sight, reason: &str) -> Switchover {
        let mut new = Switchover::at_once(begin, config, sight, reason);
        new.side = Side::Taking;
        new.way.go(sight.now, Stage::Watch, "this engine owns the site");
        new
    }

    pub fn decision(&self) -> u64 {
        self.begin.decision
    }

    pub fn cause(&self) -> Cause {
        self.begin.cause
    }

    pub fn target(&self) -> &str {
        &self.begin.to
    }

    pub fn stage(&self) -> Stage {
        self.way.stage()
    }

    /// The traffic, or the ownership, is on its way.
    pub fn is_moving(&self) -> bool {
        self.way.ended().is_none() && self.stage().is_moving()
    }

    /// Something of it is still to be done.
    pub fn is_open(&self) -> bool {
        self.way.ended().is_none()
    }

    /// Percent on the target after this step.
    pub fn percent(&self) -> u8 {
        self.config.steps_percent.get(self.step).copied().unwrap_or(100).min(100)
    }

    /// The step was sent out as `version`; `waiting` must answer.
    pub fn applying(&mut self, now: Nanos, version: u64, waiting: BTreeSet<String>) {
        let deadline = now.plus(self.config.apply_timeout);
        self.phase = Step::Applying { version, waiting, deadline };
    }

    pub fn applied(&mut self, by: &str, applied: u64) {
        if let Step::Applying { version, waiting, .. } = &mut self.phase
            && *version == applied
        {
            waiting.remove(by);
        }
    }

    /// Ownership has been given away; the target may take it until `deadline`.
    pub fn handing_over(&mut self, deadline: Nanos) {
        self.handover_until = Some(deadline);
        self.waits_for = format!("{} to own the site", self.begin.to);
    }

    /// The target owns the site.
    pub fn handed_over(&mut self, now: Nanos) -> bool {
        self.stage() == Stage::HandOver && self.way.go(now, Stage::Watch, "target owns the site")
    }

    /// Gives it up, whatever it was doing, and ends.
    pub fn give_up(&mut self, now: Nanos, reason: &str) {
        self.waits_for.clear();
        self.way.go(now, Stage::RollBack, reason);
        self.way.end(now);
    }

    /// What is still watched of it makes room for another switchover, or for nothing.
    pub fn close(&mut self, now: Nanos, reason: &str) {
        self.waits_for.clear();
        self.way.go(now, Stage::Decommission, reason);
        self.way.end(now);
    }

    /// What is to be done now.
    pub fn poll(&mut self, sight: &Sight) -> Order {
        if self.way.ended().is_some() {
            return Order::Wait;
        }
        self.left = self.left.into_iter().chain(sight.alarm).min();
        match self.stage() {
            Stage::Prewarm => self.prewarm(sight),
            Stage::MirrorCheck => self.mirror_check(sight),
            Stage::Shift => self.shift(sight),
            Stage::Verify => self.verify(sight),
            Stage::HandOver => {
                let until = self.handover_until.unwrap_or(self.way.since().plus(self.config.apply_timeout));
                if sight.now < until {
                    return Order::Wait;
                }
                Order::RollBack("target did not take ownership".into())
            }
            Stage::Watch => self.watch(sight),
            Stage::Decommission if sight.lingers && self.side == Side::Giving => {
                self.waits_for = format!("what still comes here for {} to end", self.begin.to);
                Order::Wait
            }
            Stage::Decommission | Stage::RollBack => {
                self.waits_for.clear();
                self.way.end(sight.now);
                Order::End
            }
        }
    }

    fn prewarm(&mut self, sight: &Sight) -> Order {
        if let Some(order) = self.urgent(sight) {
            return order;
        }
        let waited = sight.now.since(self.way.since());
        let late = waited >= PREWARM;
        // What the target does not hold when this engine fails is lost either way.
        let pressed = self.left.is_some_and(|left| waited >= PREWARM.min(Nanos(left.0 / 2)));
        let missing = sight.sessions_missing.as_ref();
        let waited_for = missing.filter(|_| !pressed).cloned();
        let patient = !self.begin.overrule && !sight.hurries();
        match sight.checks_unknown().or(waited_for).filter(|_| patient) {
            Some(unknown) if late => Order::RollBack(unknown),
            Some(unknown) => {
                self.waits_for = unknown;
                Order::Wait
            }
            None => match sight.checks_fault().filter(|_| !self.begin.overrule) {
                Some(fault) => Order::RollBack(fault),
                None => {
                    let ready = missing.map(|missing| format!("not waited for any longer: {missing}"));
                    let ready = ready.unwrap_or_else(|| "the target is ready".to_owned());
                    self.way.go(sight.now, Stage::MirrorCheck, ready);
                    self.mirror_check(sight)
                }
            },
        }
    }

    fn mirror_check(&mut self, sight: &Sight) -> Order {
        match &sight.mirror {
            Some(fault) if !self.begin.overrule => Order::RollBack(fault.clone()),
            fault => {
                let mut reason = match fault {
                    Some(fault) => format!("overruled: {fault}"),
                    None => "mirrored traffic says nothing against the target".to_owned(),
                };
                if self.paced() < self.config.verify {
                    let ms = self.paced().0 / 1_000_000;
                    reason += &format!("; steps are watched for {ms} ms: the alarm leaves no more time");
                }
                self.take_baseline(sight);
                self.way.go(sight.now, Stage::Shift, reason);
                Order::Apply { percent: self.percent() }
            }
        }
    }

    fn take_baseline(&mut self, sight: &Sight) {
        let blocking = || sight.checks.iter().filter(|check| check.blocks);
        let passing = |state: fn(&Sighted) -> CheckState| {
            let passing = blocking().filter(move |check| state(check) == CheckState::Passing);
            passing.map(|check| check.name.clone()).collect()
        };
        self.baseline =
            Baseline { target: passing(|check| check.other.state), own: passing(|check| check.own.state) };
    }

    /// What cannot wait for the stage's own conditions: a target that got worse, or perhaps did, and an own path that is gone.
    fn urgent(&mut self, sight: &Sight) -> Option<Order> {
        if let Some(reason) = self.target_fault(sight) {
            return Some(Order::RollBack(reason));
        }
        if !sight.own.up {
            self.way.skip_to(sight.now, Stage::HandOver, "our own path is gone");
            return Some(Order::HandOver);
        }
        self.soft_since.map(|_| Order::Wait)
    }

    fn shift(&mut self, sight: &Sight) -> Order {
        if let Some(order) = self.urgent(sight) {
            return order;
        }
        let now = sight.now;
        match &self.phase {
            Step::Applying { waiting, .. } if waiting.is_empty() => {
                if self.percent() >= 100 {
                    self.way.go(now, Stage::Verify, "the target carries everything");
                    self.rounds = sight.target.rounds;
                }
                self.phase = Step::Watching { since: now };
                self.waits_for = "the step to be watched".to_owned();
                Order::Wait
            }
            Step::Applying { waiting, deadline, .. } if now < *deadline => {
                self.waits_for = format!("{} to apply the step", list(waiting));
                Order::Wait
            }
            // The far end cannot hear us because our path is failing: its new owner will tell it.
            Step::Applying { .. } if sight.own.loss > OWN_LOSS_URGENT => {
                self.way.skip_to(now, Stage::HandOver, "the far end does not hear us: our own path fails");
                Order::HandOver
            }
            Step::Applying { waiting, .. } => Order::RollBack(format!("no answer from {}", list(waiting))),
            Step::Watching { since } => {
                if now.since(*since) < self.watching(sight) {
                    return Order::Wait;
                }
                self.step += 1;
                Order::Apply { percent: self.percent() }
            }
        }
    }

    /// The last step is watched, and until each check that passed at the target has passed there once more since.
    fn verify(&mut self, sight: &Sight) -> Order {
        if let Some(order) = self.urgent(sight) {
            return order;
        }
        let (now, since) = (sight.now, self.way.since());
        if now.since(since) < self.watching(sight) {
            return Order::Wait;
        }
        let due = |check: &&Sighted| {
            check.blocks && self.baseline.target.contains(&check.name) && !check.other.good_since(since)
        };
        let due = sight.checks.iter().find(due).filter(|_| !self.begin.overrule);
        let Some(due) = due else {
            self.way.go(now, Stage::HandOver, "everything is good with the target carrying everything");
            return Order::HandOver;
        };
        if sight.hurries() {
            let reason = format!("no time to wait for check {}: our own path fails", due.name);
            self.way.go(now, Stage::HandOver, reason);
            return Order::HandOver;
        }
        if now.since(since) >= self.watching(sight).plus(due.opinion) {
            return Order::RollBack(format!("check {} has not passed since the last step", due.name));
        }
        self.waits_for = format!("check {} to pass at {}", due.name, self.begin.to);
        Order::Wait
    }

    /// The new owner's checks are looked at for a while; it was sudden if we are the new owner, and then nothing can be undone.
    fn watch(&mut self, sight: &Sight) -> Order {
        let (now, since) = (sight.now, self.way.since());
        if let Some(reason) = self.worse_after(sight) {
            self.way.go(now, Stage::RollBack, reason.clone());
            self.way.end(now);
            return Order::AskBack(reason);
        }
        if now.since(since) < self.config.watch {
            self.waits_for = "the end of the watch".to_owned();
            return Order::Wait;
        }
        let reason = match self.side {
            Side::Giving => format!("{} may be stopped", self.begin.from),
            Side::Taking => format!("{} is a standby when it comes back", self.begin.from),
        };
        self.waits_for.clear();
        self.way.go(now, Stage::Decommission, reason);
        Order::Wait
    }

    /// Why the site should come back to us: we reach what the new owner no longer does.
    fn worse_after(&self, sight: &Sight) -> Option<String> {
        let alarmed = self.begin.cause != Cause::Manual && sight.alarm.is_some();
        if self.side == Side::Taking || self.begin.undoes || self.begin.overrule || alarmed || !sight.own.up {
            return None;
        }
        let lost = |check: &&Sighted| {
            check.blocks
                && self.baseline.target.contains(&check.name)
                && check.other.state == CheckState::Failing
                && check.own.state == CheckState::Passing
        };
        let lost = sight.checks.iter().find(lost)?;
        Some(format!("check {} fails at {}: {}", lost.name, self.begin.to, lost.other.reason))
    }

    fn target_fault(&mut self, sight: &Sight) -> Option<String> {
        if sight.target.alarm && self.begin.cause == Cause::Predicted {
            return Some("the target's own alarm is raised: the model is suspected".into());
        }
        if let Some(reason) = self.checks_worse(sight) {
            return Some(reason);
        }
        match sight.target.fault(&self.config, sight.own.loss, self.rtt_max_us) {
            Some(Fault::Hard(reason)) => Some(reason),
            Some(Fault::Soft(reason)) => {
                let since = *self.soft_since.get_or_insert(sight.now);
                (sight.now.since(since) >= SOFT_FAULT).then_some(reason)
            }
            None => {
                self.soft_since = None;
                None
            }
        }
    }

    /// A check that passed when the traffic began to move and fails now. Ours may fail because we are failing, so that it speaks
    /// against a move only if nothing was wrong with us: nobody predicted it, and nobody wants the site back because of it.
    fn checks_worse(&self, sight: &Sight) -> Option<String> {
        if self.begin.overrule || !sight.own.up {
            return None;
        }
        let failing = |check: &Sighted| {
            let at_target =
                check.other.state == CheckState::Failing && self.baseline.target.contains(&check.name);
            let here = check.own.state == CheckState::Failing
                && self.begin.cause == Cause::Manual
                && !self.begin.undoes
                && self.baseline.own.contains(&check.name);
            let (who, view) = match (at_target, here) {
                (true, _) => ("the target", &check.other),
                (false, true) => ("this engine", &check.own),
                (false, false) => return None,
            };
            Some(format!("check {} fails at {who} since the traffic moves: {}", check.name, view.reason))
        };
        sight.checks.iter().filter(|check| check.blocks).find_map(failing)
    }

    /// For people.
    pub fn status(&self) -> SwitchoverStatus {
        SwitchoverStatus {
            decision: self.begin.decision,
            cause: self.begin.cause,
            from: self.begin.from.clone(),
            target: self.begin.to.clone(),
            stage: self.stage(),
            waits_for: Some(self.waits_for.clone()).filter(|text| self.is_open() && !text.is_empty()),
            percent: self.percent(),
            step: (self.step + 1, self.config.steps_percent.len().max(1)),
            passages: self.way.passages().to_vec(),
            ended: self.way.ended(),
        }
    }
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
