//! Connections that come up, carry messages in order, end, and come again.

use super::lab::{ANY_PORT, Engine, Folder, config, numbered, pair};
use crate::peer::keys::QUEUE_LENGTH;
use crate::peer::{Direction, PeerEvent, SaName, SendError};
use control::message::{Endpoints, Message};
use dataplane::id::Spi;
use dataplane::sa::Algorithm;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

fn inbound(direction: Direction) -> SaName {
    let (a, b) = ("192.0.2.11".parse().unwrap(), "192.0.2.20".parse().unwrap());
    let tunnel = match direction {
        Direction::Inbound => Endpoints::new(a, b),
        Direction::Outbound => Endpoints::new(b, a),
    };
    SaName { direction, tunnel, generation: 1, spi: Spi(0x1000) }
}

#[tokio::test]
async fn three_engines_talk_in_order_and_a_clean_end_delivers_the_last_word() {
    let folder = Folder::with_certificates(&["a1", "a2", "b1"]);
    let mut b1 = Engine::start(config(&folder, "b1", ANY_PORT, &[("a1", ANY_PORT), ("a2", ANY_PORT)]));
    let mut a2 = Engine::start(config(&folder, "a2", ANY_PORT, &[("a1", ANY_PORT), ("b1", b1.address())]));
    let mut a1 =
        Engine::start(config(&folder, "a1", ANY_PORT, &[("a2", a2.address()), ("b1", b1.address())]));
    let mut sessions = BTreeMap::new();
    for (name, engine) in [("a1", &mut a1), ("a2", &mut a2), ("b1", &mut b1)] {
        for _ in 0..2 {
            let (peer, session) = engine.up().await;
            assert!(sessions.insert((name, peer), session).is_none());
        }
    }
    for number in 0..50 {
        sessions[&("a1", "b1".to_owned())].send(&numbered(number)).unwrap();
        sessions[&("a2", "b1".to_owned())].send(&numbered(1_000 + number)).unwrap();
    }
    let goodbye = Message::Goodbye { reason: "test".to_owned() };
    sessions[&("a1", "b1".to_owned())].send(&goodbye).unwrap();
    a1.links.shutdown().await;
    let mut heard: BTreeMap<String, Vec<Message>> = BTreeMap::new();
    let mut down = false;
    while !down || heard.get("a2").is_none_or(|messages| messages.len() < 50) {
        match b1.next().await {
            PeerEvent::Message { peer, message } => {
                assert!(!(down && peer == "a1"), "a message after Down");
                heard.entry(peer).or_default().push(message);
            }
            PeerEvent::Down { peer } => {
                assert_eq!(peer, "a1");
                down = true;
            }
            PeerEvent::Up { peer, .. } => panic!("{peer} up again"),
        }
    }
    let expected = (0..50).map(numbered).chain([goodbye]).collect::<Vec<_>>();
    assert_eq!(heard["a1"], expected);
    assert_eq!(heard["a2"], (1_000..1_050).map(numbered).collect::<Vec<_>>());
    assert_eq!(a2.down().await, "a1");
    let late = sessions[&("b1", "a1".to_owned())].send(&numbered(0));
    assert!(matches!(late, Err(SendError::Closed(_))), "{late:?}");
}

#[tokio::test]
async fn a_peer_that_starts_later_is_found_and_after_its_restart_keys_are_new() {
    let folder = Folder::with_certificates(&["a1", "b1"]);
    let reserved = TcpListener::bind(ANY_PORT).unwrap();
    let address: SocketAddr = reserved.local_addr().unwrap();
    drop(reserved);
    let mut a1 = Engine::start(config(&folder, "a1", ANY_PORT, &[("b1", address)]));
    a1.silent(Duration::from_millis(300)).await;
    let mut keys = Vec::new();
    for round in 0..3 {
        let mut b1 = Engine::start(config(&folder, "b1", address, &[("a1", ANY_PORT)]));
        let (at_a1, at_b1) = (a1.up().await.1, b1.up().await.1);
        let key = at_a1.sa_key(&inbound(Direction::Inbound), Algorithm::Aes256Gcm);
        assert!(key == at_b1.sa_key(&inbound(Direction::Outbound), Algorithm::Aes256Gcm), "round {round}");
        assert!(!keys.contains(&key), "a key came back in round {round}");
        keys.push(key);
        drop(b1);
        assert_eq!(a1.down().await, "b1");
        assert!(matches!(at_a1.send(&numbered(1)), Err(SendError::Closed(_))));
    }
}

