//! `--task ramp`: crashes of a cluster's nodes, foreseen.

use anyhow::{Result, bail};
use clap::Args;
use predictor::ramp::{self, EVENTS_FILE, Events, Options, RampModel, TELEMETRY_FILE, Telemetry};
use predictor::task::{OnProgress, Report};
use std::path::{Path, PathBuf};

/// Lines of an explanation.
const DRIVERS: usize = 12;

/// What training a ramp model takes.
#[derive(Debug, Args)]
pub struct Training {
    /// For `ramp`: learn from at most this many rows in calm, drawn from all
    #[arg(long, default_value_t = Options::default().calm_rows, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1000..))]
    calm_rows: usize,
}

/// The node and minute to explain.
#[derive(Debug, Args)]
pub struct Place {
    /// For `ramp`: the node
    #[arg(long)]
    node: Option<String>,
    /// For `ramp`: the minute of the run
    #[arg(long)]
    minute: Option<i64>,
}

/// A model's file: a folder named stands for `ramp.model` in it.
fn model_file(named: Option<&Path>) -> Result<PathBuf> {
    match named {
        Some(folder) if folder.is_dir() => Ok(folder.join("ramp.model")),
        Some(file) => Ok(file.to_owned()),
        None => super::state("ramp.model"),
    }
}

fn load(named: Option<&Path>) -> Result<RampModel> {
    let path = model_file(named)?;
    if !path.exists() {
        bail!(
            "{}: no model; make one with `foreshift predict train --task ramp --data DIR`, or name another with --model",
            path.display()
        );
    }
    let model = RampModel::load(&path)?;
    eprintln!("model: {}", path.display());
    Ok(model)
}

/// Trains on a folder and writes the model.
pub fn train(data: &Path, named: Option<&Path>, seed: u64, training: &Training) -> Result<()> {
    let path = model_file(named)?;
    let (telemetry, events) = ramp::read_folder(data)?;
    let Some(events) = events else {
        bail!("{}: not there; training needs what happened in the runs", data.join(EVENTS_FILE).display());
    };
    let options = Options { seed, calm_rows: training.calm_rows };
    let model = ramp::train(&telemetry, &events, &options, |line| eprintln!("{line}"))?;
    model.save(&path)?;
    println!("{}", model.card().markdown());
    println!("model written to {}", path.display());
    Ok(())
}

/// Predicts a folder's rows into a CSV file.
pub fn evaluate(data: &Path, out: &Path, named: Option<&Path>, progress: OnProgress<'_>) -> Result<Report> {
    let model = load(named)?;
    Ok(ramp::evaluate(&model, data, out, progress)?)
}

/// Prints what drove one prediction.
pub fn explain(data: &Path, named: Option<&Path>, wanted: &str, place: &Place) -> Result<()> {
    let (Some(node), Some(minute)) = (&place.node, place.minute) else {
        bail!("say which node and minute: --node NODE --minute N");
    };
    let model = load(named)?;
    let telemetry = Telemetry::read(&data.join(TELEMETRY_FILE))?;
    let Some(run) = telemetry.runs().iter().find(|run| run.name == wanted) else {
        bail!("no run {wanted}: {}", some(telemetry.runs().iter().map(|run| run.name.as_str())));
    };
    let Some(explanation) = model.explain(&telemetry, run, node, minute) else {
        bail!(
            "run {wanted} has no node {node} at minute {minute}; its nodes: {}",
            some(run.nodes.iter().map(String::as_str))
        );
    };
    let said = explanation.prediction;
    println!(
        "P(crash within {} min) = {:.4}, between {:.4} and {:.4}",
        ramp::HORIZON_MINUTES,
        said.p,
        said.interval.low,
        said.interval.high
    );
    let mut table = crate::cli::table::Table::new(&["log odds", "value", "feature"]);
    for driver in explanation.drivers.iter().take(DRIVERS) {
        let value = if driver.value.is_nan() { "-".into() } else { format!("{:.3}", driver.value) };
        table.row([format!("{:+.3}", driver.contribution), value, driver.feature.clone()]);
    }
    print!("{}", table.render("nothing"));
    let moved: Vec<String> =
        explanation.metrics.iter().map(|(metric, z)| format!("{metric} {z:+.1}")).collect();
    println!("metrics furthest from their peers (scales): {}", moved.join(", "));
    if let Some(events) = events_of(data)? {
        for crash in events.of(&run.name) {
            let minute = crash.minute.map_or("none".into(), |minute| minute.to_string());
            println!("what came: {} on {}, crash {minute}", crash.fault, crash.nodes.join(", "));
        }
    }
    Ok(())
}

fn events_of(data: &Path) -> Result<Option<Events>> {
    let path = data.join(EVENTS_FILE);
    Ok(if path.exists() { Some(Events::read(&path)?) } else { None })
}

/// Prints a model's card.
pub fn card(named: Option<&Path>) -> Result<()> {
    println!("{}", load(named)?.card().markdown());
    Ok(())
}

/// The first names of a list.
fn some<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.take(9).collect();
    match names.get(8) {
        Some(_) => format!("{}, …", names[..8].join(", ")),
        None => names.join(", "),
    }
}
