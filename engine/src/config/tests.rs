//! Mistakes, each with the path and the remedy a person must see; and files that have none.

mod access;
mod adaptive;
mod application;
mod bfd;
mod cluster;
mod learning;
mod mirror;
mod shadow;
mod site;
mod tunnels;
mod vrrp;

use super::*;

/// Valid, with one of everything that the mistakes touch.
const GOOD: &str = r#"
[engine]
name = "a1"
site = "a"
[dpdk]
cores = [0]
idle = { mode = "backoff", sleep_us = 50 }
[[port]]
name = "lan0"
device = "net_af_packet0,iface=lan0"
mtu = 1500
[[port]]
name = "wan0"
device = "0000:03:00.0"
[[interface]]
name = "lan"
port = "lan0"
vlan = 100
addresses = ["10.1.0.2/24", "fd00:a::2/64"]
[[interface]]
name = "wan"
port = "wan0"
addresses = ["192.0.2.11/24", "10.1.255.1/24"]
[gateway]
interface = "lan"
addresses = ["10.1.0.1"]
[ha]
role = "active"
peer = "a2"
witness = "b1"
lease_ms = 400
[control]
listen = "10.255.0.11:7000"
ca = "pki/ca.pem"
cert = "pki/a1.pem"
key = "pki/a1.key"
[[peer]]
name = "a2"
site = "a"
address = "10.255.0.12:7000"
[[peer]]
name = "b1"
site = "b"
address = "10.255.0.20:7000"
[[tunnel]]
name = "a1-b1"
peer = "b1"
protocol = "esp"
local = "192.0.2.11"
remote = "198.51.100.20"
[[tunnel]]
name = "a1-a2"
peer = "a2"
protocol = "direct"
local = "10.1.255.1"
remote = "10.1.255.2"
[[group]]
name = "site-b"
site = "b"
members = ["a1-b1", "a1-a2"]
[[route]]
prefix = "10.2.0.0/24"
group = "site-b"
[[route]]
prefix = "0.0.0.0/0"
via = "192.0.2.1"
[shift]
steps = [5, 25, 50, 100]
[probe]
interval_ms = 20
[api]
socket = "/run/foreshift/a1.sock"
"#;

