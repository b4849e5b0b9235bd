//! What engines tell each other over their mutually authenticated control connections.
//! The sender's name is not in the message: it is the name in the certificate it proved.

use crate::checks::CheckReport;
use crate::replication::Word;
use dataplane::id::{Epoch, Spi};
use dataplane::sa::Algorithm;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// A tunnel as both its ends can name it: the outer addresses, from the sender's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoints {
    /// The sender's outer address.
    pub local: IpAddr,
    /// The receiver's outer address.
    pub remote: IpAddr,
    /// What is between them. A peer that does not say means ESP: SAs are all that older ones could mistake.
    #[serde(default, skip_serializing_if = "TunnelKind::is_esp")]
    pub kind: TunnelKind,
    /// Which of several parallel tunnels: 0 is the configured one, the others are made while the engines run.
    #[serde(default, skip_serializing_if = "is_configured")]
    pub number: u16,
}

fn is_configured(number: &u16) -> bool {
    *number == 0
}

impl Endpoints {
    /// Those of an ESP tunnel.
    pub const fn new(local: IpAddr, remote: IpAddr) -> Endpoints {
        Endpoints { local, remote, kind: TunnelKind::Esp, number: 0 }
    }

    /// The same tunnel, from the other side.
    pub const fn turned(self) -> Endpoints {
        Endpoints { local: self.remote, remote: self.local, kind: self.kind, number: self.number }
    }
}

/// What engines say to each other of a tunnel that is made, or given up, while they run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub enum ParallelWord {
    /// "Let us have it": answered by the next two.
    Propose,
    /// "It is made here".
    Accept,
    /// "Not here".
    Refuse { reason: String },
    /// "I send nothing more into it; give it up": answered by the next two.
    Drain,
    /// "I need it".
    Keep { reason: String },
    /// "I send nothing into it any more": with both ends' word it can go.
    Idle,
}

/// A tunnel's protocol: between two addresses there may be a tunnel of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TunnelKind {
    /// RFC 4303.
    #[default]
    Esp,
    /// RFC 3948. An address behind a NAT is left unspecified: the two ends know it by different ones.
    EspUdp,
    /// RFC 2784.
    Gre,
    /// RFC 2003, RFC 2473.
    IpIp,
    /// RFC 7348.
    Vxlan,
    /// WireGuard.
    #[serde(rename = "wireguard")]
    WireGuard,
    /// The link inside a site.
    Direct,
}

impl TunnelKind {
    fn is_esp(&self) -> bool {
        *self == TunnelKind::Esp
    }
}

/// What both ends of a tunnel must agree on, or nothing sent would open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaParameters {
    /// The AEAD.
    pub algorithm: Algorithm,
    /// Whether sequence numbers have 64 bits (RFC 4303 §2.2.1).
    pub esn: bool,
}

impl fmt::Display for SaParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ESN", self.algorithm, if self.esn { "with" } else { "without" })
    }
}

/// One engine's share of a site's traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The engine's name.
    pub engine: String,
    /// Its part of 65,536 buckets.
    pub buckets: u32,
}

/// Octets of a name or a reason that are said and kept of a check.
pub const SAID_MAX: usize = 160;

/// A message between two engines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    /// First message each way: who speaks for the site, as far as the sender knows.
    /// `parallel`: the sender understands [`Message::Parallel`]; `checks`: [`Message::Checks`], and tells of its own;
    /// `shares_config`: [`Message::Site`], and shares its site's configuration.
    Hello {
        site: String,
        epoch: Epoch,
        owner: Option<String>,
        #[serde(default)]
        parallel: bool,
        #[serde(default)]
        checks: bool,
        #[serde(default)]
        shares_config: bool,
    },
    /// About the configuration of their site; only to those who share it.
    Site { says: Word },
    /// About a tunnel parallel to a configured one; only to those who understand it.
    Parallel { tunnel: Endpoints, says: ParallelWord },
    /// "Send me traffic of this tunnel under these SPIs": inbound SAs are installed, one a worker. The
    /// keys follow from the connection's TLS exporter and `generation` (never reused in a connection).
    /// Both ends are configured: `parameters` are there to be compared.
    SaOffer { tunnel: Endpoints, generation: u64, spis: Vec<Spi>, parameters: SaParameters },
    /// "My outbound traffic now uses `generation`": older inbound SAs may go after a grace time.
    SaInUse { tunnel: Endpoints, generation: u64 },
    /// "My outbound SA nears its limit: offer a new one".
    SaRekey { tunnel: Endpoints },
    /// The tunnel's quality as its sender measures it; lets an active judge its standby's paths.
    PathReport { tunnel: Endpoints, up: bool, rtt_us: f32, loss_tx: f32, loss_rx: f32 },
    /// Ask a voter to promise `lease_ms` of leadership of `site` to the sender.
    LeaseRequest { site: String, epoch: Epoch, sequence: u64, lease_ms: u64 },
    /// The promise.
    LeaseGrant { site: String, epoch: Epoch, sequence: u64 },
    /// No promise: the highest epoch promised so far and to whom.
    LeaseRefused { site: String, sequence: u64, epoch: Epoch, owner: Option<String> },
    /// The owner gives its lease away: `to` may take `epoch` at once (planned handover).
    LeaseTransfer { site: String, epoch: Epoch, to: String },
    /// How the owner of `site` wants traffic towards it split over its engines, and how long busy buckets may take to move
    /// (milliseconds; `None`, or an older engine: as the receiver is used to).
    SetShares {
        site: String,
        epoch: Epoch,
        version: u64,
        shares: Vec<Share>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        within_ms: Option<u64>,
    },
    /// The receiver of `SetShares` has published them.
    SharesApplied { site: String, version: u64 },
    /// A person or the standby asks the owner to move everything to the sender. `undoes`: what was moved only just now comes back,
    /// and is not moved there again by itself.
    ShiftRequest {
        site: String,
        reason: String,
        #[serde(default)]
        undoes: bool,
    },
    /// The sender's own prediction alarm was raised or cleared: nobody shifts towards it meanwhile, and where many alarm at once the
    /// model is suspected.
    Alarm { site: String, raised: bool },
    /// How far the sender's metrics are from their normal (robust z, in the order of the telemetry; `None`: not
    /// measured): what troubles all engines at once is no one's failure. And how busy its workers are (0–1; older engines do not say).
    Vitals {
        z: Vec<Option<f32>>,
        #[serde(default)]
        busy: Option<f32>,
    },
    /// What the sender's application checks say, all of them; only to those who understand it.
    Checks { site: String, checks: Vec<CheckReport> },
    /// The sender is stopping cleanly: its tunnels go down now.
    Goodbye { reason: String },
}
