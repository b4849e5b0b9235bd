use super::*;
use dataplane::id::{InterfaceId, PortId};
use dataplane::wire::MacAddr;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn targets() -> Targets {
    let interface = |id, addresses: &[&str]| Interface {
        id: InterfaceId(id),
        port: PortId(id),
        vlan: None,
        mac: MacAddr::ZERO,
        mtu: 1500,
        addresses: addresses.iter().map(|text| net(text)).collect(),
        gateway: Vec::new(),
        site_link: false,
        virtual_router: None,
    };
    Targets {
        interfaces: vec![
            interface(0, &["10.1.0.2/24"]),
            interface(1, &["192.0.2.11/24", "2001:db8:1::11/64"]),
        ],
        groups: vec![("site-b".into(), GroupId(0))],
        configured: [net("10.1.0.0/24"), net("0.0.0.0/0")].into(),
    }
}

#[test]
fn a_file_becomes_a_batch() {
    let text = "# from the RIB\n\
        10.2.0.0/16 via 192.0.2.1\n\
        10.3.0.0/16\tvia  192.0.2.1 # the same router\n\n\
        10.4.0.0/16 group site-b\n  2001:db8::/32 blackhole\n\
        2001:db8:2::/48 via 2001:db8:1::1";
    let batch = targets().routes(text).unwrap();
    let led: Vec<_> = (batch.changes.iter())
        .map(|(prefix, place)| (*prefix, batch.next_hops[place.unwrap() as usize]))
        .collect();
    let via = |gateway: &str| NextHop::Via { interface: InterfaceId(1), gateway: gateway.parse().unwrap() };
    assert_eq!(
        led,
        [
            (net("10.2.0.0/16"), via("192.0.2.1")),
            (net("10.3.0.0/16"), via("192.0.2.1")),
            (net("10.4.0.0/16"), NextHop::Group(GroupId(0))),
            (net("2001:db8::/32"), NextHop::Blackhole),
            (net("2001:db8:2::/48"), via("2001:db8:1::1")),
        ]
    );
}

/// (the second line, part of what is wrong, part of the remedy)
const MISTAKES: &[(&str, &str, &str)] = &[
    ("10.2.0/16 via 192.0.2.1", "\"10.2.0/16\" is not a prefix", "such as"),
    ("10.2.0.0 via 192.0.2.1", "is not a prefix", "such as"),
    ("10.2.0.1/16 via 192.0.2.1", "has host bits", "write 10.2.0.0/16"),
    ("10.1.0.0/24 blackhole", "of the configuration", "leave it out"),
    ("0.0.0.0/0 via 192.0.2.1", "of the configuration", "leave it out"),
    ("10.9.0.0/16 blackhole", "is on line 1 already", "keep one"),
    ("10.2.0.0/16", "leads nowhere", "via ADDRESS"),
    ("10.2.0.0/16 192.0.2.1", "\"192.0.2.1\" is not a target", "via ADDRESS"),
    ("10.2.0.0/16 via 192.0.2.1 wan", "is not a target", "via ADDRESS"),
    ("10.2.0.0/16 via router", "is not an address", "such as"),
    ("10.2.0.0/16 via 2001:db8:1::1", "not of one IP version", "prefix's version"),
    ("10.2.0.0/16 via 192.0.2.11", "this engine itself", "neighbour"),
    ("10.2.0.0/16 via 203.0.113.1", "on no network", "direct neighbour"),
    ("10.2.0.0/16 group site-c", "no group \"site-c\"", "site-b"),
];

#[test]
fn every_mistake_is_named_with_its_line_and_a_remedy() {
    for (line, what, remedy) in MISTAKES {
        let mistakes = targets().routes(&format!("10.9.0.0/16 blackhole\n{line}\n")).unwrap_err();
        let [(2, mistake)] = &mistakes[..] else { panic!("{line}: {mistakes:?}") };
        assert!(mistake.what.contains(what), "{line}: {mistake}");
        assert!(mistake.remedy.contains(remedy), "{line}: {mistake}");
    }
    let all: Vec<&str> = MISTAKES.iter().map(|(line, ..)| *line).collect();
    let text = format!("10.9.0.0/16 blackhole\n{}", all.join("\n"));
    let mistakes = targets().routes(&text).unwrap_err();
    let lines: Vec<usize> = mistakes.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, (2..2 + MISTAKES.len()).collect::<Vec<_>>());
}

#[test]
fn a_file_s_mistakes_name_the_file_and_have_an_end() {
    let folder = std::env::temp_dir().join(format!("foreshift-routes-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("routes.txt");
    let missing = targets().load(&path).unwrap_err().to_string();
    assert!(missing.contains("routes.txt: cannot be read"), "{missing}");
    std::fs::write(&path, "10.2.0.0/16 via 192.0.2.1\n".to_owned() + &"nonsense\n".repeat(NAMED + 5))
        .unwrap();
    let wrong = targets().load(&path).unwrap_err().to_string();
    assert!(wrong.contains("routes.txt:2: \"nonsense\" is not a prefix"), "{wrong}");
    assert!(wrong.ends_with("5 more lines are wrong"), "{wrong}");
    assert_eq!(wrong.lines().count(), NAMED + 1);
    std::fs::remove_dir_all(&folder).unwrap();
}
