//! The table that workers read: a direct index of the first bits, then branches of 8 bits.
//!
//! A *branch* is a block of 1 to 17 cache lines. Its first 64 bytes hold a bit for each of its 256 slots (set
//! where the content differs from the slot before), the number of bits before each 64, and the first entries; few
//! branches of a real table need a second line. A *tail* is one line with the only route behind a slot, so that a
//! lonely long prefix costs one step. A lookup ends at one 32-bit word, which the writer changes in one store: it sees
//! the routes as they were at one instant, however many updates run beside it.

use super::entry::Entry;
use super::key::{Key, STRIDE};
use crate::id::NextHopId;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
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
    pub direct: Zeroed<AtomicU32>,
    pub lines: Zeroed<Line>,
    key: std::marker::PhantomData<K>,
}

impl<K: Key, const D: u32> Trie<K, D> {
    /// Without routes, with room for blocks of `lines` cache lines in all.
    pub fn new(lines: usize) -> Trie<K, D> {
        let key = std::marker::PhantomData;
        Trie { direct: Zeroed::new(1 << D), lines: Zeroed::new(lines), key }
    }

    #[inline(always)]
    fn first(&self, key: K) -> Entry {
        // Acquire, here and below: a block is read as it was written before it was linked.
        Entry(self.direct[key.top(D)].load(Ordering::Acquire))
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
        let mut entry = self.first(key);
        let mut at = D;
        while entry.is_block() {
            if entry.is_tail() {
                return NextHopId(self.tail(entry.value(), key));
            }
            entry = self.child(entry.value(), key.slot(at));
            at += STRIDE;
        }
        NextHopId(entry.value())
    }

    /// The longest match of each key; zero without a route.
    #[inline]
    pub fn lookup_burst(&self, keys: &[K], out: &mut [NextHopId]) {
        for (keys, out) in keys.chunks(BURST).zip(out.chunks_mut(BURST)) {
            self.burst(keys, out);
        }
    }

    /// One step of all keys after the other: the steps of one pass do not wait for each other's cache misses, and what
    /// a key meets is sorted into lists without a branch to mispredict.
    #[inline]
    fn burst(&self, keys: &[K], out: &mut [NextHopId]) {
        let mut entries = [Entry::NONE; BURST];
        let (mut branches, mut branch_count) = ([0u8; BURST], 0);
        let (mut tails, mut tail_count) = ([0u8; BURST], 0);
        for (i, (&key, out)) in keys.iter().zip(&mut *out).enumerate() {
            let entry = self.first(key);
            *out = NextHopId(entry.value());
            entries[i % BURST] = entry;
            branches[branch_count % BURST] = i as u8;
            branch_count += usize::from(entry.is_branch());
            tails[tail_count % BURST] = i as u8;
            tail_count += usize::from(entry.is_tail());
        }
        let mut at = D;
        while branch_count > 0 {
            let active = branch_count;
            branch_count = 0;
            for slot in 0..active {
                let i = usize::from(branches[slot % BURST]) % BURST;
                let (Some(key), Some(out)) = (keys.get(i), out.get_mut(i)) else { continue };
                let entry = self.child(entries[i].value(), key.slot(at));
                *out = NextHopId(entry.value());
                entries[i] = entry;
                branches[branch_count % BURST] = i as u8;
                branch_count += usize::from(entry.is_branch());
                tails[tail_count % BURST] = i as u8;
                tail_count += usize::from(entry.is_tail());
            }
            at += STRIDE;
        }
        for &i in tails.iter().take(tail_count) {
            let i = usize::from(i) % BURST;
            let (Some(&key), Some(out)) = (keys.get(i), out.get_mut(i)) else { continue };
            *out = NextHopId(self.tail(entries[i].value(), key));
        }
    }
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
