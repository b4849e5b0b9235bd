//! Transactions over the file. Time comes in as an argument; nothing here waits but for the disk.

use super::OpenError;
use super::log::{self, LOG, Scan};
use crate::key::{Key, Prefix};
use crate::store::{Entry, Guard, LeaseId, Revision, Snapshot, StoreError};
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Key → (revision, lease or 0, value).
type Value = (u64, u64, &'static [u8]);
const ENTRIES: TableDefinition<'static, &'static str, Value> = TableDefinition::new("entries");
/// Lease → its time, milliseconds.
const LEASES: TableDefinition<'static, u64, u64> = TableDefinition::new("leases");
/// Counters, by name.
const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");
const REVISION: &str = "revision";
const COMPACTED: &str = "compacted";
const LEASE: &str = "lease";

/// The file, and the deadlines of its leases.
#[derive(Debug)]
pub struct Core {
    database: Database,
    history: u64,
    revision: Revision,
    deadlines: BTreeMap<LeaseId, (Duration, Instant)>,
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Unavailable(format!("the store's file: {}", error.into()))
}

impl Core {
    /// Opens or makes the file. Leases begin anew.
    pub fn open(path: &Path, history: u64, now: Instant) -> Result<Core, OpenError> {
        let file = |error| OpenError::File { path: path.to_owned(), error };
        let database =
            |error: redb::Error| OpenError::Database { path: path.to_owned(), error: Box::new(error) };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(file)?;
        }
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let opened = Database::builder().create_file(opened.map_err(file)?);
        let opened = opened.map_err(|error| database(error.into()))?;
        let mut core = Core {
            database: opened,
            history: history.max(1),
            revision: Revision(0),
            deadlines: BTreeMap::new(),
        };
        core.load(now).map_err(database)?;
        Ok(core)
    }

    fn load(&mut self, now: Instant) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
        {
            write.open_table(ENTRIES)?;
            write.open_table(LOG)?;
            self.revision = Revision(write.open_table(META)?.get(REVISION)?.map_or(0, |found| found.value()));
            for lease in write.open_table(LEASES)?.iter()? {
                let (id, ttl) = lease?;
                let ttl = Duration::from_millis(ttl.value());
                self.deadlines.insert(LeaseId(id.value()), (ttl, now + ttl));
            }
        }
        write.commit()?;
        Ok(())
    }

    pub fn revision(&self) -> Revision {
        self.revision
    }

    pub fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let read = self.database.begin_read().map_err(failed)?;
        let table = read.open_table(ENTRIES).map_err(failed)?;
        let found = table.get(key.as_str()).map_err(failed)?;
        Ok(found.map(|found| {
            let (revision, _, value) = found.value();
            Entry { key: key.clone(), value: value.to_vec(), revision: Revision(revision) }
        }))
    }

    pub fn list(&self, prefix: &Prefix) -> Result<Snapshot, StoreError> {
        let read = self.database.begin_read().map_err(failed)?;
        let table = read.open_table(ENTRIES).map_err(failed)?;
        let mut entries = Vec::new();
        for found in table.range(prefix.as_str()..prefix.end().as_str()).map_err(failed)? {
            let (key, value) = found.map_err(failed)?;
            let (revision, _, value) = value.value();
            let key = log::key(key.value())?;
            entries.push(Entry { key, value: value.to_vec(), revision: Revision(revision) });
        }
        Ok(Snapshot { revision: self.revision, entries })
    }

    /// Batches below `prefix` after `after`: at most about `limit`.
    pub fn changes(&self, prefix: &Prefix, after: Revision, limit: usize) -> Result<Scan, StoreError> {
        let read = self.database.begin_read().map_err(failed)?;
        let meta = read.open_table(META).map_err(failed)?;
        let compacted = meta.get(COMPACTED).map_err(failed)?.map_or(0, |found| found.value());
        if after.0 < compacted {
            return Err(StoreError::Compacted { oldest: Revision(compacted) });
        }
        let table = read.open_table(LOG).map_err(failed)?;
        log::scan(&table, prefix, after, self.revision, limit)
    }

    pub fn put(
        &mut self,
        now: Instant,
        key: &Key,
        value: &[u8],
        guard: Guard,
        lease: Option<LeaseId>,
    ) -> Result<Revision, StoreError> {
        if let Some(lease) = lease {
            self.alive(now, lease)?;
        }
        let revision = Revision(self.revision.0 + 1);
        let write = self.database.begin_write().map_err(failed)?;
        {
            let mut entries = write.open_table(ENTRIES).map_err(failed)?;
            check(&entries, key, guard)?;
            let lease = lease.map_or(0, |lease| lease.0);
            entries.insert(key.as_str(), (revision.0, lease, value)).map_err(failed)?;
        }
        self.commit(write, revision, &[(key.as_str(), Some(value))])?;
        Ok(revision)
    }

    pub fn delete(&mut self, key: &Key, guard: Guard) -> Result<Option<Revision>, StoreError> {
        let revision = Revision(self.revision.0 + 1);
        let write = self.database.begin_write().map_err(failed)?;
        {
            let mut entries = write.open_table(ENTRIES).map_err(failed)?;
            check(&entries, key, guard)?;
            if entries.remove(key.as_str()).map_err(failed)?.is_none() {
                return Ok(None);
            }
        }
        self.commit(write, revision, &[(key.as_str(), None)])?;
        Ok(Some(revision))
    }

    pub fn grant(&mut self, now: Instant, ttl: Duration) -> Result<LeaseId, StoreError> {
        let write = self.database.begin_write().map_err(failed)?;
        let id = {
            let mut meta = write.open_table(META).map_err(failed)?;
            let id = meta.get(LEASE).map_err(failed)?.map_or(0, |found| found.value()) + 1;
            meta.insert(LEASE, id).map_err(failed)?;
            let mut leases = write.open_table(LEASES).map_err(failed)?;
            leases.insert(id, ttl.as_millis() as u64).map_err(failed)?;
            LeaseId(id)
        };
        write.commit().map_err(failed)?;
        self.deadlines.insert(id, (ttl, now + ttl));
        Ok(id)
    }

    pub fn keep_alive(&mut self, now: Instant, lease: LeaseId) -> Result<(), StoreError> {
        self.alive(now, lease)?;
        if let Some((ttl, deadline)) = self.deadlines.get_mut(&lease) {
            *deadline = now + *ttl;
        }
        Ok(())
    }

    /// A lease past its deadline is gone, whether or not it was swept.
    fn alive(&self, now: Instant, lease: LeaseId) -> Result<(), StoreError> {
        match self.deadlines.get(&lease) {
            Some((_, deadline)) if now < *deadline => Ok(()),
            _ => Err(StoreError::LeaseGone),
        }
    }

    pub fn revoke(&mut self, lease: LeaseId) -> Result<(), StoreError> {
        if !self.deadlines.contains_key(&lease) {
            return Err(StoreError::LeaseGone);
        }
        let revision = Revision(self.revision.0 + 1);
        let write = self.database.begin_write().map_err(failed)?;
        let held = {
            write.open_table(LEASES).map_err(failed)?.remove(lease.0).map_err(failed)?;
            let mut entries = write.open_table(ENTRIES).map_err(failed)?;
            let mut held = Vec::new();
            for found in entries.iter().map_err(failed)? {
                let (key, value) = found.map_err(failed)?;
                if value.value().1 == lease.0 {
                    held.push(key.value().to_owned());
                }
            }
            for key in &held {
                entries.remove(key.as_str()).map_err(failed)?;
            }
            held
        };
        if held.is_empty() {
            write.commit().map_err(failed)?;
        } else {
            let changes: Vec<(&str, Option<&[u8]>)> = held.iter().map(|key| (key.as_str(), None)).collect();
            self.commit(write, revision, &changes)?;
        }
        self.deadlines.remove(&lease);
        Ok(())
    }

    /// Ends the leases whose time is over.
    pub fn expire(&mut self, now: Instant) -> Result<(), StoreError> {
        let over = self.deadlines.iter().filter(|(_, (_, deadline))| now >= *deadline);
        let over: Vec<LeaseId> = over.map(|(lease, _)| *lease).collect();
        over.into_iter().try_for_each(|lease| self.revoke(lease))
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.values().map(|(_, deadline)| *deadline).min()
    }

    /// Writes the log and the revision, forgets what is too old, and puts all of it on the disk.
    fn commit(
        &mut self,
        write: WriteTransaction,
        revision: Revision,
        changes: &[(&str, Option<&[u8]>)],
    ) -> Result<(), StoreError> {
        {
            log::append(&mut write.open_table(LOG).map_err(failed)?, revision, changes)?;
            let mut meta = write.open_table(META).map_err(failed)?;
            meta.insert(REVISION, revision.0).map_err(failed)?;
            let compacted = revision.0.saturating_sub(self.history);
            if compacted > 0 {
                meta.insert(COMPACTED, compacted).map_err(failed)?;
                log::forget(&mut write.open_table(LOG).map_err(failed)?, Revision(compacted))?;
            }
        }
        write.commit().map_err(failed)?;
        self.revision = revision;
        Ok(())
    }
}

fn check(entries: &Table<'_, &'static str, Value>, key: &Key, guard: Guard) -> Result<(), StoreError> {
    let actual = entries.get(key.as_str()).map_err(failed)?.map(|found| Revision(found.value().0));
    let holds = match guard {
        Guard::Any => true,
        Guard::Absent => actual.is_none(),
        Guard::Revision(revision) => actual == Some(revision),
    };
    if holds { Ok(()) } else { Err(StoreError::Conflict { actual }) }
}
