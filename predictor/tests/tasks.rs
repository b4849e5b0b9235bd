//! The evaluation tasks over a small folder (`tests/tables/folder`), with its labels and without.

use std::path::{Path, PathBuf};

use predictor::task::{OnProgress, Report, TaskError};
use predictor::{anomaly, forecast};

type Task = fn(&Path, &Path, OnProgress) -> Result<Report, TaskError>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tables/folder")
}

/// A folder of this test's own with copies of these files.
fn copy(name: &str, files: &[&str]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("foreshift-tasks-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&path).expect("a temporary folder");
    for file in files {
        std::fs::copy(folder().join(file), path.join(file)).expect("the file is there");
    }
    path
}

/// What the task reports and writes.
fn run(task: Task, data: &Path) -> Result<(Report, Vec<String>), TaskError> {
    let out = data.join("out.csv");
    let (mut last, mut total) = (0, 0);
    let report = task(data, &out, &mut |progress| (last, total) = (progress.done, progress.total))?;
    assert_eq!(last, total, "the progress ends at its end");
    let text = std::fs::read_to_string(out).expect("written");
    Ok((report, text.lines().map(str::to_owned).collect()))
}

#[test]
fn machines_are_scored_by_name_and_index() {
    let data = copy("ad", &["smd_telemetry.parquet", "smd_labels.npz"]);
    let (report, lines) = run(anomaly::smd::evaluate, &data).expect("scored");
    assert_eq!((lines.len(), lines[0].as_str()), (81, "machine,index,score"));
    let score = |machine: &str, index: usize| -> f64 {
        let start = format!("{machine},{index},");
        let line = lines.iter().find_map(|line| line.strip_prefix(&start)).expect("a line a row");
        line.parse().expect("a number")
    };
    for machine in ["web", "db"] {
        assert!(score(machine, 22) > 10.0 * score(machine, 19), "{machine}");
    }
    let mean = report.figures[0].rows.last().expect("a mean");
    assert_eq!(mean[0], "mean");
    assert!(mean[1].parse::<f64>().expect("a figure") > 0.5, "{mean:?}");
    std::fs::remove_file(data.join("smd_labels.npz")).expect("it was there");
    let (unlabelled, same) = run(anomaly::smd::evaluate, &data).expect("scored");
    assert!(unlabelled.figures.is_empty());
    assert_eq!(same, lines, "labels change no score");
    std::fs::remove_dir_all(data).expect("it was there");
}

#[test]
fn series_are_scored_by_file_and_index() {
    let data = copy("nab", &["nab.parquet", "nab_windows.json"]);
    let (report, lines) = run(anomaly::nab::evaluate, &data).expect("scored");
    assert_eq!((lines.len(), lines[0].as_str()), (301, "file,index,score"));
    assert_eq!(report.figures.len(), 2);
    assert!(report.figures[1].rows[0][0].parse::<f64>().expect("a score") > 80.0, "{:?}", report.figures[1]);
    std::fs::write(data.join("nab_windows.json"), r#"{"a.csv":{"windows":[[9,3]],"acf":1}}"#)
        .expect("written");
    let error = run(anomaly::nab::evaluate, &data).unwrap_err().to_string();
    assert!(error.contains("a.csv: the windows must be [first, last], in order and apart"), "{error}");
    std::fs::remove_file(data.join("nab_windows.json")).expect("it was there");
    let (unlabelled, same) = run(anomaly::nab::evaluate, &data).expect("scored");
    assert!(unlabelled.figures.is_empty());
    assert_eq!(same, lines, "labels change no score");
    std::fs::remove_dir_all(data).expect("it was there");
}

#[test]
fn series_are_forecast_from_every_seventh_origin() {
    let data = copy("forecast", &["traffic.parquet", "traffic_meta.json"]);
    let (report, lines) = run(forecast::traffic::evaluate, &data).expect("forecast");
    assert_eq!(lines[0], "series,origin,h,q10,q25,q50,q75,q90,q95");
    // Of the origins 500, 507 … 598, the last two have three and one target in the series of 600.
    assert_eq!(lines.len() - 1, 13 * 4 + 3 + 1);
    assert!(lines[1].starts_with("s,500,1,") && lines.last().expect("lines").starts_with("s,598,1,"));
    let quantiles: Vec<f64> =
        lines[1].split(',').skip(3).map(|cell| cell.parse().expect("a number")).collect();
    assert!(quantiles.is_sorted() && quantiles.len() == 6, "{quantiles:?}");
    assert_eq!(report.figures[0].rows.len(), 4);
    assert!(report.figures[0].rows[0][1].parse::<f64>().expect("a figure") < 1.0, "{:?}", report.figures[0]);
    for (meta, reason) in [
        (r#"{"s":{"test_start":100,"step_minutes":30}}"#, "test_start is 100, and"),
        (r#"{"other":{"test_start":500,"step_minutes":30}}"#, "it lacks series s"),
        (r#"{"s":{"test_start":500,"step_minutes":120}}"#, "a season of 12 steps must be"),
        (r#"{"s":{"step_minutes":30}}"#, "missing field `test_start`"),
    ] {
        std::fs::write(data.join("traffic_meta.json"), meta).expect("written");
        let error = run(forecast::traffic::evaluate, &data).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    std::fs::remove_dir_all(data).expect("it was there");
}

#[test]
fn a_folder_without_the_table_is_an_error_that_names_it() {
    let data = copy("empty", &[]);
    for (task, name) in [
        (anomaly::smd::evaluate as Task, "smd_telemetry.parquet"),
        (anomaly::nab::evaluate, "nab.parquet"),
        (forecast::traffic::evaluate, "traffic.parquet"),
    ] {
        let error = run(task, &data).unwrap_err().to_string();
        assert!(error.starts_with("cannot read ") && error.ends_with(name), "{error}");
    }
    std::fs::remove_dir_all(data).expect("it was there");
}
