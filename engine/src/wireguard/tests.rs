//! Two ends, a wire between them and time that passes when the test says so.

mod vectors;

use super::keys::{Identity, KEY, Preshared, PublicKey};
use super::*;
use dataplane::frame::Frame;
use dataplane::packet::Packet as _;
use dataplane::sa::AwsLc;
use dataplane::wire::wireguard::Data;
use dataplane::wireguard::{AllowedIps, Keypairs, Role};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

const TUNNEL: TunnelId = TunnelId(7);

fn identity(byte: u8) -> Identity {
    Identity::new(Zeroizing::new([byte; KEY])).unwrap()
}

fn preshared(byte: u8) -> Preshared {
    Preshared::new(Zeroizing::new([byte; KEY]))
}

/// An end with one peer: handshakes as in the engine, sessions as in a worker.
struct End {
    wireguard: WireGuard,
    keypairs: Keypairs,
    activity: Activity,
    address: (IpAddr, u16),
    remote: (IpAddr, u16),
    up: Vec<bool>,
    sessions: Vec<Role>,
    refused: u32,
    taken: u32,
}

/// What is on the wire: from, to, the message.
type Wire = VecDeque<Punted>;

impl End {
    fn new(ours: u8, theirs: PublicKey, psk: u8) -> End {
        End::with_keepalive(ours, theirs, psk, None)
    }

    fn with_keepalive(ours: u8, theirs: PublicKey, psk: u8, keepalive: Option<Nanos>) -> End {
        let at = |end: u8| (IpAddr::from([192, 0, 2, end]), 51_820 + u16::from(end));
        let (address, remote) = (at(ours), at(3 - ours));
        let parts = PeerParts {
            tunnel: TUNNEL,
            identity: 0,
            public: theirs,
            preshared: preshared(psk),
            allowed: Arc::new(AllowedIps::new(&["0.0.0.0/0".parse().unwrap()])),
            local: address,
            remote,
            keepalive,
            rekey_after: Nanos::from_millis(120_000),
        };
        let wireguard = WireGuard::new(vec![identity(ours)], vec![parts], Nanos(0)).unwrap();
        let (keypairs, activity) = (Keypairs::default(), Activity::default());
        let (up, sessions, refused, taken) = (vec![], vec![], 0, 0);
        End { wireguard, keypairs, activity, address, remote, up, sessions, refused, taken }
    }

    fn tick(&mut self, now: Now, wire: &mut Wire) {
        let (mut out, activity) = (vec![], self.activity);
        self.wireguard.tick(now, |_| activity, &mut out);
        self.act(now, out, wire);
    }

    fn act(&mut self, now: Now, actions: Vec<Action>, wire: &mut Wire) {
        for action in actions {
            match action {
                Action::Worker(Command::Send(datagram)) => wire.push_back(*datagram),
                Action::Worker(Command::InstallSession(session, role)) => {
                    self.sessions.push(role);
                    self.keypairs.install(session, role, now.nanos, drop);
                }
                Action::Worker(Command::Keepalive(TUNNEL)) => self.send(now, &[], wire),
                Action::Worker(Command::RemoveSessions(TUNNEL)) => self.keypairs.clear(drop),
                Action::Worker(_) => panic!("no other command"),
                Action::FarEnd(TUNNEL, remote) => self.remote = remote,
                Action::Session(TUNNEL, up) => self.up.push(up),
                _ => panic!("another tunnel"),
            }
        }
    }

    /// A data message, or nothing without a session.
    fn send(&mut self, now: Now, text: &[u8], wire: &mut Wire) {
        let Some(session) = self.keypairs.sending() else { return };
        let mut packet = Frame::new(text);
        if session.seal_behind(&mut packet, 0, text.len(), now.nanos).is_err() {
            self.refused += 1;
            return;
        }
        let counter =
            if text.is_empty() { &mut self.activity.keepalives_sent } else { &mut self.activity.sent };
        *counter += 1;
        let message = packet.data().try_into().unwrap();
        wire.push_back(Punted { from: self.address, to: self.remote, message });
    }

    fn receive(&mut self, now: Now, punted: &Punted, wire: &mut Wire) {
        let mut out = vec![];
        let Ok(Message::Data(Data { receiver, .. })) = Message::parse(&punted.message) else {
            self.wireguard.received(punted, (now, &AwsLc), &mut out);
            return self.act(now, out, wire);
        };
        let mut packet = Frame::new(&punted.message);
        let opened =
            self.keypairs.receiving(Receiver(receiver)).map(|session| session.open(&mut packet, now.nanos));
        if opened != Some(Ok(())) {
            self.refused += 1;
            return;
        }
        if self.keypairs.confirm(Receiver(receiver), drop) {
            self.wireguard.confirmed(Receiver(receiver), &mut out);
        }
        let empty = packet.is_empty();
        let counter =
            if empty { &mut self.activity.keepalives_received } else { &mut self.activity.received };
        *counter += 1;
        self.taken += u32::from(!empty);
        self.act(now, out, wire);
    }
}

