//! The state store, from here: tasks beside the loop keep this engine's lease alive, write what the controller asks for,
//! and bring what others wrote. The loop waits for none of it.

mod follow;
mod status;
mod writer;

use crate::config::cluster::{Cluster, EtcdSection, StoreSection};
use anyhow::{Context as _, Result};
use cluster::embedded::Embedded;
use cluster::etcd::{Credentials, Etcd, EtcdConfig, TlsPaths};
use cluster::{Mirror, Prefix, Store, StoreError};
use control::io::Input;
use control::state::{Expected, Record, StateKey, region_prefix};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use writer::Writer;
use zeroize::Zeroizing;

/// The longest that a call to etcd takes.
const TIMEOUT: Duration = Duration::from_millis(2000);
/// Between two tries to reach a store.
const AGAIN: Duration = Duration::from_millis(500);
/// Revisions that the embedded store keeps for those who watch it.
const HISTORY: u64 = 10_000;
/// What may wait for the loop.
const WAITING: usize = 256;
/// How long an ending engine waits for its lease to be given up.
const FAREWELL: Duration = Duration::from_millis(700);

/// A record to be written.
pub type Write = (StateKey, Record, Expected);

/// The store's tasks, and what leads to them.
pub struct StateStore {
    writes: mpsc::UnboundedSender<Write>,
    writer: JoinHandle<()>,
    others: Vec<JoinHandle<()>>,
}

impl StateStore {
    /// Starts the tasks; what they learn comes out of the receiver. A store that cannot be reached yet is no error.
    ///
    /// # Errors
    /// If the file of the embedded store, or the one that other regions' state is kept in, cannot be had.
    pub fn start(engine: &str, plan: &Cluster) -> Result<(StateStore, mpsc::Receiver<Input>)> {
        let (writes, to_write) = mpsc::unbounded_channel();
        let (inputs, learnt) = mpsc::channel(WAITING);
        let region = plan.region.to_string();
        let own = Own { engine: engine.to_owned(), region, inputs: inputs.clone() };
        let writer = match &plan.store {
            StoreSection::Embedded { path } => {
                let store = Embedded::open(path, HISTORY).context("cluster.path")?;
                tokio::spawn(run(async move || Ok(store.clone()), own, to_write))
            }
            StoreSection::Etcd(etcd) => {
                let etcd = etcd.clone();
                tokio::spawn(run(async move || connect(&etcd).await, own, to_write))
            }
        };
        let mirror = plan.keep.as_ref().map(|path| Mirror::open(path).map(Arc::new));
        let mirror = mirror.transpose().context("cluster.keep")?;
        let remote = |remote: &crate::config::cluster::Remote| {
            let (etcd, region) = (remote.etcd.clone(), remote.region.to_string());
            let connect = async move || connect(&etcd).await;
            tokio::spawn(follow::remote(connect, region, mirror.clone(), inputs.clone()))
        };
        let others = plan.remotes.iter().map(remote).collect();
        Ok((StateStore { writes, writer, others }, learnt))
    }

    /// Writes a record, when the store can; a newer one for the same key takes its place until then.
    pub fn write(&self, write: Write) {
        // The writer ends only with the engine.
        let _ = self.writes.send(write);
    }

    /// Gives up the lease, so that others see at once that this engine is gone; waits for that a moment at most.
    pub async fn end(self) {
        let StateStore { writes, writer, others } = self;
        others.iter().for_each(JoinHandle::abort);
        drop(writes);
        let abort = writer.abort_handle();
        if tokio::time::timeout(FAREWELL, writer).await.is_err() {
            abort.abort();
        }
    }
}

/// What the task of this engine's own region knows.
struct Own {
    engine: String,
    region: String,
    inputs: mpsc::Sender<Input>,
}

/// Connects, and writes and follows from then on.
async fn run<S: Store>(
    connect: impl AsyncFn() -> Result<S, StoreError>,
    own: Own,
    writes: mpsc::UnboundedReceiver<Write>,
) {
    let store = loop {
        match connect().await {
            Ok(store) => break store,
            Err(error) => {
                tracing::warn!(%error, "the state store cannot be reached");
                if own.inputs.send(Input::StoreLost { reason: error.to_string() }).await.is_err() {
                    return;
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    tracing::info!(engine = own.engine, region = own.region, "the state store is followed");
    let following = tokio::spawn(follow::own(store.clone(), own.region.clone(), own.inputs.clone()));
    Writer::new(store, own.inputs).run(writes).await;
    following.abort();
}

/// Everything below a region.
fn prefix(region: &str) -> Prefix {
    Prefix::new(region_prefix(region)).expect("a region is a name, without '/' in it")
}

async fn connect(section: &EtcdSection) -> Result<Etcd, StoreError> {
    let credentials = match &section.login {
        Some((user, file)) => {
            let read = std::fs::read_to_string(file).map(Zeroizing::new);
            let read = read.map_err(|e| StoreError::Refused(format!("{}: {e}", file.display())))?;
            let password = Zeroizing::new(read.trim_end_matches(['\r', '\n']).to_owned());
            Some(Credentials { user: user.clone(), password })
        }
        None => None,
    };
    let tls = section.ca.clone().map(|ca| TlsPaths { ca, identity: section.identity.clone() });
    let endpoints = section.endpoints.iter().map(|endpoint| endpoint.url().to_owned()).collect();
    Etcd::connect(&EtcdConfig { endpoints, tls, credentials, timeout: TIMEOUT }).await
}

#[cfg(test)]
mod tests;
