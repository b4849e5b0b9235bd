//! Recorded runs: one JSON-lines file per run and subject.
//!
//! ```text
//! {"type":"run","format":1,"run":"loss-03","kind":"ramp","fault":"loss","started_unix_ms":…,"sample_ms":100,"metrics":["rx_pps",…]}
//! {"type":"sample","at_ms":81234,"values":[1021.0,null,…]}
//! {"type":"event","at_ms":91000,"event":"inject","detail":"loss 0 to 100 % in 25 s"}
//! {"type":"peers","at_ms":81234,"z":[0.3,null,…]}
//! ```
//! `values` follow the header's `metrics`; `null` is not measured. `peers` is what the engine's peers said of themselves, as their
//! mean, before the next sample. All share one clock (UNIX ms, so that a script and the engine agree).
//!
//! Many recordings in one Parquet file: see `pack.rs`.

mod pack;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::features::{FeatureExtractor, Vitals};
use crate::sample::{Metric, N_METRICS, SAMPLE_MS, TelemetrySample};
use crate::table::TableError;

/// Version of the format.
pub const FORMAT: u32 = 1;

/// What the name of a run ends in when its peer is the subject.
pub(crate) const AT_THE_PEER: &str = " at the peer";

/// Why a recording was not read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file or folder could not be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line is not what the format says.
    #[error("{path}:{line}: {what}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A packed file is not what it should be.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Neither a `.jsonl` nor a `.parquet` file in the folder.
    #[error("{0}: no .jsonl or .parquet recording here")]
    Empty(PathBuf),
    /// Two runs of one name in a folder.
    #[error("{dir}: run {run} is there twice; take one of the files away")]
    Twice {
        /// The folder.
        dir: PathBuf,
        /// The run.
        run: String,
    },
}

/// What a run is meant to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// A fault that grows until something fails.
    Ramp,
    /// A fault that grows and stops short of failure.
    StoppedShort,
    /// A fault without warning: kept out of training, nobody can foresee it.
    Abrupt,
    /// No fault: steady traffic, bursts, reloads, pauses.
    Calm,
}

impl RunKind {
    /// Its name in recordings and cards.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ramp => "ramp",
            Self::StoppedShort => "stopped_short",
            Self::Abrupt => "abrupt",
            Self::Calm => "calm",
        }
    }
}

/// The first line of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunHeader {
    /// [`FORMAT`].
    pub format: u32,
    /// Unique name of the run.
    pub run: String,
    /// What it is meant to show.
    pub kind: RunKind,
    /// Kind of fault (`loss`, `cpu`, `memory` …) or of calm (`burst` …).
    pub fault: String,
    /// Start of the run (Unix ms); orders the runs.
    pub started_unix_ms: u64,
    /// Sampling period (ms).
    pub sample_ms: u64,
    /// Names of the values of each sample, in order.
    pub metrics: Vec<String>,
    /// How fast a ramp is (`fast` …), empty if that means nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub slope: String,
    /// How the load goes (`steady`, `daily` …), empty if unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub profile: String,
    /// Free text: machine, traffic, slope, seed.
    #[serde(default)]
    pub note: String,
}

impl RunHeader {
    /// A header for samples with all of this crate's metrics.
    pub fn new(
        run: impl Into<String>,
        kind: RunKind,
        fault: impl Into<String>,
        started_unix_ms: u64,
    ) -> Self {
        Self {
            format: FORMAT,
            run: run.into(),
            kind,
            fault: fault.into(),
            started_unix_ms,
            sample_ms: SAMPLE_MS,
            metrics: Metric::all().map(|m| m.name().to_owned()).collect(),
            slope: String::new(),
            profile: String::new(),
            note: String::new(),
        }
    }
}

/// What happened at a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The fault began. Never a failure by itself.
    Inject,
    /// The measured SLO was breached: a failure.
    Breach,
    /// The subject died or its path went down: a failure.
    HardFailure,
    /// The run ended.
    End,
    /// The engine decided something; the detail is the decision as JSON.
    Decision,
    /// Anything else worth noting (a burst began, a reload …).
    #[serde(other)]
    Note,
}

/// An event of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, on the samples' clock (ms).
    pub at_ms: u64,
    /// What.
    pub event: EventKind,
    /// Free text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line {
    Run(RunHeader),
    Sample { at_ms: u64, values: Vec<Option<f32>> },
    Event(Event),
    Peers { at_ms: u64, z: Vec<Option<f32>> },
}

