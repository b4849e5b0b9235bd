//! Writes the features that a ramp model sees, for other learners: `… --example ramp-features -- MODEL DIR` puts
//! `features.f32` (rows in the table's order) and `features.shape` (rows, features; 64-bit) beside the telemetry.

use std::path::PathBuf;

use anyhow::Context;
use predictor::ramp::{RampModel, read_folder};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let model = RampModel::load(&args.next().context("a model")?)?;
    let dir = args.next().context("a folder")?;
    let (telemetry, _) = read_folder(&dir)?;
    let mut table: Vec<Vec<f32>> = vec![Vec::new(); telemetry.rows()];
    for run in telemetry.runs() {
        model.features(&telemetry, run, |at, row| table[run.samples[at].row] = row.to_vec());
    }
    let width = table.iter().map(Vec::len).max().context("an empty table")?;
    // A row that another of the same minute replaces has none.
    table.iter_mut().filter(|row| row.is_empty()).for_each(|row| row.resize(width, f32::NAN));
    let bytes: Vec<u8> = table.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(dir.join("features.f32"), bytes)?;
    let shape = [table.len() as i64, width as i64];
    std::fs::write(dir.join("features.shape"), shape.map(i64::to_le_bytes).concat())?;
    Ok(())
}
