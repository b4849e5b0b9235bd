//! Keeps one control connection to every peer: the engine with the lower name dials, the other accepts.

use super::connection::{self, Context, Ended, Side, Stream, stopped};
use super::tls::{Purpose, RefusedError, Tls};
use super::{PeerAddress, PeerConfig, PeerError, PeerEvent, check_name};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const BACK_OFF_MIN: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(2);
/// A connection must have lived so long for the next attempt to come quickly: two processes that
/// claim one name, or an end that refuses after accepting, must not spin.
const LIVED: Duration = Duration::from_secs(2);
/// For connecting: one SYN may be lost. No longer, so that a path that is back is soon used.
const CONNECT: Duration = Duration::from_millis(1_500);
/// For the handshake.
const SETUP: Duration = Duration::from_secs(3);
/// Strangers at the port hold at most so many handshakes open.
const HANDSHAKES_MAX: usize = 64;
/// For the last messages when this engine stops.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// The control connections of this engine. Dropped, all are cut; see [`PeerLinks::shutdown`].
pub struct PeerLinks {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    address: SocketAddr,
    tls: Tls,
}

/// A verified connection for mirrored traffic, and whose it is.
pub type MirrorStream = (String, Box<Stream>);

/// Where connections go that peers have opened.
#[derive(Clone)]
struct Doors {
    control: Arc<BTreeMap<String, mpsc::Sender<Box<Stream>>>>,
    mirror: Option<mpsc::Sender<MirrorStream>>,
}

impl PeerLinks {
    /// Starts listening, and dialing peers until they answer. Events come in order for each peer; a
    /// full `events` channel holds the peers back. Needs a tokio runtime with time and I/O.
    ///
    /// Connections for mirrored traffic go to `mirror`; without it they are refused.
    pub fn start(
        config: PeerConfig,
        events: mpsc::Sender<PeerEvent>,
        mirror: Option<mpsc::Sender<MirrorStream>>,
    ) -> Result<PeerLinks, PeerError> {
        check_names(&config)?;
        let tls = Tls::load(&config)?;
        let listener =
            listen(config.listen).map_err(|source| PeerError::Listen { address: config.listen, source })?;
        let address = listener.local_addr().unwrap_or(config.listen);
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut accepting = BTreeMap::new();
        for peer in config.peers {
            let context = Context {
                local: config.name.clone(),
                peer: peer.name.clone(),
                events: events.clone(),
                stop: stopping.clone(),
            };
            if config.name < peer.name {
                tasks.spawn(dial(context, tls.clone(), peer));
            } else {
                let (connections, accepted) = mpsc::channel(1);
                accepting.insert(peer.name, connections);
                tasks.spawn(answer(context, accepted));
            }
        }
        let doors = Doors { control: Arc::new(accepting), mirror };
        tasks.spawn(accept(listener, tls.clone(), doors, stopping));
        Ok(PeerLinks { tasks, stop, address, tls })
    }

    /// How this engine proves to be itself, for further connections to its peers.
    pub fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Where this engine accepts its peers.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections: what was queued before is still sent, for at most a second. Afterwards
    /// no more events come; the last may be missing if nobody takes them meanwhile.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(SHUTDOWN, all).await.is_err() {
            tracing::info!("a peer did not take the last messages in time");
        }
    }
}

fn check_names(config: &PeerConfig) -> Result<(), PeerError> {
    let mut seen = BTreeSet::new();
    for name in config.peers.iter().map(|peer| &peer.name).chain([&config.name]) {
        check_name(name)?;
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(PeerError::Duplicate(name.clone()));
        }
    }
    Ok(())
}

/// SO_REUSEADDR: an engine that starts again must not wait for its old connections' TIME-WAIT.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(128)
}

/// Connects to a peer, serves the connection, and again.
async fn dial(mut context: Context, tls: Tls, peer: PeerAddress) {
    let mut back_off = BACK_OFF_MIN;
    let mut last_reason = String::new();
    let mut stop = context.stop.clone();
    loop {
        let attempt = tokio::select! {
            attempt = connect(&tls, &peer) => attempt,
            () = stopped(&mut stop) => return,
        };
        match attempt {
            Ok(stream) => {
                last_reason.clear();
                let since = Instant::now();
                let ended = connection::serve(&mut context, stream, Side::Dialed, std::future::pending());
                if matches!(ended.await, Ended::Stopped) {
                    return;
                }
                if since.elapsed() >= LIVED {
                    back_off = BACK_OFF_MIN;
                }
            }
            // Said once, not at every attempt.
            Err(reason) if reason != last_reason => {
                tracing::warn!(peer = peer.name, address = %peer.address, reason, "cannot connect: trying on");
                last_reason = reason;
            }
            Err(_) => {}
        }
        tokio::select! {
            () = sleep(jitter(back_off)) => {}
            () = stopped(&mut stop) => return,
        }
        back_off = (back_off * 2).min(BACK_OFF_MAX);
    }
}

