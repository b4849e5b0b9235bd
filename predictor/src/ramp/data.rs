//! Telemetry of clusters: runs, nodes, minutes and any metrics.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::RampError;
use crate::table::{Column, Table};

/// Columns that are not metrics.
const KEYS: [&str; 3] = ["run", "node", "minute"];

/// A row of the table: one node at one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Minute of the run.
    pub minute: i64,
    /// Place of the node in [`Run::nodes`].
    pub node: usize,
    /// Row in the columns.
    pub row: usize,
}

/// A run of a cluster.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its name.
    pub name: String,
    /// The nodes' names.
    pub nodes: Vec<String>,
    /// By minute, then node; a node stands in a minute once.
    pub samples: Vec<Sample>,
}

/// Runs, and the metrics of all their rows.
#[derive(Clone, Debug)]
pub struct Telemetry {
    path: PathBuf,
    metrics: Vec<String>,
    columns: Vec<Vec<f32>>,
    rows: usize,
    runs: Vec<Run>,
    repeated: Vec<Repeated>,
}

/// A row that a later one of the same run, node and minute replaces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeated {
    pub(super) row: usize,
    pub(super) by: usize,
}

impl Run {
    /// Sorts, and keeps the last row of a node's rows at the same minute.
    fn keep_last(&mut self, repeated: &mut Vec<Repeated>) {
        // Stable: among equal keys the last row stays last.
        self.samples.sort_by_key(|sample| (sample.minute, sample.node));
        let same = |a: &Sample, b: &Sample| (a.minute, a.node) == (b.minute, b.node);
        let mut kept: Vec<Sample> = Vec::with_capacity(self.samples.len());
        for equal in self.samples.chunk_by(same) {
            let last = equal[equal.len() - 1];
            repeated.extend(equal[..equal.len() - 1].iter().map(|s| Repeated { row: s.row, by: last.row }));
            kept.push(last);
        }
        self.samples = kept;
    }
}

impl Telemetry {
    /// Reads a Parquet or CSV table with the columns run, node, minute and any metrics.
    ///
    /// Rows may come in any order and minutes may be left out; of a node's rows at the same minute the last counts.
    ///
    /// # Errors
    /// A file that cannot be read, no metric, a metric that is text, a minute that is no whole number.
    pub fn read(path: &Path) -> Result<Self, RampError> {
        let table = Table::read(path)?;
        let metrics = table.metrics(&KEYS)?;
        let names = metrics.iter().map(|(name, _)| (*name).to_owned()).collect();
        let columns = metrics.iter().map(|(_, column)| floats(column)).collect();
        let runs = table.column("run")?;
        let nodes = table.column("node")?;
        let minutes = table.column("minute")?;
        let keys = (0..table.rows()).map(|row| {
            let minute = whole(minutes, row).ok_or_else(|| RampError::Cell {
                path: path.to_owned(),
                row,
                column: "minute",
                found: label(minutes, row).map_or_else(|| "missing".into(), Cow::into_owned),
                wanted: "it counts whole minutes",
            })?;
            let text = |column, name| {
                label(column, row).ok_or_else(|| RampError::Cell {
                    path: path.to_owned(),
                    row,
                    column: name,
                    found: "missing".into(),
                    wanted: "every row belongs to a run and a node",
                })
            };
            Ok((text(runs, "run")?, text(nodes, "node")?, minute))
        });
        Self::build(path, names, columns, keys)
    }

    /// From columns in memory: of every row its run, node and minute.
    ///
    /// # Panics
    /// When a column has not as many values as there are rows.
    pub fn new(
        path: &Path,
        metrics: Vec<String>,
        columns: Vec<Vec<f32>>,
        keys: &[(String, String, i64)],
    ) -> Self {
        assert!(columns.iter().all(|column| column.len() == keys.len()), "a value for every row");
        let borrowed = keys.iter().map(|(run, node, minute)| {
            Ok((Cow::Borrowed(run.as_str()), Cow::Borrowed(node.as_str()), *minute))
        });
        let built: Result<Self, std::convert::Infallible> = Self::build(path, metrics, columns, borrowed);
        match built {
            Ok(telemetry) => telemetry,
            Err(never) => match never {},
        }
    }

    fn build<'a, E>(
        path: &Path,
        metrics: Vec<String>,
        columns: Vec<Vec<f32>>,
        keys: impl Iterator<Item = Result<(Cow<'a, str>, Cow<'a, str>, i64), E>>,
    ) -> Result<Self, E> {
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        let mut runs: Vec<Run> = Vec::new();
        let mut nodes: Vec<BTreeMap<String, usize>> = Vec::new();
        let mut rows = 0;
        for (row, key) in keys.enumerate() {
            let (run, node, minute) = key?;
            let place = places.get(run.as_ref()).copied().unwrap_or_else(|| {
                runs.push(Run { name: run.to_string(), nodes: Vec::new(), samples: Vec::new() });
                nodes.push(BTreeMap::new());
                places.insert(run.to_string(), runs.len() - 1);
                runs.len() - 1
            });
            let named = &mut runs[place];
            let node = nodes[place].get(node.as_ref()).copied().unwrap_or_else(|| {
                named.nodes.push(node.to_string());
                nodes[place].insert(node.to_string(), named.nodes.len() - 1);
                named.nodes.len() - 1
            });
            named.samples.push(Sample { minute, node, row });
            rows = row + 1;
        }
        let mut repeated = Vec::new();
        runs.iter_mut().for_each(|run| run.keep_last(&mut repeated));
        Ok(Self { path: path.to_owned(), metrics, columns, rows, runs, repeated })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The metrics' names.
    pub fn metrics(&self) -> &[String] {
        &self.metrics
    }

    /// The runs, in order of appearance.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Rows of the table.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Rows that others replace.
    pub(super) fn repeated(&self) -> &[Repeated] {
        &self.repeated
    }

    /// Appends the metrics of a row.
    pub(super) fn copy(&self, row: usize, out: &mut Vec<f32>) {
        out.extend(self.columns.iter().map(|column| column[row]));
    }
}

fn floats(column: &Column) -> Vec<f32> {
    match column {
        Column::F32(values) => values.clone(),
        Column::F64(values) => values.iter().map(|x| *x as f32).collect(),
        Column::I64(values) => values.iter().map(|x| *x as f32).collect(),
        // `Table::metrics` lets no text pass.
        Column::Text(_) => Vec::new(),
    }
}

/// The name of a run or node; a whole number reads the same whatever its type. `None` if missing.
pub(super) fn label(column: &Column, row: usize) -> Option<Cow<'_, str>> {
    match column {
        Column::Text(text) => Some(Cow::Borrowed(text.get(row).trim())).filter(|name| !name.is_empty()),
        _ => column.number(row).filter(|x| !x.is_nan()).map(|x| Cow::Owned(x.to_string())),
    }
}

/// A whole number; `None` if it is not one.
fn whole(column: &Column, row: usize) -> Option<i64> {
    let x = match column {
        Column::Text(text) => text.get(row).trim().parse().ok()?,
        _ => column.number(row)?,
    };
    (x.is_finite() && x.fract() == 0.0 && x.abs() < 1e15).then_some(x as i64)
}
