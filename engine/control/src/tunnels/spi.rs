//! Which SPI an inbound SA gets.

use crate::rng::SplitMix;
use dataplane::id::Spi;
use std::collections::{BTreeSet, VecDeque};

/// 1–255 are reserved, 0 is local use (RFC 4303 §2.1).
const LOWEST: u32 = 256;
/// So many released SPIs are not given out again, so that a late packet never meets a new SA.
const RESTING: usize = 4096;

/// Gives out SPIs, unique in the engine, such that `spi % workers` names the worker that owns it.
#[derive(Debug)]
pub(super) struct SpiAllocator {
    workers: u32,
    rng: SplitMix,
    taken: BTreeSet<u32>,
    resting: VecDeque<u32>,
}

impl SpiAllocator {
    /// Never gives out those of `fixed`.
    pub fn new(workers: u16, rng: SplitMix, fixed: impl Iterator<Item = Spi>) -> SpiAllocator {
        SpiAllocator {
            workers: u32::from(workers.max(1)),
            rng,
            taken: fixed.map(|spi| spi.0).collect(),
            resting: VecDeque::new(),
        }
    }

    /// One SPI for each worker that sends under them, and at least one for each of ours, which own them by turns: no two
    /// senders share a counter, and all of us have work.
    pub fn allocate(&mut self, senders: u16) -> Vec<Spi> {
        let count = self.workers.max(u32::from(senders));
        (0..count).map(|number| self.one(number % self.workers)).collect()
    }

    fn one(&mut self, worker: u32) -> Spi {
        loop {
            let random = self.rng.next() as u32;
            let base = random - random % self.workers;
            if let Some(spi) = base.checked_add(worker)
                && spi >= LOWEST
                && self.taken.insert(spi)
            {
                return Spi(spi);
            }
        }
    }

    /// These are in use already.
    pub fn take(&mut self, spis: impl Iterator<Item = Spi>) {
        self.taken.extend(spis.map(|spi| spi.0));
    }

    pub fn release(&mut self, spi: Spi) {
        self.resting.push_back(spi.0);
        if self.resting.len() > RESTING
            && let Some(rested) = self.resting.pop_front()
        {
            self.taken.remove(&rested);
        }
    }
}
