//! WireGuard's sessions: the keys that a handshake has agreed on, as one worker uses them (Donenfeld, "WireGuard: Next
//! Generation Kernel Network Tunnel", §5.4.6, §6). The handshakes are the shell's.
//!
//! **An AEAD nonce never repeats under one key.** The nonce is the counter, and a [`Session`] takes its keys by value, counts
//! from 0 and offers no way to set, copy or rewind the counter; a handshake's keys are new each time.

mod allowed;
#[cfg(test)]
mod tests;

pub use allowed::AllowedIps;

use crate::id::{Nanos, TunnelId};
use crate::packet::Packet;
use crate::replay::{ReplayWindow, WindowSize};
use crate::sa::{Aad, AeadKey, ICV_LENGTH, SaKey};
use crate::wire::wireguard::{ALIGNMENT, Data, HANDSHAKE_MAX, HEADER_LENGTH};
use arrayvec::ArrayVec;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Bytes that a session adds to a packet, padding aside: header and tag.
pub const OVERHEAD: usize = HEADER_LENGTH + ICV_LENGTH;

/// Messages under one key after which a new one is asked for (§6.1).
const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// … and after which none is sent or accepted (§6.1).
const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);

/// What is remembered of counters: the reordering of many cores at the far end goes far.
const WINDOW: WindowSize = WindowSize::new(4096).expect("a multiple of 64");

/// A session's name to those who send into it: its tunnel in the low half, anything in the high half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receiver(pub u32);

impl Receiver {
    /// A session of `tunnel`; `number` tells it from others that live.
    pub const fn new(tunnel: TunnelId, number: u16) -> Receiver {
        Receiver((number as u32) << 16 | tunnel.0 as u32)
    }

    /// The tunnel.
    #[inline]
    pub const fn tunnel(self) -> TunnelId {
        TunnelId(self.0 as u16)
    }
}

/// Why a packet was not sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The buffer lacks headroom or tailroom.
    #[error("no room for WireGuard in the packet's buffer")]
    NoRoom,
    /// Too old, or used too often (§6.1).
    #[error("the session is over")]
    Over,
    /// Not a data message.
    #[error("not a data message")]
    Malformed,
    /// Refused by the anti-replay window (§5.4.6).
    #[error("replayed, or older than the anti-replay window")]
    Replay,
    /// The tag is wrong.
    #[error("authentication failed")]
    Authentication,
}

/// What a session is made of.
pub struct SessionParts {
    /// Our name of it, which the far end writes.
    pub local: Receiver,
    /// The far end's name of it.
    pub remote: u32,
    /// What we seal with: ChaCha20-Poly1305 with a salt of zeros, as all sessions' are.
    pub sending: SaKey,
    /// What the far end seals with.
    pub receiving: SaKey,
    /// No packet goes in or out from here on (§6.1: REJECT-AFTER-TIME).
    pub over: Nanos,
    /// The sources that packets may have inside.
    pub allowed: Arc<AllowedIps>,
}

/// The keys of one handshake. One worker owns it.
pub struct Session {
    local: Receiver,
    remote: u32,
    sending: Box<dyn AeadKey>,
    /// The next nonce.
    counter: u64,
    receiving: Box<dyn AeadKey>,
    window: ReplayWindow,
    over: Nanos,
    allowed: Arc<AllowedIps>,
}

impl Session {
    /// Before its first packet.
    pub fn new(parts: SessionParts) -> Session {
        Session {
            local: parts.local,
            remote: parts.remote,
            sending: parts.sending.into_aead(),
            counter: 0,
            receiving: parts.receiving.into_aead(),
            window: ReplayWindow::new(WINDOW, true),
            over: parts.over,
            allowed: parts.allowed,
        }
    }

    /// Our name of it.
    pub fn local(&self) -> Receiver {
        self.local
    }

    /// The far end's name of it.
    pub fn remote(&self) -> u32 {
        self.remote
    }

