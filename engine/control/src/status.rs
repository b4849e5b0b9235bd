//! What a person or the telemetry reads of the controller's state.

use crate::checks::CheckState;
use crate::health::PathStats;
use crate::switchover::{Passage, Stage};
use crate::vrrp::VrrpState;
use dataplane::id::{Epoch, GroupId, Nanos, TunnelId};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Where a tunnel is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TunnelState {
    /// Configured; no keys yet.
    Proposed,
    /// Can carry packets; its probes have not yet come back often enough.
    Probing,
    /// Carries traffic.
    Up,
    /// Its owner said goodbye; kept until it is back.
    Draining,
    /// Was up; its probes, or BFD packets of the neighbour it leads over, no longer come back.
    Down,
}

/// One tunnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TunnelStatus {
    /// Its number.
    pub id: TunnelId,
    /// Its name.
    pub name: String,
    /// The engine at the other end.
    pub peer: String,
    /// Where it is in its life.
    pub state: TunnelState,
    /// What it delivers is refused: its sender's epoch is over.
    pub fenced: bool,
    /// Newest inbound SA generation that the peer uses.
    pub inbound_generation: Option<u64>,
    /// Outbound SA generation in use.
    pub outbound_generation: Option<u64>,
    /// Its quality.
    pub path: PathStats,
}

/// A virtual router of the gateway's link (RFC 9568).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualRouterStatus {
    /// What its advertisements come from.
    pub local: IpAddr,
    /// Where it is.
    pub state: VrrpState,
    /// Its priority now.
    pub priority: u8,
    /// The Active Router and its priority, if that is another.
    pub other: Option<(IpAddr, u8)>,
}

/// One group's split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Its number.
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// Parts of 65,536 by tunnel, as published.
    pub members: Vec<(TunnelId, u32)>,
    /// How its tunnels follow its traffic, if they do.
    pub adaptive: Option<AdaptiveStatus>,
}

/// What an adaptive group carries, could carry, and has done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AdaptiveStatus {
    /// Inner bits a second that went into its tunnels in the last interval.
    pub offered_bps: f64,
    /// What the shapers of those that carry let through; `None` if any has none.
    pub capacity_bps: Option<f64>,
    /// The forecast's upper quantile, the highest within the lead; `None` before there is one.
    pub forecast_bps: Option<f64>,
    /// What was done since the start, by kind.
    pub actions: AdaptiveActions,
}

/// What an adaptive group has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdaptiveActions {
    /// Tunnels made, or asked for.
    pub created: u64,
    /// Shapers' rates changed.
    pub rates: u64,
    /// Changes to another configured tunnel.
    pub migrated: u64,
    /// Tunnels given up.
    pub drained: u64,
}

/// Who owns the site, and this engine's part in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoleStatus {
    /// This engine owns the site.
    pub owner: bool,
    /// The highest epoch known for the site.
    pub epoch: Epoch,
    /// The owner at that epoch, as far as known.
    pub site_owner: Option<String>,
    /// Workers forward until then.
    pub forward_until: Nanos,
    /// Parts of 65,536 that the owner has handed to its standby (known to the owner only).
    pub handed_buckets: u32,
}

/// The prediction alarm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlarmStatus {
    /// Raised now.
    pub raised: bool,
    /// Since when.
    pub since: Option<Nanos>,
    /// The last probability seen; NaN if the model had no opinion.
    pub probability: f32,
    /// What probability × SLA weight is held against: the configuration's, or else the model's own.
    pub threshold: f32,
    /// The last drift seen.
    pub drift: f32,
    /// The other engine of the site says that its alarm is raised.
    pub peer_raised: bool,
}

/// Why a switchover was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The model said so.
    Predicted,
    /// A person, the other engine or the end of a process asked for it.
    Manual,
    /// Something failed.
    Sudden,
}

impl Cause {
    /// As in JSON and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Cause::Predicted => "predicted",
            Cause::Manual => "manual",
            Cause::Sudden => "sudden",
        }
    }
}

/// A switchover: the one under way or watched, or else the last one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SwitchoverStatus {
    /// The decision that started it.
    pub decision: u64,
    /// Why.
    pub cause: Cause,
    /// Who owned the site.
    pub from: String,
    /// Who receives the traffic.
    pub target: String,
    /// Where it is, or ended.
    pub stage: Stage,
    /// What that waits for.
    pub waits_for: Option<String>,
    /// Percent that the target carries after this step.
    pub percent: u8,
    /// The step, counted from 1, and how many there are.
    pub step: (usize, usize),
    /// The stages that it came through, when and why.
    pub passages: Vec<Passage>,
    /// When it ended.
    pub ended: Option<Nanos>,
}

impl SwitchoverStatus {
    /// When it began.
    pub fn began(&self) -> Nanos {
        self.passages.first().map_or(Nanos(0), |first| first.at)
    }

    /// The traffic, or the ownership, is on its way.
    pub fn is_moving(&self) -> bool {
        self.ended.is_none() && self.stage.is_moving()
    }
}

/// An application check, as this engine and the other engine of its site see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// Its name.
    pub name: String,
    /// Planned moves depend on it.
    pub blocks: bool,
    /// What it says here.
    pub here: CheckView,
    /// What the other engine says of its own; `None` for a site with one engine.
    pub there: Option<CheckView>,
}

/// One engine's view of a check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckView {
    /// What it says.
    pub state: CheckState,
    /// When the newest attempt that has ended began.
    pub began: Option<Nanos>,
    /// What was wrong last, or why nothing is known.
    pub reason: Option<String>,
}
