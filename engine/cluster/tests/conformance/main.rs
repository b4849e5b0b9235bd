//! One suite for both stores: what holds of one holds of the other. `etcd` runs against a real server on loopback.

mod cases;
mod embedded;
mod etcd;
mod etcd_server;
mod following;
mod model;

use cluster::{Batch, Change, Key, Prefix, Revision, Store};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A store, and what only its keeper can do to it.
trait Rig {
    type Store: Store;
    /// The store as a client sees it; after a restart this may be another one.
    fn store(&self) -> Self::Store;
    /// The shortest lease that it grants in fact.
    fn lease_least(&self) -> Duration;
    /// Forgets the history of everything up to now. May put keys outside of [`prefix`] to do so.
    async fn compact(&mut self);
    /// Stops it and starts it again.
    async fn restart(&mut self);
}

fn key(text: &str) -> Key {
    Key::new(text).expect("a key")
}

fn prefix(text: &str) -> Prefix {
    Prefix::new(text).expect("a prefix")
}

fn put(revision: Revision, of: &str, value: &[u8]) -> Batch {
    Batch { revision, changes: vec![Change { key: key(of), value: Some(value.to_vec()) }] }
}

/// A folder of a test, removed with this.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("foreshift-cluster-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
