//! Tunnels that are made while the engine runs: their places are planned beforehand, so that workers have all that
//! they will ever need from their start.

use super::tunnel_id;
use crate::config::Config;
use crate::config::adaptive::Adaptive;
use crate::config::model::{Group, Parallel, Protocol, Tunnel};
use control::config::{AdaptiveConfig, AdaptiveTunnel, PathPolicy, RateRange};
use dataplane::id::{GroupId, Nanos, TunnelId};
use dataplane::snapshot::{EspUdp, Nat};
use dataplane::wire::vxlan::Vni;
use std::time::Duration;

/// What of an adaptive group is measured and forecast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdaptivePlan {
    /// The group.
    pub group: GroupId,
    /// Its own tunnels, the places for parallel ones among them.
    pub tunnels: Vec<TunnelId>,
    /// Those of them that are configured.
    pub configured: Vec<TunnelId>,
    /// How it is forecast, if it is.
    pub forecast: Option<ForecastPlan>,
}

/// A forecast's series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForecastPlan {
    /// One value of it.
    pub step: Duration,
    /// Steps of a season.
    pub season: usize,
    /// Steps ahead, increasing.
    pub horizons: Vec<usize>,
}

/// The same configuration with a place for every parallel tunnel that may be made, behind what is configured.
pub fn with_spares(config: &Config) -> Config {
    let mut all = config.clone();
    for (group, spares) in config.groups.iter().map(|group| spares(config, group)).enumerate() {
        all.groups[group].members.extend(spares.iter().map(|spare| spare.name.clone()));
        all.tunnels.extend(spares);
    }
    all
}

/// The configured tunnels of a group that lead out of the site.
pub fn own<'a>(config: &'a Config, group: &'a Group) -> impl Iterator<Item = &'a Tunnel> {
    let named = group.members.iter().filter_map(|name| config.tunnels.iter().find(|t| t.name == *name));
    named.filter(|tunnel| tunnel.protocol != Protocol::Direct)
}

/// Places for tunnels parallel to each of a group's own ones: as many as could be made beside those that are configured.
pub fn spares(config: &Config, group: &Group) -> Vec<Tunnel> {
    let Some(adaptive) = &group.adaptive else { return Vec::new() };
    let free = (adaptive.tunnels_max.get() as usize).saturating_sub(own(config, group).count());
    let negotiated =
        |tunnel: &&Tunnel| config.peers.iter().any(|peer| peer.name == tunnel.peer && peer.address.is_some());
    own(config, group)
        .filter(negotiated)
        .flat_map(|tunnel| (1..=free as u16).filter_map(|number| parallel(tunnel, number)))
        .collect()
}

/// A tunnel like `tunnel` that the far end can tell from it; `None` where there is nothing to tell them apart by.
fn parallel(tunnel: &Tunnel, number: u16) -> Option<Tunnel> {
    let protocol = match &tunnel.protocol {
        // SPIs tell them apart.
        Protocol::Esp(esp) => Protocol::Esp(esp.clone()),
        // Behind a NAT each would have to be seen before it is known where it ends.
        Protocol::EspUdp(esp, udp @ EspUdp { nat: Nat::None, .. }) => Protocol::EspUdp(esp.clone(), *udp),
        Protocol::Gre { key, sequence } => {
            Protocol::Gre { key: key.unwrap_or(0).checked_add(number.into()), sequence: *sequence }
        }
        Protocol::Vxlan { vni, local_mac, remote_mac } => {
            let vni = Vni::try_from(vni.get() + u32::from(number)).ok()?;
            Protocol::Vxlan { vni, local_mac: *local_mac, remote_mac: *remote_mac }
        }
        _ => return None,
    };
    if let Protocol::Gre { key: None, .. } = protocol {
        return None;
    }
    let parallel = Some(Parallel { to: tunnel.name.clone(), number });
    Some(Tunnel { name: tunnel.name.parallel(number), protocol, parallel, ..tunnel.clone() })
}

/// Whether what it carries is encrypted.
pub fn encrypts(tunnel: &Tunnel) -> bool {
    tunnel.protocol.esp().is_some()
}

/// What is measured of the groups of a configuration with spares.
pub fn plans(config: &Config) -> Vec<AdaptivePlan> {
    let plan = |(group, id): (&Group, u16)| {
        let adaptive = group.adaptive.as_ref()?;
        let ids = |tunnels: &mut dyn Iterator<Item = &Tunnel>| {
            tunnels.map(|t| tunnel_id(config, &t.name)).collect()
        };
        Some(AdaptivePlan {
            group: GroupId(id),
            tunnels: ids(&mut own(config, group)),
            configured: ids(&mut own(config, group).filter(|t| t.parallel.is_none())),
            forecast: adaptive.forecast.map(|forecast| {
                let lead = forecast.steps(forecast.lead);
                let mut horizons = vec![1, lead.div_ceil(2), lead];
                horizons.dedup();
                ForecastPlan { step: forecast.step, season: forecast.steps(forecast.season), horizons }
            }),
        })
    };
    config.groups.iter().zip(0..).filter_map(plan).collect()
}

/// What the controller is told of a group of a configuration with spares. What wrapping costs is measured by the runtime.
pub fn adaptive(config: &Config, group: &Group) -> Option<AdaptiveConfig> {
    let adaptive = group.adaptive.as_ref()?;
    let nanos = |duration: Duration| Nanos(duration.as_nanos() as u64);
    let default = AdaptiveConfig::new();
    Some(AdaptiveConfig {
        act: adaptive.act,
        failure: adaptive.failure.map_or(default.failure, |p| p.get() as f32),
        utilisation: adaptive.utilisation.map_or(default.utilisation, |p| p.get()),
        release: adaptive.release.map_or(default.release, |p| p.get()),
        tunnels_max: adaptive.tunnels_max.get() as usize,
        cooldown: nanos(adaptive.cooldown),
        idle_after: nanos(adaptive.idle),
        actions_max: adaptive.actions_max.get() as usize,
        actions_window: nanos(adaptive.actions_window),
        lead: adaptive.forecast.map_or(default.lead, |forecast| nanos(forecast.lead)),
        policy: policy(adaptive),
        tunnels: own(config, group).map(|tunnel| known(config, tunnel)).collect(),
        ..default
    })
}

/// What a group may use.
pub fn policy(adaptive: &Adaptive) -> PathPolicy {
    PathPolicy {
        encrypted: adaptive.encrypted,
        mtu_min: adaptive.mtu_min.map_or(0, |mtu| mtu.get() as u16),
        cost_max: adaptive.cost_max.map_or(u32::MAX, |cost| cost.get() as u32),
    }
}

fn known(config: &Config, tunnel: &Tunnel) -> AdaptiveTunnel {
    let rate = tunnel.shaper.as_ref().map(|shaper| {
        let ceiling = shaper.ceiling_kbps.unwrap_or(shaper.rate_kbps);
        RateRange { configured: shaper.rate_kbps.get() * 1000, ceiling: ceiling.get() * 1000 }
    });
    AdaptiveTunnel {
        tunnel: tunnel_id(config, &tunnel.name),
        parallel_to: tunnel.parallel.as_ref().map(|parallel| tunnel_id(config, &parallel.to)),
        encrypted: encrypts(tunnel),
        cost: tunnel.cost,
        cycles_per_packet: 0.0,
        rate,
    }
}
