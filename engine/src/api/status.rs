//! What the running engine says of itself. Commands, `--json` and `/metrics` all show these.

use super::shadow::ShadowStatus;
use super::site::ConfigStatus;
use super::switchover::{CheckStatus, SwitchoverStatus};
mod link;

pub use link::*;

pub use control::decision::Decision;
pub use control::io::{Mode, OperatorCommand};
pub use control::status::{AdaptiveActions, AdaptiveStatus, TunnelState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The engine as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Its site.
    pub site: String,
    /// Its ports are open, its workers poll, and a group's tunnel is up or there is no group.
    pub ready: bool,
    /// Since start, milliseconds.
    pub uptime_ms: u64,
    /// UNIX time of this report, milliseconds.
    pub unix_ms: u64,
    /// It owns the site's gateway addresses.
    pub owner: bool,
    /// The highest epoch known for the site.
    pub epoch: u64,
    /// `active`: owns the site; `standby`: another engine does; `unowned`: nobody is known to.
    pub role: Role,
    /// The owner at that epoch, as far as known.
    pub site_owner: Option<String>,
    /// It may forward now.
    pub forwarding: bool,
    /// How far prediction may go by itself.
    pub mode: Mode,
    /// P(failure within the horizon), which the alarm is judged by; `None` if the model has no opinion.
    pub probability: Option<f64>,
    /// The horizon of `probability`, milliseconds.
    pub horizon_ms: u64,
    /// What `probability` × SLA weight is held against: the configuration's threshold, or else the model's own.
    #[serde(default)]
    pub threshold: f32,
    /// Drift from the engine's own baseline, 0–1.
    pub drift: f64,
    /// What drove the probability, strongest first.
    pub drivers: Vec<Driver>,
    /// The alarm is raised.
    pub alarm: bool,
    /// The other engine of the site says that its alarm is raised.
    pub peer_alarm: bool,
    /// How each group's traffic is split.
    pub groups: Vec<GroupStatus>,
    /// The switchover under way or watched, or else the last one.
    pub switchover: Option<SwitchoverStatus>,
    /// Application checks.
    #[serde(default)]
    pub checks: Vec<CheckStatus>,
    /// How buckets moved.
    pub moves: MovesStatus,
    /// Neighbours that are watched.
    pub bfd: Vec<BfdStatus>,
    /// The election of the gateway; empty where other routers have no part in it.
    pub vrrp: Vec<VrrpStatus>,
    /// The snapshot that workers run.
    pub generation: u64,
    /// Control connections that are up.
    pub peers_up: Vec<String>,
    /// What computes ESP: `ipsec-mb` or `aws-lc`.
    pub crypto: String,
    /// Why it is this one.
    pub crypto_why: String,
    /// Who may pass.
    pub access: AccessStatus,
    /// The state store, if there is one.
    pub store: Option<StoreStatus>,
    /// How sessions are shadowed, if they are.
    #[serde(default)]
    pub shadow: Option<ShadowStatus>,
    /// What the site's engines run alike, if they share it.
    #[serde(default)]
    pub config: Option<ConfigStatus>,
}

/// The state store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// `embedded` or `etcd`.
    pub kind: String,
    /// This engine's region.
    pub region: String,
    /// It answers; without that, planned moves wait.
    pub ready: bool,
    /// Since so many milliseconds it does, or does not.
    pub for_ms: u64,
    /// Why it does not.
    pub reason: Option<String>,
}

/// What engines share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The store.
    pub store: StoreStatus,
    /// What it had when it was last heard of, of all regions, by key.
    pub records: Vec<RecordStatus>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordStatus {
    /// Its key.
    pub key: String,
    /// Since this revision of its region's store.
    pub revision: u64,
    /// It, as in the store.
    pub record: serde_json::Value,
}

/// One interval of telemetry, in the order of the metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The end of the interval (UNIX ms).
    pub at_ms: u64,
    /// What was measured; `None`: it was not.
    pub values: Vec<Option<f32>>,
    /// How far the peers were from their normal, as they said; `None`: nobody has spoken.
    pub peers_z: Option<Vec<Option<f32>>>,
}

/// Access list, sessions and NAT.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AccessStatus {
    /// The access list; without one everything passes.
    pub acl: Option<AclStatus>,
    /// All workers' sessions, if they are kept.
    pub sessions: Option<SessionsStatus>,
    /// NAT, if there is any.
    pub nat: Option<NatStatus>,
}

