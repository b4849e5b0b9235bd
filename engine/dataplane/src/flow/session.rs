//! The record of one flow: one cache line.

use super::state::{Phase, Track};
use super::tuple::{AnyTuple, Tuple, Upper};
use crate::wire::Protocol;
use std::net::{Ipv4Addr, Ipv6Addr};

/// How the packets of a session look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKey {
    /// IPv4. Without NAT `reverse` is `forward` reversed.
    V4 {
        /// As its initiator sends.
        forward: Tuple<Ipv4Addr>,
        /// As its responder answers.
        reverse: Tuple<Ipv4Addr>,
    },
    /// IPv6, as its initiator sends.
    V6(Tuple<Ipv6Addr>),
}

impl SessionKey {
    /// A session without NAT whose first packet is of the flow `forward`.
    #[inline]
    pub const fn plain(forward: AnyTuple) -> SessionKey {
        match forward {
            AnyTuple::V4(forward) => SessionKey::V4 { forward, reverse: forward.reversed() },
            AnyTuple::V6(forward) => SessionKey::V6(forward),
        }
    }

    /// As its initiator sends.
    #[inline]
    pub const fn forward(&self) -> AnyTuple {
        match *self {
            SessionKey::V4 { forward, .. } => AnyTuple::V4(forward),
            SessionKey::V6(forward) => AnyTuple::V6(forward),
        }
    }

    /// As its responder answers.
    #[inline]
    pub const fn reverse(&self) -> AnyTuple {
        match *self {
            SessionKey::V4 { reverse, .. } => AnyTuple::V4(reverse),
            SessionKey::V6(forward) => AnyTuple::V6(forward.reversed()),
        }
    }

    /// Whether addresses or ports change on the way.
    #[inline]
    pub fn is_translated(&self) -> bool {
        match *self {
            SessionKey::V4 { forward, reverse } => forward.reversed() != reverse,
            SessionKey::V6(_) => false,
        }
    }

    /// What it carries.
    #[inline]
    pub const fn protocol(&self) -> Protocol {
        match self {
            SessionKey::V4 { forward, .. } => Protocol(forward.protocol),
            SessionKey::V6(forward) => Protocol(forward.protocol),
        }
    }
}

/// What a session begins with.
#[derive(Clone, Copy, Debug)]
pub struct NewSession {
    /// How its packets look.
    pub key: SessionKey,
    /// What its first packet shows.
    pub upper: Upper,
    /// The ACL that permitted it.
    pub generation: u32,
    /// … and the rule of it.
    pub rule: u32,
    /// Where its first packet came in, as the ACL knows it.
    pub input: u16,
}

/// A live session.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// How its packets look.
    pub key: SessionKey,
    /// The ACL that last permitted it.
    pub generation: u32,
    /// … and the rule of it.
    pub rule: u32,
    /// Packets of the initiator; wraps.
    pub forward_packets: u32,
    /// Where its first packet came in, as the ACL knows it.
    pub input: u16,
    /// Second of its last packet; wraps.
    pub(super) seen: u16,
    /// What has been seen of it.
    pub(super) track: Track,
    /// Whether addresses or ports change on the way.
    pub(super) translated: bool,
}

impl Session {
    /// Whether its SYN was seen, if it is TCP.
    pub const fn began_with_syn(&self) -> bool {
        self.track.began_with_syn()
    }

    /// How far it has come.
    #[inline]
    pub fn phase(&self) -> Phase {
        self.track.phase(self.key.protocol())
    }
}

/// A place in the table.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) enum Slot {
    /// Free; the next free one, or `u32::MAX`.
    Free(u32),
    /// Taken.
    Live(Session),
}

// The promise of the module: a session is one cache line.
const _: () = assert!(size_of::<Slot>() == 64);
