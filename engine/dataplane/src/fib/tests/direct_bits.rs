//! Why 24 bits are indexed directly: 16 and 24 side by side, on the same routes and destinations. For a person to read:
//! `cargo test -p foreshift-dataplane --lib direct_bits -- --ignored --nocapture`

use super::super::key::{Key, Prefix};
use super::super::table::Table;
use super::super::trie::Trie;
use super::*;
use std::hint::black_box;
use std::time::Instant;

/// Destinations of one sample.
const SAMPLE: usize = 1024;

#[test]
#[ignore = "a measurement"]
fn direct_bits() {
    let v4 = table_v4(1_000_000, 1);
    let prefixes: Vec<_> = v4.iter().map(|net| (bits(net.addr()) as u32, net.prefix_len())).collect();
    let destinations: Vec<u32> = anywhere(&v4).map(|bits| bits as u32).collect();
    compare("IPv4", &filled::<u32, 16>(&prefixes), &filled::<u32, 24>(&prefixes), &destinations);
    let v6 = table_v6(100_000, 1);
    let prefixes: Vec<_> = v6.iter().map(|net| (bits(net.addr()), net.prefix_len())).collect();
    let destinations: Vec<u128> = anywhere(&v6).collect();
    compare("IPv6", &filled::<u128, 16>(&prefixes), &filled::<u128, 24>(&prefixes), &destinations);
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn anywhere(table: &[IpNet]) -> impl Iterator<Item = u128> {
    let mut random = Random(7);
    (0..1 << 20).map(move |_| address_in(table[random.below(table.len())], &mut random))
}

fn filled<K: Key, const D: u32>(prefixes: &[(K, u8)]) -> Trie<K, D> {
    let trie = Trie::new(1 << 20);
    let mut table = Table::<K, D>::new(1 << 20);
    for (n, &(bits, len)) in prefixes.iter().enumerate() {
        table.insert(&trie, Prefix::new(bits, len.into()), n as u32 % 512 + 1).unwrap();
        table.epoch += 1;
        table.arena.reclaim(table.epoch);
    }
    println!("{D} bits: {} KiB of blocks", table.arena.in_use() * 64 / 1024);
    trie
}

fn compare<K: Key, const A: u32, const B: u32>(name: &str, a: &Trie<K, A>, b: &Trie<K, B>, keys: &[K]) {
    let mut samples = [const { Vec::new() }; 4];
    for sample in keys.chunks(SAMPLE).cycle().take(8000) {
        samples[0].push(timed(a, sample));
        samples[1].push(timed(b, sample));
        // Once more, now in the cache.
        let hot = &sample[..128];
        timed(a, hot);
        samples[2].push(timed(a, hot));
        timed(b, hot);
        samples[3].push(timed(b, hot));
    }
    for (kind, mut samples) in [(A, "anywhere"), (B, "anywhere"), (A, "hot"), (B, "hot")].iter().zip(samples)
    {
        samples.sort_by(f64::total_cmp);
        let [p1, p10, p50] = [80, 800, 4000].map(|n| samples[n]);
        println!("{name}, {} bits, {}: p1 {p1:.1} p10 {p10:.1} p50 {p50:.1} ns", kind.0, kind.1);
    }
}

/// Nanoseconds of a lookup.
fn timed<K: Key, const D: u32>(trie: &Trie<K, D>, keys: &[K]) -> f64 {
    let mut out = [NextHopId(0); 32];
    let start = Instant::now();
    for keys in keys.chunks(32) {
        trie.lookup_burst(keys, &mut out);
        black_box(&out);
    }
    start.elapsed().as_nanos() as f64 / keys.len() as f64
}
