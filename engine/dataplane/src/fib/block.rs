//! The writer's view of a trie's blocks.

use super::arena::BLOCK_MAX;
use super::entry::{Entry, Kind};
use super::key::{Key, Prefix, SLOTS};
use super::trie::{COUNTS, HEAD, Trie, WORDS, bundle, tail};
use arrayvec::ArrayVec;
use std::sync::atomic::{AtomicU64, Ordering};

/// A route as a bundle or a tail holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Route<K> {
    pub prefix: Prefix<K>,
    pub value: u32,
}

/// The routes of a bundle, and one more.
pub(super) type Few<K> = ArrayVec<Route<K>, { bundle::ROUTES + 1 }>;

/// What a branch holds, slot by slot.
#[derive(Clone, Copy)]
pub(super) struct Slots {
    pub entries: [Entry; SLOTS],
    /// What uncovered slots show: the routes of the levels above.
    pub default: u32,
}

impl Slots {
    /// All uncovered.
    pub fn new(default: u32) -> Slots {
        Slots { entries: [Entry::leaf(default).inherited(true); SLOTS], default }
    }

    /// Where runs of equal entries start.
    pub fn bits(&self) -> [u64; 4] {
        let mut bits = [0; 4];
        let mut before = None;
        for (slot, &entry) in self.entries.iter().enumerate() {
            bits[slot / 64] |= u64::from(before != Some(entry)) << (slot % 64);
            before = Some(entry);
        }
        bits
    }
}

/// The slots at which runs start.
fn starts(bits: [u64; 4]) -> impl Iterator<Item = usize> {
    bits.into_iter().enumerate().flat_map(|(chunk, bits)| {
        std::iter::successors(Some(bits), |bits| Some(bits & bits.wrapping_sub(1)))
            .take_while(|bits| *bits != 0)
            .map(move |bits| chunk * 64 + bits.trailing_zeros() as usize)
    })
}

/// Lines that a branch with these runs takes.
pub(super) fn size(bits: [u64; 4]) -> usize {
    let runs: u32 = bits.iter().map(|bits| bits.count_ones()).sum();
    (HEAD + runs as usize).div_ceil(2 * WORDS)
}

/// Replaces one 32-bit half. Only the writer stores, so that nothing comes between.
fn store_half(word: &AtomicU64, upper: bool, value: u32) {
    let (shift, keep) = if upper { (32, 0xffff_ffff) } else { (0, 0xffff_ffff << 32) };
    // Release: whoever reads the entry reads the block that it leads to.
    word.store(word.load(Ordering::Relaxed) & keep | u64::from(value) << shift, Ordering::Release);
}

impl<K: Key, const D: u32> Trie<K, D> {
    /// Where runs start in the branch at `line`.
    pub fn bits(&self, line: u32) -> [u64; 4] {
        let head = &self.lines[line as usize].0;
        [0, 1, 2, 3].map(|chunk| head[chunk].load(Ordering::Relaxed))
    }

    /// What the branch at `line` inherited.
    fn default(&self, line: u32) -> u32 {
        (self.lines[line as usize].0[COUNTS].load(Ordering::Relaxed) >> 32) as u32
    }

    fn entry(&self, line: u32, run: usize) -> Entry {
        let at = HEAD + run;
        let word = &self.lines[line as usize + at / (2 * WORDS)].0[at / 2 % WORDS];
        Entry((word.load(Ordering::Relaxed) >> (at % 2 * 32)) as u32)
    }

    fn set_entry(&self, line: u32, run: usize, entry: Entry) {
        let at = HEAD + run;
        let word = &self.lines[line as usize + at / (2 * WORDS)].0[at / 2 % WORDS];
        store_half(word, at % 2 == 1, entry.0);
    }

    /// Reads the branch at `line`.
    pub fn slots(&self, line: u32) -> Slots {
        let mut slots = Slots::new(self.default(line));
        let mut ends = starts(self.bits(line)).skip(1).chain([SLOTS]);
        for (run, start) in starts(self.bits(line)).enumerate() {
            let end = ends.next().unwrap_or(SLOTS);
            slots.entries[start..end].fill(self.entry(line, run));
        }
        slots
    }

