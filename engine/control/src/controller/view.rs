//! What a person or the telemetry may look at.

use super::Controller;
use crate::adaptive::Adaptive;
use crate::checks::{Sighted, View};
use crate::config::{GroupConfig, TunnelConfig};
use crate::decision::Decision;
use crate::health::PathStats;
use crate::io::Mode;
use crate::peers::Peer;
use crate::status::{
    AlarmStatus, CheckStatus, CheckView, GroupStatus, RoleStatus, SwitchoverStatus, TunnelState, TunnelStatus,
};
use crate::switchover::Switchover;
use dataplane::id::{GroupId, TunnelId};

impl Controller {
    /// A tunnel's measured quality.
    pub fn path(&self, tunnel: TunnelId) -> Option<PathStats> {
        self.health.get(&tunnel).map(|path| path.stats())
    }

    /// All tunnels that exist, in configuration order.
    pub fn tunnels(&self) -> Vec<TunnelStatus> {
        self.config.tunnels.iter().filter(|t| self.is_there(t.id)).map(|t| self.tunnel_status(t)).collect()
    }

    pub(super) fn tunnel_state(&self, tunnel: &TunnelConfig) -> TunnelState {
        let path = &self.health[&tunnel.id];
        if self.peers.get(&tunnel.peer).is_some_and(|p| p.gone) || self.is_drained(tunnel.id) {
            TunnelState::Draining
        } else if !path.probing() {
            TunnelState::Proposed
        } else if path.up() && !self.is_over_silence(tunnel.id) {
            TunnelState::Up
        } else if path.ever_up() {
            TunnelState::Down
        } else {
            TunnelState::Probing
        }
    }

    fn tunnel_status(&self, tunnel: &TunnelConfig) -> TunnelStatus {
        let (inbound_generation, outbound_generation) = self.sas.generations(tunnel.id);
        TunnelStatus {
            id: tunnel.id,
            name: tunnel.name.clone(),
            peer: tunnel.peer.clone(),
            state: self.tunnel_state(tunnel),
            fenced: self.is_fenced(&tunnel.peer),
            inbound_generation,
            outbound_generation,
            path: self.health[&tunnel.id].stats(),
        }
    }

    /// All groups with the split last published.
    pub fn groups(&self) -> Vec<GroupStatus> {
        let members = |id: GroupId| {
            let published = self.published.weights.get(&id).into_iter().flatten();
            published.filter(|(tunnel, _)| self.is_there(*tunnel)).copied().collect()
        };
        let status = |g: &GroupConfig| GroupStatus {
            id: g.id,
            name: g.name.clone(),
            members: members(g.id),
            adaptive: self.adaptive.get(&g.id).map(Adaptive::status),
        };
        self.config.groups.iter().map(status).collect()
    }

    /// Who owns the site.
    pub fn role(&self) -> RoleStatus {
        RoleStatus {
            owner: self.ha.is_owner(),
            epoch: self.ha.epoch(),
            site_owner: self.ha.owner().map(str::to_owned),
            forward_until: self.ha.forward_until(),
            handed_buckets: self.handed,
        }
    }

    /// The prediction alarm.
    pub fn alarm(&self) -> AlarmStatus {
        AlarmStatus {
            raised: self.failure.raised_at().is_some(),
            since: self.failure.raised_at(),
            probability: self.failure.last().probability,
            threshold: self.failure.threshold(),
            drift: self.failure.last().drift,
            peer_raised: self.ha.peer().and_then(|p| self.peers.get(p)).is_some_and(Peer::alarm),
        }
    }

    /// The switchover under way or watched, or else the last one.
    pub fn switchover(&self) -> Option<SwitchoverStatus> {
        self.switchover.as_ref().map(Switchover::status)
    }

    /// The application checks, in the order of the configuration.
    pub fn checks(&self) -> Vec<CheckStatus> {
        let view = |view: View| CheckView {
            state: view.state,
            began: view.began,
            reason: Some(view.reason).filter(|reason| !reason.is_empty()),
        };
        let pair = self.ha.peer().is_some();
        let status = |check: Sighted| CheckStatus {
            name: check.name,
            blocks: check.blocks,
            here: view(check.own),
            there: pair.then(|| view(check.other)),
        };
        self.checks.sight(self.now).into_iter().map(status).collect()
    }

    /// The latest decisions, oldest first.
    pub fn decisions(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter()
    }

    /// How far prediction may go by itself.
    pub fn mode(&self) -> Mode {
        self.failure.config().mode
    }

    /// True after [`crate::io::Input::Shutdown`]: nothing more will be ordered.
    pub fn stopped(&self) -> bool {
        self.stopped
    }
}
