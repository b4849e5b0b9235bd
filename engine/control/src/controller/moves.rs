//! Moving traffic and ownership to the other engine of the site: because of a prediction, because a
//! person says so, because our own path is gone, or because this engine ends.

use super::Controller;
use super::switchover::Why;
use crate::config::{GroupConfig, MemberKind};
use crate::decision::Outcome;
use crate::failure::{Change, Hold, Said, Stake};
use crate::io::{Assessment, Mode, Output};
use crate::message::Message;
use crate::peers::{Peer, Quality};
use crate::status::Cause;
use crate::steering::BUCKETS;
use crate::switchover::{Sight, Target, rtt_limit};
use dataplane::id::Nanos;
use std::net::IpAddr;

/// A proposal that nobody approves lapses.
const PROPOSAL: Nanos = Nanos::from_millis(60_000);
/// Our own path must be down this long before ownership moves, so that the other engine had the
/// time to see it if the far end itself is gone.
const CUT_OFF: Nanos = Nanos::from_millis(300);
/// Ownership does not move by itself again for this long.
const HOLD_DOWN: Nanos = Nanos::from_millis(5000);
/// How long what still reaches a former owner goes on to the new one.
pub(super) const LINGER: Nanos = Nanos::from_millis(5000);

/// A shift that waits for a person.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proposal {
    pub decision: u64,
    until: Nanos,
}

impl Controller {
    pub(super) fn assess(&mut self, assessment: Assessment, out: &mut Vec<Output>) {
        let stake = self.stake();
        let change = self.failure.sample(self.now, assessment, stake);
        match change {
            Change::DriftOnly => {
                let inputs = self.failure.inputs();
                let rule = "the model has no opinion, drift is high".to_owned();
                self.decide("drift".to_owned(), rule, inputs, Outcome::Observed, out);
            }
            Change::Raised | Change::Cleared => self.tell_alarm(change == Change::Raised, out),
            Change::None => {}
        }
        if self.failure.raised_at().is_some() && !self.is_moving() && self.proposal.is_none() {
            self.consider(out);
        }
    }

    fn tell_alarm(&mut self, raised: bool, out: &mut Vec<Output>) {
        for peer in self.connected_peers() {
            let site = self.config.site.clone();
            out.push(Output::Send { peer, message: Message::Alarm { site, raised } });
        }
    }

    fn alarm_rule(&self) -> String {
        format!("probability x SLA weight >= threshold for {} samples", self.failure.config().raise_after)
    }

    /// What would be lost with this engine. A group is carried while one of its own tunnels is up and this engine owns the site.
    fn stake(&self) -> Stake {
        let weights = &self.failure.config().sla_weights;
        let weight = |group: &GroupConfig| weights.get(&group.id).copied().unwrap_or(1.0);
        let carried = |group: &GroupConfig| {
            let mut own = group.members.iter().filter(|m| m.kind == MemberKind::Own);
            self.ha.is_owner() && own.any(|m| self.tunnel_config(m.tunnel).is_some_and(|t| self.tunnel_up(t)))
        };
        let groups = &self.config.groups;
        let most = |weights: &mut dyn Iterator<Item = f32>| weights.reduce(f32::max);
        let of_carried = most(&mut groups.iter().filter(|g| carried(g)).map(weight));
        let all: f32 = groups.iter().map(weight).sum();
        let lost: f32 = groups.iter().filter(|g| carried(g)).map(weight).sum();
        let kept = f64::from(BUCKETS - self.handed) / f64::from(BUCKETS);
        Stake {
            impact: if all > 0.0 { lost / all * kept as f32 } else { 0.0 },
            weight: of_carried.or(most(&mut groups.iter().map(weight))).unwrap_or(1.0),
        }
    }

    /// Why the fleet as a whole speaks against a move: too many alarm at once.
    fn mass_alarm(&self) -> Option<String> {
        let heard = || self.peers.values().filter(|peer| peer.connected && !peer.gone);
        let (fleet, alarmed) = (1 + heard().count(), 1 + heard().filter(|peer| peer.alarm()).count());
        let many = alarmed as f32 > self.failure.config().brake_share * fleet as f32;
        (alarmed >= 3 && many)
            .then(|| format!("{alarmed} of {fleet} engines alarm at once: the model is suspected"))
    }

    /// Why the other engine could not carry what both carry now. Unknown is no reason: an older engine does not say.
    fn too_busy(&self) -> Option<String> {
        let peer = self.ha.peer().and_then(|name| self.peers.get(name))?;
        let (own, target) = (self.failure.last().busy, peer.busy(self.now)?);
        let most = self.failure.config().busy_max;
        (own + target > most).then(|| {
            format!(
                "the target cannot carry both: {own:.2} busy here and {target:.2} there are above {most:.2}"
            )
        })
    }

