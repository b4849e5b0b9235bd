//! Tables like the internet's, from a seed, for tests and benchmarks: prefix lengths as in a full table, routes in
//! clusters, nested. No real prefix is meant.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::HashSet;

/// How many of 1000 IPv4 routes have which length.
const LENGTHS_V4: [(u8, u32); 14] = [
    (24, 612),
    (23, 100),
    (22, 115),
    (21, 53),
    (20, 46),
    (19, 26),
    (18, 14),
    (17, 8),
    (16, 14),
    (15, 3),
    (14, 3),
    (13, 2),
    (12, 2),
    (11, 2),
];
/// How many of 1000 IPv6 routes have which length.
const LENGTHS_V6: [(u8, u32); 13] = [
    (48, 460),
    (32, 130),
    (44, 100),
    (40, 90),
    (36, 50),
    (29, 50),
    (46, 40),
    (47, 25),
    (45, 15),
    (42, 15),
    (34, 10),
    (33, 10),
    (28, 5),
];
/// /16 blocks of which IPv4 routes announce parts.
const BLOCKS_V4: usize = 45_000;
/// /32 blocks of which IPv6 routes announce parts.
const BLOCKS_V6: usize = 40_000;
/// The /12 blocks of the regional registries.
const REGISTRIES: [u128; 6] = [0x200, 0x240, 0x260, 0x280, 0x2a0, 0x2c0];

/// Pseudorandom numbers, the same from the same seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// The next number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.word()) * n as u128) >> 64) as usize
    }

    fn length(&mut self, lengths: &[(u8, u32)]) -> u8 {
        let mut left = self.below(1000) as u32;
        for &(length, share) in lengths {
            if left < share {
                return length;
            }
            left -= share;
        }
        lengths[0].0
    }

    /// One of `items`, the first ones more often: networks differ in how much they announce.
    fn skewed<T: Copy>(&mut self, items: &[T]) -> T {
        let n = self.below(items.len());
        items[if self.word() & 1 == 0 { n } else { n * n / items.len() }]
    }
}

/// `n` different IPv4 prefixes, /11 to /24; `n` ≤ 2,000,000.
pub fn table_v4(n: usize, seed: u64) -> Vec<IpNet> {
    let mut random = Random(seed);
    let mut blocks = HashSet::new();
    while blocks.len() < BLOCKS_V4 {
        let block = 0x0100 + random.below(0xdf00) as u32;
        if ![10, 127].contains(&(block >> 8)) {
            blocks.insert(block);
        }
    }
    let mut blocks: Vec<u32> = blocks.into_iter().collect();
    // A set has no order to repeat.
    blocks.sort_unstable_by_key(|&block| Random(u64::from(block) ^ seed).word());
    let (mut seen, mut table) = (HashSet::new(), Vec::with_capacity(n));
    while table.len() < n {
        let bits = random.skewed(&blocks) << 16 | random.below(1 << 16) as u32;
        let net = Ipv4Net::new_assert(bits.into(), random.length(&LENGTHS_V4)).trunc();
        if seen.insert(net) {
            table.push(IpNet::V4(net));
        }
    }
    table
}

/// `n` different IPv6 prefixes, /28 to /48; `n` ≤ 1,000,000.
pub fn table_v6(n: usize, seed: u64) -> Vec<IpNet> {
    let mut random = Random(seed ^ 0x6666);
    let blocks: Vec<u128> = (0..BLOCKS_V6)
        .map(|_| {
            let registry = REGISTRIES[random.below(REGISTRIES.len())];
            // At multiples of a /29: what a registry hands out may grow.
            registry << 116 | (random.below(1 << 17) as u128) << 99
        })
        .collect();
    let (mut seen, mut table) = (HashSet::new(), Vec::with_capacity(n));
    while table.len() < n {
        let block = random.skewed(&blocks);
        // Half of the parts are numbered from the bottom, half lie anywhere.
        let span = if random.word() & 1 == 0 { 1 << 8 } else { 1 << 16 };
        let part = random.below(span) as u128;
        let net = Ipv6Net::new_assert((block | part << 80).into(), random.length(&LENGTHS_V6)).trunc();
        if seen.insert(net) {
            table.push(IpNet::V6(net));
        }
    }
    table
}

/// An address inside `prefix`, as bits: an IPv4 address in the lower 32.
pub fn address_in(prefix: IpNet, random: &mut Random) -> u128 {
    match prefix {
        IpNet::V4(net) => {
            u128::from(net.network().to_bits() | net.hostmask().to_bits() & random.word() as u32)
        }
        IpNet::V6(net) => {
            let noise = u128::from(random.word()) << 64 | u128::from(random.word());
            net.network().to_bits() | net.hostmask().to_bits() & noise
        }
    }
}
