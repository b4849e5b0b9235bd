//! The store's tasks on a real embedded store, the test in the controller's place.

use super::*;
use control::state::{ConfigRecord, StateChange, Topic};
use std::path::PathBuf;

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
