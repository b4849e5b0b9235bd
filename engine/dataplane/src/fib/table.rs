//! One family's routes, and their way into the trie while workers read it.
//!
//! Each level of the trie is painted from the routes of its own lengths alone; what they leave uncovered shows the
//! levels above ("inherited"). A block whose runs change is written anew beside the old one and linked in one store,
//! and the old one is retired; everything else changes in place, word by word. The slot that a block stands for never
//! changes, so that a worker that is still in a retired block finds the routes of a moment ago.

use super::arena::{Arena, NoRoom};
use super::block::{Route, Slots, size};
use super::entry::{Entry, Kind};
use super::key::{Key, Prefix, STRIDE};
use super::rib::Rib;
use super::trie::Trie;
use std::sync::atomic::Ordering;

/// The writer's half of a [`Trie`].
#[derive(Debug)]
pub(super) struct Table<K, const D: u32> {
    pub rib: Rib<K>,
    pub arena: Arena,
    /// The epoch of blocks that are replaced now.
    pub epoch: u64,
}

impl<K: Key, const D: u32> Table<K, D> {
    /// Without routes, for a trie of `lines`.
    pub fn new(lines: usize) -> Table<K, D> {
        Table { rib: Rib::new(D), arena: Arena::new(lines), epoch: 0 }
    }

    /// Routes `prefix` to `value`; returns what it replaced.
    pub fn insert(
        &mut self,
        trie: &Trie<K, D>,
        prefix: Prefix<K>,
        value: u32,
    ) -> Result<Option<u32>, NoRoom> {
        let replaced = self.rib.get(prefix);
        if replaced == Some(value) {
            return Ok(replaced);
        }
        if prefix.len() > D {
            self.arena.ensure(replaced.is_none())?;
        }
        self.rib.insert(prefix, value);
        if prefix.len() <= D {
            self.paint_direct(trie, prefix, value);
        } else {
            let direct = &trie.direct[prefix.bits.top(D)];
            let old = Entry(direct.load(Ordering::Relaxed));
            let new = self.put(trie, old, D, Route { prefix, value });
            direct.store(new.0, Ordering::Release);
        }
        Ok(replaced)
    }

    /// Forgets `prefix`; returns where it led.
    pub fn remove(&mut self, trie: &Trie<K, D>, prefix: Prefix<K>) -> Result<Option<u32>, NoRoom> {
        if self.rib.get(prefix).is_none() {
            return Ok(None);
        }
        if prefix.len() > D {
            self.arena.ensure(false)?;
        }
        let removed = self.rib.remove(prefix);
        if prefix.len() <= D {
            let value = self.rib.cover(0, prefix).unwrap_or(0);
            self.paint_direct(trie, prefix, value);
        } else {
            let direct = &trie.direct[prefix.bits.top(D)];
            let old = Entry(direct.load(Ordering::Relaxed));
            let new = self.take(trie, old, D, prefix);
            direct.store(new.0, Ordering::Release);
        }
        Ok(removed)
    }

    fn paint_direct(&self, trie: &Trie<K, D>, prefix: Prefix<K>, value: u32) {
        self.rib.gaps(prefix, |bits| bits.top(D), |first, last| {
            for slot in &trie.direct[first..=last] {
                let entry = Entry(slot.load(Ordering::Relaxed));
                if entry.is_block() {
                    trie.push(entry, value);
                } else {
                    slot.store(Entry::leaf(value).0, Ordering::Release);
                }
            }
        });
    }

    /// Lays `entry`, a leaf, over the slots of `prefix` that no longer route of its level covers.
    fn paint(&self, trie: &Trie<K, D>, slots: &mut Slots, at: u32, prefix: Prefix<K>, entry: Entry) {
        self.rib.gaps(
            prefix,
            |bits| bits.slot(at),
            |first, last| {
                for slot in &mut slots.entries[first..=last] {
                    if slot.is_block() {
                        trie.push(*slot, entry.value());
                        *slot = slot.inherited(entry.is_inherited());
                    } else {
                        *slot = entry;
                    }
                }
            },
        );
    }

