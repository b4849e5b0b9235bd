//! `--task engine`: failures of engines, foreseen from their recorded telemetry.

use super::progress::Bar;
use crate::cli::table::Table;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use predictor::lifecycle::{CARD, CARD_TEXT, MODEL};
use predictor::recording::{self, Run};
use predictor::task::{OnProgress, Progress, Report};
use predictor::train::{self, Asked, Card, HeldOut, Options};
use predictor::{FEATURE_NAMES, Model, PER_METRIC, Prediction, Predictor, Quality};
use std::path::Path;
use std::sync::Arc;

/// What training an engine model takes.
#[derive(Debug, Args)]
pub struct EngineTraining {
    /// For `engine`: the model's name in logs, cards and for `rollback`
    #[arg(long, default_value = "trained")]
    name: String,
    /// For `engine`: a remark for the card, e.g. where the data come from
    #[arg(long, default_value = "")]
    note: String,
    /// For `engine`: predict a failure within this many milliseconds
    #[arg(long, default_value_t = Options::default().horizon_ms, value_parser = clap::value_parser!(u64).range(1_000..=600_000))]
    horizon_ms: u64,
    /// For `engine`: passes of the network over the data
    #[arg(long, default_value_t = Options::default().epochs)]
    epochs: usize,
    /// For `engine`: width of the recurrent state
    #[arg(long, default_value_t = Options::default().hidden, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=256))]
    hidden: usize,
    /// For `engine`: cores to train on
    #[arg(long, default_value_t = Options::default().jobs, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=64))]
    jobs: usize,
    /// For `engine`: a fault whose runs are all kept for the test (repeatable)
    #[arg(long = "hold-out", value_name = "FAULT")]
    held_out: Vec<String>,
    /// For `engine`: a load profile whose runs are all kept for the test (repeatable)
    #[arg(long = "hold-out-load", value_name = "PROFILE")]
    held_out_loads: Vec<String>,
    /// For `engine`: a day (UTC, YYYY-MM-DD) or an hour (YYYY-MM-DDTHH) whose runs are all kept for the test (repeatable)
    #[arg(long = "hold-out-date", value_name = "DATE")]
    held_out_dates: Vec<String>,
}

/// A model and its card; the built-in one if none is named. A folder named stands for the model in it.
pub fn load(named: Option<&Path>) -> Result<(Model, Option<Card>)> {
    let Some(named) = named else {
        return Ok((Model::default_model()?, Some(Card::of_default_model()?)));
    };
    let file = if named.is_dir() { named.join(MODEL) } else { named.to_owned() };
    let card = file.with_file_name(CARD);
    let model = Model::load(&file).with_context(|| format!("model {}", file.display()))?;
    eprintln!("model: {} from {}", model.description().name, file.display());
    let card = if card.exists() { Some(Card::read(&card)?) } else { None };
    let card = card.filter(|card| card.made.name == model.description().name);
    Ok((model, card))
}

/// Trains on recordings and writes the model with its card.
pub fn train(data: &Path, out: Option<&Path>, seed: u64, training: &EngineTraining) -> Result<()> {
    let folder = out.map_or_else(|| super::state("engine"), |out| Ok(out.to_owned()))?;
    let runs = recording::read(data)?;
    eprintln!("{} runs read from {}", runs.len(), data.display());
    let options = Options {
        name: training.name.clone(),
        note: training.note.clone(),
        seed,
        horizon_ms: training.horizon_ms,
        epochs: training.epochs,
        hidden: training.hidden,
        held_out: HeldOut {
            faults: training.held_out.clone(),
            profiles: training.held_out_loads.clone(),
            dates: training.held_out_dates.clone(),
        },
        jobs: training.jobs,
    };
    let mut bar = Bar::new();
    let trained = train::train(&runs, &options, &mut |progress: Progress| bar.show(progress))?;
    trained.save(&folder).with_context(|| folder.display().to_string())?;
    super::eval::print(&Report {
        figures: vec![trained.card.table()],
        notes: vec![format!("{MODEL}, {CARD} and {CARD_TEXT} written to {}", folder.display())],
    });
    Ok(())
}

