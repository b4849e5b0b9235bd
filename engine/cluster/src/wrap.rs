//! Key material in a store: sealed for each engine that shall have it, and for nobody else. Whoever reads the store, its
//! files or its backups finds only ciphertext.
//!
//! Hybrid Public Key Encryption (RFC 9180), base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. The key under
//! which it lies and the reader's name are authenticated with it, so that it opens nowhere else. Base mode does not
//! tell who sealed it: that is for the store's access control.

use crate::key::Key;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use std::fmt;
use zeroize::Zeroizing;

/// The first octet: the format.
const VERSION: u8 = 1;
const INFO: &[u8] = b"foreshift wrap 1";
/// An X25519 public key, and an encapsulated secret (RFC 9180 §7.1).
const POINT: usize = 32;
/// What AES-GCM adds.
const TAG: usize = 16;
/// The longest name of a reader.
const NAME_MAX: usize = 63;
/// The most readers.
const READERS_MAX: usize = 64;
/// The longest secret, octets.
const SECRET_MAX: usize = 4096;

/// Why key material was not wrapped or unwrapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// Nobody, or too many, or a name that is too long, or the secret is.
    #[error(
        "key material is wrapped for 1 to 64 readers with names of 1 to 63 octets, at most 4096 octets of it"
    )]
    Limits,
    /// A public key that is none.
    #[error("{0:?} has no usable public key")]
    PublicKey(String),
    /// The octets are not wrapped key material, or of a later version.
    #[error("these octets are not wrapped key material of version 1")]
    Format,
    /// It was wrapped for others.
    #[error("it was not wrapped for {0:?}")]
    NotForUs(String),
    /// It was wrapped for another key pair, or for another place in the store, or was changed.
    #[error("it does not open: another key pair, another place in the store, or it was changed")]
    Forged,
    /// The system gave no randomness.
    #[error("no key pair could be made")]
    Randomness,
}

/// What others wrap for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; POINT]);

impl PublicKey {
    /// As it was published.
    pub fn from_octets(octets: [u8; POINT]) -> PublicKey {
        PublicKey(octets)
    }

    /// To be published.
    pub fn octets(&self) -> [u8; POINT] {
        self.0
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// An engine's key pair. Never leaves the process; erased with it.
pub struct KeyPair {
    public: PublicKey,
    private: HpkePrivateKey,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}

impl KeyPair {
    /// A new one.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn generate() -> Result<KeyPair, WrapError> {
        let (public, private) = SUITE.generate_key_pair().map_err(|_| WrapError::Randomness)?;
        let public = public.0.try_into().map_err(|_| WrapError::Randomness)?;
        Ok(KeyPair { public: PublicKey(public), private })
    }

    /// What others wrap for.
    pub fn public(&self) -> PublicKey {
        self.public
    }
}

/// One reader's part.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    reader: String,
    secret: [u8; POINT],
    sealed: Vec<u8>,
}

/// Key material as it may lie in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped {
    parts: Vec<Part>,
}

impl Wrapped {
    /// Wraps `secret`, to be put under `place`, for each of `readers`.
    ///
    /// # Errors
    /// If there is no reader, too much of anything, or a public key is none.
    pub fn seal(secret: &[u8], place: &Key, readers: &[(&str, PublicKey)]) -> Result<Wrapped, WrapError> {
        let named = readers.iter().all(|(name, _)| (1..=NAME_MAX).contains(&name.len()));
        if !named || !(1..=READERS_MAX).contains(&readers.len()) || secret.len() > SECRET_MAX {
            return Err(WrapError::Limits);
        }
        let part = |(reader, public): &(&str, PublicKey)| {
            let to = HpkePublicKey(public.0.to_vec());
            let sealed = SUITE.seal(INFO, &bound(place, reader), secret, &to);
            let unusable = || WrapError::PublicKey((*reader).to_owned());
            let (EncapsulatedSecret(point), sealed) = sealed.map_err(|_| unusable())?;
            let secret = point.try_into().map_err(|_| unusable())?;
            Ok(Part { reader: (*reader).to_owned(), secret, sealed })
        };
        Ok(Wrapped { parts: readers.iter().map(part).collect::<Result<_, WrapError>>()? })
    }

    /// Unwraps what lay under `place` for `reader`.
    ///
    /// # Errors
    /// If it is not for this reader and key pair, or not from this place.
    pub fn open(&self, place: &Key, reader: &str, keys: &KeyPair) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        let part = self.parts.iter().find(|part| part.reader == reader);
        let part = part.ok_or_else(|| WrapError::NotForUs(reader.to_owned()))?;
        let point = EncapsulatedSecret(part.secret.to_vec());
        let opened = SUITE.open(&point, INFO, &bound(place, reader), &part.sealed, &keys.private);
        opened.map(Zeroizing::new).map_err(|_| WrapError::Forged)
    }

    /// For the store.
    pub fn encode(&self) -> Vec<u8> {
        // The limits of `seal` and `decode` keep all lengths within their fields.
        let mut out = vec![VERSION, self.parts.len() as u8];
        for part in &self.parts {
            out.push(part.reader.len() as u8);
            out.extend_from_slice(part.reader.as_bytes());
            out.extend_from_slice(&part.secret);
            out.extend_from_slice(&(part.sealed.len() as u16).to_be_bytes());
            out.extend_from_slice(&part.sealed);
        }
        out
    }

    /// From the store.
    ///
    /// # Errors
    /// If the octets are anything else than [`Wrapped::encode`] wrote.
    pub fn decode(octets: &[u8]) -> Result<Wrapped, WrapError> {
        read(octets).ok_or(WrapError::Format)
    }
}

/// What is authenticated beside the secret.
fn bound(place: &Key, reader: &str) -> Vec<u8> {
    // No name and no key has a zero octet.
    [place.as_str().as_bytes(), &[0], reader.as_bytes()].concat()
}

fn read(octets: &[u8]) -> Option<Wrapped> {
    let (&[version, readers], mut rest) = octets.split_first_chunk()?;
    if version != VERSION || !(1..=READERS_MAX).contains(&usize::from(readers)) {
        return None;
    }
    let mut parts = Vec::with_capacity(readers.into());
    for _ in 0..readers {
        let (&length, after) = rest.split_first()?;
        let (name, after) = after.split_at_checked(length.into())?;
        let (secret, after) = after.split_first_chunk::<POINT>()?;
        let (length, after) = after.split_first_chunk::<2>()?;
        let (sealed, after) = after.split_at_checked(u16::from_be_bytes(*length).into())?;
        let named = (1..=NAME_MAX).contains(&name.len());
        if !named || !(TAG..=SECRET_MAX + TAG).contains(&sealed.len()) {
            return None;
        }
        let reader = std::str::from_utf8(name).ok()?.to_owned();
        parts.push(Part { reader, secret: *secret, sealed: sealed.to_vec() });
        rest = after;
    }
    rest.is_empty().then_some(Wrapped { parts })
}

#[cfg(test)]
mod tests;
