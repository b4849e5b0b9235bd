//! What is used up of a key that outlives the process: written to disk, for good, before the first packet uses it.
//!
//! A file in the state folder belongs to one key, whatever tunnel has it: it is named by the key's digest. It says which
//! epoch was taken last and which sequence number is free, and grows by one [`Partition`] at a time. A lock beside it
//! keeps a second process out. What a folder cannot know is that it was set back to an earlier state: then its keys must be
//! replaced, at both ends.

use anyhow::{Context as _, Result, bail, ensure};
use aws_lc_rs::digest;
use dataplane::sa::Partition;
use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Sequence numbers taken at once: what a restart may leave unused, and what goes between two writes.
const NUMBERS: u64 = 1 << 24;

/// The state of one key. Nobody else has it while this lives.
#[derive(Debug)]
pub struct Epochs {
    file: PathBuf,
    epoch: u16,
    /// The first number that nobody has taken.
    free: u64,
    _lock: File,
}

impl Epochs {
    /// Those of `key` in `folder`, which is made where it is missing.
    ///
    /// # Errors
    /// If the folder cannot be used, another process has the key, or the file is damaged.
    pub fn open(folder: &Path, key: &[u8]) -> Result<Epochs> {
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let digest = digest::digest(&digest::SHA256, key);
        let name: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let lock = folder.join(format!("{name}.lock"));
        let held = File::create(&lock).with_context(|| format!("{} cannot be made", lock.display()))?;
        take_lock(&held, &lock)?;
        let file = folder.join(format!("{name}.epoch"));
        let (epoch, free) = match fs::read_to_string(&file) {
            Ok(text) => parse(&text).with_context(|| {
                format!("{} is damaged: take a new key, and never this one again", file.display())
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (0, 1),
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be read", file.display()));
            }
        };
        Ok(Epochs { file, epoch, free, _lock: held })
    }

    /// Takes the next part of the key, and writes down that it is taken.
    ///
    /// # Errors
    /// If nothing is left (RFC 4303 §3.3.3), or it cannot be written: then nothing may be sent.
    pub fn take(&mut self, esn: bool) -> Result<Partition> {
        let epoch =
            self.epoch.checked_add(1).and_then(NonZeroU16::new).context("all epochs of the key are used")?;
        let (first, end) = (self.free, self.free + NUMBERS);
        let highest = if esn { 1 << 48 } else { 1 << 32 };
        ensure!(end <= highest, "the sequence numbers of the key are used up: both ends need a new one");
        write(&self.file, epoch.get(), end)
            .with_context(|| format!("{} cannot be written", self.file.display()))?;
        (self.epoch, self.free) = (epoch.get(), end);
        Ok(Partition { epoch, first, count: NUMBERS })
    }
}

/// A process that ends, or one that has just been forked, may have it a moment longer.
fn take_lock(held: &File, name: &Path) -> Result<()> {
    for _ in 0..PATIENCE_MS / 10 {
        match held.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} cannot be locked", name.display()));
            }
        }
    }
    bail!("another process sends with this key ({})", name.display())
}

/// How long a lock is waited for.
const PATIENCE_MS: u64 = 500;

/// `epoch 3 free 50331649`.
fn parse(text: &str) -> Option<(u16, u64)> {
    let words: Vec<&str> = text.strip_suffix('\n')?.split(' ').collect();
    let ["epoch", epoch, "free", free] = words[..] else { return None };
    Some((epoch.parse().ok()?, free.parse().ok()?))
}

/// Replaces the file whole, and returns once both it and its name are on disk.
fn write(file: &Path, epoch: u16, free: u64) -> std::io::Result<()> {
    let new = file.with_extension("new");
    let mut out = File::create(&new)?;
    writeln!(out, "epoch {epoch} free {free}")?;
    out.sync_all()?;
    fs::rename(&new, file)?;
    File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("foreshift-epochs-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// However often it is restarted and renewed: no epoch twice, no number twice, each key for itself.
        #[test]
        fn nothing_is_taken_twice(restarts in prop::collection::vec((0..3usize, 1..4usize), 1..12), esn: bool) {
            let folder = folder("twice");
            let mut taken = vec![];
            for (key, times) in restarts {
                let mut epochs = Epochs::open(&folder, &[key as u8; 36]).unwrap();
                taken.extend((0..times).map(|_| (key, epochs.take(esn).unwrap())));
            }
            for (n, (key, a)) in taken.iter().enumerate() {
                for (_, b) in taken[..n].iter().filter(|(other, _)| other == key) {
                    prop_assert!(a.epoch > b.epoch && a.first >= b.first + b.count);
                }
            }
            fs::remove_dir_all(&folder).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_sure_is_refused() {
        let (folder, key) = (folder("sure"), [7; 36]);
        let mut epochs = Epochs::open(&folder, &key).unwrap();
        epochs.take(false).unwrap();
        let second = Epochs::open(&folder, &key).unwrap_err().to_string();
        assert!(second.contains("another process"), "{second}");
        let file = epochs.file.clone();
        drop(epochs);
        // RFC 4303 §3.3.3: without ESN, 2^32 numbers are all there are.
        write(&file, 9, (1 << 32) - NUMBERS + 1).unwrap();
        let mut epochs = Epochs::open(&folder, &key).unwrap();
        assert!(epochs.take(false).unwrap_err().to_string().contains("used up"));
        assert_eq!(epochs.take(true).unwrap().epoch.get(), 10, "with ESN there are more");
        drop(epochs);
        write(&file, u16::MAX, 1).unwrap();
        assert!(Epochs::open(&folder, &key).unwrap().take(true).unwrap_err().to_string().contains("epochs"));
        fs::write(&file, "epoch 3").unwrap();
        assert!(Epochs::open(&folder, &key).unwrap_err().to_string().contains("damaged"));
        fs::remove_dir_all(&folder).unwrap();
        fs::write(&folder, "a file").unwrap();
        assert!(Epochs::open(&folder, &key).is_err());
        fs::remove_file(&folder).unwrap();
    }
}
