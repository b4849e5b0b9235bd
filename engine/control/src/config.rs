//! What the controller is told once, at start. The shell has validated it.

mod adaptive;

pub use adaptive::{AdaptiveConfig, AdaptiveTunnel, PathPolicy, RateRange};

use crate::checks::CheckConfig;
use crate::io::Mode;
use crate::message::{Endpoints, SaParameters};
use dataplane::id::{GroupId, Nanos, Spi, TunnelId};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Everything the controller knows from the start.
#[derive(Clone, Debug, PartialEq)]
pub struct ControllerConfig {
    /// This engine's name: the one in its certificate.
    pub engine: String,
    /// The site it serves.
    pub site: String,
    /// Its tunnels.
    pub tunnels: Vec<TunnelConfig>,
    /// Its tunnel groups, one a far site.
    pub groups: Vec<GroupConfig>,
    /// The pair it belongs to; `None` for a site with one engine.
    pub ha: Option<HaConfig>,
    /// Its part in the election of the gateway, where other makers' routers stand too.
    pub vrrp: Option<VrrpConfig>,
    /// Application checks, by their place.
    pub checks: Vec<CheckConfig>,
    /// BFD sessions, by their place.
    pub bfd: Vec<BfdConfig>,
    /// Other sites whose leases this engine votes on, as their witness.
    pub votes_for: Vec<String>,
    /// Workers, at least 1: SPI `i` of a generation belongs to worker `i`.
    pub workers: u16,
    /// How prediction is acted upon.
    pub prediction: PredictionConfig,
    /// How traffic is shifted.
    pub shift: ShiftConfig,
    /// How paths are measured.
    pub probe: ProbeConfig,
    /// What it shares through a state store, if there is one.
    pub cluster: Option<ClusterConfig>,
    /// No epoch at or below this is ever taken or granted. Pass UNIX time in seconds at process start (or
    /// a persisted epoch): epochs then stay unique even when every voter restarts at once.
    pub epoch_floor: u64,
    /// Seeds probe spacing, SPIs and back-off. Different in every process.
    pub seed: u64,
}

impl ControllerConfig {
    /// An engine with one worker and nothing to decide about: no tunnel, no pair, all else as by default.
    pub fn alone(engine: &str, site: &str) -> ControllerConfig {
        ControllerConfig {
            engine: engine.to_owned(),
            site: site.to_owned(),
            tunnels: Vec::new(),
            groups: Vec::new(),
            ha: None,
            vrrp: None,
            checks: Vec::new(),
            bfd: Vec::new(),
            votes_for: Vec::new(),
            workers: 1,
            prediction: PredictionConfig::default(),
            shift: ShiftConfig::default(),
            probe: ProbeConfig::default(),
            cluster: None,
            epoch_floor: 0,
            seed: 1,
        }
    }
}

/// One tunnel.
#[derive(Clone, Debug, PartialEq)]
pub struct TunnelConfig {
    /// Its number.
    pub id: TunnelId,
    /// Its name.
    pub name: String,
    /// The engine at the other end.
    pub peer: String,
    /// Outer addresses, from this side.
    pub endpoints: Endpoints,
    /// What it is made of.
    pub protocol: Protocol,
}

/// A BFD session as the controller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BfdConfig {
    /// Its name.
    pub name: String,
    /// Tunnels that lead over this neighbour: down while it is.
    pub tunnels: Vec<TunnelId>,
}

/// What a tunnel is made of, as far as the controller cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// ESP: SAs are negotiated with the peer and renewed this long after installation. Renewal by packet
    /// count is reported by the workers as [`crate::io::Input::SaSoftLimit`].
    /// Each worker of the peer sends under an SA of its own (RFC 9611): `senders` says how many it has.
    Esp { rekey_after: Nanos, parameters: SaParameters, senders: u16 },
    /// Nothing to negotiate: GRE, IP-in-IP, VXLAN, and ESP with SAs that were agreed on otherwise, the inbound one under
    /// `spi`. `probed`: it is up when its probes return; or else, where a third party's gateway answers none, always.
    Fixed { probed: bool, spi: Option<Spi> },
    /// WireGuard: the shell's handshakes agree on its keys, and [`crate::io::Input::Session`] says whether there are some.
    /// `probed` as above.
    WireGuard { probed: bool },
    /// The direct link to the engine of the same site.
    Direct,
}

impl Protocol {
    /// Whether a gateway of another make is at the far end: it answers no probe and has no control connection.
    pub const fn is_foreign(&self) -> bool {
        matches!(self, Protocol::Fixed { probed: false, .. } | Protocol::WireGuard { probed: false })
    }
}

/// The tunnels that reach one far site.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupConfig {
    /// Its number.
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// The far site.
    pub site: String,
    /// The tunnels.
    pub members: Vec<Member>,
    /// How those to one far engine share its part.
    pub spread: Spread,
    /// How its tunnels follow the traffic; `None`: they are as configured, always.
    pub adaptive: Option<AdaptiveConfig>,
}

/// How the part of a far engine is shared by the tunnels to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// All carry the same.
    #[default]
    Parallel,
    /// The first that can carries all; the others are made and probed, and wait.
    First,
}

/// One tunnel of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The tunnel.
    pub tunnel: TunnelId,
    /// How it reaches the far site.
    pub kind: MemberKind,
}

