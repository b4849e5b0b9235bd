//! The table that workers read: a direct index of the first bits, then branches of 8 bits.
//!
//! Blocks are made of cache lines. A *bundle* is one line with up to four routes of up to /64, compared at once: most
//! slots of a real table have no more behind them, and so one line past the direct index. A *tail* is one line with
//! one longer route. A *branch* has 1 to 17 lines: in the first a bit for each of its 256 slots, set where the
//! content differs from the slot before, the number of bits before each 64, and the first entries. Routes of up to
//! /8 are kept apart, since each would fill much of the direct index.
//!
//! A lookup ends at one 32-bit word, which the writer changes in one store: it sees the routes as they were at one
//! instant, however many updates run beside it.

use super::entry::{Entry, Kind};
use super::key::{Key, SHORT, STRIDE};
use crate::id::NextHopId;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use sync::prefetch::prefetch;
use sync::zeroed::Zeroed;
use zerocopy::FromZeros;

/// Entries before which a branch's own words lie: four of bits, one of counts and what the branch inherited.
pub(super) const HEAD: usize = 10;
/// Words of 64 bits in a line.
pub(super) const WORDS: usize = 8;
/// The word of a branch with the counts (lower half) and what it inherited (upper half).
pub(super) const COUNTS: usize = 4;
/// Lookups that are in flight at once.
const BURST: usize = 32;

/// A cache line of a block.
#[derive(Debug, FromZeros)]
#[repr(C, align(64))]
pub(super) struct Line(pub [AtomicU64; WORDS]);

/// Longest-prefix match over addresses of one family, `D` bits of which are indexed directly.
#[derive(Debug)]
pub(super) struct Trie<K, const D: u32> {
    /// The routes of up to /8: where nothing longer leads.
    pub shorts: Box<[AtomicU32; 1 << SHORT]>,
    /// Changes of `shorts` that began and that ended: odd during one.
    pub short_changes: AtomicU64,
    pub direct: Zeroed<AtomicU32>,
    pub lines: Zeroed<Line>,
    key: std::marker::PhantomData<K>,
}

impl<K: Key, const D: u32> Trie<K, D> {
    /// Without routes, with room for blocks of `lines` cache lines in all.
    pub fn new(lines: usize) -> Trie<K, D> {
        Trie {
            shorts: Box::new([const { AtomicU32::new(0) }; 1 << SHORT]),
            short_changes: AtomicU64::new(0),
            direct: Zeroed::new(1 << D),
            lines: Zeroed::new(lines),
            key: std::marker::PhantomData,
        }
    }

    #[inline(always)]
    fn first(&self, key: K) -> Entry {
        // Acquire, here and below: a block is read as it was written before it was linked.
        Entry(self.direct[key.top(D)].load(Ordering::Acquire))
    }

    #[inline(always)]
    fn short(&self, key: K) -> u32 {
        self.shorts[key.top(SHORT) & 0xff].load(Ordering::Acquire)
    }

    /// The entry of `slot` in the branch at `line`.
    #[inline(always)]
    fn child(&self, line: u32, slot: usize) -> Entry {
        let head = &self.lines[line as usize].0;
        let chunk = slot >> 6 & 3;
        let bits = head[chunk].load(Ordering::Relaxed) << (!slot & 63);
        let before = head[COUNTS].load(Ordering::Relaxed) >> (8 * chunk) & 0xff;
        // The first slot always starts a run, so that there is one at or before every slot.
        let at = HEAD - 1 + before as usize + bits.count_ones() as usize;
        let line = &self.lines[line as usize + at / (2 * WORDS)].0;
        Entry((line[at / 2 % WORDS].load(Ordering::Acquire) >> (at % 2 * 32)) as u32)
    }

    /// The answer of the bundle at `line`.
    #[inline(always)]
    fn bundle(&self, line: u32, key: K) -> u32 {
        let words = &self.lines[line as usize].0;
        let key = key.halves()[0];
        let rest = words[bundle::REST].load(Ordering::Acquire);
        let mut found = (rest >> 32) as u32;
        for i in 0..bundle::ROUTES {
            let differs = (words[i].load(Ordering::Relaxed) ^ key) >> (rest >> (8 * i) & 63);
            let value = (words[bundle::VALUES + i / 2].load(Ordering::Acquire) >> (i % 2 * 32)) as u32;
            // Shorter routes come first.
            found = if differs == 0 { value } else { found };
        }
        found
    }

    /// The answer of the tail at `line`.
    #[inline(always)]
    fn tail(&self, line: u32, key: K) -> u32 {
        let words = &self.lines[line as usize].0;
        let [upper, lower] = key.halves();
        let differs = (words[tail::UPPER].load(Ordering::Relaxed) ^ upper)
            & words[tail::UPPER_MASK].load(Ordering::Relaxed)
            | (words[tail::LOWER].load(Ordering::Relaxed) ^ lower)
                & words[tail::LOWER_MASK].load(Ordering::Relaxed);
        let word = if differs == 0 { tail::VALUE } else { tail::DEFAULT };
        words[word].load(Ordering::Acquire) as u32
    }

    /// The longest match; zero without a route.
    #[inline]
    pub fn lookup(&self, key: K) -> NextHopId {
        loop {
            let changes = self.short_changes.load(Ordering::Acquire);
            let short = self.short(key);
            let found = self.longer(key);
            if found != 0 {
                return NextHopId(found);
            }
            // A short route counts if it was there while nothing longer was: all the time in between. Of one change in
            // progress, which the first count included, the slot shows at most one half.
            if self.short(key) == short && self.short_changes.load(Ordering::Acquire) == changes {
                return NextHopId(short);
            }
        }
    }

