//! A runtime that only answers, asked over the real socket and the real page.

use super::client::{ClientError, ask};
use super::mirror::{MirrorReport, MirroringStatus};
use super::server::{BindError, Server};
use super::switchover::*;
use super::*;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A group with a value in every field.
fn groups() -> Vec<GroupStatus> {
    vec![GroupStatus {
        name: "site-b".into(),
        site: "b".into(),
        members: vec![MemberStatus {
            tunnel: "a1-b1".into(),
            peer: "b1".into(),
            buckets: 49_152,
            share: 0.75,
            tx_packets: 9,
        }],
        adaptive: Some(AdaptiveStatus {
            offered_bps: 16e6,
            capacity_bps: Some(40e6),
            forecast_bps: None,
            actions: AdaptiveActions { created: 2, rates: 1, migrated: 0, drained: 1 },
        }),
    }]
}

/// A switchover on its way.
pub fn switchover() -> SwitchoverStatus {
    SwitchoverStatus {
        decision: 3,
        cause: Cause::Manual,
        from: "a1".into(),
        target: "a2".into(),
        stage: Stage::Shift,
        stage_ms: 1400,
        waits_for: Some("b1 to apply the step".into()),
        moving: true,
        percent: 25,
        step: 2,
        steps: 4,
        elapsed_ms: 1500,
        ended_ms: None,
        passages: vec![
            PassageStatus { stage: Stage::Prewarm, after_ms: 0, skipped: false, reason: "operator".into() },
            PassageStatus {
                stage: Stage::Shift,
                after_ms: 100,
                skipped: false,
                reason: "all is well".into(),
            },
        ],
    }
}

/// A check that the other engine knows nothing of.
pub fn check() -> CheckStatus {
    let there =
        CheckView { state: CheckState::Unknown, age_ms: None, reason: Some("it has no such check".into()) };
    CheckStatus {
        name: "web".into(),
        kind: "http".into(),
        address: "10.2.0.10:80".parse().expect("an address"),
        group: Some("site-b".into()),
        blocks: true,
        here: CheckView { state: CheckState::Passing, age_ms: Some(250), reason: None },
        there: Some(there),
    }
}

/// A status with a value in every field.
pub fn status() -> Status {
    Status {
        name: "a1".into(),
        site: "a".into(),
        ready: true,
        uptime_ms: 65_000,
        unix_ms: 1_700_000_000_000,
        owner: true,
        epoch: 1_700_000_001,
        role: Role::Active,
        site_owner: Some("a1".into()),
        forwarding: true,
        mode: Mode::Auto,
        probability: Some(0.25),
        horizon_ms: 5000,
        threshold: 0.75,
        drift: 0.5,
        drivers: vec![Driver { metric: "loss_tx".into(), weight: 1.5 }],
        alarm: false,
        peer_alarm: false,
        groups: groups(),
        switchover: Some(switchover()),
        checks: vec![check()],
        moves: MovesStatus { idle: 7, gap: 5, marked: 3, wait_ms: 12.5, ..MovesStatus::default() },
        bfd: Vec::new(),
        vrrp: Vec::new(),
        generation: 7,
        peers_up: vec!["b1".into()],
        crypto: "ipsec-mb".into(),
        crypto_why: "the faster one".into(),
        access: AccessStatus {
            acl: Some(AclStatus { rules: 3, bytes: 4096, denied: 5, rejected: 6 }),
            sessions: Some(SessionsStatus {
                live: 7,
                capacity: 100,
                begun: 17,
                ended: 10,
                evicted: 2,
                refused: 1,
            }),
            nat: Some(NatStatus { addresses: 1, ports_in_use: 8, exhausted: 0, untranslatable: 9 }),
        },
        shadow: None,
        config: None,
        store: Some(StoreStatus {
            kind: "etcd".into(),
            region: "eu".into(),
            ready: false,
            for_ms: 12_000,
            reason: Some("no leader".into()),
        }),
    }
}

/// A tunnel whose probes have not returned.
pub fn tunnel() -> TunnelStatus {
    TunnelStatus {
        name: "a1-b1".into(),
        protocol: "esp".into(),
        algorithm: Some("aes-256-gcm".into()),
        problem: None,
        state: TunnelState::Up,
        peer: "b1".into(),
        local: "192.0.2.11".parse().expect("an address"),
        remote: "2001:db8::20".parse().expect("an address"),
        mtu: 1446,
        rtt_us: Some(1250.0),
        jitter_us: None,
        loss_tx: 0.02,
        loss_rx: 0.0,
        tx_packets: 9,
        tx_bytes: 900,
        rx_packets: 8,
        rx_bytes: 800,
        spi_in: vec![256],
        spi_out: vec![512],
        inbound_generation: Some(1),
        outbound_generation: None,
        fenced: false,
        buckets: 49_152,
        shaper: Some(ShaperStatus {
            rate_kbps: 100_000,
            classes: vec![ClassStatus {
                name: "voice".into(),
                rate_kbps: Some(20_000),
                waited: 7,
                dropped: 2,
            }],
        }),
        wireguard: Some(WireGuardStatus {
            public_key: "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".into(),
            remote_port: 51_820,
            last_handshake_s: Some(12.5),
            tx_keepalives: 3,
            rx_keepalives: 4,
        }),
    }
}

