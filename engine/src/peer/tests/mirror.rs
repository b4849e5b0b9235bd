//! Connections for mirrored traffic: beside the control connection, and only where a mirror is wanted.

use super::lab::{ANY_PORT, Engine, Folder, config};
use crate::peer::PeerLinks;
use crate::peer::tls::{Purpose, Tls};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

#[tokio::test]
async fn a_mirror_has_a_door_of_its_own() {
    let folder = Folder::with_certificates(&["a1", "a2"]);
    let ((door, mut mirrors), (events, mut control)) = (mpsc::channel(1), mpsc::channel(64));
    let links =
        PeerLinks::start(config(&folder, "a2", ANY_PORT, &[("a1", ANY_PORT)]), events, Some(door)).unwrap();
    let tls = Tls::load(&config(&folder, "a1", ANY_PORT, &[("a2", links.local_addr())])).unwrap();
    let tcp = TcpStream::connect(links.local_addr()).await.unwrap();
    let _stream = tls.connect_for(Purpose::Mirror, tcp, "a2").await.unwrap();
    let arrived = timeout(Duration::from_secs(20), mirrors.recv()).await.expect("in time").expect("links");
    assert_eq!(arrived.0, "a1");
    assert!(control.try_recv().is_err(), "it is no control connection");
}

#[tokio::test]
async fn where_nothing_is_mirrored_it_is_closed() {
    let folder = Folder::with_certificates(&["a1", "a2"]);
    let a2 = Engine::start(config(&folder, "a2", ANY_PORT, &[("a1", ANY_PORT)]));
    let tls = Tls::load(&config(&folder, "a1", ANY_PORT, &[("a2", a2.address())])).unwrap();
    let tcp = TcpStream::connect(a2.address()).await.unwrap();
    let mut stream = tls.connect_for(Purpose::Mirror, tcp, "a2").await.unwrap();
    let read = timeout(Duration::from_secs(20), stream.read(&mut [0; 8])).await.expect("in time");
    assert!(!matches!(read, Ok(1..)), "{read:?}");
}
