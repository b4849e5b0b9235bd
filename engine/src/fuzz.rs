//! What reads bytes from outside, as functions that fuzzers call and tests replay a corpus through. Each must return,
//! whatever the bytes.

use crate::api::{Answer, Request};
use crate::config::Config;
use crate::config::site::OwnFile;
use crate::mirror;
use crate::peer::frame;
use crate::plan::Plan;
use crate::routes::Targets;
use crate::site::Stamp;
use cluster::wrap::Wrapped;
use control::message::Message;
use control::shadow::codec::{self, Entry, Frame};
use control::state::{Record, StateKey};
use std::sync::LazyLock;

/// A configuration file: an accepted one has a plan, a refused one says why.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text) {
        Ok(config) => {
            let _ = config.warnings();
            let _ = Plan::from_config(&config);
        }
        Err(errors) => {
            assert!(!errors.problems.is_empty());
            assert!(!errors.to_string().is_empty());
        }
    }
}

/// A routes file, for the engine of a lab: the whole text is accepted if and only if each line is, but for prefixes that
/// are named twice.
pub fn routes(data: &[u8]) {
    static TARGETS: LazyLock<Targets> = LazyLock::new(|| {
        let config = Config::parse(include_str!("../../configs/lab/a1.toml")).expect("a lab's configuration");
        Targets::new(&Plan::from_config(&config).forwarding)
    });
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or("").trim());
    let alone: Vec<_> = lines.filter(|line| !line.is_empty()).map(|line| TARGETS.route(line)).collect();
    match TARGETS.routes(text) {
        Ok(batch) => {
            let next_hop =
                |place: Option<u32>| batch.next_hops[place.expect("a file withdraws nothing") as usize];
            let together: Vec<_> =
                batch.changes.iter().map(|&(net, place)| Ok((net, next_hop(place)))).collect();
            assert_eq!(alone, together);
        }
        Err(mistakes) => {
            assert!(mistakes.iter().all(|(line, _)| (1..=text.lines().count()).contains(line)));
            assert!(mistakes.len() >= alone.iter().filter(|route| route.is_err()).count().max(1));
        }
    }
}

/// The octets of a control connection: every message read is one that could be sent, and reads back as itself.
pub fn peer(data: &[u8]) {
    let mut from = data;
    let mut buffer = Vec::new();
    while let Ok(message) = poll_ready(frame::read(&mut from, &mut buffer)) {
        // JSON has no infinity: a number too large to represent may be read, and is never sent.
        let Ok(sent) = frame::encode(&message) else { continue };
        let again = poll_ready(frame::read(&mut sent.as_slice(), &mut Vec::new())).expect("what was encoded");
        assert_eq!(message, again);
    }
    let _ = serde_json::from_slice::<Message>(data);
}

/// The octets of a mirror's connection: what is read could be sent, and reads back as itself; so do the copies in it.
pub fn mirror(data: &[u8]) {
    let (mut from, mut buffer) = (data, Vec::new());
    while let Ok(read) = poll_ready(mirror::frame::read(&mut from, &mut buffer)) {
        let sent = match &read {
            mirror::frame::Frame::Hello(hello) => mirror::frame::hello(hello),
            mirror::frame::Frame::Report(report) => mirror::frame::report(report),
            mirror::frame::Frame::Copies(copies) => {
                dataplane::mirror::wire::fuzz(copies);
                None
            }
        };
        if let Some(sent) = sent {
            let again = poll_ready(mirror::frame::read(&mut sent.as_slice(), &mut Vec::new()));
            assert_eq!(again.expect("what was encoded"), read);
        }
    }
}

/// A line of the API, of either side.
pub fn api(data: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(data) {
        let line = serde_json::to_vec(&request).expect("a request has a line");
        assert_eq!(serde_json::from_slice::<Request>(&line).expect("which reads"), request);
    }
    let _ = serde_json::from_slice::<Answer>(data);
}

/// A line with a key of the state store, and what stands under it: a record that is read can be written and reads back,
/// and so does sealed key material.
pub fn state(data: &[u8]) {
    let at = data.iter().position(|octet| *octet == b'\n').unwrap_or(data.len());
    let (path, value) = data.split_at(at);
    let value = value.get(1..).unwrap_or_default();
    if let Ok(path) = std::str::from_utf8(path)
        && let Some(key) = StateKey::parse(path)
    {
        assert_eq!(key.path(), path);
        if let Ok(record) = Record::decode(&key.topic, value) {
            assert_eq!(Record::decode(&key.topic, &record.encode()).expect("as written"), record);
        }
    }
    if let Ok(wrapped) = Wrapped::decode(value) {
        assert_eq!(wrapped.encode(), value);
    }
}

