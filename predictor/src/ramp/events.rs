//! What happened in the runs: which nodes crashed, when, and from which fault.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use super::data::{Run, label};
use super::{HORIZON_MINUTES, RampError};
use crate::table::{Column, Table};

/// A fault of a run, and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The kind of fault, empty where none was named.
    pub fault: String,
    /// The minute of the crash; `None` when it stopped short of one.
    pub minute: Option<i64>,
    /// The nodes affected, by name; empty: all.
    pub nodes: Vec<String>,
}

impl Crash {
    fn concerns(&self, node: &str) -> bool {
        self.nodes.is_empty() || self.nodes.iter().any(|named| named == node)
    }
}

/// The events of all runs.
#[derive(Clone, Debug, Default)]
pub struct Events {
    runs: BTreeMap<String, Vec<Crash>>,
}

impl Events {
    /// Reads a CSV table with the columns run, fault, crash_minute, node_a and, if there is one, node_b; others are
    /// not looked at. Empty, NaN, `none` and negative minutes mean none. A link's fault names its two nodes.
    ///
    /// # Errors
    /// A file that cannot be read, a missing column, or a minute that is no number.
    pub fn read(path: &Path) -> Result<Self, RampError> {
        let table = Table::read(path)?;
        let (runs, minutes, first) =
            (table.column("run")?, table.column("crash_minute")?, table.column("node_a")?);
        let (second, faults) = (table.find("node_b"), table.find("fault"));
        let mut events = Self::default();
        for row in 0..table.rows() {
            let Some(run) = some(runs, row) else { continue };
            let minute = minute(minutes, row).map_err(|found| RampError::Cell {
                path: path.to_owned(),
                row,
                column: "crash_minute",
                found,
                wanted: "a minute, or nothing where the run does not crash",
            })?;
            let node =
                |column: Option<&Column>| column.and_then(|column| some(column, row)).filter(|n| n != "-1");
            let fault = faults.and_then(|column| some(column, row)).unwrap_or_default();
            let nodes = [node(Some(first)), node(second)].into_iter().flatten().collect();
            events.push(run, Crash { fault, minute, nodes });
        }
        Ok(events)
    }

    /// Adds an event of a run.
    pub fn push(&mut self, run: String, crash: Crash) {
        self.runs.entry(run).or_default().push(crash);
    }

    /// The events of a run.
    pub fn of(&self, run: &str) -> &[Crash] {
        self.runs.get(run).map_or(&[], Vec::as_slice)
    }

    /// The kind of fault of a run, `None` if it had none. Several count as one kind.
    pub fn fault(&self, run: &str) -> Option<String> {
        let faults: Vec<&str> =
            self.of(run).iter().map(|crash| crash.fault.as_str()).filter(|fault| !fault.is_empty()).collect();
        (!faults.is_empty()).then(|| faults.join("+"))
    }

    /// Of every sample of a run whether its node crashes within the horizon; `None` once it has crashed.
    pub fn labels(&self, run: &Run) -> Vec<Option<bool>> {
        let crashes = self.of(&run.name);
        let ends: Vec<Vec<i64>> = run
            .nodes
            .iter()
            .map(|node| {
                crashes.iter().filter(|crash| crash.concerns(node)).filter_map(|crash| crash.minute).collect()
            })
            .collect();
        run.samples
            .iter()
            .map(|sample| match ends[sample.node].iter().find(|end| **end >= sample.minute) {
                Some(end) => Some(end - sample.minute <= HORIZON_MINUTES),
                None if ends[sample.node].is_empty() => Some(false),
                None => None,
            })
            .collect()
    }

    /// Whether a fault acts on the node, crash or not.
    pub(super) fn touches(&self, run: &Run, node: usize) -> bool {
        self.of(&run.name).iter().any(|crash| crash.concerns(&run.nodes[node]))
    }

    /// Nodes that are named but not in their run's telemetry, as `run/node`.
    pub(super) fn strangers(&self, runs: &[Run]) -> Vec<String> {
        let stranger = |run: &Run, node: &String| !run.nodes.contains(node);
        runs.iter()
            .flat_map(|run| {
                let named = self.of(&run.name).iter().filter(|crash| crash.minute.is_some());
                named
                    .filter(|crash| {
                        !crash.nodes.is_empty() && crash.nodes.iter().all(|node| stranger(run, node))
                    })
                    .flat_map(move |crash| crash.nodes.iter().map(move |node| format!("{}/{node}", run.name)))
            })
            .collect()
    }
}

/// A field that says something.
fn some(column: &Column, row: usize) -> Option<String> {
    let said = |text: &Cow<'_, str>| !["none", "nan", "null", "na"].contains(&text.to_lowercase().as_str());
    label(column, row).filter(said).map(Cow::into_owned)
}

fn minute(column: &Column, row: usize) -> Result<Option<i64>, String> {
    let Some(text) = some(column, row) else { return Ok(None) };
    match text.parse::<f64>() {
        Ok(minute) if minute.is_nan() || minute < 0.0 => Ok(None),
        Ok(minute) if minute < 1e15 => Ok(Some(minute.floor() as i64)),
        _ => Err(text),
    }
}
