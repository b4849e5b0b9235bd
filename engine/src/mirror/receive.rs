//! The shadow's end of a mirror's connection.

use super::frame::{self, Frame};
use super::judge::Work;
use crate::peer::connection::{Stream, tune};
use control::mirror::{Findings, MirrorReport};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Between two reports.
const REPORT: Duration = Duration::from_secs(1);
/// For the hello.
const SETUP: Duration = Duration::from_secs(3);

/// What happens at this end.
#[derive(Debug)]
pub enum Received {
    /// This peer mirrors to us.
    Up(String),
    /// What we say of it.
    Report(Box<MirrorReport>),
    /// It mirrors no more.
    Down,
}

/// Takes copies from `peer` until the connection ends, and gives them to the judge; what it has no time for is counted.
pub async fn receive(
    peer: String,
    stream: Box<Stream>,
    judge: SyncSender<Work>,
    findings: Arc<Mutex<Findings>>,
    events: mpsc::Sender<Received>,
) {
    if let Err(error) = tune(stream.get_ref().0) {
        return tracing::warn!(peer, %error, "a mirror's connection cannot be used");
    }
    let (mut reader, writer) = tokio::io::split(*stream);
    let hello = match timeout(SETUP, frame::read(&mut reader, &mut Vec::new())).await {
        Ok(Ok(Frame::Hello(hello))) => hello,
        _ => return tracing::warn!(peer, "a mirror's connection without a hello"),
    };
    *findings.lock().unwrap_or_else(PoisonError::into_inner) = Findings::default();
    // The judge is idle now, or busy with what an earlier connection left: there is room soon.
    let mut work = Some(Work::Hello(Box::new(hello)));
    while let Some(hello) = work.take() {
        match judge.try_send(hello) {
            Ok(()) => {}
            Err(TrySendError::Full(hello)) => {
                work = Some(hello);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(TrySendError::Disconnected(_)) => return,
        }
    }
    if events.send(Received::Up(peer.clone())).await.is_err() {
        return;
    }
    let reason = tokio::select! {
        reason = read_all(reader, &judge, &findings) => reason,
        reason = report_all(writer, &findings, &events) => reason,
    };
    tracing::info!(peer, reason, "no traffic is mirrored here any more");
    let _ = events.send(Received::Down).await;
}

async fn read_all(
    mut reader: ReadHalf<Stream>,
    judge: &SyncSender<Work>,
    findings: &Mutex<Findings>,
) -> String {
    let mut buffer = Vec::new();
    loop {
        match frame::read(&mut reader, &mut buffer).await {
            Ok(Frame::Copies(copies)) => match judge.try_send(Work::Copies(copies)) {
                Ok(()) => {}
                // How many they were is not known without looking at them: one at least, and that is enough to be told.
                Err(TrySendError::Full(_)) => {
                    findings.lock().unwrap_or_else(PoisonError::into_inner).lost(1);
                }
                Err(TrySendError::Disconnected(_)) => return "this engine stops".to_owned(),
            },
            Ok(_) => return "the peer speaks out of turn".to_owned(),
            Err(error) => return error.to_string(),
        }
    }
}

/// The first report at once: it says that copies are taken here.
async fn report_all(
    mut writer: WriteHalf<Stream>,
    findings: &Mutex<Findings>,
    events: &mpsc::Sender<Received>,
) -> String {
    let mut due = interval(REPORT);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let report = findings.lock().unwrap_or_else(PoisonError::into_inner).report();
        let Some(frame) = frame::report(&report) else {
            return "a report is longer than a frame".to_owned();
        };
        let written = async {
            writer.write_all(&frame).await?;
            writer.flush().await
        };
        if let Err(error) = written.await {
            return error.to_string();
        }
        if events.send(Received::Report(Box::new(report))).await.is_err() {
            return "this engine stops".to_owned();
        }
    }
}
