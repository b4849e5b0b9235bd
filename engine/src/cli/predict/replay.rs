//! `foreshift predict replay`: a recording through the model and the rules once more, and what the engine decided at the time.

use super::engine;
use crate::config::Config;
use crate::plan::Plan;
use crate::runtime::assessment::assessment;
use anyhow::{Result, bail};
use clap::Args;
use control::Controller;
use control::config::{ControllerConfig, PredictionConfig};
use control::decision::{Decision, Outcome};
use control::io::{Input, Mode, Output};
use dataplane::id::Nanos;
use predictor::recording::{EventKind, Hearsay, Run};
use predictor::{FEATURE_NAMES, Metric, PER_METRIC, Prediction, Predictor};
use std::path::PathBuf;
use std::sync::Arc;

/// Replay a recording: each decision with its inputs, the features that drove it, and the rule
#[derive(Debug, Args)]
pub struct Arguments {
    /// The recording, JSON lines
    recording: PathBuf,
    /// The model [default: the built-in one]
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// The engine's configuration, for its threshold and weights [default: as without a section on prediction]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What is printed.
struct Line {
    at_ms: u64,
    text: String,
}

/// Prints what is decided now and what was decided then, in order of time.
pub fn run(arguments: &Arguments) -> Result<()> {
    let run = Run::read(&arguments.recording)?;
    let Some(first) = run.samples.first().map(|sample| sample.at_ms) else {
        bail!("{}: no sample in it", arguments.recording.display());
    };
    let (model, _) = engine::load(arguments.model.as_deref())?;
    let prediction = match &arguments.config {
        Some(path) => Plan::from_config(&Config::load(path)?).controller.prediction,
        None => PredictionConfig::default(),
    };
    let mut lines = decided(&run, model, prediction);
    lines.extend(recorded(&run));
    lines.sort_by_key(|line| line.at_ms);
    for line in &lines {
        println!("{:+9.3} s  {}", (line.at_ms as f64 - first as f64) / 1e3, line.text);
    }
    if lines.is_empty() {
        println!("nothing was decided, then or now");
    }
    Ok(())
}

/// What the rules make of the recording now. The controller has nobody to move traffic to: it says what it would act on.
fn decided(run: &Run, model: predictor::Model, prediction: PredictionConfig) -> Vec<Line> {
    let alarm_from = model.description().alarm_from;
    let mut controller = Controller::new(alone(&run.header.run, prediction));
    let mut predictor = Predictor::new(Arc::new(model));
    let (mut peers, mut lines, mut out) = (Hearsay::new(run), Vec::new(), Vec::new());
    for sample in &run.samples {
        peers.until(sample.at_ms).inspect(|vitals| predictor.hear(vitals));
        let said = predictor.push(sample);
        let busy = sample.get(Metric::BusyShare).unwrap_or(f32::NAN);
        let assessment = assessment(&said, alarm_from, busy);
        let input = Input::Assessment(assessment);
        controller.step(Nanos::from_millis(sample.at_ms), Some(input), &mut out);
        for output in out.drain(..) {
            if let Output::Decision(decision) = output
                && decision.outcome == Outcome::Observed
            {
                lines.push(Line { at_ms: sample.at_ms, text: explained(&decision, &said, &predictor) });
            }
        }
    }
    lines
}

/// A controller without peers.
fn alone(name: &str, prediction: PredictionConfig) -> ControllerConfig {
    ControllerConfig {
        prediction: PredictionConfig { mode: Mode::Observe, ..prediction },
        ..ControllerConfig::alone(name, "replayed")
    }
}

fn explained(decision: &Decision, said: &Prediction, predictor: &Predictor) -> String {
    let mut text = format!("replayed: {}", worded(decision));
    for o in said.outlook {
        let within = o.within_ms as f64 / 1e3;
        text += &format!(
            "\n             P(failure within {within} s) = {:.3}, between {:.3} and {:.3}",
            o.probability, o.low, o.high
        );
    }
    text += &format!("\n             {}", engine::time_left(said));
    for driver in said.drivers.iter().flatten() {
        let place = driver.metric.index() * PER_METRIC;
        let block = &predictor.features()[place..place + PER_METRIC];
        let block: Vec<String> =
            FEATURE_NAMES.iter().zip(block).map(|(name, value)| format!("{name} {value:.2}")).collect();
        text +=
            &format!("\n             {} {:+.3}: {}", driver.metric, driver.contribution, block.join(", "));
    }
    text
}

fn worded(decision: &Decision) -> String {
    let inputs: Vec<String> = decision.inputs.iter().map(|(name, value)| format!("{name} {value}")).collect();
    format!(
        "{} ({:?})\n             rule: {}\n             from: {}",
        decision.action,
        decision.outcome,
        decision.rule,
        inputs.join(", ")
    )
}

/// What the recording says was decided, and what happened.
fn recorded(run: &Run) -> impl Iterator<Item = Line> {
    run.events.iter().map(|event| {
        let text = match (event.event, serde_json::from_str::<Decision>(&event.detail)) {
            (EventKind::Decision, Ok(decision)) => format!("decided then: {}", worded(&decision)),
            (kind, _) => format!("{kind:?}: {}", event.detail),
        };
        Line { at_ms: event.at_ms, text }
    })
}
