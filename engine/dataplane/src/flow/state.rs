//! What a session has seen so far, and how long it may be idle for it.

use super::tuple::{Upper, tcp};
use crate::wire::Protocol;
use serde::{Deserialize, Serialize};

/// How long a session may be idle, seconds, at most [`Timeouts::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// TCP before both sides have agreed. RFC 5382 §5 REQ-5 asks NAT for 240 or more.
    pub tcp_opening: u16,
    /// TCP. RFC 5382 §5 REQ-5: 2 hours 4 minutes or more.
    pub tcp_established: u16,
    /// TCP after a reset or a FIN of each side; REQ-5: 240 or more.
    pub tcp_closing: u16,
    /// UDP without an answer. RFC 4787 §4.3 REQ-5 asks NAT for 120 or more.
    pub udp_one_way: u16,
    /// UDP both ways; REQ-5 recommends 300.
    pub udp_two_way: u16,
    /// ICMP queries. RFC 5508 §3.2 REQ-2: 60 or more.
    pub icmp: u16,
    /// Every other protocol.
    pub other: u16,
}

impl Timeouts {
    /// The longest: half of the range in which times are compared, less room for a late sweep.
    pub const MAX: u16 = 30_000;
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            tcp_opening: 240,
            tcp_established: 7440,
            tcp_closing: 240,
            udp_one_way: 120,
            udp_two_way: 300,
            icmp: 60,
            other: 300,
        }
    }
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Its responder has not agreed: the first to go when room is short.
    Opening,
    /// Both sides take part.
    Established,
    /// TCP: reset, or closed by both.
    Closing,
}

/// What has been seen of a flow, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Track(u8);

impl Track {
    const SYN_FORWARD: u8 = 1 << 0;
    const SYN_REVERSE: u8 = 1 << 1;
    const ACKED: u8 = 1 << 2;
    const FIN_FORWARD: u8 = 1 << 3;
    const FIN_REVERSE: u8 = 1 << 4;
    const RESET: u8 = 1 << 5;
    /// Begun in the middle of a connection: after a failover nobody here saw its SYN.
    const PICKED_UP: u8 = 1 << 6;
    const REPLIED: u8 = 1 << 7;

    /// A session whose first packet, in the forward direction, shows `upper`.
    #[inline]
    pub const fn first(upper: Upper) -> Track {
        match upper {
            Upper::Tcp(flags) if is_opening(flags) => Track(Self::SYN_FORWARD),
            Upper::Tcp(_) => Track(Self::PICKED_UP),
            _ => Track(0),
        }
    }

    /// As one octet, for other engines.
    pub const fn octet(self) -> u8 {
        self.0
    }

    /// What another engine wrote as an octet: every one means something.
    pub const fn from_octet(octet: u8) -> Track {
        Track(octet)
    }

    /// What either of two engines has seen of one flow.
    #[must_use]
    pub const fn or(self, other: Track) -> Track {
        Track(self.0 | other.0)
    }

    /// Whether the initiator's SYN was seen.
    pub const fn began_with_syn(self) -> bool {
        self.0 & Self::SYN_FORWARD != 0
    }

    /// With a packet in the forward direction added.
    #[inline]
    #[must_use]
    pub fn forward(self, upper: Upper) -> Track {
        let Upper::Tcp(flags) = upper else { return self };
        let mut bits = self.0;
        if is_opening(flags) {
            // The same ports used anew (RFC 9293 §3.6.1).
            if matches!(self.phase(Protocol::TCP), Phase::Closing) {
                return Track(Self::SYN_FORWARD);
            }
            bits |= Self::SYN_FORWARD;
        }
        if flags & tcp::ACK != 0 && bits & Self::SYN_REVERSE != 0 {
            bits |= Self::ACKED;
        }
        bits |= if flags & tcp::FIN != 0 { Self::FIN_FORWARD } else { 0 };
        bits |= if flags & tcp::RST != 0 { Self::RESET } else { 0 };
        Track(bits)
    }

    /// With a packet in the reverse direction added.
    #[inline]
    #[must_use]
    pub const fn reverse(self, upper: Upper) -> Track {
        let mut bits = self.0 | Self::REPLIED;
        if let Upper::Tcp(flags) = upper {
            bits |= if flags & tcp::SYN != 0 { Self::SYN_REVERSE } else { 0 };
            bits |= if flags & tcp::FIN != 0 { Self::FIN_REVERSE } else { 0 };
            bits |= if flags & tcp::RST != 0 { Self::RESET } else { 0 };
        }
        Track(bits)
    }

    /// How far it has come.
    #[inline]
    pub fn phase(self, protocol: Protocol) -> Phase {
        let has = |bits: u8| self.0 & bits == bits;
        if !matches!(protocol, Protocol::TCP) {
            return if has(Self::REPLIED) { Phase::Established } else { Phase::Opening };
        }
        if has(Self::RESET) || has(Self::FIN_FORWARD | Self::FIN_REVERSE) {
            Phase::Closing
        } else if has(Self::SYN_FORWARD | Self::SYN_REVERSE | Self::ACKED)
            || has(Self::PICKED_UP | Self::REPLIED)
        {
            Phase::Established
        } else {
            Phase::Opening
        }
    }

    /// How long it may be idle, seconds.
    #[inline]
    pub fn timeout(self, protocol: Protocol, timeouts: &Timeouts) -> u16 {
        match (protocol, self.phase(protocol)) {
            (Protocol::TCP, Phase::Opening) => timeouts.tcp_opening,
            (Protocol::TCP, Phase::Established) => timeouts.tcp_established,
            (Protocol::TCP, Phase::Closing) => timeouts.tcp_closing,
            (Protocol::UDP, Phase::Established) => timeouts.udp_two_way,
            (Protocol::UDP, _) => timeouts.udp_one_way,
            (Protocol::ICMP | Protocol::ICMPV6, _) => timeouts.icmp,
            _ => timeouts.other,
        }
    }
}

/// A SYN that opens a connection, not one that answers.
const fn is_opening(flags: u8) -> bool {
    flags & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN
}
