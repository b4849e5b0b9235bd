//! One control connection's session: what it sends, and the keys that follow from it.
//!
//! **Key schedule.** After the handshake both ends take 32 octets from the TLS exporter (RFC 8446 §7.5,
//! label [`EXPORTER_LABEL`], no context). Each SA's keying material is HKDF-Expand (RFC 5869 §2.3, SHA-256)
//! of that secret over an unambiguous name of the SA. This is as strong as asking the exporter for each
//! SA: the exporter is itself HKDF-Expand-Label from the exporter master secret, first over the label and
//! then over the hash of the context, so our secret stands where its per-label secret stands, is
//! a uniformly random 256-bit key to whoever lacks the TLS secrets (HKDF is a PRF), and one more PRF call
//! keyed by it over distinct inputs gives independent keys. What it buys: the connection may be owned
//! by its task and still any SA be keyed later. The secret lives as long as the [`Session`] and is
//! erased with it; a new connection has new ephemeral key shares (no resumption), so keys are never
//! used again. The client's certificate is not in the exporter's transcript, but only the holder of the
//! handshake's ephemeral key can have signed it (RFC 8446 §4.4.3), so the secret is shared with it alone.

use super::frame::{self, EncodeError};
use aws_lc_rs::hkdf;
use control::message::{Endpoints, Message, TunnelKind};
use dataplane::id::Spi;
use dataplane::sa::Algorithm;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};
use zeroize::Zeroizing;

/// The exporter label (RFC 5705 §4: "EXPORTER" for labels that need no registration).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-foreshift-esp-v1";
/// Octets of the secret taken from the exporter.
pub const SECRET_LENGTH: usize = 32;
/// Messages that may wait for a slow peer before its connection is given up.
pub const QUEUE_LENGTH: usize = 256;
const KEYING_MATERIAL_MAX: usize = Algorithm::Aes256Gcm.keymat_length();

/// Which way an SA carries traffic, seen from this engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the peer to us: we chose its SPI.
    Inbound,
    /// From us to the peer.
    Outbound,
}

/// Names one SA between this engine and its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaName {
    /// Seen from this engine.
    pub direction: Direction,
    /// The outer addresses: ours is `local`, in both directions.
    pub tunnel: Endpoints,
    /// Of the offer; never used twice for a tunnel in one session.
    pub generation: u64,
    /// The receiver's.
    pub spi: Spi,
}

impl SaName {
    /// The outer source and destination address of this SA's packets.
    pub fn outer(&self) -> (IpAddr, IpAddr) {
        match self.direction {
            Direction::Inbound => (self.tunnel.remote, self.tunnel.local),
            Direction::Outbound => (self.tunnel.local, self.tunnel.remote),
        }
    }
}

/// Key and salt of one SA; erased when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SaKey {
    octets: Zeroizing<[u8; KEYING_MATERIAL_MAX]>,
    algorithm: Algorithm,
}

impl SaKey {
    /// One that another process of this engine has derived; `None` if it is of another length than the AEAD's.
    pub fn from_keymat(algorithm: Algorithm, keymat: &[u8]) -> Option<SaKey> {
        let mut octets = Zeroizing::new([0; KEYING_MATERIAL_MAX]);
        octets
            .get_mut(..algorithm.keymat_length())
            .filter(|own| own.len() == keymat.len())?
            .copy_from_slice(keymat);
        Some(SaKey { octets, algorithm })
    }

    /// The AEAD it is for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key, then the salt (RFC 4106 §8.1, RFC 7634 §2).
    pub fn keymat(&self) -> &[u8] {
        &self.octets[..self.algorithm.keymat_length()]
    }
}

impl fmt::Debug for SaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SaKey({})", self.algorithm)
    }
}

/// Why a message was not queued.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// This session's connection is gone; `Down` has been or will be reported.
    #[error("the connection to {0} is gone")]
    Closed(String),
    /// The peer takes too little: the connection is closed.
    #[error("{QUEUE_LENGTH} messages wait for {0}: connection given up")]
    Overflow(String),
    /// The message itself is at fault; the connection stays.
    #[error(transparent)]
    Message(#[from] EncodeError),
}

