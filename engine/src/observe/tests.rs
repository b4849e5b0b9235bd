//! From an observer to what tshark and a person read, over a real socket.

use super::stream::Observation;
use super::wire::{End, HEADER, Message};
use super::*;
use crate::config::Config;
use crate::plan::Plan;
use dataplane::context::{Egress, Meta};
use dataplane::id::{InterfaceId, Nanos, PortId, TunnelId, WorkerId};
use dataplane::observe::session::{ObserverLease, Order, observe};
use dataplane::observe::{Next, Observer, Origin, Point, Seen};
use dataplane::snapshot::NextHop;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const NOW: Nanos = Nanos(123_456_789);
/// 2026-01-02 03:04:05.000000001 UTC.
const STARTED: u64 = 1_767_323_045_000_000_001;

fn plan() -> Plan {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/lab/a1.toml");
    Plan::from_config(&Config::load(&file).expect("valid"))
}

fn request(watch: WatchRequest, filter: &str) -> ObserveRequest {
    ObserveRequest { watch, filter: filter.to_owned(), snaplen: None, count: None, seconds: 60 }
}

/// An observation of one worker as the runtime begins it, and the worker's part.
fn begin(watch: WatchRequest, filter: &str, count: Option<u64>) -> (Box<Observer>, Observation) {
    let plan = plan();
    let names = names::Names::of(&plan);
    let request = request(watch, filter);
    let (watch, filter) = request.resolve(&names, &plan.forwarding.tunnels).expect("it can be watched");
    let lease = ObserverLease::default();
    lease.renew(Nanos::MAX);
    let order = Order { watch, filter, snaplen: 100, rate: 1_000_000 };
    let (observer, source) = observe(WorkerId(0), &order, &lease);
    let observation = Observation {
        watch,
        filter: request.filter,
        snaplen: 100,
        count,
        until: Instant::now() + Duration::from_secs(60),
        sources: vec![source],
        names,
        started_ns: STARTED,
        stopped: Arc::new(AtomicBool::new(false)),
    };
    (observer, observation)
}

/// What a client receives when it hangs up after `observation` has shown what there is.
fn client(observation: Observation) -> (Vec<Message>, End) {
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    let showing = std::thread::spawn(move || observation.show(theirs));
    std::thread::sleep(Duration::from_millis(50));
    ours.shutdown(Shutdown::Write).expect("still open");
    let mut messages = Vec::new();
    loop {
        let mut header = [0; HEADER];
        ours.read_exact(&mut header).expect("a header");
        let mut payload = vec![0; Message::payload_length(header).expect("a length")];
        ours.read_exact(&mut payload).expect("a payload");
        match Message::read(header, payload).expect("a message") {
            Message::End(end) => {
                showing.join().expect("no panic").expect("sent");
                return (messages, end);
            }
            message => messages.push(message),
        }
    }
}

fn pcapng(messages: Vec<Message>) -> Vec<u8> {
    let bytes = messages.into_iter().flat_map(|message| match message {
        Message::Pcapng(bytes) => bytes,
        other => panic!("{other:?} in a capture"),
    });
    bytes.collect()
}

/// A frame to 10.2.0.20 with `payload` bytes in UDP.
fn frame(payload: u16) -> Vec<u8> {
    let [high, low] = (28 + payload).to_be_bytes();
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, high, low, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 10, 10, 2, 0, 20]);
    let [high, low] = (8 + payload).to_be_bytes();
    frame.extend([0x0f, 0xa0, 0x13, 0x88, high, low, 0, 0]);
    frame.extend(vec![0xab; payload.into()]);
    frame
}

fn seen<'a>(data: &'a [u8], meta: &'a Meta) -> Seen<'a> {
    Seen { data, meta, next: None }
}

/// Fields of every packet as tshark reads them from its standard input.
fn tshark(capture: &[u8], fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r", "-", "-T", "fields"]).args(fields.iter().flat_map(|field| ["-e", field]));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tshark is installed by scripts/setup");
    child.stdin.take().expect("piped").write_all(capture).expect("read");
    let output = child.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