    /// The longest match of more than /8; zero without one.
    #[inline]
    fn longer(&self, key: K) -> u32 {
        let mut entry = self.first(key);
        let mut at = D;
        loop {
            match entry.kind() {
                Kind::Leaf(value) => return value,
                Kind::Bundle(line) => return self.bundle(line, key),
                Kind::Tail(line) => return self.tail(line, key),
                Kind::Branch(line) => entry = self.child(line, key.slot(at)),
            }
            at += STRIDE;
        }
    }

    /// The longest match of each key; zero without a route.
    #[inline]
    pub fn lookup_burst(&self, keys: &[K], out: &mut [NextHopId]) {
        for (keys, out) in keys.chunks(BURST).zip(out.chunks_mut(BURST)) {
            let changes = self.short_changes.load(Ordering::Acquire);
            self.longer_burst(keys, out);
            if out.iter().fold(false, |any, found| any | (found.0 == 0)) {
                self.shorts_burst(keys, out, changes);
            }
        }
    }

    /// Where nothing longer leads, the route of up to /8.
    #[inline]
    fn shorts_burst(&self, keys: &[K], out: &mut [NextHopId], changes: u64) {
        for (&key, out) in keys.iter().zip(&mut *out) {
            let short = self.short(key);
            *out = if out.0 == 0 { NextHopId(short) } else { *out };
        }
        fence(Ordering::Acquire);
        if changes % 2 == 1 || self.short_changes.load(Ordering::Relaxed) != changes {
            // A short route changed in the meantime: rare, and one by one they need not wait for its end.
            for (&key, out) in keys.iter().zip(out) {
                *out = self.lookup(key);
            }
        }
    }

    /// One step of all keys after the other, loads apart from what depends on them, so that cache misses overlap; what
    /// a key meets is sorted into lists without a branch to mispredict.
    #[inline]
    fn longer_burst(&self, keys: &[K], out: &mut [NextHopId]) {
        let mut entries = [Entry::NONE; BURST];
        let mut blocks = false;
        for ((entry, &key), out) in entries.iter_mut().zip(keys).zip(&mut *out) {
            *entry = self.first(key);
            *out = NextHopId(entry.value());
            blocks |= entry.is_block();
        }
        if !blocks {
            return;
        }
        let (mut branches, mut bundles, mut tails) = (List::new(), List::new(), List::new());
        for (i, entry) in entries.iter().enumerate() {
            branches.push_if(i, entry.is_branch());
            bundles.push_if(i, entry.is_bundle());
            tails.push_if(i, entry.is_tail());
        }
        self.fetch(&bundles, &entries);
        let mut at = D;
        while branches.len > 0 {
            self.fetch(&branches, &entries);
            let active = std::mem::replace(&mut branches, List::new());
            for i in active.iter() {
                if let Some(key) = keys.get(i) {
                    entries[i] = self.child(entries[i].value(), key.slot(at));
                }
            }
            for i in active.iter() {
                let entry = entries[i];
                if let Some(out) = out.get_mut(i) {
                    *out = NextHopId(entry.value());
                }
                branches.push_if(i, entry.is_branch());
                bundles.push_if(i, entry.is_bundle());
                tails.push_if(i, entry.is_tail());
            }
            at += STRIDE;
        }
        for i in bundles.iter() {
            if let (Some(&key), Some(out)) = (keys.get(i), out.get_mut(i)) {
                *out = NextHopId(self.bundle(entries[i].value(), key));
            }
        }
        for i in tails.iter() {
            if let (Some(&key), Some(out)) = (keys.get(i), out.get_mut(i)) {
                *out = NextHopId(self.tail(entries[i].value(), key));
            }
        }
    }

    #[inline(always)]
    fn fetch(&self, list: &List, entries: &[Entry; BURST]) {
        for i in list.iter() {
            prefetch(&self.lines[entries[i].value() as usize]);
        }
    }
}

/// Places in a burst.
struct List {
    places: [u8; BURST],
    len: usize,
}

impl List {
    #[inline(always)]
    fn new() -> List {
        List { places: [0; BURST], len: 0 }
    }

    #[inline(always)]
    fn push_if(&mut self, place: usize, condition: bool) {
        self.places[self.len % BURST] = place as u8;
        self.len += usize::from(condition);
    }

    #[inline(always)]
    fn iter(&self) -> impl Iterator<Item = usize> {
        self.places.iter().take(self.len).map(|&place| usize::from(place) % BURST)
    }
}

/// The words of a bundle; the prefixes are the first four.
pub(super) mod bundle {
    /// Most routes.
    pub const ROUTES: usize = 4;
    /// For each route, 64 less its length, a byte each; above them the next hop of the other addresses of the slot.
    pub const REST: usize = 4;
    /// The routes' next hops, two a word.
    pub const VALUES: usize = 5;
    /// The number of routes; for the writer.
    pub const COUNT: usize = 7;
    /// The longest routes.
    pub const LEN_MAX: u32 = 64;
}

/// The words of a tail.
pub(super) mod tail {
    /// The upper half of the route's prefix.
    pub const UPPER: usize = 0;
    /// The lower half.
    pub const LOWER: usize = 1;
    /// Which bits of the upper half count.
    pub const UPPER_MASK: usize = 2;
    /// Which of the lower half.
    pub const LOWER_MASK: usize = 3;
    /// The route's next hop.
    pub const VALUE: usize = 4;
    /// The next hop of the other addresses of the slot.
    pub const DEFAULT: usize = 5;
    /// The route's length, bits; for the writer.
    pub const LEN: usize = 6;
}
