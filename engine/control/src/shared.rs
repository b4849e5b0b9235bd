//! What this engine knows of the state store, and what it last wrote there.

use crate::state::{Expected, Record, StateChange, StateKey};
use dataplane::id::Nanos;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whether the store can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "store", rename_all = "snake_case")]
pub enum StoreState {
    /// It answers.
    Ready {
        /// Since then.
        since: Nanos,
    },
    /// It does not.
    Lost {
        /// Since then; since the start, if it never has.
        since: Nanos,
        /// What it, or the way to it, says.
        reason: String,
    },
}

/// A record as the store last had it.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Since this revision of its region's store.
    pub revision: u64,
    /// It.
    pub record: Record,
}

/// The store from here.
#[derive(Debug)]
pub(crate) struct Shared {
    pub state: StoreState,
    pub known: BTreeMap<StateKey, Known>,
    /// What was last asked to be written, and under which expectation.
    asked: BTreeMap<StateKey, (Record, Expected)>,
    pub next: Nanos,
    pub next_vitals: Nanos,
}

impl Shared {
    pub fn new() -> Shared {
        let reason = "it has not answered since this engine started".to_owned();
        Shared {
            state: StoreState::Lost { since: Nanos(0), reason },
            known: BTreeMap::new(),
            asked: BTreeMap::new(),
            next: Nanos(0),
            next_vitals: Nanos(0),
        }
    }

    /// It answers. Whatever was asked before may not have been done, and what was leased may be gone: all is asked again.
    /// True if it was lost.
    pub fn ready(&mut self, now: Nanos) -> bool {
        self.asked.clear();
        self.next = now;
        self.next_vitals = now;
        if matches!(self.state, StoreState::Ready { .. }) {
            return false;
        }
        self.state = StoreState::Ready { since: now };
        true
    }

    /// It does not answer any more. True if it did.
    pub fn lost(&mut self, now: Nanos, reason: String) -> bool {
        let (since, was_ready) = match self.state {
            StoreState::Ready { .. } => (now, true),
            StoreState::Lost { since, .. } => (since, false),
        };
        self.state = StoreState::Lost { since, reason };
        was_ready
    }

    /// Why planned moves must wait, if they must.
    pub fn fault(&self, now: Nanos) -> Option<String> {
        match &self.state {
            StoreState::Ready { .. } => None,
            StoreState::Lost { since, reason } => {
                let seconds = now.since(*since).as_millis() / 1000;
                Some(format!(
                    "the state store has been lost for {seconds} s ({reason}): planned moves wait for it"
                ))
            }
        }
    }

    /// What the store has of a region: all of it, or what changed.
    pub fn changed(&mut self, region: &str, whole: bool, changes: Vec<StateChange>) {
        if whole {
            self.known.retain(|key, _| key.region != region);
        }
        for StateChange { key, revision, record } in changes {
            match record {
                Some(record) => self.known.insert(key, Known { revision, record }),
                None => self.known.remove(&key),
            };
        }
    }

    /// Whether `record` is to be written: it is, if it was not asked for already under the same expectation.
    pub fn ask(&mut self, key: &StateKey, record: &Record, expected: Expected) -> bool {
        let asked = self.asked.get(key).is_some_and(|(r, e)| r == record && *e == expected);
        if !asked {
            self.asked.insert(key.clone(), (record.clone(), expected));
        }
        !asked
    }
}
