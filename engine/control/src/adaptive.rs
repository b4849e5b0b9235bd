//! The Adaptive Tunnel Manager: tunnels follow the traffic that they carry.
//!
//! For each far engine of a group one configured tunnel is chosen, by policy and measurement (`choice`), and carries together
//! with the parallel ones made beside it. What is measured and what is forecast say how much capacity there must be (`demand`): shapers
//! are let go faster, up to their ceiling, and then tunnels are made, each with SAs of its own; what is needed no more is drained
//! and given up (`agreement`). Nothing is broken before its replacement is up, and however load and forecasts flap, a cooldown and a
//! budget bound what is done (`gate`).

mod agreement;
mod capacity;
mod choice;
mod demand;
mod gate;
mod path;
#[cfg(test)]
mod tests;

pub(crate) use agreement::{Phase, Spare, Step};
pub(crate) use choice::Candidate;

use crate::config::{AdaptiveConfig, AdaptiveTunnel, RateRange};
use crate::io::{GroupTraffic, TunnelTraffic};
use crate::message::ParallelWord;
use crate::status::{AdaptiveActions, AdaptiveStatus};
use dataplane::id::{Nanos, TunnelId};
use gate::{Gate, Hold};
use std::collections::BTreeMap;

/// A tunnel of the group as it is now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct View {
    /// It can carry.
    pub up: bool,
    /// It has been up since it was made, or since the start.
    pub was_up: bool,
    pub loss: f32,
    pub rtt_us: f32,
    /// Its far engine can be talked to about tunnels.
    pub able: bool,
}

/// What is to be done with a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make this parallel tunnel.
    Create(TunnelId),
    /// Let its shaper pass so many bits a second.
    Rate { tunnel: TunnelId, from: u64, to: u64 },
    /// Carry by the other one; `forced`: this one cannot, or may not, any more.
    Migrate { from: TunnelId, to: TunnelId, forced: bool },
    /// Give this parallel tunnel up.
    Drain(TunnelId),
    /// Nothing, though something speaks for it.
    Hold(Hold),
}

/// An action and why.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Move {
    pub action: Action,
    pub rule: String,
    pub inputs: Vec<(String, String)>,
}

/// The tunnels to one far engine.
#[derive(Debug)]
struct Far {
    /// The configured tunnel that carries, with its parallel ones.
    chosen: TunnelId,
    /// The first sample.
    since: Option<Nanos>,
    /// Samples in a row in which more was needed,
    high: u32,
    /// … another tunnel was better,
    better: (TunnelId, u32),
    /// … and its path was said to fail.
    failing: u32,
    low_since: Option<Nanos>,
}

/// One group.
#[derive(Debug)]
pub(crate) struct Adaptive {
    pub config: AdaptiveConfig,
    /// By configured tunnel and spare: the far engine.
    peers: BTreeMap<TunnelId, String>,
    far: BTreeMap<String, Far>,
    pub spares: BTreeMap<TunnelId, Spare>,
    gate: Gate,
    /// The last sample.
    latest: BTreeMap<TunnelId, TunnelTraffic>,
    forecast: Option<(f64, Nanos)>,
    /// The most that was ever measured, bits a second.
    peak: f64,
    actions: AdaptiveActions,
}

/// The rule that fired and its inputs.
type Reason = (String, Vec<(String, String)>);

/// One sample.
struct Scene<'a> {
    now: Nanos,
    views: &'a BTreeMap<TunnelId, View>,
    /// Of the whole group, bits a second.
    total: f64,
}

impl Adaptive {
    /// `peer_of` names the far engine of each tunnel.
    pub fn new(config: AdaptiveConfig, peer_of: impl Fn(TunnelId) -> String) -> Adaptive {
        let peers: BTreeMap<_, _> = config.tunnels.iter().map(|t| (t.tunnel, peer_of(t.tunnel))).collect();
        let configured = || config.tunnels.iter().filter(|t| t.parallel_to.is_none());
        let mut far = BTreeMap::new();
        for tunnel in configured() {
            let (chosen, none) = (tunnel.tunnel, (tunnel.tunnel, 0));
            far.entry(peers[&chosen].clone()).or_insert(Far {
                chosen,
                since: None,
                high: 0,
                better: none,
                failing: 0,
                low_since: None,
            });
        }
        let spares = config.tunnels.iter().filter(|t| t.parallel_to.is_some());
        Adaptive {
            spares: spares.map(|t| (t.tunnel, Spare::default())).collect(),
            peers,
            far,
            gate: Gate::default(),
            latest: BTreeMap::new(),
            forecast: None,
            peak: 0.0,
            actions: AdaptiveActions::default(),
            config,
        }
    }

