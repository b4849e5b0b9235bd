//! What will run: the configuration with every name resolved to an id, every default decided, every
//! MTU derived. Pure: the same file gives the same plan on any machine.

mod access;
pub(crate) mod adaptive;
mod application;
mod controller;
pub(crate) mod ports;
mod shadow;
mod shaper;
#[cfg(test)]
mod tests;
mod vrrp;
mod wireguard;

pub use access::AccessPlan;
pub use adaptive::{AdaptivePlan, ForecastPlan};
pub use shadow::{ShadowPlan, StaticSaPlan};
pub use shaper::{ClassPlan, ShaperPlan};
pub use wireguard::WireGuardPlan;

use crate::checks::CheckPlan;
use crate::config::cluster::Cluster;
use crate::config::mirror::Mirror;
use crate::config::model::{self, Protocol, RouteTarget};
use crate::config::types::{self, CryptoProvider, LogLevel, Name};
use crate::config::{Config, underlay};
use crate::epochs::Lane;
use control::config::ControllerConfig;
use dataplane::bfd::Hops;
use dataplane::id::{GroupId, InterfaceId, PortId, Spi, TunnelId};
use dataplane::replay::WindowSize;
use dataplane::sa::Algorithm;
use dataplane::snapshot::{Encapsulation, Interface, NextHop, Tunnel, Vxlan};
use dataplane::tunnel::vxlan::derived_mac;
use dataplane::wire::MacAddr;
use dpdk::{EalPlan, Hugepages, PoolConfig, PortConfig};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Everything that will run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// This engine's name: the one in its certificate.
    pub name: String,
    /// The site it serves.
    pub site: String,
    /// What EAL starts with.
    pub eal: EalPlan,
    /// The CPU of each worker, by worker.
    pub workers: Vec<u16>,
    /// What idle workers do.
    pub idle: Idle,
    /// The pool of each socket; the caller names the socket.
    pub pool: PoolConfig,
    /// The large buffers of each socket, where some frames need them.
    pub jumbo: Option<PoolConfig>,
    /// By [`PortId`].
    pub ports: Vec<PortPlan>,
    /// Interfaces' names, by [`InterfaceId`].
    pub interface_names: Vec<String>,
    /// What the first snapshot is made of.
    pub forwarding: ForwardingPlan,
    /// More routes, which may change while the engine runs.
    pub routes_file: Option<PathBuf>,
    /// What forwarding does not need to know of tunnels, by [`TunnelId`].
    pub tunnels: Vec<TunnelPlan>,
    /// What the controller is told. `epoch_floor` and `seed` are 0: the runtime sets them at each start.
    pub controller: ControllerConfig,
    /// The application checks, in the order of the controller's.
    pub checks: Vec<CheckPlan>,
    /// Groups whose tunnels follow their traffic.
    pub adaptive: Vec<AdaptivePlan>,
    /// The state store, if any.
    pub cluster: Option<Cluster>,
    /// What is mirrored to the other engine of the site, and what it may mirror here, if anything.
    pub mirror: Option<Mirror>,
    /// The control connections, if any.
    pub control: Option<ControlPlan>,
    /// Who holds whose sessions, if anybody does.
    pub shadow: Option<ShadowPlan>,
    /// The predictor's model; the built-in one if absent.
    pub model: Option<PathBuf>,
    /// Keeping models and learning, if wanted.
    pub learning: Option<LearningPlan>,
    /// The Unix socket of the commands.
    pub api_socket: PathBuf,
    /// Where Prometheus scrapes.
    pub metrics: Option<SocketAddr>,
    /// Where telemetry samples are appended.
    pub record: Option<PathBuf>,
    /// What computes ESP.
    pub crypto: CryptoProvider,
    /// Where live ESP keys are appended, in tshark's `esp_sa` format.
    pub export_esp_keys: Option<PathBuf>,
    /// Whether `foreshift fault` may harm this engine.
    pub faults: bool,
    /// The most ICMP errors a second that each worker originates.
    pub icmp_errors_per_second: u32,
    /// Who may pass.
    pub access: AccessPlan,
    /// The least severe message that is logged, unless `RUST_LOG` says otherwise.
    pub log_level: LogLevel,
}

/// Keeping models and learning from the engine's own history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearningPlan {
    /// The folder of models by name.
    pub store: PathBuf,
    /// The folder of the history; without it nothing is trained.
    pub history: Option<PathBuf>,
    /// The most that it may take.
    pub history_bytes: u64,
    /// Other recordings to train on.
    pub recordings: Option<PathBuf>,
    /// Between two trainings.
    pub retrain: Duration,
    /// How long a challenger runs in shadow.
    pub shadow: Duration,
}