    /// Writes a branch to `line`, which nobody reads yet.
    pub fn write_branch(&self, line: u32, slots: &Slots, bits: [u64; 4]) {
        let mut words = [0u64; BLOCK_MAX * WORDS];
        words[..4].copy_from_slice(&bits);
        let mut before = 0;
        for (chunk, bits) in bits.iter().enumerate() {
            words[COUNTS] |= u64::from(before) << (8 * chunk);
            before += bits.count_ones();
        }
        words[COUNTS] |= u64::from(slots.default) << 32;
        for (run, start) in starts(bits).enumerate() {
            let at = HEAD + run;
            words[at / 2] |= u64::from(slots.entries[start].0) << (at % 2 * 32);
        }
        let lines = &self.lines[line as usize..line as usize + size(bits)];
        for (word, value) in lines.iter().flat_map(|line| &line.0).zip(words) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Changes the branch at `line`, whose runs start where they did.
    pub fn update_branch(&self, line: u32, slots: &Slots, bits: [u64; 4]) {
        for (run, start) in starts(bits).enumerate() {
            let entry = slots.entries[start];
            if self.entry(line, run) != entry {
                self.set_entry(line, run, entry);
            }
        }
    }

    /// The routes of a bundle or a tail, and what the rest of its slot inherited.
    pub fn few(&self, entry: Entry) -> (Few<K>, u32) {
        let words = &self.lines[entry.value() as usize].0;
        let word = |word: usize| words[word].load(Ordering::Relaxed);
        if entry.is_tail() {
            let bits = K::from_halves([word(tail::UPPER), word(tail::LOWER)]);
            let prefix = Prefix { bits, len: word(tail::LEN) as u8 };
            return (
                Few::from_iter([Route { prefix, value: word(tail::VALUE) as u32 }]),
                word(tail::DEFAULT) as u32,
            );
        }
        let rest = word(bundle::REST);
        let route = |i: usize| {
            let len = bundle::LEN_MAX as u8 - (rest >> (8 * i)) as u8;
            let prefix = Prefix { bits: K::from_halves([word(i), 0]), len };
            Route { prefix, value: (word(bundle::VALUES + i / 2) >> (i % 2 * 32)) as u32 }
        };
        ((0..word(bundle::COUNT) as usize).map(route).collect(), (rest >> 32) as u32)
    }

    /// Writes a bundle to `line`, which nobody reads yet.
    pub fn write_bundle(&self, line: u32, routes: &Few<K>, default: u32) {
        let mut words = [0u64; WORDS];
        words[bundle::REST] = u64::from(default) << 32;
        words[bundle::COUNT] = routes.len() as u64;
        let first = routes.first().map_or(0, |route| route.prefix.bits.halves()[0]);
        // Who comes here shares the first bit with the routes: the places of none match nothing.
        words[..bundle::ROUTES].fill(first ^ 1 << 63);
        for (i, route) in routes.iter().enumerate() {
            words[i] = route.prefix.bits.halves()[0];
            words[bundle::REST] |= u64::from(bundle::LEN_MAX - route.prefix.len()) << (8 * i);
            words[bundle::VALUES + i / 2] |= u64::from(route.value) << (i % 2 * 32);
        }
        for (word, value) in self.lines[line as usize].0.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Writes a tail to `line`, which nobody reads yet.
    pub fn write_tail(&self, line: u32, route: Route<K>, default: u32) {
        let [upper, lower] = route.prefix.bits.halves();
        // What is behind an IPv4 address is not in the mask either.
        let [used_upper, used_lower] = K::ZERO.last(0).halves();
        let [upper_rest, lower_rest] = K::ZERO.last(route.prefix.len()).halves();
        let words = &self.lines[line as usize].0;
        let store = |word: usize, value: u64| words[word].store(value, Ordering::Relaxed);
        store(tail::UPPER, upper);
        store(tail::LOWER, lower);
        store(tail::UPPER_MASK, used_upper & !upper_rest);
        store(tail::LOWER_MASK, used_lower & !lower_rest);
        store(tail::VALUE, route.value.into());
        store(tail::DEFAULT, default.into());
        store(tail::LEN, route.prefix.len.into());
    }

    /// Another next hop for the `i`th route of a bundle or the route of a tail.
    pub fn set_value(&self, entry: Entry, i: usize, value: u32) {
        let words = &self.lines[entry.value() as usize].0;
        if entry.is_tail() {
            words[tail::VALUE].store(value.into(), Ordering::Release);
        } else {
            store_half(&words[bundle::VALUES + i / 2], i % 2 == 1, value);
        }
    }

    /// What block `entry` leads to inherits `default` from now on, and so do the blocks below that show it.
    pub fn push(&self, entry: Entry, default: u32) {
        match entry.kind() {
            Kind::Leaf(_) => {}
            Kind::Bundle(line) => store_half(&self.lines[line as usize].0[bundle::REST], true, default),
            Kind::Tail(line) => {
                self.lines[line as usize].0[tail::DEFAULT].store(default.into(), Ordering::Release);
            }
            Kind::Branch(line) => {
                if self.default(line) == default {
                    return;
                }
                store_half(&self.lines[line as usize].0[COUNTS], true, default);
                let runs = self.bits(line).iter().map(|bits| bits.count_ones()).sum::<u32>() as usize;
                for run in 0..runs {
                    let entry = self.entry(line, run);
                    if entry.is_inherited() && entry.is_block() {
                        self.push(entry, default);
                    } else if entry.is_inherited() {
                        self.set_entry(line, run, Entry::leaf(default).inherited(true));
                    }
                }
            }
        }
    }
}
