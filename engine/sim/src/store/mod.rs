//! The state store that the engines share: values with revisions, leases, and a history that watches follow; with what
//! a real one does at its worst. It answers late or not at all, after it has done what it was asked or before, and its
//! watches lag behind.

pub mod client;

use control::state::Expected;
use dataplane::id::Nanos;
use std::collections::{BTreeMap, VecDeque};

/// Changes that are kept for watches; who is further behind must take everything anew.
const HISTORY: usize = 200;

/// What was put under a lease goes when this long nobody has kept it alive.
pub const TTL: Nanos = Nanos::from_millis(10_000);

#[derive(Clone, Debug)]
struct Value {
    octets: Vec<u8>,
    revision: u64,
    lease: Option<u64>,
}

/// All that changed at one revision; no octets where a value is gone.
#[derive(Clone, Debug)]
struct Batch {
    revision: u64,
    at: Nanos,
    changes: Vec<(String, Option<Vec<u8>>)>,
}

/// A request.
#[derive(Clone, Debug)]
pub enum Request {
    /// A lease.
    Grant,
    /// A sign of life.
    KeepAlive(u64),
    /// A value where `expected` is true.
    Put { path: String, octets: Vec<u8>, expected: Expected, lease: Option<u64> },
}

/// Its answer; that of a request that was done says no more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The lease.
    Granted(u64),
    /// Done.
    Done,
    /// Somebody else was faster.
    Conflict,
    /// There is no such lease any more.
    LeaseGone,
}

/// What a watch learns: everything, or what changed. Each value with its revision.
#[derive(Clone, Debug)]
pub struct News {
    /// Known with it.
    pub revision: u64,
    /// It is everything.
    pub whole: bool,
    /// Path, revision, octets or `None` where it is gone.
    pub changes: Vec<(String, u64, Option<Vec<u8>>)>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Store {
    /// Nobody gets an answer.
    pub down: bool,
    /// What is asked is there after so long, and the answer back after as long again.
    pub delay: Nanos,
    /// So far watches lag behind.
    pub stale: Nanos,
    /// Whatever is expected of a value, it is overwritten.
    heedless: bool,
    revision: u64,
    values: BTreeMap<String, Value>,
    history: VecDeque<Batch>,
    /// When they end.
    leases: BTreeMap<u64, Nanos>,
    granted: u64,
}

/// How long a request takes, and an answer, where nothing is wrong.
pub const DELAY: Nanos = Nanos::from_millis(2);

impl Store {
    /// Empty and well, but for what tests of the checkers break: a `heedless` one overwrites whatever is expected.
    pub fn new(heedless: bool) -> Store {
        Store { delay: DELAY, heedless, ..Store::default() }
    }

    /// Does what is asked.
    pub fn answer(&mut self, now: Nanos, request: Request) -> Answer {
        match request {
            Request::Grant => {
                self.granted += 1;
                self.leases.insert(self.granted, now.plus(TTL));
                Answer::Granted(self.granted)
            }
            Request::KeepAlive(lease) => match self.leases.get_mut(&lease) {
                Some(end) => {
                    *end = now.plus(TTL);
                    Answer::Done
                }
                None => Answer::LeaseGone,
            },
            Request::Put { lease: Some(lease), .. } if !self.leases.contains_key(&lease) => Answer::LeaseGone,
            Request::Put { ref path, expected, .. } if !self.holds(path, expected) => Answer::Conflict,
            Request::Put { path, octets, lease, .. } => {
                let revision = self.revision + 1;
                self.values.insert(path.clone(), Value { octets: octets.clone(), revision, lease });
                self.changed(now, vec![(path, Some(octets))]);
                Answer::Done
            }
        }
    }

    fn holds(&self, path: &str, expected: Expected) -> bool {
        let there = self.values.get(path).map(|value| value.revision);
        let holds = match expected {
            Expected::Any => true,
            Expected::Absent => there.is_none(),
            Expected::Revision(revision) => there == Some(revision),
        };
        holds || self.heedless
    }

    /// Whether a write would take place.
    pub fn overwrites(&self, request: &Request) -> bool {
        matches!(request, Request::Put { path, expected, .. } if self.holds(path, *expected))
    }

    /// What lay under leases that have ended goes.
    pub fn expire(&mut self, now: Nanos) {
        let over: Vec<u64> = self.leases.iter().filter(|(_, end)| **end <= now).map(|(id, _)| *id).collect();
        for lease in over {
            self.leases.remove(&lease);
            let of_lease = self.values.iter().filter(|(_, value)| value.lease == Some(lease));
            let paths: Vec<String> = of_lease.map(|(path, _)| path.clone()).collect();
            paths.iter().for_each(|path| drop(self.values.remove(path)));
            if !paths.is_empty() {
                self.changed(now, paths.into_iter().map(|path| (path, None)).collect());
            }
        }
    }

    fn changed(&mut self, now: Nanos, changes: Vec<(String, Option<Vec<u8>>)>) {
        self.revision += 1;
        self.history.push_back(Batch { revision: self.revision, at: now, changes });
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }

    /// The history is no longer kept.
    pub fn compact(&mut self) {
        self.history.clear();
    }

    /// What a watch that knows everything up to `known` learns now, if anything.
    pub fn news(&self, now: Nanos, known: Option<u64>) -> Option<News> {
        let forgotten = self.revision - self.history.len() as u64;
        let Some(known) = known.filter(|known| *known >= forgotten) else {
            let values = self.values.iter();
            let changes =
                values.map(|(path, v)| (path.clone(), v.revision, Some(v.octets.clone()))).collect();
            return Some(News { revision: self.revision, whole: true, changes });
        };
        let seen = |batch: &&Batch| batch.at.plus(self.stale) <= now;
        let batches = self.history.iter().filter(|batch| batch.revision > known).take_while(seen);
        let (mut revision, mut changes) = (known, Vec::new());
        for batch in batches {
            revision = batch.revision;
            changes
                .extend(batch.changes.iter().map(|(path, octets)| (path.clone(), revision, octets.clone())));
        }
        (revision > known).then_some(News { revision, whole: false, changes })
    }

    /// A value.
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.values.get(path).map(|value| value.octets.as_slice())
    }
}
