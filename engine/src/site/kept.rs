//! The generations of a site's configuration on disk: a folder with a file for each, named by its number.
//!
//! A file has one line of JSON, the [`Head`], and then the text. It is written whole, and is on the disk before anybody is told.
//! What it says is named by a digest, so that a damaged one is known: it is put aside, the one before it is in force, and a
//! person is told; nothing is deleted but what is older than the history is long.

use crate::config::site::Site;
use crate::host::durable;
use crate::site::sha256;
use anyhow::{Context as _, Result, anyhow};
use control::replication::{Head, Revision, Version};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

const EXTENSION: &str = "site";
const DAMAGED: &str = "damaged";

/// The folder. No other process has it while this lives.
#[derive(Debug)]
pub struct Kept {
    folder: PathBuf,
    history: usize,
    _lock: File,
}

/// What was found in it.
pub struct Opened {
    /// The newest that is whole; the root if there is none.
    pub version: Version,
    /// The highest number that any file has.
    pub floor: u64,
    /// What was wrong with newer ones.
    pub alarm: Option<String>,
}

impl Kept {
    /// Opens the folder, which is made where it is missing.
    ///
    /// # Errors
    /// If it cannot be used or read, or another process has it.
    pub fn open(section: &Site) -> Result<(Kept, Opened)> {
        let folder = section.keep.clone();
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let lock = durable::lock(&folder.join("lock"), "another engine keeps its configuration here")?;
        let kept = Kept { folder, history: section.history.get() as usize, _lock: lock };
        let floor = kept.numbers(DAMAGED)?.into_iter().chain(kept.numbers(EXTENSION)?).max().unwrap_or(0);
        let mut alarms = Vec::new();
        for number in kept.numbers(EXTENSION)?.into_iter().rev() {
            let file = kept.file(number);
            let octets = fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
            match parse(&octets, number) {
                Ok(version) => return Ok((kept, Opened { version, floor, alarm: alarm(alarms, number) })),
                Err(error) => {
                    let aside = file.with_extension(DAMAGED);
                    fs::rename(&file, &aside).with_context(|| format!("{} is damaged", file.display()))?;
                    alarms.push(format!("{} is damaged ({error:#})", aside.display()));
                }
            }
        }
        Ok((kept, Opened { version: Version::root(sha256), floor, alarm: alarm(alarms, 0) }))
    }

    fn file(&self, generation: u64) -> PathBuf {
        self.folder.join(format!("{generation:016}.{EXTENSION}"))
    }

    /// The numbers of the files that end so, lowest first.
    fn numbers(&self, extension: &str) -> Result<Vec<u64>> {
        let entries = fs::read_dir(&self.folder)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .with_context(|| format!("{} cannot be listed", self.folder.display()))?;
        let number = |path: &Path| {
            let ours = path.extension().is_some_and(|found| found == extension);
            path.file_stem().filter(|_| ours)?.to_str()?.parse::<u64>().ok()
        };
        let mut numbers: Vec<u64> = entries.iter().filter_map(|entry| number(&entry.path())).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Puts a version on the disk, and forgets those that are too old.
    ///
    /// # Errors
    /// If it is not there for good.
    pub fn keep(&self, version: &Version) -> Result<()> {
        let file = self.file(version.head.revision.generation);
        let mut content = serde_json::to_vec(&version.head)?;
        content.push(b'\n');
        content.extend(version.text.as_bytes());
        durable::replace(&file, &content).with_context(|| file.display().to_string())?;
        let numbers = self.numbers(EXTENSION)?;
        for old in &numbers[..numbers.len().saturating_sub(self.history)] {
            // What is too much is tried again with the next one.
            let _ = fs::remove_file(self.file(*old));
        }
        Ok(())
    }

    /// The one of this number.
    ///
    /// # Errors
    /// If it is not there, or not whole.
    pub fn read(&self, generation: u64) -> Result<Version> {
        let file = self.file(generation);
        let octets = fs::read(&file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                anyhow!("generation {generation} is not kept here; see `foreshift config history`")
            }
            _ => anyhow::Error::from(error).context(format!("{} cannot be read", file.display())),
        })?;
        parse(&octets, generation).with_context(|| format!("{} is damaged", file.display()))
    }

    /// Those that are kept, newest first.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn history(&self) -> Result<Vec<Revision>> {
        let numbers = self.numbers(EXTENSION)?;
        Ok(numbers.into_iter().rev().filter_map(|n| Some(self.read(n).ok()?.head.revision)).collect())
    }
}

