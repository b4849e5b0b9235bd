//! The routes as control knows them, by the level of the trie that holds them.

use super::key::{Key, Prefix, SHORT, STRIDE};
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

/// The routes of one family: prefix → value of a leaf.
#[derive(Debug)]
pub(super) struct Rib<K> {
    /// Routes of up to 8 bits, of up to `direct` bits, then of the next 8 and so on: each level of the trie is painted
    /// from its own.
    levels: Vec<BTreeMap<Prefix<K>, u32>>,
    direct: u32,
    len: usize,
}

impl<K: Key> Rib<K> {
    pub fn new(direct: u32) -> Rib<K> {
        let levels = 2 + (K::BITS - direct).div_ceil(STRIDE);
        Rib { levels: vec![BTreeMap::new(); levels as usize], direct, len: 0 }
    }

    /// The level of routes of `len` bits.
    pub fn level(&self, len: u32) -> usize {
        if len <= SHORT {
            return 0;
        }
        1 + len.saturating_sub(self.direct).div_ceil(STRIDE) as usize
    }

    /// The length of the shortest routes of `level`.
    fn shortest(&self, level: usize) -> u32 {
        match level {
            0 => 0,
            1 => SHORT + 1,
            _ => self.direct + STRIDE * (level as u32 - 2) + 1,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, prefix: Prefix<K>) -> Option<u32> {
        self.levels[self.level(prefix.len())].get(&prefix).copied()
    }

    pub fn insert(&mut self, prefix: Prefix<K>, value: u32) -> Option<u32> {
        let level = self.level(prefix.len());
        let old = self.levels[level].insert(prefix, value);
        self.len += usize::from(old.is_none());
        old
    }

    pub fn remove(&mut self, prefix: Prefix<K>) -> Option<u32> {
        let level = self.level(prefix.len());
        let old = self.levels[level].remove(&prefix);
        self.len -= usize::from(old.is_some());
        old
    }

    /// Routes inside `within`, itself included, shorter levels first.
    pub fn within(&self, within: Prefix<K>) -> impl Iterator<Item = (Prefix<K>, u32)> {
        (self.level(within.len())..self.levels.len()).flat_map(move |level| self.inside(level, within))
    }

    /// The longest route of `level` around `prefix`, itself left out.
    pub fn cover(&self, level: usize, prefix: Prefix<K>) -> Option<u32> {
        // A route that contains `prefix` in at most `len` bits also contains what comes right before those bits, so
        // that each miss says how long the next candidate may be.
        let mut len = prefix.len().checked_sub(1)?;
        while len >= self.shortest(level) {
            let bound = Prefix::new(prefix.bits, len);
            let (&before, &value) = self.levels[level].range(..=bound).next_back()?;
            if before.contains(prefix.bits) {
                return Some(value);
            }
            len = before.bits.common(prefix.bits);
        }
        None
    }

    /// The routes of `level` inside `within`, itself included.
    pub fn inside(&self, level: usize, within: Prefix<K>) -> impl Iterator<Item = (Prefix<K>, u32)> {
        let end = Prefix { bits: within.last(), len: u8::MAX };
        self.levels[level].range(within..=end).map(|(&prefix, &value)| (prefix, value))
    }

    /// Calls `paint` with the slots of `prefix` that no longer route of its level covers: first and last of each run.
    /// `slot` says in which slot of the table or branch an address lies.
    pub fn gaps(&self, prefix: Prefix<K>, slot: impl Fn(K) -> usize, mut paint: impl FnMut(usize, usize)) {
        let level = &self.levels[self.level(prefix.len())];
        let end = Prefix { bits: prefix.last(), len: u8::MAX };
        let mut next = slot(prefix.bits);
        for (&longer, _) in level.range((Excluded(prefix), Included(end))) {
            let (first, last) = (slot(longer.bits), slot(longer.last()));
            if first > next {
                paint(next, first - 1);
            }
            next = next.max(last + 1);
        }
        let last = slot(prefix.last());
        if next <= last {
            paint(next, last);
        }
    }
}
