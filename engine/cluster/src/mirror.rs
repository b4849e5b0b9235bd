//! What was last known of other regions' stores, kept in a file of our own: a restarted engine goes on from there, and has
//! something to show while a region cannot be reached.

use crate::follow::Update;
use crate::key::{Key, Prefix};
use crate::store::{Change, Entry, Revision, Snapshot};
use redb::{Database, ReadableDatabase, Table, TableDefinition};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// (prefix, key) → (revision, value).
type Place = (&'static str, &'static str);
type Value = (u64, &'static [u8]);
const ENTRIES: TableDefinition<'static, Place, Value> = TableDefinition::new("entries");
/// Prefix → revision.
const POSITIONS: TableDefinition<'static, &'static str, u64> = TableDefinition::new("positions");

/// Why a mirror cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The file cannot be made or read.
    #[error(transparent)]
    File(std::io::Error),
    /// It is no database of ours, is damaged, or is in use.
    #[error(transparent)]
    Database(Box<redb::Error>),
}

impl<E: Into<redb::Error>> From<E> for MirrorError {
    fn from(error: E) -> MirrorError {
        MirrorError::Database(Box::new(error.into()))
    }
}

/// Other regions' state and revision, in a file. Its calls wait for the disk.
#[derive(Debug)]
pub struct Mirror {
    database: Database,
}

impl Mirror {
    /// Opens or makes the file, which only its owner may read.
    ///
    /// # Errors
    /// If the file cannot be had, or another process has it.
    pub fn open(path: &Path) -> Result<Mirror, MirrorError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(MirrorError::File)?;
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let database = Database::builder().create_file(file.map_err(MirrorError::File)?)?;
        let write = database.begin_write()?;
        write.open_table(ENTRIES)?;
        write.open_table(POSITIONS)?;
        write.commit()?;
        Ok(Mirror { database })
    }

    /// What was known of a prefix; a [`crate::Follower`] resumes from its revision.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn load(&self, prefix: &Prefix) -> Result<Option<Snapshot>, MirrorError> {
        let read = self.database.begin_read()?;
        let Some(revision) = read.open_table(POSITIONS)?.get(prefix.as_str())?.map(|found| found.value())
        else {
            return Ok(None);
        };
        let mut entries = Vec::new();
        let (end, table) = (prefix.end(), read.open_table(ENTRIES)?);
        for found in table.range((prefix.as_str(), prefix.as_str())..(prefix.as_str(), end.as_str()))? {
            let (place, value) = found?;
            let (revision, value) = value.value();
            if let Ok(key) = Key::new(place.value().1) {
                entries.push(Entry { key, value: value.to_vec(), revision: Revision(revision) });
            }
        }
        Ok(Some(Snapshot { revision: Revision(revision), entries }))
    }

    /// Applies what a follower of the prefix learnt: the values and the position together, or neither.
    ///
    /// # Errors
    /// If it cannot be written: what was known before stays.
    pub fn apply(&self, prefix: &Prefix, update: &Update) -> Result<(), MirrorError> {
        let write = self.database.begin_write()?;
        {
            let mut entries = write.open_table(ENTRIES)?;
            match update {
                Update::Snapshot(snapshot) => replace(&mut entries, prefix, snapshot)?,
                Update::Changes(batch) => {
                    batch.changes.iter().try_for_each(|c| change(&mut entries, prefix, batch.revision, c))?;
                }
            }
            write.open_table(POSITIONS)?.insert(prefix.as_str(), update.revision().0)?;
        }
        write.commit()?;
        Ok(())
    }
}

fn replace(
    entries: &mut Table<'_, Place, Value>,
    prefix: &Prefix,
    snapshot: &Snapshot,
) -> Result<(), MirrorError> {
    let (prefix, end) = (prefix.as_str(), prefix.end());
    entries.retain_in((prefix, prefix)..(prefix, end.as_str()), |_, _| false)?;
    for entry in &snapshot.entries {
        entries.insert((prefix, entry.key.as_str()), (entry.revision.0, entry.value.as_slice()))?;
    }
    Ok(())
}

fn change(
    entries: &mut Table<'_, Place, Value>,
    prefix: &Prefix,
    revision: Revision,
    change: &Change,
) -> Result<(), MirrorError> {
    let place = (prefix.as_str(), change.key.as_str());
    match &change.value {
        Some(value) => entries.insert(place, (revision.0, value.as_slice()))?,
        None => entries.remove(place)?,
    };
    Ok(())
}