/// A frame between an engine and its shadow: what is read can be written and reads back, entry by entry.
pub fn shadow(data: &[u8]) {
    let Ok(frame) = Frame::decode(data) else { return };
    let again = frame.encode();
    assert_eq!(&again[4..], data);
    let Frame::Batch { entries, .. } = frame else { return };
    let read: Vec<Entry> = codec::entries(&entries).map_while(Result::ok).collect();
    let mut written = Vec::new();
    read.iter().for_each(|entry| entry.encode(&mut written));
    assert!(entries.starts_with(&written) && codec::entries(&written).map_while(Result::ok).eq(read));
}

/// A frame between two processes of an engine: a word that is read can be said and reads back.
pub fn handover(data: &[u8]) {
    crate::runtime::handover::fuzz(data);
}

/// A kept generation of a site's configuration: what is read fits together, and reads again as itself; and its text, laid over an
/// engine's file, is taken or refused with reasons. So is any text.
pub fn site(data: &[u8]) {
    static OWN: LazyLock<OwnFile> = LazyLock::new(|| {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/lab/a1.toml");
        OwnFile::load(std::path::Path::new(file)).expect("a lab's configuration")
    });
    if let Ok(version) = crate::site::parse(data, 1) {
        let mut again = serde_json::to_vec(&version.head).expect("a head has JSON");
        again.push(b'\n');
        again.extend(version.text.as_bytes());
        assert_eq!(crate::site::parse(&again, 1).expect("what was written"), version);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let stamp = Stamp::read(text);
    assert_eq!(Stamp::read(stamp.text), Stamp { generation: None, text: stamp.text });
    match OWN.with_site(stamp.text) {
        Ok(config) => drop(Plan::from_config(&config)),
        Err(problems) => assert!(!problems.is_empty()),
    }
}

/// What a server answers an application check: the first octet says which is asked and in pieces of which size it comes. The pieces
/// change nothing.
pub fn checks(data: &[u8]) {
    use crate::checks::{http, postgresql, replay};
    let Some((&first, answer)) = data.split_first() else { return };
    let body = (first & 2 != 0).then(|| "ok".to_owned());
    let (path, host) = ("/".to_owned(), "app".to_owned());
    let web = http::Request { path, host, status: vec![200..=399], body };
    let user = (first & 2 != 0).then(|| "probe".to_owned());
    let server = postgresql::Request { user, database: None };
    let outcome = |size: usize| match first & 1 {
        0 => replay(&mut http::Http::new(&web), answer, size),
        _ => replay(&mut postgresql::PostgreSql::new(&server), answer, size),
    };
    let whole = outcome(answer.len().max(1));
    assert_eq!(outcome(usize::from(first >> 2) + 1).is_ok(), whole.is_ok(), "{whole:?}");
}

/// Messages of a WireGuard handshake.
#[cfg(feature = "wireguard")]
pub fn handshake(data: &[u8]) {
    crate::wireguard::fuzz::run(data);
}

/// The result of a future that waits for nothing: its bytes are in memory.
fn poll_ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => unreachable!("memory is always ready"),
    }
}

#[cfg(test)]
mod tests {
    /// What the fuzzers found worth keeping.
    fn corpus(name: &str) -> Vec<Vec<u8>> {
        let folder = format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
        let inputs: Vec<_> = files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
        assert!(inputs.len() >= 5, "{folder}: only {} files", inputs.len());
        inputs
    }

    #[test]
    fn the_corpora_end() {
        corpus("config").iter().for_each(|data| super::config(data));
        corpus("routes").iter().for_each(|data| super::routes(data));
        corpus("peer").iter().for_each(|data| super::peer(data));
        corpus("mirror").iter().for_each(|data| super::mirror(data));
        corpus("api").iter().for_each(|data| super::api(data));
        corpus("state").iter().for_each(|data| super::state(data));
        corpus("checks").iter().for_each(|data| super::checks(data));
        corpus("shadow").iter().for_each(|data| super::shadow(data));
        corpus("handover").iter().for_each(|data| super::handover(data));
        corpus("site").iter().for_each(|data| super::site(data));
        #[cfg(feature = "wireguard")]
        corpus("handshake").iter().for_each(|data| super::handshake(data));
    }
}
