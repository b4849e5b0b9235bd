//! One family's routes, and their way into the trie while workers read it.
//!
//! Each level of the trie is painted from the routes of its own lengths alone; what they leave uncovered shows the
//! levels above ("inherited"). A block whose runs change is written anew beside the old one and linked in one store,
//! and the old one is retired; everything else changes in place, word by word. The slot that a block stands for never
//! changes, so that a worker that is still in a retired block finds the routes of a moment ago.

use super::arena::{Arena, NoRoom};
use super::block::{Few, Route, Slots, size};
use super::entry::{Entry, Kind};
use super::key::{Key, Prefix, SHORT, STRIDE};
use super::rib::Rib;
use super::trie::{Trie, bundle};
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
        let replaced = self.rib.insert(prefix, value);
        if replaced == Some(value) {
            return Ok(replaced);
        }
        if prefix.len() > D
            && let Err(why) = self.arena.ensure(replaced.is_none())
        {
            match replaced {
                Some(value) => self.rib.insert(prefix, value),
                None => self.rib.remove(prefix),
            };
            return Err(why);
        }
        if prefix.len() > D {
            let direct = &trie.direct[prefix.bits.top(D)];
            let old = Entry(direct.load(Ordering::Relaxed));
            let new = self.put(trie, old, D, Route { prefix, value });
            direct.store(new.0, Ordering::Release);
        } else {
            self.paint_table(trie, prefix, value);
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
        if prefix.len() > D {
            let direct = &trie.direct[prefix.bits.top(D)];
            let old = Entry(direct.load(Ordering::Relaxed));
            let new = self.take(trie, old, D, prefix);
            direct.store(new.0, Ordering::Release);
        } else {
            let value = self.rib.cover(self.rib.level(prefix.len()), prefix).unwrap_or(0);
            self.paint_table(trie, prefix, value);
        }
        Ok(removed)
    }

    /// Lays `value` over what `prefix`, of up to `D` bits, covers of the table of its length.
    fn paint_table(&self, trie: &Trie<K, D>, prefix: Prefix<K>, value: u32) {
        if prefix.len() > SHORT {
            self.rib.gaps(
                prefix,
                |bits| bits.top(D),
                |first, last| {
                    for slot in &trie.direct[first..=last] {
                        let entry = Entry(slot.load(Ordering::Relaxed));
                        if entry.is_block() {
                            trie.push(entry, value);
                        } else {
                            slot.store(value, Ordering::Release);
                        }
                    }
                },
            );
            return;
        }
        let changes = trie.short_changes.load(Ordering::Relaxed);
        trie.short_changes.store(changes + 1, Ordering::Relaxed);
        self.rib.gaps(
            prefix,
            |bits| bits.top(SHORT),
            |first, last| {
                for slot in &trie.shorts[first..=last] {
                    // Release: who sees the value sees that a change began.
                    slot.store(value, Ordering::Release);
                }
            },
        );
        trie.short_changes.store(changes + 2, Ordering::Release);
    }

    /// Lays `entry`, a leaf, over the slots of `prefix` that no longer route of its level covers.
    fn paint(&self, trie: &Trie<K, D>, slots: &mut Slots, at: u32, prefix: Prefix<K>, entry: Entry) {
        let paint = |first: usize, last: usize| {
            for slot in &mut slots.entries[first..=last] {
                if slot.is_block() {
                    trie.push(*slot, entry.value());
                    *slot = slot.inherited(entry.is_inherited());
                } else {
                    *slot = entry;
                }
            }
        };
        self.rib.gaps(prefix, |bits| bits.slot(at), paint);
    }

    /// What stands in place of `entry`, whose block resolves the bits from `at` on, with `route` behind it.
    fn put(&mut self, trie: &Trie<K, D>, entry: Entry, at: u32, route: Route<K>) -> Entry {
        let new = match entry.kind() {
            Kind::Leaf(default) => self.build(trie, at, Few::from_iter([route]), default),
            Kind::Bundle(line) | Kind::Tail(line) => {
                let (mut routes, default) = trie.few(entry);
                if let Some(i) = routes.iter().position(|known| known.prefix == route.prefix) {
                    trie.set_value(entry, i, route.value);
                    return entry;
                }
                routes.push(route);
                self.arena.retire(self.epoch, line, 1);
                self.build(trie, at, routes, default)
            }
            Kind::Branch(line) => {
                let mut slots = trie.slots(line);
                if route.prefix.len() <= at + STRIDE {
                    self.paint(trie, &mut slots, at, route.prefix, Entry::leaf(route.value));
                } else {
                    let slot = &mut slots.entries[route.prefix.bits.slot(at)];
                    *slot = self.put(trie, *slot, at + STRIDE, route);
                }
                self.rewrite(trie, line, &slots)
            }
        };
        new.inherited(entry.is_inherited())
    }

    /// Blocks for `routes`, which are longer than `at` bits and equal in those.
    fn build(&mut self, trie: &Trie<K, D>, at: u32, mut routes: Few<K>, default: u32) -> Entry {
        routes.sort_unstable_by_key(|route| (route.prefix.len, route.prefix.bits));
        let in_bundle = routes.len() <= bundle::ROUTES
            && routes.iter().all(|route| route.prefix.len() <= bundle::LEN_MAX);
        match routes[..] {
            [] => return Entry::leaf(default),
            _ if in_bundle => {
                let line = self.arena.allocate(1);
                trie.write_bundle(line, &routes, default);
                return Entry::bundle(line);
            }
            [route] => {
                let line = self.arena.allocate(1);
                trie.write_tail(line, route, default);
                return Entry::tail(line);
            }
            _ => {}
        }
        let mut slots = Slots::new(default);
        let (own, mut deeper): (Few<K>, Few<K>) =
            routes.into_iter().partition(|route| route.prefix.len() <= at + STRIDE);
        for route in own {
            self.paint(trie, &mut slots, at, route.prefix, Entry::leaf(route.value));
        }
        while let Some(route) = deeper.first() {
            let slot = route.prefix.bits.slot(at);
            let (same, rest) = deeper.into_iter().partition(|route| route.prefix.bits.slot(at) == slot);
            deeper = rest;
            let above = slots.entries[slot];
            slots.entries[slot] =
                self.build(trie, at + STRIDE, same, above.value()).inherited(above.is_inherited());
        }
        self.branch(trie, &slots)
    }

    /// What stands in place of `entry` without the route to `prefix`, which the RIB knows no more.
    fn take(&mut self, trie: &Trie<K, D>, entry: Entry, at: u32, prefix: Prefix<K>) -> Entry {
        let new = match entry.kind() {
            Kind::Leaf(_) => return entry,
            Kind::Bundle(line) | Kind::Tail(line) => {
                let (mut routes, default) = trie.few(entry);
                routes.retain(|route| route.prefix != prefix);
                self.arena.retire(self.epoch, line, 1);
                self.build(trie, at, routes, default)
            }
            Kind::Branch(line) => {
                let mut slots = trie.slots(line);
                if prefix.len() <= at + STRIDE {
                    let cover = self.rib.cover(self.rib.level(prefix.len()), prefix);
                    let none = Entry::leaf(slots.default).inherited(true);
                    self.paint(trie, &mut slots, at, prefix, cover.map_or(none, Entry::leaf));
                } else {
                    let slot = &mut slots.entries[prefix.bits.slot(at)];
                    *slot = self.take(trie, *slot, at + STRIDE, prefix);
                }
                self.shrink(trie, line, &slots, at, prefix)
            }
        };
        new.inherited(entry.is_inherited())
    }

    /// The branch at `line`, now with `slots`; a bundle or less if few routes are left. Those around `prefix`.
    fn shrink(&mut self, trie: &Trie<K, D>, line: u32, slots: &Slots, at: u32, prefix: Prefix<K>) -> Entry {
        let within = Prefix::new(prefix.bits, at);
        let own = self.rib.inside(self.rib.level(at + 1), within).take(bundle::ROUTES);
        let mut routes: Few<K> = own.map(|(prefix, value)| Route { prefix, value }).collect();
        let blocks = || slots.entries.iter().filter(|entry| entry.is_block());
        for &block in blocks() {
            // One fewer than fit, so that a route that comes and goes does not build a branch each time.
            if block.is_branch() || routes.len() >= bundle::ROUTES {
                return self.rewrite(trie, line, slots);
            }
            let more = trie.few(block).0;
            if routes.len() + more.len() >= bundle::ROUTES {
                return self.rewrite(trie, line, slots);
            }
            routes.extend(more);
        }
        let long = routes.iter().any(|route| route.prefix.len() > bundle::LEN_MAX);
        if routes.len() >= bundle::ROUTES || long && routes.len() > 1 {
            return self.rewrite(trie, line, slots);
        }
        // Copies: the old ones stand for smaller slots as long as a worker may read them.
        for block in blocks() {
            self.arena.retire(self.epoch, block.value(), 1);
        }
        self.arena.retire(self.epoch, line, size(trie.bits(line)));
        self.build(trie, at, routes, slots.default)
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
