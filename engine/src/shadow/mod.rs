//! Session shadowing in the shell: a thread of its own carries what changes in the workers' tables to other engines, and
//! theirs into ours. The control loop, whose leases must not wait for a bulk of sessions, only talks to it.
//!
//! Each engine dials its shadows, at a port of its own, over TLS with the certificates of the control connections and
//! another ALPN name ([`control::shadow::ALPN`]). What goes over it is [`control::shadow::codec`].
#![forbid(unsafe_code)]

mod channel;
mod lag;
mod pump;

use crate::api::shadow::{ShadowSource, ShadowStatus, ShadowTarget};
use crate::peer::tls::{Purpose, Tls, TlsError};
use crate::peer::{PeerAddress, PeerConfig};
use channel::Channel;
use control::shadow::sas::{KeyId, SaState, SaWindow, ShadowedSas};
use dataplane::id::Nanos;
use dataplane::shadow::ControlShadow;
use pump::Pump;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// Frames that may wait to be taken, over all connections.
const EVENTS: usize = 64;

/// What shadowing needs to know.
pub struct ShadowConfig {
    /// Certificates, and this engine's name. `listen` is where other engines bring theirs; `peers` are all engines that
    /// either side names.
    pub identity: PeerConfig,
    /// To whom this engine's sessions go.
    pub to: Vec<PeerAddress>,
    /// Whose sessions are taken.
    pub from: Vec<String>,
    /// This engine's interfaces, by number.
    pub inputs: Vec<String>,
}

/// Writes down, for good, what another engine has reserved of a key, before that is acknowledged.
pub type Keep = Box<dyn FnMut(&SaState) -> anyhow::Result<()> + Send>;

/// What shadowing works with.
pub struct Ends {
    /// Of each worker that keeps sessions.
    pub workers: Vec<ControlShadow>,
    /// The clock that the workers' reports are stamped with.
    pub clock: Box<dyn Fn() -> Nanos + Send>,
    /// What keeps reservations.
    pub keep: Keep,
}

/// Why shadowing cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// The certificates do not work.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be listened at, or there is no thread for it.
    #[error("sessions of other engines cannot be listened for on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

/// What the control loop asks.
pub(crate) enum Ask {
    /// An SA of ours, new or changed, under its ticket.
    Sa(u64, SaState),
    /// How far one of ours accepts, and how fast it is; with a ticket, if somebody waits for the shadows.
    Limit(Option<u64>, KeyId, u64, u32),
    /// One is ours no more.
    Released(KeyId, SaWindow),
    /// This engine owns its site from now on: nobody refreshes what it has of others.
    Renew,
    /// The connection is to be ended.
    End,
}

/// What both threads look at.
#[derive(Default)]
struct Shared {
    /// By source.
    sas: Vec<ShadowedSas>,
    status: ShadowStatus,
    /// Tickets of our SAs that are settled, and whether a shadow has noted it.
    settled: Vec<(KeyId, u64, bool)>,
}

/// The thread, and what leads to it. Dropped, it ends.
pub struct Shadow {
    asks: mpsc::UnboundedSender<Ask>,
    shared: Arc<Mutex<Shared>>,
    address: SocketAddr,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Shadow {
    /// Starts listening, dialing and carrying.
    ///
    /// # Errors
    /// If the certificates or the address cannot be used.
    pub fn start(config: ShadowConfig, ends: Ends) -> Result<Shadow, ShadowError> {
        let tls = Tls::load_for(&config.identity, Purpose::Shadow)?;
        let address = config.identity.listen;
        let failed = |source| ShadowError::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let (asks, asked) = mpsc::unbounded_channel();
        let status = ShadowStatus {
            to: config.to.iter().map(|peer| ShadowTarget::new(&peer.name)).collect(),
            from: config.from.iter().map(|name| ShadowSource::new(name)).collect(),
            ..ShadowStatus::default()
        };
        let sas = config.from.iter().map(|_| ShadowedSas::default()).collect();
        let shared = Arc::new(Mutex::new(Shared { sas, status, settled: Vec::new() }));
        let seen = shared.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let run = move || {
            runtime.block_on(async move {
                let (events_tx, events) = mpsc::channel(EVENTS);
                let channel = Channel { tls, events: events_tx };
                let (to, from) = (config.to.clone(), config.from.clone());
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                let _tasks = channel.start(listener, to, from);
                Pump::new(&config, ends, seen).run(events, asked).await;
            });
        };
        let thread = std::thread::Builder::new().name("shadow".into()).spawn(run).map_err(failed)?;
        Ok(Shadow { asks, shared, address: bound, thread: Some(thread) })
    }

    /// Where other engines bring their sessions.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// How it goes.
    pub fn status(&self) -> ShadowStatus {
        let shared = self.shared();
        let mut status = shared.status.clone();
        for (source, sas) in status.from.iter_mut().zip(&shared.sas) {
            source.sas = sas.len();
        }
        status
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An SA of ours: it is [settled](Self::settled) once every shadow that is connected has it.
    pub fn reserve(&self, ticket: u64, state: SaState) {
        let _ = self.asks.send(Ask::Sa(ticket, state));
    }

    /// So far an SA of ours accepts what comes, and so fast it does. With a ticket it is [settled](Self::settled) as well.
    pub fn announce(&self, key_in: KeyId, ticket: Option<u64>, limit: u64, rate: u32) {
        let _ = self.asks.send(Ask::Limit(ticket, key_in, limit, rate));
    }

    /// Tickets that every shadow which is connected has noted, or none is there to: the SA's inbound key, the ticket, and
    /// whether one has.
    pub fn settled(&self) -> Vec<(KeyId, u64, bool)> {
        std::mem::take(&mut self.shared().settled)
    }

    /// An SA is ours no more: whoever has it next goes on exactly there.
    pub fn released(&self, key_in: KeyId, window: SaWindow) {
        let _ = self.asks.send(Ask::Released(key_in, window));
    }

    /// This engine owns its site from now on.
    pub fn renew(&self) {
        let _ = self.asks.send(Ask::Renew);
    }

    /// Looks at what the engine is known to have that had this SA before, if any did.
    pub fn of_sas<T>(&self, key_in: KeyId, look: impl FnOnce(Option<&ShadowedSas>) -> T) -> T {
        let shared = self.shared();
        look(shared.sas.iter().find(|sas| sas.state(key_in).is_some()))
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        let _ = self.asks.send(Ask::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
