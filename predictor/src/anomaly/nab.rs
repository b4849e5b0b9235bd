//! The task `nab`: single series, in the form of the Numenta Anomaly Benchmark.
//!
//! In: `nab.parquet` (file, index, value). Out: a score for each row. If `nab_windows.json` is there
//! (for each file `windows`, first and last row, and `acf`, VUS-PR's window), the NAB score of the
//! corpus and VUS-PR of each file, both on the rows after the probation.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;

use super::{SeriesDetector, SeriesScore};
use crate::metrics::{NabFile, nab_probation, nab_score, vus_pr};
use crate::table::Table;
use crate::task::{self, Figures, OnProgress, Progress, Report, TaskError, cell};

/// The labels of a file.
#[derive(Clone, Debug, Deserialize)]
struct Labels {
    windows: Vec<(usize, usize)>,
    acf: usize,
}

/// A file that was scored and has labels.
struct Judged {
    name: String,
    scores: Vec<f64>,
    onsets: usize,
    labels: Labels,
}

/// Scores every file of the folder and writes `file,index,score`.
pub fn evaluate(data: &Path, out: &Path, progress: OnProgress) -> Result<Report, TaskError> {
    let table = Table::read(&data.join("nab.parquet"))?;
    let (values, index) = (table.numbers("value")?, table.integers("index")?);
    let files = table.groups("file", "index", |_| true)?;
    let labels = read_labels(&data.join("nab_windows.json"))?;
    let mut csv = String::from("file,index,score\n");
    let mut judged = Vec::new();
    for (done, file) in files.iter().enumerate() {
        progress(Progress { what: &file.name, done, total: files.len() });
        let mut detector = SeriesDetector::new();
        let rows: Vec<SeriesScore> = file.rows.iter().map(|row| detector.push(values[*row])).collect();
        for (row, SeriesScore { score, .. }) in file.rows.iter().zip(&rows) {
            writeln!(csv, "{},{},{score}", file.name, index[*row]).expect("a String takes it");
        }
        if let Some(labels) = labels.get(&file.name) {
            let onsets = rows.iter().skip(nab_probation(rows.len())).filter(|row| row.onset).count();
            let scores = rows.iter().map(|row| row.score).collect();
            judged.push(Judged { name: file.name.clone(), scores, onsets, labels: labels.clone() });
        }
    }
    progress(Progress { what: "done", done: files.len(), total: files.len() });
    task::write(out, &csv)?;
    let rows: usize = files.iter().map(|file| file.rows.len()).sum();
    let notes = vec![format!("{rows} rows of {} files: {}", files.len(), out.display())];
    Ok(Report { figures: figures(&judged), notes })
}

/// The labels of the folder; none if it has no such file.
fn read_labels(path: &Path) -> Result<BTreeMap<String, Labels>, TaskError> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let text =
        std::fs::read_to_string(path).map_err(|source| TaskError::Io { path: path.to_owned(), source })?;
    let labels: BTreeMap<String, Labels> = serde_json::from_str(&text)
        .map_err(|error| TaskError::Input { path: path.to_owned(), reason: error.to_string() })?;
    let ordered = |labels: &Labels| {
        labels.windows.iter().all(|(start, end)| start <= end)
            && labels.windows.windows(2).all(|pair| pair[0].1 < pair[1].0)
    };
    match labels.iter().find(|(_, labels)| !ordered(labels)) {
        Some((file, _)) => Err(TaskError::Input {
            path: path.to_owned(),
            reason: format!("{file}: the windows must be [first, last], in order and apart"),
        }),
        None => Ok(labels),
    }
}

fn figures(judged: &[Judged]) -> Vec<Figures> {
    let corpus: Vec<NabFile> =
        judged.iter().map(|file| NabFile { scores: &file.scores, windows: &file.labels.windows }).collect();
    let Some(nab) = nab_score(&corpus) else { return Vec::new() };
    let vus: Vec<Option<f64>> = judged.iter().map(file_vus_pr).collect();
    let rows = judged.iter().zip(&vus).map(|(file, vus)| {
        vec![file.name.clone(), file.labels.windows.len().to_string(), file.onsets.to_string(), cell(*vus)]
    });
    let files = Figures { header: vec!["FILE", "WINDOWS", "ONSETS", "VUS-PR"], rows: rows.collect() };
    let known: Vec<f64> = vus.into_iter().flatten().collect();
    let mean = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
    let row = vec![
        format!("{:.1}", nab.score),
        cell(mean),
        format!("{:.3}", nab.threshold),
        nab.false_alarms.to_string(),
    ];
    let header = vec!["NAB STANDARD", "VUS-PR", "THRESHOLD", "FALSE ALARMS"];
    vec![files, Figures { header, rows: vec![row] }]
}

/// VUS-PR of the rows after the probation; `None` if no window reaches into them.
fn file_vus_pr(file: &Judged) -> Option<f64> {
    let probation = nab_probation(file.scores.len());
    let inside = |row: usize| file.labels.windows.iter().any(|(start, end)| (*start..=*end).contains(&row));
    let labels: Vec<bool> = (probation..file.scores.len()).map(inside).collect();
    vus_pr(&labels, &file.scores[probation..], file.labels.acf)
}
