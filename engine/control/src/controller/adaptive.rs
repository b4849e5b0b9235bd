//! Groups whose tunnels follow their traffic: what they decide is recorded, carried out and agreed with the far engines.

use super::Controller;
use crate::adaptive::{Action, Adaptive, Move, Step, View};
use crate::config::ControllerConfig;
use crate::decision::Outcome;
use crate::io::{GroupTraffic, Output};
use crate::message::{Endpoints, Message, ParallelWord};
use dataplane::id::{GroupId, TunnelId};
use std::collections::BTreeMap;

/// The groups that are adaptive.
pub(super) fn groups(config: &ControllerConfig) -> BTreeMap<GroupId, Adaptive> {
    let peer_of = |tunnel: TunnelId| {
        let found = config.tunnels.iter().find(|t| t.id == tunnel);
        found.map(|t| t.peer.clone()).unwrap_or_default()
    };
    let adaptive = config.groups.iter().filter_map(|g| Some((g.id, g.adaptive.clone()?)));
    adaptive.map(|(id, config)| (id, Adaptive::new(config, peer_of))).collect()
}

impl Controller {
    /// The group's manager, where it decides who carries.
    pub(super) fn adaptive_group(&self, group: GroupId) -> Option<&Adaptive> {
        self.adaptive.get(&group).filter(|adaptive| adaptive.config.act)
    }

    /// The tunnel is configured, or was made.
    pub(super) fn is_made(&self, tunnel: TunnelId) -> bool {
        self.adaptive.values().all(|group| group.is_made(tunnel))
    }

    /// The same, or it is about to be made: a person wants to see it.
    pub(super) fn is_there(&self, tunnel: TunnelId) -> bool {
        self.adaptive.values().all(|group| group.is_there(tunnel))
    }

    /// Nothing new goes into it.
    pub(super) fn is_drained(&self, tunnel: TunnelId) -> bool {
        self.is_made(tunnel) && self.adaptive.values().any(|group| group.is_drained(tunnel))
    }

    /// What it is like says how the engine's paths are: it carries, or would if its group did not choose.
    pub(super) fn counts(&self, tunnel: TunnelId) -> bool {
        self.adaptive.values().filter(|group| group.has(tunnel)).all(|group| match group.config.act {
            true => group.carries(tunnel) && (!group.is_spare(tunnel) || self.health[&tunnel].up()),
            false => !group.is_spare(tunnel),
        })
    }

    /// Packets may go into it.
    pub(super) fn can_carry(&self, tunnel: TunnelId) -> bool {
        let tunnel = self.tunnel_config(tunnel);
        tunnel.is_some_and(|tunnel| self.tunnel_up(tunnel) && !self.is_fenced(&tunnel.peer))
    }

    /// Its group's policy does not let it carry.
    pub(super) fn is_forbidden(&self, group: GroupId, tunnel: TunnelId) -> bool {
        self.adaptive_group(group).is_some_and(|adaptive| !adaptive.is_allowed(tunnel))
    }

    fn views(&self, group: GroupId) -> BTreeMap<TunnelId, View> {
        let of = self.adaptive.get(&group).into_iter().flat_map(|adaptive| &adaptive.config.tunnels);
        let view = |id: TunnelId| {
            let quality = self.health[&id].quality();
            let peer = self.tunnel_config(id).and_then(|tunnel| self.peers.get(&tunnel.peer));
            let able = peer.is_some_and(|p| p.connected && p.parallel && !p.gone);
            View {
                up: self.can_carry(id),
                was_up: self.health[&id].ever_up(),
                loss: quality.loss,
                rtt_us: quality.rtt_us,
                able,
            }
        };
        of.map(|known| (known.tunnel, view(known.tunnel))).collect()
    }

    /// What a group carried: decide, then look after what is being made and given up.
    pub(super) fn traffic(&mut self, traffic: &GroupTraffic, out: &mut Vec<Output>) {
        let (id, views, now) = (traffic.group, self.views(traffic.group), self.now);
        let Some(adaptive) = self.adaptive.get_mut(&id) else { return };
        for decided in adaptive.sample(now, traffic, &views) {
            self.carry_out(id, decided, out);
        }
        let Some(adaptive) = self.adaptive.get_mut(&id) else { return };
        for (tunnel, steps) in adaptive.watch(now, &views) {
            self.take(tunnel, steps, out);
        }
    }

    fn carry_out(&mut self, group: GroupId, decided: Move, out: &mut Vec<Output>) {
        let Move { action, rule, inputs } = decided;
        let Some(adaptive) = self.adaptive.get_mut(&group) else { return };
        let held = matches!(action, Action::Hold(_));
        let act = adaptive.config.act && !held;
        let steps = adaptive.done(self.now, action);
        let what = self.describe(group, action);
        let outcome = if act { Outcome::Done } else { Outcome::Observed };
        self.decide(what, rule, inputs, outcome, out);
        match action {
            Action::Create(tunnel) | Action::Drain(tunnel) => self.take(tunnel, steps, out),
            Action::Rate { tunnel, to, .. } if act => {
                out.push(Output::SetRate { tunnel, bits_per_second: to });
            }
            _ => {}
        }
    }

