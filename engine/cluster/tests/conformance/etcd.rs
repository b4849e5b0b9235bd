//! The suite on etcd, and what is its own: TLS, credentials, outages.

use super::etcd_server::{Server, ServerTls, available};
use super::{Folder, Rig, cases, following, key, prefix, runtime};
use cluster::etcd::{Credentials, Etcd, EtcdConfig, TlsPaths};
use cluster::{Follower, Guard, Store, StoreError, Update};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

struct EtcdRig {
    server: Server,
    store: Etcd,
}

fn plain(server: &Server) -> EtcdConfig {
    let timeout = Duration::from_secs(5);
    EtcdConfig { endpoints: vec![server.endpoint()], tls: None, credentials: None, timeout }
}

impl EtcdRig {
    async fn new() -> EtcdRig {
        let server = Server::start(Folder::new(), None);
        let store = Etcd::connect(&plain(&server)).await.expect("a store");
        EtcdRig { server, store }
    }
}

impl Rig for EtcdRig {
    type Store = Etcd;

    fn store(&self) -> Etcd {
        self.store.clone()
    }

    fn lease_least(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn compact(&mut self) {
        let revision = self.store.revision().await.expect("a revision");
        let mut client =
            etcd_client::Client::connect([self.server.endpoint()], None).await.expect("a client");
        client.compact(revision.0 as i64, None).await.expect("compacted");
    }

    async fn restart(&mut self) {
        self.server.stop();
        self.server.run();
    }
}

#[test]
fn etcd_conforms() {
    if !available() {
        return;
    }
    runtime().block_on(async {
        let mut rig = EtcdRig::new().await;
        cases::values(&mut rig).await;
        cases::many_and_large(&mut rig).await;
        cases::guards(&mut rig).await;
        cases::contention(&mut rig).await;
        cases::watches(&mut rig).await;
        cases::leases(&mut rig).await;
        following::interruptions(&mut rig).await;
        following::compaction(&mut rig).await;
        following::restart(&mut rig).await;
    });
}

/// An outage has an end for whoever asks, and a follower goes on after it as if there had been none.
#[test]
fn an_outage_of_etcd_ends_calls_and_loses_nothing() {
    if !available() {
        return;
    }
    runtime().block_on(async {
        let mut rig = EtcdRig::new().await;
        let config = EtcdConfig { timeout: Duration::from_millis(700), ..plain(&rig.server) };
        let store = Etcd::connect(&config).await.expect("a store");
        store.put(&key("/o/a"), b"1".to_vec(), Guard::Any, None).await.expect("put");
        let mut follower = Follower::new(store.clone(), prefix("/o/"));
        assert!(matches!(follower.next().await, Ok(Update::Snapshot(s)) if s.entries.len() == 1));
        rig.server.stop();
        let asked = Instant::now();
        let answer = store.put(&key("/o/a"), b"2".to_vec(), Guard::Any, None).await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
        assert!(asked.elapsed() < Duration::from_millis(1500), "{:?}", asked.elapsed());
        assert!(matches!(follower.next().await, Err(StoreError::Unavailable(_))));
        rig.server.run();
        let put = async {
            while store.put(&key("/o/b"), b"3".to_vec(), Guard::Any, None).await.is_err() {}
            loop {
                match follower.next().await {
                    Ok(Update::Changes(batch)) if batch.changes[0].key == key("/o/b") => break,
                    Ok(Update::Changes(batch)) => assert_eq!(batch.changes[0].key, key("/o/a")),
                    Ok(Update::Snapshot(_)) => panic!("a snapshot, though nothing was compacted"),
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), put).await.expect("it goes on");
    });
}

/// A CA, a server's certificate and a client's, in `folder`.
fn pki(folder: &Folder) -> (ServerTls, TlsPaths) {
    let write = |name: &str, text: String| -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let mut ca = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = write("ca.pem", ca.self_signed(&ca_key).expect("a CA").pem());
    let issuer = rcgen::Issuer::from_params(&ca, &ca_key);
    let engine = |name: &str| {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let cert = params.signed_by(&key, &issuer).expect("a certificate").pem();
        (write(&format!("{name}.pem"), cert), write(&format!("{name}.key"), key.serialize_pem()))
    };
    let ((cert, key), client) = (engine("127.0.0.1"), engine("a1"));
    let tls = TlsPaths { ca: ca_pem.clone(), identity: Some(client) };
    (ServerTls { ca: ca_pem, cert, key }, tls)
}

#[test]
fn tls_and_credentials() {
    if !available() {
        return;
    }
    runtime().block_on(async {
        let folder = Folder::new();
        let (server_tls, tls) = pki(&folder);
        let server = Server::start(Folder::new(), Some(server_tls));
        let timeout = Duration::from_secs(3);
        let config = EtcdConfig {
            endpoints: vec![server.endpoint()],
            tls: Some(tls.clone()),
            credentials: None,
            timeout,
        };
        let store = Etcd::connect(&config).await.expect("a store");
        store.put(&key("/t/a"), b"1".to_vec(), Guard::Any, None).await.expect("put");

        let nobody = TlsPaths { identity: None, ..tls.clone() };
        let short = EtcdConfig { timeout: Duration::from_millis(800), ..config.clone() };
        let store = Etcd::connect(&EtcdConfig { tls: Some(nobody), ..short.clone() }).await.expect("lazy");
        let answer = store.get(&key("/t/a")).await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "without a certificate: {answer:?}");
        let (_, stranger) = pki(&Folder::new());
        assert!(
            matches!(
                Etcd::connect(&EtcdConfig { tls: Some(stranger), ..short.clone() }).await,
                Err(StoreError::Refused(why)) if why.contains("ca.pem")
            ),
            "files that are not there"
        );

        enable_authentication(&config).await;
        let login = |password: &str| {
            let password = Zeroizing::new(password.to_owned());
            let credentials = Some(Credentials { user: "foreshift".to_owned(), password });
            EtcdConfig { credentials, ..config.clone() }
        };
        let wrong = Etcd::connect(&login("wrong")).await;
        assert!(matches!(wrong, Err(StoreError::Refused(_))), "{wrong:?}");
        let store = Etcd::connect(&login("secret")).await.expect("a store");
        assert!(store.get(&key("/t/a")).await.expect("an answer").is_some());
        let elsewhere = store.put(&key("/other"), b"1".to_vec(), Guard::Any, None).await;
        assert!(matches!(elsewhere, Err(StoreError::Refused(_))), "{elsewhere:?}");
        assert!(!format!("{:?}", login("secret")).contains("secret"), "passwords are not shown");
    });
}

/// A user that may do anything below `/t/`, and nothing elsewhere.
async fn enable_authentication(config: &EtcdConfig) {
    let tls = config.tls.as_ref().expect("TLS");
    let read = |path: &PathBuf| std::fs::read(path).expect("a file");
    let (cert, key) = tls.identity.as_ref().expect("an identity");
    let options = etcd_client::TlsOptions::new()
        .ca_certificate(etcd_client::Certificate::from_pem(read(&tls.ca)))
        .identity(etcd_client::Identity::from_pem(read(cert), read(key)));
    let options = etcd_client::ConnectOptions::new().with_tls(options);
    let mut client = etcd_client::Client::connect(&config.endpoints, Some(options)).await.expect("a client");
    for (user, password, role) in [("root", "root", "root"), ("foreshift", "secret", "foreshift")] {
        client.user_add(user, password, None).await.expect("a user");
        client.role_add(role).await.expect("a role");
        client.user_grant_role(user, role).await.expect("granted");
    }
    let below = etcd_client::Permission::read_write("/t/").with_range_end("/t0");
    client.role_grant_permission("foreshift", below).await.expect("granted");
    client.auth_enable().await.expect("enabled");
}
