//! ESP's AEADs computed by Intel's multi-buffer crypto library, called directly.
//!
//! One call a packet, without jobs or batches: measured, a packet's time is the AEAD's own as soon as
//! nonce and AAD reach it in one store each (see [`operands`]), and the library's bursts add to that.

mod chacha;
mod gcm;
mod manager;
mod operands;

use chacha::{ChaCha, Lanes};
use dataplane::sa::{AeadKey, AeadProvider, Algorithm, Keymat};
use gcm::Gcm;
use std::sync::Arc;

/// Why the library cannot be used on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The CPU lacks an instruction set.
    #[error("the CPU lacks {0}")]
    Cpu(&'static str),
    /// The library would not start.
    #[error("Intel's multi-buffer library does not start: {0}")]
    Library(String),
    /// It computes wrong results here.
    #[error("Intel's multi-buffer library fails its self-test")]
    SelfTest,
}

/// Intel's multi-buffer crypto library, for the instruction sets of this CPU.
pub struct IpsecMb {
    lanes: Arc<Lanes>,
}

impl IpsecMb {
    /// Starts the library, which tests itself.
    pub fn new() -> Result<IpsecMb, Unavailable> {
        Ok(IpsecMb { lanes: Arc::new(Lanes::new()?) })
    }

    /// The instruction sets that it uses: `AVX512, VAES`.
    pub fn instruction_sets(&self) -> &'static str {
        self.lanes.manager().instruction_sets()
    }
}

impl AeadProvider for IpsecMb {
    fn name(&self) -> &'static str {
        "ipsec-mb"
    }

    fn key(&self, keymat: &Keymat<'_>) -> Box<dyn AeadKey> {
        let manager = self.lanes.manager();
        match keymat.algorithm() {
            Algorithm::Aes128Gcm => Gcm::new(&manager.gcm128(), keymat),
            Algorithm::Aes192Gcm => Gcm::new(&manager.gcm192(), keymat),
            Algorithm::Aes256Gcm => Gcm::new(&manager.gcm256(), keymat),
            Algorithm::ChaCha20Poly1305 => Box::new(ChaCha::new(self.lanes.clone(), keymat)),
        }
    }
}
