//! The store of one process: a redb file. Every write is on the disk before it is answered; watches are within the
//! process; leases end by its clock, and after a restart have their whole time again.

mod core;
mod log;

use crate::key::{Key, Prefix};
use crate::store::{Batch, Entry, Guard, LeaseId, Revision, Snapshot, Store, StoreError, Watch, check_size};
use core::Core;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};

/// Batches that wait for a slow watcher; what is beyond waits in the file.
const WAITING: usize = 64;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be made or read.
    #[error("{path}: {error}")]
    File {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// It is no database of ours, is damaged, or is in use.
    #[error("{path}: {error}")]
    Database {
        /// Where.
        path: PathBuf,
        /// What redb said.
        error: Box<redb::Error>,
    },
}

/// See the [module](self). Clones are the same store.
#[derive(Clone, Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    core: Mutex<Core>,
    /// Revisions that are kept for watchers.
    history: u64,
    /// The newest revision, for watchers.
    revision: watch::Sender<u64>,
    /// There is another deadline, or no store any more.
    leases: Arc<Notify>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.leases.notify_one();
    }
}

impl Shared {
    fn with<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        // redb's transactions are all or nothing: a panic in between leaves nothing half done.
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let done = work(&mut core);
        self.revision.send_if_modified(|known| std::mem::replace(known, core.revision().0) != *known);
        done
    }
}

impl Embedded {
    /// Opens or makes the file, which only its owner may read. Call inside a Tokio runtime. Watchers can go back over
    /// the last `history` revisions.
    ///
    /// # Errors
    /// If the file cannot be had, or another process has it.
    pub fn open(path: &Path, history: u64) -> Result<Embedded, OpenError> {
        let core = Core::open(path, history, Instant::now())?;
        let (revision, _) = watch::channel(core.revision().0);
        let leases = Arc::new(Notify::new());
        let shared = Arc::new(Shared { core: Mutex::new(core), history, revision, leases: leases.clone() });
        tokio::spawn(expire(Arc::downgrade(&shared), leases));
        Ok(Embedded { shared })
    }

    /// Runs a transaction where it may block.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Core) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = self.shared.clone();
        let done = tokio::task::spawn_blocking(move || shared.with(work)).await;
        done.unwrap_or_else(|error| Err(StoreError::Unavailable(format!("the store's thread: {error}"))))
    }
}

/// Ends leases whose time is over, as long as there is a store.
async fn expire(shared: Weak<Shared>, changed: Arc<Notify>) {
    while let Some(shared) = shared.upgrade() {
        let swept = tokio::task::spawn_blocking(move || {
            shared.with(|core| (core.expire(Instant::now()), core.next_deadline()))
        });
        let deadline = match swept.await {
            Ok((Ok(()), deadline)) => deadline,
            Ok((Err(error), _)) => {
                tracing::error!(%error, "leases could not be ended");
                Some(Instant::now() + Duration::from_secs(1))
            }
            Err(_) => return,
        };
        let changed = changed.notified();
        match deadline {
            // Woken or in time: both look again.
            Some(deadline) => drop(tokio::time::timeout_at(deadline.into(), changed).await),
            None => changed.await,
        }
    }
}

impl Store for Embedded {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.run(|core| Ok(core.revision())).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let key = key.clone();
        self.run(move |core| core.get(&key)).await
    }

    async fn list(&self, prefix: &Prefix) -> Result<Snapshot, StoreError> {
        let prefix = prefix.clone();
        self.run(move |core| core.list(&prefix)).await
    }

    async fn put(
        &self,
        key: &Key,
        value: Vec<u8>,
        guard: Guard,
        lease: Option<LeaseId>,
    ) -> Result<Revision, StoreError> {
        check_size(&value)?;
        let key = key.clone();
        self.run(move |core| core.put(Instant::now(), &key, &value, guard, lease)).await
    }

    async fn delete(&self, key: &Key, guard: Guard) -> Result<Option<Revision>, StoreError> {
        let key = key.clone();
        self.run(move |core| core.delete(&key, guard)).await
    }

    async fn watch(&self, prefix: &Prefix, after: Revision) -> Result<Watch, StoreError> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let task = tokio::spawn(watch_log(self.clone(), prefix.clone(), after, sender));
        Ok(Watch::new(receiver, task.abort_handle()))
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let granted = self.run(move |core| core.grant(Instant::now(), ttl)).await;
        self.shared.leases.notify_one();
        granted
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.run(move |core| core.keep_alive(Instant::now(), lease)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.run(move |core| core.revoke(lease)).await
    }
}

/// Reads the log from `after` on, however slowly the batches are taken.
async fn watch_log(
    store: Embedded,
    prefix: Prefix,
    after: Revision,
    batches: mpsc::Sender<Result<Batch, StoreError>>,
) {
    let mut newest = store.shared.revision.subscribe();
    let (mut at, mut told) = (after, after);
    loop {
        newest.mark_unchanged();
        let scanned = store.run({
            let prefix = prefix.clone();
            move |core| core.changes(&prefix, at, WAITING)
        });
        let scan = match scanned.await {
            Ok(scan) => scan,
            Err(error) => {
                let _ = batches.send(Err(error)).await;
                return;
            }
        };
        let more = scan.more;
        at = scan.up_to;
        // Where nothing changes for long the watcher still learns how far it is, before that is forgotten.
        let progress = Batch { revision: at, changes: Vec::new() };
        let quiet = scan.batches.is_empty() && at.0 - told.0 > store.shared.history / 4;
        for batch in scan.batches.into_iter().chain(quiet.then_some(progress)) {
            told = batch.revision;
            if batches.send(Ok(batch)).await.is_err() {
                return;
            }
        }
        if !more && newest.changed().await.is_err() {
            return;
        }
    }
}
