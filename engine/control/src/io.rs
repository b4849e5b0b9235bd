//! The controller's whole outside: what it is fed and what it asks for. See `DESIGN` §6: no clock,
//! socket, thread or randomness of its own, so every decision can be replayed.

use crate::config::RateRange;
use crate::message::{Message, SaParameters};
use crate::mirror::MirrorReport;
use crate::state::{Expected, Record, StateChange, StateKey};
use dataplane::context::Version;
use dataplane::id::{Epoch, GroupId, Nanos, Spi, TunnelId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What the predictor says of this engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// P(failure within `horizon_ms`), 0–1; NaN if the model has no opinion.
    pub probability: f32,
    /// Drift from the engine's own baseline, 0–1.
    pub drift: f32,
    /// The bounds of `probability` (Venn–Abers), if it has any.
    pub interval: Option<(f32, f32)>,
    /// The horizon of `probability`, milliseconds; 0: it says none.
    pub horizon_ms: u64,
    /// The probability from which the model was trained to alarm; 0 if it says none.
    pub alarm_from: f32,
    /// How busy this engine's workers are, 0–1; NaN if unknown.
    pub busy: f32,
    /// The metrics that drove it and how much, strongest first.
    pub drivers: Vec<(String, f32)>,
}

/// What a person asks of the running engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum OperatorCommand {
    /// Move all traffic to the standby now, gradually; with `overrule` whatever mirrored traffic and application checks say.
    Drain {
        #[serde(default)]
        overrule: bool,
    },
    /// Take the traffic back (asked of the engine that was drained).
    Undrain,
    /// Carry out a proposed decision (`approve` mode).
    Approve { decision: u64 },
    /// Act as if the model were sure of a failure, for as long as an alarm takes to be raised: every guard judges it in earnest.
    Rehearse,
    /// Change the prediction mode of the running engine.
    SetMode { mode: Mode },
}

/// How far prediction may go by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Record what would have been done.
    Observe,
    /// Propose; a person approves.
    Approve,
    /// Act.
    #[default]
    Auto,
}

/// What an adaptive group's tunnels carried in the last telemetry interval, and what is expected of them.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupTraffic {
    /// The group.
    pub group: GroupId,
    /// Its own tunnels, those that are not made left out or not.
    pub tunnels: Vec<TunnelTraffic>,
    /// What the group as a whole will carry. Empty while nobody can say.
    pub forecast: Vec<Forecast>,
}

/// One tunnel of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TunnelTraffic {
    /// The tunnel.
    pub tunnel: TunnelId,
    /// Inner bits a second that went into it.
    pub sent_bps: f64,
    /// Bits a second that its shaper lets through now, if it has one.
    pub rate_bps: Option<u64>,
    /// Largest inner packet now, bytes.
    pub mtu: u16,
    /// P(the path fails within the model's horizon), 0–1; NaN if nobody says.
    pub failure: f32,
}

/// Quantiles of a group's future traffic, inner bits a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Of the traffic at so long from now.
    pub ahead: Nanos,
    /// Half of the time it is less …
    pub median: f64,
    /// … and 19 times of 20 less than this.
    pub upper: f64,
}

/// What a changed configuration says of prediction and of rates, see [`Input::Policy`].
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// How far prediction may go by itself, if that is what changed: a person may have set it otherwise since.
    pub mode: Option<Mode>,
    /// See [`crate::config::PredictionConfig::threshold`].
    pub threshold: Option<f32>,
    /// See [`crate::config::PredictionConfig::moves_max`].
    pub moves_max: usize,
    /// See `moves_max`.
    pub moves_window: Nanos,
    /// See [`crate::config::PredictionConfig::sla_weights`].
    pub sla_weights: BTreeMap<GroupId, f32>,
    /// Tunnels of adaptive groups whose rates are others now.
    pub rates: Vec<(TunnelId, RateRange)>,
}

