//! Who is not let in, and what a hostile port neighbour can do: nothing.

use super::lab::{ANY_PORT, Engine, Folder, config, numbered, owned, pair};
use crate::peer::tls::Tls;
use crate::peer::{PeerError, PeerEvent, PeerLinks, connection, frame, pki, tls};
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

const QUIET: Duration = Duration::from_millis(700);

#[tokio::test]
async fn an_engine_of_another_ca_is_refused_by_both() {
    let (ours, theirs) = (Folder::with_certificates(&["b1"]), Folder::with_certificates(&["a1"]));
    let mut b1 = Engine::start(config(&ours, "b1", ANY_PORT, &[("a1", ANY_PORT)]));
    // It does not believe b1, and, told b1's CA, is not believed.
    let mut a1 = Engine::start(config(&theirs, "a1", ANY_PORT, &[("b1", b1.address())]));
    a1.silent(QUIET).await;
    b1.silent(QUIET).await;
    drop(a1);
    let tls = Tls::load(&config(&theirs, "a1", ANY_PORT, &[])).unwrap();
    let trusting = Folder::new();
    for file in ["a1.pem", "a1.key"] {
        std::fs::copy(theirs.path().join(file), trusting.path().join(file)).unwrap();
    }
    std::fs::copy(ours.path().join("ca.pem"), trusting.path().join("ca.pem")).unwrap();
    let refused = Tls::load(&config(&trusting, "a1", ANY_PORT, &[])).err().expect("not our CA's").to_string();
    assert!(refused.contains("foreshift pki") && refused.contains("BadSignature"), "{refused}");
    // A stranger that leaves its own check out, with a certificate of another CA of the same name, or none.
    let tcp = tokio::net::TcpStream::connect(b1.address()).await.unwrap();
    assert!(tls.connect(tcp, "b1").await.is_err());
    let strangers = [stranger(&ours, Some(&theirs)), stranger(&ours, None)];
    for stranger in strangers {
        let tcp = tokio::net::TcpStream::connect(b1.address()).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("b1").unwrap();
        if let Ok(stream) = TlsConnector::from(Arc::new(stranger)).connect(name, tcp).await {
            assert!(connection::await_accepted(&mut stream.into()).await.is_err());
        }
    }
    b1.silent(QUIET).await;
}

/// A client that believes the CA of `trusts` and shows a1's certificate of `shows`.
fn stranger(trusts: &Folder, shows: Option<&Folder>) -> rustls::ClientConfig {
    let provider = Arc::new(tls::provider());
    let roots = Arc::new(tls::roots(&trusts.path().join("ca.pem")).unwrap());
    let Some(shows) = shows else {
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"foreshift/1".to_vec()];
        return config;
    };
    let chain = tls::read_certificates(&shows.path().join("a1.pem"), "a certificate").unwrap();
    let key = tls::read_key(&shows.path().join("a1.key")).unwrap();
    tls::client_config(provider, roots, chain, key).unwrap()
}

#[tokio::test]
async fn the_right_ca_is_not_enough() {
    let folder = Folder::with_certificates(&["a0", "a1", "b1", "c1"]);
    let mut b1 = Engine::start(config(&folder, "b1", ANY_PORT, &[("a1", ANY_PORT)]));
    // a0 is no peer of b1.
    let mut a0 = Engine::start(config(&folder, "a0", ANY_PORT, &[("b1", b1.address())]));
    a0.silent(QUIET).await;
    // Who answers at the address of c1 is b1.
    let mut a1 = Engine::start(config(&folder, "a1", ANY_PORT, &[("c1", b1.address())]));
    a1.silent(QUIET).await;
    b1.silent(Duration::from_millis(1)).await;
    drop((a0, a1));
    let mut a1 = Engine::start(config(&folder, "a1", ANY_PORT, &[("b1", b1.address())]));
    assert_eq!((a1.up().await.0, b1.up().await.0), ("b1".to_owned(), "a1".to_owned()));
}

