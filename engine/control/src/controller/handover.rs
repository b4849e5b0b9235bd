//! What a controller leaves to the one of another process of its engine ([`crate::handover`]): what the workers go on with, so that
//! nothing changes for them when the new one has its first say. What is measured and learnt begins anew.

#[cfg(test)]
mod tests;

use super::Controller;
use crate::config::ControllerConfig;
use crate::ha::fence::SiteView;
use crate::io::Mode;
use crate::message::Endpoints;
use crate::tunnels::Generations;
use crate::vrrp::VrrpState;
use dataplane::id::Epoch;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// See the module. Names, not numbers: the other process may have another configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControllerState {
    /// No epoch up to this one is taken again.
    epoch: Epoch,
    /// As configured, and as a person has set it since.
    mode: (Mode, Mode),
    tunnels: BTreeMap<String, TunnelState>,
    sites: BTreeMap<String, SiteView>,
    /// Of the virtual routers, those that are the gateway, by the address that they advertise from.
    gateway: Vec<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct TunnelState {
    peer: String,
    endpoints: Endpoints,
    /// Its probes return.
    up: bool,
    /// The number of the last probe.
    sequence: u32,
    /// Of its SAs, if they are agreed on with the peer.
    generations: Option<Generations>,
}

impl ControllerState {
    /// Where the engine is the gateway, of the virtual routers that it stands for: by the addresses that it advertises from.
    pub fn gateway(&self) -> &[IpAddr] {
        &self.gateway
    }
}

impl Controller {
    /// Why nobody can go on where this controller is, if it is so.
    pub fn not_to_be_followed(&self) -> Option<&'static str> {
        if self.config.ha.is_some() {
            return Some(
                "this engine has a standby: drain it, restart it and take the traffic back, and nothing is lost",
            );
        }
        if !self.adaptive.is_empty() {
            return Some("tunnels that follow the traffic ([group.adaptive]) are not handed over");
        }
        self.stopped.then_some("this process ends")
    }

    /// What another process goes on with.
    pub fn state(&self) -> ControllerState {
        let tunnel = |tunnel: &crate::config::TunnelConfig| {
            let path = &self.health[&tunnel.id];
            let state = TunnelState {
                peer: tunnel.peer.clone(),
                endpoints: tunnel.endpoints,
                up: path.up(),
                sequence: path.sequence(),
                generations: self.sas.state(tunnel.id),
            };
            (tunnel.name.clone(), state)
        };
        let routers = self.virtual_routers().into_iter();
        ControllerState {
            epoch: self.ha.epoch(),
            mode: (self.config.prediction.mode, self.failure.config().mode),
            tunnels: self.config.tunnels.iter().map(tunnel).collect(),
            sites: self.sites.clone(),
            gateway: routers.filter(|r| r.state == VrrpState::Active).map(|r| r.local).collect(),
        }
    }

    /// A controller that goes on where another process's has ended. What `config` no longer has, or has otherwise, begins anew.
    pub fn resumed(mut config: ControllerConfig, state: &ControllerState) -> Controller {
        config.epoch_floor = config.epoch_floor.max(state.epoch.0);
        let mut controller = Controller::new(config);
        let (configured, mode) = state.mode;
        if controller.config.prediction.mode == configured {
            controller.failure.set_mode(mode);
        }
        for tunnel in &controller.config.tunnels {
            let known = state.tunnels.get(&tunnel.name);
            let same = |old: &&TunnelState| (&old.peer, old.endpoints) == (&tunnel.peer, tunnel.endpoints);
            let Some(old) = known.filter(same) else { continue };
            if let Some(generations) = &old.generations {
                controller.sas.resume(tunnel.id, generations);
            }
            if let Some(path) = controller.health.get_mut(&tunnel.id).filter(|_| old.up) {
                path.resume(old.sequence);
            }
        }
        for (site, view) in &mut controller.sites {
            if let Some(old) = state.sites.get(site) {
                *view = old.clone();
            }
        }
        if let Some(elections) = &mut controller.elections {
            elections.resume(&state.gateway);
        }
        controller
    }
}