/// What the shell feeds to [`crate::Controller::step`].
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A new assessment, every telemetry interval.
    Assessment(Assessment),
    /// What an adaptive group carried, every telemetry interval.
    Traffic(GroupTraffic),
    /// All workers had polled by this time (the oldest worker's last poll).
    WorkersPolled(Nanos),
    /// A probe came back. `reflector_sequence` counts the probes the far end has reflected on this
    /// tunnel, so loss can be told apart by direction (RFC 8972 stateful reflector).
    ProbeReply { tunnel: TunnelId, sequence: u32, reflector_sequence: u32, rtt: Nanos },
    /// Inbound SAs of `generation` are installed on every worker.
    InboundInstalled { tunnel: TunnelId, generation: u64 },
    /// Outbound SAs of `generation` are in use on every worker.
    OutboundInstalled { tunnel: TunnelId, generation: u64 },
    /// A BFD session, by its place in the configuration, is Up or not any more; `why` is for people.
    Bfd { session: usize, up: bool, why: String },
    /// A WireGuard tunnel has keys to send under, or none any more.
    Session { tunnel: TunnelId, up: bool },
    /// Another router of the gateway's link advertised, every `interval`, with this priority (RFC 9568).
    Advertised { from: IpAddr, priority: u8, interval: Nanos },
    /// A worker's outbound SA passed its soft limit.
    SaSoftLimit { tunnel: TunnelId },
    /// A control connection to `peer` is up (a new TLS session, so new key material).
    PeerUp { peer: String },
    /// The control connection is gone.
    PeerDown { peer: String },
    /// `peer` says.
    Message { peer: String, message: Message },
    /// What a shadow says of mirrored traffic, about once a second: the standby of this engine's, or with `own` this engine
    /// of the active's.
    Mirror { own: bool, report: Box<MirrorReport> },
    /// What the other engine of the site does not hold yet of the sessions that are shadowed to it, for people; none: nothing.
    Shadowing { missing: Option<String> },
    /// An attempt of an application check, by its place in the configuration, that began then has ended.
    Check { check: usize, began: Nanos, outcome: Result<(), String> },
    /// The state store answers, for the first time or again; what was written before may be lost.
    StoreReady,
    /// The state store does not answer: `reason` is what it, or the way to it, says.
    StoreLost { reason: String },
    /// What the store has for `region`: all of it, if `whole`, or what changed.
    StoreChanged { region: String, whole: bool, changes: Vec<StateChange> },
    /// The configuration has changed while the engine runs.
    Policy(Policy),
    /// A person says; answered by [`Output::Reply`] with the same `id`.
    Command { id: u64, command: OperatorCommand },
    /// The engine is asked to end: tell the peers.
    Shutdown,
}

/// What the controller asks the shell to carry out, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send a STAMP probe inside the tunnel.
    SendProbe { tunnel: TunnelId, sequence: u32 },
    /// Tell a peer.
    Send { peer: String, message: Message },
    /// Publish how a group's buckets are split: parts of 65,536 by tunnel. Busy buckets wait for a
    /// flowlet gap of `flowlet_gap` and move at the latest `move_within` from now.
    Weights { group: GroupId, members: Vec<(TunnelId, u32)>, flowlet_gap: Nanos, move_within: Nanos },
    /// Publish whether a tunnel carries traffic (`up`) and whether what it delivers is refused
    /// because its sender's epoch is over (`fenced`).
    Tunnel { tunnel: TunnelId, up: bool, fenced: bool },
    /// Publish whether this engine owns its site's gateway addresses.
    Role { owner: bool, epoch: Epoch },
    /// Workers forward until then and not a packet later; [`Nanos::MAX`] without a lease.
    ForwardUntil(Nanos),
    /// Publish whether this engine answers for the gateway addresses of one IP version, where they are elected for. Without
    /// [`Output::Role`] as the owner it does not, whatever this says.
    Gateway { version: Version, active: bool },
    /// Send a VRRP advertisement from this address, that says this priority and interval.
    Advertise { from: IpAddr, priority: u8, interval: Nanos },
    /// Send gratuitous ARP / unsolicited NA for the gateway addresses, now.
    AnnounceGateway,
    /// Derive keys and install inbound SAs for `generation`, one for each SPI, SPI i on worker i;
    /// answered by [`Input::InboundInstalled`]. SPIs are unique within the engine, at least 256
    /// (RFC 4303 §2.1), and `spi % workers` is the worker that owns it.
    InstallInbound { tunnel: TunnelId, generation: u64, spis: Vec<Spi> },
    /// Derive keys and switch the workers' outbound SAs to `generation`; worker i uses the i-th.
    InstallOutbound { tunnel: TunnelId, generation: u64, spis: Vec<Spi> },
    /// The peer offers SAs that differ from ours: nothing was installed, and a person must change one end.
    OfferRefused { tunnel: TunnelId, ours: SaParameters, theirs: SaParameters },
    /// Delete the inbound SAs of `generation` and older.
    RemoveInbound { tunnel: TunnelId, generation: u64 },
    /// Delete the outbound SAs of a tunnel that is given up.
    RemoveOutbound { tunnel: TunnelId },
    /// Let a tunnel's shaper pass so many bits a second from now on.
    SetRate { tunnel: TunnelId, bits_per_second: u64 },
    /// Write a record to the state store where `expected` is true of its key. It is written again after the next
    /// [`Input::StoreReady`]; until then a newer one for the same key replaces it.
    StoreWrite { key: StateKey, record: Record, expected: Expected },
    /// A decision with everything that explains it.
    Decision(crate::decision::Decision),
    /// The answer to a person.
    Reply { id: u64, result: Result<String, String> },
}