/// The access list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AclStatus {
    /// Rules.
    pub rules: usize,
    /// Memory of what they were compiled to.
    pub bytes: usize,
    /// Packets denied.
    pub denied: u64,
    /// Packets rejected.
    pub rejected: u64,
}

/// All workers' sessions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionsStatus {
    /// Live now.
    pub live: u64,
    /// Most that can be.
    pub capacity: u64,
    /// Begun since start.
    pub begun: u64,
    /// Ended since start, for any reason.
    pub ended: u64,
    /// … to make room for another one.
    pub evicted: u64,
    /// Flows that found no room.
    pub refused: u64,
}

/// NAT.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NatStatus {
    /// Outside addresses.
    pub addresses: usize,
    /// Outside ports given out, now.
    pub ports_in_use: u64,
    /// Flows that found no port.
    pub exhausted: u64,
    /// Packets that cannot be translated: fragments, protocols without ports.
    pub untranslatable: u64,
}

/// This engine's part in its site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It owns the site.
    Active,
    /// Another engine does.
    Standby,
    /// Nobody is known to.
    Unowned,
}

/// One metric that drove the probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Driver {
    /// The metric.
    pub metric: String,
    /// How much.
    pub weight: f64,
}

/// How a group's traffic is split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Its name.
    pub name: String,
    /// The far site.
    pub site: String,
    /// Its tunnels.
    pub members: Vec<MemberStatus>,
    /// How they follow its traffic, if they do.
    #[serde(default)]
    pub adaptive: Option<AdaptiveStatus>,
}

/// A tunnel's part in a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// The tunnel.
    pub tunnel: String,
    /// The engine at its far end.
    pub peer: String,
    /// Buckets it is to have, of 65,536.
    pub buckets: u32,
    /// The same as a fraction, 0–1.
    pub share: f64,
    /// Packets sent through it since start.
    pub tx_packets: u64,
}

/// How buckets changed tunnel, since start; of all workers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MovesStatus {
    /// Silent for a second or more.
    pub idle: u64,
    /// In a flowlet gap.
    pub gap: u64,
    /// Without a gap until their deadline: behind a MARK.
    pub marked: u64,
    /// Their tunnel had failed.
    pub failed: u64,
    /// MARKs sent down old paths.
    pub marks_sent: u64,
    /// MARKs answered in time.
    pub marks_answered: u64,
    /// Packets that waited for one.
    pub packets_waited: u64,
    /// How long buckets waited for MARKs in all, milliseconds.
    pub wait_ms: f64,
    /// The longest wait, milliseconds.
    pub wait_ms_max: f64,
}

/// A port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PortStatus {
    /// Its name.
    pub name: String,
    /// What DPDK opened.
    pub device: String,
    /// Its MAC address.
    pub mac: String,
    /// Frames can pass.
    pub up: bool,
    /// Where known, Mbit/s.
    pub speed_mbps: Option<u32>,
    /// Largest IP packet, bytes.
    pub mtu: u16,
    /// RX queues.
    pub rx_queues: u16,
    /// TX queues.
    pub tx_queues: u16,
    /// As the driver counts: received.
    pub rx_packets: u64,
    /// Received.
    pub rx_bytes: u64,
    /// Sent.
    pub tx_packets: u64,
    /// Sent.
    pub tx_bytes: u64,
    /// Lost because nobody polled in time.
    pub rx_missed: u64,
    /// Erroneous.
    pub rx_errors: u64,
    /// Not sent.
    pub tx_errors: u64,
    /// No buffer to receive into.
    pub rx_no_mbuf: u64,
}