/// Writes one recording, a line at a time, flushed so that a killed engine loses at most one.
#[derive(Debug)]
pub struct Recorder<W: Write> {
    out: W,
}

impl<W: Write> Recorder<W> {
    /// Starts a recording; the header must name all metrics (as [`RunHeader::new`] does).
    pub fn new(out: W, header: RunHeader) -> std::io::Result<Self> {
        let mut recorder = Self { out };
        recorder.line(&Line::Run(header))?;
        Ok(recorder)
    }
    /// Adds a sample.
    pub fn sample(&mut self, sample: &TelemetrySample) -> std::io::Result<()> {
        let values = sample.metrics.iter().map(|v| v.is_finite().then_some(*v)).collect();
        self.line(&Line::Sample { at_ms: sample.at_ms, values })
    }
    /// Adds an event.
    pub fn event(&mut self, at_ms: u64, event: EventKind, detail: &str) -> std::io::Result<()> {
        self.line(&Line::Event(Event { at_ms, event, detail: detail.to_owned() }))
    }
    /// Adds what the peers said of themselves before the next sample.
    pub fn peers(&mut self, at_ms: u64, z: &Vitals) -> std::io::Result<()> {
        let z = z.iter().map(|z| z.is_finite().then_some(*z)).collect();
        self.line(&Line::Peers { at_ms, z })
    }
    fn line(&mut self, line: &Line) -> std::io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.out.write_all(&text)?;
        self.out.flush()
    }
}

/// One run as recorded.
#[derive(Clone, Debug)]
pub struct Run {
    /// What it is.
    pub header: RunHeader,
    /// In the order of the file.
    pub samples: Vec<TelemetrySample>,
    /// In the order of the file.
    pub events: Vec<Event>,
    /// What a peer of the subject measured meanwhile, on the same clock; empty if nobody was recorded.
    pub peer: Vec<TelemetrySample>,
    /// What the peers said of themselves, if the engine noted it: with a time, in the order of the file.
    pub heard: Vec<(u64, Vitals)>,
}

impl Run {
    /// A run in which nothing has happened yet.
    pub fn new(header: RunHeader) -> Self {
        Self { header, samples: Vec::new(), events: Vec::new(), peer: Vec::new(), heard: Vec::new() }
    }
    /// A calm run as its peer lived through it, if the peer was recorded: nothing was done to either of them.
    pub fn at_the_peer(&self) -> Option<Self> {
        (self.header.kind == RunKind::Calm && !self.peer.is_empty()).then(|| Self {
            header: RunHeader { run: self.header.run.clone() + AT_THE_PEER, ..self.header.clone() },
            samples: self.peer.clone(),
            events: self.events.clone(),
            peer: self.samples.clone(),
            heard: Vec::new(),
        })
    }
    /// When the subject first failed (measured), if it did.
    pub fn failure_ms(&self) -> Option<u64> {
        self.first(|e| matches!(e, EventKind::Breach | EventKind::HardFailure))
    }
    /// When the subject died or its path went down for good, if it did.
    pub fn death_ms(&self) -> Option<u64> {
        self.first(|e| e == EventKind::HardFailure)
    }
    /// When the fault began.
    pub fn inject_ms(&self) -> Option<u64> {
        self.first(|e| e == EventKind::Inject)
    }
    fn first(&self, wanted: impl Fn(EventKind) -> bool) -> Option<u64> {
        self.events.iter().filter(|e| wanted(e.event)).map(|e| e.at_ms).min()
    }

    /// Reads one recording. An unfinished last line is dropped: the engine may have been killed.
    pub fn read(path: &Path) -> Result<Self, RecordingError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| RecordingError::Io { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|(line, what)| RecordingError::Line { path: path.to_owned(), line, what })
    }

    /// Parses a recording; an error names its line.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut lines = text.split_inclusive('\n').enumerate();
        let first = lines.next().ok_or((1, "empty".to_owned()))?.1;
        let header = match serde_json::from_str(first).map_err(|e| (1, e.to_string()))? {
            Line::Run(header) => header,
            _ => return Err((1, "the first line must be of type `run`".into())),
        };
        if header.format != FORMAT {
            return Err((1, format!("format {} is not {FORMAT}", header.format)));
        }
        let columns = columns(&header.metrics).map_err(|e| (1, e))?;
        let mut run = Self::new(header);
        for (i, line) in lines {
            match serde_json::from_str(line) {
                Ok(Line::Sample { at_ms, values }) if values.len() == columns.len() => {
                    run.samples.push(sample(at_ms, &columns, &values));
                }
                Ok(Line::Sample { values, .. }) => {
                    let what = format!("{} values for {} metrics", values.len(), columns.len());
                    return Err((i + 1, what));
                }
                Ok(Line::Event(event)) => run.events.push(event),
                Ok(Line::Peers { at_ms, z }) if z.len() == columns.len() => {
                    run.heard.push((at_ms, sample(at_ms, &columns, &z).metrics));
                }
                Ok(Line::Peers { z, .. }) => {
                    return Err((i + 1, format!("{} values for {} metrics", z.len(), columns.len())));
                }
                Ok(Line::Run(_)) => return Err((i + 1, "a second `run` line".into())),
                Err(_) if !line.ends_with('\n') || line.trim().is_empty() => {}
                Err(e) => return Err((i + 1, e.to_string())),
            }
        }
        Ok(run)
    }
}