    /// What stands in place of `entry`, whose block resolves the bits from `at` on, with `route` behind it.
    fn put(&mut self, trie: &Trie<K, D>, entry: Entry, at: u32, route: Route<K>) -> Entry {
        let new = match entry.kind() {
            Kind::Leaf(default) => self.tail(trie, route, default),
            Kind::Tail(line) => {
                let (other, default) = trie.read_tail(line);
                if other.prefix == route.prefix {
                    trie.set_tail(line, route.value);
                    return entry;
                }
                let mut slots = Slots::new(default);
                self.place(trie, &mut slots, at, other);
                self.place(trie, &mut slots, at, route);
                self.arena.retire(self.epoch, line, 1);
                self.branch(trie, &slots)
            }
            Kind::Branch(line) => {
                let mut slots = trie.slots(line);
                self.place(trie, &mut slots, at, route);
                self.rewrite(trie, line, &slots)
            }
        };
        new.inherited(entry.is_inherited())
    }

    /// Adds `route` to the slots of a branch.
    fn place(&mut self, trie: &Trie<K, D>, slots: &mut Slots, at: u32, route: Route<K>) {
        if route.prefix.len() <= at + STRIDE {
            self.paint(trie, slots, at, route.prefix, Entry::leaf(route.value));
        } else {
            let slot = &mut slots.entries[route.prefix.bits.slot(at)];
            *slot = self.put(trie, *slot, at + STRIDE, route);
        }
    }

    /// What stands in place of `entry` without the route to `prefix`, which the RIB knows no more.
    fn take(&mut self, trie: &Trie<K, D>, entry: Entry, at: u32, prefix: Prefix<K>) -> Entry {
        let new = match entry.kind() {
            Kind::Leaf(_) => return entry,
            Kind::Tail(line) => {
                self.arena.retire(self.epoch, line, 1);
                Entry::leaf(trie.read_tail(line).1)
            }
            Kind::Branch(line) => {
                let mut slots = trie.slots(line);
                if prefix.len() <= at + STRIDE {
                    let cover = self.rib.cover(self.rib.level(prefix.len()), prefix);
                    let cover =
                        cover.map_or(Entry::leaf(slots.default).inherited(true), Entry::leaf);
                    self.paint(trie, &mut slots, at, prefix, cover);
                } else {
                    let slot = &mut slots.entries[prefix.bits.slot(at)];
                    *slot = self.take(trie, *slot, at + STRIDE, prefix);
                }
                self.collapse(trie, line, &slots, Prefix::new(prefix.bits, at))
            }
        };
        new.inherited(entry.is_inherited())
    }

    /// A branch of fewer than two routes becomes a tail or a leaf.
    fn collapse(&mut self, trie: &Trie<K, D>, line: u32, slots: &Slots, within: Prefix<K>) -> Entry {
        let mut blocks = slots.entries.iter().filter(|entry| entry.is_block());
        let mut own = self.rib.inside(self.rib.level(within.len() + 1), within);
        let new = match (blocks.next(), blocks.next(), own.next(), own.next()) {
            (None, _, None, _) => Entry::leaf(slots.default),
            (None, _, Some((prefix, value)), None) => {
                drop(own);
                self.tail(trie, Route { prefix, value }, slots.default)
            }
            (Some(child), None, None, _) if child.is_tail() => {
                drop(own);
                // A copy: the old one stands for a smaller slot as long as a worker may read it.
                let (route, _) = trie.read_tail(child.value());
                self.arena.retire(self.epoch, child.value(), 1);
                self.tail(trie, route, slots.default)
            }
            _ => {
                drop(own);
                return self.rewrite(trie, line, slots);
            }
        };
        self.arena.retire(self.epoch, line, size(trie.bits(line)));
        new
    }

    fn tail(&mut self, trie: &Trie<K, D>, route: Route<K>, default: u32) -> Entry {
        let line = self.arena.allocate(1);
        trie.write_tail(line, route, default);
        Entry::tail(line)
    }

    fn branch(&mut self, trie: &Trie<K, D>, slots: &Slots) -> Entry {
        let bits = slots.bits();
        let line = self.arena.allocate(size(bits));
        trie.write_branch(line, slots, bits);
        Entry::branch(line)
    }

    /// The branch at `line` with other content: in place if its runs start where they did.
    fn rewrite(&mut self, trie: &Trie<K, D>, line: u32, slots: &Slots) -> Entry {
        let (old, new) = (trie.bits(line), slots.bits());
        if old == new {
            trie.update_branch(line, slots, new);
            return Entry::branch(line);
        }
        self.arena.retire(self.epoch, line, size(old));
        self.branch(trie, slots)
    }
}
