//! One far end: its handshakes, and when they are due (Donenfeld, "WireGuard", §6).

use super::keys::{Identity, Preshared, PublicKey};
use super::macs::{Cookie, Mac, MacKeys};
use super::noise::{self, Accepted, Initiated, Timestamp, TransportKeys};
use dataplane::id::{Nanos, TunnelId};
use dataplane::message::Command;
use dataplane::sa::{AeadProvider, Algorithm, SALT_LENGTH, SaKey};
use dataplane::wire::wireguard::{CookieReply, Initiation, Response};
use dataplane::wireguard::{AllowedIps, Receiver, Role, Session, SessionParts};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// No session is used longer (§6.1: REJECT-AFTER-TIME).
pub const REJECT_AFTER: Nanos = Nanos::from_millis(180_000);
/// An initiation without an answer is made anew after this and up to a third of a second (§6.1: REKEY-TIMEOUT).
const REKEY_TIMEOUT: Nanos = Nanos::from_millis(5_000);
/// Who has heard something and has nothing to say says so after this (§6.1: KEEPALIVE-TIMEOUT).
const KEEPALIVE_TIMEOUT: Nanos = Nanos::from_millis(10_000);
/// Between two initiations of one peer's that are answered.
const ANSWER_GAP: Nanos = Nanos::from_millis(20);

/// What a peer is made with.
pub struct PeerParts {
    /// The tunnel to it.
    pub tunnel: TunnelId,
    /// Which of our identities it knows.
    pub identity: usize,
    /// Its public key.
    pub public: PublicKey,
    /// The key that both have beforehand.
    pub preshared: Preshared,
    /// The sources that it may use inside.
    pub allowed: Arc<AllowedIps>,
    /// Our address and UDP port.
    pub local: (IpAddr, u16),
    /// Its own, as long as nothing else is known.
    pub remote: (IpAddr, u16),
    /// It is never left without a packet for longer.
    pub keepalive: Option<Nanos>,
    /// The session that we began is replaced at this age.
    pub rekey_after: Nanos,
}

/// When something happens.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// On the engine's clock.
    pub nanos: Nanos,
    /// Since 1970.
    pub unix: Duration,
}

/// What is to be done for a peer.
pub enum Action {
    /// By the worker that has its sessions.
    Worker(Command),
    /// Packets to it go there from now on.
    FarEnd(TunnelId, (IpAddr, u16)),
    /// It can be sent to, or no longer.
    Session(TunnelId, bool),
}

/// What the worker has counted of a tunnel's data messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Sent, keepalives aside.
    pub sent: u64,
    /// Received, keepalives aside.
    pub received: u64,
    /// Sent, with nothing in them.
    pub keepalives_sent: u64,
    /// Received, with nothing in them.
    pub keepalives_received: u64,
}

/// A session that the worker has.
#[derive(Clone, Copy)]
struct Live {
    receiver: Receiver,
    role: Role,
    since: Nanos,
    /// Early by up to 5 %, so that two ends that began at one time do not go on so.
    rekey: Nanos,
}

/// An initiation without an answer yet.
struct Pending {
    handshake: Initiated,
    receiver: Receiver,
    again: Nanos,
}

/// See the module.
pub struct Peer {
    parts: PeerParts,
    macs: MacKeys,
    cookie: Cookie,
    pending: Option<Pending>,
    /// The first code of what was said last, and by which name: a cookie may answer it.
    said: Option<(Receiver, Mac)>,
    /// What tells sessions apart.
    number: u16,
    /// The newest initiation of the peer's, and when it was answered.
    answered: Option<(Timestamp, Nanos)>,
    /// The newest of ours.
    initiated: Timestamp,
    session: Option<Live>,
    /// What the peer has asked for and not used yet.
    next: Option<Live>,
    wanted: bool,
    last_handshake: Option<Nanos>,
    activity: Activity,
    sent_at: Nanos,
    /// Since when it has sent nothing, though it was sent something.
    unanswered: Option<Nanos>,
    /// Since when we have sent nothing, though it has sent something.
    owing: Option<Nanos>,
}

impl Peer {
    /// Without a session. `number` is any.
    pub fn new(parts: PeerParts, number: u16) -> Peer {
        Peer {
            macs: MacKeys::new(&parts.public),
            parts,
            cookie: Cookie::default(),
            pending: None,
            said: None,
            number,
            answered: None,
            initiated: [0; 12],
            session: None,
            next: None,
            wanted: false,
            last_handshake: None,
            activity: Activity::default(),
            sent_at: Nanos(0),
            unanswered: None,
            owing: None,
        }
    }

    /// What it was made with; `remote` is where it is now.
    pub fn parts(&self) -> &PeerParts {
        &self.parts
    }

    /// When the session in use was agreed on.
    pub fn last_handshake(&self) -> Option<Nanos> {
        self.last_handshake
    }

    /// The session in use nears its end.
    pub fn want_handshake(&mut self) {
        self.wanted = true;
    }

