//! What is used up of a key that outlives the process: written to disk, for good, before the first packet uses it.
//!
//! A file in the state folder belongs to one key, whatever tunnel has it: it is named by the key's digest. It says which
//! epoch was taken last and which sequence number is free, and grows by one [`Partition`] at a time. A lock beside it
//! keeps a second process out. What a folder cannot know is that it was set back to an earlier state: then its keys must be
//! replaced, at both ends.
//!
//! A key that two engines have, of which the owner of the site sends, is parted between them by [`Lane`]: their epochs
//! differ whatever either of them knows of the other, so that no nonce of one is ever one of the other. Sequence numbers go
//! on from one to the other, as the far end's anti-replay window wants it: what one reserves, the other writes down
//! ([`Epochs::reserve`]) before the first takes it.

use crate::host::durable;
use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::digest;
use control::shadow::sas::KeyId;
use control::shadow::takeover::Disk;
use dataplane::sa::Partition;
use std::fs::{self, File};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

/// Sequence numbers taken at once: what a restart may leave unused, and what goes between two writes.
const NUMBERS: u64 = 1 << 24;

/// Every `of`th epoch, from the one numbered `index`: an engine's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Of this engine, from 0.
    pub index: u16,
    /// How many engines have the key.
    pub of: u16,
}

impl Lane {
    /// A key that nobody else sends with.
    pub const ALONE: Lane = Lane { index: 0, of: 1 };

    /// The first epoch of this lane behind `last`. Epoch 0 is nobody's.
    fn next(self, last: u16) -> Option<NonZeroU16> {
        (1..=self.of)
            .filter_map(|step| last.checked_add(step))
            .find(|epoch| epoch % self.of == self.index)
            .and_then(NonZeroU16::new)
    }
}

/// What a key is called where it must not be said.
pub fn key_id(key: &[u8]) -> KeyId {
    let digest = digest::digest(&digest::SHA256, key);
    KeyId::new(*digest.as_ref().first_chunk().expect("SHA-256 has 32 octets"))
}

/// The state of one key. Nobody else has it while this lives.
#[derive(Debug)]
pub struct Epochs {
    file: PathBuf,
    lane: Lane,
    epoch: u16,
    /// The first number that nobody has taken.
    free: u64,
    /// No number above this was accepted of the SA that comes back, as far as anybody has written it down.
    accepted: u64,
    _lock: File,
}

