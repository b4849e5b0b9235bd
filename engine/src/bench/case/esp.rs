//! ESP in tunnel mode (RFC 4303).

use super::{Scenario, Way, between_hosts};
use clap::ValueEnum;
use dataplane::sa::{AeadProvider, Algorithm, SaKey};
use dataplane::snapshot::Encapsulation;
use serde::Serialize;
use std::fmt;

/// The AEAD of an SA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cipher {
    /// AES-GCM with a key of 128 bits (RFC 4106).
    #[default]
    #[value(name = "aes-128-gcm")]
    #[serde(rename = "aes-128-gcm")]
    Aes128Gcm,
    /// AES-GCM with a key of 256 bits (RFC 4106).
    #[value(name = "aes-256-gcm")]
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 7634).
    #[value(name = "chacha20-poly1305")]
    #[serde(rename = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

impl Cipher {
    /// The benchmark's key and salt: every byte is 0x42, known to those who check its output.
    pub fn key(self, provider: &dyn AeadProvider) -> SaKey {
        let (algorithm, length) = match self {
            Cipher::Aes128Gcm => (Algorithm::Aes128Gcm, 16),
            Cipher::Aes256Gcm => (Algorithm::Aes256Gcm, 32),
            Cipher::ChaCha20Poly1305 => (Algorithm::ChaCha20Poly1305, 32),
        };
        SaKey::new(provider, algorithm, &[0x42; 36][..length + 4])
            .expect("key and salt have the cipher's lengths")
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("no cipher is hidden").get_name())
    }
}

/// One tunnel.
pub fn tunnel(way: Way, cipher: Cipher) -> Scenario {
    Scenario { tunnels: vec![Encapsulation::Esp], cipher, ..Scenario::new(way, between_hosts(way, false)) }
}
