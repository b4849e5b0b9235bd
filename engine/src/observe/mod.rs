//! `foreshift trace` and `foreshift capture`: from a person's words to what the workers watch, and back from their
//! records to text, JSON and pcapng.
//!
//! One client at a time. Its connection stays open: the engine answers the request with one JSON line, then sends
//! [`wire`] messages until the client has gone, enough was shown or the time is up. Between the workers and the socket
//! stands a thread of its own ([`stream`]), so that neither the workers nor control ever wait for a client.

pub mod names;
pub mod pcapng;
pub mod stream;
#[cfg(test)]
mod tests;
pub mod trace;
pub mod wire;

use dataplane::drop_reason::DropReason;
use dataplane::observe::Filter;
use dataplane::observe::session::{Directions, Ends, Side, Watch};
use dataplane::snapshot::{Encapsulation, Tunnel};
use names::Names;
use serde::{Deserialize, Serialize};

/// The longest observation, seconds.
pub const SECONDS_MAX: u32 = 86_400;
/// The most bytes kept of a packet.
pub const SNAPLEN_MAX: u32 = 65_535;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObserveRequest {
    /// What is watched.
    pub watch: WatchRequest,
    /// Of which packets; empty for all.
    pub filter: String,
    /// Bytes kept of each packet; whole packets if absent.
    pub snaplen: Option<u32>,
    /// Ends after so many packets.
    pub count: Option<u64>,
    /// Ends after so many seconds.
    pub seconds: u32,
}

/// What is watched, in names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchRequest {
    /// Packets' ways through the stages.
    Trace,
    /// Frames of a port.
    Port {
        /// Its name.
        name: String,
        /// Which way they go.
        directions: Directions,
    },
    /// Packets of a tunnel.
    Tunnel {
        /// Its name.
        name: String,
        /// Before or after encapsulation.
        side: Side,
        /// Which way they go.
        directions: Directions,
    },
    /// Dropped packets.
    Drop {
        /// The reason's name, or `any`.
        reason: String,
    },
}

impl ObserveRequest {
    /// What workers are asked to watch. `tunnels` are those of the snapshot, by number.
    ///
    /// # Errors
    /// In words for the person who asked.
    pub fn resolve(&self, names: &Names, tunnels: &[Tunnel]) -> Result<(Watch, Filter), String> {
        if !(1..=SECONDS_MAX).contains(&self.seconds) {
            return Err(format!("{} seconds: write 1 to {SECONDS_MAX}", self.seconds));
        }
        if self.snaplen.is_some_and(|snaplen| !(1..=SNAPLEN_MAX).contains(&snaplen)) {
            return Err(format!("a snaplen is 1 to {SNAPLEN_MAX} bytes"));
        }
        let followed = matches!(self.watch, WatchRequest::Trace | WatchRequest::Drop { .. });
        let filter = Filter::compile(&self.filter, |name| match followed {
            true => names.find_tunnel(name),
            false => {
                Err("only trace and --drop know a packet's tunnel: use --tunnel, or a host test".to_owned())
            }
        });
        let filter = filter.map_err(|error| error.to_string())?;
        let watch = match &self.watch {
            WatchRequest::Trace => Watch::Trace,
            WatchRequest::Port { name, directions } => {
                Watch::Port { port: names.find_port(name)?, directions: *directions }
            }
            WatchRequest::Tunnel { name, side, directions } => {
                let tunnel = &tunnels[names.find_tunnel(name)?.index()];
                if tunnel.encapsulation == Encapsulation::Direct {
                    return Err(format!(
                        "{name} is a site link and wraps nothing: capture its port instead, with --port"
                    ));
                }
                Watch::Tunnel { ends: Ends::from(tunnel), side: *side, directions: *directions }
            }
            WatchRequest::Drop { reason } if reason == "any" => Watch::Drop(None),
            WatchRequest::Drop { reason } => Watch::Drop(Some(DropReason::from_name(reason).ok_or_else(
                || format!("no drop reason is called \"{reason}\"; `foreshift show drops` names them, or write any"),
            )?)),
        };
        Ok((watch, filter))
    }
}
