//! `[acl]`, `[sessions]` and `[nat]`.

use super::*;
use dataplane::acl::Action;

const ACCESS: &str = r#"
[acl]
default = "reject"
[[acl.rule]]
action = "permit-session"
src = "10.1.0.0/16"
protocol = "tcp"
dst_ports = "1024-65535"
tcp = "opening"
interface = "lan"
[[acl.rule]]
action = "deny"
protocol = "icmpv6"
icmp_type = 128
[sessions]
capacity = 4096
when_full = "drop-new"
udp_one_way_seconds = 30
[nat]
inside = ["10.1.0.0/16"]
pool = ["192.0.2.11"]
[[nat.forward]]
protocol = "tcp"
outside = "192.0.2.11:443"
inside = "10.1.0.80:8443"
[[nat.forward]]
protocol = "udp"
outside = "192.0.2.11:443"
inside = "10.1.0.80:443"
"#;

#[test]
fn what_is_written_is_read() {
    let config = Config::parse(&format!("{GOOD}{ACCESS}")).expect("valid");
    let acl = config.acl.as_ref().expect("an access list");
    assert_eq!((acl.default, acl.rules.len()), (Action::Reject, 2));
    assert_eq!(config.sessions.expect("sessions").timeouts.udp_one_way, 30);
    assert_eq!(config.nat.as_ref().expect("NAT").forwards.len(), 2);
    let plan = crate::plan::AccessPlan::from_config(&config);
    assert_eq!((plan.acl().expect("compiles").expect("there").len(), plan.capacity()), (2, 4096));
}

#[test]
fn each_mistake_says_where_and_what_to_do() {
    for (right, wrong, path, what, remedy) in [
        ("\"permit-session\"", "\"allow\"", "acl.rule[0].action", "\"allow\" is not one", "\"permit\""),
        (
            "\"10.1.0.0/16\"\nprotocol",
            "\"10.1/16\"\nprotocol",
            "acl.rule[0].src",
            "prefix length",
            "10.1.0.2/24",
        ),
        (
            "src = \"10",
            "dst = \"2001:db8::/32\"\nsrc = \"10",
            "acl.rule[0].dst",
            "another IP version",
            "both as IPv4",
        ),
        ("\"1024-65535\"", "\"9-1\"", "acl.rule[0].dst_ports", "not a port", "\"443\" or"),
        (
            "protocol = \"tcp\"\ndst_ports",
            "protocol = \"gre\"\ndst_ports",
            "acl.rule[0].dst_ports",
            "has none",
            "\"tcp\"",
        ),
        ("\"icmpv6\"", "\"udp\"", "acl.rule[1].icmp_type", "has none", "\"icmp\""),
        (
            "interface = \"lan\"",
            "interface = \"lam\"",
            "acl.rule[0].interface",
            "no interface \"lam\"",
            "\"lan\"",
        ),
        ("\"reject\"", "\"permit-session\"", "acl.default", "needs a rule", "\"deny\""),
        ("capacity = 4096", "capacity = 10", "sessions.capacity", "out of range", "from 1024"),
        ("\"drop-new\"", "\"drop\"", "sessions.when_full", "\"drop\"", "\"evict-opening\""),
        ("pool = [\"192.0.2.11\"]", "pool = []", "nat.pool", "is missing", "inside"),
        (
            "pool = [\"192.0.2.11\"]",
            "pool = [\"fd00::1\"]",
            "nat.pool[0]",
            "not an IPv4 address",
            "192.0.2.20",
        ),
        ("\"udp\"\noutside", "\"tcp\"\noutside", "nat.forward[1].outside", "already that of", "once"),
        ("\"10.1.0.80:443\"", "\"10.1.0.80\"", "nat.forward[1].inside", "address and port", "192.0.2.20:443"),
    ] {
        assert!(ACCESS.contains(right), "{right:?} is not in the text");
        let text = format!("{GOOD}{}", ACCESS.replacen(right, wrong, 1));
        let problems = Config::parse(&text).expect_err(wrong).problems;
        let said = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(said.contains(path) && said.contains(what) && said.contains(remedy), "{wrong:?}:\n{said}");
    }
    // Sessions are what NAT and permit-session are about.
    let without = ACCESS
        .replace("[sessions]\ncapacity = 4096\nwhen_full = \"drop-new\"\nudp_one_way_seconds = 30\n", "");
    let said = Config::parse(&format!("{GOOD}{without}")).expect_err("no sessions").to_string();
    assert!(said.contains("acl.rule[0].action") && said.contains("NAT is a part of them"), "{said}");
}
