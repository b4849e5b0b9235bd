//! The figures as pictures: precision and recall, reliability, leads, and a run's course.

use std::path::Path;

use super::compare::{OURS, Row, Sets};
use super::dataset::{Label, Series};
use super::figures::{FAILING, Step, curve, labelled};
use crate::plot::{Axis, COLOURS, Chart, Mark};
use crate::recording::RunKind;
use crate::task::{self, TaskError};

/// Draws the first part of the test; the names of the files in `folder`.
pub(super) fn draw(sets: &Sets, rows: &[Row], folder: &Path) -> Result<Vec<&'static str>, TaskError> {
    let Some(part) = sets.parts.first() else { return Ok(Vec::new()) };
    let rows: Vec<&Row> = rows.iter().filter(|row| row.part == 0).collect();
    let Some(ours) = rows.iter().find(|row| row.name == OURS) else { return Ok(Vec::new()) };
    let mut charts = vec![
        ("precision.svg", precision(part.name, &part.series, &rows)),
        ("reliability.svg", reliability(part.name, &labelled(&part.series, &ours.scores, &FAILING))),
        ("leads.svg", leads(part.name, &ours.figures.leads_ms)),
    ];
    charts.extend(timeline(&part.series, ours).map(|chart| ("timeline.svg", chart)));
    let mut names = Vec::new();
    for (name, chart) in charts {
        task::write(&folder.join(name), &chart.svg())?;
        names.push(name);
    }
    Ok(names)
}

fn axis(label: &str, range: (f64, f64)) -> Axis {
    Axis { label: label.into(), range }
}

fn precision(part: &str, series: &[Series], rows: &[&Row]) -> Chart {
    let line = |(at, row): (usize, &&Row)| {
        let mut points = Vec::new();
        curve(&labelled(series, &row.scores, &[Label::Failing]), |_, hits, alarms, positives| {
            points.push((hits / positives.max(1.0), hits / alarms));
        });
        // The curve of thousands of steps is drawn with some hundred.
        let every = points.len().div_ceil(300).max(1);
        let points = points.into_iter().step_by(every).collect();
        let mark = Mark::Line { points, dots: false, bold: row.name == OURS };
        (format!("{} {:.3}", row.name, row.figures.auc_pr), COLOURS[at % COLOURS.len()], mark)
    };
    Chart {
        title: format!("Precision and recall by step: {part}"),
        x: axis("recall", (0.0, 1.0)),
        y: axis("precision", (0.0, 1.0)),
        marks: rows.iter().enumerate().map(line).collect(),
    }
}

fn reliability(part: &str, steps: &[Step]) -> Chart {
    let mut bins = [(0.0f64, 0.0f64, 0.0f64); 10];
    for (p, failed) in steps {
        let bin = &mut bins[((p * 10.0) as usize).min(9)];
        *bin = (bin.0 + p, bin.1 + f64::from(u8::from(*failed)), bin.2 + 1.0);
    }
    let shown = bins.iter().filter(|bin| bin.2 >= 10.0);
    let points = shown.map(|(said, was, n)| (said / n, was / n)).collect();
    let share = |(at, bin): (usize, &(f64, f64, f64))| {
        let from = at as f64 / 10.0;
        (from + 0.02, from + 0.08, bin.2 / steps.len().max(1) as f64)
    };
    let diagonal = Mark::Line { points: vec![(0.0, 0.0), (1.0, 1.0)], dots: false, bold: false };
    Chart {
        title: format!("Reliability: {part}"),
        x: axis("probability said", (0.0, 1.0)),
        y: axis("share that failed", (0.0, 1.0)),
        marks: vec![
            (
                "share of the steps".into(),
                "#dddddd",
                Mark::Bars(bins.iter().enumerate().map(share).collect()),
            ),
            ("as said".into(), COLOURS[7], diagonal),
            (OURS.into(), COLOURS[0], Mark::Line { points, dots: true, bold: true }),
        ],
    }
}

fn leads(part: &str, leads_ms: &[u64]) -> Chart {
    let longest = leads_ms.iter().max().map_or(10, |ms| ms / 1000 + 1);
    let mut bins = vec![0.0f64; longest as usize];
    for ms in leads_ms {
        bins[(ms / 1000) as usize] += 1.0;
    }
    let bars = bins.iter().enumerate().map(|(s, runs)| (s as f64, s as f64 + 1.0, *runs)).collect();
    let most = bins.iter().copied().fold(1.0, f64::max);
    Chart {
        title: format!("From the alarm to the failure: {part}"),
        x: axis("seconds", (0.0, longest as f64)),
        y: axis("runs", (0.0, most)),
        marks: vec![(String::new(), COLOURS[0], Mark::Bars(bars))],
    }
}

/// The ramp whose largest probability is the median of all: neither the best nor the worst.
fn timeline(series: &[Series], ours: &Row) -> Option<Chart> {
    let failing = series.iter().zip(ours.scores.iter().zip(&ours.alarm));
    let mut failing: Vec<_> =
        failing.filter(|(s, _)| s.kind == RunKind::Ramp && s.failure_ms.is_some()).collect();
    let highest = |scores: &[f32]| scores.iter().copied().fold(0.0, f32::max);
    failing.sort_by(|a, b| highest(a.1.0).total_cmp(&highest(b.1.0)));
    let (run, (scores, alarm)) = failing.get(failing.len() / 2)?;
    let (failure, from) = (run.failure_ms?, run.inject_ms.unwrap_or(run.at_ms[0]));
    let second = |at: u64| (at as f64 - from as f64) / 1e3;
    let points = |value: &dyn Fn(usize) -> f32| -> Vec<(f64, f64)> {
        run.at_ms.iter().enumerate().map(|(i, at)| (second(*at), f64::from(value(i)))).collect()
    };
    let line = |points, bold| Mark::Line { points, dots: false, bold };
    let horizon = "P(failure within the horizon)";
    Some(Chart {
        title: format!("{}: an ordinary ramp", run.run),
        x: axis(
            "seconds since the fault began",
            (second(run.at_ms[0]), second(failure.max(*run.at_ms.last()?))),
        ),
        y: axis("probability, drift", (0.0, 1.0)),
        marks: vec![
            (horizon.into(), COLOURS[0], line(points(&|i| scores[i]), true)),
            ("what alarms".into(), COLOURS[4], line(points(&|i| alarm[i]), false)),
            ("drift score".into(), COLOURS[1], line(points(&|i| run.simple[i].drift), false)),
            ("alarm from".into(), COLOURS[7], Mark::Level(ours.figures.threshold)),
            ("fault begins".into(), COLOURS[2], Mark::Upright(0.0)),
            ("failure".into(), COLOURS[3], Mark::Upright(second(failure))),
        ],
    })
}
