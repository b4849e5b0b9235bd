//! How many TSC cycles an operation takes. Run alone, on a quiet core:
//! `cargo test -p foreshift-dpdk --test aead -- --ignored --nocapture cycles`

use super::{key, providers};
use dataplane::frame::Frame;
use dataplane::id::Spi;
use dataplane::packet::{BURST, Packet};
use dataplane::replay::WindowSize;
use dataplane::sa::{Aad, AeadProvider, Algorithm, InboundSa, Limits, OutboundSa, SaKey};
use std::arch::x86_64::{__rdtscp, _rdtsc};

const SAMPLES: usize = 2000;
/// Inner packets.
const LENGTHS: [usize; 3] = [64, 512, 1420];
/// A packet's AEAD text: with 2 bytes of trailer, to a multiple of 4.
const fn text(inner: usize) -> usize {
    (inner + 2).next_multiple_of(4)
}

/// 10th percentile and median of a burst's cycles per packet.
fn measure(mut prepare: impl FnMut(), mut burst: impl FnMut()) -> (f64, f64) {
    let mut samples: Vec<u64> = (0..SAMPLES)
        .map(|_| {
            prepare();
            let mut cpu = 0;
            // SAFETY: only reads the counter.
            let start = unsafe { __rdtscp(&mut cpu) };
            burst();
            // SAFETY: only reads the counter.
            unsafe { __rdtscp(&mut cpu) }.saturating_sub(start)
        })
        .collect();
    samples.sort_unstable();
    let per_packet = |at: usize| samples[at] as f64 / BURST as f64;
    (per_packet(SAMPLES / 10), per_packet(SAMPLES / 2))
}

fn bare(provider: &dyn AeadProvider, algorithm: Algorithm, inner: usize) -> [(f64, f64); 2] {
    let key = key(provider, algorithm, &vec![7; algorithm.keymat_length()]);
    let texts = std::cell::RefCell::new(vec![[7u8; 2048]; BURST]);
    let iv = std::cell::Cell::new(0u64);
    let seal = || {
        for text in texts.borrow_mut().iter_mut() {
            iv.set(iv.get() + 1);
            let (text, icv) = text[64..].split_at_mut(self::text(inner));
            let icv = icv.first_chunk_mut().unwrap();
            key.seal(iv.get().to_be_bytes(), Aad::Esn(Spi(256), iv.get()), text, icv).unwrap();
        }
    };
    let open = || {
        let first = iv.get() - BURST as u64;
        for (n, text) in texts.borrow_mut().iter_mut().enumerate() {
            let seq = first + n as u64 + 1;
            let (text, icv) = text[64..].split_at_mut(self::text(inner));
            let icv = icv.first_chunk().unwrap();
            key.open(seq.to_be_bytes(), Aad::Esn(Spi(256), seq), text, icv).unwrap();
        }
    };
    [measure(|| (), seal), measure(seal, open)]
}

fn esp(provider: &dyn AeadProvider, algorithm: Algorithm, inner: usize) -> [(f64, f64); 2] {
    let key = || SaKey::new(provider, algorithm, &vec![7; algorithm.keymat_length()]).unwrap();
    let limits = Limits { soft: u64::MAX, hard: u64::MAX };
    let outbound = std::cell::RefCell::new(OutboundSa::new(Spi(256), key(), limits, true).unwrap());
    let mut inbound = InboundSa::new(Spi(256), key(), WindowSize::default(), true).unwrap();
    let plain = vec![0x45; inner];
    let frames = || (0..BURST).map(|_| Frame::new(&plain)).collect::<Vec<_>>();
    let packets = std::cell::RefCell::new(frames());
    let reset = || {
        for packet in packets.borrow_mut().iter_mut() {
            let over = packet.len() - inner;
            if over > 0 {
                packet.adj(36);
                packet.trim(over - 36);
            }
        }
    };
    let seal = || {
        let mut outbound = outbound.borrow_mut();
        for packet in packets.borrow_mut().iter_mut() {
            outbound.seal_behind(packet, 4, 20).unwrap();
        }
    };
    let sealed = measure(reset, seal);
    reset();
    let opened = measure(
        || {
            seal();
            packets.borrow_mut().iter_mut().for_each(|packet| assert!(packet.adj(20)));
        },
        || {
            for packet in packets.borrow_mut().iter_mut() {
                inbound.open(packet).unwrap();
            }
        },
    );
    [sealed, opened]
}

#[test]
#[ignore = "a measurement, and it needs a quiet core"]
fn cycles() {
    // SAFETY: only reads the counter.
    let start = unsafe { _rdtsc() };
    println!(
        "{:<18} {:<9} {:>5}  seal p10 p50   open p10 p50 | esp seal p10 p50  open p10 p50",
        "", "", "inner"
    );
    for algorithm in Algorithm::ALL {
        for inner in LENGTHS {
            for provider in providers() {
                let [seal, open] = bare(&*provider, algorithm, inner);
                let [esp_seal, esp_open] = esp(&*provider, algorithm, inner);
                let row: String = [seal, open, esp_seal, esp_open]
                    .iter()
                    .map(|(p10, p50)| format!("{p10:7.1} {p50:7.1}"))
                    .collect();
                println!("{:<18} {:<9} {inner:>5} {row}", algorithm.name(), provider.name());
            }
        }
    }
    // SAFETY: only reads the counter.
    assert!(unsafe { _rdtsc() } > start);
}