/// (what is written, what is written instead, path, part of what is wrong, part of the remedy)
const MISTAKES: &[(&str, &str, &str, &str, &str)] = &[
    ("[engine]\n", "[engine\n", "line 2, column", "", "correct the TOML"),
    ("site = \"a\"\n[dpdk]", "[dpdk]", "engine.site", "is missing", "write site = "),
    ("name = \"a1\"\n", "name = \"a 1\"\n", "engine.name", "not a name", "letters, digits"),
    ("name = \"a1\"\n", "name = \"A.1\"\n", "engine.name", "in a certificate", "write lower-case"),
    (
        "cores = [0]",
        "workers = 2\ncores = [0]",
        "dpdk.workers",
        "2 workers, but 1 cores",
        "one core for each worker",
    ),
    ("cores = [0]", "cores = []", "dpdk.cores", "names no core", "such as [1, 2]"),
    ("cores = [0]", "cores = [\"0\"]", "dpdk.cores[0]", "is a string", "from 0 to 1023"),
    ("cores = [0]", "cores = [0]\nmbuf = 9000", "dpdk.mbuf", "unknown key", "did you mean \"mbufs\"?"),
    (
        "cores = [0]",
        "cores = [0]\nmbufs = 1024",
        "dpdk.mbufs",
        "do not fill the descriptors",
        "write 5120 or more",
    ),
    ("cores = [0]", "cores = [0]\nmemory_mb = 16", "dpdk.memory_mb", "do not hold", "write 56 or more"),
    ("\"backoff\"", "\"sleep\"", "dpdk.idle.mode", "\"sleep\" is not one", "\"backoff\" or \"spin\""),
    ("\"backoff\"", "\"spin\"", "dpdk.idle.sleep_us", "does not sleep", "remove it"),
    ("mtu = 1500", "mtu = 500", "port[0].mtu", "500 is out of range", "from 576 to 9600"),
    ("mtu = 1500", "mtu = 1200", "interface[0].addresses", "is IPv6, but the MTU", "1280 or more"),
    ("mtu = 1500", "queues = 2", "port[0].queues", "nobody would poll", "write at most 1"),
    (",iface=lan0", "", "port[0].device", "which kernel interface", "iface=NAME"),
    ("\"0000:03:00.0\"", "\"eth0\"", "port[1].device", "is not a device", "0000:03:00.0"),
    (
        "\"0000:03:00.0\"",
        "\"net_af_packet0,iface=x\"",
        "port[1].device",
        "already that of port[0]",
        "its own device",
    ),
    (
        "vlan = 100",
        "vlan = 100\nqinq = [200, 100]",
        "interface[0].qinq",
        "there is a vlan too",
        "qinq for two",
    ),
    ("vlan = 100", "qinq = [200]", "interface[0].qinq", "has 1 numbers", "such as [200, 100]"),
    ("vlan = 100", "qinq = [200, 0]", "interface[0].qinq[1]", "0 is out of range", "from 1 to 4094"),
    (
        "device = \"0000:03:00.0\"",
        "device = \"0000:03:00.0\"\nbond = { mode = \"balance\", members = [\"0000:04:00.0\"] }",
        "port[1].device",
        "no device of its own",
        "in bond.members",
    ),
    (
        "device = \"0000:03:00.0\"",
        "bond = { mode = \"lacp\", members = [\"0000:04:00.0\"] }",
        "port[1].bond.mode",
        "\"lacp\" is not one",
        "\"802.3ad\"",
    ),
    (
        "device = \"0000:03:00.0\"",
        "bond = { mode = \"active-backup\", policy = \"l2\", members = [\"0000:04:00.0\"] }",
        "port[1].bond.policy",
        "nothing to spread",
        "or write mode",
    ),
    (
        "device = \"0000:03:00.0\"",
        "bond = { mode = \"balance\", members = [] }",
        "port[1].bond.members",
        "names no device",
        "name the devices",
    ),
    (
        "device = \"0000:03:00.0\"",
        "bond = { mode = \"balance\", members = [\"0000:04:00.0\", \"04:00.0\"] }",
        "port[1].device",
        "already that of port[1]",
        "its own device",
    ),
    (
        "cores = [0]",
        "cores = [0]\ndata_room = 1024",
        "dpdk.data_room",
        "do not hold a frame of port lan0",
        "write 2048",
    ),
    ("vlan = 100", "vlan = 4095", "interface[0].vlan", "4095 is out of range", "from 1 to 4094"),
    (
        "port = \"wan0\"",
        "port = \"wan1\"",
        "interface[1].port",
        "there is no port \"wan1\"",
        "did you mean \"wan0\"?",
    ),
    (
        "\"192.0.2.11/24\"",
        "\"10.1.0.7/16\"",
        "interface[1].addresses[0]",
        "overlaps 10.1.0.2/24",
        "network of its own",
    ),
    (
        "\"10.1.0.2/24\"",
        "\"10.1.0.0/24\"",
        "interface[0].addresses[0]",
        "not an address a host",
        "engine's own address",
    ),
    ("\"10.1.0.2/24\"", "\"10.1.0.2\"", "interface[0].addresses[0]", "with a prefix length", "10.1.0.2/24"),
    (
        "[\"10.1.0.1\"]",
        "[\"10.9.0.1\"]",
        "gateway.addresses[0]",
        "on no network of interface lan",
        "reach directly",
    ),
    ("[\"10.1.0.1\"]", "[\"10.1.0.2\"]", "gateway.addresses[0]", "own address", "another address of its own"),
    (
        "peer = \"a2\"\nwitness",
        "peer = \"b1\"\nwitness",
        "ha.peer",
        "is of site \"b\"",
        "other engine of this site",
    ),
    ("witness = \"b1\"", "witness = \"a2\"", "ha.witness", "would fail with it", "engine of another site"),
    ("lease_ms = 400", "lease_ms = 50", "ha.lease_ms", "50 is out of range", "from 100 to"),
    ("role = \"active\"", "role = \"master\"", "ha.role", "\"master\"", "\"active\" or \"standby\""),
    ("10.255.0.11:7000", "10.255.0.11", "control.listen", "not an address and port", "10.255.0.11:7000"),
    ("key = \"pki/a1.key\"", "votes_for = [\"a\"]", "control.key", "is missing", "write key = "),
    (
        "key = \"pki/a1.key\"\n",
        "key = \"k\"\nvotes_for = [\"c\"]\n",
        "control.votes_for[0]",
        "no peer is of site",
        "[[peer]]",
    ),
    (
        "[[peer]]\nname = \"b1\"",
        "[[peer]]\nname = \"a1\"",
        "peer[1].name",
        "this engine itself",
        "other engines only",
    ),
    ("peer = \"b1\"\nproto", "peer = \"b2\"\nproto", "tunnel[0].peer", "no peer \"b2\"", "did you mean"),
    (
        "\"198.51.100.20\"",
        "\"192.0.2.300\"",
        "tunnel[0].remote",
        "192.0.2.300 is not an IP address",
        "\"192.0.2.20\"",
    ),
    (
        "\"198.51.100.20\"",
        "\"2001:db8::1\"",
        "tunnel[0].remote",
        "not of one IP version",
        "two IPv4 or two IPv6",
    ),
    ("\"198.51.100.20\"", "\"10.2.0.7\"", "tunnel[0].remote", "leads into tunnel group", "add a [[route]]"),
    ("via = \"192.0.2.1\"", "via = \"10.7.0.1\"", "route[1].via", "on no network", "direct neighbour"),
    ("local = \"192.0.2.11\"", "local = \"192.0.2.12\"", "tunnel[0].local", "of no interface", "192.0.2.11"),
    ("\"esp\"\n", "\"esp\"\ncipher = \"aes-cbc\"\n", "tunnel[0].cipher", "\"aes-cbc\"", "aes-256-gcm"),
    ("\"esp\"\n", "\"esp\"\nesn = 1\n", "tunnel[0].esn", "not a boolean", "true or false"),
    ("[api]", "[crypto]\nprovider = \"openssl\"\n[api]", "crypto.provider", "\"openssl\"", "\"aws-lc\""),
    ("\"esp\"\n", "\"esp\"\nesp_key = \"00\"\n", "tunnel[0].esp_key", "static key", "TLS control connection"),
    ("\"esp\"\n", "\"esp\"\npsk = \"00\"\n", "tunnel[0].psk", "static key", "TLS control connection"),
    ("\"esp\"\n", "\"esp\"\nreplay_window = 100\n", "tunnel[0].replay_window", "100", "multiple of 64"),
    (
        "\"esp\"\n",
        "\"gre\"\nrekey_seconds = 60\n",
        "tunnel[0].rekey_seconds",
        "does not belong",
        "change the protocol",
    ),
    (
        "\"esp\"\n",
        "\"gre\"\ngre_checksum = true\n",
        "tunnel[0].gre_checksum",
        "no GRE checksums",
        "remove it",
    ),
    (
        "\"esp\"\n",
        "\"ipip\"\nesn = true\n",
        "tunnel[0].esn",
        "does not belong to protocol \"ipip\"",
        "remove it",
    ),
    ("\"esp\"\n", "\"esp\"\nnat = \"local\"\n", "tunnel[0].nat", "does not belong", "change the protocol"),
    (
        "\"esp\"\n",
        "\"esp-udp\"\nnat = \"both\"\n",
        "tunnel[0].nat",
        "\"both\" is not one",
        "\"none\" or \"local\" or \"remote\"",
    ),
    (
        "\"esp\"\n",
        "\"esp-udp\"\nudp_remote_port = 0\n",
        "tunnel[0].udp_remote_port",
        "0 is out of range",
        "from 1 to 65535",
    ),
    ("\"esp\"\n", "\"vxlan\"\n", "tunnel[0].vxlan_vni", "is missing", "write vxlan_vni"),
    (
        "\"esp\"\n",
        "\"vxlan\"\nvxlan_vni = 16777216\n",
        "tunnel[0].vxlan_vni",
        "out of range",
        "from 0 to 16777215",
    ),
    (
        "\"esp\"\n",
        "\"vxlan\"\nvxlan_vni = 1\nvxlan_local_mac = \"01:00:5e:00:00:01\"\n",
        "tunnel[0].vxlan_local_mac",
        "not one station's",
        "six hexadecimal bytes",
    ),
    (
        "\"esp\"\n",
        "\"vxlan\"\nvxlan_vni = 1\nvxlan_remote_mac = \"02:56:c0:00:02:0b\"\n",
        "tunnel[0].vxlan_remote_mac",
        "both ends",
        "far end",
    ),
    (
        "remote = \"10.1.255.2\"",
        "remote = \"10.1.255.2\"\n[[tunnel]]\nname = \"again\"\npeer = \"b1\"\nprotocol = \"esp\"\n\
         local = \"192.0.2.11\"\nremote = \"198.51.100.20\"",
        "tunnel[2].remote",
        "already that of tunnel[0]",
        "gre_key or vxlan_vni",
    ),
    ("\"esp\"\n", "\"direct\"\n", "tunnel[0].protocol", "is of another", "\"esp\""),
    ("\"10.1.255.2\"", "\"198.51.100.9\"", "tunnel[1].remote", "not a neighbour", "one network"),
    (
        "[\"a1-b1\", \"a1-a2\"]",
        "[\"a1-b9\"]",
        "group[0].members[0]",
        "no tunnel \"a1-b9\"",
        "did you mean \"a1-b1\"?",
    ),
    (
        "site = \"b\"\nmembers",
        "site = \"c\"\nmembers",
        "group[0].members[0]",
        "leads to site \"b\"",
        "group's site",
    ),
    ("group = \"site-b\"", "group = \"site_b\"", "route[0].group", "no group", "did you mean \"site-b\"?"),
    ("\"10.2.0.0/24\"", "\"10.2.0.1/24\"", "route[0].prefix", "has host bits", "write \"10.2.0.0/24\""),
    (
        "group = \"site-b\"",
        "blackhole = true\nvia = \"192.0.2.1\"",
        "route[0].prefix",
        "has 2 targets",
        "exactly one",
    ),
    ("[5, 25, 50, 100]", "[5, 50, 25]", "shift.steps", "up to 100", "such as [5, 25, 50, 100]"),
    (
        "interval_ms = 20",
        "interval_ms = 200",
        "probe.detect_ms",
        "three probe intervals",
        "write 600 or more",
    ),
    (
        "[api]",
        "[prediction]\nthreshold = 70\n[api]",
        "prediction.threshold",
        "70 is not a probability",
        "such as 0.7",
    ),
    (
        "members = [\"a1-b1\", \"a1-a2\"]",
        "members = [\"a1-b1\", \"a1-a2\"]\nsla_weight = 0",
        "group[0].sla_weight",
        "0 is no weight",
        "from 0.01 to 100",
    ),
    ("[api]", "[predictions]\n[api]", "predictions", "unknown section", "did you mean \"prediction\"?"),
    ("[[route]]", "[[rout]]", "rout", "unknown section", "did you mean \"route\"?"),
];

