//! The switchover under way, driven: its orders carried out, its end told.

use super::Controller;
use super::moves::LINGER;
use crate::decision::Outcome;
use crate::io::Output;
use crate::message::Message;
use crate::status::Cause;
use crate::steering::{BUCKETS, apportion};
use crate::switchover::{Begin, Order, Switchover};
use dataplane::id::Nanos;
use std::collections::BTreeSet;

/// What begins a switchover of this engine.
#[derive(Clone, Debug)]
pub(super) struct Why {
    pub decision: u64,
    pub cause: Cause,
    pub rule: String,
    /// A person overrules what mirrored traffic and application checks say.
    pub overrule: bool,
    /// It undoes one that has just ended.
    pub undoes: bool,
}

impl Controller {
    /// Traffic or ownership is on its way to the other engine.
    pub(super) fn is_moving(&self) -> bool {
        self.switchover.as_ref().is_some_and(Switchover::is_moving)
    }

    /// How long busy buckets may take to move, as the switchover under way says.
    pub(super) fn moves_within(&self) -> Option<Nanos> {
        self.switchover.as_ref().filter(|switchover| switchover.is_moving()).map(Switchover::move_within)
    }

    /// Begins a switchover to the other engine of the site, and takes its first steps.
    pub(super) fn begin_switchover(&mut self, why: Why, out: &mut Vec<Output>) {
        let Some(begin) = self.begin(why) else { return };
        self.end_watch("another one begins");
        self.switchover = Some(Switchover::new(begin, self.config.shift.clone(), &self.sight()));
        self.drive_switchover(out);
    }

    fn begin(&self, why: Why) -> Option<Begin> {
        let Why { decision, cause, rule, overrule, undoes } = why;
        let (from, to) = (self.config.engine.clone(), self.ha.peer()?.to_owned());
        Some(Begin { decision, cause, rule, from, to, overrule, undoes })
    }

    /// What is still watched of the last switchover is watched no longer.
    pub(super) fn end_watch(&mut self, reason: &str) {
        if let Some(switchover) = &mut self.switchover {
            switchover.close(self.now, reason);
        }
    }

    fn apply_step(&mut self, percent: u8) {
        let percent = f64::from(percent);
        self.handed = apportion(&[100.0 - percent, percent], BUCKETS)[1];
        let version = self.send_shares();
        let waiting: BTreeSet<String> = self
            .config
            .tunnels
            .iter()
            .filter(|t| self.is_own(t.id) && self.tunnel_up(t) && !t.protocol.is_foreign())
            .map(|t| t.peer.clone())
            .collect();
        if let Some(switchover) = &mut self.switchover {
            switchover.applying(self.now, version, waiting);
        }
    }

    pub(super) fn drive_switchover(&mut self, out: &mut Vec<Output>) {
        if !self.switchover.as_ref().is_some_and(Switchover::is_open) {
            return;
        }
        let sight = self.sight();
        let Some(switchover) = &mut self.switchover else { return };
        match switchover.poll(&sight) {
            Order::Wait | Order::End => {}
            Order::Apply { percent } => self.apply_step(percent),
            Order::HandOver => self.hand_over(),
            Order::RollBack(reason) => self.roll_back(reason, out),
            Order::AskBack(reason) => self.ask_back(reason, out),
        }
    }

    fn roll_back(&mut self, reason: String, out: &mut Vec<Output>) {
        self.give_up(reason, out);
        if self.ha.is_owner() {
            self.handed = 0;
            self.send_shares();
        }
    }

    /// Ends the switchover under way, and says why.
    pub(super) fn give_up(&mut self, reason: String, out: &mut Vec<Output>) {
        let Some(switchover) = &mut self.switchover else { return };
        switchover.give_up(self.now, &reason);
        let target = switchover.target().to_owned();
        self.failure.settle(self.now);
        self.failback.come_back();
        let action = format!("shift {} -> {target} rolled back", self.config.engine);
        self.decide(action, reason, self.move_inputs(), Outcome::RolledBack, out);
    }

