//! Trains the failure model from a folder of recordings.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use predictor::recording::read_dir;
use predictor::train::{HeldOut, Options, train};

/// Train the failure model: recordings in, model.safetensors, card.json and card.md out.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Folder of recordings (*.jsonl, one run each)
    #[arg(long)]
    data: PathBuf,
    /// Folder for the model and its card
    #[arg(long)]
    out: PathBuf,
    /// Seed; the same seed and data give the same model
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Predict a failure within this many milliseconds
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1_000..=600_000))]
    horizon_ms: u64,
    /// Passes of the network over the data
    #[arg(long, default_value_t = 24)]
    epochs: usize,
    /// Width of the recurrent state
    #[arg(long, default_value_t = 16, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=256))]
    hidden: usize,
    /// Name of the model in logs and cards
    #[arg(long, default_value = "default")]
    name: String,
    /// A remark for the card: where the data come from
    #[arg(long, default_value = "")]
    note: String,
    /// A fault whose runs are all kept for the test (repeatable)
    #[arg(long = "hold-out", value_name = "FAULT")]
    held_out: Vec<String>,
    /// A load profile whose runs are all kept for the test (repeatable)
    #[arg(long = "hold-out-load", value_name = "PROFILE")]
    held_out_loads: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let runs = read_dir(&args.data)?;
    eprintln!("{} runs read from {}", runs.len(), args.data.display());
    let options = Options {
        name: args.name,
        note: args.note,
        seed: args.seed,
        horizon_ms: args.horizon_ms,
        epochs: args.epochs,
        hidden: args.hidden,
        held_out: HeldOut { faults: args.held_out, profiles: args.held_out_loads },
    };
    let trained = train(&runs, &options, |line| eprintln!("{line}"))?;
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    trained.model.save(&args.out.join("model.safetensors"))?;
    let write = |name: &str, text: String| {
        let path = args.out.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    };
    write("card.json", serde_json::to_string_pretty(&trained.card)? + "\n")?;
    write("card.md", trained.card.markdown())?;
    println!("{}", trained.card.table());
    Ok(())
}
