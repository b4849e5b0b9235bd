//! (8) No packet passes an engine twice.

use super::{Log, Rule};
use crate::hosts::PacketId;
use dataplane::id::Nanos;
use std::collections::HashSet;

/// See the module. Links between engines that carry plain packets do not copy any, so that one engine has each
/// packet to send on once.
#[derive(Debug, Default)]
pub struct Loops {
    passed: HashSet<(&'static str, PacketId)>,
}

impl Loops {
    /// `engine` sent a packet on towards another engine.
    pub fn sent(&mut self, at: Nanos, engine: &'static str, packet: PacketId, log: &mut Log) {
        if !self.passed.insert((engine, packet)) {
            log.violate(at, Rule::Loops, format!("{packet:?} passes {engine} again"));
        }
    }
}
