//! ESP under a fuzzer. Bytes as they come never pass the ICV, so part of the input says what to seal properly.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use dataplane::frame::Frame;
use dataplane::id::Spi;
use dataplane::packet::Packet;
use dataplane::replay::WindowSize;
use dataplane::sa::{Algorithm, AwsLc, InboundSa, Limits, OutboundSa, SaError, SaKey};

const SPI: Spi = Spi(0x1000);
const KEYMAT: [u8; 36] = *b"thirty-two bytes of any key and salt";

/// What an input is about.
#[derive(Clone, Copy)]
struct Kind {
    algorithm: Algorithm,
    esn: bool,
}

/// In the first byte bit 0 chooses ESN, bits 1–2 how much is made right, bits 3–4 the cipher, bits 5–7 the window; the
/// rest is the packet.
pub fn run(data: &[u8]) {
    let Some((&how, data)) = data.split_first() else { return };
    let data = &data[..data.len().min(1800)];
    let kind = Kind { algorithm: Algorithm::ALL[usize::from(how >> 3 & 3)], esn: how & 1 != 0 };
    let window = WindowSize::new(64 << (how >> 5).min(6)).expect("64 to 4096");
    let mut inbound = InboundSa::new(SPI, kind.key(), window, kind.esn).expect("an SPI above 255");
    match how >> 1 & 3 {
        0 => drop(inbound.open(&mut Frame::new(data))),
        1 => sealed(&mut inbound, data, kind),
        2 => round_trip(&mut inbound, data, kind),
        _ => several(&mut inbound, data, kind),
    }
}

impl Kind {
    fn keymat(self) -> &'static [u8] {
        let key = match self.algorithm {
            Algorithm::Aes128Gcm => 16,
            Algorithm::Aes192Gcm => 24,
            Algorithm::Aes256Gcm | Algorithm::ChaCha20Poly1305 => 32,
        };
        &KEYMAT[..key + 4]
    }

    fn key(self) -> SaKey {
        SaKey::new(&AwsLc, self.algorithm, self.keymat()).expect("keymat of the right length")
    }

    /// An ESP packet with sequence number `seq`, whose plaintext (trailer included) is `data`, with a right ICV.
    fn esp(self, seq: u64, data: &[u8]) -> Frame {
        let (key, salt) = self.keymat().split_at(self.keymat().len() - 4);
        let cipher = match self.algorithm {
            Algorithm::Aes128Gcm => &AES_128_GCM,
            Algorithm::Aes192Gcm => &AES_192_GCM,
            Algorithm::Aes256Gcm => &AES_256_GCM,
            Algorithm::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let key = LessSafeKey::new(UnboundKey::new(cipher, key).expect("its length"));
        let mut aad = SPI.0.to_be_bytes().to_vec();
        aad.extend(&seq.to_be_bytes()[if self.esn { 0 } else { 4 }..]);
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(salt);
        nonce[4..].copy_from_slice(&seq.to_be_bytes());
        let mut text = data.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut text).expect("short enough");
        let front = [SPI.0.to_be_bytes(), (seq as u32).to_be_bytes()].concat();
        Frame::new(&[&front[..], &seq.to_be_bytes(), &text].concat())
    }
}

/// Authentic, whatever it holds: accepted only with a right trailer, and never twice.
fn sealed(inbound: &mut InboundSa, data: &[u8], kind: Kind) {
    let mut packet = kind.esp(1, data);
    match inbound.open(&mut packet) {
        Ok(protocol) => {
            assert!(protocol == 4 || protocol == 41);
            let padding = usize::from(data[data.len() - 2]);
            let inner = data.len() - 2 - padding;
            assert_eq!(data[data.len() - 1], protocol);
            assert_eq!(packet.data(), &data[..inner]);
            assert!(
                data[inner..].iter().take(padding).enumerate().all(|(n, byte)| usize::from(*byte) == n + 1)
            );
        }
        Err(SaError::Authentication | SaError::Replay) => panic!("it was authentic and new"),
        Err(_) => {}
    }
    if data.len() >= 2 {
        assert_eq!(inbound.open(&mut kind.esp(1, data)), Err(SaError::Replay));
    }
}

/// What one end seals the other opens, and with any bit changed it does not.
fn round_trip(inbound: &mut InboundSa, data: &[u8], kind: Kind) {
    let limits = Limits { soft: 1 << 20, hard: 1 << 21 };
    let mut outbound = OutboundSa::new(SPI, kind.key(), limits, kind.esn).expect("an SA");
    let mut packet = Frame::new(data);
    outbound.seal(&mut packet, 4).expect("there is room");
    let mut wrong = Frame::new(packet.data());
    let at = data.iter().fold(0usize, |sum, &byte| sum * 31 % 65_521 + usize::from(byte)) % wrong.len();
    wrong.data_mut()[at] ^= 1 << (data.len() % 8);
    assert!(inbound.open(&mut wrong).is_err());
    assert_eq!(inbound.open(&mut packet), Ok(4));
    assert_eq!(packet.data(), data);
}

/// Packets of the sequence numbers that the input says: each number is accepted at most once, and not below the window.
fn several(inbound: &mut InboundSa, data: &[u8], kind: Kind) {
    let mut accepted = std::collections::BTreeSet::new();
    for number in data.chunks_exact(2).take(64) {
        let seq = u64::from(u16::from_be_bytes([number[0], number[1]])).max(1);
        let mut inner = vec![0x45; 20];
        inner.extend([1, 2, 2, 4]);
        let before = inbound.top();
        match inbound.open(&mut kind.esp(seq, &inner)) {
            Ok(_) => assert!(accepted.insert(seq), "{seq} twice"),
            Err(SaError::Replay) => {
                assert!(accepted.contains(&seq) || seq < before, "{seq} is new, top {before}")
            }
            // RFC 4303 §A2.2: with ESN a number below the window is read as one of the next 2^32.
            Err(SaError::Authentication) if kind.esn => assert!(seq < before, "{seq} is new, top {before}"),
            Err(error) => panic!("{seq}: {error}"),
        }
        assert_eq!(inbound.top(), accepted.last().copied().unwrap_or(0));
    }
}