/// What a worker does when its polls find nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Polls on.
    Spin,
    /// Sleeps this long.
    Backoff {
        /// The sleep.
        sleep: Duration,
    },
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan {
    /// Its number.
    pub id: PortId,
    /// Its name.
    pub name: String,
    /// How DPDK starts it.
    pub config: PortConfig,
}

/// What the snapshot is made of.
#[derive(Clone, Debug)]
pub struct ForwardingPlan {
    /// By [`InterfaceId`]; MAC addresses are zero until the ports are open.
    pub interfaces: Vec<Interface>,
    /// The addresses of the site's owner, each with the prefix of its interface.
    pub gateway: Option<(InterfaceId, Vec<IpNet>)>,
    /// The static routes. Connected and local ones follow from the interfaces.
    pub routes: Vec<(IpNet, NextHop)>,
    /// By [`TunnelId`]; all of them down.
    pub tunnels: Vec<Tunnel>,
    /// By [`GroupId`].
    pub groups: Vec<GroupPlan>,
    /// Neighbours that are watched.
    pub bfd: Vec<dataplane::bfd::Parameters>,
}

/// A tunnel group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPlan {
    /// Its number.
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// The far site.
    pub site: String,
    /// Its tunnels, at least one.
    pub members: Vec<TunnelId>,
    /// Whether TCP SYNs' MSS is lowered to fit.
    pub mss_clamp: bool,
    /// Where packets go while another engine owns the site, and has the members' SAs.
    pub to_owner: Option<TunnelId>,
}

/// A tunnel, beyond its encapsulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelPlan {
    /// Its number.
    pub id: TunnelId,
    /// Its name.
    pub name: String,
    /// The engine at the far end.
    pub peer: String,
    /// As the configuration calls it: `esp`, `gre`, …
    pub protocol: &'static str,
    /// How its SAs are made.
    pub esp: Option<EspPlan>,
    /// Who its ends are, where it is WireGuard's.
    pub wireguard: Option<WireGuardPlan>,
    /// How fast packets go into it.
    pub shaper: Option<ShaperPlan>,
}

/// How a tunnel's SAs are made. Renewal by time is the controller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EspPlan {
    /// The AEAD.
    pub algorithm: Algorithm,
    /// Whether sequence numbers have 64 bits.
    pub esn: bool,
    /// New keys after so many packets: an outbound SA's soft limit.
    pub rekey_packets: u64,
    /// An inbound SA's anti-replay window.
    pub replay_window: WindowSize,
    /// The SAs themselves, where they are not negotiated.
    pub static_sa: Option<StaticSaPlan>,
}

/// The control connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPlan {
    /// Where peers connect to.
    pub listen: SocketAddr,
    /// PEM of the authority.
    pub ca: PathBuf,
    /// PEM of this engine's certificate.
    pub cert: PathBuf,
    /// PEM of its private key.
    pub key: PathBuf,
    /// Every other engine that is not foreign.
    pub peers: Vec<PeerPlan>,
}

/// Another engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerPlan {
    /// The name in its certificate.
    pub name: String,
    /// The site it serves.
    pub site: String,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Plan {
    /// The plan of a valid configuration.
    pub fn from_config(config: &Config) -> Plan {
        let config = &adaptive::with_spares(config);
        let workers: Vec<u16> = config.dpdk.cores.iter().map(|core| core.get() as u16).collect();
        Plan {
            name: config.engine.name.to_string(),
            site: config.engine.site.to_string(),
            eal: eal(config, &workers),
            idle: match config.dpdk.idle {
                model::Idle::Spin => Idle::Spin,
                model::Idle::Backoff { sleep_us } => {
                    Idle::Backoff { sleep: Duration::from_micros(sleep_us.into()) }
                }
            },
            pool: ports::pool(config),
            jumbo: ports::jumbo(config),
            ports: ports::ports(config),
            interface_names: config.interfaces.iter().map(|i| i.name.to_string()).collect(),
            forwarding: forwarding(config),
            routes_file: config.routing.file.clone(),
            tunnels: config
                .tunnels
                .iter()
                .zip(0..)
                .map(|(t, id)| tunnel_plan(config, t, TunnelId(id)))
                .collect(),
            controller: controller::config(config),
            checks: application::plans(config),
            adaptive: adaptive::plans(config),
            control: config.control.as_ref().map(|control| control_plan(config, control)),
            cluster: config.cluster.clone(),
            mirror: config.mirror,
            shadow: ShadowPlan::from_config(config),
            model: config.prediction.model.clone(),
            learning: config.prediction.learning.as_ref().map(learning),
            api_socket: config.api.socket.clone(),
            metrics: config.api.metrics,
            record: config.telemetry.record.clone(),
            crypto: config.crypto.provider,
            export_esp_keys: config.debug.export_esp_keys.clone(),
            faults: config.debug.faults,
            icmp_errors_per_second: config.icmp.errors_per_second.get() as u32,
            access: AccessPlan::from_config(config),
            log_level: config.log.level,
            workers,
        }
    }
}