fn columns(names: &[String]) -> Result<Vec<Metric>, String> {
    names.iter().map(|n| Metric::from_name(n).ok_or_else(|| format!("unknown metric `{n}`"))).collect()
}

fn sample(at_ms: u64, columns: &[Metric], values: &[Option<f32>]) -> TelemetrySample {
    let mut sample = TelemetrySample { at_ms, metrics: [f32::NAN; N_METRICS] };
    for (metric, value) in columns.iter().zip(values) {
        sample.set(*metric, value.unwrap_or(f32::NAN));
    }
    sample
}

/// What the peers of a recorded engine said, as it would have heard it: noted by the engine, or computed from the peer's own
/// recording as the peer does.
#[derive(Debug)]
pub struct Hearsay<'a> {
    noted: std::iter::Peekable<std::slice::Iter<'a, (u64, Vitals)>>,
    samples: std::iter::Peekable<std::slice::Iter<'a, TelemetrySample>>,
    peer: FeatureExtractor,
}

impl<'a> Hearsay<'a> {
    /// From a run's beginning.
    pub fn new(run: &'a Run) -> Self {
        let samples = if run.heard.is_empty() { run.peer.as_slice() } else { &[] };
        let noted = run.heard.iter().peekable();
        Self { noted, samples: samples.iter().peekable(), peer: FeatureExtractor::new() }
    }

    /// The last word by then, if there is a new one.
    pub fn until(&mut self, at_ms: u64) -> Option<Vitals> {
        let mut last = None;
        while let Some((_, vitals)) = self.noted.next_if(|(at, _)| *at <= at_ms) {
            last = Some(*vitals);
        }
        while let Some(sample) = self.samples.next_if(|s| s.at_ms <= at_ms) {
            self.peer.push(sample);
            last = self.peer.ready().then(|| self.peer.vitals()).or(last);
        }
        last
    }
}

/// How the file of a peer's recording ends, beside `NAME.jsonl`.
const PEER: &str = ".peer.jsonl";

/// Reads a folder of recordings, or a packed file of them.
pub fn read(path: &Path) -> Result<Vec<Run>, RecordingError> {
    if path.is_dir() { read_dir(path) } else { pack::read(path) }
}

/// Reads every `.jsonl` file of a folder and every packed `.parquet` file, ordered by start and name; `NAME.peer.jsonl` is what a
/// peer measured while `NAME.jsonl` was recorded.
fn read_dir(dir: &Path) -> Result<Vec<Run>, RecordingError> {
    let io = |source| RecordingError::Io { path: dir.to_owned(), source };
    let mut runs = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(name) = name.strip_suffix(".jsonl").filter(|_| !name.ends_with(PEER)) {
            let mut run = Run::read(&path)?;
            let peer = path.with_file_name(format!("{name}{PEER}"));
            if peer.exists() {
                run.peer = Run::read(&peer)?.samples;
            }
            runs.push(run);
        } else if name.ends_with(".parquet") {
            runs.extend(pack::read(&path)?);
        }
    }
    if runs.is_empty() {
        return Err(RecordingError::Empty(dir.to_owned()));
    }
    runs.sort_by(|a, b| {
        let key = |r: &Run| (r.header.started_unix_ms, r.header.run.clone());
        key(a).cmp(&key(b))
    });
    distinct(dir, runs)
}

/// A name stands for one run: figures and splits are by name.
fn distinct(dir: &Path, runs: Vec<Run>) -> Result<Vec<Run>, RecordingError> {
    let mut names = BTreeSet::new();
    match runs.iter().find(|run| !names.insert(&run.header.run)) {
        Some(twice) => Err(RecordingError::Twice { dir: dir.to_owned(), run: twice.header.run.clone() }),
        None => Ok(runs),
    }
}
