//! What the workers shall see, compared with what they were last told.

use super::Controller;
use crate::config::{GroupConfig, Member, MemberKind, Spread, TunnelConfig};
use crate::io::Output;
use crate::steering::{BUCKETS, Candidate, flowlet_gap, split};
use dataplane::id::{Epoch, GroupId, Nanos, TunnelId};
use std::collections::BTreeMap;

/// What was last published.
#[derive(Debug, Default)]
pub(super) struct Published {
    role: Option<(bool, Epoch)>,
    forward_until: Option<Nanos>,
    tunnels: BTreeMap<TunnelId, (bool, bool)>,
    pub(super) weights: BTreeMap<GroupId, Vec<(TunnelId, u32)>>,
}

impl Controller {
    /// Publishes what changed. Ownership is given up before the deadline moves and taken after it is
    /// set, so that at no moment a worker owns the site under another role's deadline.
    pub(super) fn publish(&mut self, out: &mut Vec<Output>) {
        let role = (self.ha.is_owner(), self.ha.epoch());
        let changed = self.published.role != Some(role);
        if changed && !role.0 {
            out.push(Output::Role { owner: false, epoch: role.1 });
        }
        let until = self.ha.forward_until();
        if self.published.forward_until != Some(until) {
            self.published.forward_until = Some(until);
            out.push(Output::ForwardUntil(until));
        }
        self.publish_tunnels(out);
        self.publish_weights(out);
        if changed && role.0 {
            out.push(Output::Role { owner: true, epoch: role.1 });
        }
        self.published.role = Some(role);
    }

    fn publish_tunnels(&mut self, out: &mut Vec<Output>) {
        for tunnel in &self.config.tunnels {
            let state = (self.tunnel_up(tunnel), self.is_fenced(&tunnel.peer));
            if self.published.tunnels.get(&tunnel.id) != Some(&state) {
                out.push(Output::Tunnel { tunnel: tunnel.id, up: state.0, fenced: state.1 });
                self.published.tunnels.insert(tunnel.id, state);
            }
        }
    }

    fn publish_weights(&mut self, out: &mut Vec<Output>) {
        for group in &self.config.groups {
            let candidates = self.candidates(group);
            let members = split(&candidates);
            let before = self.published.weights.get(&group.id);
            if before == Some(&members) {
                continue;
            }
            // Buckets of a member that cannot carry them have nothing to wait for.
            let stranded = |(tunnel, part): &(TunnelId, u32)| {
                *part > 0 && candidates.iter().any(|c| c.tunnel == *tunnel && !c.usable)
            };
            let at_once = before.is_none_or(|b| b.iter().any(stranded));
            let (gap, within) = if at_once {
                (Nanos(0), Nanos(0))
            } else {
                (self.gap(group, &candidates), self.move_within(group))
            };
            out.push(Output::Weights {
                group: group.id,
                members: members.clone(),
                flowlet_gap: gap,
                move_within: within,
            });
            self.published.weights.insert(group.id, members);
        }
    }

    pub(super) fn tunnel_up(&self, tunnel: &TunnelConfig) -> bool {
        let gone = self.peers.get(&tunnel.peer).is_some_and(|p| p.gone);
        !gone
            && self.adaptive.values().all(|group| group.is_usable(tunnel.id))
            && !self.is_over_silence(tunnel.id)
            && self.sas.can_send(tunnel.id)
            && self.health[&tunnel.id].up()
    }

    /// Whether a neighbour that a tunnel leads over is no longer heard.
    pub(super) fn is_over_silence(&self, tunnel: TunnelId) -> bool {
        let leads_over =
            |session: &usize| self.config.bfd.get(*session).is_some_and(|bfd| bfd.tunnels.contains(&tunnel));
        self.silent.iter().any(leads_over)
    }

    pub(super) fn is_fenced(&self, engine: &str) -> bool {
        self.far.get(engine).and_then(|site| self.sites.get(site)).is_some_and(|v| v.is_fenced(engine))
    }

    pub(super) fn tunnel_config(&self, id: TunnelId) -> Option<&TunnelConfig> {
        self.config.tunnels.iter().find(|t| t.id == id)
    }

    /// The direct link can take traffic for this group: the engine behind it is there and its own path on
    /// is up.
    pub(super) fn direct_usable(&self, group: &GroupConfig, tunnel: &TunnelConfig) -> bool {
        let peer = self.peers.get(&tunnel.peer);
        self.tunnel_up(tunnel)
            && peer.is_some_and(|p| {
                p.connected && p.quality(self.now, &self.remotes(group)).is_some_and(|q| q.up)
            })
    }

