//! `foreshift predict`: detectors and models over recorded data.

mod eval;
mod progress;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Evaluate detectors and models on recorded data
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Eval(eval::Arguments),
}

/// Runs what was asked for.
pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::Eval(arguments) => eval::run(arguments),
    }
}
