//! The store's tasks on a real embedded store, the test in the controller's place.

use super::*;
use cluster::{Entry, Guard, Key, LeaseId, Revision, Snapshot, Watch};
use control::state::{ConfigRecord, StateChange, Topic};
use std::path::PathBuf;
use std::sync::Mutex;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("foreshift-state-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn plan(folder: &Folder) -> Cluster {
    let path = folder.0.join("state.redb");
    let region = crate::config::value_of("eu");
    Cluster { region, store: StoreSection::Embedded { path }, remotes: Vec::new(), keep: None }
}

fn write(generation: u64, expected: Expected) -> Write {
    let key = StateKey { region: "eu".into(), topic: Topic::Config { engine: "a1".into() } };
    let record = ConfigRecord { generation, digest: "ab".into(), site: "a".into() };
    (key, Record::Config(record), expected)
}

async fn next(inputs: &mut mpsc::Receiver<Input>) -> Input {
    tokio::time::timeout(Duration::from_secs(10), inputs.recv())
        .await
        .expect("within 10 s")
        .expect("an input")
}

/// Changes until one of the wanted generation is there.
async fn generation(inputs: &mut mpsc::Receiver<Input>, wanted: u64) -> StateChange {
    loop {
        let Input::StoreChanged { changes, .. } = next(inputs).await else { continue };
        for change in changes {
            if matches!(&change.record, Some(Record::Config(config)) if config.generation == wanted) {
                return change;
            }
        }
    }
}