/// Judges recordings into a CSV file.
pub fn evaluate(asked: Asked<'_>, named: Option<&Path>, progress: OnProgress<'_>) -> Result<Report> {
    let (model, card) = load(named)?;
    Ok(train::evaluate_recordings(&model, card.as_ref(), asked, progress)?)
}

/// Prints what the model sees at a moment of a run, and what drives its word.
pub fn explain(data: &Path, named: Option<&Path>, wanted: &str, at: Option<f64>) -> Result<()> {
    let (model, _) = load(named)?;
    let runs = recording::read(data)?;
    let Some(run) = runs.iter().find(|run| run.header.run == wanted) else {
        let some: Vec<&str> = runs.iter().take(8).map(|run| run.header.run.as_str()).collect();
        bail!("no run {wanted}: {}, …", some.join(", "));
    };
    let Some(at) = at else { bail!("say when: --at SECONDS after the run's first sample") };
    let first = run.samples.first().map_or(0, |sample| sample.at_ms);
    let until = first + (at.max(0.0) * 1e3) as u64;
    let mut predictor = Predictor::new(Arc::new(model));
    let Some(prediction) = predictor.follow(run, until) else { bail!("run {wanted} has no sample so early") };
    print(&mut predictor, &prediction, first);
    what_came(run, until);
    Ok(())
}

fn print(predictor: &mut Predictor, prediction: &Prediction, first: u64) {
    println!("{:.1} s after the first sample:", (prediction.at_ms - first) as f64 / 1e3);
    if prediction.quality != Quality::Good {
        println!("not to be relied on: {:?}", prediction.quality);
    }
    for o in prediction.outlook {
        let within = o.within_ms as f64 / 1e3;
        println!(
            "P(failure within {within} s) = {:.3}, between {:.3} and {:.3}",
            o.probability, o.low, o.high
        );
    }
    println!("{}", time_left(prediction));
    let mut header = vec!["metric", "log odds"];
    header.extend(FEATURE_NAMES);
    let mut table = Table::new(&header);
    for driver in predictor.explain().into_iter().flatten() {
        let place = driver.metric.index() * PER_METRIC;
        let block = &predictor.features()[place..place + PER_METRIC];
        let mut row = vec![driver.metric.name().to_owned(), format!("{:+.3}", driver.contribution)];
        row.extend(block.iter().map(|feature| format!("{feature:.2}")));
        table.row(row);
    }
    print!("{}", table.render("nothing drives it: all is as ever"));
}

/// When it fails, if it does, in words.
pub fn time_left(prediction: &Prediction) -> String {
    let seconds = |ms: u64| ms as f64 / 1e3;
    let horizon = seconds(prediction.horizon_ms);
    match prediction.time_left {
        None => format!("if it fails within {horizon} s: not known when"),
        Some(left) => format!(
            "if it fails within {horizon} s: in {} to {} s, nine times in ten",
            seconds(left.least_ms),
            seconds(left.most_ms)
        ),
    }
}

fn what_came(run: &Run, at_ms: u64) {
    let away = |then: u64| (then as f64 - at_ms as f64) / 1e3;
    println!("what came: {} ({})", run.header.fault, run.header.kind.name());
    for (what, then) in
        [("fault began", run.inject_ms()), ("failure", run.failure_ms()), ("death", run.death_ms())]
    {
        if let Some(then) = then {
            println!("  {what} {:+.1} s", away(then));
        }
    }
}

/// Prints a model's card.
pub fn card(named: Option<&Path>) -> Result<()> {
    let (model, card) = load(named)?;
    let Some(card) = card else {
        bail!("model {} has no card.json beside it", model.description().name);
    };
    println!("{}", card.markdown());
    Ok(())
}
