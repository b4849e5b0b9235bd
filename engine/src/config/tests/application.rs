//! What is wrong with `[[check]]`, `[ha] failback` and `[shift] watch_seconds`.

use super::*;
use crate::config::application::Asked;

const CHECKS: &str = r#"[[check]]
name = "web"
kind = "http"
address = "10.2.0.10:80"
group = "site-b"
path = "/health"
status = [200, "204-206"]
body = "ok"
source = "10.1.0.21"
device = "chk0"
[[check]]
name = "db"
kind = "postgresql"
address = "10.2.0.11:5432"
user = "probe"
blocks = false
[[check]]
name = "ssh"
kind = "tcp"
address = "[fd00:b::10]:22"
[api]"#;

fn good() -> String {
    GOOD.replace("[api]", CHECKS)
}

#[test]
fn every_kind_is_read_and_planned() {
    assert!(Config::parse(GOOD).unwrap().checks.is_empty());
    let config = Config::parse(&good()).expect("valid");
    let [web, db, ssh] = &config.checks[..] else { panic!("three checks") };
    assert!(matches!(&web.asked, Asked::Http { status, .. } if status.len() == 2));
    assert_eq!((web.interval_ms.get(), web.timeout_ms.get()), (1000, 1000));
    assert_eq!((web.rise.get(), web.fall.get(), web.blocks, db.blocks), (2, 3, true, false));
    assert!(matches!(&ssh.asked, Asked::Tcp));
    let plan = crate::plan::Plan::from_config(&config);
    let names: Vec<&str> = plan.controller.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["web", "db", "ssh"]);
    let crate::checks::Kind::Http(request) = &plan.checks[0].kind else { panic!("http") };
    assert_eq!(
        (request.host.as_str(), request.status.as_slice()),
        ("10.2.0.10:80", &[200..=200, 204..=206][..])
    );
    assert_eq!(plan.checks[0].origin.device.as_deref(), Some("chk0"));
    assert_eq!(plan.controller.shift.watch, dataplane::id::Nanos::from_millis(10_000));
    assert_eq!(plan.controller.ha.expect("a pair").failback, None);
    let auto = GOOD.replace("lease_ms = 400", "failback = \"auto\"\nfailback_seconds = 60");
    let ha = crate::plan::Plan::from_config(&Config::parse(&auto).expect("valid")).controller.ha;
    assert_eq!(ha.expect("a pair").failback, Some(dataplane::id::Nanos::from_millis(60_000)));
}

#[test]
fn every_mistake_is_told_with_its_place_and_remedy() {
    let http = "kind = \"http\"";
    let mistakes = [
        (http, "kind = \"https\"", "check[0].kind", "not one of its values", "\"postgresql\""),
        (http, "", "check[0].kind", "is missing", "write kind = \"tcp\""),
        (http, "kind = \"tcp\"", "check[0].path", "is for kind = \"http\"", "remove it"),
        ("\"10.2.0.10:80\"", "\"10.2.0.10\"", "check[0].address", "not an address and port", "write one"),
        ("path = \"/health\"", "path = \"health\"", "check[0].path", "is no path", "slash"),
        ("path = \"/health\"", "path = \"/a b\"", "check[0].path", "is no path", "no space"),
        ("body = \"ok\"", "body = \"\"", "check[0].body", "no printable text", "1 to 255"),
        ("[200, \"204-206\"]", "[20]", "check[0].status[0]", "20 is no status code", "from 100 to 599"),
        ("[200, \"204-206\"]", "[\"300-200\"]", "check[0].status[0]", "is no status code", "a range such as"),
        ("[200, \"204-206\"]", "[true]", "check[0].status[0]", "is a boolean", "write 200"),
        ("[200, \"204-206\"]", "[]", "check[0].status", "allows no status", "or remove it"),
        ("\"10.1.0.21\"", "\"fd00:a::21\"", "check[0].source", "another IP version", "both as IPv4"),
        ("\"chk0\"", "\"eth0/1\"", "check[0].device", "no interface's name", "eth1"),
        (
            "\"site-b\"\npath",
            "\"site-c\"\npath",
            "check[0].group",
            "there is no group",
            "did you mean \"site-b\"?",
        ),
        ("name = \"db\"", "name = \"web\"", "check[1].name", "already that of check[0]", "a name of its own"),
        ("user = \"probe\"", "database = \"app\"", "check[1].database", "without a user", "write user"),
        ("user = \"probe\"", "password = \"x\"", "check[1].password", "never read from a file", "remove it"),
        ("blocks = false", "block = false", "check[1].block", "unknown key", "did you mean \"blocks\"?"),
        ("blocks = false", "interval_ms = 5", "check[1].interval_ms", "out of range", "from 100"),
        (
            "lease_ms = 400",
            "failback_seconds = 60",
            "ha.failback_seconds",
            "a person brings",
            "failback = \"auto\"",
        ),
        (
            "lease_ms = 400",
            "failback = \"never\"",
            "ha.failback",
            "not one of its values",
            "\"manual\" or \"auto\"",
        ),
        (
            "role = \"active\"",
            "role = \"standby\"\nfailback = \"auto\"",
            "ha.failback",
            "not brought back to a standby",
            "whose role is active",
        ),
        (
            "steps = [5, 25, 50, 100]",
            "watch_seconds = 9999",
            "shift.watch_seconds",
            "out of range",
            "from 0 to 3600",
        ),
    ];
    for (from, to, path, what, remedy) in mistakes {
        assert!(good().contains(from), "{from}");
        let problems = Config::parse(&good().replacen(from, to, 1)).expect_err(to).problems;
        let told = problems.iter().find(|p| p.path == path && p.what.contains(what));
        let told = told.unwrap_or_else(|| panic!("{to}: {problems:?}"));
        assert!(told.remedy.contains(remedy), "{to}: {}", told.remedy);
    }
}