#[tokio::test]
async fn a_new_connection_of_a_peer_replaces_the_old_one() {
    let folder = Folder::with_certificates(&["a1", "b1"]);
    let ((old, at_old), (mut b1, first)) = pair(&folder).await;
    // The old process is stuck, its socket open; another one takes its place.
    let mut new = Engine::start(config(&folder, "a1", ANY_PORT, &[("b1", b1.address())]));
    assert_eq!(b1.down().await, "a1");
    let second = b1.up().await.1;
    let at_new = new.up().await.1;
    assert!(matches!(first.send(&numbered(1)), Err(SendError::Closed(_))));
    let key = second.sa_key(&inbound(Direction::Inbound), Algorithm::Aes128Gcm);
    assert!(key != first.sa_key(&inbound(Direction::Inbound), Algorithm::Aes128Gcm));
    assert!(key == at_new.sa_key(&inbound(Direction::Outbound), Algorithm::Aes128Gcm));
    drop((old, at_old));
    at_new.send(&numbered(7)).unwrap();
    assert!(matches!(b1.next().await, PeerEvent::Message { message, .. } if message == numbered(7)));
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_given_up() {
    let folder = Folder::with_certificates(&["a1", "b1"]);
    let ((mut a1, at_a1), (b1, _at_b1)) = pair(&folder).await;
    // b1's events are not taken, so it stops reading once its channel is full.
    let large = Message::Goodbye { reason: "x".repeat(60_000) };
    let mut sent = 0;
    let refused = loop {
        match at_a1.send(&large) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    assert!(matches!(refused, SendError::Overflow(_)), "{refused}");
    assert!(sent >= QUEUE_LENGTH, "{sent}");
    assert_eq!(a1.down().await, "b1");
    drop(b1);
}

#[tokio::test]
async fn a_stop_does_not_wait_long_for_a_peer_that_does_not_read() {
    let folder = Folder::with_certificates(&["a1", "b1"]);
    let ((a1, at_a1), (b1, _at_b1)) = pair(&folder).await;
    let large = Message::Goodbye { reason: "x".repeat(60_000) };
    for _ in 0..QUEUE_LENGTH {
        at_a1.send(&large).unwrap();
    }
    let since = Instant::now();
    a1.links.shutdown().await;
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    drop(b1);
}

#[tokio::test]
async fn a_message_that_cannot_be_sent_does_not_end_the_connection() {
    let folder = Folder::with_certificates(&["a1", "b1"]);
    let ((_a1, at_a1), (mut b1, _at_b1)) = pair(&folder).await;
    let address = "192.0.2.1".parse().unwrap();
    let tunnel = Endpoints::new(address, address);
    let too_long = Message::Goodbye { reason: "x".repeat(70_000) };
    assert!(matches!(at_a1.send(&too_long), Err(SendError::Message(_))));
    // JSON has no NaN; whether the message type maps it is its own affair, the link survives either way.
    let nan =
        Message::PathReport { tunnel, up: true, rtt_us: f32::NAN, loss_tx: f32::INFINITY, loss_rx: 0.0 };
    let sent_nan = at_a1.send(&nan).is_ok();
    at_a1.send(&numbered(1)).unwrap();
    if sent_nan {
        assert!(matches!(b1.next().await, PeerEvent::Message { message: Message::PathReport { .. }, .. }));
    }
    assert!(matches!(b1.next().await, PeerEvent::Message { message, .. } if message == numbered(1)));
}
