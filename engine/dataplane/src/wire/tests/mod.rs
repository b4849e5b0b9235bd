//! Checks against oracles: etherparse, scapy (the corpus), and computing a checksum anew.

mod checksum;
mod corpus;
mod errors;
mod flow;
mod ip;
mod neighbors;
mod options;
mod transport;

use std::path::PathBuf;

/// A corpus file by its name without `.bin`.
fn seed(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{name}.bin"))).expect("the corpus has it")
}

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "corpus", "wire"].iter().collect()
}

/// A corpus file without its Ethernet header.
fn seed_packet(name: &str) -> Vec<u8> {
    let frame = seed(name);
    let (_, payload) = super::ethernet::Ethernet::parse(&frame).expect("an Ethernet frame");
    frame[payload..].to_vec()
}