/// One certificate for two engines would let one speak as the other.
#[tokio::test]
async fn a_certificate_of_two_peers_is_refused() {
    let folder = Folder::with_certificates(&["a1", "a2", "b1"]);
    let read = |file: &str| std::fs::read_to_string(folder.path().join(file)).unwrap();
    let ca_key = rcgen::KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read("ca.pem"), ca_key).unwrap();
    let key = rcgen::KeyPair::from_pem(&read("a1.key")).unwrap();
    let both = rcgen::CertificateParams::new(owned(&["a1", "a2"])).unwrap().signed_by(&key, &issuer).unwrap();
    std::fs::write(folder.path().join("a1.pem"), both.pem()).unwrap();
    let mut b1 = Engine::start(config(&folder, "b1", ANY_PORT, &[("a1", ANY_PORT), ("a2", ANY_PORT)]));
    let mut a1 = Engine::start(config(&folder, "a1", ANY_PORT, &[("b1", b1.address())]));
    a1.silent(QUIET).await;
    b1.silent(Duration::from_millis(1)).await;
}

#[tokio::test]
async fn only_the_lower_name_dials() {
    let folder = Folder::with_certificates(&["a1", "b1"]);
    let mut a1 = Engine::start(config(&folder, "a1", ANY_PORT, &[("b1", ANY_PORT)]));
    let tls = Tls::load(&config(&folder, "b1", ANY_PORT, &[("a1", a1.address())])).unwrap();
    let tcp = tokio::net::TcpStream::connect(a1.address()).await.unwrap();
    if let Ok(mut stream) = tls.connect(tcp, "a1").await {
        assert!(connection::await_accepted(&mut stream).await.is_err());
    }
    a1.silent(QUIET).await;
}

#[tokio::test]
async fn garbage_on_the_port_leaves_it_working() {
    let folder = Folder::with_certificates(&["a1", "b1"]);
    let mut b1 = Engine::start(config(&folder, "b1", ANY_PORT, &[("a1", ANY_PORT)]));
    let mut open = Vec::new();
    for kind in 0..20u8 {
        let mut stranger = TcpStream::connect(b1.address()).unwrap();
        let octets: Vec<u8> = match kind % 4 {
            0 => b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            1 => vec![0x16, 3, 1, 0xff, 0xff, 1, 0, 0, 0],
            2 => (0..5_000u32).map(|n| (n * 31 + u32::from(kind)) as u8).collect(),
            _ => Vec::new(),
        };
        let _ = stranger.write_all(&octets);
        if kind % 3 == 0 {
            let _ = stranger.shutdown(Shutdown::Write);
        }
        // Some stay, silent, and hold a handshake open.
        open.push(stranger);
    }
    let mut a1 = Engine::start(config(&folder, "a1", ANY_PORT, &[("b1", b1.address())]));
    assert_eq!((a1.up().await.0, b1.up().await.0), ("b1".to_owned(), "a1".to_owned()));
}

#[tokio::test]
async fn a_malformed_frame_ends_that_connection_only() {
    let folder = Folder::with_certificates(&["a1", "a2", "b1"]);
    let peers = [("a1", ANY_PORT), ("a2", ANY_PORT)];
    let mut b1 = Engine::start(config(&folder, "b1", ANY_PORT, &peers));
    let mut a2 = Engine::start(config(&folder, "a2", ANY_PORT, &[("b1", b1.address())]));
    let at_a2 = a2.up().await.1;
    assert_eq!(b1.up().await.0, "a2");
    let tls = Tls::load(&config(&folder, "a1", ANY_PORT, &[("b1", b1.address())])).unwrap();
    let good = frame::encode(&numbered(1)).unwrap();
    let frames: [&[u8]; 5] =
        [&[0, 0, 0, 0], &[0xff; 8], &[0, 1, 0, 1], b"\0\0\0\x02{]", b"\0\0\0\x10{\"type\":\"wrong\"}"];
    for malformed in frames {
        let tcp = tokio::net::TcpStream::connect(b1.address()).await.unwrap();
        let mut stream = tls.connect(tcp, "b1").await.unwrap();
        connection::await_accepted(&mut stream).await.unwrap();
        stream.write_all(&good).await.unwrap();
        stream.write_all(malformed).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(b1.up().await.0, "a1");
        assert!(matches!(b1.next().await, PeerEvent::Message { message, .. } if message == numbered(1)));
        assert_eq!(b1.down().await, "a1", "after {malformed:?}");
    }
    at_a2.send(&numbered(2)).unwrap();
    assert!(matches!(b1.next().await, PeerEvent::Message { peer, .. } if peer == "a2"));
}

