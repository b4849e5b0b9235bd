//! Writes the features of recordings and what a model says of them, for other tools:
//! `export-features DATA MODEL OUT.f32 OUT.csv`.
//!
//! OUT.f32: rows of N_FEATURES little-endian floats. OUT.csv: of each row its run, time, scores and what the run was.
//! Prints the place of the first feature that knows no metric by name.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use predictor::recording::read_dir;
use predictor::train::{Series, outlooks_of};
use predictor::{HORIZONS, Model, NAMELESS};

fn main() -> anyhow::Result<()> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [data, model, features, rows] = args.as_slice() else {
        anyhow::bail!("export-features DATA MODEL OUT.f32 OUT.csv")
    };
    let model = Model::load(model)?;
    let (mut floats, mut table) =
        (BufWriter::new(File::create(features)?), BufWriter::new(File::create(rows)?));
    writeln!(
        table,
        "run,kind,fault,profile,at_ms,inject_ms,failure_ms,level,ewma,exhaustion,drift,p,low,high"
    )?;
    for run in read_dir(data)? {
        let series = Series::new(&run, model.description().horizon_ms);
        for value in &series.features {
            floats.write_all(&value.to_le_bytes())?;
        }
        let ms = |at: Option<u64>| at.map_or(-1, |at| at as i64);
        let what = format!("{},{},{},{}", series.run, series.kind.name(), series.fault, series.profile);
        let (inject, failure) = (ms(series.inject_ms), ms(series.failure_ms));
        let said = outlooks_of(&model, &series);
        for ((at, simple), outlook) in series.at_ms.iter().zip(&series.simple).zip(&said) {
            let o = outlook.ok_or_else(|| anyhow::anyhow!("the model gives no number"))?[HORIZONS - 1];
            write!(table, "{what},{at},{inject},{failure},{},{},", simple.level, simple.ewma)?;
            writeln!(table, "{},{},{},{},{}", simple.exhaustion, simple.drift, o.probability, o.low, o.high)?;
        }
    }
    println!("{NAMELESS}");
    Ok(())
}