    pub(super) fn handed_over(&mut self, out: &mut Vec<Output>) {
        let now = self.now;
        let Some(switchover) = &mut self.switchover else { return };
        if !switchover.handed_over(now) || switchover.cause() == Cause::Sudden {
            return;
        }
        let (decision, target) = (switchover.decision(), switchover.target().to_owned());
        self.failure.settle(self.now);
        let action = format!("shift {} -> {target} complete", self.config.engine);
        let inputs = vec![
            ("decision".to_owned(), decision.to_string()),
            ("epoch".to_owned(), self.ha.epoch().to_string()),
        ];
        self.decide(action, "target owns the site".to_owned(), inputs, Outcome::Done, out);
    }

    /// The new owner does not reach what it reached before, and we do.
    fn ask_back(&mut self, reason: String, out: &mut Vec<Output>) {
        let Some(peer) = self.ha.peer().map(str::to_owned) else { return };
        let action = format!("shift {} -> {peer} rolled back", self.config.engine);
        self.decide(action, reason.clone(), self.move_inputs(), Outcome::RolledBack, out);
        self.ask_for_site(&peer, reason, true, out);
    }

    /// Asks the owner for the site; `undoes`: it has come to it only just now.
    pub(super) fn ask_for_site(&mut self, owner: &str, reason: String, undoes: bool, out: &mut Vec<Output>) {
        // From now on what reaches us is ours again: sent on to the owner, it would come back.
        self.linger_until = self.now;
        let message = Message::ShiftRequest { site: self.config.site.clone(), reason, undoes };
        out.push(Output::Send { peer: owner.to_owned(), message });
    }

    /// Gives ownership away; workers are told before anybody else is.
    fn hand_over(&mut self) {
        let (Some(config), Some(epoch)) = (self.ha.config().cloned(), self.ha.hand_over(self.now)) else {
            return;
        };
        self.linger_until = self.now.plus(LINGER);
        self.handed_over_at = Some(self.now);
        self.failure.settle(self.now);
        if let Some(switchover) = &mut self.switchover {
            switchover.handing_over(self.now.plus(Nanos(3 * config.lease.0)));
        }
        let message =
            Message::LeaseTransfer { site: self.config.site.clone(), epoch, to: config.peer.clone() };
        let others = self.connected_peers().into_iter().filter(|p| *p != config.peer);
        let everybody: Vec<String> = [config.peer.clone()].into_iter().chain(others).collect();
        let sends = everybody.into_iter().map(|peer| Output::Send { peer, message: message.clone() });
        self.after.extend(sends);
    }

    /// Gives ownership away without any stage before it, for `rule`.
    pub(super) fn hand_over_at_once(&mut self, cause: Cause, rule: &str, out: &mut Vec<Output>) {
        let action = format!("handover {} -> {}", self.config.engine, self.ha.peer().unwrap_or_default());
        let decision = self.decide(action, rule.to_owned(), self.move_inputs(), Outcome::Done, out);
        self.end_watch("another one begins");
        let why = Why { decision, cause, rule: rule.to_owned(), overrule: false, undoes: false };
        let begin = self.begin(why);
        let config = self.config.shift.clone();
        self.switchover = begin.map(|begin| Switchover::at_once(begin, config, &self.sight(), rule));
        self.hand_over();
    }

    /// Ownership was taken over from an engine that is silent.
    pub(super) fn taken_over(&mut self, decision: u64, from: String, rule: String) {
        let to = self.config.engine.clone();
        let cause = Cause::Sudden;
        let reason = format!("{rule}: nobody is there to do it with");
        let begin = Begin { decision, cause, rule, from, to, overrule: false, undoes: false };
        let config = self.config.shift.clone();
        self.switchover = Some(Switchover::taken(begin, config, &self.sight(), &reason));
    }
}
