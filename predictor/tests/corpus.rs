//! Replays what fuzzing found worth keeping (`engine/fuzz/corpus`; `scripts/fuzz` adds to it).

mod fuzzed;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/../engine/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let inputs: Vec<_> = files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(inputs.len() >= 10, "{folder}: only {} files", inputs.len());
    inputs
}

#[test]
fn recordings() {
    corpus("recording").iter().for_each(|data| fuzzed::recording(data));
}

#[test]
fn models() {
    corpus("model").iter().for_each(|data| fuzzed::model(data));
}