fn errors(text: &str) -> Vec<Problem> {
    Config::parse(text).map(|_| Vec::new()).unwrap_or_else(|errors| errors.problems)
}

#[test]
fn the_base_of_the_mistakes_is_valid() {
    assert_eq!(errors(GOOD), []);
}

#[test]
fn every_mistake_names_its_path_and_its_remedy() {
    for (from, to, path, what, remedy) in MISTAKES {
        assert!(GOOD.contains(from), "the base lacks {from:?}");
        let problems = errors(&GOOD.replacen(from, to, 1));
        let found = problems.iter().any(|p| {
            p.path.starts_with(path)
                && p.what.contains(what)
                && p.remedy.contains(remedy)
                && !p.remedy.is_empty()
        });
        assert!(found, "{from:?} -> {to:?}: wanted {path}: …{what}…; …{remedy}…\ngot {problems:#?}");
    }
}

#[test]
fn all_mistakes_show_at_once() {
    let text = GOOD
        .replace("vlan = 100", "vlan = 0\ncolour = 1")
        .replace("lease_ms = 400", "lease_ms = 1")
        .replace("\"198.51.100.20\"", "\"nowhere\"")
        .replace("steps = [5, 25, 50, 100]", "steps = [0, 200]")
        .replace("members = [\"a1-b1\", \"a1-a2\"]", "members = [\"a1-b1\", \"x\"]");
    let problems = errors(&text);
    let paths: Vec<&str> = problems.iter().map(|p| p.path.as_str()).collect();
    // The group's first member is a tunnel with a mistake of its own: named, so not missing.
    let expected = [
        "interface[0].vlan",
        "interface[0].colour",
        "ha.lease_ms",
        "tunnel[0].remote",
        "shift.steps[0]",
        "shift.steps[1]",
        "group[0].members[1]",
    ];
    assert_eq!(paths, expected);
}