#[tokio::test]
async fn what_is_written_comes_back_and_outlives_the_engine() {
    let folder = Folder::new("round");
    let (store, mut inputs) = StateStore::start("a1", &plan(&folder)).expect("started");
    while next(&mut inputs).await != Input::StoreReady {}
    store.write(write(1, Expected::Absent));
    let first = generation(&mut inputs, 1).await;
    store.write(write(9, Expected::Absent));
    store.write(write(2, Expected::Revision(first.revision)));
    let second = generation(&mut inputs, 2).await;
    assert!(second.revision > first.revision, "the one in between was refused: its key has a value");
    let open = StateStore::start("a2", &plan(&folder)).err().expect("one process has the file");
    assert!(format!("{open:#}").contains("cluster.path"), "{open:#}");
    store.end().await;
    let again = async {
        loop {
            // The last transaction ends with the tasks.
            match StateStore::start("a1", &plan(&folder)) {
                Ok(started) => break started,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let (store, mut inputs) = tokio::time::timeout(Duration::from_secs(5), again).await.expect("closed");
    assert_eq!(generation(&mut inputs, 2).await.revision, second.revision);
    store.end().await;
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_said_to_be() {
    let nobody = EtcdSection {
        endpoints: vec![crate::config::value_of("http://127.0.0.1:9")],
        ca: None,
        identity: None,
        login: Some(("foreshift".into(), PathBuf::from("/nonexistent/password"))),
    };
    let region = crate::config::value_of("eu");
    let plan = Cluster { region, store: StoreSection::Etcd(nobody), remotes: Vec::new(), keep: None };
    let (store, mut inputs) = StateStore::start("a1", &plan).expect("started");
    let Input::StoreLost { reason } = next(&mut inputs).await else { panic!("lost") };
    assert!(reason.contains("/nonexistent/password"), "{reason}");
    store.end().await;
}

/// An embedded store that can be cut off, or made to refuse.
#[derive(Clone)]
struct Moody {
    inner: Embedded,
    mood: Arc<Mutex<Option<StoreError>>>,
}

impl Moody {
    fn now(&self) -> Result<(), StoreError> {
        self.mood.lock().expect("whole").clone().map_or(Ok(()), Err)
    }
}

impl Store for Moody {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.now()?;
        self.inner.revision().await
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.now()?;
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &Prefix) -> Result<Snapshot, StoreError> {
        self.now()?;
        self.inner.list(prefix).await
    }

    async fn put(
        &self,
        key: &Key,
        value: Vec<u8>,
        guard: Guard,
        lease: Option<LeaseId>,
    ) -> Result<Revision, StoreError> {
        self.now()?;
        self.inner.put(key, value, guard, lease).await
    }

    async fn delete(&self, key: &Key, guard: Guard) -> Result<Option<Revision>, StoreError> {
        self.now()?;
        self.inner.delete(key, guard).await
    }

    async fn watch(&self, prefix: &Prefix, after: Revision) -> Result<Watch, StoreError> {
        self.now()?;
        self.inner.watch(prefix, after).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.now()?;
        self.inner.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        match self.now() {
            Err(error @ StoreError::Unavailable(_)) => Err(error),
            _ => self.inner.keep_alive(lease).await,
        }
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.now()?;
        self.inner.revoke(lease).await
    }
}

#[tokio::test]
async fn outages_and_refusals_are_told_once_they_last_and_end_with_everything_asked_again() {
    let folder = Folder::new("moody");
    let inner = Embedded::open(&folder.0.join("state.redb"), HISTORY).expect("a store");
    let mood = Arc::new(Mutex::new(None));
    let set = |error: Option<StoreError>| *mood.lock().expect("whole") = error;
    let store = Moody { inner, mood: mood.clone() };
    let (inputs_tx, mut inputs) = mpsc::channel(WAITING);
    let (writes, to_write) = mpsc::unbounded_channel();
    let writer = tokio::spawn(Writer::new(store.clone(), inputs_tx).run(to_write));
    assert_eq!(next(&mut inputs).await, Input::StoreReady);
    let there = |generation: u64| {
        let store = store.clone();
        async move {
            let (key, ..) = write(0, Expected::Any);
            let found = store.inner.get(&Key::new(key.path()).expect("a key")).await.expect("an answer");
            let record = found.map(|entry| Record::decode(&key.topic, &entry.value).expect("a record"));
            matches!(record, Some(Record::Config(config)) if config.generation == generation)
        }
    };
    let arrives = async |generation: u64| {
        let arrived = async {
            while !there(generation).await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), arrived).await.expect("written")
    };

    // Shorter than anybody's patience: nobody hears of it, and what was asked meanwhile is written.
    set(Some(StoreError::Unavailable("an election".into())));
    writes.send(write(1, Expected::Any)).expect("open");
    writes.send(write(2, Expected::Any)).expect("open");
    tokio::time::sleep(Duration::from_millis(300)).await;
    set(None);
    arrives(2).await;
    assert!(inputs.try_recv().is_err(), "an election is no outage");

    set(Some(StoreError::Unavailable("no leader".into())));
    assert_eq!(next(&mut inputs).await, Input::StoreLost { reason: "no leader".into() });
    set(None);
    while next(&mut inputs).await != Input::StoreReady {}

    set(Some(StoreError::Refused("no permission".into())));
    writes.send(write(3, Expected::Any)).expect("open");
    for _ in 0..2 {
        assert_eq!(
            next(&mut inputs).await,
            Input::StoreLost { reason: "no permission".into() },
            "it stays lost"
        );
    }
    set(None);
    while next(&mut inputs).await != Input::StoreReady {}
    arrives(3).await;
    drop(writes);
    writer.await.expect("ended");
}

#[tokio::test]
async fn another_region_is_known_before_it_is_reached_and_followed_from_where_it_was_left() {
    let folder = Folder::new("remote");
    let store = Embedded::open(&folder.0.join("us.redb"), HISTORY).expect("a store");
    let mirror = Arc::new(Mirror::open(&folder.0.join("keep.redb")).expect("a mirror"));
    let put = async |generation: u64| {
        let (mut key, record, _) = write(generation, Expected::Any);
        key.region = "us".into();
        let key = Key::new(key.path()).expect("a key");
        store.put(&key, record.encode(), Guard::Any, None).await.expect("put")
    };
    let follow = |reachable: bool| {
        let (inputs_tx, inputs) = mpsc::channel(WAITING);
        let (store, mirror) = (store.clone(), mirror.clone());
        let connect = async move || match reachable {
            true => Ok(store.clone()),
            false => Err(StoreError::Unavailable("no way there".into())),
        };
        (tokio::spawn(follow::remote(connect, "us".into(), Some(mirror), inputs_tx)), inputs)
    };
    put(1).await;
    let (task, mut inputs) = follow(true);
    generation(&mut inputs, 1).await;
    let last = put(2).await;
    generation(&mut inputs, 2).await;
    let kept = async {
        while mirror.load(&prefix("us")).expect("readable").is_none_or(|known| known.revision < last) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), kept).await.expect("kept");
    task.abort();

    let (task, mut inputs) = follow(false);
    let Input::StoreChanged { region, whole: true, changes } = next(&mut inputs).await else { panic!("all") };
    assert_eq!((region.as_str(), changes.len(), changes[0].revision), ("us", 1, last.0));
    task.abort();

    put(3).await;
    let (task, mut inputs) = follow(true);
    assert!(matches!(next(&mut inputs).await, Input::StoreChanged { whole: true, .. }), "what was kept");
    assert!(matches!(next(&mut inputs).await, Input::StoreChanged { whole: false, .. }), "what came since");
    task.abort();
}