    /// It has been heard from there.
    pub fn heard_from(&mut self, remote: (IpAddr, u16)) {
        self.parts.remote = remote;
    }

    /// What time brings.
    pub fn tick(&mut self, ours: &Identity, now: Now, activity: Activity, out: &mut Vec<Action>) {
        self.look(activity, now.nanos);
        self.expire(now.nanos, out);
        if self.session.is_some() && self.owes_keepalive(now.nanos) {
            self.keepalive(now.nanos, out);
        }
        let due = match &self.pending {
            Some(pending) => now.nanos >= pending.again,
            None => self.wants_handshake(now.nanos),
        };
        if due {
            self.initiate(ours, now, out);
        }
    }

    /// Keys whose time is over are erased (§6.1).
    fn expire(&mut self, now: Nanos, out: &mut Vec<Action>) {
        let over = |live: &mut Live| now.since(live.since) >= REJECT_AFTER;
        let (next, session) = (self.next.take_if(over), self.session.take_if(over));
        if next.or(session).is_some() && self.next.is_none() && self.session.is_none() {
            out.push(Action::Worker(Command::RemoveSessions(self.parts.tunnel)));
        }
        if session.is_some() {
            out.push(Action::Session(self.parts.tunnel, false));
        }
    }

    fn look(&mut self, activity: Activity, now: Nanos) {
        let before = std::mem::replace(&mut self.activity, activity);
        if activity.received != before.received {
            self.owing.get_or_insert(now);
        }
        if (activity.sent, activity.keepalives_sent) != (before.sent, before.keepalives_sent) {
            (self.sent_at, self.owing) = (now, None);
        }
        if activity.sent != before.sent {
            self.unanswered.get_or_insert(now);
        }
        if (activity.received, activity.keepalives_received) != (before.received, before.keepalives_received)
        {
            self.unanswered = None;
        }
    }

    fn owes_keepalive(&self, now: Nanos) -> bool {
        self.owing.is_some_and(|since| now.since(since) >= KEEPALIVE_TIMEOUT)
            || self.parts.keepalive.is_some_and(|interval| now.since(self.sent_at) >= interval)
    }

    fn keepalive(&mut self, now: Nanos, out: &mut Vec<Action>) {
        (self.sent_at, self.owing) = (now, None);
        out.push(Action::Worker(Command::Keepalive(self.parts.tunnel)));
    }

    /// A gateway always has a session: it asks for one before there is a packet to send (§6.2 to §6.4 ask for it with one).
    fn wants_handshake(&self, now: Nanos) -> bool {
        let Some(session) = &self.session else { return true };
        let age = now.since(session.since);
        let silence = Nanos(KEEPALIVE_TIMEOUT.0 + REKEY_TIMEOUT.0);
        self.wanted
            || session.role == Role::Initiator && age >= session.rekey
            // Who began has let it come to this.
            || age >= Nanos(REJECT_AFTER.0 - silence.0)
            || self.unanswered.is_some_and(|since| now.since(since) >= silence)
    }