    fn name_of(&self, tunnel: TunnelId) -> &str {
        self.tunnel_config(tunnel).map_or("?", |tunnel| &tunnel.name)
    }

    fn describe(&self, group: GroupId, action: Action) -> String {
        let name = |tunnel| self.name_of(tunnel);
        match action {
            Action::Create(tunnel) => format!("create {}", name(tunnel)),
            Action::Rate { tunnel, from, to } => {
                format!("rate of {} {} -> {} kbit/s", name(tunnel), from / 1000, to / 1000)
            }
            Action::Migrate { from, to, .. } => format!("migrate {} -> {}", name(from), name(to)),
            Action::Drain(tunnel) => format!("drain {}", name(tunnel)),
            Action::Hold(_) => {
                let of = self.config.groups.iter().find(|g| g.id == group);
                format!("hold {}", of.map_or("?", |g| &g.name))
            }
        }
    }

    /// What a tunnel that is made or given up has to do.
    fn take(&mut self, tunnel: TunnelId, steps: Vec<Step>, out: &mut Vec<Output>) {
        let Some(config) = self.tunnel_config(tunnel).cloned() else { return };
        for step in steps {
            match step {
                Step::Say(says) => {
                    let message = Message::Parallel { tunnel: config.endpoints, says };
                    out.push(Output::Send { peer: config.peer.clone(), message });
                }
                Step::Make => {
                    let connected = self.is_connected(&config.peer);
                    self.sas.make(tunnel, connected, out);
                }
                Step::Unmake => self.unmake(tunnel, out),
                Step::Failed(rule) => {
                    let inputs = vec![("peer".to_owned(), config.peer.clone())];
                    let action = format!("create {} undone", config.name);
                    self.decide(action, rule, inputs, Outcome::RolledBack, out);
                }
            }
        }
    }

    fn unmake(&mut self, tunnel: TunnelId, out: &mut Vec<Output>) {
        self.sas.unmake(tunnel, out);
        if let Some(path) = self.health.get_mut(&tunnel) {
            path.forget();
        }
        // The next one begins as configured.
        let rate = self.adaptive.values().find_map(|group| group.configured_rate(tunnel));
        out.extend(rate.map(|bits_per_second| Output::SetRate { tunnel, bits_per_second }));
        let action = format!("remove {}", self.name_of(tunnel));
        let rule = "both ends send nothing into it".to_owned();
        self.decide(action, rule, Vec::new(), Outcome::Done, out);
    }

    /// `from` understands what follows, since its connection is up: what it may not know is said again.
    pub(super) fn talks_of_tunnels(&mut self, from: &str, out: &mut Vec<Output>) {
        let Some(peer) = self.peers.get_mut(from) else { return };
        if std::mem::replace(&mut peer.parallel, true) {
            return;
        }
        let again: Vec<_> = self.adaptive.values_mut().flat_map(|group| group.again(from)).collect();
        for (tunnel, steps) in again {
            self.take(tunnel, steps, out);
        }
    }

    /// `from` says something of a tunnel; the endpoints are from its side.
    pub(super) fn parallel(
        &mut self,
        from: &str,
        endpoints: Endpoints,
        word: &ParallelWord,
        out: &mut Vec<Output>,
    ) {
        let ours = endpoints.turned();
        let known = self.config.tunnels.iter().find(|t| t.peer == from && t.endpoints == ours);
        let group =
            |id: TunnelId| self.adaptive.iter().find(|(_, g)| g.is_spare(id)).map(|(group, _)| *group);
        let Some((tunnel, group)) = known.and_then(|t| Some((t.id, group(t.id)?))) else {
            // It was never configured to be made here.
            let says = match word {
                ParallelWord::Propose => {
                    ParallelWord::Refuse { reason: "no group here makes such tunnels".to_owned() }
                }
                ParallelWord::Drain => ParallelWord::Idle,
                _ => return,
            };
            let message = Message::Parallel { tunnel: ours, says };
            return out.push(Output::Send { peer: from.to_owned(), message });
        };
        let (now, views) = (self.now, self.views(group));
        let Some(adaptive) = self.adaptive.get_mut(&group) else { return };
        let before = adaptive.is_there(tunnel);
        let steps = adaptive.hear(now, tunnel, word, &views);
        let made = !before && steps.contains(&Step::Make);
        self.take(tunnel, steps, out);
        let what = match word {
            ParallelWord::Propose if made => ("create", "asks for it".to_owned()),
            ParallelWord::Drain if before => ("drain", "gives it up".to_owned()),
            ParallelWord::Keep { reason } => ("keep", format!("needs it: {reason}")),
            _ => return,
        };
        let (action, rule) = (format!("{} {}", what.0, self.name_of(tunnel)), format!("{from} {}", what.1));
        self.decide(action, rule, Vec::new(), Outcome::Done, out);
    }
}

#[cfg(test)]
mod tests;
