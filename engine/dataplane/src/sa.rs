//! ESP security associations in tunnel mode (RFC 4303) with AES-GCM (RFC 4106) or
//! ChaCha20-Poly1305 (RFC 7634), in place.
//!
//! **An AEAD nonce never repeats under one key.** The IV is the 64-bit sequence number. An
//! [`OutboundSa`] takes its [`SaKey`] by value, counts from 1 and offers no way to copy or
//! rewind the counter; neither type is `Clone`. It is set once, where a process of the same engine goes on with what
//! another one has stopped sending with for good ([`OutboundSa::resumed`]). Two engines, or two workers, never share a key:
//! each has SAs of its own. A key that outlives the process, as a third party's peers need, is
//! divided by [`Partition`]s, each of which somebody must make sure is never used again.

mod aead;
mod aws_lc;
mod key;

#[cfg(test)]
mod tests;

pub use aead::{Aad, AeadKey, AeadProvider, Algorithm, Forged, ICV_LENGTH, IV_LENGTH, SALT_LENGTH, TooLong};
pub use aws_lc::AwsLc;
pub use key::{Keymat, SaKey, SaKeyError};

use crate::id::Spi;
use crate::packet::Packet;
use crate::replay::{ReplayError, ReplayWindow, WindowSize, WindowState};
use crate::wire::Protocol;
use crate::wire::esp::{Esp, HEADER_LENGTH, TRAILER_LENGTH, Trailer};
use std::fmt;
use std::num::NonZeroU16;

/// What comes before the ciphertext.
const FRONT: usize = HEADER_LENGTH + IV_LENGTH;

/// Bytes that ESP adds to an inner packet: header, IV, padding, trailer, ICV. Without the outer IP header.
pub const fn esp_overhead(inner_length: usize) -> usize {
    FRONT + Trailer::length(inner_length) + ICV_LENGTH
}

/// Why a packet was not sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaError {
    /// The buffer lacks headroom or tailroom.
    #[error("no room for ESP in the packet's buffer")]
    NoRoom,
    /// The SA has sent all it may: replace it (RFC 4303 §3.3.3).
    #[error("the SA's sequence numbers are used up")]
    SeqExhausted,
    /// Too short for an ESP packet.
    #[error("shorter than an ESP packet")]
    Truncated,
    /// Another SA's packet.
    #[error("SPI of another SA")]
    WrongSpi,
    /// Refused by the anti-replay window (RFC 4303 §3.4.3).
    #[error("replayed, or older than the anti-replay window")]
    Replay,
    /// Authentic, new and opened, but above the limit of the window: [`InboundSa::ahead`] says more.
    #[error("above what may be accepted")]
    Ahead,
    /// The ICV is wrong (RFC 4303 §3.4.4.1).
    #[error("authentication failed")]
    Authentication,
    /// Authentic, but the padding is not 1, 2, 3, … (RFC 4303 §2.4).
    #[error("wrong padding")]
    Padding,
    /// Not IPv4 or IPv6: nothing else goes through a tunnel-mode SA.
    #[error("next header is neither IPv4 nor IPv6")]
    NextHeader,
    /// Traffic-flow confidentiality: to be dropped in silence (RFC 4303 §2.6).
    #[error("dummy packet")]
    Dummy,
}

/// An SA that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaConfigError {
    /// RFC 4303 §2.1.
    #[error("SPI {0} is reserved: use 256 or above")]
    ReservedSpi(Spi),
    /// A limit of 0, or soft above hard.
    #[error("an SA's soft limit must lie between 1 and its hard limit")]
    Limits,
}

/// How many packets an SA may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// After this many, [`OutboundSa::needs_rekey`].
    pub soft: u64,
    /// After this many, [`SaError::SeqExhausted`]. Never more than the sequence number counts.
    pub hard: u64,
}

fn checked_spi(spi: Spi) -> Result<Spi, SaConfigError> {
    if spi.0 < 256 { Err(SaConfigError::ReservedSpi(spi)) } else { Ok(spi) }
}

/// SPI ‖ sequence number, whole with ESN (RFC 4106 §5, RFC 7634 §2.1).
#[inline]
fn aad(spi: Spi, seq: u64, esn: bool) -> Aad<'static> {
    if esn { Aad::Esn(spi, seq) } else { Aad::Seq(spi, seq as u32) }
}

/// A part of what may ever be sent under one key, its IVs marked by an epoch in their upper 16 bits (as RFC 6054 §3
/// divides them among senders). Whoever makes one has written down, for good, that this epoch and these numbers are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Never used before with this key.
    pub epoch: NonZeroU16,
    /// The first sequence number.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// Bits of a partitioned IV that count.
const COUNTER_BITS: u32 = 48;

