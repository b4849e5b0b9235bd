//! What computes ESP's AEADs: chosen once, at start.

use crate::config::types::CryptoProvider;
use anyhow::{Context as _, Result};
use dataplane::sa::{AeadProvider, AwsLc};
use dpdk::crypto::IpsecMb;

/// The provider, and why it is this one.
pub struct Crypto {
    /// For every SA.
    pub provider: Box<dyn AeadProvider>,
    /// One line for a person.
    pub why: String,
}

impl Crypto {
    /// What the configuration wants. `auto` falls back to AWS-LC, and says so in the log.
    ///
    /// # Errors
    /// If the configuration insists on a library that this machine cannot run.
    pub fn choose(wanted: CryptoProvider) -> Result<Crypto> {
        let ipsec_mb = |library: IpsecMb, why: &str| Crypto {
            why: format!("{why}; it uses {}", library.instruction_sets()),
            provider: Box::new(library),
        };
        let aws_lc = |why: String| Crypto { provider: Box::new(AwsLc), why };
        let chosen = match wanted {
            CryptoProvider::AwsLc => aws_lc("crypto.provider asks for it".to_owned()),
            CryptoProvider::IpsecMb => {
                let remedy = "crypto.provider = \"ipsec-mb\": write \"auto\" to fall back to AWS-LC";
                ipsec_mb(IpsecMb::new().context(remedy)?, "crypto.provider asks for it")
            }
            CryptoProvider::Auto => match IpsecMb::new() {
                Ok(library) => ipsec_mb(library, "the faster one, and the CPU can run it"),
                Err(error) => {
                    tracing::warn!("ESP falls back to AWS-LC, which is slower: {error}");
                    aws_lc(format!("ipsec-mb cannot be used: {error}"))
                }
            },
        };
        tracing::info!(provider = chosen.provider.name(), "ESP's crypto: {}", chosen.why);
        Ok(chosen)
    }
}