    fn initiate(&mut self, ours: &Identity, now: Now, out: &mut Vec<Action>) {
        self.initiated = later(tai64n(now.unix), &self.initiated);
        let receiver = self.name();
        let begun = noise::initiate(ours, &self.parts.public, &self.parts.preshared, &self.initiated);
        let (handshake, first) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                tracing::error!(tunnel = %self.parts.tunnel, %error, "no WireGuard handshake");
                return;
            }
        };
        let mut message = Initiation::new(receiver.0, first);
        message.macs = self.macs.of(message.body(), self.cookie.get(now.nanos));
        self.said = Some((receiver, message.macs.mac1));
        // Jitter, so that two ends do not go on meeting half way.
        let jitter = u64::from(super::random().unwrap_or(0)) * 333_000_000 / u64::from(u16::MAX);
        let again = now.nanos.plus(Nanos(REKEY_TIMEOUT.0 + jitter));
        self.pending = Some(Pending { handshake, receiver, again });
        out.push(self.send(message.bytes(), self.parts.remote));
    }

    fn live(&self, receiver: Receiver, role: Role, since: Nanos) -> Live {
        let early =
            self.parts.rekey_after.0 / 20 / u64::from(u16::MAX) * u64::from(super::random().unwrap_or(0));
        Live { receiver, role, since, rekey: Nanos(self.parts.rekey_after.0 - early) }
    }

    /// A name that no living session has.
    fn name(&mut self) -> Receiver {
        self.number = self.number.wrapping_add(1);
        Receiver::new(self.parts.tunnel, self.number)
    }

    fn send(&self, message: &[u8], to: (IpAddr, u16)) -> Action {
        super::send(self.parts.local, to, message)
    }

    /// Answers an initiation of its, if it is a new one. `from` is where that came from.
    pub fn answer(
        &mut self,
        accepted: Accepted,
        initiator: u32,
        from: (IpAddr, u16),
        (now, provider): (Now, &dyn AeadProvider),
        out: &mut Vec<Action>,
    ) {
        let now = now.nanos;
        // §5.1: a replayed initiation has an old timestamp.
        if self
            .answered
            .is_some_and(|(newest, at)| accepted.timestamp <= newest || now.since(at) < ANSWER_GAP)
        {
            return;
        }
        self.answered = Some((accepted.timestamp, now));
        let (keys, second) = match accepted.answer(&self.parts.preshared) {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(tunnel = %self.parts.tunnel, %error, "WireGuard initiation not answered");
                return;
            }
        };
        let receiver = self.name();
        let live = self.live(receiver, Role::Responder, now);
        // Before the answer: packets under the new keys may follow it at once.
        let session = self.session(&keys, live, initiator, provider);
        out.push(Action::Worker(Command::InstallSession(session, Role::Responder)));
        self.next = Some(live);
        self.moved(from, out);
        let mut message = Response::new(receiver.0, initiator, second);
        message.macs = self.macs.of(message.body(), self.cookie.get(now));
        self.said = Some((receiver, message.macs.mac1));
        out.push(self.send(message.bytes(), from));
    }

    /// An answer of its has come.
    pub fn answered(
        &mut self,
        response: &Response,
        from: (IpAddr, u16),
        (now, provider): (Now, &dyn AeadProvider),
        out: &mut Vec<Action>,
    ) {
        let Some(pending) = &mut self.pending else { return };
        if pending.receiver.0 != response.receiver() {
            return;
        }
        let Ok(keys) = pending.handshake.finish(&response.noise) else {
            tracing::debug!(tunnel = %self.parts.tunnel, "a WireGuard response that does not open: is the preshared key the same?");
            return;
        };
        let receiver = pending.receiver;
        self.pending = None;
        let live = self.live(receiver, Role::Initiator, now.nanos);
        let session = self.session(&keys, live, response.sender(), provider);
        out.push(Action::Worker(Command::InstallSession(session, Role::Initiator)));
        self.moved(from, out);
        self.begin(live, out);
        // §6.5: it may send under the new keys once it has had something under them.
        self.keepalive(now.nanos, out);
    }

    /// The worker has had a packet under a session that the peer asked for.
    pub fn confirmed(&mut self, receiver: Receiver, out: &mut Vec<Action>) {
        if let Some(live) = self.next.take_if(|next| next.receiver == receiver) {
            self.pending = None;
            self.begin(live, out);
        }
    }

    /// A session is in use.
    fn begin(&mut self, live: Live, out: &mut Vec<Action>) {
        if self.session.replace(live).is_none() {
            out.push(Action::Session(self.parts.tunnel, true));
        }
        self.last_handshake = Some(live.since);
        (self.wanted, self.unanswered) = (false, None);
    }

    fn moved(&mut self, from: (IpAddr, u16), out: &mut Vec<Action>) {
        if self.parts.remote != from {
            self.parts.remote = from;
            out.push(Action::FarEnd(self.parts.tunnel, from));
        }
    }

    fn session(
        &self,
        keys: &TransportKeys,
        live: Live,
        remote: u32,
        provider: &dyn AeadProvider,
    ) -> Box<Session> {
        Box::new(Session::new(SessionParts {
            local: live.receiver,
            remote,
            sending: sa_key(&keys.sending, provider),
            receiving: sa_key(&keys.receiving, provider),
            over: live.since.plus(REJECT_AFTER),
            allowed: self.parts.allowed.clone(),
        }))
    }

    /// It asks for a cookie with the next message.
    pub fn cookie(&mut self, reply: &CookieReply, now: Nanos) {
        if let Some((receiver, mac1)) = &self.said
            && receiver.0 == reply.receiver()
            && let Some(cookie) = self.macs.open_cookie(reply, mac1)
        {
            self.cookie.take(cookie, now);
        }
    }
}

/// §5.4.6: the salt is zero.
fn sa_key(key: &[u8; 32], provider: &dyn AeadProvider) -> SaKey {
    let mut keymat = Zeroizing::new([0; 32 + SALT_LENGTH]);
    keymat[..32].copy_from_slice(key);
    SaKey::new(provider, Algorithm::ChaCha20Poly1305, &*keymat).expect("the length is the algorithm's")
}

/// A time as TAI64N (§5.1, §5.4.2), no finer than 16 ms: how fast we compute is nobody's business.
fn tai64n(unix: Duration) -> Timestamp {
    let seconds = (1u64 << 62) + 10 + unix.as_secs();
    let mut timestamp = [0; 12];
    timestamp[..8].copy_from_slice(&seconds.to_be_bytes());
    timestamp[8..].copy_from_slice(&(unix.subsec_nanos() & !0xff_ffff).to_be_bytes());
    timestamp
}

/// `timestamp`, or the next after `before` if our clock went back: the peer takes only later ones.
fn later(timestamp: Timestamp, before: &Timestamp) -> Timestamp {
    if timestamp > *before {
        return timestamp;
    }
    let mut number = [0; 16];
    number[4..].copy_from_slice(before);
    let next = u128::from_be_bytes(number).wrapping_add(1).to_be_bytes();
    next.last_chunk().copied().unwrap_or(timestamp)
}