/// An active whose standby would drop one packet of ten.
pub fn mirrored() -> MirrorStatus {
    let report = MirrorReport {
        compared: 10,
        diverged: vec![("drops".to_owned(), 1), ("passes".to_owned(), 0)],
        alarm: Some("drops: 10.1.0.9 > 10.2.0.9".to_owned()),
        ..MirrorReport::default()
    };
    let active = MirroringStatus {
        peer: "a2".into(),
        up: true,
        share: 0.03,
        share_max: 0.05,
        epoch: 2,
        seen_packets: 200,
        flow_packets: 10,
        flow_bytes: 1280,
        sampled_packets: 6,
        lost: 1,
        too_long: 0,
        report: Some(report),
    };
    MirrorStatus { active: Some(active), from: None, found: None }
}

/// Ten packets, all accounted for.
pub fn drops() -> DropsStatus {
    let dropped = [("no_route".to_owned(), 2), ("ttl_expired".to_owned(), 1)].into();
    let pools = vec![PoolStatus { name: "socket 0".into(), size: 8191, in_use: 3 }];
    let mut drops =
        DropsStatus { received: 8, originated: 2, transmitted: 6, held: 1, dropped, balance: 0, pools };
    drops.balance = drops.computed_balance();
    drops
}

/// Answers every request, and says what was commanded.
async fn answer_all(mut requests: mpsc::Receiver<ApiRequest>) {
    while let Some(request) = requests.recv().await {
        match request {
            ApiRequest::Status(reply) => drop(reply.send(status())),
            ApiRequest::Ports(reply) => {
                drop(reply.send(vec![PortStatus {
                    name: "wan\"0\\".into(),
                    up: true,
                    ..PortStatus::default()
                }]));
            }
            ApiRequest::Tunnels(reply) => drop(reply.send(vec![tunnel()])),
            ApiRequest::Workers(reply) => {
                drop(
                    reply
                        .send(vec![WorkerStatus { residence_p99_us: Some(40.0), ..WorkerStatus::default() }]),
                );
            }
            ApiRequest::Drops(reply) => drop(reply.send(drops())),
            ApiRequest::Decisions(reply) => drop(reply.send(Vec::new())),
            ApiRequest::Cluster(reply) => drop(reply.send(None)),
            ApiRequest::Mirror(reply) => drop(reply.send(Some(mirrored()))),
            ApiRequest::Site(ask) => ask.refuse("nothing is shared"),
            ApiRequest::Telemetry(_, reply) => drop(reply.send(Vec::new())),
            ApiRequest::ChangeRoutes(batch, reply) => drop(reply.send(batch.changes.len())),
            ApiRequest::Routes(_, reply) => drop(reply.send(Vec::new())),
            ApiRequest::RouteCount(reply) => drop(reply.send(RouteCount::default())),
            ApiRequest::Command { command: OperatorCommand::Approve { decision }, reply } => {
                drop(reply.send(Err(format!("decision {decision} waits for nobody"))));
            }
            ApiRequest::Command { command, reply } => drop(reply.send(Ok(format!("{command:?}")))),
            ApiRequest::Observe { reply, .. } => drop(reply.send(Err("somebody else is looking".into()))),
            ApiRequest::Fault { reply, .. } => drop(reply.send(Err("no faults here".into()))),
            ApiRequest::Shape { tunnel, class, kbps, reply } => {
                drop(reply.send(Ok(format!("{tunnel} {class:?} {kbps}"))));
            }
        }
    }
}

fn socket(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("foreshift-api-{}-{name}/api.sock", std::process::id()))
}

fn remove(socket: &std::path::Path) {
    std::fs::remove_dir_all(socket.parent().expect("a folder")).expect("removed");
}

/// Runs the blocking client beside the server.
async fn beside<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(ask).await.expect("the client did not panic")
}

