//! What is wrong with `[[bfd]]`.

use super::*;
use dataplane::bfd::Hops;

const ROUTER: &str =
    "[[bfd]]\nname = \"router\"\ninterface = \"wan\"\nremote = \"192.0.2.1\"\ntunnels = [\"a1-b1\"]\n[api]";

#[test]
fn a_session_has_defaults() {
    let config = Config::parse(&GOOD.replace("[api]", ROUTER)).unwrap();
    let bfd = &config.bfd[0];
    assert_eq!((bfd.interval_ms.get(), bfd.multiplier.get(), bfd.tunnels.len()), (50, 3, 1));
}

#[test]
fn one_that_is_hops_away_is_known_by_the_interfaces_address() {
    let beyond = ROUTER.replace("\"192.0.2.1\"", "\"198.51.100.1\"\nmultihop = true\nttl_min = 250");
    let config = Config::parse(&GOOD.replace("[api]", &beyond)).unwrap();
    let plan = crate::plan::Plan::from_config(&config);
    let session = &plan.forwarding.bfd[0];
    assert_eq!((session.hops, session.local), (Hops::Multi { ttl_min: 250 }, "192.0.2.11".parse().unwrap()));
}

#[test]
fn every_mistake_is_told_with_its_place_and_remedy() {
    let mistakes = [
        ("\"192.0.2.1\"", "\"198.51.100.1\"", "bfd[0].remote", "is not on a prefix", "single hop"),
        ("\"192.0.2.1\"", "\"192.0.2.11\"", "bfd[0].remote", "our own address", "write the neighbour's"),
        ("\"wan\"\nremote", "\"wann\"\nremote", "bfd[0].interface", "no interface", "did you mean \"wan\"?"),
        ("[\"a1-b1\"]\n[api]", "[\"a1-b9\"]\n[api]", "bfd[0].tunnels", "no tunnel", "a1-b1"),
        ("remote = \"192.0.2.1\"\nt", "t", "bfd[0].remote", "is missing", "write remote"),
        (
            "name = \"router\"",
            "name = \"router\"\nmultiplier = 1",
            "bfd[0].multiplier",
            "out of range",
            "from 2",
        ),
        (
            "name = \"router\"",
            "name = \"router\"\ninterval = 50",
            "bfd[0].interval",
            "unknown key",
            "interval_ms",
        ),
        (
            "name = \"router\"",
            "name = \"router\"\nttl_min = 250",
            "bfd[0].ttl_min",
            "nothing but 255",
            "multihop = true",
        ),
        (
            "name = \"router\"",
            "name = \"router\"\nmultihop = true",
            "bfd[0].multihop",
            "one hop away",
            "remove it",
        ),
        ("cores = [0]", "cores = [0, 1]", "bfd[0]", "2 workers", "name one core"),
    ];
    for (from, to, path, what, remedy) in mistakes {
        let (good, router) = match ROUTER.contains(from) {
            true => (GOOD.to_owned(), ROUTER.replacen(from, to, 1)),
            false => (GOOD.replacen(from, to, 1), ROUTER.to_owned()),
        };
        let errors = Config::parse(&good.replace("[api]", &router)).expect_err(to);
        let told = errors
            .problems
            .iter()
            .any(|p| p.path == path && p.what.contains(what) && p.remedy.contains(remedy));
        assert!(told, "{to}: {errors}");
    }
}
