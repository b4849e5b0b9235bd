//! What reads files from outside, as functions that fuzzers call and `corpus.rs` replays a corpus through. Each says
//! whether it took the bytes for what they claim to be.

#![allow(dead_code)] // each fuzzer calls one

use predictor::Model;
use predictor::ramp::{Events, RampModel, Telemetry};
use predictor::recording::Run;
use predictor::table::{Table, read_npz};
use std::path::{Path, PathBuf};

/// A recording: what is read has samples and events on one clock; what is refused names its line.
pub fn recording(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    match Run::parse(text) {
        Ok(run) => {
            let _ = (run.failure_ms(), run.death_ms(), run.inject_ms());
            true
        }
        Err((line, what)) => {
            assert!(line >= 1 && line <= text.lines().count().max(1), "line {line} is not in the text");
            assert!(!what.is_empty());
            false
        }
    }
}

/// A model file: an accepted one gives numbers and is written as it was read.
pub fn model(data: &[u8]) -> bool {
    let Ok(model) = Model::from_bytes(data) else { return false };
    let bytes = model.to_bytes().expect("an accepted model can be written");
    let again = Model::from_bytes(&bytes).expect("and read back");
    assert_eq!(again.description(), model.description());
    true
}

/// A table, by its first byte CSV (0), Parquet (1) or arrays of NumPy (2): every cell can be asked for, and telemetry and
/// events that are read from it can be walked.
pub fn table(data: &[u8]) -> bool {
    let Some((kind, content)) = data.split_first() else { return false };
    // A panic that `Table::read` makes an error of is none; one that comes out of it still is.
    static QUIET: std::sync::Once = std::sync::Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    let extension = ["csv", "parquet", "npz"][usize::from(kind % 3)];
    with_file(content, extension, |path| {
        if extension == "npz" {
            return read_npz(path).is_ok();
        }
        let Ok(table) = Table::read(path) else { return false };
        for name in table.names() {
            let column = table.column(name).expect("it was just named");
            let numbers = (0..table.rows()).filter(|row| column.number(*row).is_some()).count();
            assert!(
                numbers == 0 || numbers == table.rows(),
                "{name}: some rows are numbers and some are not"
            );
        }
        for run in predictor::recording::read(path).iter().flatten() {
            let _ = (run.failure_ms(), run.samples.len(), run.peer.len());
        }
        let events = Events::read(path).unwrap_or_default();
        for run in Telemetry::read(path).iter().flat_map(Telemetry::runs) {
            assert_eq!(events.labels(run).len(), run.samples.len());
        }
        true
    })
}

/// A ramp model behind a right first line: an accepted one judges a run, in probabilities.
pub fn ramp(body: &[u8]) -> bool {
    let first = format!("foreshift-ramp 1 {} {:016x}\n", body.len(), fnv1a(body));
    with_file(&[first.as_bytes(), body].concat(), "model", |path| {
        let Ok(model) = RampModel::load(path) else { return false };
        let telemetry = cluster();
        for prediction in telemetry.runs().iter().flat_map(|run| model.predict(&telemetry, run)) {
            assert!((0.0..=1.0).contains(&prediction.p), "{prediction:?}");
        }
        true
    })
}

/// Twelve minutes of two nodes, one of which runs away.
fn cluster() -> Telemetry {
    let keys: Vec<_> =
        (0..24).map(|row| ("r".to_owned(), ["a", "b"][row % 2].to_owned(), (row / 2) as i64)).collect();
    let runs_away = (0..24).map(|row| if row % 2 == 0 { (row * row) as f32 } else { 1.0 }).collect();
    Telemetry::new(Path::new("memory"), vec!["x".into()], vec![runs_away], &keys)
}

/// FNV-1a (draft-eastlake-fnv), the checksum of a ramp model.
fn fnv1a(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

/// What reads a path is given one, in memory where the system has such a place.
fn with_file<T>(content: &[u8], extension: &str, read: impl FnOnce(&Path) -> T) -> T {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let thread = format!("{:?}", std::thread::current().id()).replace(['(', ')'], "");
    let path: PathBuf = folder.join(format!("foreshift-fuzz-{}-{thread}.{extension}", std::process::id()));
    std::fs::write(&path, content).expect("a temporary file can be written");
    let result = read(&path);
    std::fs::remove_file(&path).expect("and removed");
    result
}
