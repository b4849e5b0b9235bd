//! The live routes: changes wait here until the workers know their next hops, then go into the FIB a few at a time, so
//! that a million of them do not hold up the control loop.
//!
//! Next hops are made before a route leads to them and broken after: see [`dataplane::fib`].

mod answers;
#[cfg(test)]
mod tests;

use crate::routes::Batch;
use dataplane::fib::{Capacity, Fib, FibError, FibWriter, Usage};
use dataplane::id::{Generation, NextHopId};
use dataplane::snapshot::NextHop;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most time that routes may take of one tick.
const BUDGET: Duration = Duration::from_micros(800);
/// Changes between two looks at the time.
const CHUNK: usize = 32;

/// What workers have reported: the least of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The snapshot that they all have taken, or a later one.
    pub generation: Generation,
    /// The FIB's epoch.
    pub epoch: u64,
}

/// An entry of the next-hop table.
#[derive(Clone, Copy, Debug)]
struct Entry {
    next_hop: NextHop,
    /// Routes that lead to it, and changes that wait to.
    uses: usize,
}

/// Changes that wait, in order.
#[derive(Debug)]
struct Waiting {
    changes: std::vec::IntoIter<(IpNet, Option<u32>)>,
    /// By a change's next hop.
    ids: Vec<NextHopId>,
    /// The workers need this snapshot first; `None` until it is published.
    generation: Option<Generation>,
}

/// The routes and next hops of a running engine.
#[derive(Debug)]
pub struct Routes {
    writer: FibWriter,
    entries: Vec<Entry>,
    ids: FxHashMap<NextHop, NextHopId>,
    /// Ids without a use since an epoch, oldest first; their entry may serve again after it.
    idle: VecDeque<(u64, NextHopId)>,
    waiting: VecDeque<Waiting>,
    seen: Seen,
    next_hops_changed: bool,
    refused: u64,
    last_error: Option<FibError>,
    /// What was changed since the start, beside the configuration and its file.
    changed: BTreeMap<IpNet, Option<NextHop>>,
}

/// What the routes amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Routes and memory.
    pub usage: Usage,
    /// Next hops in use.
    pub next_hops: usize,
    /// Changes that wait.
    pub pending: usize,
    /// Changes that found no room.
    pub refused: u64,
    /// Why the last one of them did not.
    pub last_error: Option<FibError>,
}

impl Routes {
    /// With `routes` in effect at once: no worker reads yet.
    ///
    /// # Errors
    /// If they do not fit.
    pub fn new(routes: impl IntoIterator<Item = (IpNet, NextHop)>) -> Result<Routes, FibError> {
        let mut new = Routes {
            writer: FibWriter::new(Capacity::default()),
            // Id 0 is no route: nothing leads to its entry.
            entries: vec![Entry { next_hop: NextHop::Unreachable, uses: 1 }],
            ids: FxHashMap::default(),
            idle: VecDeque::new(),
            waiting: VecDeque::new(),
            seen: Seen { generation: Generation(0), epoch: 0 },
            next_hops_changed: true,
            refused: 0,
            last_error: None,
            changed: BTreeMap::new(),
        };
        let (prefixes, next_hops): (Vec<IpNet>, Vec<NextHop>) = routes.into_iter().unzip();
        let changes = prefixes.into_iter().zip((0..).map(Some)).collect();
        new.begin_with(Batch { next_hops, changes })?;
        Ok(new)
    }

    /// Applies `batch` at once: before any worker reads.
    ///
    /// # Errors
    /// If it does not fit.
    pub fn begin_with(&mut self, batch: Batch) -> Result<(), FibError> {
        self.enqueue(batch);
        while let Some(mut waiting) = self.waiting.pop_front() {
            while let Some((prefix, place)) = waiting.changes.next() {
                self.apply(prefix, place.map(|place| waiting.ids[place as usize]))?;
                let epoch = self.writer.advance();
                self.writer.reclaim(epoch);
            }
            self.release(&waiting.ids);
        }
        Ok(())
    }

    /// As [`begin_with`](Self::begin_with), with what was changed in another process of this engine.
    ///
    /// # Errors
    /// If it does not fit.
    pub fn resume(&mut self, batch: Batch) -> Result<(), FibError> {
        self.note(&batch);
        self.begin_with(batch)
    }

    /// Queues changes that somebody has asked for.
    pub fn change(&mut self, batch: Batch) {
        self.note(&batch);
        self.enqueue(batch);
    }

    fn note(&mut self, batch: &Batch) {
        let next_hop = |place: u32| batch.next_hops[place as usize];
        self.changed.extend(batch.changes.iter().map(|&(prefix, place)| (prefix, place.map(next_hop))));
    }

