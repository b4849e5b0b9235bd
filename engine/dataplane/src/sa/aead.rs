//! The AEADs of ESP, and what a library that computes them must offer: AES-GCM with the full ICV
//! (RFC 4106) and ChaCha20-Poly1305 (RFC 7634). All take a 32-bit salt from the keying material and a
//! 64-bit IV from the packet as nonce, and add a 16-byte ICV.

use super::key::Keymat;
use crate::id::Spi;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Bytes of the salt at the end of the keying material (RFC 4106 §8.1, RFC 7634 §2).
pub const SALT_LENGTH: usize = 4;
/// Bytes of the explicit IV (RFC 4106 §3.1, RFC 7634 §2).
pub const IV_LENGTH: usize = 8;
/// Bytes of the ICV: the full tag (RFC 4106 §6, RFC 7634 §2).
pub const ICV_LENGTH: usize = 16;

/// An AEAD with its key length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// AES-GCM with a 128-bit key (RFC 4106).
    #[serde(rename = "aes-128-gcm")]
    Aes128Gcm,
    /// AES-GCM with a 192-bit key (RFC 4106).
    #[serde(rename = "aes-192-gcm")]
    Aes192Gcm,
    /// AES-GCM with a 256-bit key (RFC 4106).
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
    /// ChaCha20-Poly1305, whose key has 256 bits (RFC 7634).
    #[serde(rename = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 4] =
        [Algorithm::Aes128Gcm, Algorithm::Aes192Gcm, Algorithm::Aes256Gcm, Algorithm::ChaCha20Poly1305];

    /// Bytes of the key, without the salt.
    pub const fn key_length(self) -> usize {
        match self {
            Algorithm::Aes128Gcm => 16,
            Algorithm::Aes192Gcm => 24,
            Algorithm::Aes256Gcm | Algorithm::ChaCha20Poly1305 => 32,
        }
    }

    /// Bytes of the keying material: the key, then the salt.
    pub const fn keymat_length(self) -> usize {
        self.key_length() + SALT_LENGTH
    }

    /// As configurations spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Aes128Gcm => "aes-128-gcm",
            Algorithm::Aes192Gcm => "aes-192-gcm",
            Algorithm::Aes256Gcm => "aes-256-gcm",
            Algorithm::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is authenticated beside the ciphertext. For ESP the parts and not their bytes, so that a
/// provider may put them together in a register: bytes written just before the AEAD loads them as
/// one vector cost it a store-forwarding stall, half the time of a small packet.
#[derive(Clone, Copy, Debug)]
pub enum Aad<'a> {
    /// SPI ‖ 32-bit sequence number (RFC 4106 §5, RFC 7634 §2.1).
    Seq(Spi, u32),
    /// SPI ‖ extended sequence number (RFC 4106 §5, RFC 7634 §2.1).
    Esn(Spi, u64),
    /// Anything: test vectors.
    Bytes(&'a [u8]),
}

impl Aad<'_> {
    /// As it is hashed. Runs `f`, as ESP's forms are written to the stack.
    pub fn with_bytes<R>(self, f: impl FnOnce(&[u8]) -> R) -> R {
        let mut bytes = [0; 12];
        match self {
            Aad::Bytes(bytes) => f(bytes),
            Aad::Esn(spi, seq) => {
                bytes[..4].copy_from_slice(&spi.0.to_be_bytes());
                bytes[4..].copy_from_slice(&seq.to_be_bytes());
                f(&bytes)
            }
            Aad::Seq(spi, seq) => {
                bytes[..4].copy_from_slice(&spi.0.to_be_bytes());
                bytes[4..8].copy_from_slice(&seq.to_be_bytes());
                f(&bytes[..8])
            }
        }
    }
}

/// More text than the AEAD takes under one nonce. No packet is that long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("text too long for the AEAD")]
pub struct TooLong;

/// The ICV does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("authentication failed")]
pub struct Forged;

/// A key with its salt, ready for use. It erases itself when dropped.
///
/// Never seal twice with one `iv`: only [`OutboundSa`](super::OutboundSa), which counts, may seal.
pub trait AeadKey: Send {
    /// Encrypts `text` in place and writes the ICV. The nonce is salt ‖ `iv` (RFC 4106 §4, RFC 7634 §2).
    fn seal(
        &self,
        iv: [u8; IV_LENGTH],
        aad: Aad<'_>,
        text: &mut [u8],
        icv: &mut [u8; ICV_LENGTH],
    ) -> Result<(), TooLong>;

    /// Decrypts `text` in place if `icv` matches; the comparison takes the same time wherever they differ.
    /// If it does not, `text` is lost: it must go nowhere.
    fn open(
        &self,
        iv: [u8; IV_LENGTH],
        aad: Aad<'_>,
        text: &mut [u8],
        icv: &[u8; ICV_LENGTH],
    ) -> Result<(), Forged>;
}

/// A library that computes the AEADs, all of [`Algorithm::ALL`]. Chosen at start.
pub trait AeadProvider: Send + Sync {
    /// As configurations spell it.
    fn name(&self) -> &'static str;
    /// Expands a key. Not for the packet path.
    fn key(&self, keymat: &Keymat<'_>) -> Box<dyn AeadKey>;
}
