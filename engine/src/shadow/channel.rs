//! The connections: one to each shadow, dialed; one from each engine that brings its sessions, accepted.

use crate::peer::PeerAddress;
use crate::peer::connection::tune;
use crate::peer::tls::Tls;
use control::shadow::codec::{FRAME_MAX, Frame};
use control::shadow::exchange::Link;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsStream;

/// Between two attempts to reach a shadow.
const AGAIN: Duration = Duration::from_millis(300);
/// For a connection and its handshake.
const SETUP: Duration = Duration::from_secs(3);
/// Octets read at once.
const READ: usize = 64 * 1024;

/// What happens on a connection.
pub enum Event {
    /// It is there; `out` takes what is to be sent.
    Up(Link, mpsc::UnboundedSender<Vec<u8>>),
    /// It says.
    Frame(Link, Frame),
    /// It is gone.
    Down(Link),
}

/// What all connections share.
#[derive(Clone)]
pub struct Channel {
    pub tls: Tls,
    pub events: mpsc::Sender<Event>,
}

impl Channel {
    /// Dials and accepts until the tasks are dropped.
    pub fn start(&self, listener: TcpListener, to: Vec<PeerAddress>, from: Vec<String>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for (number, peer) in to.into_iter().enumerate() {
            tasks.spawn(self.clone().dial(Link::To(number), peer));
        }
        tasks.spawn(self.clone().accept(listener, from));
        tasks
    }

    async fn dial(self, link: Link, peer: PeerAddress) {
        let mut last = String::new();
        loop {
            let attempt = async {
                let tcp = TcpStream::connect(peer.address).await.map_err(|error| error.to_string())?;
                tune(&tcp).map_err(|error| error.to_string())?;
                self.tls.connect(tcp, &peer.name).await.map_err(|error| error.to_string())
            };
            match timeout(SETUP, attempt).await.unwrap_or_else(|_| Err("no answer".to_owned())) {
                Ok(stream) => {
                    last.clear();
                    self.serve(link, &peer.name, stream).await;
                }
                // Said once, not at every attempt.
                Err(reason) if reason != last => {
                    tracing::warn!(shadow = peer.name, address = %peer.address, reason, "no shadow: trying on");
                    last = reason;
                }
                Err(_) => {}
            }
            sleep(AGAIN).await;
        }
    }

    async fn accept(self, listener: TcpListener, from: Vec<String>) {
        let mut serving = JoinSet::new();
        // One connection an engine: the newest. The older one is half-open at best.
        let mut current: Vec<Option<tokio::task::AbortHandle>> = from.iter().map(|_| None).collect();
        loop {
            while serving.try_join_next().is_some() {}
            let Ok((tcp, address)) = listener.accept().await else {
                sleep(AGAIN).await;
                continue;
            };
            let greeted = async {
                tune(&tcp).map_err(|error| error.to_string())?;
                self.tls.accept(tcp).await.map_err(|error| error.to_string())
            };
            let greeted =
                timeout(SETUP, greeted).await.unwrap_or_else(|_| Err("no handshake in time".to_owned()));
            let known =
                greeted.and_then(|(name, _, stream)| match from.iter().position(|known| *known == name) {
                    Some(number) => Ok((number, name, stream)),
                    None => Err(format!("{name} brings sessions, but [shadow] from does not name it")),
                });
            match known {
                Ok((number, name, stream)) => {
                    if let Some(old) = current[number].take() {
                        old.abort();
                    }
                    let channel = self.clone();
                    let link = Link::From(number);
                    current[number] =
                        Some(serving.spawn(async move { channel.serve(link, &name, stream).await }));
                }
                Err(reason) => tracing::warn!(%address, reason, "sessions refused"),
            }
        }
    }

    /// Carries a connection until it ends.
    async fn serve(&self, link: Link, peer: &str, stream: TlsStream<TcpStream>) {
        let (reader, writer) = tokio::io::split(stream);
        let (out, frames) = mpsc::unbounded_channel();
        if self.events.send(Event::Up(link, out)).await.is_err() {
            return;
        }
        tracing::info!(peer, ?link, "shadow channel up");
        let ended = tokio::select! {
            ended = self.read(link, reader) => ended,
            ended = write(writer, frames) => ended,
        };
        let reason = ended.map_or_else(|error| error.to_string(), |()| "closed".to_owned());
        tracing::warn!(peer, ?link, reason, "shadow channel down");
        let _ = self.events.send(Event::Down(link)).await;
    }

    async fn read(&self, link: Link, reader: ReadHalf<TlsStream<TcpStream>>) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(READ, reader);
        let mut octets = Vec::new();
        loop {
            let length = reader.read_u32().await? as usize;
            if length == 0 || length > FRAME_MAX {
                return Err(io::Error::other(format!("malformed frame: length {length}")));
            }
            octets.resize(length, 0);
            reader.read_exact(&mut octets).await?;
            let frame = Frame::decode(&octets).map_err(io::Error::other)?;
            if self.events.send(Event::Frame(link, frame)).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Writes what is queued until nobody queues any more.
async fn write(
    mut writer: WriteHalf<TlsStream<TcpStream>>,
    mut frames: mpsc::UnboundedReceiver<Vec<u8>>,
) -> io::Result<()> {
    while let Some(frame) = frames.recv().await {
        writer.write_all(&frame).await?;
        if frames.is_empty() {
            writer.flush().await?;
        }
    }
    writer.shutdown().await
}