    /// Packets sent.
    pub fn sent(&self) -> u64 {
        self.counter
    }

    /// Ask for a successor.
    #[inline]
    pub fn needs_rekey(&self) -> bool {
        self.counter >= REKEY_AFTER_MESSAGES
    }

    /// Turns the inner packet, or nothing, into a data message behind `outer` bytes for the headers before it. Padding goes
    /// no further than to `room` bytes, the tunnel's MTU. On an error the packet goes nowhere; no nonce is used without room.
    #[inline]
    pub fn seal_behind<P: Packet>(
        &mut self,
        packet: &mut P,
        outer: usize,
        room: usize,
        now: Nanos,
    ) -> Result<(), SessionError> {
        if now >= self.over || self.counter >= REJECT_AFTER_MESSAGES {
            return Err(SessionError::Over);
        }
        let inner = packet.len();
        let padded = inner.next_multiple_of(ALIGNMENT).min(room).max(inner);
        let back = padded - inner + ICV_LENGTH;
        packet.append(back).ok_or(SessionError::NoRoom)?;
        let Some(data) = packet.prepend(outer + HEADER_LENGTH) else {
            packet.trim(back);
            return Err(SessionError::NoRoom);
        };
        // From here on the nonce is used, come what may.
        let counter = self.counter;
        self.counter += 1;
        let (header, rest) = data[outer..].split_at_mut(HEADER_LENGTH);
        let written = Data { receiver: self.remote, counter }.write(header);
        debug_assert!(written.is_ok(), "there is room for it");
        let (text, tag) = rest.split_last_chunk_mut::<ICV_LENGTH>().ok_or(SessionError::NoRoom)?;
        text[inner..].fill(0);
        self.sending.seal(counter.to_le_bytes(), Aad::Bytes(&[]), text, tag).map_err(|_| SessionError::NoRoom)
    }

    /// Turns a data message, from its type on, into the inner packet with its padding, or into nothing (a keepalive).
    /// On an error the packet is fit only to be dropped.
    #[inline]
    pub fn open<P: Packet>(&mut self, packet: &mut P, now: Nanos) -> Result<(), SessionError> {
        let data = packet.data_mut();
        let Data { counter, .. } = Data::parse(data).map_err(|_| SessionError::Malformed)?;
        if now >= self.over || counter >= REJECT_AFTER_MESSAGES {
            return Err(SessionError::Over);
        }
        // The window numbers from 1.
        let number = counter + 1;
        self.window.check_whole(number).map_err(|_| SessionError::Replay)?;
        let sealed = &mut data[HEADER_LENGTH..];
        let (text, tag) = sealed.split_last_chunk_mut::<ICV_LENGTH>().ok_or(SessionError::Malformed)?;
        self.receiving
            .open(counter.to_le_bytes(), Aad::Bytes(&[]), text, tag)
            .map_err(|_| SessionError::Authentication)?;
        self.window.accept(number).map_err(|_| SessionError::Replay)?;
        let cut = packet.adj(HEADER_LENGTH) && packet.trim(ICV_LENGTH);
        if cut { Ok(()) } else { Err(SessionError::Malformed) }
    }

    /// Counters accepted: one more than the highest of them.
    pub fn top(&self) -> u64 {
        self.window.top()
    }

    /// Whether the far end may send from `source` inside (§2, cryptokey routing).
    #[inline]
    pub fn allows(&self, source: IpAddr) -> bool {
        self.allowed.has(source)
    }
}

/// Who began the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We: the far end has the keys, for it has answered.
    Initiator,
    /// The far end: it has the keys once it has sent a packet under them.
    Responder,
}

/// Sessions that are no longer sent under.
const PREVIOUS: usize = 3;

