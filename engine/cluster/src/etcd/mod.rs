//! The store between machines: an etcd cluster, one a region.
//!
//! Reads are linearizable (etcd's default), guards are transactions, watches ask for a member that has a leader. Every
//! call ends after [`EtcdConfig::timeout`]; until then what fails for want of a member or a leader is tried again.

mod error;
mod watch;

use crate::key::{Key, Prefix};
use crate::store::{
    Entry, Guard, LeaseId, Revision, Snapshot, Store, StoreError, VALUE_MAX, Watch, check_size,
};
use error::{from_client, refused, unavailable};
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, GetOptions, Identity, KeyValue, KvClient,
    PutOptions, ResponseHeader, TlsOptions, Txn, TxnOp,
};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use zeroize::Zeroizing;

/// Between two tries of one call.
const AGAIN: Duration = Duration::from_millis(100);
/// How often a connection is tested, and how long the answer may take: a member that is cut off must not hold a watch.
const TEST: Duration = Duration::from_secs(2);
/// Entries of one page of a list.
const PAGE: i64 = 64;
/// The largest answer, octets: a page of the largest values. gRPC's own limit of 4 MiB is one of 4 values.
const ANSWER_MAX: usize = 80 << 20;

/// How a cluster is reached.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// `https://host:port` or `http://host:port` of its members.
    pub endpoints: Vec<String>,
    /// TLS, for `https`.
    pub tls: Option<TlsPaths>,
    /// Whom to log in as, where the cluster asks.
    pub credentials: Option<Credentials>,
    /// The longest that a call takes.
    pub timeout: Duration,
}

/// The PEM files of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPaths {
    /// The authority that signed the members' certificates.
    pub ca: PathBuf,
    /// Our certificate and its key, where the cluster asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A user of the cluster.
#[derive(Clone)]
pub struct Credentials {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// See the [module](self). Clones share their connections.
#[derive(Clone)]
pub struct Etcd {
    client: Client,
    timeout: Duration,
}

impl Etcd {
    /// Connects; where no credentials are given, with the first call.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for files, addresses and credentials that are wrong, [`StoreError::Unavailable`] if nobody
    /// answers.
    pub async fn connect(config: &EtcdConfig) -> Result<Etcd, StoreError> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(config.timeout)
            .with_keep_alive(TEST, TEST)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some(tls) = &config.tls {
            options = options.with_tls(tls_options(tls)?);
        }
        if let Some(Credentials { user, password }) = &config.credentials {
            options = options.with_user(user.as_str(), password.as_str());
        }
        let connected = Client::connect(&config.endpoints, Some(options));
        match tokio::time::timeout(config.timeout, connected).await {
            Ok(client) => Ok(Etcd { client: client.map_err(from_client)?, timeout: config.timeout }),
            Err(_) => Err(no_answer(config.timeout)),
        }
    }

