//! What the vdev tests share.
#![allow(dead_code, reason = "each test binary uses a part")]

pub mod kernel;

use dataplane::packet::{BURST, Burst, Packet, PacketPool, Port};
use dpdk::{EalPlan, Hugepages, Mbuf, Mempool, QueuePair};
use std::time::{Duration, Instant};

/// IEEE 802 local experimental: nothing else in a namespace sends it.
pub const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

pub fn plan(vdevs: &[&str]) -> EalPlan {
    EalPlan {
        worker_cores: vec![0, 0],
        hugepages: Hugepages::Off,
        memory_mb: 128,
        file_prefix: format!("test{}", std::process::id()),
        vdevs: vdevs.iter().map(|&vdev| vdev.to_owned()).collect(),
        ..EalPlan::default()
    }
}

pub fn experimental(bytes: &[u8]) -> bool {
    bytes.get(12..14) == Some(&ETHERTYPE)
}

/// A frame of `len` bytes that no other seed gives.
pub fn frame(seed: u32, len: usize) -> Vec<u8> {
    let mut random = Random(u64::from(seed));
    let mut bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
    // Unicast addresses.
    bytes[0] &= 0xfe;
    bytes[6] &= 0xfe;
    bytes[12..14].copy_from_slice(&ETHERTYPE);
    bytes
}

pub fn mbuf(pool: &mut Mempool, bytes: &[u8]) -> Mbuf {
    let mut mbuf = pool.alloc().expect("the pool has packets");
    mbuf.append(bytes.len()).expect("it fits").copy_from_slice(bytes);
    mbuf
}

pub fn send(pair: &mut QueuePair, mbuf: Mbuf) {
    let mut burst = Burst::new();
    burst.push(mbuf);
    pair.tx_burst(&mut burst);
    assert!(burst.is_empty(), "one packet fits the queue");
}

/// Polls all pairs until `count` packets that `wanted` accepts have come, for 5 s at most.
pub fn receive(pairs: &mut [QueuePair], count: usize, wanted: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut got = Vec::new();
    while got.len() < count && Instant::now() < deadline {
        for pair in &mut *pairs {
            let mut burst = Burst::new();
            pair.rx_burst(&mut burst);
            assert!(burst.len() <= BURST);
            got.extend(burst.iter().map(|mbuf| mbuf.data().to_vec()).filter(|bytes| wanted(bytes)));
        }
    }
    got
}

/// xorshift64*: small, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        let mut x = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0 = x;
        x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }
}
