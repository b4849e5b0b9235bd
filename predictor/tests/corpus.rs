//! Replays what fuzzing found worth keeping (`engine/fuzz/corpus`; `scripts/fuzz` adds to it).

mod fuzzed;

/// Replays a parser's corpus. Where none of it is accepted, the format has moved on and the corpus has not.
fn replay(name: &str, parser: fn(&[u8]) -> bool) {
    let folder = format!("{}/../engine/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let inputs: Vec<_> = files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(inputs.len() >= 10, "{folder}: only {} files", inputs.len());
    let accepted = inputs.iter().filter(|data| parser(data)).count();
    assert!(accepted > 0, "{folder}: no input of {} is accepted; fuzz anew and minimise", inputs.len());
}

#[test]
fn recordings() {
    replay("recording", fuzzed::recording);
}

#[test]
fn models() {
    replay("model", fuzzed::model);
}

#[test]
fn tables() {
    replay("table", fuzzed::table);
}

#[test]
fn ramp_models() {
    replay("ramp", fuzzed::ramp);
}
