//! Writes the features of recordings for other tools: `export-features DATA OUT.f32 OUT.csv`.
//!
//! OUT.f32: rows of N_FEATURES little-endian floats. OUT.csv: of each row its run, time, label and what the run was.

use std::io::Write as _;
use std::path::PathBuf;

use predictor::recording::read_dir;
use predictor::train::Series;

fn main() -> anyhow::Result<()> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [data, features, rows] = args.as_slice() else { anyhow::bail!("export-features DATA OUT.f32 OUT.csv") };
    let mut floats = std::io::BufWriter::new(std::fs::File::create(features)?);
    let mut table = std::io::BufWriter::new(std::fs::File::create(rows)?);
    writeln!(table, "run,kind,fault,profile,started,at_ms,inject_ms,failure_ms,loss,ewma,drift")?;
    for run in read_dir(data)? {
        let series = Series::new(&run, 10_000);
        for value in &series.features {
            floats.write_all(&value.to_le_bytes())?;
        }
        for (at, simple) in series.at_ms.iter().zip(&series.simple) {
            let ms = |at: Option<u64>| at.map_or(-1, |at| at as i64);
            writeln!(
                table,
                "{},{},{},{},{},{at},{},{},{},{},{}",
                series.run,
                series.kind.name(),
                series.fault,
                series.profile,
                run.header.started_unix_ms,
                ms(series.inject_ms),
                ms(series.failure_ms),
                simple.loss,
                simple.ewma,
                simple.drift
            )?;
        }
    }
    Ok(())
}
