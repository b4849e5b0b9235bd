//! The shadow's end of a mirror's connection.

use super::frame::{self, Frame};
use super::judge::{Docket, Work};
use crate::peer::connection::{Stream, tune};
use control::mirror::MirrorReport;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// Between two reports.
const REPORT: Duration = Duration::from_secs(1);
/// For the hello.
const SETUP: Duration = Duration::from_secs(3);
/// Between two attempts to hand it in.
const SOON: Duration = Duration::from_millis(10);

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

/// Takes copies from `peer` until the connection ends, and hands them in; those for which there is no room are counted.
pub async fn receive(peer: String, stream: Box<Stream>, docket: Docket, events: mpsc::Sender<Received>) {
    if let Err(error) = tune(stream.get_ref().0) {
        return tracing::warn!(peer, %error, "a mirror's connection cannot be used");
    }
    let (mut reader, writer) = tokio::io::split(*stream);
    let hello = match timeout(SETUP, frame::read(&mut reader, &mut Vec::new())).await {
        Ok(Ok(Frame::Hello(hello))) => hello,
        _ => return tracing::warn!(peer, "a mirror's connection without a hello"),
    };
    let mut hello = Work::Hello(Box::new(hello));
    // What an earlier connection left may still be walked: there is room soon.
    while let Err((back, alive)) = docket.hand_in(hello) {
        if !alive {
            return tracing::error!(peer, "the mirror's shadow has ended: nothing is taken");
        }
        hello = back;
        sleep(SOON).await;
    }
    if events.send(Received::Up(peer.clone())).await.is_err() {
        return;
    }
    let reason = tokio::select! {
        reason = read_all(reader, &docket) => reason,
        reason = report_all(writer, &docket, &events) => reason,
    };
    tracing::info!(peer, reason, "no traffic is mirrored here any more");
    // The engine may be stopping.
    let _ = events.send(Received::Down).await;
}

async fn read_all(mut reader: ReadHalf<Stream>, docket: &Docket) -> String {
    let mut buffer = Vec::new();
    loop {
        match frame::read(&mut reader, &mut buffer).await {
            Ok(Frame::Copies(copies)) => match docket.hand_in(Work::Copies(copies)) {
                Ok(()) => {}
                Err((_, true)) => docket.shed(),
                Err((_, false)) => return "the shadow has ended".to_owned(),
            },
            Ok(_) => return "the peer speaks out of turn".to_owned(),
            Err(error) => return error.to_string(),
        }
    }
}

/// The first report at once: it says that copies are taken here.
async fn report_all(
    mut writer: WriteHalf<Stream>,
    docket: &Docket,
    events: &mpsc::Sender<Received>,
) -> String {
    let mut due = interval(REPORT);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // One that still waits is about an earlier connection.
    drop(docket.report());
    let mut report = Box::new(MirrorReport::default());
    loop {
        due.tick().await;
        report = docket.report().unwrap_or(report);
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
        if events.send(Received::Report(report.clone())).await.is_err() {
            return "this engine stops".to_owned();
        }
    }
}
