//! ESP's AEADs by both providers: published vectors, each against the other, and how long they take.
#![cfg(target_arch = "x86_64")]

mod cross;
mod cycles;
mod packet;
mod vectors;
mod wycheproof;

use dataplane::sa::{AeadKey, AeadProvider, Algorithm, AwsLc, Keymat};
use dpdk::crypto::IpsecMb;

/// Both. A CPU that cannot run the library cannot run these tests either.
fn providers() -> [Box<dyn AeadProvider>; 2] {
    [Box::new(IpsecMb::new().expect("a CPU with AES-NI")), Box::new(AwsLc)]
}

fn key(provider: &dyn AeadProvider, algorithm: Algorithm, keymat: &[u8]) -> Box<dyn AeadKey> {
    provider.key(&Keymat::new(algorithm, keymat).expect("the right length"))
}

fn hex(s: &str) -> Vec<u8> {
    (0..s.len() / 2).map(|n| u8::from_str_radix(&s[2 * n..2 * n + 2], 16).unwrap()).collect()
}

#[test]
fn the_library_says_what_it_uses() {
    let library = IpsecMb::new().unwrap();
    assert_eq!(library.name(), "ipsec-mb");
    let sets = library.instruction_sets();
    assert_eq!(sets.contains("AVX512"), is_x86_feature_detected!("avx512vl"));
    assert_eq!(sets.contains("VAES"), is_x86_feature_detected!("vaes"));
}
