//! SA keys for Wireshark: a debugging aid, off unless configured.

use super::keys::{SaKey, SaName};
use dataplane::sa::Algorithm;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use zeroize::Zeroizing;

/// Appends lines of Wireshark's `esp_sa` table. Put the file into a configuration directory as
/// `wireshark/esp_sa` (`XDG_CONFIG_HOME`) and set `esp.enable_encryption_decode:TRUE`.
#[derive(Debug)]
pub struct KeyLog {
    file: File,
}

impl KeyLog {
    /// Opens or creates `path`, readable by its owner only, and warns: whoever reads it reads the traffic.
    pub fn open(path: &Path) -> io::Result<KeyLog> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        tracing::warn!(path = %path.display(), "ESP keys are being written to a file: for debugging only");
        Ok(KeyLog { file })
    }

    /// Appends the SA `name`. One write, so that lines of several threads do not mix.
    pub fn append(&self, name: &SaName, key: &SaKey) -> io::Result<()> {
        (&self.file).write_all(line(name, key).as_bytes())
    }
}

/// The columns of Wireshark 3 and 4: protocol, source, destination, SPI, encryption, key, authentication,
/// its key. "AES-GCM with 16 octet ICV" is the entry that knows of the ICV behind the padding. ChaCha20's
/// is known from Wireshark 4.2 on; older ones refuse a file with it.
fn line(name: &SaName, key: &SaKey) -> Zeroizing<String> {
    let (source, destination) = name.outer();
    let protocol = match source {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    };
    let mut line = Zeroizing::new(String::with_capacity(320));
    let _ = write!(line, "\"{protocol}\",\"{source}\",\"{destination}\",\"0x{:08x}\",", name.spi.0);
    line.push_str(match key.algorithm() {
        Algorithm::ChaCha20Poly1305 => "\"ChaCha20 with Poly1305 [RFC7634]\",\"0x",
        _ => "\"AES-GCM with 16 octet ICV [RFC4106]\",\"0x",
    });
    for octet in key.keymat() {
        let _ = write!(line, "{octet:02x}");
    }
    line.push_str("\",\"NULL\",\"\"\n");
    line
}
