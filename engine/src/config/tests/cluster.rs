//! `[cluster]`.

use super::*;
use crate::config::cluster::StoreSection;

const CLUSTER: &str = r#"
[cluster]
region = "eu"
store = "etcd"
endpoints = ["https://10.255.0.31:2379", "https://[fd00::32]:2379", "https://etcd3.example:2379"]
ca = "pki/etcd-ca.pem"
cert = "pki/a1.pem"
key = "pki/a1.key"
user = "foreshift"
password_file = "etcd.password"
keep = "state/remote.redb"
[[cluster.remote]]
region = "us"
endpoints = ["http://127.0.0.1:2379"]
"#;

#[test]
fn both_stores_are_read() {
    let config = Config::parse(&format!("{GOOD}{CLUSTER}")).expect("valid");
    let cluster = config.cluster.expect("a cluster");
    let StoreSection::Etcd(etcd) = &cluster.store else { panic!("etcd") };
    assert_eq!((etcd.endpoints.len(), etcd.login.is_some(), cluster.remotes.len()), (3, true, 1));
    let embedded = format!("{GOOD}[cluster]\nregion = \"eu\"\npath = \"state/a1.redb\"\n");
    let cluster = Config::parse(&embedded).expect("valid").cluster.expect("a cluster");
    assert!(matches!(cluster.store, StoreSection::Embedded { .. }), "it is the default");
    assert_eq!(Config::parse(GOOD).expect("valid").cluster, None);
}

#[test]
fn the_digest_is_of_the_text() {
    let digest = |text: &str| Config::parse(text).expect("valid").digest;
    assert_eq!(digest(GOOD).len(), 64);
    assert_eq!(digest(GOOD), digest(GOOD));
    assert_ne!(digest(GOOD), digest(&format!("{GOOD}\n")));
}

/// As in [`MISTAKES`].
const WRONG: &[(&str, &str, &str, &str, &str)] = &[
    ("region = \"eu\"\n", "", "cluster.region", "is missing", "write region"),
    ("region = \"eu\"\n", "region = \"e/u\"\n", "cluster.region", "not a name", "letters, digits"),
    ("\"etcd\"", "\"consul\"", "cluster.store", "\"consul\"", "\"embedded\" or \"etcd\""),
    ("\"etcd\"", "\"embedded\"", "cluster.endpoints", "does not belong", "change the store"),
    ("\"etcd\"", "\"embedded\"", "cluster.path", "is missing", "write path"),
    ("\"etcd\"\n", "\"etcd\"\npath = \"x\"\n", "cluster.path", "does not belong", "change the store"),
    ("\"etcd\"\n", "\"etcd\"\npassword = \"x\"\n", "cluster.password", "", ""),
    ("https://10.255.0.31:2379", "10.255.0.31:2379", "cluster.endpoints[0]", "neither https", "client URL"),
    (
        "https://10.255.0.31:2379",
        "https://10.255.0.31",
        "cluster.endpoints[0]",
        "names no port",
        "client URL",
    ),
    ("https://10.255.0.31:2379", "https://a b:1", "cluster.endpoints[0]", "names no host", "client URL"),
    ("https://10.255.0.31:2379", "https://h:0", "cluster.endpoints[0]", "0 is not a port", "client URL"),
    ("https://10.255.0.31:2379", "http://10.255.0.31:2379", "cluster.endpoints[0]", "in clear", "https://"),
    ("https://10.255.0.31:2379", "http://[::1]:2379", "cluster.endpoints", "some members", "for each"),
    ("ca = \"pki/etcd-ca.pem\"\n", "", "cluster.ca", "is missing", "authority"),
    ("key = \"pki/a1.key\"\nuser", "user", "cluster.key", "cert is there", "write both"),
    ("user = \"foreshift\"\n", "", "cluster.user", "password_file is there", "write both"),
    ("password_file = \"etcd.password\"\n", "", "cluster.password_file", "user is there", "write both"),
    ("keep = \"state/remote.redb\"\n", "", "cluster.keep", "is missing", "outlives a restart"),
    ("region = \"us\"", "region = \"eu\"", "cluster.remote[0].region", "own region", "other regions"),
    ("[\"http://127.0.0.1:2379\"]", "[]", "cluster.remote[0].endpoints", "names no member", "client URLs"),
    (
        "[\"http://127.0.0.1:2379\"]",
        "[\"http://127.0.0.1:2379\"]\nuser = \"u\"\npassword_file = \"p\"",
        "cluster.remote[0].user",
        "in clear",
        "https://",
    ),
    ("[[cluster.remote]]", "[[cluster.remotes]]", "cluster.remotes", "unknown key", "did you mean"),
];

#[test]
fn every_mistake_names_its_path_and_its_remedy() {
    let good = format!("{GOOD}{CLUSTER}");
    for (from, to, path, what, remedy) in WRONG {
        let at = good.find("[cluster]").expect("there");
        assert!(good[at..].contains(from), "the base lacks {from:?}");
        let problems = errors(&format!("{}{}", &good[..at], good[at..].replacen(from, to, 1)));
        let found = problems
            .iter()
            .any(|p| p.path.starts_with(path) && p.what.contains(what) && p.remedy.contains(remedy));
        assert!(found, "{from:?} -> {to:?}: wanted {path}: …{what}…; …{remedy}…\ngot {problems:#?}");
    }
}
