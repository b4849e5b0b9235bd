//! The controller: one step takes the time and one input and appends what shall be done.

use crate::adaptive::Adaptive;
use crate::checks::Checks;
use crate::config::{ControllerConfig, MemberKind, TunnelConfig};
use crate::decision::{Decision, Outcome};
use crate::failure::FailureWatch;
use crate::ha::fence::SiteView;
use crate::ha::{Became, Ha, HaEvent};
use crate::health::PathHealth;
use crate::io::{Input, Output};
use crate::message::{Message, Share};
use crate::peers::Peer;
use crate::rng::SplitMix;
use crate::shared::Shared;
use crate::steering::BUCKETS;
use crate::switchover::{Stage, Switchover};
use crate::tunnels::SaManager;
use dataplane::id::{Epoch, GroupId, Nanos, TunnelId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

mod adaptive;
mod attention;
mod checks;
mod commands;
mod failback;
mod handover;
mod inputs;
mod mirror;
mod moves;
mod publish;
mod shared;
mod switchover;
mod view;
mod vrrp;

pub use handover::ControllerState;

/// A longer gap between two steps is our own stall, not the paths'.
const STALL: Nanos = Nanos::from_millis(50);
/// Timers run on ticks, or at the latest this long after the last run.
const TIMERS: Nanos = Nanos::from_millis(20);
/// Decisions kept for `show`.
const DECISIONS: usize = 256;

/// What the engine decides. See the crate documentation.
pub struct Controller {
    config: ControllerConfig,
    /// Far engines and their sites.
    far: BTreeMap<String, String>,
    now: Nanos,
    started: bool,
    last_timers: Nanos,
    next_report: Nanos,
    stopped: bool,
    health: BTreeMap<TunnelId, PathHealth>,
    sas: SaManager,
    /// Groups whose tunnels follow their traffic.
    adaptive: BTreeMap<GroupId, Adaptive>,
    ha: Ha,
    sites: BTreeMap<String, SiteView>,
    peers: BTreeMap<String, Peer>,
    failure: FailureWatch,
    /// The switchover under way or watched, or else the last one.
    switchover: Option<Switchover>,
    failback: failback::Failback,
    checks: Checks,
    proposal: Option<moves::Proposal>,
    /// What the other engine asks for and has not got yet.
    asked: Option<commands::Asked>,
    /// Parts of 65,536 that the other engine of the site carries for us.
    handed: u32,
    shares_version: u64,
    shares_epoch: Option<Epoch>,
    /// After a handover, what still reaches us goes on to the new owner until then.
    linger_until: Nanos,
    handed_over_at: Option<Nanos>,
    /// Until then the former owner may still send on to us what reaches it: nothing goes back to it.
    settled_at: Nanos,
    /// BFD sessions that were Up and are not, by their place.
    silent: BTreeSet<usize>,
    /// What shadows say of mirrored traffic.
    mirror: mirror::Mirror,
    /// What the standby does not hold yet of this engine's sessions.
    sessions_missing: Option<String>,
    /// Groups all of whose own tunnels are down, and since when.
    down_since: BTreeMap<GroupId, Nanos>,
    published: publish::Published,
    /// The election of the gateway, if other routers stand too.
    elections: Option<vrrp::Elections>,
    /// What is known of the state store, if there is one.
    shared: Option<Shared>,
    /// Messages that must follow what this step publishes.
    after: Vec<Output>,
    decisions: VecDeque<Decision>,
    decided: u64,
}

impl Controller {
    /// A controller that has not seen the time yet. `config` has been validated.
    pub fn new(config: ControllerConfig) -> Controller {
        let mut rng = SplitMix::new(config.seed);
        let mut path = |t: &TunnelConfig| {
            let probed = !t.protocol.is_foreign();
            (t.id, PathHealth::new(t.id, config.probe, probed, rng.fork()))
        };
        let health = config.tunnels.iter().map(&mut path).collect();
        let sas = SaManager::new(&config.tunnels, config.workers, rng.fork());
        let ha = Ha::new(
            &config.engine,
            &config.site,
            config.ha.clone(),
            &config.votes_for,
            config.epoch_floor,
            rng.fork(),
        );
        let far = far_engines(&config);
        Controller {
            sites: far.values().map(|site| (site.clone(), SiteView::default())).collect(),
            far,
            now: Nanos(0),
            started: false,
            last_timers: Nanos(0),
            next_report: Nanos(0),
            stopped: false,
            health,
            sas,
            adaptive: adaptive::groups(&config),
            ha,
            peers: BTreeMap::new(),
            failure: FailureWatch::new(config.prediction.clone()),
            switchover: None,
            failback: failback::Failback::default(),
            checks: Checks::new(config.checks.clone()),
            proposal: None,
            asked: None,
            handed: 0,
            shares_version: 0,
            shares_epoch: None,
            linger_until: Nanos(0),
            handed_over_at: None,
            settled_at: Nanos(0),
            silent: BTreeSet::new(),
            mirror: mirror::Mirror::default(),
            sessions_missing: None,
            down_since: BTreeMap::new(),
            published: publish::Published::default(),
            elections: config.vrrp.clone().map(|vrrp| vrrp::Elections::new(vrrp, config.ha.is_some())),
            shared: config.cluster.is_some().then(Shared::new),
            after: Vec::new(),
            decisions: VecDeque::new(),
            decided: 0,
            config,
        }
    }

    /// Takes one input, or `None` for a tick, at `now`, and appends what shall be done, in order.
    /// Feed queued inputs first, then a tick, every 1–5 ms.
    pub fn step(&mut self, now: Nanos, input: Option<Input>, out: &mut Vec<Output>) {
        self.advance(now);
        if self.stopped {
            return;
        }
        self.ha.expire(self.now);
        if self.ha_events(out) {
            // An owner whose lease is over says so before it does anything else.
            self.publish(out);
        }
        let tick = input.is_none();
        // What these two change is judged and published with the next tick.
        let quiet = matches!(input, Some(Input::WorkersPolled(_) | Input::ProbeReply { .. }));
        if let Some(input) = input {
            self.feed(input, out);
        }
        let timers = !self.stopped && (tick || self.now.since(self.last_timers) >= TIMERS);
        if timers {
            self.timers(out);
        }
        let changed = self.ha_events(out);
        if !quiet || timers || changed {
            self.publish(out);
            self.elect(out);
            self.ha.announce(self.now, out);
        }
        out.append(&mut self.after);
    }

    fn advance(&mut self, now: Nanos) {
        let now = now.max(self.now);
        let gap = now.since(self.now);
        if self.started && gap > STALL {
            self.health.values_mut().for_each(|path| path.forgive(gap));
        }
        if !self.started {
            self.started = true;
            self.last_timers = now;
            self.ha.start(now);
            // What another process has found up was heard of until now.
            self.health.values_mut().for_each(|path| path.forgive(now));
        }
        self.now = now;
    }

    fn timers(&mut self, out: &mut Vec<Output>) {
        self.last_timers = self.now;
        let spacing = self.probe_spacing();
        for tunnel in &self.config.tunnels {
            let gone = self.peers.get(&tunnel.peer).is_some_and(|p| p.gone);
            let made = self.adaptive.values().all(|group| group.is_made(tunnel.id));
            let Some(path) = self.health.get_mut(&tunnel.id) else { continue };
            if !gone && made && self.sas.can_send(tunnel.id) {
                path.start(self.now);
            }
            path.poll(self.now, spacing, out);
        }
        self.sas.poll(self.now, out);
        self.ha.poll(self.now, out);
        self.report(out);
        self.watch_own_paths();
        self.drive_switchover(out);
        self.hand_over_if_cut_off(out);
        self.expire_proposal();
        self.answer_asked(out);
        self.fail_back(out);
        self.share(out);
    }

    /// Tells the other engine of the site how our paths and checks are, so that it can judge us as a target.
    fn report(&mut self, out: &mut Vec<Output>) {
        if self.now < self.next_report {
            return;
        }
        self.next_report = self.now.plus(self.report_interval());
        let Some(peer) = self.ha.peer().map(str::to_owned) else { return };
        if !self.is_connected(&peer) {
            return;
        }
        let checks = self.checks.due(self.now, &self.config.site);
        out.extend(checks.map(|message| Output::Send { peer: peer.clone(), message }));
        let may_forward = self.may_forward();
        for tunnel in self.config.tunnels.iter().filter(|t| self.is_own(t.id) && self.counts(t.id)) {
            let stats = self.health[&tunnel.id].stats();
            let message = Message::PathReport {
                tunnel: tunnel.endpoints,
                // A path that nothing may take yet is none: its engine has just started, or is cut off.
                up: may_forward && self.tunnel_up(tunnel),
                rtt_us: stats.rtt.0 as f32 / 1000.0,
                loss_tx: stats.loss_tx,
                loss_rx: stats.loss_rx,
            };
            out.push(Output::Send { peer: peer.clone(), message });
        }
    }

    /// Acts on what changed in ownership; true if anything did.
    fn ha_events(&mut self, out: &mut Vec<Output>) -> bool {
        let mut any = false;
        while let Some(event) = self.ha.next_event() {
            any = true;
            match event {
                HaEvent::BecameOwner { how, previous } => self.became_owner(how, previous, out),
                HaEvent::SteppedDown { reason } => self.stepped_down(reason, out),
                HaEvent::Learned => self.learned_owner(out),
            }
        }
        if self.ha.is_owner() && self.shares_epoch != Some(self.ha.epoch()) {
            self.shares_epoch = Some(self.ha.epoch());
            self.send_shares();
        }
        any
    }

    fn became_owner(&mut self, how: Became, previous: Option<String>, out: &mut Vec<Output>) {
        self.handed = 0;
        self.proposal = None;
        self.linger_until = Nanos(0);
        self.failback.come_back();
        if self.is_moving() {
            self.give_up("the target did not take ownership".to_owned(), out);
        } else if let Some(watched) = &mut self.switchover {
            watched.give_up(self.now, "the site came back");
        }
        let silent = previous.clone().filter(|_| how == Became::Takeover);
        let site = &self.config.site;
        let (action, rule) = match (how, previous) {
            (Became::Boot, _) | (_, None) => (format!("own site {site}"), "nobody else owns it".to_owned()),
            (Became::Forced, _) => (format!("own site {site}"), "a person said so".to_owned()),
            (Became::Takeover, Some(old)) => {
                (format!("takeover {old} -> {}", self.config.engine), format!("lease of {old} expired"))
            }
            (Became::Transfer, Some(old)) => (format!("own site {site}"), format!("handed over by {old}")),
        };
        if how != Became::Boot {
            self.failure.settle(self.now);
        }
        if how == Became::Transfer {
            self.settled_at = self.now.plus(moves::LINGER);
        }
        let mut inputs = vec![("epoch".to_owned(), self.ha.epoch().to_string())];
        inputs.extend(self.sight().checks_told());
        let decision = self.decide(action, rule.clone(), inputs, Outcome::Done, out);
        if let Some(from) = silent {
            self.taken_over(decision, from, rule);
        }
    }

    fn stepped_down(&mut self, reason: &'static str, out: &mut Vec<Output>) {
        self.handed = 0;
        self.proposal = None;
        match self.switchover.as_ref().map(Switchover::stage) {
            Some(Stage::HandOver) | None => {}
            Some(_) if self.is_moving() => self.give_up(format!("no longer owner: {reason}"), out),
            Some(_) => self.end_watch(reason),
        }
    }

    fn learned_owner(&mut self, out: &mut Vec<Output>) {
        let hello = self.ha.hello();
        for peer in self.connected_peers() {
            self.after.push(Output::Send { peer, message: hello.clone() });
        }
        let owner = self.ha.owner().map(str::to_owned);
        let target = self.switchover.as_ref().map(Switchover::target);
        if owner.is_some() && owner.as_deref() == target {
            self.handed_over(out);
        }
    }

    /// Tells every far engine how to split the site's traffic. Returns the version to be acknowledged.
    fn send_shares(&mut self) -> u64 {
        self.shares_version += 1;
        let message = self.shares_message();
        let far: Vec<String> = self.far.keys().filter(|p| self.is_connected(p)).cloned().collect();
        for peer in far {
            self.after.push(Output::Send { peer, message: message.clone() });
        }
        self.shares_version
    }

    fn shares_message(&self) -> Message {
        let mut shares = vec![Share { engine: self.config.engine.clone(), buckets: BUCKETS - self.handed }];
        if let Some(peer) = self.ha.peer() {
            shares.push(Share { engine: peer.to_owned(), buckets: self.handed });
        }
        Message::SetShares {
            site: self.config.site.clone(),
            epoch: self.ha.epoch(),
            version: self.shares_version,
            shares,
            within_ms: self.moves_within().map(|within| within.0.div_ceil(1_000_000)),
        }
    }

    fn decide(
        &mut self,
        action: String,
        rule: String,
        inputs: Vec<(String, String)>,
        outcome: Outcome,
        out: &mut Vec<Output>,
    ) -> u64 {
        self.decided += 1;
        let decision = Decision { id: self.decided, at: self.now, action, rule, inputs, outcome };
        if self.decisions.len() == DECISIONS {
            self.decisions.pop_front();
        }
        self.decisions.push_back(decision.clone());
        out.push(Output::Decision(decision));
        self.decided
    }

    /// The workers forward: a standby has heard a majority of the site's voters not long before.
    fn may_forward(&self) -> bool {
        self.now < self.ha.forward_until()
    }

    fn is_connected(&self, peer: &str) -> bool {
        self.peers.get(peer).is_some_and(|p| p.connected)
    }

    fn connected_peers(&self) -> Vec<String> {
        self.peers.iter().filter(|(_, p)| p.connected).map(|(name, _)| name.clone()).collect()
    }

    /// A tunnel of our own to a far site, not the link within the site.
    fn is_own(&self, tunnel: TunnelId) -> bool {
        self.config
            .groups
            .iter()
            .flat_map(|g| &g.members)
            .any(|m| m.tunnel == tunnel && m.kind == MemberKind::Own)
    }
}

fn far_engines(config: &ControllerConfig) -> BTreeMap<String, String> {
    let peer_of = |tunnel: TunnelId| config.tunnels.iter().find(|t| t.id == tunnel).map(|t| t.peer.clone());
    config
        .groups
        .iter()
        .flat_map(|g| g.members.iter().map(move |m| (m, &g.site)))
        .filter(|(m, _)| m.kind == MemberKind::Own)
        .filter_map(|(m, site)| Some((peer_of(m.tunnel)?, site.clone())))
        .collect()
}
