//! `foreshift predict`: detectors and models over recorded data.

mod eval;
mod progress;
mod ramp;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Evaluate detectors and models on recorded data
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
        /// The folder with the task's tables
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// The model's file to write [default: foreshift/ramp.model in the user's state folder]
        #[arg(long, value_name = "FILE")]
        model: Option<PathBuf>,
        #[command(flatten)]
        training: ramp::Training,
    },
    /// Say what drove a prediction
    Explain {
        /// What was predicted
        #[arg(long, value_enum)]
        task: Trainable,
        /// The folder with the task's tables
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// The model's file [default: where train wrote it]
        #[arg(long, value_name = "FILE")]
        model: Option<PathBuf>,
        #[command(flatten)]
        place: ramp::Place,
    },
    /// Print what a model was made from and how good it is
    Card {
        /// What it predicts
        #[arg(long, value_enum)]
        task: Trainable,
        /// The model's file [default: where train wrote it]
        #[arg(long, value_name = "FILE")]
        model: Option<PathBuf>,
    },
}

/// Tasks with a model that is trained.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Trainable {
    /// ramp_telemetry.parquet and ramp_events.csv: crashes of a cluster's nodes
    Ramp,
}

/// Runs what was asked for.
pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::Eval(arguments) => eval::run(arguments),
        Command::Train { task: Trainable::Ramp, data, model, training } => {
            ramp::train(data, model.as_deref(), training)
        }
        Command::Explain { task: Trainable::Ramp, data, model, place } => {
            ramp::explain(data, model.as_deref(), place)
        }
        Command::Card { task: Trainable::Ramp, model } => ramp::card(model.as_deref()),
    }
}
