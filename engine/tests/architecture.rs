//! The rules of the layout, enforced: dependency arrows, where `unsafe` may stand, how long files and functions may be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, lines.
const FILE_MAX: usize = 500;
/// Longest function, lines.
const FUNCTION_MAX: usize = 70;

/// Crate → the workspace crates it may depend on.
const ARROWS: [(&str, &[&str]); 9] = [
    ("dpdk-sys", &[]),
    ("foreshift-sync", &[]),
    ("foreshift-dataplane", &["sync"]),
    ("foreshift-dpdk", &["dpdk-sys", "dataplane"]),
    ("foreshift-control", &["dataplane", "sync"]),
    ("foreshift-cluster", &[]),
    ("foreshift-predictor", &[]),
    ("foreshift-sim", &["control", "dataplane", "sync"]),
    ("foreshift", &["cluster", "control", "dataplane", "dpdk", "predictor", "sync"]),
];

/// Dependencies that may stand in these crates only: no async runtime near a packet, no neural net in a forwarding test.
const RESERVED: [(&str, &[&str]); 13] = [
    ("tokio", &["foreshift", "foreshift-cluster"]),
    ("axum", &["foreshift"]),
    // The cluster's is for HPKE; its TLS is etcd-client's.
    ("rustls", &["foreshift", "foreshift-cluster"]),
    ("toml", &["foreshift"]),
    ("etcd-client", &["foreshift-cluster"]),
    ("redb", &["foreshift-cluster"]),
    ("candle-core", &["foreshift-predictor"]),
    ("candle-nn", &["foreshift-predictor"]),
    ("parquet", &["foreshift-predictor"]),
    ("zip", &["foreshift-predictor"]),
    ("bindgen", &["dpdk-sys"]),
    ("rtrb", &["foreshift-sync"]),
    // WireGuard's handshakes are no worker's business.
    ("snow", &["foreshift"]),
];

/// Folders and files in which `unsafe` may stand.
const UNSAFE: [&str; 6] = [
    "dpdk-sys/",
    "engine/dpdk/",
    "engine/sync/",
    // A counting allocator can only be an `unsafe impl`.
    "engine/dataplane/tests/alloc.rs",
    "predictor/tests/alloc.rs",
    // This test names the word.
    "engine/tests/architecture.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("engine/ has a parent").to_path_buf()
}

/// All Rust files of the workspace, with their paths from the root.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["dpdk-sys", "engine", "predictor", "benches"].map(|name| root().join(name)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("below the root").display().to_string();
                found.push((name, fs::read_to_string(&path).expect("a source is readable")));
            }
        }
    }
    assert!(found.len() > 50, "only {} sources found: the walk is broken", found.len());
    found
}

fn manifests() -> BTreeMap<String, toml::Table> {
    let workspace: toml::Table =
        fs::read_to_string(root().join("Cargo.toml")).expect("a workspace").parse().expect("valid TOML");
    let members = workspace["workspace"]["members"].as_array().expect("members").clone();
    members
        .iter()
        .map(|member| {
            let path = root().join(member.as_str().expect("a path")).join("Cargo.toml");
            let manifest: toml::Table =
                fs::read_to_string(path).expect("a manifest").parse().expect("valid TOML");
            (manifest["package"]["name"].as_str().expect("a name").to_owned(), manifest)
        })
        .collect()
}

fn dependencies(manifest: &toml::Table, section: &str) -> BTreeSet<String> {
    manifest
        .get(section)
        .and_then(toml::Value::as_table)
        .into_iter()
        .flat_map(|table| table.keys().cloned())
        .collect()
}

#[test]
fn arrows_point_one_way() {
    let manifests = manifests();
    let ours = ["dpdk-sys", "sync", "dataplane", "dpdk", "control", "cluster", "predictor", "sim"];
    assert_eq!(
        manifests.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        ARROWS.iter().map(|(name, _)| *name).collect(),
        "a crate came or went: say in ARROWS what it may depend on"
    );
    for (name, allowed) in ARROWS {
        let found = dependencies(&manifests[name], "dependencies");
        for dependency in found.iter().filter(|found| ours.contains(&found.as_str())) {
            assert!(allowed.contains(&dependency.as_str()), "{name} may not depend on {dependency}");
        }
        for (dependency, owners) in RESERVED {
            assert!(
                !found.contains(dependency) || owners.contains(&name),
                "{dependency} belongs in {owners:?}, not in {name}"
            );
        }
    }
}

#[test]
fn unsafe_stays_in_its_place() {
    for (name, text) in sources() {
        if UNSAFE.iter().any(|allowed| name.starts_with(allowed)) {
            continue;
        }
        let found = text.lines().position(|line| {
            let code = line.split("//").next().unwrap_or_default();
            ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|word| code.contains(word))
        });
        assert_eq!(
            found.map(|line| line + 1),
            None,
            "{name}: unsafe outside dpdk-sys, engine/dpdk and engine/sync"
        );
    }
    for name in ["engine/dataplane", "engine/control", "engine/cluster", "predictor"] {
        let lib = fs::read_to_string(root().join(name).join("src/lib.rs")).expect("a lib.rs");
        assert!(lib.contains("#![forbid(unsafe_code)]"), "{name} must forbid unsafe code");
    }
}

#[test]
fn files_and_functions_stay_short() {
    let mut long = Vec::new();
    for (name, text) in sources() {
        let lines = text.lines().count();
        if lines > FILE_MAX {
            long.push(format!("{name}: {lines} lines"));
        }
        for (line, length) in functions(&text) {
            if length > FUNCTION_MAX {
                long.push(format!("{name}:{line}: a function of {length} lines"));
            }
        }
    }
    assert!(
        long.is_empty(),
        "files have at most {FILE_MAX} lines, functions {FUNCTION_MAX}:\n{}",
        long.join("\n")
    );
}

/// First line and length of every function, by rustfmt's indentation: it ends at the brace under its `fn`.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let is_function = [
            "fn ",
            "pub fn ",
            "pub(crate) fn ",
            "pub(super) fn ",
            "async fn ",
            "pub async fn ",
            "const fn ",
            "pub const fn ",
        ]
        .iter()
        .any(|prefix| trimmed.starts_with(prefix));
        if !is_function {
            continue;
        }
        let close = format!("{}}}", " ".repeat(line.len() - trimmed.len()));
        let end = lines[start..].iter().position(|line| *line == close);
        let declared_only = lines[start..].iter().take(12).position(|line| line.trim_end().ends_with(';'));
        let opened = lines[start..].iter().position(|line| line.trim_end().ends_with('{'));
        if let (Some(length), Some(opened)) = (end, opened)
            && declared_only.is_none_or(|semicolon| semicolon > opened)
        {
            found.push((start + 1, length + 1));
        }
    }
    found
}

#[test]
fn the_function_counter_counts() {
    let text = "impl A {\n    fn short() {\n        x();\n    }\n\n    fn declared();\n\n    pub fn long() {\n        a();\n        b();\n    }\n}\n";
    assert_eq!(functions(text), [(2, 3), (8, 4)]);
}
