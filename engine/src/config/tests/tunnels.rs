//! Shapers, and gateways of another make.

use super::{GOOD, errors};

/// What is written, what is written instead, the path, and a part of what is wrong.
type Mistake = (&'static str, &'static str, &'static str, &'static str);

/// Each mistake, alone in a `good` text, is told with its path.
pub(super) fn each_is_told(good: &str, mistakes: &[Mistake]) {
    for (from, to, path, what) in mistakes {
        assert!(good.contains(from), "the base lacks {from:?}");
        let problems = errors(&good.replacen(from, to, 1));
        let found = problems.iter().any(|p| p.path == *path && p.what.contains(what));
        assert!(found, "{from:?} -> {to:?}: wanted {path}: …{what}…\ngot {problems:#?}");
    }
}

/// A tunnel's shaper, with the mistakes in it.
#[test]
fn classes_of_a_shaper_are_told_apart() {
    let shaper = "remote = \"198.51.100.20\"\n[tunnel.shaper]\nrate_kbps = 100_000\n\
        [[tunnel.shaper.class]]\nname = \"voice\"\ndscp = [46]\nrate_kbps = 20_000\n\
        [[tunnel.shaper.class]]\nname = \"rest\"\nqueue = 100\n";
    let good = GOOD.replacen("remote = \"198.51.100.20\"\n", shaper, 1);
    assert_eq!(errors(&good), []);
    let mistakes = [
        ("rate_kbps = 100_000", "rate_kbps = 1", "tunnel[0].shaper.rate_kbps", "out of range"),
        ("rate_kbps = 100_000", "burst_kib = 64", "tunnel[0].shaper.rate_kbps", "is missing"),
        (
            "rate_kbps = 100_000",
            "rate_kbps = 100_000\nburst_kib = 1",
            "tunnel[0].shaper.burst_kib",
            "out of range",
        ),
        ("dscp = [46]", "dscp = [64]", "tunnel[0].shaper.class[0].dscp[0]", "out of range"),
        ("dscp = [46]", "", "tunnel[0].shaper.class", "no DSCP"),
        ("queue = 100", "dscp = [46]", "tunnel[0].shaper.class", "of two classes"),
        ("\"rest\"", "\"voice\"", "tunnel[0].shaper.class", "two are called"),
        ("queue = 100", "queue = 5000", "tunnel[0].shaper.class[1].queue", "out of range"),
        ("queue = 100", "weight = 5", "tunnel[0].shaper.class[1].weight", "unknown key"),
    ];
    each_is_told(&good, &mistakes);
}

/// A peer of another make, with SAs agreed on.
const FOREIGN: &str = r#"
[[peer]]
name = "gw"
site = "c"
foreign = true
[[tunnel]]
name = "a1-gw"
peer = "gw"
protocol = "esp"
local = "192.0.2.11"
remote = "198.51.100.30"
[tunnel.static_sa]
spi_in = 4097
spi_out = 8193
key_file_in = "in.key"
key_file_out = "out.key"
state_folder = "/var/lib/foreshift"
"#;

#[test]
fn static_sas_are_for_foreign_peers() {
    let good = GOOD.to_owned() + FOREIGN;
    assert_eq!(errors(&good), []);
    let mistakes = [
        (
            "foreign = true",
            "foreign = true\naddress = \"10.255.0.30:7000\"",
            "peer[2].address",
            "no control connection",
        ),
        ("foreign = true", "", "peer[2].address", "is missing"),
        ("foreign = true", "address = \"10.255.0.30:7000\"", "tunnel[2].static_sa", "are negotiated"),
        ("spi_in = 4097", "spi_in = 255", "tunnel[2].static_sa.spi_in", "out of range"),
        ("in.key", "out.key", "tunnel[2].static_sa.key_file_out", "nonces would meet"),
        ("state_folder = \"/var/lib/foreshift\"\n", "", "tunnel[2].static_sa.state_folder", "is missing"),
        ("peer = \"a2\"\nwitness", "peer = \"gw\"\nwitness", "ha.peer", "knows nothing of leases"),
        ("cores = [0]", "cores = [0, 1]", "tunnel[2].static_sa", "several workers"),
        (
            "peer = \"gw\"\nprotocol = \"esp\"",
            "peer = \"gw\"\nprotocol = \"gre\"",
            "tunnel[2].static_sa",
            "does not belong",
        ),
    ];
    each_is_told(&good, &mistakes);
    let without = good.split("[tunnel.static_sa]").next().expect("the text before it");
    assert!(errors(without).iter().any(|p| p.path == "tunnel[2].static_sa" && p.what.contains("foreign")));
}