#[test]
fn tshark_reads_a_capture_of_drops() {
    let (mut observer, observation) = begin(WatchRequest::Drop { reason: "any".into() }, "udp", None);
    let meta = Meta { interface: InterfaceId(0), ..Meta::default() };
    for (at, port, payload, reason) in [
        (0, PortId(1), 10, Some(DropReason::NoRoute)),
        (5, PortId(0), 500, Some(DropReason::TtlExpired)),
        (6, PortId(0), 20, None),
        (7, PortId(0), 20, Some(DropReason::IcmpConsumed)),
    ] {
        let (now, frame) = (Nanos(NOW.0 + at), frame(payload));
        let tag = observer.received(now, Origin::Port(port), &frame);
        observer.note(now, Point::Parse, tag, seen(&frame[14..], &meta), Ok(()));
        match reason {
            Some(reason) => observer.note(now, Point::Lookup, tag, seen(&frame[14..], &meta), Err(reason)),
            None => observer.transmit(now, port, tag, seen(&frame, &meta)),
        }
    }
    let tag = observer.received(NOW, Origin::Own, &frame(1)[14..]);
    observer.dropped(NOW, Point::Transmit, tag, DropReason::TxFull);
    let (messages, end) = client(observation);
    assert_eq!((end.shown, end.lost, end.over_rate), (3, 0, 0));
    assert_eq!(end.why, "stopped by the client");
    let fields = [
        "frame.time_epoch",
        "frame.interface_name",
        "frame.encap_type",
        "frame.len",
        "frame.cap_len",
        "frame.packet_flags_direction",
        "frame.comment",
        "ip.dst",
    ];
    let expected = [
        [
            "1767323045.123456790",
            "wan0",
            "1",
            "52",
            "52",
            "0x00000001",
            "dropped: no_route at lookup, worker 0",
        ],
        [
            "1767323045.123456795",
            "lan0",
            "1",
            "542",
            "100",
            "0x00000001",
            "dropped: ttl_expired at lookup, worker 0",
        ],
        [
            "1767323045.123456790",
            "foreshift",
            "7",
            "29",
            "29",
            "",
            "dropped: tx_full at transmit, worker 0, made here",
        ],
    ];
    let read = tshark(&pcapng(messages), &fields);
    let ports: Vec<String> = plan().ports.iter().map(|port| port.name.clone()).collect();
    assert!(ports.starts_with(&["lan0".into(), "wan0".into()]), "{ports:?}");
    let read: Vec<Vec<&str>> = read.iter().map(|row| row.iter().map(String::as_str).collect()).collect();
    let expected: Vec<Vec<&str>> =
        expected.iter().map(|row| [row.as_slice(), &["10.2.0.20"]].concat()).collect();
    assert_eq!(read, expected);
}

#[test]
fn a_capture_of_a_tunnel_is_raw_ip_and_says_which_way() {
    let watch =
        WatchRequest::Tunnel { name: "a1-b1".into(), side: Side::Inside, directions: Directions::Both };
    let (mut observer, observation) = begin(watch, "", None);
    let tunnel = observation.names.find_tunnel("a1-b1").expect("there");
    let packet = &frame(7)[14..];
    let inbound = Meta { tunnel_in: Some(tunnel), ..Meta::default() };
    let outbound = Meta { egress: Egress::Tunnel(tunnel), ..Meta::default() };
    let other = Meta { tunnel_in: Some(TunnelId(tunnel.0 + 1)), ..Meta::default() };
    for (point, meta) in
        [(Point::Decap, inbound), (Point::Decap, other), (Point::Forward, outbound), (Point::Encap, outbound)]
    {
        observer.note(NOW, point, dataplane::observe::Tag::NONE, seen(packet, &meta), Ok(()));
    }
    let (messages, end) = client(observation);
    assert_eq!(end.shown, 2);
    let fields = [
        "frame.interface_name",
        "frame.interface_description",
        "frame.packet_flags_direction",
        "udp.dstport",
    ];
    let rows = tshark(&pcapng(messages), &fields);
    let row = |way: &str| ["a1-b1", "inside of tunnel", way, "5000"].map(str::to_owned).to_vec();
    assert_eq!(rows, [row("0x00000001"), row("0x00000002")]);
}

#[test]
fn enough_is_enough_and_a_stopping_engine_says_so() {
    let watch = || WatchRequest::Port { name: "wan0".into(), directions: Directions::Rx };
    let (mut observer, observation) = begin(watch(), "", Some(3));
    for _ in 0..10 {
        observer.received(NOW, Origin::Port(PortId(1)), &frame(1));
    }
    let (messages, end) = client(observation);
    assert_eq!((end.shown, end.why.as_str()), (3, "as many packets as asked for"));
    assert_eq!(tshark(&pcapng(messages), &["frame.len"]).len(), 3);
    let (_observer, observation) = begin(watch(), "", None);
    observation.stopped.store(true, Ordering::Relaxed);
    assert_eq!(client(observation).1.why, "the engine is stopping");
    let (_observer, mut observation) = begin(watch(), "", None);
    observation.until = Instant::now();
    let (messages, end) = client(observation);
    assert_eq!(end.why, "the time is up");
    assert_eq!(tshark(&pcapng(messages), &["frame.len"]).len(), 0, "an empty capture is a capture");
}

