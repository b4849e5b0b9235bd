//! Small files that must be there after a crash, and whose process must be alone.

use anyhow::{Context as _, Result, bail};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a lock is waited for: a process that ends, or one that has just been forked, may have it a moment longer.
const PATIENCE: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(2);

/// Replaces the file whole, and returns once both it and its name are on disk.
pub fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    let new = file.with_extension("new");
    let mut out = File::create(&new)?;
    out.write_all(content)?;
    out.sync_all()?;
    fs::rename(&new, file)?;
    File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Makes and locks a file, for as long as what is returned lives; `alone` says what else may have it.
///
/// # Errors
/// If it cannot be made, or another process has it.
pub fn lock(path: &Path, alone: &str) -> Result<File> {
    let since = Instant::now();
    lock_when(path, || match since.elapsed() < PATIENCE {
        true => Ok(()),
        false => bail!("{alone} ({})", path.display()),
    })
}

/// Makes and locks a file once no other process has it; while one has, `wait` is asked whether to wait on.
///
/// # Errors
/// If it cannot be made or locked, and what `wait` says.
pub fn lock_when(path: &Path, mut wait: impl FnMut() -> Result<()>) -> Result<File> {
    let held = File::create(path).with_context(|| format!("{} cannot be made", path.display()))?;
    loop {
        match held.try_lock() {
            Ok(()) => return Ok(held),
            Err(TryLockError::WouldBlock) => wait()?,
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} cannot be locked", path.display()));
            }
        }
        std::thread::sleep(LOOK);
    }
}
