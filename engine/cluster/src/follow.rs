//! Following a prefix over interruptions: a snapshot, then deltas; after a compaction a snapshot again.

use crate::key::Prefix;
use crate::store::{Batch, Revision, Snapshot, Store, StoreError, Watch};

/// What a follower learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// Everything, in place of all that was known.
    Snapshot(Snapshot),
    /// What changed since.
    Changes(Batch),
}

impl Update {
    /// What is known with it is of this revision.
    pub fn revision(&self) -> Revision {
        match self {
            Update::Snapshot(snapshot) => snapshot.revision,
            Update::Changes(batch) => batch.revision,
        }
    }
}

/// Follows everything below a prefix. Its updates' revisions only increase but for a snapshot of a store that was itself
/// set back; whoever applies them in order has at each what the store had.
#[derive(Debug)]
pub struct Follower<S> {
    store: S,
    prefix: Prefix,
    at: Option<Revision>,
    watch: Option<Watch>,
}

impl<S: Store> Follower<S> {
    /// Begins with a snapshot.
    pub fn new(store: S, prefix: Prefix) -> Follower<S> {
        Follower { store, prefix, at: None, watch: None }
    }

    /// Goes on after `at`, where an earlier follower was; with a snapshot if the store no longer keeps what came since.
    pub fn resume(store: S, prefix: Prefix, at: Revision) -> Follower<S> {
        Follower { store, prefix, at: Some(at), watch: None }
    }

    /// Waits for the next update. Nothing is lost if it is given up.
    ///
    /// # Errors
    /// If the store is unavailable or refuses: call again after a while, and it goes on where it was.
    pub async fn next(&mut self) -> Result<Update, StoreError> {
        loop {
            let Some(at) = self.at else {
                let snapshot = self.store.list(&self.prefix).await?;
                self.at = Some(snapshot.revision);
                return Ok(Update::Snapshot(snapshot));
            };
            let Some(watch) = &mut self.watch else {
                if self.store.revision().await? < at {
                    // Restored from a backup: its future would be waited for, its past is not what is known.
                    self.at = None;
                    continue;
                }
                self.watch = Some(self.store.watch(&self.prefix, at).await?);
                continue;
            };
            match watch.next().await {
                Ok(batch) if batch.revision > at => {
                    self.at = Some(batch.revision);
                    return Ok(Update::Changes(batch));
                }
                Ok(_) => {}
                Err(error) => {
                    self.watch = None;
                    if !matches!(error, StoreError::Compacted { .. }) {
                        return Err(error);
                    }
                    self.at = None;
                }
            }
        }
    }
}
