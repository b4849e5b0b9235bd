//! `--task engine`: recordings of engines in, probabilities and figures out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::card::{Card, CardError, SplitCard};
use super::compare::{Other, Sets, rows};
use super::dataset::Series;
use super::figures::Figures;
use super::{pictures, verdicts_of};
use crate::judges::horizons;
use crate::model::{Model, ModelError};
use crate::recording::{self, RecordingError};
use crate::table::{Column, Table, TableError};
use crate::task::{self, OnProgress, Progress, Report, TaskError, cell};

/// Why recordings were not evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// A recording.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Its card.
    #[error(transparent)]
    Card(#[from] CardError),
    /// Another detector's scores.
    #[error(transparent)]
    Table(#[from] TableError),
    /// What was to be written.
    #[error(transparent)]
    Task(#[from] TaskError),
}

/// What is to be evaluated, and what written.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// A folder of recordings, or a packed file of them.
    pub data: &'a Path,
    /// The CSV file: `run,at_ms`, then for each horizon its probability and bounds, then the time left.
    pub out: &'a Path,
    /// What other detectors said, as CSV or Parquet: `run,at_ms`, then a column each.
    pub others: Option<&'a Path>,
    /// A folder for pictures and the table as Markdown.
    pub pictures: Option<&'a Path>,
}

/// Judges every step of every run as the live predictor does. Figures are of the runs that the card does not list as trained on, beside
/// simple detectors and `others`.
///
/// # Errors
/// A file that cannot be read or written, or is not what it should be.
pub fn evaluate(
    model: &Model,
    card: Option<&Card>,
    asked: Asked<'_>,
    progress: OnProgress<'_>,
) -> Result<Report, EvaluateError> {
    let horizon_ms = model.description().horizon_ms;
    let runs = recording::read(asked.data)?;
    let mut series = Vec::with_capacity(runs.len());
    let mut csv = header(horizon_ms);
    for (done, run) in runs.iter().enumerate() {
        for seen in Series::all(std::slice::from_ref(run), horizon_ms) {
            write_run(&mut csv, model, &seen);
            series.push(seen);
        }
        progress(Progress { what: &run.header.run, done: done + 1, total: runs.len() });
    }
    let steps: usize = series.iter().map(Series::len).sum();
    task::write(asked.out, &csv)?;
    let others = asked.others.map(read_others).transpose()?.unwrap_or_default();
    let unknown = SplitCard::default();
    let sets = Sets::new(card.map_or(&unknown, |card| &card.split), series);
    let rows = rows(model, &sets, &others);
    let named = rows.iter().map(|row| {
        let part = sets.parts[row.part].name;
        (vec![part.to_owned(), row.name.clone()], &row.figures)
    });
    let figures = table(&["on", "detector"], named);
    let mut notes = vec![format!("{steps} steps of {} runs written to {}", runs.len(), asked.out.display())];
    if let Some(folder) = asked.pictures {
        let failed = |source| TaskError::Io { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        task::write(&folder.join("table.md"), &(markdown(&figures) + "\n"))?;
        let drawn = pictures::draw(&sets, &rows, folder)?;
        notes.push(format!("{} and table.md written to {}", drawn.join(", "), folder.display()));
    }
    if figures.rows.is_empty() {
        notes.push("no figures: no run that was not trained on has both failing and healthy steps".into());
    }
    Ok(Report { figures: vec![figures], notes })
}

fn header(horizon_ms: u64) -> String {
    let mut header = String::from("run,at_ms");
    for horizon in horizons(horizon_ms) {
        // Writing to a String cannot fail.
        let _ = write!(header, ",p_{horizon}ms,low_{horizon}ms,high_{horizon}ms");
    }
    header + ",left_least_ms,left_most_ms\n"
}

fn write_run(csv: &mut String, model: &Model, series: &Series) {
    for (at, verdict) in series.at_ms.iter().zip(verdicts_of(model, series)) {
        let _ = write!(csv, "{},{at}", series.run);
        for horizon in 0..crate::judges::HORIZONS {
            match verdict.map(|verdict| verdict.outlook[horizon]) {
                Some(o) => drop(write!(csv, ",{:.6},{:.6},{:.6}", o.probability, o.low, o.high)),
                None => csv.push_str(",,,"),
            }
        }
        let left = verdict.and_then(|verdict| verdict.time_left);
        match left {
            Some(left) => drop(writeln!(csv, ",{},{}", left.least_ms, left.most_ms)),
            None => csv.push_str(",,\n"),
        }
    }
}

/// Every column but `run` and `at_ms` is a detector.
fn read_others(path: &Path) -> Result<Vec<Other>, EvaluateError> {
    let table = Table::read(path)?;
    let (runs, times) = (table.text("run")?, table.integers("at_ms")?);
    let other = |(name, column): (&str, &Column)| {
        let mut said = BTreeMap::<String, BTreeMap<u64, f32>>::new();
        for (row, at) in times.iter().enumerate() {
            let score = column.number(row).unwrap_or(f64::NAN) as f32;
            said.entry(runs.get(row).to_owned()).or_default().insert(*at as u64, score);
        }
        Other { name: name.to_owned(), said }
    };
    Ok(table.metrics(&["run", "at_ms"])?.into_iter().map(other).collect())
}

/// Figures as a table; `lead` names the first cells of every row.
pub(crate) fn table<'a>(
    lead: &[&'static str],
    rows: impl Iterator<Item = (Vec<String>, &'a Figures)>,
) -> task::Figures {
    let columns = [
        "runs",
        "base rate",
        "AUC-PR",
        "threshold",
        "foreseen",
        "recall",
        "median lead s",
        "false alarms",
        "calm h",
        "a day",
        "short alarmed",
        "Brier",
        "ECE",
        "90 % interval held",
    ];
    let range = |[low, high]: [f64; 2]| format!("[{low:.3}, {high:.3}]");
    let row = |(lead, f): (Vec<String>, &Figures)| -> Vec<String> {
        let ece = f.ece.zip(f.ece_range).map(|(ece, at)| format!("{ece:.3} {}", range(at)));
        let covered = f.coverage.map(|c| format!("{:.3} of {}", c.share(), c.given));
        let cells = vec![
            f.runs.to_string(),
            format!("{:.3}", f.base_rate),
            format!("{:.3} {}", f.auc_pr, range(f.auc_pr_range)),
            format!("{:.3}", f.threshold),
            format!("{} of {}", f.foreseen.1, f.foreseen.0),
            format!("{:.3}", f.recall_runs()),
            cell(f.median_lead_ms().map(|ms| ms as f64 / 1e3)),
            f.false_alarms.to_string(),
            format!("{:.3}", f.calm_hours),
            format!("{:.0}", f.false_alarms_per_day()),
            format!("{} of {}", f.stopped_short.1, f.stopped_short.0),
            cell(f.brier),
            ece.unwrap_or_else(|| "-".into()),
            covered.unwrap_or_else(|| "-".into()),
        ];
        lead.into_iter().chain(cells).collect()
    };
    task::Figures { header: lead.iter().chain(&columns).copied().collect(), rows: rows.map(row).collect() }
}

/// A table as Markdown.
pub(crate) fn markdown(table: &task::Figures) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let header: Vec<String> = table.header.iter().map(ToString::to_string).collect();
    let rule = format!("|{}", "---|".repeat(header.len()));
    let rows = table.rows.iter().map(|row| line(row));
    [line(&header), rule].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
}