/// Two ends that know each other.
struct World {
    a: End,
    b: End,
    wire: Wire,
    now: Now,
}

impl World {
    fn new() -> World {
        World::with(5, 5)
    }

    fn with(psk_a: u8, psk_b: u8) -> World {
        let (a, b) = (identity(1).public(), identity(2).public());
        let now = Now { nanos: Nanos::from_millis(1000), unix: Duration::from_secs(1_700_000_000) };
        World { a: End::new(1, b, psk_a), b: End::new(2, a, psk_b), wire: Wire::new(), now }
    }

    fn wait(&mut self, ms: u64) {
        self.now.nanos = self.now.nanos.plus(Nanos::from_millis(ms));
        self.now.unix += Duration::from_millis(ms);
    }

    /// Delivers what is on the wire and what that brings, but for what `lost` takes away.
    fn settle(&mut self, mut lost: impl FnMut(&Punted) -> bool) {
        while let Some(punted) = self.wire.pop_front() {
            if lost(&punted) {
                continue;
            }
            let to_a = punted.to == self.a.address;
            let end = if to_a { &mut self.a } else { &mut self.b };
            end.receive(self.now, &punted, &mut self.wire);
        }
    }

    /// Time passes in steps of 100 ms; every second both send, if `talk`.
    fn pass(&mut self, seconds: u64, talk: bool, mut lost: impl FnMut(&Punted) -> bool) {
        for step in 0..seconds * 10 {
            self.wait(100);
            self.a.tick(self.now, &mut self.wire);
            self.b.tick(self.now, &mut self.wire);
            if talk && step % 10 == 0 {
                self.a.send(self.now, b"from a", &mut self.wire);
                self.b.send(self.now, b"from b", &mut self.wire);
            }
            self.settle(&mut lost);
        }
    }
}

fn kind(punted: &Punted) -> u8 {
    punted.message[0]
}

#[test]
fn one_handshake_from_one_side_serves_both() {
    let mut world = World::new();
    world.a.tick(world.now, &mut world.wire);
    assert_eq!(
        world.wire.iter().map(|sent| (kind(sent), sent.message.len())).collect::<Vec<_>>(),
        [(1, 148)]
    );
    world.settle(|_| false);
    assert_eq!(
        (&world.a.sessions[..], &world.b.sessions[..]),
        (&[Role::Initiator][..], &[Role::Responder][..])
    );
    assert_eq!((&world.a.up[..], &world.b.up[..]), (&[true][..], &[true][..]));
    world.a.send(world.now, b"there", &mut world.wire);
    world.b.send(world.now, b"back", &mut world.wire);
    world.settle(|_| false);
    assert_eq!((world.a.taken, world.b.taken), (1, 1));
    // No more is said without need.
    world.pass(100, false, |sent| panic!("{sent:?}"));
}

#[test]
fn who_has_another_key_gets_no_session() {
    for (mut world, answered) in [
        (World::with(5, 6), true),
        // The far end of A is not the B that it knows.
        (World { b: End::new(2, identity(9).public(), 5), ..World::new() }, false),
        (World { a: End::new(1, identity(9).public(), 5), ..World::new() }, false),
    ] {
        let mut kinds = vec![];
        world.a.tick(world.now, &mut world.wire);
        world.settle(|sent| {
            kinds.push(kind(sent));
            false
        });
        assert_eq!(kinds, if answered { vec![1, 2] } else { vec![1] });
        assert!(world.a.up.is_empty() && world.b.up.is_empty());
    }
}

/// §5.1: an initiation is answered once, whoever sends it again.
#[test]
fn a_replayed_initiation_is_not_answered() {
    let mut world = World::new();
    world.a.tick(world.now, &mut world.wire);
    let old = world.wire[0].clone();
    world.settle(|_| false);
    world.pass(130, true, |_| false);
    let installed = world.b.sessions.len();
    let mut elsewhere = old.clone();
    elsewhere.from.0 = [203, 0, 113, 9].into();
    for replay in [old, elsewhere] {
        world.wire.push_back(replay);
        world.settle(|sent| {
            assert_eq!(kind(sent), 1, "an answer");
            false
        });
    }
    assert_eq!((world.b.sessions.len(), world.b.remote), (installed, world.a.address));
}