    /// What was asked for since the start; `None`: the route was withdrawn.
    pub fn changed(&self) -> impl Iterator<Item = (IpNet, Option<NextHop>)> + '_ {
        self.changed.iter().map(|(&prefix, &next_hop)| (prefix, next_hop))
    }

    /// The lookup structure that workers share.
    pub fn fib(&self) -> &Arc<Fib> {
        self.writer.fib()
    }

    /// What the route to `ip` leads to now.
    pub fn towards(&self, ip: IpAddr) -> Option<NextHop> {
        self.fib().lookup(ip).map(|id| self.entries[id.index()].next_hop)
    }

    /// The next hops, by [`NextHopId`], for a snapshot that is published as `generation`.
    pub fn publish(&mut self, generation: Generation) -> Arc<[NextHop]> {
        self.next_hops_changed = false;
        for waiting in &mut self.waiting {
            waiting.generation.get_or_insert(generation);
        }
        self.entries.iter().map(|entry| entry.next_hop).collect()
    }

    /// Whether the next hops differ from those published last: changes wait for a snapshot with them.
    pub fn next_hops_changed(&self) -> bool {
        self.next_hops_changed
    }

    /// Queues changes behind those that wait.
    pub fn enqueue(&mut self, batch: Batch) {
        let before = self.next_hops_changed;
        let ids = batch.next_hops.into_iter().map(|next_hop| self.take_id(next_hop)).collect();
        // Without a new next hop, what the workers have is enough.
        let known = !before && !self.next_hops_changed;
        let generation = known.then_some(self.seen.generation);
        self.waiting.push_back(Waiting { changes: batch.changes.into_iter(), ids, generation });
    }

    /// Applies what the workers are ready for, for a bounded time. Returns the number of changes.
    pub fn tick(&mut self, seen: Seen) -> usize {
        self.seen = seen;
        self.writer.reclaim(seen.epoch);
        let (end, mut applied) = (Instant::now() + BUDGET, 0);
        while let Some(waiting) = self.waiting.front_mut() {
            if waiting.generation.is_none_or(|generation| generation > seen.generation) {
                break;
            }
            let chunk: Vec<_> = waiting.changes.by_ref().take(CHUNK).collect();
            let ids = waiting.ids.clone();
            if chunk.is_empty() {
                self.waiting.pop_front();
                self.release(&ids);
                continue;
            }
            for (prefix, place) in chunk {
                applied += 1;
                if let Err(error) = self.apply(prefix, place.map(|place| ids[place as usize])) {
                    self.refused += 1;
                    self.last_error = Some(error);
                }
            }
            if Instant::now() >= end {
                break;
            }
        }
        if applied > 0 || self.writer.usage().retired_bytes > 0 {
            self.writer.advance();
        }
        applied
    }

    /// The route that `address` takes.
    pub fn of(&self, address: IpAddr) -> Option<(IpNet, NextHop)> {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        (0..=longest).rev().find_map(|len| {
            let prefix = IpNet::new(address, len).ok()?.trunc();
            Some((prefix, self.next_hop(self.writer.get(prefix)?)))
        })
    }

    /// Routes, those inside `within` if it is given.
    pub fn iter(&self, within: Option<IpNet>) -> impl Iterator<Item = (IpNet, NextHop)> {
        let all = [Ipv4Net::default().into(), Ipv6Net::default().into()];
        let within = within.map_or(all.to_vec(), |within| vec![within]);
        let routes = within.into_iter().flat_map(|within| self.writer.routes_in(within));
        routes.map(|(prefix, id)| (prefix, self.next_hop(id)))
    }

    fn next_hop(&self, id: NextHopId) -> NextHop {
        self.entries[id.index()].next_hop
    }

    /// Counts.
    pub fn summary(&self) -> Summary {
        Summary {
            usage: self.writer.usage(),
            next_hops: self.ids.len() - self.idle.len(),
            pending: self.waiting.iter().map(|waiting| waiting.changes.len()).sum(),
            refused: self.refused,
            last_error: self.last_error,
        }
    }

    fn apply(&mut self, prefix: IpNet, id: Option<NextHopId>) -> Result<(), FibError> {
        let replaced = match id {
            Some(id) => self.writer.insert(prefix, id)?,
            None => self.writer.remove(prefix)?,
        };
        if let Some(id) = id {
            self.entries[id.index()].uses += 1;
        }
        if let Some(replaced) = replaced {
            self.drop_use(replaced);
        }
        Ok(())
    }

    /// The id of `next_hop`, made if there is none, with one use more.
    fn take_id(&mut self, next_hop: NextHop) -> NextHopId {
        if let Some(&id) = self.ids.get(&next_hop) {
            self.entries[id.index()].uses += 1;
            if self.entries[id.index()].uses == 1 {
                self.idle.retain(|&(_, idle)| idle != id);
            }
            return id;
        }
        self.next_hops_changed = true;
        let entry = Entry { next_hop, uses: 1 };
        let free = self.idle.front().copied().filter(|&(epoch, _)| epoch <= self.seen.epoch);
        let id = match free {
            Some((_, id)) => {
                self.idle.pop_front();
                self.ids.remove(&self.entries[id.index()].next_hop);
                self.entries[id.index()] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                NextHopId(self.entries.len() as u32 - 1)
            }
        };
        self.ids.insert(next_hop, id);
        id
    }

    fn release(&mut self, ids: &[NextHopId]) {
        for &id in ids {
            self.drop_use(id);
        }
    }

    fn drop_use(&mut self, id: NextHopId) {
        let entry = &mut self.entries[id.index()];
        entry.uses -= 1;
        if entry.uses == 0 {
            // Workers of the epoch that follows have no route to it.
            let epoch = self.writer.advance();
            self.idle.push_back((epoch, id));
        }
    }
}
