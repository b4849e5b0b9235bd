//! The suite on the embedded store, and what is its own.

use super::{Folder, Rig, cases, following, key, prefix, runtime};
use cluster::embedded::{Embedded, OpenError};
use cluster::{Follower, Guard, Mirror, Revision, Store, Update};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const HISTORY: u64 = 500;

struct EmbeddedRig {
    folder: Folder,
    store: Option<Embedded>,
}

impl EmbeddedRig {
    /// Inside a runtime.
    fn new() -> EmbeddedRig {
        let folder = Folder::new();
        let store = Embedded::open(&folder.join("state.redb"), HISTORY).expect("a store");
        EmbeddedRig { folder, store: Some(store) }
    }
}

impl Rig for EmbeddedRig {
    type Store = Embedded;

    fn store(&self) -> Embedded {
        self.store.clone().expect("open")
    }

    fn lease_least(&self) -> Duration {
        Duration::from_millis(300)
    }

    async fn compact(&mut self) {
        for _ in 0..HISTORY {
            self.store().put(&key("/noise"), Vec::new(), Guard::Any, None).await.expect("put");
        }
    }

    async fn restart(&mut self) {
        self.store = None;
        let path = self.folder.join("state.redb");
        let opened = async {
            loop {
                // Transactions that nobody waits for any more end first.
                match Embedded::open(&path, HISTORY) {
                    Err(OpenError::Database { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                    opened => break opened.expect("a store"),
                }
            }
        };
        self.store = Some(tokio::time::timeout(Duration::from_secs(5), opened).await.expect("closed"));
    }
}

macro_rules! conforms {
    ($($module:ident :: $case:ident),* $(,)?) => {
        $(#[test]
        fn $case() {
            runtime().block_on(async { $module::$case(&mut EmbeddedRig::new()).await });
        })*
    };
}

conforms!(
    cases::values,
    cases::many_and_large,
    cases::guards,
    cases::contention,
    cases::watches,
    cases::leases,
    following::interruptions,
    following::compaction,
    following::restart,
);

#[test]
fn the_file_is_its_owners_and_one_process_has_it() {
    runtime().block_on(async {
        let rig = EmbeddedRig::new();
        let path = rig.folder.join("state.redb");
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(Embedded::open(&path, HISTORY), Err(OpenError::Database { .. })), "in use");
        let other = rig.folder.join("other");
        std::fs::write(&other, "not a database").expect("a file");
        assert!(matches!(Embedded::open(&other, HISTORY), Err(OpenError::Database { .. })));
        let error = Embedded::open(rig.folder.as_ref(), HISTORY).expect_err("a folder");
        assert!(error.to_string().contains("foreshift-cluster"), "{error}");
    });
}

#[test]
fn a_lease_that_nobody_keeps_ends_after_a_restart_too() {
    runtime().block_on(async {
        let mut rig = EmbeddedRig::new();
        let lease = rig.store().grant(rig.lease_least()).await.expect("a lease");
        rig.store().put(&key("/l/a"), b"1".to_vec(), Guard::Any, Some(lease)).await.expect("put");
        rig.restart().await;
        let store = rig.store();
        let at = store.revision().await.expect("a revision");
        assert!(store.get(&key("/l/a")).await.expect("an answer").is_some(), "its time begins anew");
        let mut follower = Follower::resume(store, prefix("/l/"), at);
        let gone = tokio::time::timeout(Duration::from_secs(5), follower.next()).await.expect("ends");
        assert!(matches!(gone, Ok(Update::Changes(batch)) if batch.changes[0].value.is_none()));
    });
}

#[test]
fn a_quiet_prefix_is_not_forgotten() {
    runtime().block_on(async {
        let mut rig = EmbeddedRig::new();
        let mut follower = Follower::resume(rig.store(), prefix("/quiet/"), Revision(0));
        let ((), last) = tokio::join!(rig.compact(), async {
            let mut last = Revision(0);
            while last.0 < HISTORY / 2 {
                match follower.next().await.expect("an update") {
                    Update::Changes(batch) if batch.changes.is_empty() => last = batch.revision,
                    other => panic!("{other:?}"),
                }
            }
            last
        });
        assert!(last.0 >= HISTORY / 2, "it learns how far it is without a snapshot");
    });
}

#[test]
fn a_mirror_has_what_was_last_known() {
    runtime().block_on(async {
        let rig = EmbeddedRig::new();
        let (store, below) = (rig.store(), prefix("/m/"));
        let path = rig.folder.join("mirror.redb");
        let mirror = Mirror::open(&path).expect("a mirror");
        assert_eq!(mirror.load(&below).expect("readable"), None);
        let mut follower = Follower::new(store.clone(), below.clone());
        store.put(&key("/m/a"), b"1".to_vec(), Guard::Any, None).await.expect("put");
        store.put(&key("/m/b"), b"1".to_vec(), Guard::Any, None).await.expect("put");
        mirror.apply(&below, &follower.next().await.expect("a snapshot")).expect("written");
        store.delete(&key("/m/a"), Guard::Any).await.expect("deleted");
        mirror.apply(&below, &follower.next().await.expect("a batch")).expect("written");
        store.put(&key("/m/b"), b"2".to_vec(), Guard::Any, None).await.expect("put");
        mirror.apply(&below, &follower.next().await.expect("a batch")).expect("written");
        drop(mirror);
        let known = Mirror::open(&path).expect("a mirror").load(&below).expect("readable");
        assert_eq!(known.as_ref(), Some(&store.list(&below).await.expect("a list")));
        assert_eq!(Mirror::open(&path).expect("a mirror").load(&prefix("/n/")).expect("readable"), None);
    });
}
