//! What changed, by revision: what watchers read, however far back they are.

use crate::key::{Key, Prefix};
use crate::store::{Batch, Change, Revision, StoreError};
use redb::{ReadableTable, Table, TableDefinition};

/// (revision, place in it) → (key, value).
pub type Place = (u64, u32);
/// A key, and its value unless it was deleted.
pub type Changed = (&'static str, Option<&'static [u8]>);
/// The table.
pub const LOG: TableDefinition<'static, Place, Changed> = TableDefinition::new("log");

/// A part of the log.
#[derive(Debug)]
pub struct Scan {
    /// What it has below the prefix.
    pub batches: Vec<Batch>,
    /// It has been read up to here.
    pub up_to: Revision,
    /// There is more.
    pub more: bool,
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Unavailable(format!("the store's file: {}", error.into()))
}

/// A key as it was put.
pub fn key(text: &str) -> Result<Key, StoreError> {
    Key::new(text).map_err(|error| StoreError::Unavailable(format!("the store's file is damaged: {error}")))
}

/// Appends one revision.
pub fn append(
    log: &mut Table<'_, Place, Changed>,
    revision: Revision,
    changes: &[(&str, Option<&[u8]>)],
) -> Result<(), StoreError> {
    for (place, change) in (0..).zip(changes) {
        log.insert((revision.0, place), *change).map_err(failed)?;
    }
    Ok(())
}

/// Forgets everything up to `compacted`.
pub fn forget(log: &mut Table<'_, Place, Changed>, compacted: Revision) -> Result<(), StoreError> {
    log.retain_in((0, 0)..(compacted.0 + 1, 0), |_, _| false).map_err(failed)
}

/// Reads from behind `after` to `newest`, or until there are `limit` batches.
pub fn scan(
    log: &impl ReadableTable<Place, Changed>,
    prefix: &Prefix,
    after: Revision,
    newest: Revision,
    limit: usize,
) -> Result<Scan, StoreError> {
    let mut batches: Vec<Batch> = Vec::new();
    for found in log.range((after.0 + 1, 0)..).map_err(failed)? {
        let (place, changed) = found.map_err(failed)?;
        let (revision, _) = place.value();
        let (text, value) = changed.value();
        if !prefix.contains(text) {
            continue;
        }
        let change = Change { key: key(text)?, value: value.map(<[u8]>::to_vec) };
        let up_to = batches.last().map_or(after, |batch| batch.revision);
        let full = batches.len() == limit;
        match batches.last_mut() {
            Some(batch) if batch.revision.0 == revision => batch.changes.push(change),
            _ if full => return Ok(Scan { batches, up_to, more: true }),
            _ => batches.push(Batch { revision: Revision(revision), changes: vec![change] }),
        }
    }
    Ok(Scan { batches, up_to: newest.max(after), more: false })
}
