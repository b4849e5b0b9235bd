//! The task `ad`: machines with any number of metrics, in the form of the Server Machine Dataset.
//!
//! In: `smd_telemetry.parquet` (machine, part `train` | `test`, index, then metrics). Out: a score
//! for each row of `test`. If `smd_labels.npz` is there, VUS-PR of each machine; `smd_published.csv`
//! gives the window of each machine and the figures of others.

use std::fmt::Write as _;
use std::path::Path;

use super::MultivariateDetector;
use crate::metrics::vus_pr;
use crate::table::{Column, Group, Table, TableError, read_npz};
use crate::task::{self, Figures, OnProgress, Progress, Report, TaskError};

/// VUS-PR's window where none is given for a machine, in rows: TSB-AD's default.
const WINDOW: usize = 100;
/// The metrics are scaled to 0..1; smaller changes are noise.
const RESOLUTION: f64 = 0.01;

/// Scores the test part of every machine in the folder and writes `machine,index,score`.
pub fn evaluate(data: &Path, out: &Path, progress: OnProgress) -> Result<Report, TaskError> {
    let table = Table::read(&data.join("smd_telemetry.parquet"))?;
    let part = table.text("part")?;
    let index = table.integers("index")?;
    let metrics = table.metrics(&["machine", "part", "index"])?;
    let train = table.groups("machine", "index", |row| part.get(row) == "train")?;
    let test = table.groups("machine", "index", |row| part.get(row) == "test")?;
    let judge = Judge::read(data)?;
    let mut csv = String::from("machine,index,score\n");
    let mut judged = Vec::new();
    for (done, machine) in test.iter().enumerate() {
        progress(Progress { what: &machine.name, done, total: test.len() });
        let past = train.iter().find(|group| group.name == machine.name);
        let scores = score(&table, &metrics, past, machine)?;
        for (row, score) in machine.rows.iter().zip(&scores) {
            writeln!(csv, "{},{},{score}", machine.name, index[*row]).expect("a String takes it");
        }
        judged.push(judge.judge(&machine.name, &scores)?);
    }
    progress(Progress { what: "done", done: test.len(), total: test.len() });
    task::write(out, &csv)?;
    let rows: usize = test.iter().map(|machine| machine.rows.len()).sum();
    let notes = vec![format!("{rows} rows of {} machines: {}", test.len(), out.display())];
    Ok(Report { figures: judge.figures(judged), notes })
}

/// The scores of one machine's test rows, after the rows of its train part.
fn score(
    table: &Table,
    metrics: &[(&str, &Column)],
    past: Option<&Group>,
    machine: &Group,
) -> Result<Vec<f64>, TaskError> {
    let rows = |group: &Group| -> Vec<Vec<f64>> {
        let value =
            |row| metrics.iter().map(move |(_, column)| column.number(row).expect("metrics are numbers"));
        group.rows.iter().map(|row| value(*row).collect()).collect()
    };
    let past = past.map(rows).unwrap_or_default();
    let mut detector =
        MultivariateDetector::fit(past.iter().map(Vec::as_slice), RESOLUTION).map_err(|error| {
            TableError::Rows {
                path: table.path().to_owned(),
                unit: format!("machine {}, part train", machine.name),
                reason: error.to_string(),
            }
        })?;
    Ok(rows(machine).iter().map(|row| detector.push(row)).collect())
}

/// Labels and published figures, as far as the folder has them.
struct Judge {
    labels: Option<std::collections::BTreeMap<String, Vec<f64>>>,
    published: Option<Table>,
    path: std::path::PathBuf,
}

impl Judge {
    fn read(data: &Path) -> Result<Judge, TaskError> {
        let (path, published) = (data.join("smd_labels.npz"), data.join("smd_published.csv"));
        let labels = path.exists().then(|| read_npz(&path)).transpose()?;
        let published = published.exists().then(|| Table::read(&published)).transpose()?;
        Ok(Judge { labels, published, path })
    }

    /// VUS-PR of a machine; `None` without labels for it.
    fn judge(&self, machine: &str, scores: &[f64]) -> Result<Option<(String, f64)>, TaskError> {
        let Some(labels) = self.labels.as_ref().and_then(|labels| labels.get(machine)) else {
            return Ok(None);
        };
        if labels.len() != scores.len() {
            return Err(TaskError::Input {
                path: self.path.clone(),
                reason: format!("{machine} has {} labels and {} rows", labels.len(), scores.len()),
            });
        }
        let labels: Vec<bool> = labels.iter().map(|label| *label > 0.0).collect();
        let window = self.published("W", machine)?.map_or(WINDOW, |window| window as usize);
        Ok(vus_pr(&labels, scores, window).map(|figure| (machine.to_owned(), figure)))
    }

    fn published(&self, column: &str, machine: &str) -> Result<Option<f64>, TaskError> {
        let Some(table) = &self.published else { return Ok(None) };
        let names = table.text("machine")?;
        let row = (0..table.rows()).find(|row| names.get(*row) == machine);
        let numbers = table.numbers(column)?;
        Ok(row.map(|row| numbers[row]).filter(|number| number.is_finite()))
    }

    fn figures(&self, judged: Vec<Option<(String, f64)>>) -> Vec<Figures> {
        let judged: Vec<(String, f64)> = judged.into_iter().flatten().collect();
        if judged.is_empty() {
            return Vec::new();
        }
        let published = |column, machine: &str| self.published(column, machine).ok().flatten();
        let mut rows: Vec<Vec<String>> = judged
            .iter()
            .map(|(machine, figure)| {
                let others = ["pub_PCA", "pub_CNN"].map(|column| task::cell(published(column, machine)));
                [vec![machine.clone(), task::cell(Some(*figure))], others.into()].concat()
            })
            .collect();
        let mean = judged.iter().map(|(_, figure)| figure).sum::<f64>() / judged.len() as f64;
        rows.push(vec!["mean".into(), task::cell(Some(mean)), "-".into(), "-".into()]);
        vec![Figures { header: vec!["MACHINE", "VUS-PR", "PUBLISHED PCA", "PUBLISHED CNN"], rows }]
    }
}
