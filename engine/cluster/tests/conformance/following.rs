//! Watches over interruptions: nothing missing, nothing twice, whatever happens in between.

use super::{Rig, key, prefix};
use cluster::{Follower, Guard, Revision, Store, StoreError, Update};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a follower believes.
#[derive(Default)]
struct View {
    at: Revision,
    values: BTreeMap<String, Vec<u8>>,
    snapshots: u32,
}

impl View {
    fn apply(&mut self, update: Update) {
        match update {
            Update::Snapshot(snapshot) => {
                assert!(snapshot.revision >= self.at);
                self.snapshots += 1;
                self.at = snapshot.revision;
                let text = |entry: cluster::Entry| (entry.key.to_string(), entry.value);
                self.values = snapshot.entries.into_iter().map(text).collect();
            }
            Update::Changes(batch) => {
                assert!(batch.revision > self.at, "{} after {}", batch.revision, self.at);
                self.at = batch.revision;
                for change in batch.changes {
                    match change.value {
                        Some(value) => self.values.insert(change.key.to_string(), value),
                        // What is deleted was there: a gap would show here.
                        None => Some(self.values.remove(change.key.as_str()).expect("known")),
                    };
                }
            }
        }
    }

    async fn reach<S: Store>(&mut self, follower: &mut Follower<S>, revision: Revision) {
        let reached = async {
            while self.at < revision {
                match follower.next().await {
                    Ok(update) => self.apply(update),
                    Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reached).await.expect("reached within 20 s");
    }

    async fn is_what_is_there(&self, store: &impl Store, below: &str) {
        let listed = store.list(&prefix(below)).await.expect("a list").entries;
        let listed = listed.into_iter().map(|entry| (entry.key.to_string(), entry.value)).collect();
        assert_eq!(self.values, listed);
    }
}

/// Writes the `i`-th of a sequence in which every value is another, and returns its revision.
async fn write(store: &impl Store, below: &str, i: u32) -> Revision {
    let k = key(&format!("{below}{}", i * 7 % 10));
    if i % 3 == 2
        && let Some(revision) = store.delete(&k, Guard::Any).await.expect("deleted")
    {
        return revision;
    }
    store.put(&k, i.to_string().into_bytes(), Guard::Any, None).await.expect("put")
}

/// A follower that is given up again and again, between and during its waits, and resumed by another.
pub async fn interruptions(rig: &mut impl Rig) {
    const BELOW: &str = "/interruptions/";
    let store = rig.store();
    let writer = tokio::spawn(async move {
        let mut last = Revision(0);
        for i in 0..120 {
            last = write(&store, BELOW, i).await;
        }
        last
    });
    let mut view = View::default();
    let mut follower = Follower::new(rig.store(), prefix(BELOW));
    for wait in 0..40 {
        let patience = Duration::from_micros(wait * 150);
        while let Ok(update) = tokio::time::timeout(patience, follower.next()).await {
            view.apply(update.expect("an update"));
        }
        if view.snapshots > 0 {
            follower = Follower::resume(rig.store(), prefix(BELOW), view.at);
        }
    }
    let last = writer.await.expect("written");
    view.reach(&mut follower, last).await;
    view.is_what_is_there(&rig.store(), BELOW).await;
    assert_eq!(view.snapshots, 1, "resuming needs no snapshot while the history is kept");
}

/// A watch from before a compaction ends with it, and a follower takes a snapshot.
pub async fn compaction(rig: &mut impl Rig) {
    const BELOW: &str = "/compaction/";
    let store = rig.store();
    let mut view = View::default();
    let mut follower = Follower::new(rig.store(), prefix(BELOW));
    let first = write(&store, BELOW, 0).await;
    view.reach(&mut follower, first).await;
    drop(follower);
    for i in 1..20 {
        write(&store, BELOW, i).await;
    }
    rig.compact().await;
    let mut stale = store.watch(&prefix(BELOW), first).await.expect("begins");
    let ended = tokio::time::timeout(Duration::from_secs(10), stale.next()).await.expect("ends");
    assert!(matches!(ended, Err(StoreError::Compacted { oldest }) if oldest > first), "{ended:?}");
    let mut follower = Follower::resume(store.clone(), prefix(BELOW), first);
    let last = write(&store, BELOW, 20).await;
    view.reach(&mut follower, last).await;
    assert_eq!(view.snapshots, 2);
    let last = write(&store, BELOW, 21).await;
    view.reach(&mut follower, last).await;
    view.is_what_is_there(&store, BELOW).await;
}

/// What was answered is there after a restart, and followers and leases go on.
pub async fn restart(rig: &mut impl Rig) {
    const BELOW: &str = "/restart/";
    let store = rig.store();
    let lease = store.grant(20 * rig.lease_least()).await.expect("a lease");
    store.put(&key("/restart/leased"), b"1".to_vec(), Guard::Any, Some(lease)).await.expect("put");
    let mut last = Revision(0);
    for i in 0..10 {
        last = write(&store, BELOW, i).await;
    }
    let mut view = View::default();
    let mut follower = Follower::new(store.clone(), prefix(BELOW));
    view.reach(&mut follower, last).await;
    drop((follower, store));
    rig.restart().await;
    let store = rig.store();
    assert!(store.revision().await.expect("a revision") >= last);
    store.keep_alive(lease).await.expect("a live lease");
    let mut follower = Follower::resume(store.clone(), prefix(BELOW), view.at);
    let last = write(&store, BELOW, 10).await;
    view.reach(&mut follower, last).await;
    view.is_what_is_there(&store, BELOW).await;
    assert_eq!(view.snapshots, 1);
}
