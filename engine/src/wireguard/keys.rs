//! Keys as WireGuard's tools write them: base64, in files that only their owner may read.

use super::noise;
use crate::config::wireguard::decode;
pub use crate::config::wireguard::{KEY, PublicKey};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use zeroize::Zeroizing;

/// Who this end of a tunnel is.
pub struct Identity {
    private: Zeroizing<[u8; KEY]>,
    public: PublicKey,
}

impl Identity {
    /// From the private key in `file`.
    ///
    /// # Errors
    /// If it holds none, or others may read it.
    pub fn read(file: &Path) -> Result<Identity> {
        Identity::new(key_in(file)?)
    }

    /// From a private key.
    ///
    /// # Errors
    /// If it has no public key.
    pub fn new(private: Zeroizing<[u8; KEY]>) -> Result<Identity> {
        let public =
            noise::public_of(&private).map(PublicKey).context("a private key without a public one")?;
        Ok(Identity { private, public })
    }

    /// What the far end knows it by.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    pub(super) fn private(&self) -> &[u8; KEY] {
        &self.private
    }
}

/// A key that both ends have beforehand; zeros where there is none (§5.2).
#[derive(Default)]
pub struct Preshared(Zeroizing<[u8; KEY]>);

impl Preshared {
    /// From the key in `file`.
    ///
    /// # Errors
    /// If it holds none, or others may read it.
    pub fn read(file: &Path) -> Result<Preshared> {
        key_in(file).map(Preshared)
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn new(key: Zeroizing<[u8; KEY]>) -> Preshared {
        Preshared(key)
    }

    pub(super) fn bytes(&self) -> &[u8; KEY] {
        &self.0
    }
}

fn key_in(file: &Path) -> Result<Zeroizing<[u8; KEY]>> {
    let read = || format!("the key file {} cannot be read", file.display());
    let mode = fs::metadata(file).with_context(read)?.permissions().mode();
    ensure!(mode & 0o077 == 0, "others may read the key file {}: chmod 600", file.display());
    let text = Zeroizing::new(fs::read_to_string(file).with_context(read)?);
    let wrong = || format!("{} must hold a key in base64, as `wg genkey` writes it", file.display());
    decode(text.trim_end()).with_context(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_base64_and_private() {
        let file = std::env::temp_dir().join(format!("foreshift-wireguard-key-{}", std::process::id()));
        let read = |text: &str, mode: u32| {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            Identity::read(&file)
                .map(|identity| identity.public().to_string())
                .map_err(|error| error.to_string())
        };
        // RFC 7748 §6.1: Alice's keys.
        let key = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
        assert_eq!(read(&format!("{key}\n"), 0o600).unwrap(), "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
        assert!(read(key, 0o640).unwrap_err().contains("chmod 600"));
        for wrong in [&key[1..], &key[..43], &format!("{key}{key}"), "", &key.replace('d', "-")] {
            assert!(read(wrong, 0o600).unwrap_err().contains("wg genkey"), "{wrong}");
        }
        fs::remove_file(&file).unwrap();
        assert!(Preshared::read(&file).err().unwrap().to_string().contains("cannot be read"));
    }
}
