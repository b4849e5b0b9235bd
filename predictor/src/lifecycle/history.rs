//! What the engine lived through, as recordings of two minutes: `UNIX-MS.jsonl`, or `UNIX-MS.failed.jsonl` if the service failed.
//! A part that has no end, and is not the newest, belongs to an engine that died.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::features::Vitals;
use crate::recording::{Event, EventKind, Recorder, RecordingError, Run, RunHeader, RunKind};
use crate::sample::{SAMPLE_MS, TelemetrySample};

/// Length of a part.
const PART_MS: u64 = 120_000;
/// Of the part before, so much comes first when a part is read: there must be a normal to compare with.
const BEFORE_MS: u64 = 30_000;
/// Parts closer than this are of one piece.
const GAP_MS: u64 = 5 * SAMPLE_MS;
const FAILED: &str = ".failed.jsonl";
const WHOLE: &str = ".jsonl";
/// Failing runs of one's own history, as a kind of fault.
const OWN: &str = "own";

/// Why the history could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct HistoryError {
    path: PathBuf,
    source: io::Error,
}

/// Writes the history, within bounds.
#[derive(Debug)]
pub struct History {
    folder: PathBuf,
    bytes_max: u64,
    engine: String,
    part: Option<Part>,
    /// After a failure nothing is written until the service is good again.
    paused: bool,
}

#[derive(Debug)]
struct Part {
    recorder: Recorder<File>,
    path: PathBuf,
    from_ms: u64,
    last_ms: u64,
}