    /// The alarm is raised: act, propose, observe, or say once why not.
    fn consider(&mut self, out: &mut Vec<Output>) {
        if let Err((hold, reason)) = self.may_shift() {
            if self.failure.say(self.now, Said::Hold(hold)) {
                let action = if hold == Hold::NotOwner { "alarm raised" } else { "hold" };
                let rule = format!("{}; {reason}", self.alarm_rule());
                self.decide(action.to_owned(), rule, self.move_inputs(), Outcome::Observed, out);
            }
            return;
        }
        let action = self.shift_action();
        let mode = self.failure.config().mode;
        match mode {
            Mode::Auto => {
                self.failure.moved(self.now);
                let rule = self.alarm_rule();
                let inputs = self.move_inputs();
                let decision = self.decide(action, rule.clone(), inputs, Outcome::Done, out);
                let why = Why { decision, cause: Cause::Predicted, rule, overrule: false, undoes: false };
                self.begin_switchover(why, out);
            }
            Mode::Observe if self.failure.say(self.now, Said::Observed) => {
                self.decide(action, self.alarm_rule(), self.move_inputs(), Outcome::Observed, out);
            }
            Mode::Approve if self.failure.say(self.now, Said::Proposed) => {
                let inputs = self.move_inputs();
                let decision = self.decide(action, self.alarm_rule(), inputs, Outcome::Proposed, out);
                self.proposal = Some(Proposal { decision, until: self.now.plus(PROPOSAL) });
            }
            Mode::Observe | Mode::Approve => {}
        }
    }

    pub(super) fn may_shift(&mut self) -> Result<(), (Hold, String)> {
        if !self.ha.is_owner() {
            return Err((Hold::NotOwner, "this engine does not own the site".into()));
        }
        if self.ha.peer().is_none() {
            return Err((Hold::NoStandby, "the site has one engine".into()));
        }
        if self.sight().target.alarm {
            return Err((
                Hold::TargetAlarm,
                "the target's own alarm is raised: the model is suspected".into(),
            ));
        }
        if let Some(fault) = self.mirror_fault() {
            return Err((Hold::Mirror, fault));
        }
        if let Some(fault) = self.sight().checks_fault() {
            return Err((Hold::Checks, fault));
        }
        if let Some(fault) = self.store_fault() {
            return Err((Hold::NoStore, fault));
        }
        if let Some(reason) = self.mass_alarm() {
            return Err((Hold::MassAlarm, reason));
        }
        if self.now < self.settled_at {
            return Err((Hold::Cooldown, "the site was handed over just now".into()));
        }
        if !self.failure.worth_it() {
            return Err((Hold::Risk, "the risk is below the threshold: too little is at stake here".into()));
        }
        if let Some(reason) = self.too_busy() {
            return Err((Hold::Capacity, reason));
        }
        self.failure.allows(self.now).map_err(|hold| {
            let reason = if hold == Hold::Budget { "the budget of moves is used up" } else { "cooldown" };
            (hold, reason.to_owned())
        })?;
        self.target_ready().map_err(|reason| (Hold::TargetNotReady, reason))
    }

    /// Whether the other engine can take traffic now.
    pub(super) fn target_ready(&self) -> Result<(), String> {
        let sight = self.sight();
        let limit = rtt_limit(sight.own, &sight.target);
        match sight.target.fault(&self.config.shift, sight.own.loss, limit) {
            Some(fault) => Err(fault.reason()),
            None => Ok(()),
        }
    }

    pub(super) fn shift_action(&self) -> String {
        format!("shift {} -> {}", self.config.engine, self.ha.peer().unwrap_or("nobody"))
    }

    pub(super) fn move_inputs(&self) -> Vec<(String, String)> {
        let mut inputs = self.failure.inputs();
        let sight = self.sight();
        let mut add = |name: &str, q: Option<Quality>| {
            let text = q.map_or("unknown".to_owned(), |q| {
                let up = if q.up { "up" } else { "down" };
                format!("{up}, loss {:.2} %, rtt {:.2} ms", q.loss * 100.0, q.rtt_us / 1000.0)
            });
            inputs.push((name.to_owned(), text));
        };
        add("own path", Some(sight.own));
        add("target path", sight.target.path);
        add("direct link", sight.target.direct);
        if let Some(report) = self.mirror() {
            let text = format!("{} of {} packets diverged", report.diverged_total(), report.compared);
            inputs.push(("mirror".to_owned(), text));
        }
        inputs.extend(sight.checks_told());
        inputs
    }