/// The sending end. One worker owns it.
pub struct OutboundSa {
    spi: Spi,
    key: Box<dyn AeadKey>,
    /// The last number used.
    seq: u64,
    /// The IV's upper bits: 0 where the key is this process's alone.
    epoch: u64,
    limits: Limits,
    esn: bool,
}

impl OutboundSa {
    /// Before its first packet, which will carry sequence number 1. With `esn`, sequence numbers
    /// have 64 bits; without, the hard limit is at most 2^32 − 1.
    pub fn new(spi: Spi, key: SaKey, limits: Limits, esn: bool) -> Result<OutboundSa, SaConfigError> {
        let hard = if esn { limits.hard } else { limits.hard.min(u64::from(u32::MAX)) };
        if limits.soft == 0 || limits.soft > limits.hard {
            return Err(SaConfigError::Limits);
        }
        let limits = Limits { soft: limits.soft.min(hard), hard };
        Ok(OutboundSa { spi: checked_spi(spi)?, key: key.into_aead(), seq: 0, epoch: 0, limits, esn })
    }

    /// Under a key that this process shares with its past and its future, within `part`. It wants a successor from its
    /// middle on.
    pub fn partitioned(
        spi: Spi,
        key: SaKey,
        part: Partition,
        esn: bool,
    ) -> Result<OutboundSa, SaConfigError> {
        let highest = if esn { (1 << COUNTER_BITS) - 1 } else { u64::from(u32::MAX) };
        let last = part.first.checked_add(part.count).map(|end| end - 1);
        let hard = last.filter(|last| *last <= highest && part.first > 0 && part.count > 0);
        let limits = Limits { soft: part.first + part.count / 2, hard: hard.ok_or(SaConfigError::Limits)? };
        let (seq, epoch) = (part.first - 1, u64::from(part.epoch.get()) << COUNTER_BITS);
        Ok(OutboundSa { spi: checked_spi(spi)?, key: key.into_aead(), seq, epoch, limits, esn })
    }

    /// Where a former process of this engine has ended: `sent` is the last number that its SA of this key has used.
    ///
    /// Only for an SA that is stopped for good, in a process that will never send by it again: see `control::handover`.
    pub fn resumed(
        spi: Spi,
        key: SaKey,
        sent: u64,
        limits: Limits,
        esn: bool,
    ) -> Result<OutboundSa, SaConfigError> {
        Ok(OutboundSa { seq: sent, ..OutboundSa::new(spi, key, limits, esn)? })
    }

    /// Whether the key is this process's alone, and not a part of one that outlives it.
    pub fn is_whole(&self) -> bool {
        self.epoch == 0
    }

    /// The SPI it writes.
    pub fn spi(&self) -> Spi {
        self.spi
    }

    /// The last sequence number used: the packets sent, but for a [`Partition`].
    pub fn sent(&self) -> u64 {
        self.seq
    }

    /// True from the soft limit on: make a successor.
    #[inline]
    pub fn needs_rekey(&self) -> bool {
        self.seq >= self.limits.soft
    }

    /// Turns the inner IP packet into an ESP packet (without an outer IP header). `next_header`
    /// says what it is: 4 or 41. On an error the packet goes nowhere; no number is used without room.
    #[inline]
    pub fn seal<P: Packet>(&mut self, packet: &mut P, next_header: u8) -> Result<(), SaError> {
        self.seal_behind(packet, next_header, 0)
    }

    /// [`seal`](Self::seal), and leaves `outer` bytes in front of ESP, whatever is in them, for the headers
    /// before it.
    #[inline]
    pub fn seal_behind<P: Packet>(
        &mut self,
        packet: &mut P,
        next_header: u8,
        outer: usize,
    ) -> Result<(), SaError> {
        let protocol = Protocol(next_header);
        if !matches!(protocol, Protocol::IPV4 | Protocol::IPV6) {
            return Err(SaError::NextHeader);
        }
        if self.seq >= self.limits.hard {
            return Err(SaError::SeqExhausted);
        }
        let inner = packet.len();
        let back = Trailer::length(inner) + ICV_LENGTH;
        packet.append(back).ok_or(SaError::NoRoom)?;
        let Some(data) = packet.prepend(outer + FRONT) else {
            packet.trim(back);
            return Err(SaError::NoRoom);
        };
        // From here on the number is used, come what may.
        self.seq += 1;
        let (esp, rest) = data[outer..].split_first_chunk_mut::<FRONT>().ok_or(SaError::NoRoom)?;
        let iv = self.epoch | self.seq;
        let header = u128::from(self.spi.0) << 96 | u128::from(self.seq as u32) << 64 | u128::from(iv);
        *esp = header.to_be_bytes();
        let written = Trailer::write(protocol, rest, inner);
        debug_assert!(written, "the ICV's 16 bytes lie behind it");
        let (text, icv) = rest.split_last_chunk_mut::<ICV_LENGTH>().ok_or(SaError::NoRoom)?;
        let aad = aad(self.spi, self.seq, self.esn);
        self.key.seal(iv.to_be_bytes(), aad, text, icv).map_err(|TooLong| SaError::NoRoom)
    }
}

