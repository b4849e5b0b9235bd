//! Values, guards, watches, leases.

use super::{Rig, key, prefix, put};
use cluster::{Guard, Revision, Snapshot, Store, StoreError, VALUE_MAX, Watch};
use std::time::{Duration, Instant};

/// A batch that changes something.
async fn next(watch: &mut Watch) -> Result<cluster::Batch, StoreError> {
    let wanted = async {
        loop {
            match watch.next().await {
                Ok(batch) if batch.changes.is_empty() => {}
                other => return other,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wanted).await.expect("a batch within 10 s")
}

pub async fn values(rig: &mut impl Rig) {
    let store = rig.store();
    let (b, ab) = (key("/values/a/b"), key("/values/ab"));
    let before = store.revision().await.expect("a revision");
    assert_eq!(store.get(&b).await, Ok(None));
    assert_eq!(store.delete(&b, Guard::Any).await, Ok(None));
    assert_eq!(store.revision().await, Ok(before), "nothing was there to delete");
    let first = store.put(&b, b"1".to_vec(), Guard::Any, None).await.expect("put");
    assert!(first > before);
    store.put(&ab, b"x".to_vec(), Guard::Any, None).await.expect("put");
    let second = store.put(&b, Vec::new(), Guard::Any, None).await.expect("put");
    let found = store.get(&b).await.expect("there").expect("is");
    assert_eq!((found.value, found.revision), (Vec::new(), second));
    let snapshot = store.list(&prefix("/values/a/")).await.expect("a list");
    assert_eq!(snapshot.revision, second);
    assert_eq!(snapshot.entries.len(), 1, "/values/ab is not below /values/a/");
    let deleted = store.delete(&b, Guard::Any).await.expect("deleted").expect("was there");
    assert!(deleted > second);
    assert_eq!(store.get(&b).await, Ok(None));
    let empty = Snapshot { revision: deleted, entries: Vec::new() };
    assert_eq!(store.list(&prefix("/values/a/")).await, Ok(empty));
}

pub async fn many_and_large(rig: &mut impl Rig) {
    let store = rig.store();
    let large = vec![7; VALUE_MAX];
    let too_large = store.put(&key("/large/x"), vec![7; VALUE_MAX + 1], Guard::Any, None).await;
    assert!(matches!(too_large, Err(StoreError::Refused(_))), "{too_large:?}");
    let before = store.revision().await.expect("a revision");
    for i in 0..6 {
        store.put(&key(&format!("/large/{i}")), large.clone(), Guard::Any, None).await.expect("put");
    }
    for i in 0..150 {
        store.put(&key(&format!("/large/small/{i:03}")), vec![i as u8], Guard::Any, None).await.expect("put");
    }
    let listed = store.list(&prefix("/large/")).await.expect("a list").entries;
    assert_eq!(listed.len(), 156);
    assert!(listed.is_sorted_by(|a, b| a.key < b.key));
    assert!(listed.iter().take(6).all(|entry| entry.value == large));
    let mut watch = store.watch(&prefix("/large/"), before).await.expect("a watch");
    for entry in &listed {
        let batch = next(&mut watch).await.expect("a batch");
        assert_eq!(batch, put(entry.revision, entry.key.as_str(), &entry.value));
    }
}

pub async fn guards(rig: &mut impl Rig) {
    let store = rig.store();
    let k = key("/guards/k");
    let conflict = |actual| Err(StoreError::Conflict { actual });
    let absent = Guard::Revision(Revision(1));
    assert_eq!(store.put(&k, b"0".to_vec(), absent, None).await, conflict(None));
    let first = store.put(&k, b"1".to_vec(), Guard::Absent, None).await.expect("absent");
    assert_eq!(store.put(&k, b"2".to_vec(), Guard::Absent, None).await, conflict(Some(first)));
    let second = store.put(&k, b"2".to_vec(), Guard::Revision(first), None).await.expect("as known");
    assert_eq!(store.put(&k, b"3".to_vec(), Guard::Revision(first), None).await, conflict(Some(second)));
    assert_eq!(
        store.delete(&k, Guard::Revision(first)).await.map(|_| ()),
        conflict(Some(second)).map(|_: Revision| ())
    );
    assert_eq!(store.get(&k).await.expect("there").map(|entry| entry.value), Some(b"2".to_vec()));
    assert!(store.delete(&k, Guard::Revision(second)).await.expect("as known").is_some());
    assert!(store.put(&k, b"4".to_vec(), Guard::Absent, None).await.is_ok());
}

/// Everyone reads, adds one and puts it back if nobody else did: no addition is lost.
pub async fn contention(rig: &mut impl Rig) {
    const EACH: u32 = 12;
    let adders: Vec<_> = (0..4)
        .map(|_| {
            let store = rig.store();
            tokio::spawn(async move {
                let k = key("/contention/sum");
                let mut added = 0;
                while added < EACH {
                    let found = store.get(&k).await.expect("an answer");
                    let (sum, guard) = found.map_or((0, Guard::Absent), |entry| {
                        let text = String::from_utf8(entry.value).expect("a number");
                        (text.parse::<u32>().expect("a number"), Guard::Revision(entry.revision))
                    });
                    match store.put(&k, (sum + 1).to_string().into_bytes(), guard, None).await {
                        Ok(_) => added += 1,
                        Err(StoreError::Conflict { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for adder in adders {
        adder.await.expect("added");
    }
    let sum = rig.store().get(&key("/contention/sum")).await.expect("an answer").expect("a sum");
    assert_eq!(sum.value, (4 * EACH).to_string().into_bytes());
}

pub async fn watches(rig: &mut impl Rig) {
    let store = rig.store();
    let (a, other) = (key("/watches/a"), key("/elsewhere/a"));
    let start = store.revision().await.expect("a revision");
    let first = store.put(&a, b"1".to_vec(), Guard::Any, None).await.expect("put");
    store.put(&other, b"1".to_vec(), Guard::Any, None).await.expect("put");
    let deleted = store.delete(&a, Guard::Any).await.expect("deleted").expect("was there");
    let mut all = store.watch(&prefix("/watches/"), start).await.expect("a watch");
    let mut later = store.watch(&prefix("/watches/"), first).await.expect("a watch");
    assert_eq!(next(&mut all).await, Ok(put(first, "/watches/a", b"1")));
    for watch in [&mut all, &mut later] {
        let batch = next(watch).await.expect("a batch");
        assert_eq!((batch.revision, batch.changes.len()), (deleted, 1));
        assert_eq!((&batch.changes[0].key, &batch.changes[0].value), (&a, &None));
    }
    // From here on they are live.
    let second = store.put(&a, b"2".to_vec(), Guard::Any, None).await.expect("put");
    for watch in [&mut all, &mut later] {
        assert_eq!(next(watch).await, Ok(put(second, "/watches/a", b"2")));
    }
    let silent = tokio::time::timeout(Duration::from_millis(100), next(&mut all)).await;
    assert!(silent.is_err(), "{silent:?}");
    let third = store.put(&a, b"3".to_vec(), Guard::Any, None).await.expect("put");
    assert_eq!(next(&mut all).await, Ok(put(third, "/watches/a", b"3")), "giving up a wait loses nothing");
}

pub async fn leases(rig: &mut impl Rig) {
    let store = rig.store();
    let least = rig.lease_least();
    let start = store.revision().await.expect("a revision");
    let mut watch = store.watch(&prefix("/leases/"), start).await.expect("a watch");
    let (kept, lost) =
        (store.grant(least).await.expect("a lease"), store.grant(least).await.expect("a lease"));
    for (name, lease) in [("/leases/a", kept), ("/leases/b", lost), ("/leases/c", lost)] {
        store.put(&key(name), b"1".to_vec(), Guard::Any, Some(lease)).await.expect("put");
        next(&mut watch).await.expect("a batch");
    }
    // What is put again without a lease stays.
    store.put(&key("/leases/c"), b"2".to_vec(), Guard::Any, None).await.expect("put");
    next(&mut watch).await.expect("a batch");
    let granted = Instant::now();
    let gone = loop {
        store.keep_alive(kept).await.expect("a live lease");
        tokio::select! {
            batch = next(&mut watch) => break batch.expect("a batch"),
            () = tokio::time::sleep(least / 8) => {}
        }
    };
    let lived = granted.elapsed();
    assert!(
        lived + Duration::from_millis(500) > least && lived < 4 * least,
        "a lease of {least:?} lived {lived:?}"
    );
    let deleted: Vec<&str> = gone.changes.iter().map(|change| change.key.as_str()).collect();
    assert_eq!(deleted, ["/leases/b"]);
    assert_eq!(store.keep_alive(lost).await, Err(StoreError::LeaseGone));
    let dead = store.put(&key("/leases/d"), b"1".to_vec(), Guard::Any, Some(lost)).await;
    assert_eq!(dead, Err(StoreError::LeaseGone));
    store.put(&key("/leases/e"), b"1".to_vec(), Guard::Any, Some(kept)).await.expect("put");
    next(&mut watch).await.expect("a batch");
    store.revoke(kept).await.expect("revoked");
    let gone = next(&mut watch).await.expect("a batch");
    let mut deleted: Vec<&str> = gone.changes.iter().map(|change| change.key.as_str()).collect();
    deleted.sort_unstable();
    assert_eq!(deleted, ["/leases/a", "/leases/e"], "at one revision");
    assert_eq!(store.revoke(kept).await, Err(StoreError::LeaseGone));
    let left = store.list(&prefix("/leases/")).await.expect("a list").entries;
    assert_eq!(left.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["/leases/c"]);
}
