//! Which process is the engine: the one that holds the lock. The kernel lets go of it with the process, whatever ends it.

use crate::plan::Plan;
use anyhow::{Context as _, Result, bail};
use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

/// A process that ends may have it a moment longer.
const PATIENCE: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(2);
/// Between two lines in the log about a process that does not end.
const TELL: Duration = Duration::from_secs(10);

/// The lock; this process is the engine as long as it lives.
pub struct Instance {
    _lock: File,
}

impl Instance {
    /// Of an ordinary start.
    ///
    /// # Errors
    /// If another process of this engine runs.
    pub fn take(plan: &Plan) -> Result<Instance> {
        let path = super::beside_the_api(plan, "lock");
        let (lock, since) = (open(&path)?, Instant::now());
        while !try_lock(&lock, &path)? {
            if since.elapsed() > PATIENCE {
                bail!(
                    "another process of engine {} runs (it holds {}): stop it, or follow it by run --take-over",
                    plan.name,
                    path.display()
                );
            }
            std::thread::sleep(LOOK);
        }
        Ok(Instance { _lock: lock })
    }

    /// Of a process that follows another one: once that one is gone, however long it takes.
    ///
    /// # Errors
    /// If the lock cannot be used.
    pub fn follow(plan: &Plan) -> Result<Instance> {
        let path = super::beside_the_api(plan, "lock");
        let (lock, mut told) = (open(&path)?, Instant::now());
        while !try_lock(&lock, &path)? {
            if told.elapsed() > TELL {
                told = Instant::now();
                tracing::warn!("the process before this one has not ended yet: it is waited for");
            }
            std::thread::sleep(LOOK);
        }
        Ok(Instance { _lock: lock })
    }
}

fn open(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    File::create(path).with_context(|| format!("{} cannot be made", path.display()))
}

fn try_lock(lock: &File, path: &Path) -> Result<bool> {
    match lock.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{} cannot be locked", path.display()))
        }
    }
}
