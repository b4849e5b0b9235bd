//! Keying material of one direction of one SA.

use super::aead::{AeadKey, AeadProvider, Algorithm, SALT_LENGTH};
use std::fmt;

/// Keying material of a wrong length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keying material of {algorithm} has {} bytes, not {length}", .algorithm.keymat_length())]
pub struct SaKeyError {
    /// The AEAD it was meant for.
    pub algorithm: Algorithm,
    /// Its length in bytes.
    pub length: usize,
}

/// Keying material as long as its algorithm wants it, borrowed: whoever owns it erases it.
pub struct Keymat<'a> {
    algorithm: Algorithm,
    key: &'a [u8],
    salt: [u8; SALT_LENGTH],
}

impl<'a> Keymat<'a> {
    /// From the key followed by the salt (RFC 4106 §8.1, RFC 7634 §2).
    pub fn new(algorithm: Algorithm, keymat: &'a [u8]) -> Result<Keymat<'a>, SaKeyError> {
        match keymat.split_last_chunk::<SALT_LENGTH>() {
            Some((key, &salt)) if key.len() == algorithm.key_length() => Ok(Keymat { algorithm, key, salt }),
            _ => Err(SaKeyError { algorithm, length: keymat.len() }),
        }
    }

    /// The AEAD.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// [`Algorithm::key_length`] bytes.
    pub fn key(&self) -> &[u8] {
        self.key
    }

    /// The start of every nonce.
    pub fn salt(&self) -> [u8; SALT_LENGTH] {
        self.salt
    }
}

/// An expanded key and its salt. Erased when dropped, never shown, never copied: it goes into one SA.
pub struct SaKey {
    algorithm: Algorithm,
    key: Box<dyn AeadKey>,
}

impl SaKey {
    /// From `keymat`, the key followed by the salt (RFC 4106 §8.1, RFC 7634 §2), for `provider` to compute with.
    pub fn new(
        provider: &dyn AeadProvider,
        algorithm: Algorithm,
        keymat: &[u8],
    ) -> Result<SaKey, SaKeyError> {
        Ok(SaKey { algorithm, key: provider.key(&Keymat::new(algorithm, keymat)?) })
    }

    pub(crate) fn into_aead(self) -> Box<dyn AeadKey> {
        self.key
    }
}

impl fmt::Debug for SaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SaKey({}, redacted)", self.algorithm)
    }
}