#[tokio::test]
async fn questions_commands_and_nonsense_over_the_socket() {
    let path = socket("questions");
    let server = Server::bind(&path).expect("bound");
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    assert!(matches!(Server::bind(&path), Err(BindError::InUse(_))), "a live engine's socket is not taken");
    let (requests, receiver) = mpsc::channel(4);
    tokio::spawn(answer_all(receiver));
    let serving = tokio::spawn(server.serve(ApiHandle::new(requests, watch::channel(Arc::default()).1)));
    let client = path.clone();
    beside(move || {
        assert_eq!(ask::<Status>(&client, &Request::Status).expect("answered"), status());
        assert_eq!(ask::<Vec<TunnelStatus>>(&client, &Request::Tunnels).expect("answered"), [tunnel()]);
        assert_eq!(ask::<DropsStatus>(&client, &Request::Drops).expect("answered").balance, 0);
        let mode = Request::Command { command: OperatorCommand::SetMode { mode: Mode::Observe } };
        assert_eq!(ask::<String>(&client, &mode).expect("done"), "SetMode { mode: Observe }");
        let approve = Request::Command { command: OperatorCommand::Approve { decision: 4 } };
        let refused = ask::<String>(&client, &approve).expect_err("refused");
        assert_eq!(refused.to_string(), "decision 4 waits for nobody");
    })
    .await;
    // By hand, as a script would: a bad line costs an answer, not the connection; a line without end, both.
    let mut raw = tokio::net::UnixStream::connect(&path).await.expect("connected");
    raw.write_all(b"hello\n{\"request\":\"command\",\"command\":{\"command\":\"drain\"}}\n")
        .await
        .expect("sent");
    raw.write_all(&[b'x'; 20_000]).await.expect("sent");
    raw.shutdown().await.expect("ended");
    let mut answers = Vec::new();
    // The server hangs up on the endless line; what it said before still arrives.
    let _ = raw.read_to_end(&mut answers).await;
    let answers = String::from_utf8(answers).expect("JSON");
    let lines: Vec<&str> = answers.lines().collect();
    assert!(lines[0].starts_with("{\"error\":\"not a request: "), "{answers}");
    assert_eq!(lines[1], "{\"ok\":\"Drain { overrule: false }\"}");
    assert!(lines[2].contains("at most 16384 bytes"), "{answers}");
    serving.abort();
    let _ = serving.await;
    assert!(!path.exists(), "the socket goes with its server");
    remove(&path);
}

#[tokio::test]
async fn a_dead_engine_is_replaced_and_named_when_asked() {
    let path = socket("dead");
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    let error = ask::<Status>(&path, &Request::Status).expect_err("nobody there");
    assert!(matches!(error, ClientError::NotRunning(_)));
    assert!(error.to_string().contains("is it running?"), "{error}");
    let (requests, receiver) = mpsc::channel(1);
    drop(receiver);
    let server = Server::bind(&path).expect("a stale socket is replaced");
    let serving = tokio::spawn(server.serve(ApiHandle::new(requests, watch::channel(Arc::default()).1)));
    let client = path.clone();
    let stopping = beside(move || ask::<Status>(&client, &Request::Status)).await.expect_err("stopping");
    assert!(stopping.to_string().contains("stopping"), "{stopping}");
    serving.abort();
    let _ = serving.await;
    std::fs::write(&path, "precious").expect("written");
    assert!(matches!(Server::bind(&path), Err(BindError::NotASocket(_))), "a file is not replaced");
    remove(&path);
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut page = String::new();
    stream.read_to_string(&mut page).await.expect("text");
    page
}

#[tokio::test]
async fn the_metrics_page_is_well_formed_and_says_what_the_structs_say() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its number");
    let (requests, receiver) = mpsc::channel(4);
    tokio::spawn(answer_all(receiver));
    let serving = tokio::spawn(metrics_server::serve(
        listener,
        ApiHandle::new(requests, watch::channel(Arc::default()).1),
    ));
    assert!(get(address, "/healthz").await.ends_with("ready\n"));
    let page = get(address, "/metrics").await;
    serving.abort();
    assert!(page.starts_with("HTTP/1.1 200 OK"), "{page}");
    assert!(page.contains("content-type: text/plain; version=0.0.4"), "{page}");
    let (_, body) = page.split_once("\r\n\r\n").expect("a body");
    for line in [
        "foreshift_epoch 1700000001",
        "foreshift_failure_threshold_ratio 0.75",
        "foreshift_group_share_ratio{group=\"site-b\",site=\"b\",tunnel=\"a1-b1\"} 0.75",
        "foreshift_tunnel_round_trip_seconds{tunnel=\"a1-b1\"} 0.00125",
        "foreshift_tunnel_receive_packets_total{tunnel=\"a1-b1\"} 8",
        "foreshift_port_up{port=\"wan\\\"0\\\\\"} 1",
        "foreshift_packets_dropped_total{reason=\"no_route\"} 2",
        "foreshift_packets_balance 0",
        "foreshift_switchover_stage{cause=\"manual\",stage=\"shift\"} 1",
        "foreshift_switchover_stage{cause=\"manual\",stage=\"watch\"} 0",
        "foreshift_check_up{check=\"web\",engine=\"here\"} 1",
        "foreshift_worker_residence_p99_seconds{worker=\"0\"} 0.00004",
    ] {
        assert!(body.lines().any(|l| l == line), "no {line} in\n{body}");
    }
    assert!(!body.contains("foreshift_tunnel_jitter_seconds{"), "what is unknown has no sample");
    well_formed(body);
}

/// Prometheus' text format 0.0.4: each family once, HELP and TYPE before its samples, counters `_total`.
fn well_formed(body: &str) {
    let mut families = std::collections::BTreeMap::new();
    let mut current = String::new();
    for line in body.lines().filter(|line| !line.starts_with("# HELP ")) {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').expect("a kind");
            assert!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            assert!(body.contains(&format!("# HELP {name} ")), "{name} without help");
            current = name.to_owned();
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        assert_eq!(series.split('{').next(), Some(current.as_str()), "out of its family: {line}");
        assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
    }
    assert!(families.len() > 40, "{} families", families.len());
}