    /// Notes since when all own tunnels of a group are down.
    pub(super) fn watch_own_paths(&mut self) {
        for group in &self.config.groups {
            if self.own_down(group) {
                self.down_since.entry(group.id).or_insert(self.now);
            } else {
                self.down_since.remove(&group.id);
            }
        }
    }

    pub(super) fn own_down(&self, group: &GroupConfig) -> bool {
        let mut own = group
            .members
            .iter()
            .filter(|m| m.kind == MemberKind::Own)
            .filter_map(|m| Some((self.tunnel_config(m.tunnel)?, self.health.get(&m.tunnel)?)))
            .peekable();
        let exists = own.peek().is_some();
        let mut ever = false;
        let none_up = own.all(|(tunnel, path)| {
            ever |= path.ever_up();
            !self.tunnel_up(tunnel)
        });
        exists && ever && none_up
    }

    /// A hard failure of our own path, while the other engine's is up: a fact, not a prediction.
    pub(super) fn hand_over_if_cut_off(&mut self, out: &mut Vec<Output>) {
        let held = self.handed_over_at.is_some_and(|at| self.now.since(at) < HOLD_DOWN);
        if !self.ha.is_owner() || self.ha.peer().is_none() || self.is_moving() || held || !self.is_cut_off() {
            return;
        }
        self.hand_over_at_once(Cause::Sudden, "own path down, the other engine's is up", out);
    }

    /// A group has been down for a while that the other engine can reach.
    fn is_cut_off(&self) -> bool {
        self.config.groups.iter().any(|group| {
            let down = self.down_since.get(&group.id).is_some_and(|at| self.now.since(*at) >= CUT_OFF);
            down && group
                .members
                .iter()
                .filter(|m| m.kind == MemberKind::Direct)
                .filter_map(|m| self.tunnel_config(m.tunnel))
                .any(|tunnel| self.direct_usable(group, tunnel))
        })
    }

    pub(super) fn expire_proposal(&mut self) {
        if self.proposal.is_some_and(|p| self.now >= p.until) {
            self.proposal = None;
        }
    }

    pub(super) fn shutdown(&mut self, out: &mut Vec<Output>) {
        if self.ha.is_owner() && self.ha.peer().is_some() && self.target_ready().is_ok() {
            self.hand_over_at_once(Cause::Manual, "this engine ends", out);
        } else {
            self.ha.resign(self.now);
            self.leave_elections(out);
        }
        for peer in self.connected_peers() {
            let message = Message::Goodbye { reason: "shutdown".to_owned() };
            self.after.push(Output::Send { peer, message });
        }
        self.stopped = true;
    }

    /// Outer addresses of the far ends of a group's own tunnels.
    pub(super) fn remotes(&self, group: &GroupConfig) -> Vec<IpAddr> {
        group
            .members
            .iter()
            .filter(|m| m.kind == MemberKind::Own)
            .filter_map(|m| Some(self.tunnel_config(m.tunnel)?.endpoints.remote))
            .collect()
    }

    /// What a shift needs to see now.
    pub(super) fn sight(&self) -> Sight {
        let own = self
            .config
            .tunnels
            .iter()
            .filter(|t| self.is_own(t.id) && self.counts(t.id) && self.health[&t.id].ever_up())
            .map(|t| self.measured(t.id))
            .reduce(Quality::worse);
        let own = own.unwrap_or(Quality { up: true, rtt_us: 0.0, loss: 0.0 });
        let peer = self.ha.peer().and_then(|name| self.peers.get(name));
        let remotes: Vec<IpAddr> = self.config.groups.iter().flat_map(|g| self.remotes(g)).collect();
        let direct = self
            .config
            .tunnels
            .iter()
            .filter(|t| Some(t.peer.as_str()) == self.ha.peer())
            .map(|t| Quality { up: self.tunnel_up(t), ..self.measured(t.id) })
            .reduce(Quality::worse);
        let target = Target {
            connected: peer.is_some_and(|p| p.connected && !p.gone),
            alarm: peer.is_some_and(Peer::alarm),
            path: peer.and_then(|p| p.quality(self.now, &remotes)),
            rounds: peer.map_or(0, |p| p.rounds(self.now, &remotes)),
            direct,
        };
        let own = Quality { up: !self.is_cut_off(), ..own };
        Sight {
            now: self.now,
            own,
            target,
            imminent: self.failure.imminent(),
            alarm: self.failure.fails_within(),
            lingers: self.now < self.linger_until,
            sessions_missing: self.sessions_missing.clone(),
            mirror: self.mirror_fault(),
            checks: self.checks.sight(self.now),
            mute: self.checks.other_is_mute(),
        }
    }

    fn measured(&self, tunnel: dataplane::id::TunnelId) -> Quality {
        self.health[&tunnel].quality()
    }
}
