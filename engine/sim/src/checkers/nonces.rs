//! (1) No AEAD nonce twice under one key, by any worker of any engine in any of its lives: of what workers
//! really seal.

use super::{Log, Rule};
use crate::plane::tape::{KeyId, Use};
use dataplane::id::Nanos;
use std::collections::{HashMap, HashSet};

/// See the module.
#[derive(Debug, Default)]
pub struct Nonces {
    sealed: HashMap<KeyId, HashSet<u64>>,
    /// Packets sealed.
    pub count: u64,
    /// When one was last used again.
    pub repeated: Option<Nanos>,
}

impl Nonces {
    /// Keys that packets were sealed with.
    pub fn keys(&self) -> usize {
        self.sealed.len()
    }

    /// A packet was sealed.
    pub fn sealed(&mut self, at: Nanos, engine: &str, entry: Use, log: &mut Log) {
        self.count += 1;
        if !self.sealed.entry(entry.key).or_default().insert(entry.iv) {
            self.repeated = Some(at);
            log.violate(at, Rule::Nonces, format!("{engine} seals with IV {} of a key again", entry.iv));
        }
    }
}
