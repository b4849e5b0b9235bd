//! Which process is the engine: the one that holds the lock. The kernel lets go of it with the process, whatever ends it.

use crate::host::durable;
use crate::plan::Plan;
use anyhow::{Context as _, Result};
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

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
        let alone =
            format!("another process of engine {} runs: stop it, or follow it by run --take-over", plan.name);
        Ok(Instance { _lock: durable::lock(&path(plan)?, &alone)? })
    }

    /// Of a process that follows another one: once that one is gone, however long it takes.
    ///
    /// # Errors
    /// If the lock cannot be used.
    pub fn follow(plan: &Plan) -> Result<Instance> {
        let mut told = Instant::now();
        let wait = || {
            if told.elapsed() > TELL {
                told = Instant::now();
                tracing::warn!("the process before this one has not ended yet: it is waited for");
            }
            Ok(())
        };
        Ok(Instance { _lock: durable::lock_when(&path(plan)?, wait)? })
    }
}

/// The lock's file, in a folder that is there.
fn path(plan: &Plan) -> Result<PathBuf> {
    let path = super::beside_the_api(plan, "lock");
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    Ok(path)
}
