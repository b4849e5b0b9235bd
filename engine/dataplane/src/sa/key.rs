//! Keying material of one direction of one SA.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Algorithm, LessSafeKey, UnboundKey};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Keying material of a wrong length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("AES-GCM keying material has {0} bytes; it takes 20 (AES-128) or 36 (AES-256)")]
pub struct SaKeyError(pub usize);

#[derive(Zeroize, ZeroizeOnDrop)]
enum Aes {
    Aes128([u8; 16]),
    Aes256([u8; 32]),
}

/// An AES key and its salt. Wiped when dropped, never shown, never copied: it goes into one SA.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SaKey {
    key: Aes,
    salt: [u8; 4],
}

impl SaKey {
    /// From `keymat`, the key followed by the 4 bytes of salt (RFC 4106 §8.1).
    pub fn new(keymat: &[u8]) -> Result<SaKey, SaKeyError> {
        let wrong = SaKeyError(keymat.len());
        let (key, salt) = keymat.split_last_chunk::<4>().ok_or(wrong)?;
        let key = match key.len() {
            16 => Aes::Aes128(key.try_into().map_err(|_| wrong)?),
            32 => Aes::Aes256(key.try_into().map_err(|_| wrong)?),
            _ => return Err(wrong),
        };
        Ok(SaKey { key, salt: *salt })
    }

    /// The key schedule and the salt.
    pub(super) fn into_aead(self) -> (LessSafeKey, [u8; 4]) {
        let (algorithm, bytes): (&'static Algorithm, &[u8]) = match &self.key {
            Aes::Aes128(key) => (&AES_128_GCM, key),
            Aes::Aes256(key) => (&AES_256_GCM, key),
        };
        let key = UnboundKey::new(algorithm, bytes).expect("the length is the algorithm's");
        (LessSafeKey::new(key), self.salt)
    }
}

impl fmt::Debug for SaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SaKey(redacted)")
    }
}