    /// The rates between which a tunnel's shaper is let go are others now.
    pub fn set_range(&mut self, tunnel: TunnelId, range: RateRange) {
        let known = self.config.tunnels.iter_mut().filter(|known| known.tunnel == tunnel);
        known.for_each(|known| known.rate = Some(range));
    }

    fn known(&self, tunnel: TunnelId) -> Option<&AdaptiveTunnel> {
        self.config.tunnels.iter().find(|t| t.tunnel == tunnel)
    }

    /// The configured tunnel that this one is, or is parallel to.
    fn base(&self, tunnel: TunnelId) -> TunnelId {
        self.known(tunnel).and_then(|t| t.parallel_to).unwrap_or(tunnel)
    }

    /// A configured tunnel and those made beside it that may carry.
    fn family(&self, base: TunnelId) -> impl Iterator<Item = TunnelId> {
        let spare = move |t: &&AdaptiveTunnel| {
            t.parallel_to == Some(base) && self.spares.get(&t.tunnel).is_some_and(Spare::may_carry)
        };
        let beside = self.config.tunnels.iter().filter(spare).map(|t| t.tunnel);
        [base].into_iter().chain(beside)
    }

    /// The tunnel exists: it is configured, or was made.
    pub fn is_made(&self, tunnel: TunnelId) -> bool {
        self.spares.get(&tunnel).is_none_or(Spare::is_made)
    }

    /// What is sent into it can be opened at its other end: it is configured, or both ends have it.
    pub fn is_usable(&self, tunnel: TunnelId) -> bool {
        self.spares.get(&tunnel).is_none_or(Spare::is_usable)
    }

    /// The traffic to its far engine goes into it, as far as it is up.
    pub fn carries(&self, tunnel: TunnelId) -> bool {
        let chosen = self.peers.get(&tunnel).and_then(|peer| self.far.get(peer)).map(|far| far.chosen);
        chosen.is_some_and(|chosen| self.family(chosen).any(|member| member == tunnel))
    }

    /// Its part of what goes to its far engine, beside those of the others that are `up`: by their shapers' rates, or all alike.
    pub fn weight(&self, tunnel: TunnelId, up: impl Fn(TunnelId) -> bool) -> f64 {
        if !self.carries(tunnel) {
            return 0.0;
        }
        let carriers: Vec<TunnelId> = self.family(self.base(tunnel)).collect();
        let up: Vec<TunnelId> = carriers.iter().copied().filter(|t| up(*t)).collect();
        let among = if up.is_empty() { carriers } else { up };
        if !among.contains(&tunnel) {
            return 0.0;
        }
        let rate = |t: &TunnelId| Some(self.latest.get(t)?.rate_bps.filter(|rate| *rate > 0)? as f64);
        let rates: Option<Vec<f64>> = among.iter().map(rate).collect();
        match (rates, rate(&tunnel)) {
            (Some(rates), Some(own)) => own / rates.iter().sum::<f64>(),
            _ => 1.0 / among.len() as f64,
        }
    }

