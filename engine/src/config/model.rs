//! The configuration, section by section, every value valid in itself. Paths are absolute or relative
//! to the working folder: [`super::Config::load`] has resolved those relative to the file.

use super::adaptive::Adaptive;
mod tunnel;

pub use tunnel::*;

use super::types::{
    BondMode, BondPolicy, CryptoProvider, Device, Failback, Hugepages, IdleMode, LogLevel, Mode, Name, Role,
    Spread, WithoutWitness,
};
use super::value::{Probability, Weight, Whole};
use super::vrrp::Vrrp;
use dataplane::wire::VlanId;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Milliseconds, or microseconds where the field says so: at most a minute.
pub type Interval = Whole<1, 60_000>;

/// `[engine]`
#[derive(Clone, Debug, PartialEq)]
pub struct Engine {
    /// The name in its certificate.
    pub name: Name,
    /// The site it serves.
    pub site: Name,
}

/// What a worker does when its polls find nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Polls on.
    Spin,
    /// Sleeps this many microseconds at the most.
    Backoff { sleep_us: u32 },
}

/// `[dpdk] idle = { … }` as written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IdleSection {
    /// Spin or back off.
    pub mode: IdleMode,
    /// The longest sleep, microseconds.
    pub sleep_us: Option<Whole<1, 10_000>>,
}

/// `[dpdk]`
#[derive(Clone, Debug, PartialEq)]
pub struct Dpdk {
    /// One a worker.
    pub cores: Vec<Whole<0, 1023>>,
    /// Where everything else runs; unpinned if absent.
    pub control_core: Option<Whole<0, 1023>>,
    /// What idle workers do.
    pub idle: Idle,
    /// Whether hugepages are used.
    pub hugepages: Hugepages,
    /// Memory for pools and queues, MiB.
    pub memory_mb: Whole<16, 1_048_576>,
    /// Packet buffers in the pool of each socket.
    pub mbufs: Whole<512, 16_777_216>,
    /// Bytes of each, headroom not counted; what the largest MTU needs if absent.
    pub data_room: Option<Whole<1024, 16_384>>,
    /// Large buffers of each socket, for frames that `data_room` does not hold.
    pub jumbo_mbufs: Whole<64, 1_048_576>,
}

/// Ports joined to one.
#[derive(Clone, Debug, PartialEq)]
pub struct Bond {
    /// Who carries what.
    pub mode: BondMode,
    /// What is hashed to spread flows over members.
    pub policy: BondPolicy,
    /// At least one.
    pub members: Vec<Device>,
}

/// `[[port]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its place in the file.
    pub index: usize,
    /// Its name.
    pub name: Name,
    /// What DPDK opens. The bonding device, for a bond.
    pub device: Device,
    /// The ports it is made of, if it is a bond.
    pub bond: Option<Bond>,
    /// Largest IP packet, octets.
    pub mtu: Whole<576, 9600>,
    /// RX queues, as many TX queues; one a worker if absent.
    pub queues: Option<Whole<1, 64>>,
    /// Descriptors of each queue.
    pub descriptors: Whole<64, 32_768>,
}

/// `[[interface]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Interface {
    /// Its place in the file.
    pub index: usize,
    /// Its name.
    pub name: Name,
    /// The port it is on.
    pub port: Name,
    /// The VLAN, if tagged: `vlan = 100`, or `qinq = [200, 100]`, the S-VLAN and the C-VLAN.
    pub vlan: Option<VlanId>,
    /// Its own addresses with their prefixes.
    pub addresses: Vec<IpNet>,
}

/// `[gateway]`
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Where the hosts are.
    pub interface: Name,
    /// What the hosts have as their gateway; it belongs to the owner of the site.
    pub addresses: Vec<IpAddr>,
    /// The election for it, where other makers' routers stand too.
    pub vrrp: Option<Vrrp>,
}

/// `[ha]`
#[derive(Clone, Debug, PartialEq)]
pub struct Ha {
    /// Who asks for the lease first at a cold start.
    pub role: Role,
    /// The other engine of the site.
    pub peer: Name,
    /// The engine of another site that breaks ties.
    pub witness: Option<Name>,
    /// How long a grant of leadership lasts, milliseconds.
    pub lease_ms: Whole<100, 60_000>,
    /// The policy without a witness.
    pub without_witness: WithoutWitness,
    /// Who brings the site back to the engine whose role is active.
    pub failback: Failback,
    /// With `failback = "auto"`: after so long without a fault.
    pub failback_seconds: Whole<10, 86_400>,
}

/// `[control]`
#[derive(Clone, Debug, PartialEq)]
pub struct Control {
    /// Where peers connect to.
    pub listen: SocketAddr,
    /// PEM of the authority that signed every engine's certificate.
    pub ca: PathBuf,
    /// PEM of this engine's certificate; its name is `engine.name`.
    pub cert: PathBuf,
    /// PEM of its private key.
    pub key: PathBuf,
    /// Sites this engine votes on as their witness.
    pub votes_for: Vec<Name>,
}