fn eal(config: &Config, workers: &[u16]) -> EalPlan {
    let control_core = config.dpdk.control_core.map(|core| core.get() as u16);
    EalPlan {
        main_core: control_core.or(workers.first().copied()).unwrap_or(0),
        worker_cores: workers.to_vec(),
        hugepages: match config.dpdk.hugepages {
            types::Hugepages::Auto => Hugepages::Auto,
            types::Hugepages::Always => Hugepages::On,
            types::Hugepages::Never => Hugepages::Off,
        },
        memory_mb: config.dpdk.memory_mb.get() as u32,
        file_prefix: format!("foreshift-{}", config.engine.name),
        vdevs: ports::vdevs(config),
        pci: ports::pci(config),
        log_level: match config.log.level {
            LogLevel::Error => dpdk::LogLevel::Error,
            LogLevel::Warn | LogLevel::Info => dpdk::LogLevel::Warning,
            LogLevel::Debug => dpdk::LogLevel::Info,
            LogLevel::Trace => dpdk::LogLevel::Debug,
        },
    }
}

fn learning(learning: &model::Learning) -> LearningPlan {
    LearningPlan {
        store: learning.store.clone(),
        history: learning.history.clone(),
        history_bytes: learning.history_mb.get() * 1_000_000,
        recordings: learning.recordings.clone(),
        retrain: learning.retrain_hours.get(),
        shadow: learning.shadow_minutes.get(),
    }
}

fn forwarding(config: &Config) -> ForwardingPlan {
    let gateway = config.gateway.as_ref().map(|gateway| {
        let id = interface_id(config, &gateway.interface);
        let nets = &config.interfaces[id.index()].addresses;
        let length = |ip: &IpAddr| {
            nets.iter()
                .filter(|net| net.contains(ip))
                .map(IpNet::prefix_len)
                .max()
                .expect("checked to be on a prefix")
        };
        let addresses = gateway.addresses.iter();
        (
            id,
            addresses
                .map(|ip| IpNet::new(*ip, length(ip)).expect("the length of the same version"))
                .collect(),
        )
    });
    let group = |(group, id): (&model::Group, u16)| GroupPlan {
        id: GroupId(id),
        name: group.name.to_string(),
        site: group.site.to_string(),
        members: group.members.iter().map(|name| tunnel_id(config, name)).collect(),
        mss_clamp: group.mss_clamp,
        to_owner: shadow::to_owner(config, group),
    };
    ForwardingPlan {
        interfaces: config
            .interfaces
            .iter()
            .zip(0..)
            .map(|(i, id)| interface(config, i, InterfaceId(id)))
            .collect(),
        gateway,
        routes: config.routes.iter().map(|r| (r.prefix, next_hop(config, &r.target))).collect(),
        tunnels: config.tunnels.iter().zip(0..).map(|(t, id)| tunnel(config, t, TunnelId(id))).collect(),
        groups: config.groups.iter().zip(0..).map(group).collect(),
        bfd: config.bfd.iter().map(|bfd| bfd_session(config, bfd)).collect(),
    }
}

fn bfd_session(config: &Config, bfd: &model::Bfd) -> dataplane::bfd::Parameters {
    let id = interface_id(config, &bfd.interface);
    let interface = &config.interfaces[id.index()];
    dataplane::bfd::Parameters {
        interface: id,
        hops: bfd.multihop.map_or(Hops::Single, |ttl| Hops::Multi { ttl_min: ttl.get() as u8 }),
        local: underlay::address_towards(interface, bfd.remote)
            .or_else(|| underlay::address_like(interface, bfd.remote))
            .expect("checked to be there"),
        remote: bfd.remote,
        // Names the session to us alone; 0 names none (RFC 5880 §6.8.1).
        discriminator: bfd.index as u32 + 1,
        interval: Duration::from_millis(bfd.interval_ms.get()),
        multiplier: bfd.multiplier.get() as u8,
    }
}

/// The number of the thing called `name`: its place in the file.
fn place<'a>(mut names: impl Iterator<Item = &'a Name>, name: &Name) -> u16 {
    names.position(|known| known == name).expect("references were checked") as u16
}

fn interface_id(config: &Config, name: &Name) -> InterfaceId {
    InterfaceId(place(config.interfaces.iter().map(|i| &i.name), name))
}

fn tunnel_id(config: &Config, name: &Name) -> TunnelId {
    TunnelId(place(config.tunnels.iter().map(|t| &t.name), name))
}

