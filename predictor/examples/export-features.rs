//! Writes the features of recordings for other learners: `export-features DATA CARD OUT.f32 OUT.csv`.
//!
//! OUT.f32: rows of N_FEATURES little-endian floats. OUT.csv: of each row its run and time, whether the card's model was trained on
//! the run, and the label (1: a failure follows within the horizon, or has begun; 0: none; -1: nothing to be learnt).
//! Prints the place of the first feature that knows no metric by name.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use predictor::NAMELESS;
use predictor::recording::{self, RunKind};
use predictor::train::{Card, Label, Series};

fn main() -> anyhow::Result<()> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [data, card, features, rows] = args.as_slice() else {
        anyhow::bail!("export-features DATA CARD OUT.f32 OUT.csv")
    };
    let card = Card::read(card)?;
    let (mut floats, mut table) =
        (BufWriter::new(File::create(features)?), BufWriter::new(File::create(rows)?));
    writeln!(table, "run,at_ms,trains,label")?;
    for series in Series::all(&recording::read(data)?, card.made.horizon_ms) {
        let trains = u8::from(card.split.train.contains(&series.run));
        for value in &series.features {
            floats.write_all(&value.to_le_bytes())?;
        }
        for (at, label) in series.at_ms.iter().zip(&series.labels) {
            let label = match label {
                Label::Failing | Label::Failed => 1,
                Label::Healthy => 0,
                Label::Ignored => -1,
            };
            // What has no warning can teach nothing.
            let label = if series.kind == RunKind::Abrupt { -1 } else { label };
            writeln!(table, "{},{at},{trains},{label}", series.run)?;
        }
    }
    println!("{NAMELESS}");
    Ok(())
}