impl Epochs {
    /// Those of `key` in `folder`, which is made where it is missing.
    ///
    /// # Errors
    /// If the folder cannot be used, another process has the key, the file is damaged, or the key was used in another lane.
    pub fn open(folder: &Path, key: &[u8], lane: Lane) -> Result<Epochs> {
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let name = format!("{:?}", key_id(key));
        let lock = folder.join(format!("{name}.lock"));
        let held = durable::lock(&lock, "another process sends with this key")?;
        let file = folder.join(format!("{name}.epoch"));
        let (epoch, free, accepted, used) = match fs::read_to_string(&file) {
            Ok(text) => parse(&text).with_context(|| {
                format!("{} is damaged: take a new key, and never this one again", file.display())
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (0, 1, 0, lane),
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be read", file.display()));
            }
        };
        ensure!(
            used == lane,
            "{}: the key was used by engine {} of {}, this is {} of {}: take a new key at both ends",
            file.display(),
            used.index + 1,
            used.of,
            lane.index + 1,
            lane.of
        );
        Ok(Epochs { file, lane, epoch, free, accepted, _lock: held })
    }

    /// Takes the next part of the key, and writes down that it is taken.
    ///
    /// # Errors
    /// If nothing is left (RFC 4303 §3.3.3), or it cannot be written: then nothing may be sent.
    pub fn take(&mut self, esn: bool) -> Result<Partition> {
        let epoch = self.lane.next(self.epoch).context("all epochs of the key are used")?;
        let (first, end) = (self.free, self.free + NUMBERS);
        let highest = if esn { 1 << 48 } else { 1 << 32 };
        ensure!(end <= highest, "the sequence numbers of the key are used up: both ends need a new one");
        self.write(epoch.get(), end, self.accepted)?;
        (self.epoch, self.free) = (epoch.get(), end);
        Ok(Partition { epoch, first, count: NUMBERS })
    }

    /// The last epoch that was taken, and the first number that nobody has taken.
    pub fn taken(&self) -> (u16, u64) {
        (self.epoch, self.free)
    }

    /// Numbers below `end` are another engine's: written down, for good.
    ///
    /// # Errors
    /// If it cannot be written: then the other engine must not use them.
    pub fn reserve(&mut self, end: u64) -> Result<()> {
        if end > self.free {
            self.write(self.epoch, end, self.accepted)?;
            self.free = end;
        }
        Ok(())
    }

    /// What the disk says of both directions, of all engines that have the key.
    pub fn disk(&self) -> Disk {
        Disk { accepted: self.accepted, free: self.free }
    }

    /// Numbers up to this may be accepted of what comes back: written down, for good.
    ///
    /// # Errors
    /// If it cannot be written: then none above the last that was may be accepted.
    pub fn keep_accepted(&mut self, accepted: u64) -> Result<()> {
        if accepted > self.accepted {
            self.write(self.epoch, self.free, accepted)?;
            self.accepted = accepted;
        }
        Ok(())
    }

    fn write(&self, epoch: u16, free: u64, accepted: u64) -> Result<()> {
        write(&self.file, (epoch, free, accepted), self.lane)
            .with_context(|| format!("{} cannot be written", self.file.display()))
    }
}

/// `epoch 3 free 50331649`, and behind it for a key that two engines have ` lane 1 of 2`, and ` accepted 7` where that is known.
fn parse(text: &str) -> Option<(u16, u64, u64, Lane)> {
    let words: Vec<&str> = text.strip_suffix('\n')?.split(' ').collect();
    let ["epoch", epoch, "free", free, rest @ ..] = &words[..] else { return None };
    let (lane, rest) = match rest {
        ["lane", index, "of", of, rest @ ..] => {
            (Lane { index: index.parse().ok()?, of: of.parse().ok()? }, rest)
        }
        rest => (Lane::ALONE, rest),
    };
    let accepted = match rest {
        [] => 0,
        ["accepted", accepted] => accepted.parse().ok()?,
        _ => return None,
    };
    Some((epoch.parse().ok()?, free.parse().ok()?, accepted, lane)).filter(|(.., lane)| lane.index < lane.of)
}

/// Replaces the file whole, and returns once both it and its name are on disk.
fn write(file: &Path, (epoch, free, accepted): (u16, u64, u64), lane: Lane) -> std::io::Result<()> {
    let mut text = format!("epoch {epoch} free {free}");
    if lane != Lane::ALONE {
        text += &format!(" lane {} of {}", lane.index, lane.of);
    }
    if accepted > 0 {
        text += &format!(" accepted {accepted}");
    }
    durable::replace(file, (text + "\n").as_bytes())
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

        /// Two engines with one key, of which neither may know anything of the other: no epoch is ever taken by both, and
        /// what one has reserved at the other it does not take.
        #[test]
        fn lanes_never_meet(turns in prop::collection::vec((0..2u16, any::<bool>()), 1..16)) {
            let folders = [folder("lane-0"), folder("lane-1")];
            let mut taken: Vec<Partition> = vec![];
            for (index, told) in turns {
                let (here, there) = (usize::from(index), usize::from(1 - index));
                let open = |at: usize| {
                    Epochs::open(&folders[at], &[5; 36], Lane { index: at as u16, of: 2 }).unwrap()
                };
                let part = open(here).take(true).unwrap();
                prop_assert!(taken.iter().all(|other| other.epoch != part.epoch));
                if told {
                    let end = open(here).taken().1;
                    open(there).reserve(end).unwrap();
                    prop_assert!(open(there).taken().1 >= part.first + part.count);
                }
                taken.push(part);
            }
            for folder in &folders {
                let _ = fs::remove_dir_all(folder);
            }
        }

        /// However often it is restarted and renewed: no epoch twice, no number twice, each key for itself.
        #[test]
        fn nothing_is_taken_twice(restarts in prop::collection::vec((0..3usize, 1..4usize), 1..12), esn: bool) {
            let folder = folder("twice");
            let mut taken = vec![];
            for (key, times) in restarts {
                let mut epochs = Epochs::open(&folder, &[key as u8; 36], Lane::ALONE).unwrap();
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
        let mut epochs = Epochs::open(&folder, &key, Lane::ALONE).unwrap();
        epochs.take(false).unwrap();
        epochs.keep_accepted(77).unwrap();
        epochs.keep_accepted(7).unwrap();
        let second = Epochs::open(&folder, &key, Lane::ALONE).unwrap_err().to_string();
        assert!(second.contains("another process"), "{second}");
        let file = epochs.file.clone();
        drop(epochs);
        assert_eq!(Epochs::open(&folder, &key, Lane::ALONE).unwrap().disk().accepted, 77);
        // What one engine alone has used, the epochs of two do not know.
        let shared = Epochs::open(&folder, &key, Lane { index: 0, of: 2 }).unwrap_err().to_string();
        assert!(shared.contains("take a new key"), "{shared}");
        // RFC 4303 §3.3.3: without ESN, 2^32 numbers are all there are.
        write(&file, (9, (1 << 32) - NUMBERS + 1, 0), Lane::ALONE).unwrap();
        let mut epochs = Epochs::open(&folder, &key, Lane::ALONE).unwrap();
        assert!(epochs.take(false).unwrap_err().to_string().contains("used up"));
        assert_eq!(epochs.take(true).unwrap().epoch.get(), 10, "with ESN there are more");
        drop(epochs);
        write(&file, (u16::MAX, 1, 0), Lane::ALONE).unwrap();
        assert!(
            Epochs::open(&folder, &key, Lane::ALONE)
                .unwrap()
                .take(true)
                .unwrap_err()
                .to_string()
                .contains("epochs")
        );
        fs::write(&file, "epoch 3").unwrap();
        assert!(Epochs::open(&folder, &key, Lane::ALONE).unwrap_err().to_string().contains("damaged"));
        fs::remove_dir_all(&folder).unwrap();
        fs::write(&folder, "a file").unwrap();
        assert!(Epochs::open(&folder, &key, Lane::ALONE).is_err());
        fs::remove_file(&folder).unwrap();
    }
}