/// A tunnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TunnelStatus {
    /// Its name.
    pub name: String,
    /// As the configuration calls it: `esp`, `gre`, …
    pub protocol: String,
    /// ESP's AEAD.
    pub algorithm: Option<String>,
    /// What keeps it from having SAs, for a person.
    pub problem: Option<String>,
    /// Where it is in its life.
    pub state: TunnelState,
    /// The engine at its far end.
    pub peer: String,
    /// Outer address here.
    pub local: IpAddr,
    /// Outer address there.
    pub remote: IpAddr,
    /// Largest inner packet, bytes.
    pub mtu: u16,
    /// Smoothed round trip, microseconds; `None` before the first probe returned.
    pub rtt_us: Option<f64>,
    /// RFC 3550 jitter of it, microseconds.
    pub jitter_us: Option<f64>,
    /// Share of probes lost on the way out, 0–1.
    pub loss_tx: f64,
    /// Share lost on the way back, 0–1.
    pub loss_rx: f64,
    /// Encapsulated packets.
    pub tx_packets: u64,
    /// Their inner bytes.
    pub tx_bytes: u64,
    /// Decapsulated packets.
    pub rx_packets: u64,
    /// Their inner bytes.
    pub rx_bytes: u64,
    /// SPIs of the inbound SAs, one a worker.
    pub spi_in: Vec<u32>,
    /// SPIs of the outbound SAs in use.
    pub spi_out: Vec<u32>,
    /// Inbound SA generation that the peer uses.
    pub inbound_generation: Option<u64>,
    /// Outbound SA generation in use.
    pub outbound_generation: Option<u64>,
    /// What it delivers is refused: its sender's epoch is over.
    pub fenced: bool,
    /// Buckets it is to have, of 65,536, over all groups.
    pub buckets: u32,
    /// What its shaper does, if it has one.
    pub shaper: Option<ShaperStatus>,
    /// Its keys, if it is WireGuard's.
    pub wireguard: Option<WireGuardStatus>,
}

/// The far end of a WireGuard tunnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WireGuardStatus {
    /// Who it is, in base64.
    pub public_key: String,
    /// Its UDP port, as its newest authentic packet has told.
    pub remote_port: u16,
    /// Since the session in use was agreed on, seconds; `None` before the first.
    pub last_handshake_s: Option<f64>,
    /// Keepalives sent.
    pub tx_keepalives: u64,
    /// Keepalives received.
    pub rx_keepalives: u64,
}

/// A tunnel's shaper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShaperStatus {
    /// Inner kilobits that go in a second.
    pub rate_kbps: u64,
    /// By priority, the best first.
    pub classes: Vec<ClassStatus>,
}

/// A class of a shaper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassStatus {
    /// Its name.
    pub name: String,
    /// Its own rate, if it has one.
    pub rate_kbps: Option<u64>,
    /// Packets that had to wait.
    pub waited: u64,
    /// Packets dropped: too many waited.
    pub dropped: u64,
}

/// A worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its number.
    pub id: u16,
    /// Its CPU.
    pub core: u16,
    /// Polls of all its queues.
    pub polls: u64,
    /// Part of the last interval's polls that found packets, 0–1.
    pub busy_share: f64,
    /// Packets taken from ports.
    pub received: u64,
    /// Packets that a port accepted.
    pub transmitted: u64,
    /// RX to TX, median of the last interval, microseconds; `None` without packets.
    pub residence_p50_us: Option<f64>,
    /// RX to TX, 99th percentile, microseconds.
    pub residence_p99_us: Option<f64>,
    /// Longest time between two polls of the last interval, microseconds.
    pub poll_gap_max_us: f64,
    /// Buffers of its pool in use.
    pub pool_in_use: u32,
    /// Buffers of its pool.
    pub pool_size: u32,
}

/// Where every packet went. `received + originated = transmitted + Σ dropped + held`, up to packets under
/// way between two workers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DropsStatus {
    /// Taken from ports.
    pub received: u64,
    /// Made here: ICMP, ARP, ND, probes, fragments.
    pub originated: u64,
    /// Accepted by ports.
    pub transmitted: u64,
    /// Waiting, now.
    pub held: u64,
    /// By reason; every reason that occurred.
    pub dropped: BTreeMap<String, u64>,
    /// received + originated − transmitted − dropped − held: 0 when conserved.
    pub balance: i64,
    /// The packet pools.
    pub pools: Vec<PoolStatus>,
}

impl DropsStatus {
    /// Dropped for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// What `balance` must be.
    pub fn computed_balance(&self) -> i64 {
        let came = self.received + self.originated;
        let went = self.transmitted + self.dropped_total() + self.held;
        came.wrapping_sub(went) as i64
    }
}

/// A packet pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// Buffers.
    pub size: u32,
    /// Of them in use.
    pub in_use: u32,
}
