//! `foreshift predict`: detectors and models over recorded data.

mod engine;
mod eval;
mod models;
mod progress;
mod ramp;
mod record;
mod replay;

use crate::cli::Engine;
use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Train, evaluate, explain and keep the models that foresee failures
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Eval(eval::Arguments),
    /// Train a model from recorded data, and say how it does on what it was not shown
    Train {
        /// What to train for
        #[arg(long, value_enum)]
        task: Trainable,
        /// The folder with the task's tables; for `engine` a folder of recordings or a packed file of them
        #[arg(long, value_name = "PATH")]
        data: PathBuf,
        /// The model to write: a file for `ramp`, a folder for `engine` [default: in foreshift/ of the user's state folder]
        #[arg(long, value_name = "PATH")]
        model: Option<PathBuf>,
        /// Seed: the same seed and data give the same model
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[command(flatten)]
        ramp: ramp::Training,
        #[command(flatten)]
        engine: Box<engine::EngineTraining>,
    },
    /// Say what drove a prediction
    Explain {
        /// What was predicted
        #[arg(long, value_enum)]
        task: Trainable,
        /// The folder with the task's tables; for `engine` a folder of recordings or a packed file of them
        #[arg(long, value_name = "PATH")]
        data: PathBuf,
        /// The model [default: where train wrote it; for `engine` the built-in one]
        #[arg(long, value_name = "PATH")]
        model: Option<PathBuf>,
        /// The run
        #[arg(long)]
        run: String,
        #[command(flatten)]
        place: ramp::Place,
        /// For `engine`: how long after the run's first sample, in seconds
        #[arg(long, value_name = "SECONDS")]
        at: Option<f64>,
    },
    /// Print what a model was made from and how good it is
    Card {
        /// What it predicts
        #[arg(long, value_enum)]
        task: Trainable,
        /// The model [default: where train wrote it; for `engine` the built-in one]
        #[arg(long, value_name = "PATH")]
        model: Option<PathBuf>,
    },
    Record(record::Arguments),
    /// Train a challenger on an engine's own history, and keep it if it is better on the newest part (what the running engine does by
    /// itself now and then)
    Retrain {
        #[command(flatten)]
        store: models::StoreFolder,
        /// The engine's history
        #[arg(long, value_name = "DIR")]
        history: PathBuf,
        /// Other recordings to train on: a folder, or a packed file of them
        #[arg(long, value_name = "PATH")]
        recordings: Option<PathBuf>,
    },
    /// List the models that an engine keeps
    Models {
        #[command(flatten)]
        store: models::StoreFolder,
    },
    /// Make a kept model the one in use again; a running engine takes it up by itself
    Rollback {
        /// Its name
        name: String,
        #[command(flatten)]
        store: models::StoreFolder,
    },
    Replay(replay::Arguments),
}

/// Tasks with a model that is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Trainable {
    /// Recordings of engines: their failures
    Engine,
    /// ramp_telemetry.parquet and ramp_events.csv: crashes of a cluster's nodes
    Ramp,
}

/// Runs what was asked for.
pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::Eval(arguments) => eval::run(arguments),
        Command::Train { task: Trainable::Ramp, data, model, seed, ramp, .. } => {
            ramp::train(data, model.as_deref(), *seed, ramp)
        }
        Command::Train { task: Trainable::Engine, data, model, seed, engine, .. } => {
            engine::train(data, model.as_deref(), *seed, engine)
        }
        Command::Explain { task: Trainable::Ramp, data, model, run, place, .. } => {
            ramp::explain(data, model.as_deref(), run, place)
        }
        Command::Explain { task: Trainable::Engine, data, model, run, at, .. } => {
            engine::explain(data, model.as_deref(), run, *at)
        }
        Command::Card { task: Trainable::Ramp, model } => ramp::card(model.as_deref()),
        Command::Card { task: Trainable::Engine, model } => engine::card(model.as_deref()),
        Command::Record(arguments) => record::run(arguments),
        Command::Retrain { store, history, recordings } => {
            models::retrain(store, history, recordings.as_deref())
        }
        Command::Models { store } => models::list(store),
        Command::Rollback { name, store } => models::rollback(name, store),
        Command::Replay(arguments) => replay::run(arguments),
    }
}

/// A place below `foreshift/` in the user's state folder.
fn state(name: &str) -> Result<PathBuf> {
    use anyhow::Context as _;
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    let state = state.context("neither XDG_STATE_HOME nor HOME is set: name the model with --model")?;
    Ok(state.join("foreshift").join(name))
}