    /// What is to be done after this sample. Whoever carries it out says so to [`Adaptive::done`].
    pub fn sample(
        &mut self,
        now: Nanos,
        traffic: &GroupTraffic,
        views: &BTreeMap<TunnelId, View>,
    ) -> Vec<Move> {
        let sane = |t: &&TunnelTraffic| t.sent_bps.is_finite() && t.sent_bps >= 0.0;
        self.latest = traffic.tunnels.iter().filter(sane).map(|t| (t.tunnel, *t)).collect();
        let total: f64 = self.latest.values().map(|t| t.sent_bps).sum();
        self.peak = self.peak.max(total);
        let mut moves = Vec::new();
        self.forecast = match demand::ahead(&traffic.forecast, self.config.lead, self.peak) {
            Ok(ahead) => ahead,
            Err(what) => {
                let rule = "a forecast that cannot be is not followed: the model is suspected".to_owned();
                self.hold(now, Hold::Forecast, rule, vec![("forecast".to_owned(), what)], &mut moves);
                None
            }
        };
        let scene = Scene { now, views, total };
        let peers: Vec<String> = self.far.keys().cloned().collect();
        for peer in &peers {
            self.choose(&scene, peer, &mut moves);
            if moves.iter().all(|m| matches!(m.action, Action::Hold(_))) {
                self.follow(&scene, peer, &mut moves);
            }
        }
        moves
    }

    fn candidate(&self, tunnel: TunnelId, views: &BTreeMap<TunnelId, View>) -> Option<Candidate> {
        let (known, view) = (*self.known(tunnel)?, views.get(&tunnel)?);
        let latest = self.latest.get(&tunnel);
        let (mtu, failure) = latest.map_or((0, f32::NAN), |t| (t.mtu, t.failure));
        Some(Candidate { known, up: view.up, loss: view.loss, rtt_us: view.rtt_us, mtu, failure })
    }

    /// Whether the policy lets it carry now. Before the first sample its MTU is not known.
    pub fn is_allowed(&self, tunnel: TunnelId) -> bool {
        let base = self.base(tunnel);
        let (Some(known), measured) = (self.known(base), self.latest.get(&base)) else { return true };
        let mtu = measured.map_or(u16::MAX, |t| t.mtu);
        let candidate = Candidate { known: *known, up: true, loss: 0.0, rtt_us: 0.0, mtu, failure: 0.0 };
        candidate.forbidden(&self.config.policy).is_none()
    }

    /// One of its tunnels.
    pub fn has(&self, tunnel: TunnelId) -> bool {
        self.known(tunnel).is_some()
    }

    /// One that is made only when there is need.
    pub fn is_spare(&self, tunnel: TunnelId) -> bool {
        self.spares.contains_key(&tunnel)
    }

    /// The tunnel exists, or is asked for.
    pub fn is_there(&self, tunnel: TunnelId) -> bool {
        self.spares.get(&tunnel).is_none_or(|spare| spare.phase != Phase::Absent)
    }

    /// Nothing new goes into it.
    pub fn is_drained(&self, tunnel: TunnelId) -> bool {
        self.spares.get(&tunnel).is_some_and(|spare| spare.is_made() && !spare.may_carry())
    }

    /// Its shaper's rate as configured.
    pub fn configured_rate(&self, tunnel: TunnelId) -> Option<u64> {
        Some(self.known(tunnel)?.rate?.configured)
    }

    /// For those who look.
    pub fn status(&self) -> AdaptiveStatus {
        let there = |tunnel| self.spares.get(&tunnel).is_none_or(Spare::has_come);
        let carries = |t: &&TunnelTraffic| self.carries(t.tunnel) && there(t.tunnel);
        let rate = |t: &TunnelTraffic| t.rate_bps.map(|rate| rate as f64);
        AdaptiveStatus {
            offered_bps: self.latest.values().map(|t| t.sent_bps).sum(),
            capacity_bps: self.latest.values().filter(carries).map(rate).sum(),
            forecast_bps: self.forecast.map(|(load, _)| load),
            actions: self.actions,
        }
    }

    fn hold(
        &mut self,
        now: Nanos,
        hold: Hold,
        rule: String,
        inputs: Vec<(String, String)>,
        moves: &mut Vec<Move>,
    ) {
        if self.gate.say(now, hold) {
            moves.push(Move { action: Action::Hold(hold), rule, inputs });
        }
    }

