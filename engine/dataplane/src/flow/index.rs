//! From a hash to a slot: buckets of one cache line, two choices, cuckoo moves on insertion.

use super::tuple::{AnyTuple, Tuple};
use crate::packet::BURST;
use arrayvec::ArrayVec;
use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Entries in a bucket: tags and slots fill one cache line.
const WAYS: usize = 8;
/// No entry. Real tags are odd.
const EMPTY: u32 = 0;
/// Spreads a tag over the buckets: 2^32 / φ.
const SPREAD: u32 = 0x9e37_79b9;

/// Where a key is to be looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hash {
    /// Chooses the first bucket.
    place: u32,
    /// Tells entries of a bucket apart, and chooses the second bucket. Odd.
    tag: u32,
}

/// The secret of an engine start, from which all hashes are made.
///
/// The hash is multilinear over 32-bit words modulo 2^64, of which the upper half is kept: strongly universal
/// (Dietzfelbinger 1996; Lemire and Kaser 2014), twice with independent keys.
#[derive(Clone)]
pub struct HashKeys([[u64; WORDS + 1]; 2]);

/// Words of the longest key, an IPv6 tuple: two addresses, ports, protocol.
const WORDS: usize = 10;

impl HashKeys {
    /// Random words that keys are made from.
    pub const WORDS: usize = 2 * (WORDS + 1);

    /// Keys from a source of uniform random words.
    pub fn new(mut random: impl FnMut() -> u64) -> HashKeys {
        HashKeys(std::array::from_fn(|_| std::array::from_fn(|_| random())))
    }

    /// Keys that follow from `seed`, for tests and measurements that are to be repeated (SplitMix64).
    pub fn seeded(seed: u64) -> HashKeys {
        let mut state = seed;
        HashKeys::new(|| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        })
    }

    /// The hash of a flow: the same for both directions.
    #[inline]
    pub fn flow(&self, tuple: &AnyTuple) -> Hash {
        match tuple {
            AnyTuple::V4(tuple) => self.flow4(tuple),
            AnyTuple::V6(tuple) => self.flow6(tuple),
        }
    }

    /// The same for IPv4.
    #[inline]
    pub fn flow4(&self, tuple: &Tuple<Ipv4Addr>) -> Hash {
        let end = |address: Ipv4Addr, port: u16| u64::from(address.to_bits()) << 16 | u64::from(port);
        let (a, b) = (end(tuple.src, tuple.src_port), end(tuple.dst, tuple.dst_port));
        let (low, high) = (a.min(b), a.max(b));
        let tops = (low >> 32 | high >> 32 << 16) as u32;
        self.words([low as u32, high as u32, tops, u32::from(tuple.protocol)])
    }

    /// The same for IPv6.
    #[inline]
    pub fn flow6(&self, tuple: &Tuple<Ipv6Addr>) -> Hash {
        let a = (tuple.src.to_bits(), tuple.src_port);
        let b = (tuple.dst.to_bits(), tuple.dst_port);
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        let [p, q] = [low.0, high.0].map(|bits| [0, 32, 64, 96].map(|shift| (bits >> shift) as u32));
        let ports = u32::from(low.1) << 16 | u32::from(high.1);
        // An IPv6 tuple is as long as the keys; an IPv4 one differs in length, and never shares an entry's check.
        let protocol = u32::from(tuple.protocol);
        self.words([p[0], p[1], p[2], p[3], q[0], q[1], q[2], q[3], ports, protocol])
    }

    /// The hash of `words`, at most `WORDS` of them.
    #[inline]
    pub fn words<const N: usize>(&self, words: [u32; N]) -> Hash {
        const { assert!(N <= WORDS) };
        let sum = |keys: &[u64; WORDS + 1]| {
            let mut sum = keys[WORDS];
            for (word, key) in words.iter().zip(keys) {
                sum = sum.wrapping_add(key.wrapping_mul(u64::from(*word)));
            }
            (sum >> 32) as u32
        };
        Hash { place: sum(&self.0[0]), tag: sum(&self.0[1]) | 1 }
    }
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Bucket {
    tags: [u32; WAYS],
    slots: [u32; WAYS],
}

impl Bucket {
    // Not zero, so that the pages are written, and thereby mapped, before the first packet.
    const VACANT: Bucket = Bucket { tags: [EMPTY; WAYS], slots: [u32::MAX; WAYS] };

    /// A bit for each way that holds `tag`.
    #[inline]
    fn matches(&self, tag: u32) -> u32 {
        let mut found = 0;
        for (way, &other) in self.tags.iter().enumerate() {
            found |= u32::from(other == tag) << way;
        }
        found
    }

    /// The slot of a way that holds `tag`, or `u32::MAX`. Without a branch.
    #[inline]
    fn candidate(&self, tag: u32) -> u32 {
        let found = self.matches(tag);
        let slot = self.slots[found.trailing_zeros() as usize % WAYS];
        if found == 0 { u32::MAX } else { slot }
    }

    #[inline]
    fn put(&mut self, tag: u32, slot: u32) -> bool {
        let way = self.matches(EMPTY).trailing_zeros() as usize;
        if way >= WAYS {
            return false;
        }
        (self.tags[way], self.slots[way]) = (tag, slot);
        true
    }
}

