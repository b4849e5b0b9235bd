//! What the controller is told.

use super::{adaptive, application, tunnel_id};
use crate::config::Config;
use crate::config::model::{self, Protocol};
use crate::config::types::{self, Mode, Name, Role};
use control::config::{
    BfdConfig, ClusterConfig, ControllerConfig, GroupConfig, HaConfig, InitialRole, Member, MemberKind,
    PredictionConfig, ProbeConfig, ShiftConfig, Spread, TunnelConfig, WithoutWitness,
};
use control::message::{Endpoints, SaParameters, TunnelKind};
use dataplane::id::{GroupId, Nanos, Spi, TunnelId};
use dataplane::snapshot::{EspUdp, Nat};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `epoch_floor` and `seed` are the runtime's.
pub fn config(config: &Config) -> ControllerConfig {
    let millis = |ms: model::Interval| Nanos::from_millis(ms.get());
    ControllerConfig {
        engine: config.engine.name.to_string(),
        site: config.engine.site.to_string(),
        tunnels: config.tunnels.iter().zip(0..).map(|(t, id)| tunnel(config, t, TunnelId(id))).collect(),
        groups: config.groups.iter().zip(0..).map(|(g, id)| group(config, g, GroupId(id))).collect(),
        ha: config.ha.as_ref().map(|section| ha(section, config.site.is_some())),
        vrrp: super::vrrp::election(config),
        checks: config.checks.iter().map(application::control).collect(),
        bfd: config.bfd.iter().map(|bfd| bfd_config(config, bfd)).collect(),
        votes_for: config.control.iter().flat_map(|c| &c.votes_for).map(Name::to_string).collect(),
        workers: config.dpdk.cores.len() as u16,
        prediction: prediction(config),
        shift: ShiftConfig {
            steps_percent: config.shift.steps.iter().map(|step| step.get() as u8).collect(),
            verify: millis(config.shift.verify_ms),
            watch: Nanos::from_millis(config.shift.watch_seconds.get() * 1000),
            ..ShiftConfig::default()
        },
        probe: ProbeConfig {
            interval_mean: millis(config.probe.interval_ms),
            detect: millis(config.probe.detect_ms),
        },
        cluster: config.cluster.as_ref().map(|cluster| ClusterConfig {
            region: cluster.region.to_string(),
            digest: config.digest.clone(),
        }),
        epoch_floor: 0,
        seed: 0,
    }
}

/// How many workers the engine called `name` has.
fn workers_of(config: &Config, name: &Name) -> u16 {
    let told = config.peers.iter().find(|peer| peer.name == *name).and_then(|peer| peer.workers);
    told.map_or(config.dpdk.cores.len() as u16, |workers| workers.get() as u16)
}

fn tunnel(config: &Config, tunnel: &model::Tunnel, id: TunnelId) -> TunnelConfig {
    let foreign = |peer: &model::Peer| peer.name == tunnel.peer && peer.address.is_none();
    let probed = !config.peers.iter().any(foreign);
    TunnelConfig {
        id,
        name: tunnel.name.to_string(),
        peer: tunnel.peer.to_string(),
        endpoints: endpoints(tunnel),
        protocol: match (&tunnel.protocol, tunnel.protocol.esp(), tunnel.protocol.static_sa()) {
            (Protocol::Direct, ..) => control::config::Protocol::Direct,
            (_, Some(esp), None) => control::config::Protocol::Esp {
                rekey_after: Nanos::from_millis(esp.rekey_seconds.get() * 1000),
                parameters: SaParameters { algorithm: esp.cipher.algorithm(), esn: esp.esn },
                senders: workers_of(config, &tunnel.peer),
            },
            (Protocol::WireGuard(_), ..) => control::config::Protocol::WireGuard { probed },
            (.., sa) => {
                control::config::Protocol::Fixed { probed, spi: sa.map(|sa| Spi(sa.spi_in.get() as u32)) }
            }
        },
    }
}

