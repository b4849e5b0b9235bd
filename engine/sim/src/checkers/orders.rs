//! What a controller asks for makes sense by itself: exact parts, SPIs that may be, key contexts used once, SAs that
//! their senders can count on.

use super::{Log, Rule};
use control::io::Output;
use dataplane::id::{Nanos, Spi, TunnelId};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug, Default)]
pub struct Orders {
    keys: BTreeSet<(u64, bool, TunnelId, u64, u64)>,
    live_spis: BTreeMap<(u64, u32), TunnelId>,
    /// By receiver's life and SPI: some worker sends with it.
    promised: BTreeSet<(u64, u32)>,
    /// Packets waited in TX rings that were full, for longer than any SA is kept.
    pub late: bool,
}

impl Orders {
    /// The parts of a group are exact.
    pub fn weights(&mut self, at: Nanos, output: &Output, log: &mut Log) {
        if let Output::Weights { members, .. } = output
            && members.iter().map(|(_, part)| part).sum::<u32>() != 65_536
        {
            log.violate(at, Rule::Orders, format!("parts do not add up: {members:?}"));
        }
    }

    /// One engine never installs the same (connection, generation) of a tunnel and direction again, for its counter
    /// would start anew.
    pub fn key(&mut self, at: Nanos, context: (u64, bool, TunnelId, u64, u64), log: &mut Log) {
        if !self.keys.insert(context) {
            log.violate(at, Rule::Orders, format!("key context used twice: {context:?}"));
        }
    }

    /// An SPI belongs to one live SA of an engine, is not reserved, and says its worker.
    pub fn spis(&mut self, at: Nanos, process: u64, tunnel: TunnelId, spis: &[Spi], log: &mut Log) {
        for (worker, spi) in (0u32..).zip(spis) {
            let taken = self.live_spis.insert((process, spi.0), tunnel).is_some();
            if taken || spi.0 < 256 || spi.0 % spis.len() as u32 != worker {
                log.violate(at, Rule::Orders, format!("bad SPI {spi} for worker {worker}"));
            }
        }
    }

    /// A sender switches to SAs that `receiver` (a life) offered.
    pub fn promise(&mut self, receiver: u64, spis: &[Spi]) {
        self.promised.extend(spis.iter().map(|spi| (receiver, spi.0)));
    }

    /// An ESP packet comes to a life that has, or has not, this SPI: it must have what it offered and is still used.
    pub fn arrives(&mut self, at: Nanos, process: u64, spi: u32, has: bool, log: &mut Log) {
        if !has && !self.late && self.promised.contains(&(process, spi)) {
            log.violate(at, Rule::Orders, format!("SPI {spi} was removed while packets came under it"));
        }
    }
}
