//! `[tunnel.wireguard]`: who the two ends of a WireGuard tunnel are, and what the far one may send.

use super::section::{Read, Section};
use super::value::{Text, Whole, text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dataplane::snapshot::{self, Encapsulation};
use ipnet::IpNet;
use std::fmt;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Bytes of a key.
pub const KEY: usize = 32;

/// A key as WireGuard's tools write it, in base64; `None` if `text` is none.
pub fn decode(text: &str) -> Option<Zeroizing<[u8; KEY]>> {
    let mut key = Zeroizing::new([0; KEY]);
    // The decoder wants room for what the longest text of this length could hold.
    let mut room = Zeroizing::new([0; KEY + 1]);
    let length = STANDARD.decode_slice(text, &mut *room).ok()?;
    key.copy_from_slice(room.get(..length).filter(|bytes| bytes.len() == KEY)?);
    Some(key)
}

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; KEY]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

text!(PublicKey, "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=", |text| match decode(text) {
    Some(key) if *key != [0; KEY] => Ok(PublicKey(*key)),
    _ => Err((
        "is not a WireGuard key: 44 characters of base64".to_owned(),
        "write what `wg pubkey` says of the far end's private key".to_owned(),
    )),
});

/// `[tunnel.wireguard]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireGuard {
    /// The file of our private key.
    pub private_key_file: PathBuf,
    /// The far end's public key.
    pub public_key: PublicKey,
    /// The file of a key that both ends have beforehand.
    pub preshared_key_file: Option<PathBuf>,
    /// The sources that the far end may use inside.
    pub allowed_ips: Vec<IpNet>,
    /// It is never left without a packet for longer, seconds.
    pub keepalive_seconds: Option<Whole<1, 65_535>>,
    /// A session that we began is replaced at this age.
    pub rekey_seconds: Whole<10, 120>,
    /// UDP port here.
    pub local_port: u16,
    /// UDP port of the far end, as long as nothing else is known.
    pub remote_port: u16,
}

impl WireGuard {
    /// As the dataplane knows it.
    pub const fn encapsulation(&self) -> Encapsulation {
        let (local_port, remote_port) = (self.local_port, self.remote_port);
        Encapsulation::WireGuard(snapshot::WireGuard { local_port, remote_port })
    }

    /// The files that it names.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        std::iter::once(&mut self.private_key_file).chain(&mut self.preshared_key_file)
    }

    /// Their keys and themselves.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let private = ("private_key_file", &self.private_key_file);
        let preshared = self.preshared_key_file.iter().map(|file| ("preshared_key_file", file));
        std::iter::once(private).chain(preshared)
    }
}

impl Read for WireGuard {
    /// The ports are the tunnel's.
    fn read(s: &mut Section<'_>, _: usize) -> Option<WireGuard> {
        for (key, instead) in [("private_key", "private_key_file"), ("preshared_key", "preshared_key_file")] {
            if s.has(key) {
                s.optional::<PathBuf>(key);
                let remedy = format!("put it in a file that only its owner may read, and write {instead}");
                s.wrong(key, "a secret does not stand in a configuration", remedy);
            }
        }
        let (private_key_file, public_key) = (s.required("private_key_file"), s.required("public_key"));
        let preshared_key_file = s.optional("preshared_key_file");
        let allowed_ips: Option<Vec<IpNet>> = s.required("allowed_ips");
        for net in allowed_ips.iter().flatten().filter(|net| net.addr() != net.network()) {
            s.wrong("allowed_ips", format!("{net} has host bits"), format!("write \"{}\"", net.trunc()));
        }
        if allowed_ips.as_ref().is_some_and(Vec::is_empty) {
            let what = "nothing that the far end sends would be let in";
            s.wrong("allowed_ips", what, "write the prefixes behind it, such as [\"10.9.0.0/24\"]");
        }
        let keepalive_seconds = s.optional("keepalive_seconds");
        let rekey_seconds = s.or("rekey_seconds", Whole::constant::<120>());
        Some(WireGuard {
            private_key_file: private_key_file?,
            public_key: public_key?,
            preshared_key_file,
            allowed_ips: allowed_ips?,
            keepalive_seconds,
            rekey_seconds,
            local_port: 0,
            remote_port: 0,
        })
    }
}
