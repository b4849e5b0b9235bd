//! ESP security associations in tunnel mode (RFC 4303) with AES-GCM (RFC 4106), in place.
//!
//! **An AEAD nonce never repeats under one key.** The IV is the 64-bit sequence number. An
//! [`OutboundSa`] takes its [`SaKey`] by value, counts from 1 and offers no way to set, copy or
//! rewind the counter; neither type is `Clone`. Two engines, or two workers, never share a key:
//! each has SAs of its own.

mod key;

#[cfg(test)]
mod tests;

pub use key::{SaKey, SaKeyError};

use crate::id::Spi;
use crate::packet::Packet;
use crate::replay::{ReplayWindow, WindowSize};
use crate::wire::Protocol;
use crate::wire::esp::{Esp, HEADER_LENGTH, TRAILER_LENGTH, Trailer};
use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use std::fmt;

/// Bytes of the explicit IV (RFC 4106 §3.1).
const IV_LENGTH: usize = 8;
/// Bytes of the ICV: the full tag (RFC 4106 §6).
const ICV_LENGTH: usize = 16;
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

/// Salt ‖ IV (RFC 4106 §4).
fn nonce(salt: [u8; 4], iv: [u8; IV_LENGTH]) -> Nonce {
    let ([a, b, c, d], [e, f, g, h, i, j, k, l]) = (salt, iv);
    Nonce::assume_unique_for_key([a, b, c, d, e, f, g, h, i, j, k, l])
}

/// SPI ‖ sequence number, whole with ESN (RFC 4106 §5).
struct AadBytes {
    bytes: [u8; 12],
    length: usize,
}

impl AadBytes {
    fn new(spi: Spi, seq: u64, esn: bool) -> AadBytes {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&spi.0.to_be_bytes());
        if esn {
            bytes[4..].copy_from_slice(&seq.to_be_bytes());
        } else {
            bytes[4..8].copy_from_slice(&(seq as u32).to_be_bytes());
        }
        AadBytes { bytes, length: if esn { 12 } else { 8 } }
    }

    fn aad(&self) -> Aad<&[u8]> {
        Aad::from(&self.bytes[..self.length])
    }
}

/// The sending end. One worker owns it.
pub struct OutboundSa {
    spi: Spi,
    key: LessSafeKey,
    salt: [u8; 4],
    /// The last number used.
    seq: u64,
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
        let (key, salt) = key.into_aead();
        let limits = Limits { soft: limits.soft.min(hard), hard };
        Ok(OutboundSa { spi: checked_spi(spi)?, key, salt, seq: 0, limits, esn })
    }

    /// The SPI it writes.
    pub fn spi(&self) -> Spi {
        self.spi
    }

    /// Packets sent, which is the last sequence number used.
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
        if packet.prepend(FRONT).is_none() {
            packet.trim(back);
            return Err(SaError::NoRoom);
        }
        // From here on the number is used, come what may.
        self.seq += 1;
        let iv = self.seq.to_be_bytes();
        let (front, rest) = packet.data_mut().split_at_mut(FRONT);
        let (plaintext, icv) = rest.split_at_mut(inner + back - ICV_LENGTH);
        let header = Esp { spi: self.spi, sequence: self.seq as u32 };
        let written = header.write(front).is_ok() & Trailer::write(protocol, &mut plaintext[inner..]).is_ok();
        debug_assert!(written, "lengths are as computed");
        front[HEADER_LENGTH..].copy_from_slice(&iv);
        let aad = AadBytes::new(self.spi, self.seq, self.esn);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(self.salt, iv), aad.aad(), plaintext)
            .map_err(|_| SaError::NoRoom)?; // only a packet beyond 2^36 bytes
        icv.copy_from_slice(tag.as_ref());
        Ok(())
    }
}

/// The receiving end. One worker owns it.
pub struct InboundSa {
    spi: Spi,
    key: LessSafeKey,
    salt: [u8; 4],
    window: ReplayWindow,
    esn: bool,
}

impl InboundSa {
    /// Before its first packet.
    pub fn new(spi: Spi, key: SaKey, window: WindowSize, esn: bool) -> Result<InboundSa, SaConfigError> {
        let (key, salt) = key.into_aead();
        Ok(InboundSa { spi: checked_spi(spi)?, key, salt, window: ReplayWindow::new(window, esn), esn })
    }

    /// The SPI it listens to.
    pub fn spi(&self) -> Spi {
        self.spi
    }

    /// The highest sequence number accepted.
    pub fn top(&self) -> u64 {
        self.window.top()
    }

    /// Turns an ESP packet, from its ESP header on, into the inner packet and returns what it is: 4
    /// or 41. Behind the inner packet there may be bytes beyond its total length (RFC 4303 §2.7).
    /// On an error the packet is fit only to be dropped.
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
        let aad = AadBytes::new(self.spi, seq, self.esn);
        let (sealed, icv) = sealed.split_at_mut(sealed.len() - ICV_LENGTH);
        let plaintext = self
            .key
            .open_in_place_separate_tag(nonce(self.salt, iv), aad.aad(), icv, sealed)
            .map_err(|_| SaError::Authentication)?;
        // RFC 4303 §3.4.3: the window moves once the ICV is verified, whatever the packet holds.
        self.window.accept(seq).map_err(|_| SaError::Replay)?;
        let whole = plaintext.len();
        let trailer = Trailer::parse(plaintext).map_err(|_| SaError::Padding)?;
        match trailer.next_header {
            Protocol::IPV4 | Protocol::IPV6 => {}
            Protocol::NO_NEXT => return Err(SaError::Dummy),
            _ => return Err(SaError::NextHeader),
        }
        let cut = packet.adj(FRONT) && packet.trim(whole - trailer.payload_length + ICV_LENGTH);
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
