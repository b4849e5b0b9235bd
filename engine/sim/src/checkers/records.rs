//! (9) The state store decides nothing: nothing planned begins while an engine has long been without it, and no owner of
//! a past epoch overwrites what a later one wants.

use super::{Log, Rule};
use crate::store::client::NOTICED;
use crate::store::{Request, Store};
use control::decision::{Decision, Outcome};
use control::state::{Record, StateKey};
use dataplane::id::Nanos;
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub struct Records {
    /// For how many milliseconds in a row an engine that runs has not reached the store.
    without: BTreeMap<&'static str, u64>,
}

impl Records {
    /// An engine that runs reaches the store in this millisecond, or does not.
    pub fn reaches(&mut self, engine: &'static str, reaches: bool) {
        let without = self.without.entry(engine).or_default();
        *without = if reaches { 0 } else { *without + 1 };
    }

    /// A new life of an engine has not noticed anything yet.
    pub fn began(&mut self, engine: &'static str) {
        self.without.remove(engine);
    }

    /// An engine has decided.
    pub fn decided(&self, at: Nanos, engine: &str, decision: &Decision, log: &mut Log) {
        let without = self.without.get(engine).copied().unwrap_or(0);
        let begins = decision.action.starts_with("shift") && !decision.action.ends_with("complete");
        if begins && decision.outcome == Outcome::Done && without > NOTICED.as_millis() + 100 {
            let what = format!("{engine} begins a planned move {without} ms after it lost the store");
            log.violate(at, Rule::Records, what);
        }
    }

    /// The store is about to do what it is asked.
    pub fn asked(&self, at: Nanos, store: &Store, request: &Request, log: &mut Log) {
        let Request::Put { path, octets, .. } = request else { return };
        let epoch = |octets: &[u8]| match Record::decode(&StateKey::parse(path)?.topic, octets) {
            Ok(Record::Intent(intent)) => Some(intent.epoch),
            _ => None,
        };
        let (there, new) = (store.get(path).and_then(epoch), epoch(octets));
        if let (Some(there), Some(new)) = (there, new)
            && new < there
            && store.overwrites(request)
        {
            let what = format!("an owner of epoch {new} overwrites what one of {there} wants");
            log.violate(at, Rule::Records, what);
        }
    }
}
