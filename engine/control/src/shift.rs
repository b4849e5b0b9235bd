//! Moving the site's traffic to the other engine, step by step: apply a share, watch the target, apply
//! the next, hand over ownership at the end, or undo everything. The states of one shift, nothing else:
//! the controller tells it what it sees and carries out what it orders.

use crate::config::ShiftConfig;
use crate::peers::Quality;
use crate::status::{ShiftPhase, ShiftStatus};
use dataplane::id::Nanos;
use std::collections::BTreeSet;

/// A soft fault of the target must last this long to undo a shift.
const SOFT_FAULT: Nanos = Nanos::from_millis(150);
/// Loss on our own path above which there is no time to lose.
pub(crate) const OWN_LOSS_URGENT: f32 = 0.05;

/// Who wanted a shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Predicted,
    Operator,
}

/// What is known of the engine that shall take the traffic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Target {
    pub connected: bool,
    pub alarm: bool,
    /// Its own paths to the far sites, as it reports them.
    pub path: Option<Quality>,
    /// The direct link to it, as we measure it.
    pub direct: Option<Quality>,
}

/// What is wrong with a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It cannot carry traffic.
    Hard(String),
    /// It carries it badly.
    Soft(String),
}

impl Fault {
    pub fn reason(self) -> String {
        match self {
            Fault::Hard(reason) | Fault::Soft(reason) => reason,
        }
    }
}

impl Target {
    /// Whether it may take traffic now; `own_loss` is what staying costs.
    pub fn fault(&self, config: &ShiftConfig, own_loss: f32, rtt_max_us: f32) -> Option<Fault> {
        let hard = |reason: &str| Some(Fault::Hard(reason.to_owned()));
        if !self.connected {
            return hard("target not connected");
        }
        let (Some(path), Some(direct)) = (self.path, self.direct) else {
            return hard("target's paths not known");
        };
        if !path.up {
            return hard("target's path is down");
        }
        if !direct.up {
            return hard("direct link to the target is down");
        }
        let limit = config.loss_max.max(own_loss);
        let soft = |reason: String| Some(Fault::Soft(reason));
        if path.loss > limit {
            return soft(format!("target's path loses {:.1} %", path.loss * 100.0));
        }
        if direct.loss > limit {
            return soft(format!("direct link loses {:.1} %", direct.loss * 100.0));
        }
        if path.rtt_us > rtt_max_us {
            return soft(format!("target's round trip is {:.1} ms", path.rtt_us / 1000.0));
        }
        None
    }
}

/// What the controller sees when it asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    pub now: Nanos,
    /// Our own paths; `up` is false only when they have been down for a while.
    pub own: Quality,
    pub target: Target,
    /// The model is nearly sure.
    pub imminent: bool,
}

/// What the controller shall do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Order {
    Wait,
    Apply { percent: u8 },
    HandOver,
    RollBack(String),
}

#[derive(Clone, Debug)]
enum Phase {
    Applying { version: u64, waiting: BTreeSet<String>, deadline: Nanos },
    Verifying { since: Nanos },
    HandingOver { deadline: Nanos },
}

/// One shift.
#[derive(Clone, Debug)]
pub(crate) struct Shift {
    pub decision: u64,
    pub cause: Cause,
    pub target: String,
    config: ShiftConfig,
    started: Nanos,
    step: usize,
    phase: Phase,
    rtt_max_us: f32,
    soft_since: Option<Nanos>,
}

/// Three times the better round trip known at the start and 5 ms for the queues that load brings.
pub(crate) fn rtt_limit(own: Quality, target: &Target) -> f32 {
    let target = target.path.map_or(0.0, |p| p.rtt_us);
    3.0 * own.rtt_us.max(target) + 5000.0
}

impl Shift {
    /// The first step is to be applied at once: see [`Shift::percent`] and [`Shift::applying`].
    pub fn new(decision: u64, cause: Cause, target: String, config: ShiftConfig, sight: &Sight) -> Shift {
        Shift {
            decision,
            cause,
            target,
            config,
            started: sight.now,
            step: 0,
            phase: Phase::Verifying { since: sight.now },
            rtt_max_us: rtt_limit(sight.own, &sight.target),
            soft_since: None,
        }
    }

    /// Percent on the target after this step.
    pub fn percent(&self) -> u8 {
        self.config.steps_percent.get(self.step).copied().unwrap_or(100).min(100)
    }

    /// The step was sent out as `version`; `waiting` must answer.
    pub fn applying(&mut self, now: Nanos, version: u64, waiting: BTreeSet<String>) {
        let deadline = now.plus(self.config.apply_timeout);
        self.phase = Phase::Applying { version, waiting, deadline };
    }

    pub fn applied(&mut self, by: &str, applied: u64) {
        if let Phase::Applying { version, waiting, .. } = &mut self.phase
            && *version == applied
        {
            waiting.remove(by);
        }
    }

    pub fn handing_over(&mut self, deadline: Nanos) {
        self.phase = Phase::HandingOver { deadline };
    }

    pub fn is_handing_over(&self) -> bool {
        matches!(self.phase, Phase::HandingOver { .. })
    }

    pub fn poll(&mut self, sight: &Sight) -> Order {
        let now = sight.now;
        if let Phase::HandingOver { deadline } = self.phase {
            let late = now >= deadline;
            return if late { Order::RollBack("target did not take ownership".into()) } else { Order::Wait };
        }
        if let Some(reason) = self.target_fault(sight) {
            return Order::RollBack(reason);
        }
        if !sight.own.up {
            return Order::HandOver;
        }
        let urgent = sight.imminent || sight.own.loss > OWN_LOSS_URGENT;
        match &self.phase {
            Phase::Applying { waiting, .. } if waiting.is_empty() => {
                self.phase = Phase::Verifying { since: now };
                Order::Wait
            }
            Phase::Applying { deadline, .. } if now < *deadline => Order::Wait,
            // The far end cannot hear us because our path is failing: its new owner will tell it.
            Phase::Applying { .. } if sight.own.loss > OWN_LOSS_URGENT => Order::HandOver,
            Phase::Applying { waiting, .. } => {
                let silent: Vec<&str> = waiting.iter().map(String::as_str).collect();
                Order::RollBack(format!("no answer from {}", silent.join(", ")))
            }
            Phase::Verifying { since } => {
                let verify = if urgent { self.config.verify.0 / 4 } else { self.config.verify.0 };
                if now.since(*since).0 < verify {
                    Order::Wait
                } else if self.percent() >= 100 {
                    Order::HandOver
                } else {
                    self.step += 1;
                    Order::Apply { percent: self.percent() }
                }
            }
            Phase::HandingOver { .. } => Order::Wait,
        }
    }

    fn target_fault(&mut self, sight: &Sight) -> Option<String> {
        if sight.target.alarm && self.cause == Cause::Predicted {
            return Some("the target's own alarm is raised: the model is suspected".into());
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

    pub fn status(&self) -> ShiftStatus {
        ShiftStatus {
            decision: self.decision,
            target: self.target.clone(),
            phase: match self.phase {
                Phase::Applying { .. } => ShiftPhase::Applying,
                Phase::Verifying { .. } => ShiftPhase::Verifying,
                Phase::HandingOver { .. } => ShiftPhase::HandingOver,
            },
            percent: self.percent(),
            step: (self.step + 1, self.config.steps_percent.len().max(1)),
            started: self.started,
        }
    }
}

#[cfg(test)]
mod tests;
