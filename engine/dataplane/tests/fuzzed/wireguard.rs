//! WireGuard's data messages under a fuzzer. Bytes as they come never pass the tag, so part of the input says what to seal
//! properly.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use dataplane::frame::Frame;
use dataplane::id::{Nanos, TunnelId};
use dataplane::packet::Packet;
use dataplane::sa::{Algorithm, AwsLc, SaKey};
use dataplane::wireguard::{OVERHEAD, Receiver, Session, SessionError, SessionParts};
use std::collections::BTreeSet;
use std::sync::Arc;

const LOCAL: Receiver = Receiver::new(TunnelId(1), 2);

fn session() -> Session {
    let key = || {
        let mut keymat = [7; 36];
        keymat[32..].fill(0);
        SaKey::new(&AwsLc, Algorithm::ChaCha20Poly1305, &keymat).expect("its length")
    };
    let (local, remote, allowed) = (LOCAL, LOCAL.0, Arc::default());
    Session::new(SessionParts { local, remote, sending: key(), receiving: key(), over: Nanos::MAX, allowed })
}

/// A data message with any counter, its tag right.
fn message(counter: u64, text: &[u8]) -> Frame {
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).expect("its length"));
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    let mut sealed = text.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed).expect("short enough");
    Frame::new(&[&[4, 0, 0, 0][..], &LOCAL.0.to_le_bytes(), &counter.to_le_bytes(), &sealed].concat())
}

/// In the first byte bits 0–1 say how much is made right; the rest is the message.
pub fn run(data: &[u8]) {
    let Some((&how, data)) = data.split_first() else { return };
    let data = &data[..data.len().min(1800)];
    match how & 3 {
        0 => drop(session().open(&mut Frame::new(data), Nanos(0))),
        1 => authentic(data),
        2 => round_trip(data, usize::from(how >> 2) * 32),
        _ => several(data),
    }
}

/// Authentic with whatever counter: taken once, unless it is one of the last.
fn authentic(data: &[u8]) {
    let Some((counter, text)) = data.split_first_chunk() else { return };
    let (counter, mut session) = (u64::from_le_bytes(*counter), session());
    let mut packet = message(counter, text);
    match session.open(&mut packet, Nanos(0)) {
        Ok(()) => {
            assert_eq!(packet.data(), text);
            assert_eq!(session.open(&mut message(counter, text), Nanos(0)), Err(SessionError::Replay));
        }
        Err(error) => assert!(error == SessionError::Over && counter >= u64::MAX - (1 << 13)),
    }
}

/// What one end seals the other opens, padded within the room, and with any bit changed it does not.
fn round_trip(data: &[u8], room: usize) {
    let (mut from, mut to, mut packet) = (session(), session(), Frame::new(data));
    from.seal_behind(&mut packet, 0, room, Nanos(0)).expect("there is room");
    let padded = packet.len() - OVERHEAD;
    assert!(padded == data.len() || padded <= room && padded.is_multiple_of(16) || padded == room);
    let mut wrong = Frame::new(packet.data());
    let at = data.iter().fold(0usize, |sum, &byte| sum * 31 % 65_521 + usize::from(byte)) % wrong.len();
    wrong.data_mut()[at] ^= 1 << (data.len() % 8);
    // The receiver's index is looked up, not opened.
    assert!((4..8).contains(&at) || to.open(&mut wrong, Nanos(0)).is_err());
    assert_eq!(to.open(&mut packet, Nanos(0)), Ok(()));
    assert!(packet.data().starts_with(data) && packet.data()[data.len()..].iter().all(|byte| *byte == 0));
}

/// Each counter is taken at most once, and none below the window.
fn several(data: &[u8]) {
    let (mut session, mut taken) = (session(), BTreeSet::new());
    for counter in data.chunks_exact(2).take(64) {
        let counter = u64::from(u16::from_le_bytes([counter[0], counter[1]]));
        match session.open(&mut message(counter, b"text"), Nanos(0)) {
            Ok(()) => assert!(taken.insert(counter), "{counter} twice"),
            Err(SessionError::Replay) => {
                assert!(taken.contains(&counter) || counter + 4096 <= *taken.last().expect("one was taken"));
            }
            Err(error) => panic!("{counter}: {error}"),
        }
    }
}
