use super::*;
use crate::frame::Frame;
use crate::sa::{Algorithm, AwsLc};
use ipnet::IpNet;
use proptest::prelude::*;
use std::collections::BTreeSet;

const LIFE: Nanos = Nanos(1000);

fn key(byte: u8) -> SaKey {
    let mut keymat = [byte; 36];
    keymat[32..].fill(0);
    SaKey::new(&AwsLc, Algorithm::ChaCha20Poly1305, &keymat).unwrap()
}

/// A session's two ends.
fn ends(number: u16) -> (Box<Session>, Box<Session>) {
    let (a, b) = (Receiver::new(TunnelId(3), number), Receiver::new(TunnelId(5), number));
    let allowed = Arc::new(AllowedIps::new(&["10.9.0.0/16".parse().unwrap()]));
    let end = |local, remote: Receiver, sending, receiving| {
        let (sending, receiving, remote) = (key(sending), key(receiving), remote.0);
        let parts = SessionParts { local, remote, sending, receiving, over: LIFE, allowed: allowed.clone() };
        Box::new(Session::new(parts))
    };
    (end(a, b, 1, 2), end(b, a, 2, 1))
}

fn sealed(from: &mut Session, text: &[u8], room: usize) -> Vec<u8> {
    let mut packet = Frame::new(text);
    from.seal_behind(&mut packet, 28, room, Nanos(0)).unwrap();
    packet.data()[28..].to_vec()
}

proptest! {
    /// §5.4.6: padded to sixteen, but not beyond the MTU; what one end seals the other opens once; a changed bit is refused.
    #[test]
    fn what_one_end_seals_the_other_opens_once(
        text in prop::collection::vec(any::<u8>(), 0..1500),
        room in 0usize..1500,
        bit: prop::sample::Index,
    ) {
        let (mut a, mut b) = ends(1);
        sealed(&mut a, &[], 0);
        let wire = sealed(&mut a, &text, room);
        let padding = wire.len() - OVERHEAD - text.len();
        prop_assert!(padding < 16 && (padding == 0 || text.len() + padding <= room));
        prop_assert!((text.len() + padding).is_multiple_of(16) || text.len() + padding >= room);
        let header = [&[4, 0, 0, 0, 5, 0, 1, 0][..], &1u64.to_le_bytes()].concat();
        prop_assert_eq!(&wire[..16], &header);
        let mut changed = wire.clone();
        let at = bit.index(changed.len() * 8);
        changed[at / 8] ^= 1 << (at % 8);
        // The receiver's index names the session and is not sealed: who finds a session by another has found another.
        prop_assert!(at / 32 == 1 || b.open(&mut Frame::new(&changed), Nanos(0)).is_err());
        let mut packet = Frame::new(&wire);
        prop_assert_eq!(b.open(&mut packet, Nanos(0)), Ok(()));
        let padded = [&text[..], &vec![0; padding]].concat();
        prop_assert_eq!(packet.data(), padded);
        prop_assert_eq!(b.open(&mut Frame::new(&wire), Nanos(0)), Err(SessionError::Replay));
    }

    /// However packets are mixed up, each is taken once, unless it is older than the window.
    #[test]
    fn each_counter_is_taken_once(order in prop::collection::vec(0usize..200, 1..400)) {
        let (mut a, mut b) = ends(1);
        let wire: Vec<_> = (0..200).map(|_| sealed(&mut a, b"x", 0)).collect();
        let mut seen = BTreeSet::new();
        for n in order {
            let opened = b.open(&mut Frame::new(&wire[n]), Nanos(0));
            prop_assert_eq!(opened, if seen.insert(n) { Ok(()) } else { Err(SessionError::Replay) });
        }
    }

    /// Ranges say what the prefixes say.
    #[test]
    fn allowed_is_what_some_prefix_has(
        nets in prop::collection::vec((any::<u32>(), 0u8..=32, any::<bool>()), 0..12),
        ips in prop::collection::vec(any::<u32>(), 1..40),
    ) {
        // Few distinct bits, so that prefixes nest and touch.
        let v4 = |bits: u32| IpAddr::from((bits & 0xc300_0003).to_be_bytes());
        let v6 = |bits: u32| IpAddr::from((u128::from(bits & 0xc300_0003) << 96).to_be_bytes());
        let net = |&(bits, length, six): &(u32, u8, bool)| {
            IpNet::new(if six { v6(bits) } else { v4(bits) }, length).unwrap()
        };
        let nets: Vec<IpNet> = nets.iter().map(net).collect();
        let allowed = AllowedIps::new(&nets);
        for ip in ips.into_iter().flat_map(|bits| [v4(bits), v6(bits)]) {
            prop_assert_eq!(allowed.has(ip), nets.iter().any(|net| net.contains(&ip)));
        }
    }

    /// Keys are replaced from either side, in any order of events: at no time is there nothing to send under, no session is
    /// sent under before the far end has its keys, and none is lost or kept twice.
    #[test]
    fn keys_are_replaced_without_a_gap(steps in prop::collection::vec((0u8..3, 0u16..6), 1..60)) {
        let (mut keypairs, mut retired, mut unconfirmed) = (Keypairs::default(), 0, BTreeSet::new());
        let mut number = 0;
        for (kind, back) in steps {
            let before = keypairs.sending().map(|session| session.local());
            match kind {
                0 | 1 => {
                    number += 1;
                    let role = if kind == 0 { Role::Initiator } else { Role::Responder };
                    let session = ends(number).0;
                    if role == Role::Responder {
                        unconfirmed.insert(session.local());
                    }
                    keypairs.install(session, role, Nanos(0), |_| retired += 1);
                }
                _ => {
                    let receiver = Receiver::new(TunnelId(3), number.saturating_sub(back));
                    let known = keypairs.receiving(receiver).is_some();
                    if known && keypairs.confirm(receiver, |_| retired += 1) {
                        prop_assert!(unconfirmed.remove(&receiver));
                    }
                }
            }
            let now = keypairs.sending().map(|session| session.local());
            prop_assert!(before.is_none() || now.is_some());
            prop_assert!(now.is_none_or(|now| !unconfirmed.contains(&now)));
            let live = (1..=number).filter(|&n| keypairs.receiving(Receiver::new(TunnelId(3), n)).is_some()).count();
            prop_assert_eq!(live + retired, usize::from(number));
        }
        keypairs.clear(|_| retired += 1);
        prop_assert_eq!(retired, usize::from(number));
    }
}

