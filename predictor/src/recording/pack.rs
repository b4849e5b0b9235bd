//! Many recordings in one Parquet file, as `scripts/lab/pack.py` writes it: `run`, `engine`, `at_ms`, then the metrics; headers
//! and events as JSON in the file's metadata.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{Event, FORMAT, RecordingError, Run, RunHeader};
use crate::sample::{Metric, N_METRICS, TelemetrySample};
use crate::table::{Column, Table, TableError};

/// The metadata's key.
const KEY: &str = "foreshift.runs";
/// The engine that is harmed; any other is its peer.
const SUBJECT: &str = "a1";

#[derive(Deserialize)]
struct Described {
    header: RunHeader,
    events: Vec<Event>,
}

/// Reads all runs, in the order of the file.
pub(super) fn read(path: &Path) -> Result<Vec<Run>, RecordingError> {
    let table = Table::read(path)?;
    let broken = |reason: String| TableError::Format { path: path.to_owned(), format: "recordings", reason };
    let text = table.metadata(KEY).ok_or_else(|| broken(format!("no {KEY} in its metadata")))?;
    let described: Vec<Described> =
        serde_json::from_str(text).map_err(|error| broken(format!("{KEY}: {error}")))?;
    let mut runs = Vec::with_capacity(described.len());
    for Described { header, events } in described {
        if header.format != FORMAT {
            return Err(
                broken(format!("run {}: format {} is not {FORMAT}", header.run, header.format)).into()
            );
        }
        runs.push(Run { events, ..Run::new(header) });
    }
    let places: BTreeMap<String, usize> =
        runs.iter().enumerate().map(|(at, run)| (run.header.run.clone(), at)).collect();
    let (names, engines, times) = (table.text("run")?, table.text("engine")?, table.integers("at_ms")?);
    let metrics = metrics(&table)?;
    for (row, at) in times.iter().enumerate() {
        let Some(&place) = places.get(names.get(row)) else {
            return Err(broken(format!("run {} is in no header", names.get(row))).into());
        };
        let mut sample = TelemetrySample { at_ms: *at as u64, metrics: [f32::NAN; N_METRICS] };
        for (metric, column) in &metrics {
            sample.set(*metric, column.number(row).unwrap_or(f64::NAN) as f32);
        }
        let subject = engines.get(row) == SUBJECT;
        let samples = if subject { &mut runs[place].samples } else { &mut runs[place].peer };
        samples.push(sample);
    }
    Ok(runs)
}

/// The columns that are metrics, each known by name.
fn metrics(table: &Table) -> Result<Vec<(Metric, &Column)>, TableError> {
    let columns = table.metrics(&["run", "engine", "at_ms"])?;
    let known = |(name, column)| match Metric::from_name(name) {
        Some(metric) => Ok((metric, column)),
        None => Err(TableError::Format {
            path: table.path().to_owned(),
            format: "recordings",
            reason: format!("unknown metric `{name}`"),
        }),
    };
    columns.into_iter().map(known).collect()
}