#[tokio::test]
async fn wrong_configurations_say_what_is_wrong() {
    let folder = Folder::with_certificates(&["a1", "b1"]);
    let fails = |config| {
        let (events, _) = mpsc::channel(1);
        PeerLinks::start(config, events, None).map(|_| ()).unwrap_err()
    };
    let mut other = config(&folder, "a1", ANY_PORT, &[]);
    other.cert = folder.path().join("b1.pem");
    assert!(fails(other.clone()).to_string().contains("not valid for name"));
    other.cert = folder.path().join("none.pem");
    assert!(fails(other).to_string().contains("none.pem"));
    let mut mixed = config(&folder, "a1", ANY_PORT, &[]);
    mixed.key = folder.path().join("b1.key");
    assert!(fails(mixed).to_string().contains("certificate and key"));
    let twice = config(&folder, "a1", ANY_PORT, &[("b1", ANY_PORT), ("b1", ANY_PORT)]);
    assert!(matches!(fails(twice), PeerError::Duplicate(name) if name == "b1"));
    let own = config(&folder, "a1", ANY_PORT, &[("a1", ANY_PORT)]);
    assert!(matches!(fails(own), PeerError::Duplicate(_)));
    let ((_a1, _), (b1, _)) = pair(&folder).await;
    let taken = config(&folder, "a1", b1.address(), &[]);
    assert!(matches!(fails(taken), PeerError::Listen { .. }));
}

#[test]
fn pki_reuses_its_ca_and_keeps_keys() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let read = |file: &str| std::fs::read(folder.path().join(file)).unwrap();
    let made = pki::run(folder.path(), &owned(&["a1", "a2"]), false).unwrap();
    assert!(!made.ca_reused && made.engines.len() == 2);
    for key in ["ca.key", "a1.key", "a2.key"] {
        let mode = std::fs::metadata(folder.path().join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let (ca, a1) = (read("ca.pem"), read("a1.key"));
    let again = pki::run(folder.path(), &owned(&["b1", "a1"]), false).unwrap_err().to_string();
    assert!(again.contains("--force") && !folder.path().join("b1.pem").exists(), "{again}");
    assert!(pki::run(folder.path(), &owned(&["b1"]), false).unwrap().ca_reused);
    assert_eq!((&read("ca.pem"), &read("a1.key")), (&ca, &a1));
    pki::run(folder.path(), &owned(&["a1"]), true).unwrap();
    assert_ne!(read("a1.key"), a1);
    assert!(Tls::load(&config(&folder, "a1", ANY_PORT, &[("b1", ANY_PORT)])).is_ok());
    for bad in [
        "",
        "../x",
        "a/b",
        ".a",
        "a.",
        "a..b",
        "-a",
        "a-",
        "10",
        "a.1",
        "192.0.2.1",
        "ca",
        "ä",
        &"a".repeat(64),
    ] {
        assert!(pki::run(folder.path(), &owned(&[bad]), true).is_err(), "{bad:?}");
    }
    assert!(pki::run(folder.path(), &owned(&["x1", "x1"]), true).is_err());
    pki::run(folder.path(), &owned(&["A1_x.site-B", "2a"]), false).unwrap();
    assert!(Tls::load(&config(&folder, "A1_x.site-B", ANY_PORT, &[("2a", ANY_PORT)])).is_ok());
    // Half a CA, and a CA key of another CA.
    let other = Folder::with_certificates(&["a1"]);
    std::fs::copy(other.path().join("ca.key"), folder.path().join("ca.key")).unwrap();
    let mixed = format!("{:#}", pki::run(folder.path(), &owned(&["x1"]), true).unwrap_err());
    assert!(mixed.contains("ca.key of another CA") && !folder.path().join("x1.pem").exists(), "{mixed}");
    std::fs::remove_file(folder.path().join("ca.key")).unwrap();
    assert!(pki::run(folder.path(), &owned(&["x1"]), true).is_err());
}