fn bfd_config(config: &Config, bfd: &model::Bfd) -> BfdConfig {
    // What is parallel to a tunnel leads over the same neighbour.
    let leads_over = |tunnel: &&model::Tunnel| {
        let of = tunnel.parallel.as_ref().map_or(&tunnel.name, |parallel| &parallel.to);
        bfd.tunnels.contains(of)
    };
    let tunnels = config.tunnels.iter().filter(leads_over).map(|t| tunnel_id(config, &t.name)).collect();
    BfdConfig { name: bfd.name.to_string(), tunnels }
}

/// As both ends call the tunnel.
fn endpoints(tunnel: &model::Tunnel) -> Endpoints {
    let (kind, nat) = match tunnel.protocol {
        Protocol::Esp(_) => (TunnelKind::Esp, Nat::None),
        Protocol::EspUdp(_, EspUdp { nat, .. }) => (TunnelKind::EspUdp, nat),
        Protocol::Gre { .. } => (TunnelKind::Gre, Nat::None),
        Protocol::IpIp => (TunnelKind::IpIp, Nat::None),
        Protocol::Vxlan { .. } => (TunnelKind::Vxlan, Nat::None),
        Protocol::WireGuard(_) => (TunnelKind::WireGuard, Nat::None),
        Protocol::Direct => (TunnelKind::Direct, Nat::None),
    };
    let number = tunnel.parallel.as_ref().map_or(0, |parallel| parallel.number);
    let nobody = match tunnel.local {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    match nat {
        Nat::None => Endpoints { local: tunnel.local, remote: tunnel.remote, kind, number },
        Nat::Local => Endpoints { local: nobody, remote: tunnel.remote, kind, number },
        Nat::Remote => Endpoints { local: tunnel.local, remote: nobody, kind, number },
    }
}

fn group(config: &Config, group: &model::Group, id: GroupId) -> GroupConfig {
    let member = |name: &Name| {
        let tunnel = tunnel_id(config, name);
        let direct = config.tunnels[tunnel.index()].protocol == Protocol::Direct;
        Member { tunnel, kind: if direct { MemberKind::Direct } else { MemberKind::Own } }
    };
    GroupConfig {
        id,
        name: group.name.to_string(),
        site: group.site.to_string(),
        members: group.members.iter().map(member).collect(),
        spread: match group.spread {
            types::Spread::Parallel => Spread::Parallel,
            types::Spread::First => Spread::First,
        },
        adaptive: adaptive::adaptive(config, group),
    }
}

fn prediction(config: &Config) -> PredictionConfig {
    let (prediction, default) = (&config.prediction, PredictionConfig::default());
    let weights = config.groups.iter().zip(0..);
    PredictionConfig {
        mode: match prediction.mode {
            Mode::Observe => control::io::Mode::Observe,
            Mode::Approve => control::io::Mode::Approve,
            Mode::Auto => control::io::Mode::Auto,
        },
        threshold: prediction.threshold.map(|threshold| threshold.get() as f32),
        moves_max: prediction.moves_max.get() as usize,
        moves_window: Nanos::from_millis(prediction.moves_minutes.get() * 60_000),
        sla_weights: weights.map(|(group, id)| (GroupId(id), group.sla_weight.get() as f32)).collect(),
        ..default
    }
}

fn ha(ha: &model::Ha, shares_config: bool) -> HaConfig {
    HaConfig {
        shares_config,
        initial: match ha.role {
            Role::Active => InitialRole::Active,
            Role::Standby => InitialRole::Standby,
        },
        peer: ha.peer.to_string(),
        witness: ha.witness.as_ref().map(Name::to_string),
        lease: Nanos::from_millis(ha.lease_ms.get()),
        without_witness: match ha.without_witness {
            types::WithoutWitness::Hold => WithoutWitness::Hold,
            types::WithoutWitness::DualActive => WithoutWitness::DualActive,
        },
        failback: match ha.failback {
            types::Failback::Manual => None,
            types::Failback::Auto => Some(Nanos::from_millis(ha.failback_seconds.get() * 1000)),
        },
    }
}