async fn connect(tls: &Tls, peer: &PeerAddress) -> Result<Stream, String> {
    let no_answer = |_| "no answer".to_owned();
    let tcp = timeout(CONNECT, TcpStream::connect(peer.address)).await.map_err(no_answer)?;
    let handshake = async {
        let tcp = tcp.map_err(|error| error.to_string())?;
        connection::tune(&tcp).map_err(|error| error.to_string())?;
        let mut stream = tls.connect(tcp, &peer.name).await.map_err(|error| error.to_string())?;
        connection::await_accepted(&mut stream)
            .await
            .map_err(|error| format!("the peer does not accept us: {error}"))?;
        Ok(stream)
    };
    timeout(SETUP, handshake).await.map_err(no_answer)?
}

/// Between half of `delay` and all of it, so that engines do not retry in step.
fn jitter(delay: Duration) -> Duration {
    let mut random = [0; 2];
    // Without randomness there is only no jitter.
    let _ = aws_lc_rs::rand::fill(&mut random);
    delay.mul_f32(1.0 - 0.5 * f32::from(u16::from_ne_bytes(random)) / f32::from(u16::MAX))
}

/// Serves the connections of a peer that dials us, the newest only.
async fn answer(mut context: Context, mut accepted: mpsc::Receiver<Box<Stream>>) {
    let mut stop = context.stop.clone();
    let mut next = None;
    loop {
        let stream = match next.take() {
            Some(stream) => stream,
            None => tokio::select! {
                stream = newest(&mut accepted) => stream,
                () = stopped(&mut stop) => return,
            },
        };
        match connection::serve(&mut context, *stream, Side::Accepted, newest(&mut accepted)).await {
            Ended::Closed => {}
            Ended::Replaced(stream) => next = Some(stream),
            Ended::Stopped => return,
        }
    }
}

async fn newest(accepted: &mut mpsc::Receiver<Box<Stream>>) -> Box<Stream> {
    match accepted.recv().await {
        Some(stream) => stream,
        // The accepting task is gone: this engine stops, which others notice.
        None => std::future::pending().await,
    }
}

/// Accepts, verifies, and hands each connection to its peer's task.
async fn accept(listener: TcpListener, tls: Tls, doors: Doors, mut stop: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let mut handshakes = JoinSet::new();
    loop {
        let next = async {
            let slot = slots.clone().acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            next = next => next,
            () = stopped(&mut stop) => return,
        };
        while handshakes.try_join_next().is_some() {}
        match accepted {
            Ok((tcp, address)) => {
                let (tls, doors) = (tls.clone(), doors.clone());
                handshakes.spawn(async move {
                    let _slot = slot;
                    let greeted = timeout(SETUP, greet(tcp, &tls, &doors)).await;
                    if let Err(reason) = greeted.unwrap_or_else(|_| Err("no handshake in time".to_owned())) {
                        tracing::warn!(%address, reason, "connection refused");
                    }
                });
            }
            // Out of descriptors, say: others may give some back.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(BACK_OFF_MIN).await;
            }
        }
    }
}

/// Verifies who connects and hands the connection over.
async fn greet(tcp: TcpStream, tls: &Tls, doors: &Doors) -> Result<(), String> {
    connection::tune(&tcp).map_err(|error| error.to_string())?;
    let (name, purpose, stream) = tls.accept(tcp).await.map_err(|error: RefusedError| error.to_string())?;
    if purpose == Purpose::Mirror {
        let door =
            doors.mirror.as_ref().ok_or_else(|| format!("{name} would mirror, but there is no [mirror]"))?;
        return door.try_send((name, Box::new(stream))).map_err(|_| "mirrors wait already".to_owned());
    }
    let peer =
        doors.control.get(&name).ok_or_else(|| format!("{name} has the higher name: it must be dialed"))?;
    peer.send(Box::new(stream)).await.map_err(|_| "this engine stops".to_owned())
}
