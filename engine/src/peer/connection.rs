//! One control connection from its verification to its end.

use super::keys::{Outgoing, Session};
use super::{PeerEvent, frame, tls};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsStream;

/// A silent peer is probed after this time and then at this interval.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// A peer that acknowledges nothing for so long is dead. Below two keepalive intervals, so that the second
/// probe finds it passed (RFC 5482, RFC 9293 §3.8.4).
const USER_TIMEOUT: Duration = Duration::from_millis(1_800);
/// How long a stopping engine waits for its peer to take the last messages.
const LINGER: Duration = Duration::from_millis(300);

/// A connection whose ends know each other.
pub type Stream = TlsStream<TcpStream>;

/// Which side of the connection this engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Dialed,
    Accepted,
}

/// Why a connection ended.
pub enum Ended {
    /// It broke or was closed; the reason is logged.
    Closed,
    /// The peer has connected anew: the old connection is half-open at best.
    Replaced(Box<Stream>),
    /// This engine stops.
    Stopped,
}

/// What every connection to one peer shares.
pub struct Context {
    pub local: String,
    pub peer: String,
    pub events: mpsc::Sender<PeerEvent>,
    /// True once this engine stops.
    pub stop: watch::Receiver<bool>,
}

/// Low delay, and a dead peer noticed in about two seconds.
pub fn tune(tcp: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(tcp);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE).with_retries(2),
    )?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

/// Waits for the acceptor's word that it has verified us (a TLS 1.3 client finishes before that).
pub async fn await_accepted(stream: &mut Stream) -> io::Result<()> {
    let mut word = [0; 4];
    stream.read_exact(&mut word).await?;
    if word == frame::ACCEPTED { Ok(()) } else { Err(io::Error::other("unexpected first frame")) }
}

/// Serves a verified connection: reports `Up`, its messages and `Down`. `replacement` resolves when
/// the peer has connected anew.
pub async fn serve(
    context: &mut Context,
    stream: Stream,
    side: Side,
    replacement: impl Future<Output = Box<Stream>>,
) -> Ended {
    let secret = match tls::exporter_secret(&stream) {
        Ok(secret) => secret,
        Err(error) => {
            tracing::error!(peer = context.peer, %error, "no key material: connection closed");
            return Ended::Closed;
        }
    };
    let (reader, mut writer) = tokio::io::split(stream);
    if side == Side::Accepted
        && let Err(error) = write(&mut writer, &frame::ACCEPTED).await
    {
        tracing::info!(peer = context.peer, %error, "connection lost at once");
        return Ended::Closed;
    }
    let (session, outgoing) = Session::new(&context.local, &context.peer, secret);
    let peer = context.peer.clone();
    if context.events.send(PeerEvent::Up { peer: peer.clone(), session }).await.is_err() {
        return Ended::Stopped;
    }
    tracing::info!(peer, "control connection up");
    let ended = carry(context, reader, writer, outgoing, replacement).await;
    if context.events.send(PeerEvent::Down { peer }).await.is_err() {
        return Ended::Stopped;
    }
    ended
}

/// Reads and writes until one of them, or something else, ends the connection. The two run side by
/// side: engines that both write much must not wait for each other.
async fn carry(
    context: &mut Context,
    mut reader: ReadHalf<Stream>,
    mut writer: WriteHalf<Stream>,
    outgoing: Outgoing,
    replacement: impl Future<Output = Box<Stream>>,
) -> Ended {
    let Outgoing { mut frames, overflow } = outgoing;
    let peer = context.peer.as_str();
    let read = read_all(&mut reader, peer, &context.events);
    let write = write_all(&mut writer, &mut frames, &mut context.stop);
    tokio::pin!(read, write);
    let reason = tokio::select! {
        reason = &mut read => reason.to_string(),
        written = &mut write => match written {
            Err(error) => error.to_string(),
            Ok(()) => {
                // Read on until the peer has closed too: closing with octets unread would reset the
                // connection and could take our last messages with it (RFC 9293 §3.6.1).
                let _ = tokio::time::timeout(LINGER, &mut read).await;
                return Ended::Stopped;
            }
        },
        () = overflow.notified() => "the peer is too slow: outgoing queue full".to_owned(),
        stream = replacement => {
            tracing::info!(peer, "control connection replaced by a new one of the same peer");
            return Ended::Replaced(stream);
        }
    };
    tracing::warn!(peer, reason, "control connection down");
    Ended::Closed
}

/// Hands messages to the controller; returns why there are no more.
async fn read_all(
    reader: &mut ReadHalf<Stream>,
    peer: &str,
    events: &mpsc::Sender<PeerEvent>,
) -> frame::ReadError {
    let mut buffer = Vec::new();
    loop {
        match frame::read(reader, &mut buffer).await {
            Ok(message) => {
                let event = PeerEvent::Message { peer: peer.to_owned(), message };
                if events.send(event).await.is_err() {
                    return frame::ReadError::Closed;
                }
            }
            Err(error) => return error,
        }
    }
}

/// Writes queued frames; when this engine stops, what is queued by then and the close_notify.
async fn write_all(
    writer: &mut WriteHalf<Stream>,
    frames: &mut mpsc::Receiver<Vec<u8>>,
    stop: &mut watch::Receiver<bool>,
) -> io::Result<()> {
    loop {
        tokio::select! {
            biased;
            Some(frame) = frames.recv() => write(writer, &frame).await?,
            () = stopped(stop) => break,
        }
    }
    while let Ok(frame) = frames.try_recv() {
        write(writer, &frame).await?;
    }
    writer.shutdown().await
}

/// Resolves once this engine stops.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the links are gone altogether.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn write(writer: &mut WriteHalf<Stream>, octets: &[u8]) -> io::Result<()> {
    writer.write_all(octets).await?;
    writer.flush().await
}
