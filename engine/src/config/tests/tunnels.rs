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

/// A WireGuard peer.
const WIREGUARD: &str = r#"
[[peer]]
name = "wg"
site = "c"
foreign = true
[[tunnel]]
name = "a1-wg"
peer = "wg"
protocol = "wireguard"
local = "192.0.2.11"
remote = "198.51.100.30"
udp_local_port = 51821
[tunnel.wireguard]
private_key_file = "a1.key"
public_key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
preshared_key_file = "a1-wg.psk"
allowed_ips = ["10.9.0.0/24", "fd00:9::/64"]
keepalive_seconds = 25
rekey_seconds = 60
[[tunnel]]
name = "a1-wg2"
peer = "wg"
protocol = "wireguard"
local = "192.0.2.11"
remote = "198.51.100.31"
[tunnel.wireguard]
private_key_file = "a1.key"
public_key = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="
allowed_ips = ["0.0.0.0/0"]
"#;

#[cfg(feature = "wireguard")]
#[test]
fn wireguard_peers_are_known_by_their_keys() {
    let good = GOOD.to_owned() + WIREGUARD;
    assert_eq!(errors(&good), []);
    let key = "\"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\"";
    let mistakes = [
        ("private_key_file = \"a1.key\"\n", "", "tunnel[2].wireguard.private_key_file", "is missing"),
        (
            "private_key_file = \"a1.key\"\n",
            "private_key = \"oK56DE9Ue9zK76rAc8pBl6opph+1v36lm7cXXsQKrQM=\"\n",
            "tunnel[2].wireguard.private_key",
            "does not stand in a configuration",
        ),
        (
            "preshared_key_file = \"a1-wg.psk\"",
            "preshared_key = \"00\"",
            "tunnel[2].wireguard.preshared_key",
            "does not stand in a configuration",
        ),
        (key, "\"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8D=\"", "tunnel[2].wireguard.public_key", "base64"),
        (key, "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"", "tunnel[2].wireguard.public_key", "base64"),
        (
            key,
            "\"TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=\"",
            "tunnel[3].wireguard.public_key",
            "pair of",
        ),
        ("[\"10.9.0.0/24\", \"fd00:9::/64\"]", "[]", "tunnel[2].wireguard.allowed_ips", "nothing"),
        ("\"10.9.0.0/24\"", "\"10.9.0.1/24\"", "tunnel[2].wireguard.allowed_ips", "host bits"),
        ("\"10.9.0.0/24\"", "\"10.9.0\"", "tunnel[2].wireguard.allowed_ips[0]", "prefix length"),
        (
            "keepalive_seconds = 25",
            "keepalive_seconds = 0",
            "tunnel[2].wireguard.keepalive_seconds",
            "out of range",
        ),
        ("rekey_seconds = 60", "rekey_seconds = 121", "tunnel[2].wireguard.rekey_seconds", "out of range"),
        ("rekey_seconds = 60", "mtu = 1420", "tunnel[2].wireguard.mtu", "unknown key"),
        ("udp_local_port = 51821", "udp_local_port = 4789", "tunnel[2].udp_local_port", "another protocol"),
        ("udp_local_port = 51821", "nat = \"local\"", "tunnel[2].nat", "does not belong"),
        ("udp_local_port = 51821", "esn = true", "tunnel[2].esn", "does not belong"),
        ("\"wireguard\"\nlocal", "\"gre\"\nlocal", "tunnel[2].wireguard", "does not belong"),
        ("cores = [0]", "cores = [0, 1]", "tunnel[2].protocol", "several workers"),
        (
            "\"198.51.100.31\"",
            "\"198.51.100.30\"\nudp_local_port = 51821",
            "tunnel[3].remote",
            "already that of",
        ),
    ];
    each_is_told(&good, &mistakes);
    let without = good.replacen("[tunnel.wireguard]", "[tunnel.shaper]", 1);
    assert!(
        errors(&without).iter().any(|p| p.path == "tunnel[2].wireguard" && p.what.contains("is missing"))
    );
}

#[cfg(not(feature = "wireguard"))]
#[test]
fn without_the_feature_a_wireguard_tunnel_is_refused() {
    let problems = errors(&(GOOD.to_owned() + WIREGUARD));
    assert!(problems.iter().any(|p| p.path == "tunnel[2].protocol" && p.remedy.contains("--features")));
}
