//! The provider.

use super::Unavailable;
use super::chacha::{ChaCha, Lanes};
use super::gcm::Gcm;
use dataplane::sa::{AeadKey, AeadProvider, Algorithm, Keymat};
use std::sync::Arc;

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
            Algorithm::Aes128Gcm => Gcm::expand(&manager.gcm128(), keymat),
            Algorithm::Aes192Gcm => Gcm::expand(&manager.gcm192(), keymat),
            Algorithm::Aes256Gcm => Gcm::expand(&manager.gcm256(), keymat),
            Algorithm::ChaCha20Poly1305 => Box::new(ChaCha::new(self.lanes.clone(), keymat)),
        }
    }
}