/// One verified connection to a peer: sends on it and derives its keys. A message meant for this
/// connection can never go out on a later one, whose keys are others.
#[derive(Clone)]
pub struct Session {
    secret: Arc<Zeroizing<[u8; SECRET_LENGTH]>>,
    local: Arc<str>,
    peer: Arc<str>,
    outgoing: mpsc::Sender<Vec<u8>>,
    overflow: Arc<Notify>,
}

/// The connection's end of a [`Session`].
pub(super) struct Outgoing {
    pub frames: mpsc::Receiver<Vec<u8>>,
    /// Notified when a message did not fit.
    pub overflow: Arc<Notify>,
}

impl Session {
    pub(super) fn new(
        local: &str,
        peer: &str,
        secret: Zeroizing<[u8; SECRET_LENGTH]>,
    ) -> (Session, Outgoing) {
        let (outgoing, frames) = mpsc::channel(QUEUE_LENGTH);
        let overflow = Arc::new(Notify::new());
        let session = Session {
            secret: Arc::new(secret),
            local: local.into(),
            peer: peer.into(),
            outgoing,
            overflow: overflow.clone(),
        };
        (session, Outgoing { frames, overflow })
    }

    /// The peer's name.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Queues `message`; does not wait. Messages arrive in this order, or the connection ends.
    pub fn send(&self, message: &Message) -> Result<(), SendError> {
        let frame = frame::encode(message)?;
        self.outgoing.try_send(frame).map_err(|error| match error {
            mpsc::error::TrySendError::Closed(_) => SendError::Closed(self.peer.to_string()),
            mpsc::error::TrySendError::Full(_) => {
                self.overflow.notify_one();
                SendError::Overflow(self.peer.to_string())
            }
        })
    }

    /// Key and salt of the SA `name`. The peer derives the same for it, named from its side, and
    /// another for every other name, algorithm or session.
    pub fn sa_key(&self, name: &SaName, algorithm: Algorithm) -> SaKey {
        let receiver = match name.direction {
            Direction::Inbound => &self.local,
            Direction::Outbound => &self.peer,
        };
        let octets = algorithm.keymat_length();
        let info = info(receiver, name, algorithm);
        let mut key = SaKey { octets: Zeroizing::new([0; KEYING_MATERIAL_MAX]), algorithm };
        hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, self.secret.as_slice())
            .expand(&[&info], Octets(octets))
            .and_then(|okm| okm.fill(&mut key.octets[..octets]))
            .expect("36 octets are within HKDF's 255 blocks");
        key
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({} with {})", self.local, self.peer)
    }
}

struct Octets(usize);

impl hkdf::KeyType for Octets {
    fn len(&self) -> usize {
        self.0
    }
}

/// The SA's name as octets, the same at both ends: each part has a fixed or a leading length, so two
/// names never share an encoding.
fn info(receiver: &str, name: &SaName, algorithm: Algorithm) -> Vec<u8> {
    let (source, destination) = name.outer();
    let mut info = Vec::with_capacity(128);
    // The length names the AEAD among those with AES. ChaCha20's is AES-256's: it alone has the high bit.
    let family = if algorithm == Algorithm::ChaCha20Poly1305 { 0x8000 } else { 0 };
    info.extend((algorithm.keymat_length() as u16 | family).to_be_bytes());
    info.extend((receiver.len() as u16).to_be_bytes());
    info.extend(receiver.as_bytes());
    for address in [source, destination] {
        match address {
            IpAddr::V4(v4) => {
                info.push(4);
                info.extend(v4.octets());
            }
            IpAddr::V6(v6) => {
                info.push(6);
                info.extend(v6.octets());
            }
        }
    }
    info.extend(name.generation.to_be_bytes());
    info.extend(name.spi.0.to_be_bytes());
    // Last, and only here: the names of plain ESP, and of what is configured, stay what they were.
    if name.tunnel.kind != TunnelKind::Esp || name.tunnel.number != 0 {
        info.push(name.tunnel.kind as u8);
    }
    if name.tunnel.number != 0 {
        info.extend(name.tunnel.number.to_be_bytes());
    }
    info
}