    fn candidates(&self, group: &GroupConfig) -> Vec<Candidate> {
        let known: Vec<(Member, &TunnelConfig)> =
            group.members.iter().filter_map(|m| Some((*m, self.tunnel_config(m.tunnel)?))).collect();
        let direct = known
            .iter()
            .find(|(m, _)| m.kind == MemberKind::Direct)
            .is_some_and(|(_, tunnel)| self.direct_usable(group, tunnel));
        let handed = match self.ha.is_owner() {
            true => self.handed,
            // What still reaches us after a handover belongs to the new owner.
            false if self.now < self.linger_until && direct => BUCKETS,
            false => 0,
        };
        let candidate = |(member, tunnel): &(Member, &TunnelConfig)| match member.kind {
            MemberKind::Direct => {
                Candidate { tunnel: tunnel.id, desired: f64::from(handed), usable: direct, reserve: 1 }
            }
            MemberKind::Own => {
                let beside: Vec<&TunnelConfig> = known
                    .iter()
                    .filter(|(m, t)| m.kind == MemberKind::Own && t.peer == tunnel.peer && self.is_made(t.id))
                    .map(|(_, t)| *t)
                    .collect();
                let part = match self.adaptive_group(group.id) {
                    Some(adaptive) => adaptive.weight(tunnel.id, |id| self.can_carry(id)),
                    None => self.part_of(tunnel, &beside, group.spread),
                };
                Candidate {
                    tunnel: tunnel.id,
                    desired: f64::from(BUCKETS - handed) * self.far_share(group, &tunnel.peer) * part,
                    usable: self.can_carry(tunnel.id) && !self.is_forbidden(group.id, tunnel.id),
                    reserve: 0,
                }
            }
        };
        let mut all: Vec<Candidate> = known.iter().map(candidate).collect();
        normalise_own(&mut all, BUCKETS - handed);
        all
    }

    /// What one of the tunnels to a far engine carries of that engine's traffic, 0–1; `all` of them in their order.
    fn part_of(&self, tunnel: &TunnelConfig, all: &[&TunnelConfig], spread: Spread) -> f64 {
        match spread {
            Spread::Parallel => 1.0 / all.len() as f64,
            Spread::First => {
                let first = all.iter().find(|t| self.tunnel_up(t)).or(all.first());
                f64::from(u8::from(first.is_some_and(|first| first.id == tunnel.id)))
            }
        }
    }

    /// The part of the far site's traffic that `engine` wants, 0–1.
    fn far_share(&self, group: &GroupConfig, engine: &str) -> f64 {
        let Some(view) = self.sites.get(&group.site) else { return 1.0 };
        if !view.shares().is_empty() {
            let buckets = view.shares().iter().find(|s| s.engine == engine).map_or(0, |s| s.buckets);
            return f64::from(buckets.min(BUCKETS)) / f64::from(BUCKETS);
        }
        match view.owner() {
            Some(owner) if self.far.contains_key(owner) => f64::from(u8::from(owner == engine)),
            _ => 1.0,
        }
    }

    /// How long this group's busy buckets may wait for a gap before they move: less while either site is in a hurry.
    fn move_within(&self, group: &GroupConfig) -> Nanos {
        let usual = Nanos(self.config.shift.verify.0 / 4);
        let far = self.sites.get(&group.site).and_then(|view| view.move_within());
        [self.moves_within(), far].into_iter().flatten().fold(usual, Nanos::min)
    }

    fn gap(&self, group: &GroupConfig, candidates: &[Candidate]) -> Nanos {
        let remotes = self.remotes(group);
        let path = |c: &Candidate| {
            let stats = self.health[&c.tunnel].stats();
            let onward = (c.reserve > 0)
                .then(|| {
                    let peer = &self.tunnel_config(c.tunnel)?.peer;
                    self.peers.get(peer)?.quality(self.now, &remotes)
                })
                .flatten()
                .map_or(Nanos(0), |q| Nanos((q.rtt_us.min(1e6) * 1000.0) as u64));
            (stats.rtt.plus(onward), stats.jitter)
        };
        let usable: Vec<(Nanos, Nanos)> = candidates.iter().filter(|c| c.usable).map(path).collect();
        flowlet_gap(&usable)
    }
}

/// Own tunnels together carry exactly `part`, however the far site splits it among its engines.
fn normalise_own(candidates: &mut [Candidate], part: u32) {
    let own = |c: &&mut Candidate| c.reserve == 0;
    let sum: f64 = candidates.iter_mut().filter(own).map(|c| c.desired).sum();
    if sum > 0.0 {
        candidates.iter_mut().filter(own).for_each(|c| c.desired *= f64::from(part) / sum);
    }
}
