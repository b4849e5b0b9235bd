//! Control connections between engines: mutually authenticated TLS 1.3, one for each pair, carrying
//! [`control::message::Message`]s and the secret from which both ends derive their SA keys.
//!
//! An engine is known by its name: the DNS name in the certificate it proved to hold the key of.
#![forbid(unsafe_code)]

pub(crate) mod connection;
pub(crate) mod frame;
pub mod key_log;
pub mod keys;
pub mod link;
pub mod pki;
pub mod tls;

#[cfg(test)]
mod tests;

pub use key_log::KeyLog;
pub use keys::{Direction, SaName, Session};
#[cfg(test)]
pub use keys::{SaKey, SendError};
pub use link::{MirrorStream, PeerLinks};

use control::message::Message;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What an engine needs to reach and to recognise its peers.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// This engine's name; its certificate must carry it.
    pub name: String,
    /// Where to accept control connections.
    pub listen: SocketAddr,
    /// The CA that every engine's certificate is signed by, PEM.
    pub ca: PathBuf,
    /// This engine's certificate, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The other engines; nobody else is let in.
    pub peers: Vec<PeerAddress>,
}

/// Another engine and where it accepts control connections.
#[derive(Clone, Debug)]
pub struct PeerAddress {
    /// Its name, as in its certificate.
    pub name: String,
    /// Its `listen` address, as seen from here.
    pub address: SocketAddr,
}

/// What happens on the control connections. For each peer: `Up`, its messages in the order they were
/// sent, `Down`, and so on; never a message outside an `Up`/`Down` pair.
#[derive(Clone, Debug)]
pub enum PeerEvent {
    /// A new connection, both ends verified; `session` sends on it and derives its keys. Keys and
    /// queued messages of an earlier session of this peer are void.
    Up {
        /// The peer's name.
        peer: String,
        /// The new session.
        session: Session,
    },
    /// The connection is gone; its session sends nothing any more.
    Down {
        /// The peer's name.
        peer: String,
    },
    /// The peer says.
    Message {
        /// The peer's name.
        peer: String,
        /// What it says.
        message: Message,
    },
}

/// Why control connections cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// A name that cannot stand in a certificate, or not safely in a file name.
    #[error(
        "{0:?} cannot name an engine: use 1 to 63 letters, digits and '-', starting with a letter, so that it can \
         stand in a certificate"
    )]
    Name(String),
    /// Two peers of one name, or a peer named like this engine; case does not tell names apart (RFC 4343).
    #[error("engine name {0:?} is used twice: every engine needs its own")]
    Duplicate(String),
    /// The certificates do not work together.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The listening address cannot be used.
    #[error("cannot listen for peers on {address}: {source}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

/// Whether `name` may name an engine: it stands as DNS name in its certificate and in file names.
pub fn check_name(name: &str) -> Result<(), PeerError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    // A number as last label reads as part of an IPv4 address.
    let fits = name.len() <= 63
        && name.bytes().all(allowed)
        && ends(name.chars().next())
        && ends(name.chars().next_back())
        && matches!(ServerName::try_from(name), Ok(ServerName::DnsName(_)));
    if fits { Ok(()) } else { Err(PeerError::Name(name.to_owned())) }
}
