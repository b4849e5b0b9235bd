//! (4) No ESP packet is accepted twice, and none reaches its host twice, however the network copies it.

use super::deliveries::Arrival;
use super::{Log, Rule};
use crate::hosts::PacketId;
use crate::plane::tape::{KeyId, Use};
use dataplane::id::Nanos;
use std::collections::{HashMap, HashSet};

/// See the module.
#[derive(Debug, Default)]
pub struct Replays {
    opened: HashMap<KeyId, HashSet<u64>>,
}

impl Replays {
    /// A packet passed the replay window and proved authentic.
    pub fn opened(&mut self, at: Nanos, engine: &str, entry: Use, log: &mut Log) {
        if !self.opened.entry(entry.key).or_default().insert(entry.iv) {
            log.violate(at, Rule::Replays, format!("{engine} accepts packet {} of an SA again", entry.iv));
        }
    }

    /// A packet arrived at its host.
    pub fn delivered(&mut self, at: Nanos, packet: PacketId, arrival: Arrival, log: &mut Log) {
        if arrival.again {
            log.violate(at, Rule::Replays, format!("{packet:?} arrives at its host again"));
        }
    }
}