/// `[[peer]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    /// Its place in the file.
    pub index: usize,
    /// The name in its certificate.
    pub name: Name,
    /// The site it serves.
    pub site: Name,
    /// Where it listens; `None` for a foreign one, with which there is no control connection.
    pub address: Option<SocketAddr>,
    /// How many workers it has; as many as this engine if absent.
    pub workers: Option<Whole<1, 64>>,
}

/// `[[bfd]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Bfd {
    /// Its place in the file.
    pub index: usize,
    /// Its name.
    pub name: Name,
    /// Where the neighbour is.
    pub interface: Name,
    /// The neighbour, on that link or, with `multihop`, beyond it.
    pub remote: IpAddr,
    /// It is further away (RFC 5883): what arrives with a TTL below this is not its.
    pub multihop: Option<Whole<1, 255>>,
    /// How often it and we send, milliseconds.
    pub interval_ms: Whole<3, 60_000>,
    /// Packets that may be missed.
    pub multiplier: Whole<2, 255>,
    /// Tunnels that lead over it.
    pub tunnels: Vec<Name>,
}

/// `[[group]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its place in the file.
    pub index: usize,
    /// Its name.
    pub name: Name,
    /// The far site.
    pub site: Name,
    /// Its tunnels.
    pub members: Vec<Name>,
    /// How those to one engine share its part.
    pub spread: Spread,
    /// Whether TCP SYNs' MSS is lowered to fit.
    pub mss_clamp: bool,
    /// What its traffic is worth when the risk is weighed.
    pub sla_weight: Weight,
    /// How its tunnels follow its traffic, if they do.
    pub adaptive: Option<Adaptive>,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteTarget {
    /// A tunnel group.
    Group(Name),
    /// A neighbour on one of our interfaces.
    Via(IpAddr),
    /// Nowhere: dropped and answered with "unreachable".
    Blackhole,
}

/// `[[route]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Its place in the file.
    pub index: usize,
    /// Destinations; host bits are zero.
    pub prefix: IpNet,
    /// Where they lead.
    pub target: RouteTarget,
}

/// `[routing]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routing {
    /// More routes, one a line, that may change while the engine runs.
    pub file: Option<PathBuf>,
}

/// `[prediction]`
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// How far it may go by itself.
    pub mode: Mode,
    /// Alarm at this probability; at what the model was trained for if absent.
    pub threshold: Option<Probability>,
    /// The model's file; the built-in model if absent.
    pub model: Option<PathBuf>,
    /// Predicted moves allowed within `moves_minutes`.
    pub moves_max: Whole<0, 100>,
    /// See `moves_max`.
    pub moves_minutes: Whole<1, 1440>,
    /// Keeping models and learning from the engine's own history, if wanted.
    pub learning: Option<Learning>,
}

/// `[prediction.learning]`
#[derive(Clone, Debug, PartialEq)]
pub struct Learning {
    /// The folder of models by name; its champion is used.
    pub store: PathBuf,
    /// The folder of the engine's own history; without it nothing is trained.
    pub history: Option<PathBuf>,
    /// The most that the history may take, MB.
    pub history_mb: Whole<1, 1_000_000>,
    /// Other recordings to train on: a folder, or a packed file.
    pub recordings: Option<PathBuf>,
    /// Between two trainings.
    pub retrain_hours: Whole<1, 8760>,
    /// How long a challenger runs in shadow.
    pub shadow_minutes: Whole<1, 10_080>,
}

/// `[shift]`
#[derive(Clone, Debug, PartialEq)]
pub struct Shift {
    /// Cumulative percent on the target after each step.
    pub steps: Vec<Whole<1, 100>>,
    /// How long a step is watched, milliseconds.
    pub verify_ms: Interval,
    /// How long the new owner is watched.
    pub watch_seconds: Whole<0, 3600>,
}

/// `[crypto]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crypto {
    /// What computes ESP's AEADs.
    pub provider: CryptoProvider,
}

/// `[probe]`
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// Mean spacing, milliseconds.
    pub interval_ms: Interval,
    /// Silence after which a path is down, milliseconds.
    pub detect_ms: Interval,
}

/// `[api]`
#[derive(Clone, Debug, PartialEq)]
pub struct Api {
    /// The Unix socket of the commands.
    pub socket: PathBuf,
    /// Where Prometheus scrapes, if anywhere.
    pub metrics: Option<SocketAddr>,
}

/// `[telemetry]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Telemetry {
    /// Samples are appended here, one JSON a line.
    pub record: Option<PathBuf>,
}

/// `[icmp]`
#[derive(Clone, Debug, PartialEq)]
pub struct Icmp {
    /// The most errors a second that each worker originates.
    pub errors_per_second: Whole<0, 1_000_000>,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// The least severe message that is logged.
    pub level: LogLevel,
}

/// `[debug]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Debug {
    /// Live ESP keys are appended here in tshark's `esp_sa` format: whoever reads it reads the traffic.
    pub export_esp_keys: Option<PathBuf>,
    /// `foreshift fault` may harm this engine.
    pub faults: bool,
}