/// The receiving end. One worker owns it.
pub struct InboundSa {
    spi: Spi,
    key: Box<dyn AeadKey>,
    window: ReplayWindow,
    esn: bool,
    /// See [`InboundSa::ahead`].
    ahead: (u64, u8),
    /// The highest number of all those.
    wanted: u64,
}

impl InboundSa {
    /// Before its first packet.
    pub fn new(spi: Spi, key: SaKey, window: WindowSize, esn: bool) -> Result<InboundSa, SaConfigError> {
        InboundSa::resumed(spi, key, ReplayWindow::new(window, esn), esn)
    }

    /// Where another engine, or a former self, has ended: what `window` says was accepted stays so.
    pub fn resumed(
        spi: Spi,
        key: SaKey,
        window: ReplayWindow,
        esn: bool,
    ) -> Result<InboundSa, SaConfigError> {
        let key = key.into_aead();
        Ok(InboundSa { spi: checked_spi(spi)?, key, window, esn, ahead: (0, 0), wanted: 0 })
    }

    /// The SPI it listens to.
    pub fn spi(&self) -> Spi {
        self.spi
    }

    /// What whoever has it next must know.
    pub fn window_state(&self) -> WindowState {
        self.window.state()
    }

    /// The highest sequence number accepted.
    pub fn top(&self) -> u64 {
        self.window.top()
    }

    /// Accepts no sequence number above this from now on; returns what is in force.
    pub fn set_limit(&mut self, limit: u64) -> u64 {
        self.window.set_limit(limit)
    }

    /// The highest sequence number that came in an authentic packet, accepted or above the limit.
    pub fn reached(&self) -> u64 {
        self.top().max(self.wanted)
    }

    /// The last packet that was above the limit: its sequence number, and what is in it, 4 or 41.
    pub fn ahead(&self) -> (u64, u8) {
        self.ahead
    }

    /// Accepts the number of a packet that was above the limit.
    pub fn accept(&mut self, seq: u64) -> Result<(), ReplayError> {
        self.window.accept(seq)
    }

    /// Turns an ESP packet, from its ESP header on, into the inner packet and returns what it is: 4
    /// or 41. Behind the inner packet there may be bytes beyond its total length (RFC 4303 §2.7).
    /// On an error the packet is fit only to be dropped, but for [`SaError::Ahead`].
    #[inline]
    pub fn open<P: Packet>(&mut self, packet: &mut P) -> Result<u8, SaError> {
        let data = packet.data_mut();
        if data.len() < FRONT + TRAILER_LENGTH + ICV_LENGTH {
            return Err(SaError::Truncated);
        }
        let (front, sealed) = data.split_at_mut(FRONT);
        let header = Esp::parse(front).map_err(|_| SaError::WrongSpi)?;
        if header.spi != self.spi {
            return Err(SaError::WrongSpi);
        }
        let seq = self.window.check(header.sequence).map_err(|_| SaError::Replay)?;
        let mut iv = [0; IV_LENGTH];
        iv.copy_from_slice(&front[HEADER_LENGTH..]);
        let (text, icv) = sealed.split_last_chunk_mut::<ICV_LENGTH>().ok_or(SaError::Truncated)?;
        let aad = aad(self.spi, seq, self.esn);
        self.key.open(iv, aad, text, icv).map_err(|Forged| SaError::Authentication)?;
        // RFC 4303 §3.4.3: the window moves once the ICV is verified, whatever the packet holds.
        let accepted = self.window.accept(seq);
        if accepted.is_err_and(|error| error != ReplayError::Ahead) {
            return Err(SaError::Replay);
        }
        let whole = text.len();
        let trailer = Trailer::parse(text).map_err(|_| SaError::Padding)?;
        match trailer.next_header {
            Protocol::IPV4 | Protocol::IPV6 => {}
            Protocol::NO_NEXT => return Err(SaError::Dummy),
            _ => return Err(SaError::NextHeader),
        }
        let cut = packet.adj(FRONT) && packet.trim(whole - trailer.payload_length + ICV_LENGTH);
        if accepted.is_err() {
            self.ahead = (seq, trailer.next_header.0);
            self.wanted = self.wanted.max(seq);
            return Err(SaError::Ahead);
        }
        if cut { Ok(trailer.next_header.0) } else { Err(SaError::Truncated) }
    }
}

impl fmt::Debug for OutboundSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundSa").field("spi", &self.spi).field("seq", &self.seq).finish_non_exhaustive()
    }
}

impl fmt::Debug for InboundSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundSa").field("spi", &self.spi).field("top", &self.top()).finish_non_exhaustive()
    }
}
