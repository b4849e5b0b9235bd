//! The mirroring end: connects to the standby, sends what the workers copied, takes in what the standby says of it.

use super::frame::{self, Frame};
use super::names::Names;
use crate::peer::connection::{Stream, tune};
use crate::peer::tls::{Purpose, Tls};
use control::mirror::MirrorReport;
use dataplane::mirror::Source;
use dataplane::mirror::wire::RECORD_MAX;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// Between two looks at the workers' rings, which hold the copies of tens of milliseconds.
const LOOK: Duration = Duration::from_millis(5);
/// For connecting, and for the shadow's first word.
const SETUP: Duration = Duration::from_secs(3);
/// Between two attempts. Nothing waits for a mirror.
const BACK_OFF: Duration = Duration::from_secs(2);
/// A frame is sent when it is so full.
const FRAME: usize = frame::LENGTH_MAX - RECORD_MAX;

/// Whom to mirror to, and as whom.
pub struct Dial {
    /// How this engine proves to be itself.
    pub tls: Tls,
    /// The standby's name.
    pub peer: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What this engine's numbers mean.
    pub names: Names,
}

/// What happens at this end.
#[derive(Debug)]
pub enum Sent {
    /// The standby takes copies: workers may begin. Whatever rings come through the sender are read from then on.
    Up(mpsc::Sender<Vec<Source>>),
    /// It says.
    Report(Box<MirrorReport>),
    /// It takes no more: workers may stop.
    Down,
}

/// Mirrors for ever: whoever started this ends it.
pub async fn send(dial: Dial, events: mpsc::Sender<Sent>) {
    let mut last_reason = String::new();
    loop {
        let reason =
            match timeout(SETUP, connect(&dial)).await.unwrap_or_else(|_| Err("no answer".to_owned())) {
                Ok((reader, writer, first)) => {
                    let (sources_tx, sources) = mpsc::channel(1);
                    let begun = async {
                        events.send(Sent::Up(sources_tx)).await.ok()?;
                        events.send(Sent::Report(first)).await.ok()
                    };
                    if begun.await.is_none() {
                        return;
                    }
                    tracing::info!(peer = dial.peer, "traffic is mirrored");
                    let reason = tokio::select! {
                        reason = read_all(reader, &events) => reason,
                        reason = write_all(writer, &dial.names, sources) => reason,
                    };
                    if events.send(Sent::Down).await.is_err() {
                        return;
                    }
                    last_reason.clear();
                    reason
                }
                Err(reason) => reason,
            };
        // Said once, not at every attempt.
        if reason != last_reason {
            tracing::warn!(peer = dial.peer, reason, "traffic is not mirrored: trying on");
            last_reason = reason;
        }
        sleep(BACK_OFF).await;
    }
}

type Connected = (ReadHalf<Stream>, WriteHalf<Stream>, Box<MirrorReport>);

/// Connects, says hello and waits for the first word: a shadow that takes no mirror closes instead.
async fn connect(dial: &Dial) -> Result<Connected, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let tcp = TcpStream::connect(dial.address).await.map_err(|error| text(&error))?;
    tune(&tcp).map_err(|error| text(&error))?;
    let stream =
        dial.tls.connect_for(Purpose::Mirror, tcp, &dial.peer).await.map_err(|error| text(&error))?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let hello = frame::hello(&dial.names.hello()).ok_or("more names than a frame holds")?;
    writer.write_all(&hello).await.map_err(|error| text(&error))?;
    writer.flush().await.map_err(|error| text(&error))?;
    match frame::read(&mut reader, &mut Vec::new()).await {
        Ok(Frame::Report(report)) => Ok((reader, writer, report)),
        Ok(_) => Err("the peer speaks out of turn".to_owned()),
        Err(error) => Err(format!("the peer takes no mirror: has it a [mirror]? ({error})")),
    }
}

async fn read_all(mut reader: ReadHalf<Stream>, events: &mpsc::Sender<Sent>) -> String {
    let mut buffer = Vec::new();
    loop {
        match frame::read(&mut reader, &mut buffer).await {
            Ok(Frame::Report(report)) => {
                if events.send(Sent::Report(report)).await.is_err() {
                    return "this engine stops".to_owned();
                }
            }
            Ok(_) => return "the peer speaks out of turn".to_owned(),
            Err(error) => return error.to_string(),
        }
    }
}

/// Sends on what the rings hold. While the peer is slow they fill, and the workers count what finds no room.
async fn write_all(
    mut writer: WriteHalf<Stream>,
    names: &Names,
    mut rings: mpsc::Receiver<Vec<Source>>,
) -> String {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut sources, mut frame) = (Vec::new(), Vec::with_capacity(frame::LENGTH_MAX));
    loop {
        tokio::select! {
            fresh = rings.recv() => match fresh {
                Some(fresh) => sources = fresh,
                None => return "this engine mirrors no more".to_owned(),
            },
            _ = look.tick() => {}
        }
        while fill(&mut frame, names, &mut sources) {
            let written = async {
                writer.write_all(&frame).await?;
                writer.flush().await
            };
            if let Err(error) = written.await {
                return error.to_string();
            }
        }
    }
}

/// One frame of what the rings hold. False if that is nothing.
fn fill(frame: &mut Vec<u8>, names: &Names, sources: &mut [Source]) -> bool {
    frame::begin_copies(frame);
    for source in sources {
        let worker = source.worker.0 as u8;
        while frame.len() < FRAME && source.next(|copied| names.told(worker, copied).encode(frame)).is_some()
        {
        }
    }
    frame::has_copies(frame) && frame::finish(frame)
}
