//! What engines share through the state store: which keys there are and what stands under them. The one place of this
//! schema; its version is in every key (`/foreshift/v1/…`) and in every value (`"schema": 1`).
//!
//! Values are JSON. Fields that a later version of the same schema adds are read over; a value that cannot be read is
//! refused as a whole and changes nothing. Key material is not part of it: the store has it only sealed
//! (`cluster::wrap`).

use crate::message::{SaParameters, Share};
use crate::status::TunnelState;
use dataplane::id::{Epoch, Spi};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The version of this schema.
pub const SCHEMA: u32 = 1;
const ROOT: &str = "/foreshift/v1";

/// Where a record lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StateKey {
    /// The region whose store has it.
    pub region: String,
    /// What it is about.
    pub topic: Topic,
}

/// What a record is about. Names are those of configurations: no `/` stands in them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// What an engine runs: [`Record::Config`].
    Config { engine: String },
    /// How an engine is: [`Record::Health`].
    Health { engine: String },
    /// What its predictor expects of it: [`Record::Risk`].
    Risk { engine: String },
    /// One of its tunnels: [`Record::Tunnel`].
    Tunnel { engine: String, tunnel: String },
    /// How a site's owner wants its traffic split: [`Record::Intent`].
    Intent { site: String },
}

impl Topic {
    /// Whether it says something only while its engine lives: such records lie under the engine's lease.
    pub fn is_leased(&self) -> bool {
        !matches!(self, Topic::Config { .. } | Topic::Intent { .. })
    }

    fn parse(path: &str) -> Option<Topic> {
        let parts: Vec<&str> = path.split('/').collect();
        let name = |part: &str| part.to_owned();
        Some(match *parts {
            ["engine", engine, "config"] => Topic::Config { engine: name(engine) },
            ["engine", engine, "health"] => Topic::Health { engine: name(engine) },
            ["engine", engine, "risk"] => Topic::Risk { engine: name(engine) },
            ["engine", engine, "tunnel", tunnel] => {
                Topic::Tunnel { engine: name(engine), tunnel: name(tunnel) }
            }
            ["site", site, "intent"] => Topic::Intent { site: name(site) },
            _ => return None,
        })
    }
}

impl StateKey {
    /// As it is written in the store.
    pub fn path(&self) -> String {
        let below = match &self.topic {
            Topic::Config { engine } => format!("engine/{engine}/config"),
            Topic::Health { engine } => format!("engine/{engine}/health"),
            Topic::Risk { engine } => format!("engine/{engine}/risk"),
            Topic::Tunnel { engine, tunnel } => format!("engine/{engine}/tunnel/{tunnel}"),
            Topic::Intent { site } => format!("site/{site}/intent"),
        };
        format!("{}{below}", region_prefix(&self.region))
    }

    /// The key written so; `None` for keys that are not of this schema.
    pub fn parse(path: &str) -> Option<StateKey> {
        let (region, below) = path.strip_prefix(ROOT)?.strip_prefix('/')?.split_once('/')?;
        let empty = region.is_empty() || below.split('/').any(str::is_empty);
        let topic = Topic::parse(below).filter(|_| !empty)?;
        Some(StateKey { region: region.to_owned(), topic })
    }
}

/// What all keys of a region begin with.
pub fn region_prefix(region: &str) -> String {
    format!("{ROOT}/{region}/")
}

/// What an engine runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigRecord {
    /// Which start of the process: each has a higher one than those before.
    pub generation: u64,
    /// SHA-256 of its configuration file, hexadecimal.
    pub digest: String,
    /// Its site.
    pub site: String,
}

/// How an engine is, as it sees itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplianceHealth {
    /// Its site.
    pub site: String,
    /// It owns the site's traffic …
    pub owner: bool,
    /// … or did so last at this epoch, as far as it knows.
    pub epoch: Epoch,
    /// Its prediction alarm is raised.
    pub alarm: bool,
    /// Tunnels that carry traffic.
    pub tunnels_up: u32,
    /// Tunnels that it has.
    pub tunnels: u32,
    /// Engines it is connected to, by name.
    pub peers: Vec<String>,
}

/// How likely an engine is to fail, with what is known of the error of that figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RiskScore {
    /// P(failure within `horizon_ms`), 0–1; `None` if the model has no opinion.
    pub probability: Option<f32>,
    /// The Venn–Abers interval of it, low and high, 0–1 (Vovk and Petej, UAI 2014).
    pub interval: Option<(f32, f32)>,
    /// Its horizon, milliseconds.
    pub horizon_ms: u64,
    /// Drift from the engine's own baseline, 0–1.
    pub drift: f32,
    /// The metrics that drove it and how much, strongest first.
    pub drivers: Vec<(String, f32)>,
}