impl History {
    /// In a folder, which is made if it is not there, with at most so many bytes.
    pub fn open(folder: &Path, engine: &str, bytes_max: u64) -> Result<History, HistoryError> {
        let failed = |source| HistoryError { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        Ok(History { folder: folder.to_owned(), bytes_max, engine: engine.into(), part: None, paused: false })
    }

    /// One interval, and what the peers said before it.
    pub fn sample(&mut self, sample: &TelemetrySample, peers: Option<&Vitals>) -> Result<(), HistoryError> {
        if self.paused {
            return Ok(());
        }
        let stale = |part: &Part| sample.at_ms < part.last_ms || sample.at_ms >= part.from_ms + PART_MS;
        if self.part.as_ref().is_some_and(stale) {
            self.end()?;
        }
        if self.part.is_none() {
            self.part = Some(self.begin(sample.at_ms)?);
        }
        let Some(part) = &mut self.part else { return Ok(()) };
        part.last_ms = sample.at_ms;
        let written = peers.map_or(Ok(()), |z| part.recorder.peers(sample.at_ms, z));
        let written = written.and_then(|()| part.recorder.sample(sample));
        written.map_err(|source| HistoryError { path: part.path.clone(), source })
    }

    /// The service failed.
    pub fn failed(&mut self, at_ms: u64, kind: EventKind) -> Result<(), HistoryError> {
        self.paused = true;
        let Some(part) = self.part.as_mut() else { return Ok(()) };
        let path = part.path.clone();
        let failed = |source| HistoryError { path: path.clone(), source };
        part.recorder.event(at_ms, kind, "measured by the engine itself").map_err(failed)?;
        self.end()?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        std::fs::rename(&path, path.with_file_name(name + FAILED)).map_err(failed)
    }

    /// The service is good again.
    pub fn recovered(&mut self) {
        self.paused = false;
    }

    /// Ends the part: the engine stops, or something else comes.
    pub fn end(&mut self) -> Result<(), HistoryError> {
        let Some(mut part) = self.part.take() else { return Ok(()) };
        let ended = part.recorder.event(part.last_ms, EventKind::End, "");
        ended.map_err(|source| HistoryError { path: part.path.clone(), source })?;
        self.prune();
        Ok(())
    }

    fn begin(&self, at_ms: u64) -> Result<Part, HistoryError> {
        let path = self.folder.join(format!("{at_ms}{WHOLE}"));
        let mut header = RunHeader::new(format!("{OWN}-{at_ms}"), RunKind::Calm, OWN, at_ms);
        header.note = format!("engine {}", self.engine);
        let recorder = File::create(&path).and_then(|file| Recorder::new(file, header));
        let recorder = recorder.map_err(|source| HistoryError { path: path.clone(), source })?;
        Ok(Part { recorder, path, from_ms: at_ms, last_ms: at_ms })
    }

    /// The oldest go first, and those in which nothing failed before the others. What cannot be removed stays.
    fn prune(&self) {
        let mut parts: Vec<(bool, u64, PathBuf, u64)> = parts(&self.folder)
            .into_iter()
            .map(|(from, path)| {
                let bytes = path.metadata().map_or(0, |meta| meta.len());
                (path.to_string_lossy().ends_with(FAILED), from, path, bytes)
            })
            .collect();
        parts.sort();
        let mut bytes: u64 = parts.iter().map(|part| part.3).sum();
        for (_, _, path, of_it) in parts {
            if bytes <= self.bytes_max {
                break;
            }
            bytes -= of_it;
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The parts in a folder with their times, oldest first.
fn parts(folder: &Path) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let part = |path: PathBuf| {
        let name = path.file_name()?.to_str()?;
        let from = name.strip_suffix(FAILED).or_else(|| name.strip_suffix(WHOLE))?;
        Some((from.parse().ok()?, path))
    };
    let mut parts: Vec<_> = entries.filter_map(|entry| part(entry.path())).collect();
    parts.sort();
    parts
}

/// Reads the newest parts of a history, at most `most`, those with a failure first; oldest first. What is damaged is left out.
///
/// # Errors
/// Nothing there.
pub fn read(folder: &Path, most: usize) -> Result<Vec<Run>, RecordingError> {
    let all = parts(folder);
    let newest = all.last().map(|part| part.0);
    let mut runs: Vec<Run> = Vec::new();
    for (from, path) in &all {
        let Ok(mut run) = Run::read(path) else { continue };
        let ended = run.events.iter().any(|event| event.event == EventKind::End);
        if let Some(last) = run.samples.last().filter(|_| !ended && Some(*from) != newest) {
            let detail = "the engine's recording ends here".to_owned();
            run.events.push(Event { at_ms: last.at_ms + SAMPLE_MS, event: EventKind::HardFailure, detail });
        }
        if run.failure_ms().is_some() {
            run.header.kind = RunKind::Ramp;
        }
        runs.push(run);
    }
    if runs.is_empty() {
        return Err(RecordingError::Empty(folder.to_owned()));
    }
    let mut wanted: Vec<usize> = (0..runs.len()).collect();
    wanted.sort_by_key(|i| std::cmp::Reverse((runs[*i].failure_ms().is_some(), *i)));
    wanted.truncate(most);
    wanted.sort_unstable();
    Ok(wanted.into_iter().map(|i| joined(i.checked_sub(1).map(|before| &runs[before]), &runs[i])).collect())
}

/// A part with the last seconds of the one before it, if they are of one piece.
fn joined(before: Option<&Run>, run: &Run) -> Run {
    let mut whole = run.clone();
    let Some(first) = run.samples.first() else { return whole };
    let of_one_piece = |before: &&Run| {
        let last = before.samples.last().map(|sample| sample.at_ms);
        before.failure_ms().is_none()
            && last.is_some_and(|last| last < first.at_ms && first.at_ms - last <= GAP_MS)
    };
    if let Some(before) = before.filter(of_one_piece) {
        let from = first.at_ms.saturating_sub(BEFORE_MS);
        let tail = before.samples.iter().filter(|sample| sample.at_ms >= from);
        whole.samples.splice(..0, tail.copied());
        let heard = before.heard.iter().filter(|(at, _)| *at >= from);
        whole.heard.splice(..0, heard.copied());
    }
    whole
}
