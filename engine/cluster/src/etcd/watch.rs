//! etcd's watch streams as ours: one batch a revision.

use super::error::{compacted, from_client, unavailable};
use super::{ANSWER_MAX, key, revision};
use crate::key::Prefix;
use crate::store::{Batch, Change, Revision, StoreError, Watch};
use etcd_client::{Client, Event, EventType, WatchOptions, WatchResponse, WatchStream};
use tokio::sync::mpsc;

/// Batches that wait for a slow watcher; beyond them the stream waits, and then etcd.
const WAITING: usize = 256;

/// Begins to watch everything below `prefix` after `after`.
pub async fn start(client: Client, prefix: &Prefix, after: Revision) -> Result<Watch, StoreError> {
    let options = WatchOptions::new()
        .with_range(prefix.end())
        .with_start_revision(after.0 as i64 + 1)
        .with_progress_notify();
    let mut client = client.watch_client().max_decoding_message_size(ANSWER_MAX);
    let stream = client.watch(prefix.as_str(), Some(options)).await.map_err(from_client)?;
    let (sender, receiver) = mpsc::channel(WAITING);
    let task = tokio::spawn(run(stream, sender));
    Ok(Watch::new(receiver, task.abort_handle()))
}

async fn run(mut stream: WatchStream, batches: mpsc::Sender<Result<Batch, StoreError>>) {
    loop {
        let answer = match stream.message().await {
            Ok(Some(answer)) => batches_of(&answer),
            Ok(None) => Err(unavailable("the watch was ended by etcd")),
            Err(error) => Err(from_client(error)),
        };
        let (found, end) = match answer {
            Ok(found) => (found, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let ended = end.is_some();
        for batch in found.into_iter().map(Ok).chain(end.map(Err)) {
            if batches.send(batch).await.is_err() {
                return;
            }
        }
        if ended {
            return;
        }
    }
}

/// The revisions of an answer: etcd sends all of one in one answer, and answers in order.
fn batches_of(answer: &WatchResponse) -> Result<Vec<Batch>, StoreError> {
    if answer.canceled() {
        let oldest = answer.compact_revision();
        let why = format!("etcd cancelled the watch: {}", answer.cancel_reason());
        return Err(if oldest > 0 { compacted(oldest) } else { unavailable(why) });
    }
    if answer.created() {
        return Ok(Vec::new());
    }
    let mut batches: Vec<Batch> = Vec::new();
    for event in answer.events() {
        let Some((revision, change)) = change(event) else { continue };
        match batches.last_mut() {
            Some(batch) if batch.revision == revision => batch.changes.push(change),
            _ => batches.push(Batch { revision, changes: vec![change] }),
        }
    }
    if answer.events().is_empty() {
        batches.push(Batch { revision: revision(answer.header())?, changes: Vec::new() });
    }
    Ok(batches)
}

fn change(event: &Event) -> Option<(Revision, Change)> {
    let found = event.kv()?;
    let value = match event.event_type() {
        EventType::Put => Some(found.value().to_vec()),
        EventType::Delete => None,
    };
    Some((Revision(found.mod_revision().unsigned_abs()), Change { key: key(found)?, value }))
}