/// What is known of an ESP session, a pair of SAs, beside its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionState {
    /// Algorithm and sequence numbers.
    pub parameters: SaParameters,
    /// The generation of inbound SAs that the peer uses.
    pub inbound_generation: Option<u64>,
    /// SPIs of the inbound SAs that are installed, all generations.
    pub inbound_spis: Vec<Spi>,
    /// The generation of outbound SAs in use.
    pub outbound_generation: Option<u64>,
}

/// One tunnel of an engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelRecord {
    /// The engine at the other end.
    pub peer: String,
    /// Outer address here.
    pub local: IpAddr,
    /// Outer address there.
    pub remote: IpAddr,
    /// Where it is in its life.
    pub state: TunnelState,
    /// Its ESP session; `None` for tunnels without keys.
    pub session: Option<SessionState>,
}

/// How a site's owner wants traffic towards the site split. It says what the owner wanted; who the owner is, the
/// quorum says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingIntent {
    /// The owner's epoch: a higher one is newer.
    pub epoch: Epoch,
    /// The owner.
    pub owner: String,
    /// Each engine's part of 65,536 buckets.
    pub shares: Vec<Share>,
    /// To whom traffic is being shifted, if it is.
    pub shifting_to: Option<String>,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Under [`Topic::Config`].
    Config(ConfigRecord),
    /// Under [`Topic::Health`].
    Health(ApplianceHealth),
    /// Under [`Topic::Risk`].
    Risk(RiskScore),
    /// Under [`Topic::Tunnel`].
    Tunnel(TunnelRecord),
    /// Under [`Topic::Intent`].
    Intent(RoutingIntent),
}

/// Why the octets under a key are no record of this schema.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Not the JSON that is expected there.
    #[error("not a record of this kind: {0}")]
    Json(#[from] serde_json::Error),
    /// Another version of the schema.
    #[error("schema {0}, this engine reads {SCHEMA}")]
    Schema(u32),
    /// A figure that cannot be.
    #[error("{0} is out of its range")]
    Range(&'static str),
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    schema: u32,
    #[serde(flatten)]
    value: T,
}

impl Record {
    /// As it is written in the store.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Record::Config(value) => written(value),
            Record::Health(value) => written(value),
            Record::Risk(value) => written(value),
            Record::Tunnel(value) => written(value),
            Record::Intent(value) => written(value),
        }
    }

    /// What stands under a key about `topic`.
    ///
    /// # Errors
    /// If it is no such record, of another schema, or has figures that cannot be.
    pub fn decode(topic: &Topic, octets: &[u8]) -> Result<Record, StateError> {
        let record = match topic {
            Topic::Config { .. } => Record::Config(read(octets)?),
            Topic::Health { .. } => Record::Health(read(octets)?),
            Topic::Risk { .. } => Record::Risk(read(octets)?),
            Topic::Tunnel { .. } => Record::Tunnel(read(octets)?),
            Topic::Intent { .. } => Record::Intent(read(octets)?),
        };
        record.check().map(|()| record)
    }

    fn check(&self) -> Result<(), StateError> {
        let Record::Risk(risk) = self else { return Ok(()) };
        let share = |value: f32| (0.0..=1.0).contains(&value);
        let ordered = risk.interval.is_none_or(|(low, high)| share(low) && share(high) && low <= high);
        match (risk.probability.is_none_or(share), ordered, share(risk.drift)) {
            (false, ..) => Err(StateError::Range("probability")),
            (_, false, _) => Err(StateError::Range("interval")),
            (.., false) => Err(StateError::Range("drift")),
            _ if risk.drivers.iter().any(|(_, weight)| !weight.is_finite()) => {
                Err(StateError::Range("drivers"))
            }
            _ => Ok(()),
        }
    }
}

fn written(value: &impl Serialize) -> Vec<u8> {
    // Maps have text keys and nothing here fails by itself: this always has octets.
    serde_json::to_vec(&Versioned { schema: SCHEMA, value }).unwrap_or_default()
}

fn read<T: DeserializeOwned>(octets: &[u8]) -> Result<T, StateError> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let Version { schema } = serde_json::from_slice(octets)?;
    if schema != SCHEMA {
        return Err(StateError::Schema(schema));
    }
    let versioned: Versioned<T> = serde_json::from_slice(octets)?;
    Ok(versioned.value)
}

/// What must be true of a key for a write to take place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing: the key is this engine's own.
    Any,
    /// Nobody has written it.
    Absent,
    /// Its value is that of this revision of the store.
    Revision(u64),
}

/// A value as the store has it; `None` where it is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct StateChange {
    /// Where.
    pub key: StateKey,
    /// Since this revision of its region's store.
    pub revision: u64,
    /// What.
    pub record: Option<Record>,
}

#[cfg(test)]
mod tests;
