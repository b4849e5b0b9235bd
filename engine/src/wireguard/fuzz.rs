//! A handshake under a fuzzer. Bytes as they come never pass the first code, so part of the input says what is made right.

use super::keys::{Identity, KEY, Preshared};
use super::macs::MacKeys;
use super::*;
use dataplane::sa::AwsLc;
use dataplane::wire::wireguard::{Initiation, Response};
use dataplane::wireguard::AllowedIps;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

const TUNNEL: TunnelId = TunnelId(1);
const ADDRESS: (IpAddr, u16) = (IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 51_820);

fn identity(byte: u8) -> Identity {
    Identity::new(Zeroizing::new([byte; KEY])).expect("a key")
}

/// An end that knows the other one.
fn end(ours: u8) -> WireGuard {
    let parts = PeerParts {
        tunnel: TUNNEL,
        identity: 0,
        public: identity(3 - ours).public(),
        preshared: Preshared::new(Zeroizing::new([9; KEY])),
        allowed: Arc::new(AllowedIps::default()),
        local: ADDRESS,
        remote: ADDRESS,
        keepalive: None,
        rekey_after: Nanos::from_millis(120_000),
    };
    WireGuard::new(vec![identity(ours)], vec![parts], Nanos(0)).expect("randomness")
}

fn now() -> Now {
    Now { nanos: Nanos::from_millis(1000), unix: Duration::from_secs(1_700_000_000) }
}

/// What `end` makes of a message: what it sends, and how many sessions it begins.
fn hears(end: &mut WireGuard, message: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let Ok(message) = message.try_into() else { return (vec![], 0) };
    let mut out = vec![];
    end.received(&Punted { from: ADDRESS, to: ADDRESS, message }, (now(), &AwsLc), &mut out);
    done(out)
}

fn done(actions: Vec<Action>) -> (Vec<Vec<u8>>, usize) {
    let (mut sent, mut sessions) = (vec![], 0);
    for action in actions {
        match action {
            Action::Worker(Command::Send(datagram)) => sent.push(datagram.message.to_vec()),
            Action::Worker(Command::InstallSession(..)) => sessions += 1,
            _ => {}
        }
    }
    (sent, sessions)
}

fn begins(end: &mut WireGuard) -> Vec<u8> {
    let mut out = vec![];
    end.tick(now(), |_| Activity::default(), &mut out);
    done(out).0.remove(0)
}

/// In the first byte bits 0–1 say what is made: nothing, a message with its first code right, an initiation of the peer's and
/// an answer of its, both with changes; bit 2 that we are under load, bit 3 that the codes follow the changes.
pub fn run(data: &[u8]) {
    let Some((&how, data)) = data.split_first() else { return };
    let (mut a, mut b) = (end(1), end(2));
    if how & 4 != 0 {
        b.overloaded(now().nanos);
    }
    match how & 3 {
        0 => assert_eq!(hears(&mut b, data).1, 0),
        1 => {
            begins(&mut b);
            let message = mended(data, 2);
            assert_eq!(hears(&mut b, &message).1, 0, "sealed with nobody's key");
        }
        2 => {
            let good = begins(&mut a);
            let bad = changed(&good, data, how, 2);
            let (sent, sessions) = hears(&mut b, &bad);
            if bad == good {
                assert_eq!((sent.len(), sessions), (1, usize::from(how & 4 == 0)));
            }
            // The sender's name and the second code are not sealed.
            assert!(sessions <= usize::from((&bad[..4], &bad[8..116]) == (&good[..4], &good[8..116])));
        }
        _ => {
            let first = begins(&mut b);
            let answer = hears(&mut a, &first).0.remove(0);
            let bad = changed(&answer, data, how, 2);
            let sessions = hears(&mut b, &bad).1;
            assert!(sessions <= usize::from((&bad[..4], &bad[8..60]) == (&answer[..4], &answer[8..60])));
        }
    }
}

/// The message with bytes changed: pairs of a place and what is added there.
fn changed(message: &[u8], data: &[u8], how: u8, to: u8) -> Vec<u8> {
    let mut message = message.to_vec();
    for change in data.chunks_exact(2) {
        let place = usize::from(change[0]) % message.len();
        message[place] ^= change[1];
    }
    if how & 8 == 0 || data.len() < 2 { message } else { mended(&message, to) }
}

/// With the first code as `to` wants it, where it is an initiation or a response.
fn mended(message: &[u8], to: u8) -> Vec<u8> {
    let keys = MacKeys::new(&identity(to).public());
    match Message::parse(message) {
        Ok(Message::Initiation(found)) => {
            let mut fixed: Initiation = *found;
            fixed.macs = keys.of(found.body(), None);
            fixed.bytes().to_vec()
        }
        Ok(Message::Response(found)) => {
            let mut fixed: Response = *found;
            fixed.macs = keys.of(found.body(), None);
            fixed.bytes().to_vec()
        }
        _ => message.to_vec(),
    }
}