fn interface(config: &Config, interface: &model::Interface, id: InterfaceId) -> Interface {
    let port = place(config.ports.iter().map(|p| &p.name), &interface.port);
    let has = |ip: IpAddr| interface.addresses.iter().any(|net| net.addr() == ip);
    Interface {
        id,
        port: PortId(port),
        vlan: interface.vlan,
        mac: MacAddr::ZERO,
        mtu: config.ports[usize::from(port)].mtu.get() as u16,
        addresses: interface.addresses.clone(),
        gateway: Vec::new(),
        site_link: config.tunnels.iter().any(|t| t.protocol == Protocol::Direct && has(t.local)),
        virtual_router: vrrp::virtual_router(config, interface),
    }
}

fn next_hop(config: &Config, target: &RouteTarget) -> NextHop {
    match target {
        RouteTarget::Blackhole => NextHop::Blackhole,
        RouteTarget::Group(name) => {
            NextHop::Group(GroupId(place(config.groups.iter().map(|g| &g.name), name)))
        }
        RouteTarget::Via(gateway) => {
            let interface = underlay::connected(config, *gateway).expect("checked to be a neighbour");
            NextHop::Via { interface: interface_id(config, &interface.name), gateway: *gateway }
        }
    }
}

fn tunnel(config: &Config, tunnel: &model::Tunnel, id: TunnelId) -> Tunnel {
    let way = underlay::resolve(config, tunnel.remote).expect("checked to have a way");
    let port = place(config.ports.iter().map(|p| &p.name), &way.interface.port);
    let port_mtu = config.ports[usize::from(port)].mtu.get() as u16;
    Tunnel {
        id,
        encapsulation: encapsulation(tunnel),
        local: tunnel.local,
        remote: tunnel.remote,
        interface: interface_id(config, &way.interface.name),
        next_hop: way.next_hop,
        mtu: inner_mtu(port_mtu, tunnel),
        up: false,
        fenced: false,
    }
}

/// The largest inner packet of `tunnel` in outer packets of at most `underlay` octets.
pub fn inner_mtu(underlay: u16, tunnel: &model::Tunnel) -> u16 {
    dataplane::tunnel::inner_mtu(underlay, encapsulation(tunnel), tunnel.remote.is_ipv4())
}

/// How `tunnel` wraps packets.
pub fn encapsulation(tunnel: &model::Tunnel) -> Encapsulation {
    match tunnel.protocol {
        Protocol::Esp(_) => Encapsulation::Esp,
        Protocol::EspUdp(_, udp) => Encapsulation::EspUdp(udp),
        Protocol::Gre { key, sequence } => Encapsulation::Gre { key, sequence },
        Protocol::IpIp => Encapsulation::IpIp,
        Protocol::Vxlan { vni, local_mac, remote_mac } => Encapsulation::Vxlan(Vxlan {
            vni,
            local_mac: local_mac.unwrap_or_else(|| derived_mac(tunnel.local)),
            remote_mac: remote_mac.unwrap_or_else(|| derived_mac(tunnel.remote)),
        }),
        Protocol::WireGuard(ref wireguard) => wireguard.encapsulation(),
        Protocol::Direct => Encapsulation::Direct,
    }
}

fn tunnel_plan(config: &Config, tunnel: &model::Tunnel, id: TunnelId) -> TunnelPlan {
    let gateway = config.gateway.as_ref().filter(|gateway| gateway.addresses.contains(&tunnel.local));
    let site = gateway.map(|_| shadow::part_of_site(config)).map(|(index, of)| Lane { index, of });
    let protocol = tunnel.protocol.name().as_str();
    let shaper = tunnel.shaper.as_ref().map(ShaperPlan::from_config);
    let esp = tunnel.protocol.esp().map(|esp| EspPlan {
        algorithm: esp.cipher.algorithm(),
        esn: esp.esn,
        rekey_packets: esp.rekey_packets.get(),
        replay_window: esp.replay_window,
        static_sa: esp.static_sa.as_ref().map(|sa| StaticSaPlan {
            spi_in: Spi(sa.spi_in.get() as u32),
            spi_out: Spi(sa.spi_out.get() as u32),
            key_file_in: sa.key_file_in.clone(),
            key_file_out: sa.key_file_out.clone(),
            state_folder: sa.state_folder.clone(),
            site,
        }),
    });
    let (name, peer) = (tunnel.name.to_string(), tunnel.peer.to_string());
    TunnelPlan { id, name, peer, protocol, esp, wireguard: WireGuardPlan::of(config, tunnel), shaper }
}

fn control_plan(config: &Config, control: &model::Control) -> ControlPlan {
    let peer = |peer: &model::Peer| {
        Some(PeerPlan { name: peer.name.to_string(), site: peer.site.to_string(), address: peer.address? })
    };
    ControlPlan {
        listen: control.listen,
        ca: control.ca.clone(),
        cert: control.cert.clone(),
        key: control.key.clone(),
        peers: config.peers.iter().filter_map(peer).collect(),
    }
}
