use super::*;
use proptest::prelude::*;

fn topics() -> [Topic; 5] {
    let (engine, tunnel, site) = ("a1".to_owned(), "a1-b1".to_owned(), "a".to_owned());
    [
        Topic::Config { engine: engine.clone() },
        Topic::Health { engine: engine.clone() },
        Topic::Risk { engine: engine.clone() },
        Topic::Tunnel { engine, tunnel },
        Topic::Intent { site },
    ]
}

fn records() -> [Record; 5] {
    let parameters = SaParameters { algorithm: dataplane::sa::Algorithm::Aes256Gcm, esn: true };
    let session = SessionState {
        parameters,
        inbound_generation: Some(3),
        inbound_spis: vec![Spi(256), Spi(512)],
        outbound_generation: None,
    };
    let share = |engine: &str, buckets| Share { engine: engine.into(), buckets };
    [
        Record::Config(ConfigRecord { generation: 7, digest: "ab".into(), site: "a".into() }),
        Record::Health(ApplianceHealth {
            site: "a".into(),
            owner: true,
            epoch: Epoch(u64::MAX),
            alarm: false,
            tunnels_up: 1,
            tunnels: 2,
            peers: vec!["a2".into()],
        }),
        Record::Risk(RiskScore {
            probability: Some(0.25),
            interval: Some((0.125, 0.5)),
            horizon_ms: 30_000,
            drift: 0.5,
            drivers: vec![("rx_missed".into(), -1.5)],
        }),
        Record::Tunnel(TunnelRecord {
            peer: "b1".into(),
            local: "192.0.2.1".parse().expect("an address"),
            remote: "2001:db8::1".parse().expect("an address"),
            state: TunnelState::Up,
            session: Some(session),
        }),
        Record::Intent(RoutingIntent {
            epoch: Epoch(5),
            owner: "a1".into(),
            shares: vec![share("a1", 60_000), share("a2", 5536)],
            shifting_to: Some("a2".into()),
        }),
    ]
}

#[test]
fn keys_and_records_read_back() {
    for (topic, record) in topics().into_iter().zip(records()) {
        let key = StateKey { region: "eu".into(), topic };
        assert_eq!(StateKey::parse(&key.path()), Some(key.clone()));
        let octets = record.encode();
        assert_eq!(Record::decode(&key.topic, &octets).expect("as written"), record);
        for other in topics().iter().filter(|other| **other != key.topic) {
            assert!(Record::decode(other, &octets).is_err(), "{record:?} as {other:?}");
        }
    }
    let [_, risk, ..] = [&records()[1], &records()[2]];
    assert!(
        String::from_utf8(risk.encode()).expect("text").starts_with(r#"{"schema":1,"probability":0.25,"#)
    );
}

#[test]
fn what_is_not_of_the_schema_is_refused() {
    for path in [
        "/foreshift/v2/eu/site/a/intent",
        "/foreshift/v1/eu/site/a",
        "/foreshift/v1//site/a/intent",
        "/foreshift/v1/eu/site//intent",
        "/foreshift/v1/eu/engine/a1/tunnel/",
        "/foreshift/v1/eu/engine/a1/keys",
        "foreshift/v1/eu/site/a/intent",
        "",
    ] {
        assert_eq!(StateKey::parse(path), None, "{path}");
    }
    let risk = &topics()[2];
    let refused = |text: &str| Record::decode(risk, text.as_bytes()).expect_err(text).to_string();
    let with = |fields: &str| {
        refused(&format!(r#"{{"schema":1,"horizon_ms":1,"drivers":[],"drift":0,"interval":null,{fields}}}"#))
    };
    assert!(refused(r#"{"schema":2}"#).contains("schema 2, this engine reads 1"));
    assert!(refused("{}").contains("schema") && refused("").contains("record"));
    assert!(with(r#""probability":1.5"#).contains("probability"));
    assert!(with(r#""probability":-0.1"#).contains("probability"));
    let turned =
        r#"{"schema":1,"horizon_ms":1,"drivers":[],"drift":0,"interval":[0.5,0.25],"probability":null}"#;
    assert!(refused(turned).contains("interval"));
    let later =
        r#"{"schema":1,"horizon_ms":1,"drivers":[],"drift":0,"interval":null,"probability":null,"new":1}"#;
    assert!(Record::decode(risk, later.as_bytes()).is_ok(), "fields of later versions are read over");
}

proptest! {
    #[test]
    fn any_octets_are_a_record_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..200), path in "\\PC*") {
        for topic in topics() {
            if let Ok(record) = Record::decode(&topic, &octets) {
                prop_assert_eq!(Record::decode(&topic, &record.encode()).expect("as written"), record);
            }
        }
        if let Some(key) = StateKey::parse(&path) {
            prop_assert_eq!(key.path(), path);
        }
    }
}