fn alarm(damaged: Vec<String>, in_force: u64) -> Option<String> {
    let what = damaged.join("; ");
    (!damaged.is_empty()).then(|| format!("{what}: generation {in_force} is in force in its place"))
}

/// A file's content; `number` is what its name says.
pub fn parse(octets: &[u8], number: u64) -> Result<Version> {
    let text = std::str::from_utf8(octets).context("not text")?;
    let (head, text) = text.split_once('\n').context("cut off in its first line")?;
    let head: Head = serde_json::from_str(head).context("its first line")?;
    let version = Version::assemble(head, text, sha256)?;
    let generation = version.head.revision.generation;
    anyhow::ensure!(generation == number, "it is generation {generation}");
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::replication::By;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let folder = std::env::temp_dir().join(format!("foreshift-site-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            Folder(folder)
        }

        fn section(&self, history: &str) -> Site {
            let table: toml::Table =
                format!("keep = {:?}\nhistory = {history}", self.0).parse().expect("TOML");
            let mut problems = Vec::new();
            crate::config::section_of(&table, &mut problems).unwrap_or_else(|| panic!("{problems:?}"))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn after(version: &Version, floor: u64, text: &str) -> Version {
        let by = By { author: "alice".into(), at_ms: 7, note: String::new() };
        version.next(None, text.into(), ("a1", by), floor, sha256).expect("a generation")
    }

    #[test]
    fn what_is_kept_is_in_force_after_a_restart_and_the_oldest_go() {
        let folder = Folder::new("restart");
        let (kept, opened) = Kept::open(&folder.section("2")).expect("opened");
        assert!(opened.version.head.is_root() && opened.alarm.is_none());
        let mut version = opened.version;
        for text in ["one", "two", "three"] {
            version = after(&version, 0, text);
            kept.keep(&version).expect("kept");
        }
        let busy = Kept::open(&folder.section("2")).err().expect("one process has it");
        assert!(format!("{busy:#}").contains("another engine"), "{busy:#}");
        let generations: Vec<u64> = kept.history().unwrap().iter().map(|r| r.generation).collect();
        assert_eq!(generations, [3, 2]);
        assert!(kept.read(1).unwrap_err().to_string().contains("not kept"));
        assert_eq!(&*kept.read(2).unwrap().text, "two");
        drop(kept);
        let (_kept, opened) = Kept::open(&folder.section("2")).expect("opened again");
        assert_eq!((opened.version, opened.floor, opened.alarm), (version, 3, None));
    }

    #[test]
    fn whatever_is_damaged_the_one_before_is_in_force_and_it_is_told() {
        let folder = Folder::new("damage");
        let (kept, opened) = Kept::open(&folder.section("9")).expect("opened");
        let one = after(&opened.version, 0, "[[route]]\n");
        let two = after(&one, 0, "[acl]\n");
        kept.keep(&one).expect("kept");
        kept.keep(&two).expect("kept");
        let file = kept.file(2);
        drop(kept);
        let whole = fs::read(&file).expect("there");
        let last = whole.len() - 1;
        // Cut off anywhere, or one octet changed anywhere: never taken for whole.
        let cut = (0..whole.len()).map(|end| whole[..end].to_vec());
        let changed = (0..whole.len()).map(|at| {
            let mut octets = whole.clone();
            octets[at] ^= 1;
            octets
        });
        for damaged in cut.chain(changed) {
            let same = parse(&damaged, 2).is_ok_and(|version| version == two);
            assert!(parse(&damaged, 2).is_err() || same, "{}", String::from_utf8_lossy(&damaged));
        }
        fs::write(&file, &whole[..last]).expect("written");
        let (kept, opened) = Kept::open(&folder.section("9")).expect("opened");
        assert_eq!((&opened.version, opened.floor), (&one, 2), "the number is not given out again");
        let alarm = opened.alarm.expect("told");
        assert!(alarm.contains("0000000000000002.damaged") && alarm.contains("generation 1"), "{alarm}");
        let three = after(&one, opened.floor, "[acl]\n");
        assert_eq!(three.head.revision.generation, 3);
        drop(kept);
        // Nothing is whole: each engine's file says.
        fs::write(file.with_file_name("0000000000000001.site"), "{}").expect("written");
        let (_kept, opened) = Kept::open(&folder.section("9")).expect("opened");
        assert!(opened.version.head.is_root() && opened.floor == 2 && opened.alarm.is_some());
    }
}