#[test]
fn several_workers_do_not_number_gre() {
    let gre = GOOD.replacen("\"esp\"", "\"gre\"\ngre_sequence = true", 1);
    assert_eq!(errors(&gre), []);
    let problems = errors(&gre.replace("cores = [0]", "cores = [0, 1]"));
    assert!(problems.iter().any(|p| p.path == "tunnel[0].gre_sequence"), "{problems:#?}");
}

#[test]
fn keys_need_a_control_connection() {
    let from = GOOD.find("[control]").expect("in the base");
    let to = GOOD.find("[[peer]]").expect("in the base");
    let problems = errors(&format!("{}{}", &GOOD[..from], &GOOD[to..]));
    let control = problems.iter().find(|p| p.path == "control").expect("said to be missing");
    assert!(control.remedy.contains("foreshift pki"), "{control}");
}

#[test]
fn a_mistake_reads_as_promised() {
    let text = GOOD.replace("198.51.100.20", "192.0.2.300");
    let errors = Config::parse(&text).expect_err("an address that is none");
    let line = "tunnel[0].remote: 192.0.2.300 is not an IP address; \
                write an IPv4 or IPv6 address such as \"192.0.2.20\"";
    assert_eq!(errors.to_string(), format!("1 error\n  {line}"));
}

#[test]
fn a_file_names_itself_and_its_paths_start_at_its_folder() {
    let folder = std::env::temp_dir().join(format!("foreshift-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("a1.toml");
    std::fs::write(&file, GOOD).expect("a file");
    let config = Config::load(&file);
    std::fs::write(&file, [0xff, 0xfe]).expect("a file");
    let garbage = Config::load(&file);
    std::fs::remove_dir_all(&folder).expect("removed");
    let config = config.expect("valid");
    assert_eq!(config.control.as_ref().map(|c| c.ca.clone()), Some(folder.join("pki/ca.pem")));
    assert_eq!(config.api.socket, Path::new("/run/foreshift/a1.sock"));
    assert!(config.warnings().iter().any(|doubt| doubt.path == "control.cert"));
    assert!(garbage.expect_err("not UTF-8").to_string().starts_with(&file.display().to_string()));
}

#[test]
fn every_shipped_file_is_valid() {
    fn visit(folder: &Path, seen: &mut usize) {
        for entry in std::fs::read_dir(folder).expect("configs/").map(|entry| entry.expect("an entry").path())
        {
            if entry.is_dir() {
                visit(&entry, seen);
            } else if entry.extension().is_some_and(|extension| extension == "toml") {
                *seen += 1;
                if let Err(errors) = Config::load(&entry) {
                    panic!("{errors}");
                }
            }
        }
    }
    let mut seen = 0;
    visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs"), &mut seen);
    assert!(seen >= 3, "only {seen} files in configs/");
}
