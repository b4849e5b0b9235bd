//! An AEAD provider that computes with AWS-LC and notes every nonce it sees: what workers really seal and
//! open, not what anybody says they do.

use crate::hosts::PacketId;
use dataplane::sa::{
    Aad, AeadKey, AeadProvider, AwsLc, Forged, ICV_LENGTH, IV_LENGTH, Keymat, SALT_LENGTH, TooLong,
};
use std::sync::{Arc, Mutex};

/// A key and its salt: the first half of the key, which nothing else shares by chance.
pub type KeyId = (u128, [u8; SALT_LENGTH]);

/// What was done with a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Encrypted.
    Sealed,
    /// Decrypted, and found authentic.
    Opened,
}

/// One use of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// The key.
    pub key: KeyId,
    /// The part of the nonce that changes.
    pub iv: u64,
    /// What was done.
    pub act: Act,
    /// Whose packet it was, if a host's.
    pub packet: Option<PacketId>,
}

/// Uses in the order they happened, until they are taken off.
pub type Tape = Arc<Mutex<Vec<Use>>>;

/// The provider of one engine.
#[derive(Clone, Default)]
pub struct Recorder(pub Tape);

impl AeadProvider for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn key(&self, keymat: &Keymat<'_>) -> Box<dyn AeadKey> {
        let mut half = [0; 16];
        half.copy_from_slice(&keymat.key()[..16]);
        let id = (u128::from_be_bytes(half), keymat.salt());
        Box::new(Recorded { id, inner: AwsLc.key(keymat), tape: self.0.clone() })
    }
}

struct Recorded {
    id: KeyId,
    inner: Box<dyn AeadKey>,
    tape: Tape,
}

impl Recorded {
    fn note(&self, iv: [u8; IV_LENGTH], act: Act, text: &[u8]) {
        let entry = Use { key: self.id, iv: u64::from_be_bytes(iv), act, packet: PacketId::of(text) };
        self.tape.lock().expect("one thread").push(entry);
    }
}

impl AeadKey for Recorded {
    fn seal(
        &self,
        iv: [u8; IV_LENGTH],
        aad: Aad<'_>,
        text: &mut [u8],
        icv: &mut [u8; ICV_LENGTH],
    ) -> Result<(), TooLong> {
        self.note(iv, Act::Sealed, text);
        self.inner.seal(iv, aad, text, icv)
    }

    fn open(
        &self,
        iv: [u8; IV_LENGTH],
        aad: Aad<'_>,
        text: &mut [u8],
        icv: &[u8; ICV_LENGTH],
    ) -> Result<(), Forged> {
        self.inner.open(iv, aad, text, icv)?;
        self.note(iv, Act::Opened, text);
        Ok(())
    }
}
