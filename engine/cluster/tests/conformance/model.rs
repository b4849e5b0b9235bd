//! The embedded store against a model too simple to be wrong: a map, and a list of everything that ever happened.

use super::{Folder, key, prefix, runtime};
use cluster::embedded::Embedded;
use cluster::{Batch, Change, Guard, LeaseId, Revision, Store, StoreError};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const HISTORY: u64 = 12;
const KEYS: [&str; 5] = ["/m/a", "/m/b", "/m/b/c", "/mm", "/n"];

#[derive(Clone, Debug)]
enum Act {
    Put {
        key: usize,
        value: u8,
        guard: Rule,
        lease: Option<usize>,
    },
    Delete {
        key: usize,
        guard: Rule,
    },
    Grant,
    Revoke(usize),
    /// Everything below `/m/` that happened in the last so many revisions.
    Watch {
        back: u64,
    },
    Reopen,
}

/// A guard, as far as it can be said without knowing revisions.
#[derive(Clone, Copy, Debug)]
enum Rule {
    Any,
    Absent,
    Current,
    Stale,
}

fn rule() -> impl Strategy<Value = Rule> {
    prop_oneof![Just(Rule::Any), Just(Rule::Absent), Just(Rule::Current), Just(Rule::Stale)]
}

fn act() -> impl Strategy<Value = Act> {
    let put = (0..KEYS.len(), any::<u8>(), rule(), proptest::option::of(0..3_usize));
    prop_oneof![
        6 => put.prop_map(|(key, value, guard, lease)| Act::Put { key, value, guard, lease }),
        3 => (0..KEYS.len(), rule()).prop_map(|(key, guard)| Act::Delete { key, guard }),
        1 => Just(Act::Grant),
        1 => (0..3_usize).prop_map(Act::Revoke),
        3 => (0..2 * HISTORY).prop_map(|back| Act::Watch { back }),
        1 => Just(Act::Reopen),
    ]
}

#[derive(Default)]
struct Model {
    revision: u64,
    values: BTreeMap<&'static str, (u64, Option<LeaseId>, u8)>,
    log: Vec<(u64, BTreeMap<&'static str, Option<u8>>)>,
    leases: Vec<LeaseId>,
    over: Vec<LeaseId>,
}

impl Model {
    fn guard(&self, of: &str, rule: Rule) -> (Guard, Result<(), StoreError>) {
        let current = self.values.get(of).map(|(revision, ..)| *revision);
        let (guard, holds) = match rule {
            Rule::Any => (Guard::Any, true),
            Rule::Absent => (Guard::Absent, current.is_none()),
            Rule::Current => (Guard::Revision(Revision(current.unwrap_or(9999))), current.is_some()),
            Rule::Stale => (Guard::Revision(Revision(9999)), false),
        };
        (guard, if holds { Ok(()) } else { Err(StoreError::Conflict { actual: current.map(Revision) }) })
    }

    fn changed(&mut self, changes: BTreeMap<&'static str, Option<u8>>) -> Revision {
        self.revision += 1;
        self.log.push((self.revision, changes));
        Revision(self.revision)
    }

    fn lease(&self, number: Option<usize>) -> Option<LeaseId> {
        number.and_then(|number| self.leases.get(number).copied())
    }

    /// What a watch from so far back sees.
    fn batches(&self, after: u64) -> Vec<Batch> {
        let below = prefix("/m/");
        let of = |(revision, changes): &(u64, BTreeMap<&'static str, Option<u8>>)| {
            let ours = changes.iter().filter(|(name, _)| below.contains(name));
            let changes =
                ours.map(|(name, value)| Change { key: key(name), value: value.map(|value| vec![value]) });
            Batch { revision: Revision(*revision), changes: changes.collect() }
        };
        let later = self.log.iter().filter(|(revision, _)| *revision > after).map(of);
        later.filter(|batch| !batch.changes.is_empty()).collect()
    }
}

async fn step(store: &mut Embedded, model: &mut Model, act: Act, folder: &Folder) {
    match act {
        Act::Put { key: at, value, guard, lease } => {
            let lease = model.lease(lease);
            let (guard, holds) = model.guard(KEYS[at], guard);
            let gone = lease.is_some_and(|lease| model.over.contains(&lease));
            let expected = if gone { Err(StoreError::LeaseGone) } else { holds };
            let expected = expected.map(|()| {
                let revision = model.changed([(KEYS[at], Some(value))].into());
                model.values.insert(KEYS[at], (revision.0, lease, value));
                revision
            });
            assert_eq!(store.put(&key(KEYS[at]), vec![value], guard, lease).await, expected);
        }
        Act::Delete { key: at, guard } => {
            let (guard, holds) = model.guard(KEYS[at], guard);
            let expected = holds
                .map(|()| model.values.remove(KEYS[at]).map(|_| model.changed([(KEYS[at], None)].into())));
            assert_eq!(store.delete(&key(KEYS[at]), guard).await, expected);
        }
        Act::Grant => model.leases.push(store.grant(Duration::from_secs(3600)).await.expect("a lease")),
        Act::Revoke(number) => {
            let Some(lease) = model.lease(Some(number)) else { return };
            if model.over.contains(&lease) {
                assert_eq!(store.revoke(lease).await, Err(StoreError::LeaseGone));
                return;
            }
            store.revoke(lease).await.expect("revoked");
            model.over.push(lease);
            let held = model.values.iter().filter(|(_, (_, under, _))| *under == Some(lease));
            let held: BTreeMap<&str, Option<u8>> = held.map(|(name, _)| (*name, None)).collect();
            if !held.is_empty() {
                model.values.retain(|name, _| !held.contains_key(name));
                model.changed(held);
            }
        }
        Act::Watch { back } => watch(store, model, back).await,
        Act::Reopen => {
            let path = folder.join("model.redb");
            let old =
                std::mem::replace(store, Embedded::open(&folder.join("none.redb"), 1).expect("a store"));
            drop(old);
            *store = loop {
                match Embedded::open(&path, HISTORY) {
                    Ok(opened) => break opened,
                    Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            };
        }
    }
    let listed = store.list(&prefix("/m/")).await.expect("a list");
    assert_eq!(listed.revision, Revision(model.revision));
    let listed: Vec<_> = listed.entries.iter().map(|e| (e.key.as_str(), e.revision.0, e.value[0])).collect();
    let ours = model.values.iter().filter(|(name, _)| prefix("/m/").contains(name));
    let ours: Vec<_> = ours.map(|(name, (revision, _, value))| (*name, *revision, *value)).collect();
    assert_eq!(listed, ours);
}

async fn watch(store: &Embedded, model: &Model, back: u64) {
    let after = model.revision.saturating_sub(back);
    let mut watch = store.watch(&prefix("/m/"), Revision(after)).await.expect("begins");
    if after < model.revision.saturating_sub(HISTORY) {
        let oldest = Revision(model.revision - HISTORY);
        assert_eq!(watch.next().await, Err(StoreError::Compacted { oldest }));
        return;
    }
    let (expected, mut seen) = (model.batches(after), Vec::new());
    while seen.len() < expected.len() {
        let batch = watch.next().await.expect("a batch");
        seen.extend((!batch.changes.is_empty()).then_some(batch));
    }
    assert_eq!(seen, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_embedded_store_is_its_model(acts in proptest::collection::vec(act(), 1..60)) {
        runtime().block_on(async {
            let folder = Folder::new();
            let mut store = Embedded::open(&folder.join("model.redb"), HISTORY).expect("a store");
            let mut model = Model::default();
            for act in acts {
                step(&mut store, &mut model, act, &folder).await;
            }
        });
    }
}
