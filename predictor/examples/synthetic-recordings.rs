//! Writes synthetic recordings: `cargo run -p foreshift-predictor --example synthetic-recordings -- DIR [EACH] [SEED]`.
//! They exercise the pipeline where no engine has been recorded yet.

use std::fs::File;
use std::path::PathBuf;

use predictor::recording::Recorder;

#[path = "../tests/synthetic/mod.rs"]
mod synthetic;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().unwrap_or_else(|| "synthetic".into()));
    let each = args.next().map_or(Ok(7), |a| a.parse())?;
    let seed = args.next().map_or(Ok(1), |a| a.parse())?;
    std::fs::create_dir_all(&dir)?;
    for run in synthetic::runs(seed, each) {
        let file = File::create(dir.join(format!("{}.jsonl", run.header.run)))?;
        let mut recorder = Recorder::new(std::io::BufWriter::new(file), run.header)?;
        for sample in &run.samples {
            recorder.sample(sample)?;
        }
        for event in &run.events {
            recorder.event(event.at_ms, event.event, &event.detail)?;
        }
    }
    Ok(())
}