/// How a group member reaches the far site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// This engine's own tunnel to an engine of the far site.
    Own,
    /// The link to the other engine of this site, which forwards through its own tunnel.
    Direct,
}

/// An engine's part in what engines share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Its region.
    pub region: String,
    /// SHA-256 of its configuration file, hexadecimal.
    pub digest: String,
}

/// The pair of engines of one site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaConfig {
    /// Who asks for the lease first at a cold start. A running owner is never displaced by it.
    pub initial: InitialRole,
    /// The other engine of the site.
    pub peer: String,
    /// The engine of another site that breaks ties; it names this site in its `votes_for`.
    pub witness: Option<String>,
    /// How long a grant lasts. Equal on both engines. Takeover after a silent death takes about this.
    pub lease: Nanos,
    /// What a standby without a witness does when its peer is silent.
    pub without_witness: WithoutWitness,
    /// Whether the pair shares its configuration, see [`crate::replication`].
    pub shares_config: bool,
    /// After so long without a fault the engine whose part is [`InitialRole::Active`] asks for the site back that it lost, or gave
    /// away because of a prediction; `None`: a person does.
    pub failback: Option<Nanos>,
}

/// This engine's part in the election of the gateway on its link (RFC 9568).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VrrpConfig {
    /// What its advertisements come from, one address an IP version.
    pub local: Vec<IpAddr>,
    /// 1–254; higher wins. Equal on both engines of a pair.
    pub priority: u8,
    /// The priority while it is about to fail, or has no way to any far site, where the configuration names one.
    pub failing_priority: Option<u8>,
    /// Between two advertisements, 10 ms to 40.95 s.
    pub interval: Nanos,
    /// Take the place of a router of lower priority.
    pub preempt: bool,
}

/// Who asks for the lease first at a cold start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialRole {
    /// At once.
    Active,
    /// Only if nobody else has for a while.
    Standby,
}

/// The policy of two engines that have no witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutWitness {
    /// Never become owner without the peer's vote; a person may order it (`undrain`).
    Hold,
    /// Become owner alone. Both may own the site while they cannot hear each other; when they can
    /// again, the higher epoch stays.
    DualActive,
}

/// How prediction is acted upon.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictionConfig {
    /// How far it may go by itself.
    pub mode: Mode,
    /// An alarm is raised when probability × SLA weight is at or above this; `None`: at what the model was trained to alarm from …
    pub threshold: Option<f32>,
    /// … and cleared below the threshold less this, or less half the threshold if that is less.
    pub hysteresis: f32,
    /// Consecutive samples to raise.
    pub raise_after: u32,
    /// Consecutive samples to clear.
    pub clear_after: u32,
    /// Predicted shifts allowed in `moves_window`.
    pub moves_max: usize,
    /// See `moves_max`.
    pub moves_window: Nanos,
    /// Quiet time after any shift, takeover or rollback before prediction may shift again.
    pub cooldown: Nanos,
    /// What a group's traffic is worth beside other groups'; 1 for a group that is not here.
    pub sla_weights: BTreeMap<GroupId, f32>,
    /// Busy share of this engine and of the target together, above which the target could not carry both: nothing moves.
    pub busy_max: f32,
    /// More than this share of all engines that can be heard (at least three) alarm at once: the model is suspected.
    pub brake_share: f32,
}

impl Default for PredictionConfig {
    fn default() -> Self {
        PredictionConfig {
            mode: Mode::Auto,
            threshold: None,
            hysteresis: 0.2,
            raise_after: 3,
            clear_after: 20,
            moves_max: 3,
            moves_window: Nanos::from_millis(600_000),
            cooldown: Nanos::from_millis(30_000),
            sla_weights: BTreeMap::new(),
            busy_max: 0.95,
            brake_share: 0.5,
        }
    }
}

/// How traffic is shifted.
#[derive(Clone, Debug, PartialEq)]
pub struct ShiftConfig {
    /// Cumulative percent on the target after each step; increasing, ends with 100.
    pub steps_percent: Vec<u8>,
    /// How long a step is watched before the next; less after an alarm, and at most a quarter of it when failure is imminent.
    pub verify: Nanos,
    /// How long far engines may take to apply a step.
    pub apply_timeout: Nanos,
    /// Loss on the target that undoes a shift, unless ours is higher. A 1 s window at 20 ms holds about
    /// 50 probes: one lost probe reads as 2 %.
    pub loss_max: f32,
    /// How long the new owner is watched.
    pub watch: Nanos,
}

impl Default for ShiftConfig {
    fn default() -> Self {
        ShiftConfig {
            steps_percent: vec![5, 25, 50, 100],
            verify: Nanos::from_millis(1000),
            apply_timeout: Nanos::from_millis(1000),
            loss_max: 0.03,
            watch: Nanos::from_millis(10_000),
        }
    }
}

/// How paths are measured (RFC 8762).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeConfig {
    /// Mean of the Poisson spacing.
    pub interval_mean: Nanos,
    /// A path is down when nothing came back for this long (and at least 5 probes went unanswered).
    pub detect: Nanos,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        ProbeConfig { interval_mean: Nanos::from_millis(20), detect: Nanos::from_millis(300) }
    }
}