#[test]
fn a_client_that_takes_nothing_costs_records_and_nothing_else() {
    let watch = WatchRequest::Port { name: "wan0".into(), directions: Directions::Rx };
    let (mut observer, observation) = begin(watch, "", None);
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let showing = std::thread::spawn(move || observation.show(theirs));
    let begun = Instant::now();
    for n in 0..20_000 {
        observer.received(Nanos(NOW.0 + n), Origin::Port(PortId(1)), &frame(1400));
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "the worker waited");
    drop(ours);
    let error = showing.join().expect("no panic").expect_err("the client has gone");
    // Reset, for what it left unread; or nothing could be written for too long.
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, WouldBlock};
    assert!(matches!(error.kind(), BrokenPipe | ConnectionReset | WouldBlock), "{error}");
}

#[test]
fn a_trace_reads_as_a_way() {
    let (mut observer, observation) = begin(WatchRequest::Trace, "host 10.2.0.20", None);
    let tunnel = observation.names.find_tunnel("a1-b1").expect("there");
    let frame = frame(10);
    let tag = observer.received(NOW, Origin::Port(PortId(0)), &frame);
    let mut packet = frame[14..].to_vec();
    let mut meta = Meta::default();
    observer.note(NOW, Point::Parse, tag, seen(&packet, &meta), Ok(()));
    observer.note(NOW, Point::Decap, tag, seen(&packet, &meta), Ok(()));
    let next = Some(Next::Route(NextHop::Group(dataplane::id::GroupId(0))));
    let routed = Seen { next, ..seen(&packet, &meta) };
    observer.note(NOW, Point::Lookup, tag, routed, Ok(()));
    meta.egress = Egress::Tunnel(tunnel);
    let next = Some(Next::Tunnel(tunnel));
    observer.note(NOW, Point::Steer, tag, Seen { next, ..seen(&packet, &meta) }, Ok(()));
    packet[8] = 63;
    observer.note(NOW, Point::Forward, tag, Seen { next, ..seen(&packet, &meta) }, Ok(()));
    observer.note(NOW, Point::Encap, tag, Seen { next, ..seen(&packet, &meta) }, Err(DropReason::NoSa));
    let (messages, end) = client(observation);
    assert_eq!(end.shown, 1);
    let [Message::Trace(trace)] = messages.as_slice() else { panic!("{messages:?}") };
    let again: trace::PacketTrace =
        serde_json::from_str(&serde_json::to_string(trace).expect("JSON")).expect("the same");
    assert_eq!(again, **trace);
    let bucket = trace.steps[3].bucket.expect("a tunnel is chosen by bucket");
    let expected = format!(
        "03:04:05.123456790 worker 0 from port lan0, 52 bytes
  parse     on lan, udp 10.1.0.10:4000 > 10.2.0.20:5000 ttl 64, 38 bytes
  decap     -
  lookup    group site-b
  steer     tunnel a1-b1, bucket {bucket}
  forward   ttl 63
  encap     DROPPED: no_sa
"
    );
    assert_eq!(trace.text(), expected);
}

#[test]
fn what_cannot_be_watched_is_refused_with_what_can() {
    let plan = plan();
    let names = names::Names::of(&plan);
    let direct = plan.forwarding.tunnels.iter().find(|tunnel| tunnel.encapsulation == Encapsulation::Direct);
    let direct = names.tunnel(direct.expect("the lab has a site link").id);
    let tunnel = |name: &str| WatchRequest::Tunnel {
        name: name.to_owned(),
        side: Side::Inside,
        directions: Directions::Both,
    };
    for (watch, filter, says) in [
        (WatchRequest::Trace, "hots x", "column 1: \"hots\" is not a test"),
        (WatchRequest::Trace, "tunnel b9", "no tunnel is called \"b9\"; known: a1-b1"),
        (
            WatchRequest::Port { name: "wan1".into(), directions: Directions::Rx },
            "",
            "no port is called \"wan1\"; known: lan0, wan0",
        ),
        (tunnel("a1-b1"), "udp and tunnel a1-b1", "column 16: only trace and --drop know a packet's tunnel"),
        (tunnel("b9"), "", "no tunnel is called \"b9\"; known: a1-b1"),
        (tunnel(&direct), "", "capture its port instead"),
        (WatchRequest::Drop { reason: "bad_luck".into() }, "", "no drop reason is called \"bad_luck\""),
    ] {
        let error = request(watch, filter).resolve(&names, &plan.forwarding.tunnels).expect_err(says);
        assert!(error.contains(says), "{error}");
    }
    for (snaplen, seconds) in [(Some(0), 1), (Some(70_000), 1), (None, 0), (None, 100_000)] {
        let request = ObserveRequest { snaplen, seconds, ..request(WatchRequest::Trace, "") };
        assert!(request.resolve(&names, &plan.forwarding.tunnels).is_err());
    }
}
