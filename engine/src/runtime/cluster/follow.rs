//! What others wrote, told to the loop.

use super::{AGAIN, prefix};
use cluster::{Follower, Mirror, Prefix, Snapshot, Store, StoreError, Update};
use control::io::Input;
use control::state::{Record, StateChange, StateKey};
use std::sync::Arc;
use tokio::sync::mpsc;

/// This engine's own region.
pub async fn own<S: Store>(store: S, region: String, inputs: mpsc::Sender<Input>) {
    let follower = Follower::new(store, prefix(&region));
    follow(follower, &region, None, &inputs).await;
}

/// Another region, from where it was last known.
pub async fn remote<S: Store>(
    connect: impl AsyncFn() -> Result<S, StoreError>,
    region: String,
    mirror: Option<Arc<Mirror>>,
    inputs: mpsc::Sender<Input>,
) {
    let below = prefix(&region);
    let known = match &mirror {
        Some(mirror) => load(mirror.clone(), below.clone()).await,
        None => None,
    };
    let at = known.as_ref().map(|snapshot| snapshot.revision);
    if let Some(snapshot) = known
        && inputs.send(input(&region, &Update::Snapshot(snapshot))).await.is_err()
    {
        return;
    }
    let store = loop {
        match connect().await {
            Ok(store) => break store,
            Err(error) => {
                tracing::debug!(region, %error, "the store of another region cannot be reached");
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    let follower = match at {
        Some(at) => Follower::resume(store, below, at),
        None => Follower::new(store, below),
    };
    follow(follower, &region, mirror, &inputs).await;
}

async fn load(mirror: Arc<Mirror>, below: Prefix) -> Option<Snapshot> {
    let loaded = tokio::task::spawn_blocking(move || mirror.load(&below)).await;
    match loaded {
        Ok(Ok(snapshot)) => snapshot,
        Ok(Err(error)) => {
            tracing::error!(%error, "what was known of another region cannot be read");
            None
        }
        Err(_) => None,
    }
}

async fn follow<S: Store>(
    mut follower: Follower<S>,
    region: &str,
    mirror: Option<Arc<Mirror>>,
    inputs: &mpsc::Sender<Input>,
) {
    loop {
        let update = match follower.next().await {
            Ok(update) => update,
            Err(error) => {
                match error {
                    StoreError::Refused(_) => tracing::error!(region, %error, "a region may not be watched"),
                    _ => tracing::debug!(region, %error, "the watch of a region was interrupted"),
                }
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        if inputs.send(input(region, &update)).await.is_err() {
            return;
        }
        if let Some(mirror) = mirror.clone() {
            let below = prefix(region);
            let kept = tokio::task::spawn_blocking(move || mirror.apply(&below, &update)).await;
            if let Ok(Err(error)) = kept {
                tracing::error!(region, %error, "what is known of another region cannot be kept");
            }
        }
    }
}

/// An update as the controller reads it. What is not of our schema is left out.
fn input(region: &str, update: &Update) -> Input {
    let changes: Vec<StateChange> = match update {
        Update::Snapshot(snapshot) => {
            let entries = snapshot.entries.iter();
            entries.filter_map(|e| change(region, e.key.as_str(), e.revision.0, Some(&e.value))).collect()
        }
        Update::Changes(batch) => {
            let changes = batch.changes.iter();
            let of =
                |c: &cluster::Change| change(region, c.key.as_str(), batch.revision.0, c.value.as_deref());
            changes.filter_map(of).collect()
        }
    };
    Input::StoreChanged { region: region.to_owned(), whole: matches!(update, Update::Snapshot(_)), changes }
}

fn change(region: &str, path: &str, revision: u64, value: Option<&[u8]>) -> Option<StateChange> {
    let key = StateKey::parse(path).filter(|key| key.region == region)?;
    let record = match value.map(|value| Record::decode(&key.topic, value)) {
        Some(Ok(record)) => Some(record),
        Some(Err(error)) => {
            tracing::warn!(key = path, %error, "a record in the state store is not read");
            return None;
        }
        None => None,
    };
    Some(StateChange { key, revision, record })
}
