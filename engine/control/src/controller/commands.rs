//! What a person asks. Every command is answered.

use super::Controller;
use super::switchover::Why;
use crate::decision::{Decision, Outcome};
use crate::io::{Assessment, OperatorCommand, Output, Policy};
use crate::status::Cause;
use dataplane::id::Nanos;

/// So long a request of the other engine waits for what keeps it from being carried out.
const ASKED: Nanos = Nanos::from_millis(3000);

/// What a person's request is told as to the other engine.
const OPERATOR: &str = "operator: undrain";

/// The other engine's request for the site's traffic.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    from: String,
    rule: String,
    undoes: bool,
    until: Nanos,
}

impl Controller {
    pub(super) fn command(
        &mut self,
        command: OperatorCommand,
        out: &mut Vec<Output>,
    ) -> Result<String, String> {
        match command {
            OperatorCommand::Drain { overrule } => {
                if self.ha.is_owner() && self.now < self.settled_at {
                    let ms = self.settled_at.since(self.now).as_millis();
                    return Err(format!("the site was handed over just now: try again in {ms} ms"));
                }
                let done = self.drain("operator", overrule, false, out);
                match &done {
                    Ok(_) => self.failback.stay_away(),
                    Err(refusal) => self.refused("operator", refusal, out),
                }
                done
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

    /// Moves everything to the other engine because somebody said so: only its readiness counts, and what mirrored traffic and
    /// application checks say of it, unless that is overruled.
    fn drain(
        &mut self,
        rule: &str,
        overrule: bool,
        undoes: bool,
        out: &mut Vec<Output>,
    ) -> Result<String, String> {
        let site = &self.config.site;
        let Some(peer) = self.ha.peer().map(str::to_owned) else {
            return Err(format!("site {site} has no other engine"));
        };
        if !self.ha.is_owner() {
            let owner = self.ha.owner().unwrap_or("nobody known");
            return Err(format!("site {site} is owned by {owner}: ask there"));
        }
        if let Some(moving) = self.switchover.as_ref().filter(|switchover| switchover.is_moving()) {
            let (target, percent) = (moving.target(), moving.percent());
            return Err(format!("a shift to {target} is under way, at {percent} %"));
        }
        if let Some(fault) = self.store_fault() {
            return Err(fault);
        }
        self.target_ready().map_err(|reason| format!("{peer} cannot take the traffic: {reason}"))?;
        let sight = self.sight();
        if let Some(fault) = sight.mirror.clone().or_else(|| sight.checks_fault()).filter(|_| !overrule) {
            return Err(format!("{peer} should not take the traffic: {fault}"));
        }
        self.proposal = None;
        let action = self.shift_action();
        let mut inputs = self.move_inputs();
        if overrule {
            inputs.push(("overruled".to_owned(), "mirrored traffic and application checks".to_owned()));
        }
        let (rule, cause) = (rule.to_owned(), Cause::Manual);
        let decision = self.decide(action.clone(), rule.clone(), inputs, Outcome::Done, out);
        self.begin_switchover(Why { decision, cause, rule, overrule, undoes }, out);
        Ok(format!("decision {decision}: {action}"))
    }

    /// A move that somebody asked for does not take place: told once, however often it is asked for in a row.
    fn refused(&mut self, by: &str, refusal: &str, out: &mut Vec<Output>) {
        let last = self.decisions.back();
        let said = last.is_some_and(|last| last.action == "hold" && last.rule == refusal);
        if !self.ha.is_owner() || said {
            return;
        }
        let mut inputs = vec![("asked by".to_owned(), by.to_owned())];
        inputs.extend(self.move_inputs());
        self.decide("hold".to_owned(), refusal.to_owned(), inputs, Outcome::Observed, out);
    }

    fn undrain(&mut self, out: &mut Vec<Output>) -> Result<String, String> {
        let Some(peer) = self.ha.peer().map(str::to_owned) else {
            return Err(format!("site {} has no other engine", self.config.site));
        };
        self.failback.come_back();
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
        self.ask_for_site(&peer, OPERATOR.to_owned(), false, out);
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
        let moved = self.switchover.as_ref().filter(|switchover| switchover.is_moving());
        let moved = moved.and_then(|moving| decided.iter().find(|d| d.id == moving.decision()));
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
    pub(super) fn asked_to_shift(&mut self, from: &str, reason: &str, undoes: bool, out: &mut Vec<Output>) {
        if self.ha.is_owner() {
            if reason == OPERATOR {
                self.failback.stay_away();
            }
            let rule = format!("{from} asks: {reason}");
            self.asked = Some(Asked { from: from.to_owned(), rule, undoes, until: self.now.plus(ASKED) });
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
        let Err(refusal) = self.drain(&asked.rule, false, asked.undoes, out) else { return };
        if self.now < asked.until {
            self.asked = Some(asked);
            return;
        }
        self.refused(&asked.from, &refusal, out);
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
        let (action, rule) = (self.shift_action(), "approved by a person".to_owned());
        let decision = self.decide(action.clone(), rule.clone(), inputs, Outcome::Done, out);
        let why = Why { decision, cause: Cause::Predicted, rule, overrule: false, undoes: false };
        self.begin_switchover(why, out);
        Ok(format!("decision {decision}: {action}"))
    }
}
