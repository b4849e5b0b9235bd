//! Replays what fuzzing found worth keeping (`engine/fuzz/corpus`; `scripts/fuzz` adds to it).

mod esp;
#[allow(dead_code, unused_imports)]
#[path = "../walk/support/mod.rs"]
mod support;
mod walk;
mod wireguard;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/../fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let inputs: Vec<_> = files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(inputs.len() >= 10, "{folder}: only {} files", inputs.len());
    inputs
}

#[test]
fn wire() {
    corpus("wire").iter().for_each(|data| dataplane::wire::fuzz_all(data));
}

#[test]
fn filter() {
    corpus("filter").iter().for_each(|data| dataplane::observe::fuzz_filter(data));
}

#[test]
fn esp_open() {
    corpus("esp").iter().for_each(|data| esp::run(data));
}

#[test]
fn wireguard_open() {
    corpus("wireguard").iter().for_each(|data| wireguard::run(data));
}

#[test]
fn whole_walk() {
    corpus("walk").iter().for_each(|data| walk::run(data));
}
