//! A folder of certificates, engines in this process, and what they report.

use crate::peer::{PeerAddress, PeerConfig, PeerEvent, PeerLinks, Session, pki};
use control::message::Message;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A folder of its own for a test, removed at its end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("foreshift-peer-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// With certificates for `names`.
    pub fn with_certificates(names: &[&str]) -> Folder {
        let folder = Folder::new();
        pki::run(folder.path(), &owned(names), false).unwrap();
        folder
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

pub fn config(folder: &Folder, name: &str, listen: SocketAddr, peers: &[(&str, SocketAddr)]) -> PeerConfig {
    PeerConfig {
        name: name.to_owned(),
        listen,
        ca: folder.path().join("ca.pem"),
        cert: folder.path().join(format!("{name}.pem")),
        key: folder.path().join(format!("{name}.key")),
        peers: peers
            .iter()
            .map(|(name, address)| PeerAddress { name: (*name).to_owned(), address: *address })
            .collect(),
    }
}

/// An engine's links and what they report.
pub struct Engine {
    pub links: PeerLinks,
    pub events: mpsc::Receiver<PeerEvent>,
}

impl Engine {
    pub fn start(config: PeerConfig) -> Engine {
        let (sender, events) = mpsc::channel(64);
        Engine { links: PeerLinks::start(config, sender, None).unwrap(), events }
    }

    pub fn address(&self) -> SocketAddr {
        self.links.local_addr()
    }

    pub async fn next(&mut self) -> PeerEvent {
        timeout(Duration::from_secs(20), self.events.recv()).await.expect("an event").expect("links")
    }

    /// The next event, which must be `Up`: from whom, and the session.
    pub async fn up(&mut self) -> (String, Session) {
        match self.next().await {
            PeerEvent::Up { peer, session } => {
                assert_eq!(session.peer(), peer);
                (peer, session)
            }
            other => panic!("expected Up, not {other:?}"),
        }
    }

    pub async fn down(&mut self) -> String {
        match self.next().await {
            PeerEvent::Down { peer } => peer,
            other => panic!("expected Down, not {other:?}"),
        }
    }

    /// Asserts that nothing is reported for `quiet`.
    pub async fn silent(&mut self, quiet: Duration) {
        if let Ok(event) = timeout(quiet, self.events.recv()).await {
            panic!("expected silence, not {event:?}");
        }
    }
}

/// A message told apart by `number`.
pub fn numbered(number: u64) -> Message {
    Message::SharesApplied { site: "A".to_owned(), version: number }
}

/// Two engines, a1 and b1, connected: each with its session.
pub async fn pair(folder: &Folder) -> ((Engine, Session), (Engine, Session)) {
    let mut b1 = Engine::start(config(folder, "b1", ANY_PORT, &[("a1", ANY_PORT)]));
    let mut a1 = Engine::start(config(folder, "a1", ANY_PORT, &[("b1", b1.address())]));
    let (at_a1, at_b1) = (a1.up().await.1, b1.up().await.1);
    ((a1, at_a1), (b1, at_b1))
}