    /// The action is carried out, or would have been: it counts.
    pub fn done(&mut self, now: Nanos, action: Action) -> Vec<Step> {
        // That a path is down is a fact: leaving it costs nothing of what opinions may spend.
        let free = matches!(action, Action::Hold(_) | Action::Migrate { forced: true, .. });
        if !free || !self.config.act {
            self.gate.act(now, &self.config);
        }
        if !self.config.act {
            return Vec::new();
        }
        let count = match action {
            Action::Create(_) => &mut self.actions.created,
            Action::Rate { .. } => &mut self.actions.rates,
            Action::Migrate { .. } => &mut self.actions.migrated,
            Action::Drain(_) => &mut self.actions.drained,
            Action::Hold(_) => return Vec::new(),
        };
        *count += 1;
        match action {
            Action::Create(tunnel) => {
                self.spares.get_mut(&tunnel).map(|s| s.propose(now)).unwrap_or_default()
            }
            Action::Drain(tunnel) => self.spares.get_mut(&tunnel).map(|s| s.drain(now)).unwrap_or_default(),
            Action::Migrate { from, to, .. } => {
                for far in self.far.values_mut().filter(|far| far.chosen == from) {
                    (far.chosen, far.better, far.failing, far.high) = (to, (to, 0), 0, 0);
                }
                Vec::new()
            }
            Action::Rate { .. } | Action::Hold(_) => Vec::new(),
        }
    }

    /// The far engine says something of a spare.
    pub fn hear(
        &mut self,
        now: Nanos,
        tunnel: TunnelId,
        word: &ParallelWord,
        views: &BTreeMap<TunnelId, View>,
    ) -> Vec<Step> {
        let welcome = self.welcome(tunnel, views);
        let needed = self.needed(tunnel, views);
        self.spares.get_mut(&tunnel).map(|spare| spare.hear(now, word, welcome, needed)).unwrap_or_default()
    }

    fn welcome(&self, tunnel: TunnelId, views: &BTreeMap<TunnelId, View>) -> Result<(), String> {
        if !self.config.act {
            return Err("tunnels are only observed here".to_owned());
        }
        let configured = self.config.tunnels.len() - self.spares.len();
        let many = configured + self.spares.values().filter(|s| s.phase != Phase::Absent).count();
        if many >= self.config.tunnels_max {
            return Err(format!("the group has its {many} tunnels"));
        }
        let base = self.base(tunnel);
        let forbidden = self.candidate(base, views).and_then(|c| c.forbidden(&self.config.policy));
        forbidden.map_or(Ok(()), |why| Err(why.to_owned()))
    }

    /// Why what is sent from here cannot do without it.
    fn needed(&self, tunnel: TunnelId, views: &BTreeMap<TunnelId, View>) -> Option<String> {
        if !self.carries(tunnel) || !views.get(&tunnel).is_some_and(|view| view.up) {
            return None;
        }
        let (peer, base) = (self.peers.get(&tunnel)?, self.base(tunnel));
        let total = self.latest.values().map(|t| t.sent_bps).sum();
        let demand = self.demand(&Scene { now: Nanos(0), views, total }, peer, base);
        let left = demand.capacity? - self.rate(tunnel)? as f64;
        let load = demand.load;
        let short = left <= 0.0 || demand.needed_now(&self.config) > left;
        short.then(|| format!("{:.0} kbit/s go this way, {:.0} would be left", load / 1e3, left / 1e3))
    }

    /// What the group's spares have to do after a sample, each with its tunnel.
    pub fn watch(&mut self, now: Nanos, views: &BTreeMap<TunnelId, View>) -> Vec<(TunnelId, Vec<Step>)> {
        let latest = &self.latest;
        let watched = self.spares.iter_mut().map(|(&tunnel, spare)| {
            let up = views.get(&tunnel).is_some_and(|view| view.up);
            let sent = latest.get(&tunnel).is_some_and(|t| t.sent_bps > 0.0);
            (tunnel, spare.watch(now, up, sent))
        });
        watched.filter(|(_, steps)| !steps.is_empty()).collect()
    }

    /// What is said again to a far engine that can be talked to again.
    pub fn again(&mut self, peer: &str) -> Vec<(TunnelId, Vec<Step>)> {
        let of =
            self.spares.iter_mut().filter(|(tunnel, _)| self.peers.get(tunnel).is_some_and(|p| p == peer));
        of.map(|(&tunnel, spare)| (tunnel, spare.again())).filter(|(_, steps)| !steps.is_empty()).collect()
    }
}
