//! Writes to the store of this engine's region, under a lease that says that the engine lives.

use super::Write;
use cluster::{Guard, Key, LeaseId, Revision, Store, StoreError};
use control::io::Input;
use control::state::{Expected, Record, StateKey};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

/// What others see of an engine that died goes after this.
const TTL: Duration = Duration::from_secs(10);
/// Between two signs of life.
const BEAT: Duration = Duration::from_millis(1000);
/// A store that has not answered for this long is lost: longer than an election of etcd's takes.
const PATIENCE: Duration = Duration::from_millis(3000);

pub struct Writer<S> {
    store: S,
    inputs: mpsc::Sender<Input>,
    lease: Option<LeaseId>,
    /// By key: a newer record takes the place of an older one.
    pending: BTreeMap<StateKey, (Record, Expected)>,
    /// What it did not let us write: until it does, it is of no use to us.
    refused: Option<Write>,
    answered: Instant,
    ready: bool,
}

impl<S: Store> Writer<S> {
    pub fn new(store: S, inputs: mpsc::Sender<Input>) -> Writer<S> {
        let answered = Instant::now();
        Writer { store, inputs, lease: None, pending: BTreeMap::new(), refused: None, answered, ready: false }
    }

    /// Writes until there is nobody any more who asks.
    pub async fn run(mut self, mut writes: mpsc::UnboundedReceiver<Write>) {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                write = writes.recv() => match write {
                    Some((key, record, expected)) => {
                        self.pending.insert(key, (record, expected));
                    }
                    None => break,
                },
                _ = beat.tick() => self.beat().await,
                () = std::future::ready(()), if self.ready && !self.pending.is_empty() => {
                    if let Err(error) = self.write_next().await {
                        self.failed(error).await;
                        // What could not be written waits for the next beat to find the store alive.
                        beat.tick().await;
                        self.beat().await;
                    }
                }
            }
        }
        if let Some(lease) = self.lease {
            // The store may be gone; then the lease ends by itself.
            let _ = self.store.revoke(lease).await;
        }
    }

    /// A sign of life, and the proof that the store answers.
    async fn beat(&mut self) {
        let kept = match self.lease {
            Some(lease) => self.store.keep_alive(lease).await,
            None => Err(StoreError::LeaseGone),
        };
        let kept = match kept {
            Err(StoreError::LeaseGone) => match self.store.grant(TTL).await {
                Ok(lease) => {
                    // What was put under the old one is gone.
                    self.lease = Some(lease);
                    self.ready = false;
                    Ok(())
                }
                Err(error) => Err(error),
            },
            kept => kept,
        };
        if let Err(error) = kept {
            return self.failed(error).await;
        }
        self.answered = Instant::now();
        if self.ready {
            return;
        }
        if let Some((key, record, expected)) = &self.refused {
            match self.put(key, record, *expected).await {
                Ok(_) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return self.lost(&error).await,
            }
        }
        self.ready = true;
        self.refused = None;
        self.pending.clear();
        tracing::info!("the state store is ready");
        self.tell(Input::StoreReady).await;
    }

    async fn failed(&mut self, error: StoreError) {
        tracing::debug!(%error, "the state store did not answer");
        if self.answered.elapsed() < PATIENCE && self.lease.is_some() {
            return;
        }
        self.lost(&error).await;
    }

    async fn lost(&mut self, error: &StoreError) {
        if std::mem::take(&mut self.ready) {
            tracing::warn!(%error, "the state store is lost");
        }
        self.tell(Input::StoreLost { reason: error.to_string() }).await;
    }

    async fn write_next(&mut self) -> Result<(), StoreError> {
        let Some((key, (record, expected))) = self.pending.pop_first() else { return Ok(()) };
        match self.put(&key, &record, expected).await {
            Ok(_) => {
                self.answered = Instant::now();
                Ok(())
            }
            // The watch brings what is there; the controller judges it.
            Err(StoreError::Conflict { .. }) => Ok(()),
            Err(StoreError::LeaseGone) => {
                self.beat().await;
                Ok(())
            }
            Err(error @ StoreError::Refused(_)) => {
                tracing::error!(key = key.path(), %error, "the state store lets this engine not write");
                self.refused = Some((key, record, expected));
                self.lost(&error).await;
                Ok(())
            }
            Err(error) => {
                self.pending.entry(key).or_insert((record, expected));
                Err(error)
            }
        }
    }

    async fn put(&self, key: &StateKey, record: &Record, expected: Expected) -> Result<Revision, StoreError> {
        let path = Key::new(key.path()).map_err(|error| StoreError::Refused(error.to_string()))?;
        let guard = match expected {
            Expected::Any => Guard::Any,
            Expected::Absent => Guard::Absent,
            Expected::Revision(revision) => Guard::Revision(Revision(revision)),
        };
        let lease = self.lease.filter(|_| key.topic.is_leased());
        self.store.put(&path, record.encode(), guard, lease).await
    }

    async fn tell(&self, input: Input) {
        // The loop may have ended.
        let _ = self.inputs.send(input).await;
    }
}