/// The sessions of one tunnel: while keys are replaced, packets under the old ones and under the new ones are both under way
/// (§6.3). More old ones are kept than the paper asks for: where both ends began handshakes at one time each sends under its
/// own, and what one has replaced the other may still use.
#[derive(Debug, Default)]
pub struct Keypairs {
    current: Option<Box<Session>>,
    /// As responder: not sent under before the far end has.
    next: Option<Box<Session>>,
    /// The oldest first.
    previous: ArrayVec<Box<Session>, PREVIOUS>,
}

impl Keypairs {
    /// Takes a session in; `retire` gets those that it puts out of use, and those whose time is over.
    pub fn install(
        &mut self,
        session: Box<Session>,
        role: Role,
        now: Nanos,
        mut retire: impl FnMut(Box<Session>),
    ) {
        while let Some(over) = self.previous.iter().position(|session| now >= session.over) {
            retire(self.previous.remove(over));
        }
        let next = self.next.take();
        match role {
            Role::Responder => {
                next.into_iter().for_each(retire);
                self.next = Some(session);
            }
            Role::Initiator => {
                let current = self.current.replace(session);
                next.into_iter().chain(current).for_each(|session| self.demote(session, &mut retire));
            }
        }
    }

    fn demote(&mut self, session: Box<Session>, retire: &mut impl FnMut(Box<Session>)) {
        if self.previous.is_full() {
            retire(self.previous.remove(0));
        }
        self.previous.push(session);
    }

    /// All of them go.
    pub fn clear(&mut self, retire: impl FnMut(Box<Session>)) {
        let used = self.current.take().into_iter().chain(self.next.take());
        used.chain(self.previous.drain(..)).for_each(retire);
    }

    /// What packets are sent under.
    #[inline]
    pub fn sending(&mut self) -> Option<&mut Session> {
        self.current.as_deref_mut()
    }

    /// The far end's name of what is sent under.
    pub fn remote(&self) -> Option<u32> {
        self.current.as_ref().map(|session| session.remote)
    }

    /// The session that the far end means.
    #[inline]
    pub fn receiving(&mut self, receiver: Receiver) -> Option<&mut Session> {
        self.current
            .iter_mut()
            .chain(&mut self.next)
            .chain(&mut self.previous)
            .map(|session| &mut **session)
            .find(|session| session.local == receiver)
    }

    /// An authentic packet came under `receiver`: if that is the next session, the far end has its keys, and it is sent
    /// under from now on. True if so.
    #[inline]
    pub fn confirm(&mut self, receiver: Receiver, mut retire: impl FnMut(Box<Session>)) -> bool {
        if self.next.as_ref().is_none_or(|next| next.local != receiver) {
            return false;
        }
        if let Some(current) = std::mem::replace(&mut self.current, self.next.take()) {
            self.demote(current, &mut retire);
        }
        true
    }
}

/// A message of a handshake that has come, for control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Punted {
    /// Whose it says it is: address and UDP port.
    pub from: (IpAddr, u16),
    /// Which of ours it came to.
    pub to: (IpAddr, u16),
    /// The message.
    pub message: ArrayVec<u8, HANDSHAKE_MAX>,
}

/// One that control sends.
pub type Datagram = Punted;

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("local", &self.local)
            .field("counter", &self.counter)
            .finish_non_exhaustive()
    }
}

/// The source of an IP packet and its length by its own header; `None` if it is none.
#[inline]
pub(crate) fn source(packet: &[u8]) -> Option<(IpAddr, usize)> {
    let word = |at: usize| packet.get(at..)?.first_chunk().copied().map(u16::from_be_bytes).map(usize::from);
    match packet.first()? >> 4 {
        4 => {
            let source: [u8; 4] = *packet.get(12..)?.first_chunk()?;
            Some((Ipv4Addr::from(source).into(), word(2)?))
        }
        6 => {
            let source: [u8; 16] = *packet.get(8..)?.first_chunk()?;
            Some((Ipv6Addr::from(source).into(), word(4)? + 40))
        }
        _ => None,
    }
}
