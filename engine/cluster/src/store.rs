//! The one interface of both stores.

use crate::key::{Key, Prefix};
use std::fmt;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// The largest value, octets; etcd takes no request of more than 1.5 MiB.
pub const VALUE_MAX: usize = 1 << 20;

/// A moment in a store's history: each change of anything in it has the next one. 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A lease: what is put under it is deleted when it is no longer kept alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub(crate) u64);

/// A value with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub key: Key,
    /// It.
    pub value: Vec<u8>,
    /// When it was put.
    pub revision: Revision,
}

/// Everything below a prefix at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The moment: a watch from here misses nothing and repeats nothing.
    pub revision: Revision,
    /// By key.
    pub entries: Vec<Entry>,
}

/// What must be true of a key, or it is not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing.
    Any,
    /// It has no value.
    Absent,
    /// Its value is the one put at this revision.
    Revision(Revision),
}

/// A new value, or `None` where it was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub key: Key,
    /// What it is now.
    pub value: Option<Vec<u8>>,
}

/// All that changed below a prefix at one revision. Without changes it says only that nothing changed up to there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// When.
    pub revision: Revision,
    /// What, each key once.
    pub changes: Vec<Change>,
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The guard does not hold: somebody else was faster, or an earlier try of this same write did arrive.
    #[error("the key has another value by now")]
    Conflict {
        /// When that was put; `None` if there is none.
        actual: Option<Revision>,
    },
    /// The history asked for is no longer kept: take a snapshot.
    #[error("changes before revision {oldest} are no longer kept")]
    Compacted {
        /// The oldest revision to watch from.
        oldest: Revision,
    },
    /// There is no such lease, or no longer.
    #[error("the lease has expired")]
    LeaseGone,
    /// It did not answer in time, or has no leader. What was asked may have been done.
    #[error("{0}")]
    Unavailable(String),
    /// It says no, and will say so again: credentials, rights, sizes.
    #[error("{0}")]
    Refused(String),
}

/// A place where engines keep what they share.
///
/// All methods may be given up at any await. A write whose answer is [`StoreError::Unavailable`] may have happened.
pub trait Store: Clone + Send + Sync + 'static {
    /// The newest revision.
    fn revision(&self) -> impl Future<Output = Result<Revision, StoreError>> + Send;

    /// A key's value.
    fn get(&self, key: &Key) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send;

    /// Everything below a prefix, at one moment.
    fn list(&self, prefix: &Prefix) -> impl Future<Output = Result<Snapshot, StoreError>> + Send;

    /// Puts a value of at most [`VALUE_MAX`] octets where `guard` holds. Without a lease it stays until deleted.
    fn put(
        &self,
        key: &Key,
        value: Vec<u8>,
        guard: Guard,
        lease: Option<LeaseId>,
    ) -> impl Future<Output = Result<Revision, StoreError>> + Send;

    /// Deletes a value where `guard` holds; `None` if there was none.
    fn delete(
        &self,
        key: &Key,
        guard: Guard,
    ) -> impl Future<Output = Result<Option<Revision>, StoreError>> + Send;

    /// Every change below `prefix` later than `after`, in order, each once.
    fn watch(
        &self,
        prefix: &Prefix,
        after: Revision,
    ) -> impl Future<Output = Result<Watch, StoreError>> + Send;

    /// A lease that lives for `ttl` (rounded up to seconds by etcd, and to its least) after each sign of life.
    fn grant(&self, ttl: Duration) -> impl Future<Output = Result<LeaseId, StoreError>> + Send;

    /// A sign of life.
    fn keep_alive(&self, lease: LeaseId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Ends a lease and deletes what was put under it, at one revision.
    fn revoke(&self, lease: LeaseId) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Changes as they come. Ends with its first error; dropped, it stops.
#[derive(Debug)]
pub struct Watch {
    batches: mpsc::Receiver<Result<Batch, StoreError>>,
    task: AbortHandle,
}

impl Watch {
    pub(crate) fn new(batches: mpsc::Receiver<Result<Batch, StoreError>>, task: AbortHandle) -> Watch {
        Watch { batches, task }
    }

    /// The next batch. Nothing is lost if it is given up.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] if the watch fell behind what is kept, [`StoreError::Unavailable`] if the store is gone.
    pub async fn next(&mut self) -> Result<Batch, StoreError> {
        let ended = || Err(StoreError::Unavailable("the watch has ended".to_owned()));
        self.batches.recv().await.unwrap_or_else(ended)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether a value may be put at all.
pub(crate) fn check_size(value: &[u8]) -> Result<(), StoreError> {
    if value.len() <= VALUE_MAX {
        return Ok(());
    }
    Err(StoreError::Refused(format!("a value of {} octets is larger than {VALUE_MAX}", value.len())))
}
