//! What reads files from outside, as functions that fuzzers call and `corpus.rs` replays a corpus through.

#![allow(dead_code)] // each fuzzer calls one

use predictor::Model;
use predictor::recording::Run;

/// A recording: what is read has samples and events on one clock; what is refused names its line.
pub fn recording(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Run::parse(text) {
        Ok(run) => {
            let _ = (run.failure_ms(), run.death_ms(), run.inject_ms());
        }
        Err((line, what)) => {
            assert!(line >= 1 && line <= text.lines().count().max(1), "line {line} is not in the text");
            assert!(!what.is_empty());
        }
    }
}

/// A model file: an accepted one gives numbers and is written as it was read.
pub fn model(data: &[u8]) {
    let Ok(model) = Model::from_bytes(data) else { return };
    let bytes = model.to_bytes().expect("an accepted model can be written");
    let again = Model::from_bytes(&bytes).expect("and read back");
    assert_eq!(again.description(), model.description());
}