/// Hash → slot, of a fixed size.
pub struct Index {
    buckets: Box<[Bucket]>,
}

impl Index {
    /// Room for `entries`, three quarters full then. Allocates and writes all of its memory.
    pub fn new(entries: usize) -> Index {
        let buckets = (entries * 4).div_ceil(WAYS * 3).max(2);
        Index { buckets: vec![Bucket::VACANT; buckets].into() }
    }

    /// Memory, bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.buckets)
    }

    #[inline]
    fn scale(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.buckets.len() as u64) >> 32) as usize
    }

    /// The other bucket of an entry with `tag` in `bucket`: its own inverse.
    #[inline]
    fn other(&self, bucket: usize, tag: u32) -> usize {
        let sum = self.scale(tag.wrapping_mul(SPREAD));
        if sum >= bucket { sum - bucket } else { sum + self.buckets.len() - bucket }
    }

    /// Candidate slots for up to a burst of hashes: unverified, `u32::MAX` where no tag matches. Each line is read for
    /// all of them before one is looked into, by a loop short enough that the reorder buffer holds the whole
    /// burst: the misses overlap.
    #[inline]
    pub fn candidates(&self, hashes: &[Hash], candidates: &mut [u32; BURST]) {
        let mut others: ArrayVec<(u8, u32), BURST> = ArrayVec::new();
        self.touch(hashes.iter().map(|hash| self.scale(hash.place)));
        for ((at, &hash), candidate) in (0..).zip(hashes).zip(candidates.iter_mut()) {
            let first = self.scale(hash.place);
            *candidate = self.buckets[first].candidate(hash.tag);
            if *candidate == u32::MAX {
                let _ = others.try_push((at, self.other(first, hash.tag) as u32));
            }
        }
        self.touch(others.iter().map(|&(_, other)| other as usize));
        for &(at, other) in &others {
            candidates[usize::from(at)] = self.buckets[other as usize].candidate(hashes[usize::from(at)].tag);
        }
    }

    /// Reads a line of each bucket.
    #[inline]
    fn touch(&self, buckets: impl Iterator<Item = usize>) {
        let mut read = 0;
        for bucket in buckets {
            read ^= self.buckets[bucket].tags[0];
        }
        black_box(read);
    }

    /// The slot that was entered under `hash` and that `is_it` accepts.
    #[inline]
    pub fn find(&self, hash: Hash, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let first = self.scale(hash.place);
        self.locate(first, hash.tag, &is_it)
            .or_else(|| self.locate(self.other(first, hash.tag), hash.tag, &is_it))
            .map(|(bucket, way)| self.buckets[bucket].slots[way])
    }

    #[inline]
    fn locate(&self, bucket: usize, tag: u32, is_it: impl Fn(u32) -> bool) -> Option<(usize, usize)> {
        let mut found = self.buckets[bucket].matches(tag);
        while found != 0 {
            let way = found.trailing_zeros() as usize;
            if is_it(self.buckets[bucket].slots[way]) {
                return Some((bucket, way));
            }
            found &= found - 1;
        }
        None
    }

    /// Enters `slot` under `hash`. False, and nothing changed that a lookup could see, if there is no room: never
    /// seen below the capacity with hashes that are not chosen.
    pub fn insert(&mut self, hash: Hash, slot: u32) -> bool {
        let first = self.scale(hash.place);
        let second = self.other(first, hash.tag);
        if self.buckets[first].put(hash.tag, slot) || self.buckets[second].put(hash.tag, slot) {
            return true;
        }
        let bucket = if self.make_room(first, 1) {
            first
        } else if self.make_room(second, 1) {
            second
        } else {
            return false;
        };
        self.buckets[bucket].put(hash.tag, slot)
    }

    /// Moves one entry of `bucket`, which is full, to its other bucket; makes room there, too, `depth` times. So at
    /// most 8 + 64 buckets are read.
    fn make_room(&mut self, bucket: usize, depth: u32) -> bool {
        for deeper in 0..=depth {
            for way in 0..WAYS {
                let (tag, slot) = (self.buckets[bucket].tags[way], self.buckets[bucket].slots[way]);
                let other = self.other(bucket, tag);
                // `bucket` stays full meanwhile, so nothing moves into it.
                if other == bucket || deeper > 0 && !self.make_room(other, deeper - 1) {
                    continue;
                }
                if self.buckets[other].put(tag, slot) {
                    self.buckets[bucket].tags[way] = EMPTY;
                    return true;
                }
            }
        }
        false
    }

    /// Forgets `slot`, entered under `hash`.
    pub fn remove(&mut self, hash: Hash, slot: u32) -> bool {
        let first = self.scale(hash.place);
        let same = |other| other == slot;
        let found = self
            .locate(first, hash.tag, same)
            .or_else(|| self.locate(self.other(first, hash.tag), hash.tag, same));
        if let Some((bucket, way)) = found {
            self.buckets[bucket].tags[way] = EMPTY;
        }
        found.is_some()
    }
}