/// Ten minutes of traffic, keys replaced from time to time: every packet arrives.
#[test]
fn nothing_is_lost_when_keys_are_replaced() {
    let mut world = World::new();
    world.pass(1, false, |_| false);
    world.pass(600, true, |_| false);
    assert_eq!((world.a.taken, world.b.taken), (600, 600));
    assert_eq!((world.a.refused, world.b.refused), (0, 0));
    assert!((5..=9).contains(&world.a.sessions.len()), "{:?}", world.a.sessions);
    assert_eq!((&world.a.up[..], &world.b.up[..]), (&[true][..], &[true][..]));
}

/// Three in ten of the handshakes' messages are lost: they are made anew, and the old keys last until then.
#[test]
fn handshakes_survive_loss() {
    let mut world = World::new();
    let mut random = 1u32;
    let mut some = move |sent: &Punted| {
        // Knuth's and Lewis's generator.
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        kind(sent) != 4 && random >> 24 < 77
    };
    world.pass(60, false, &mut some);
    world.pass(600, true, &mut some);
    assert_eq!((world.a.taken, world.b.taken), (600, 600), "{:?} {:?}", world.a.up, world.b.up);
}

/// §6.1: a peer that is gone takes its session with it, and is asked every five seconds until it is back.
#[test]
fn a_silent_peer_is_given_up_and_asked_again() {
    let mut world = World::new();
    world.pass(1, false, |_| false);
    let (mut asked, at_b) = (0, world.b.address);
    world.pass(300, true, |sent| {
        asked += u32::from(kind(sent) == 1 && sent.to == at_b);
        true
    });
    assert_eq!(world.a.up, [true, false]);
    // From 15 s on: data without an answer.
    assert!((50..=58).contains(&asked), "{asked}");
    world.pass(10, true, |_| false);
    assert_eq!(world.a.up, [true, false, true]);
    assert!(world.a.taken > 0 && world.b.taken > 0);
}

/// §6.5: who has only listened says that it is there; and where a NAT must not forget, more often.
#[test]
fn keepalives() {
    let mut world = World::new();
    world.pass(1, false, |_| false);
    let (before, handshakes) = (world.b.activity.keepalives_sent, world.a.sessions.len());
    for _ in 0..50 {
        world.a.send(world.now, b"one way", &mut world.wire);
        world.pass(1, false, |_| false);
    }
    let sent = world.b.activity.keepalives_sent - before;
    assert!((4..=5).contains(&sent), "{sent} in 50 s");
    assert_eq!(world.a.sessions.len(), handshakes, "which is answer enough");
    let mut world = World::new();
    world.a = End::with_keepalive(1, identity(2).public(), 5, Some(Nanos::from_millis(25_000)));
    world.pass(101, false, |_| false);
    assert!((4..=5).contains(&world.a.activity.keepalives_sent), "{}", world.a.activity.keepalives_sent);
}

/// §5.3: under load only who gets what is sent to its address is worth a curve.
#[test]
fn under_load_cookies_are_asked_for() {
    let mut world = World::new();
    let overloaded = world.now.nanos.plus(Nanos::from_millis(60_000));
    world.b.wireguard.overloaded(overloaded);
    let mut kinds = vec![];
    world.a.tick(world.now, &mut world.wire);
    world.settle(|sent| {
        kinds.push(kind(sent));
        false
    });
    assert_eq!(kinds, [1, 3]);
    assert!(world.b.sessions.is_empty());
    // Its next initiation has the cookie. From another address that is good for nothing.
    world.wait(6000);
    world.a.tick(world.now, &mut world.wire);
    let mut stolen = world.wire[0].clone();
    assert_ne!(stolen.message[132..], [0; 16]);
    stolen.from.1 += 1;
    world.wire.push_front(stolen);
    kinds.clear();
    world.settle(|sent| {
        kinds.push(kind(sent));
        false
    });
    assert_eq!(kinds, [1, 1, 3, 2, 4], "the stolen one gets a cookie, the owner an answer");
    assert_eq!((&world.a.up[..], &world.b.up[..]), (&[true][..], &[true][..]));
}

/// Where a handshake comes from is where the far end is.
#[test]
fn a_handshake_tells_where_the_far_end_is() {
    let mut world = World::new();
    world.pass(1, false, |_| false);
    world.a.address = ([198, 51, 100, 7].into(), 4000);
    world.wait(121_000);
    world.a.tick(world.now, &mut world.wire);
    for sent in &mut world.wire {
        sent.from = world.a.address;
    }
    world.settle(|_| false);
    assert_eq!(world.b.remote, world.a.address);
}
