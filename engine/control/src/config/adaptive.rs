//! What the Adaptive Tunnel Manager may do with a group's tunnels.

use dataplane::id::{Nanos, TunnelId};

/// How a group's tunnels follow its traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct AdaptiveConfig {
    /// Do it; or else record what would have been done.
    pub act: bool,
    /// A path that fails with a probability above this is left for one that does not.
    pub failure: f32,
    /// Share of the shapers' rate, 0–1, above which there is to be more of it.
    pub utilisation: f64,
    /// Share of what would be left below which something is given up again; less than `utilisation`.
    pub release: f64,
    /// Samples in a row that must say the same before anything is done about it.
    pub confirm: u32,
    /// Most tunnels that the group has at one time, the configured ones among them.
    pub tunnels_max: usize,
    /// Quiet time between two actions.
    pub cooldown: Nanos,
    /// How long the load must be low before something is given up.
    pub idle_after: Nanos,
    /// Actions allowed in `actions_window`. Half of them are kept for what adds capacity.
    pub actions_max: usize,
    /// See `actions_max`.
    pub actions_window: Nanos,
    /// How far ahead a forecast counts.
    pub lead: Nanos,
    /// What may carry the traffic.
    pub policy: PathPolicy,
    /// Its own tunnels: the configured ones, and those that can be made beside them.
    pub tunnels: Vec<AdaptiveTunnel>,
}

impl AdaptiveConfig {
    /// The defaults, without tunnels.
    pub fn new() -> AdaptiveConfig {
        AdaptiveConfig {
            act: true,
            failure: 0.7,
            utilisation: 0.8,
            release: 0.5,
            confirm: 3,
            tunnels_max: 4,
            cooldown: Nanos::from_millis(5_000),
            idle_after: Nanos::from_millis(60_000),
            actions_max: 20,
            actions_window: Nanos::from_millis(600_000),
            lead: Nanos::from_millis(300_000),
            policy: PathPolicy::default(),
            tunnels: Vec::new(),
        }
    }
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        AdaptiveConfig::new()
    }
}

/// What two sites may use between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathPolicy {
    /// Only what encrypts.
    pub encrypted: bool,
    /// The largest inner packet must be at least this, bytes.
    pub mtu_min: u16,
    /// Nothing that costs more, in the units of [`AdaptiveTunnel::cost`].
    pub cost_max: u32,
}

impl Default for PathPolicy {
    fn default() -> Self {
        PathPolicy { encrypted: false, mtu_min: 0, cost_max: u32::MAX }
    }
}

/// A tunnel as the manager knows it beforehand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveTunnel {
    /// The tunnel.
    pub tunnel: TunnelId,
    /// The configured tunnel whose parallel it is, made only when there is need; `None`: it is a configured one.
    pub parallel_to: Option<TunnelId>,
    /// What it carries is encrypted.
    pub encrypted: bool,
    /// What using it costs, in the configuration's own unit.
    pub cost: u32,
    /// What wrapping a packet takes here, as measured at start; 0 if it was not.
    pub cycles_per_packet: f64,
    /// Its shaper's rate, if it has one.
    pub rate: Option<RateRange>,
}

/// How fast a shaper may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateRange {
    /// As configured, bits a second.
    pub configured: u64,
    /// At the most.
    pub ceiling: u64,
}
