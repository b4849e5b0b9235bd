//! Folders in, CSV and figures out.

use std::fmt::Write as _;
use std::path::Path;

use super::model::RampModel;
use super::{EVENTS_FILE, Events, Figures, Outcome, RampError, TELEMETRY_FILE, Telemetry, judge};
use crate::task::{self, OnProgress, Progress, Report};

/// A folder's telemetry, and its events if it has them.
///
/// # Errors
/// No telemetry, or a file that cannot be read.
pub fn read_folder(data: &Path) -> Result<(Telemetry, Option<Events>), RampError> {
    let telemetry = Telemetry::read(&data.join(TELEMETRY_FILE))?;
    let events = data.join(EVENTS_FILE);
    let events = if events.exists() { Some(Events::read(&events)?) } else { None };
    Ok((telemetry, events))
}

/// Predicts every row of a folder's telemetry into a CSV file `run,node,minute,p`, in the table's order, and gives the
/// figures where the folder has events. Rows of a node that has crashed are written and not judged.
///
/// # Errors
/// A file that cannot be read or written.
pub fn evaluate(
    model: &RampModel,
    data: &Path,
    out: &Path,
    progress: OnProgress<'_>,
) -> Result<Report, RampError> {
    let (telemetry, events) = read_folder(data)?;
    // Of every row: run, node, minute, p.
    let mut rows: Vec<(u32, u32, i64, f32)> = vec![(0, 0, 0, f32::NAN); telemetry.rows()];
    let mut outcomes = Vec::new();
    let runs = telemetry.runs();
    for (place, run) in runs.iter().enumerate() {
        let predictions = model.predict(&telemetry, run);
        for said in &predictions {
            rows[said.row] = (place as u32, said.node as u32, said.minute, said.p);
        }
        if let Some(events) = &events {
            let known = predictions.iter().zip(events.labels(run));
            outcomes.extend(
                known.filter_map(|(said, crashed)| {
                    Some(Outcome { p: said.p, crashed: crashed?, weight: 1.0 })
                }),
            );
        }
        progress(Progress { what: &run.name, done: place + 1, total: runs.len() });
    }
    for repeated in telemetry.repeated() {
        rows[repeated.row] = rows[repeated.by];
    }
    let mut csv = String::from("run,node,minute,p\n");
    for (run, node, minute, p) in &rows {
        let run = &runs[*run as usize];
        let _ = writeln!(csv, "{},{},{minute},{p:.7}", quoted(&run.name), quoted(&run.nodes[*node as usize]));
    }
    task::write(out, &csv)?;
    let notes = vec![format!("{} rows of {} runs written to {}", rows.len(), runs.len(), out.display())];
    let figures = if events.is_some() { vec![table(&judge(&outcomes))] } else { Vec::new() };
    Ok(Report { figures, notes })
}

/// A CSV field.
fn quoted(name: &str) -> std::borrow::Cow<'_, str> {
    if name.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", name.replace('"', "\"\"")).into()
    } else {
        name.into()
    }
}

/// Figures as a table of one row.
pub(super) fn table(figures: &Figures) -> task::Figures {
    let three = |x: f64| if x.is_finite() { format!("{x:.3}") } else { "-".into() };
    let five = |x: f64| if x.is_finite() { format!("{x:.5}") } else { "-".into() };
    task::Figures {
        header: vec!["rows", "base rate", "AUC-PR", "Brier", "ECE", "recall at 0.5", "precision at 0.5"],
        rows: vec![vec![
            format!("{:.0}", figures.rows),
            five(figures.base_rate),
            three(figures.auc_pr),
            five(figures.brier),
            five(figures.ece),
            three(figures.recall),
            three(figures.precision),
        ]],
    }
}