#[test]
fn a_session_ends() {
    let (mut a, mut b) = ends(1);
    let wire = sealed(&mut a, b"x", 0);
    let over = |session: &mut Session| session.seal_behind(&mut Frame::new(b"x"), 28, 0, LIFE);
    assert_eq!(over(&mut a), Err(SessionError::Over));
    assert_eq!(b.open(&mut Frame::new(&wire), LIFE), Err(SessionError::Over));
    assert_eq!(a.sent(), 1, "no nonce was used");
    // §6.1: the last counters are never used, whoever says so.
    a.counter = REJECT_AFTER_MESSAGES;
    assert_eq!(a.seal_behind(&mut Frame::new(b"x"), 28, 0, Nanos(0)), Err(SessionError::Over));
    a.counter -= 1;
    let last = sealed(&mut a, b"x", 0);
    assert_eq!(b.open(&mut Frame::new(&last), Nanos(0)), Ok(()));
    assert_eq!(b.top(), REJECT_AFTER_MESSAGES);
    assert!(a.needs_rekey() && !b.needs_rekey());
}

#[test]
fn the_source_is_told_by_the_inner_header() {
    let v4 = [&[0x45, 0, 0, 24][..], &[0; 8], &[10, 9, 0, 1], &[10, 1, 0, 1]].concat();
    assert_eq!(source(&v4), Some(([10, 9, 0, 1].into(), 24)));
    let v6 = [&[0x60, 0, 0, 0, 0, 8, 17, 64][..], &[1; 16], &[2; 16]].concat();
    assert_eq!(source(&v6), Some(([1; 16].into(), 48)));
    for short in [&[][..], &[0x50; 40], &v4[..15], &v6[..23]] {
        assert_eq!(source(short), None);
    }
}