    /// Tries `call` until it has an answer that another try would not change.
    async fn call<T, F>(&self, mut call: impl FnMut(Client) -> F + Send) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let mut why = None;
        let tries = async {
            loop {
                match call(self.client.clone()).await {
                    Err(StoreError::Unavailable(reason)) => why = Some(reason),
                    answer => return answer,
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        let answer = tokio::time::timeout(self.timeout, tries).await;
        answer.unwrap_or_else(|_| Err(why.map_or_else(|| no_answer(self.timeout), StoreError::Unavailable)))
    }
}

fn no_answer(timeout: Duration) -> StoreError {
    StoreError::Unavailable(format!("no answer within {} ms", timeout.as_millis()))
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

fn tls_options(paths: &TlsPaths) -> Result<TlsOptions, StoreError> {
    let read = |path: &PathBuf| {
        std::fs::read(path)
            .map(Zeroizing::new)
            .map_err(|error| refused(format!("{}: {error}", path.display())))
    };
    let options = TlsOptions::new().ca_certificate(Certificate::from_pem(&*read(&paths.ca)?));
    Ok(match &paths.identity {
        Some((cert, key)) => options.identity(Identity::from_pem(&*read(cert)?, &*read(key)?)),
        None => options,
    })
}

fn revision(header: Option<&ResponseHeader>) -> Result<Revision, StoreError> {
    let revision = header.map_or(-1, ResponseHeader::revision);
    u64::try_from(revision).map(Revision).map_err(|_| unavailable("an answer without a revision"))
}

/// A key of ours; others' keys below our prefixes are none of our business.
fn key(found: &KeyValue) -> Option<Key> {
    Key::new(found.key_str().ok()?).ok()
}

fn entry(found: &KeyValue) -> Option<Entry> {
    let revision = Revision(found.mod_revision().unsigned_abs());
    Some(Entry { key: key(found)?, value: found.value().to_vec(), revision })
}

fn compares(key: &Key, guard: Guard) -> Vec<Compare> {
    match guard {
        Guard::Any => Vec::new(),
        Guard::Absent => vec![Compare::create_revision(key.as_str(), CompareOp::Equal, 0)],
        Guard::Revision(revision) => {
            vec![Compare::mod_revision(key.as_str(), CompareOp::Equal, revision.0 as i64)]
        }
    }
}

/// The page of a list that follows what is in `snapshot`, at its revision; true if it was the last.
async fn page(
    client: &mut KvClient,
    prefix: &Prefix,
    snapshot: &mut Option<Snapshot>,
) -> Result<bool, StoreError> {
    let mut from = prefix.as_str().to_owned();
    let mut options = GetOptions::new().with_range(prefix.end());
    if let Some(known) = snapshot {
        options = options.with_revision(known.revision.0 as i64);
        if let Some(last) = known.entries.last() {
            from = format!("{}\0", last.key);
        }
    }
    let answer = client.get(from, Some(options.with_limit(PAGE))).await.map_err(from_client)?;
    let known = match snapshot {
        Some(known) => known,
        None => snapshot.insert(Snapshot { revision: revision(answer.header())?, entries: Vec::new() }),
    };
    known.entries.extend(answer.kvs().iter().filter_map(entry));
    Ok(!answer.more())
}

impl Store for Etcd {
    async fn revision(&self) -> Result<Revision, StoreError> {
        let answer = self.call(|mut client| async move {
            // Of a key that nobody has: the header has the revision.
            client.get("/", Some(GetOptions::new().with_keys_only())).await.map_err(from_client)
        });
        revision(answer.await?.header())
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let answer =
            self.call(|mut client| async move { client.get(key.as_str(), None).await.map_err(from_client) });
        Ok(answer.await?.kvs().first().and_then(entry))
    }

    async fn list(&self, prefix: &Prefix) -> Result<Snapshot, StoreError> {
        let listed = self.call(|client| async move {
            let mut client = client.kv_client().max_decoding_message_size(ANSWER_MAX);
            let mut snapshot = None;
            while !page(&mut client, prefix, &mut snapshot).await? {}
            snapshot.ok_or_else(|| unavailable("an answer without a page"))
        });
        listed.await
    }

    async fn put(
        &self,
        key: &Key,
        value: Vec<u8>,
        guard: Guard,
        lease: Option<LeaseId>,
    ) -> Result<Revision, StoreError> {
        check_size(&value)?;
        let options = lease.map(|lease| PutOptions::new().with_lease(lease.0 as i64));
        let put = TxnOp::put(key.as_str(), value, options);
        let txn = Txn::new().when(compares(key, guard)).and_then(vec![put]);
        transact(self, key, txn).await.map(|(revision, _)| revision)
    }

    async fn delete(&self, key: &Key, guard: Guard) -> Result<Option<Revision>, StoreError> {
        let txn = Txn::new().when(compares(key, guard)).and_then(vec![TxnOp::delete(key.as_str(), None)]);
        let (revision, deleted) = transact(self, key, txn).await?;
        Ok((deleted > 0).then_some(revision))
    }

    async fn watch(&self, prefix: &Prefix, after: Revision) -> Result<Watch, StoreError> {
        self.call(|client| watch::start(client, prefix, after)).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let seconds = ttl.as_secs_f64().ceil() as i64;
        let granted = self
            .call(|mut client| async move { client.lease_grant(seconds, None).await.map_err(from_client) });
        Ok(LeaseId(granted.await?.id().unsigned_abs()))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let kept = self.call(|mut client| async move {
            // Sends one sign of life and awaits its answer; the stream it came on is not used again.
            client.lease_keep_alive(lease.0 as i64).await.map_err(from_client)
        });
        kept.await.map(drop)
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let revoked = self
            .call(|mut client| async move { client.lease_revoke(lease.0 as i64).await.map_err(from_client) });
        revoked.await.map(drop)
    }
}

/// Carries out a guarded change of one key: its revision, and how many values it deleted.
async fn transact(etcd: &Etcd, key: &Key, txn: Txn) -> Result<(Revision, i64), StoreError> {
    use etcd_client::TxnOpResponse::{Delete, Get};
    let txn = txn.or_else(vec![TxnOp::get(key.as_str(), None)]);
    let answer = etcd.call(|mut client| {
        let txn = txn.clone();
        async move { client.txn(txn).await.map_err(from_client) }
    });
    let answer = answer.await?;
    let ours = answer.op_responses().into_iter().next();
    match ours {
        Some(Get(found)) if !answer.succeeded() => {
            let actual = found.kvs().first().and_then(entry).map(|entry| entry.revision);
            Err(StoreError::Conflict { actual })
        }
        Some(Delete(deleted)) => Ok((revision(answer.header())?, deleted.deleted())),
        _ => Ok((revision(answer.header())?, 0)),
    }
}

const _: () = assert!(PAGE as usize * VALUE_MAX < ANSWER_MAX);
