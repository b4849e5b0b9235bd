//! What a person asks. Every command is answered.

use super::Controller;
use crate::decision::{Decision, Outcome};
use crate::io::{Assessment, OperatorCommand, Output, Policy};
use crate::message::Message;
use crate::shift::Cause;
use dataplane::id::Nanos;

/// So long a request of the other engine waits for what keeps it from being carried out.
const ASKED: Nanos = Nanos::from_millis(3000);

/// The other engine's request for the site's traffic.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    from: String,
    rule: String,
    until: Nanos,
}

impl Controller {
    pub(super) fn command(
        &mut self,
        command: OperatorCommand,
        out: &mut Vec<Output>,
    ) -> Result<String, String> {
        match command {
            OperatorCommand::Drain => {
                if self.ha.is_owner() && self.now < self.settled_at {
                    let ms = self.settled_at.since(self.now).as_millis();
                    return Err(format!("the site was handed over just now: try again in {ms} ms"));
                }
                self.drain("operator", out)
            }
            OperatorCommand::Undrain => self.undrain(out),
            OperatorCommand::Approve { decision } => self.approve(decision, out),
            OperatorCommand::Rehearse => self.rehearse(out),
            OperatorCommand::SetMode { mode } => {
                self.failure.set_mode(mode);
                self.proposal = None;
                Ok(format!("mode is {}", format!("{mode:?}").to_lowercase()))
            }
        }
    }

    /// What the configuration says now. An alarm that is raised, and a proposal that waits, are judged by it from now on.
    pub(super) fn change_policy(&mut self, policy: Policy) {
        self.proposal = self.proposal.take().filter(|_| policy.mode.is_none());
        for (tunnel, range) in &policy.rates {
            self.adaptive.values_mut().for_each(|group| group.set_range(*tunnel, *range));
        }
        self.failure.change_policy(policy);
    }

    /// Moves everything to the other engine because somebody said so: only its readiness counts.
    fn drain(&mut self, rule: &str, out: &mut Vec<Output>) -> Result<String, String> {
        let site = &self.config.site;
        let Some(peer) = self.ha.peer().map(str::to_owned) else {
            return Err(format!("site {site} has no other engine"));
        };
        if !self.ha.is_owner() {
            let owner = self.ha.owner().unwrap_or("nobody known");
            return Err(format!("site {site} is owned by {owner}: ask there"));
        }
        if let Some(shift) = self.shift() {
            return Err(format!("a shift to {} is under way, at {} %", shift.target, shift.percent));
        }
        if let Some(fault) = self.store_fault() {
            return Err(fault);
        }
        self.target_ready().map_err(|reason| format!("{peer} cannot take the traffic: {reason}"))?;
        self.proposal = None;
        let action = self.shift_action();
        let id = self.decide(action.clone(), rule.to_owned(), self.move_inputs(), Outcome::Done, out);
        self.begin_shift(id, Cause::Operator);
        Ok(format!("decision {id}: {action}"))
    }

    fn undrain(&mut self, out: &mut Vec<Output>) -> Result<String, String> {
        let Some(peer) = self.ha.peer().map(str::to_owned) else {
            return Err(format!("site {} has no other engine", self.config.site));
        };
        if self.ha.is_owner() {
            return Ok(format!("{} owns the site already", self.config.engine));
        }
        if !self.is_connected(&peer) {
            return match self.ha.force(self.now) {
                Ok(()) => Ok(format!("{} owns the site: {peer} is not there to ask", self.config.engine)),
                Err(reason) => Err(format!("{peer} is not connected; {reason}")),
            };
        }
        if let Some(fault) = self.store_fault() {
            return Err(fault);
        }
        if !self.may_forward() {
            return Err("this engine has not heard a majority of its site's voters since it started: try again in a moment".into());
        }
        // From now on what reaches us is ours again: sent on to the owner, it would come back.
        self.linger_until = self.now;
        let message =
            Message::ShiftRequest { site: self.config.site.clone(), reason: "operator: undrain".into() };
        out.push(Output::Send { peer: peer.clone(), message });
        Ok(format!("asked {peer} to shift back"))
    }

    /// An alarm that nothing is behind; the samples that follow clear it.
    fn rehearse(&mut self, out: &mut Vec<Output>) -> Result<String, String> {
        if self.failure.raised_at().is_some() {
            return Err("the alarm is raised already: this is no rehearsal".into());
        }
        let last = self.decided;
        let sure = Assessment {
            probability: 1.0,
            drivers: vec![("rehearsal".to_owned(), 1.0)],
            ..self.failure.last().clone()
        };
        for _ in 0..self.failure.config().raise_after {
            self.assess(sure.clone(), out);
        }
        let decided: Vec<&Decision> = self.decisions.iter().filter(|decision| decision.id > last).collect();
        let moved = self.shift.as_ref().and_then(|shift| decided.iter().find(|d| d.id == shift.decision));
        match (moved, decided.last()) {
            (Some(moved), _) => Ok(format!("decision {}: {}", moved.id, moved.action)),
            (None, Some(held)) => Err(format!("decision {}: {}: {}", held.id, held.action, held.rule)),
            (None, None) => {
                Err("the alarm moves nothing now: this engine does not own the site, or has just moved"
                    .into())
            }
        }
    }

    /// The other engine wants the traffic; it has stopped sending on to us what reaches it.
    pub(super) fn asked_to_shift(&mut self, from: &str, reason: &str, out: &mut Vec<Output>) {
        if self.ha.is_owner() {
            let rule = format!("{from} asks: {reason}");
            self.asked = Some(Asked { from: from.to_owned(), rule, until: self.now.plus(ASKED) });
            self.answer_asked(out);
        }
    }

    /// Begins the shift that the other engine has asked for, as soon as it can take the traffic: one that has just started
    /// needs a moment.
    pub(super) fn answer_asked(&mut self, out: &mut Vec<Output>) {
        let Some(asked) = self.asked.take() else { return };
        if !self.ha.is_owner() {
            return;
        }
        let Err(refusal) = self.drain(&asked.rule, out) else { return };
        if self.now < asked.until {
            self.asked = Some(asked);
            return;
        }
        let inputs = vec![("asked by".to_owned(), asked.from)];
        self.decide("hold".to_owned(), refusal, inputs, Outcome::Observed, out);
    }

    fn approve(&mut self, decision: u64, out: &mut Vec<Output>) -> Result<String, String> {
        match self.proposal {
            None => return Err("nothing waits for approval".into()),
            Some(p) if p.decision != decision => {
                return Err(format!("decision {} waits for approval, not {decision}", p.decision));
            }
            Some(_) => self.proposal = None,
        }
        self.may_shift().map_err(|(_, reason)| format!("no longer valid: {reason}"))?;
        self.failure.moved(self.now);
        let mut inputs = self.move_inputs();
        inputs.push(("approves decision".to_owned(), decision.to_string()));
        let action = self.shift_action();
        let id = self.decide(action.clone(), "approved by a person".into(), inputs, Outcome::Done, out);
        self.begin_shift(id, Cause::Predicted);
        Ok(format!("decision {id}: {action}"))
    }
}
