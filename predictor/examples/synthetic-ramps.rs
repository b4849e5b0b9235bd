//! Writes made-up ramps of clusters as the ramp task reads them:
//! `cargo run -p foreshift-predictor --example synthetic-ramps -- benchmark DIR [SEED]`
//! (train/, unseen-kinds/, unseen-kinds-and-metrics/) or `… -- RUNS DIR [SEED]` (one folder, all kinds).

// The tests read what this writes to files.
#[allow(dead_code)]
#[path = "../tests/ramps/mod.rs"]
mod ramps;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use parquet::basic::{Compression, Repetition, Type as Physical, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, FloatType, Int32Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use ramps::faults::KINDS;
use ramps::{Made, Plan, make};

/// Kinds that the benchmark trains on; the others are held out.
const TRAINED: [&str; 7] =
    ["heap-leak", "mbuf-leak", "cpu-theft", "link-loss", "disk-fill", "error-climb", "abrupt"];

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (what, dir) =
        (args.next().context("benchmark, or a number of runs")?, args.next().context("a folder")?);
    let dir = PathBuf::from(dir);
    let seed: u64 = args.next().map_or(Ok(1), |seed| seed.parse())?;
    if what != "benchmark" {
        let all: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        return write(&dir, &make(&Plan::new(seed, what.parse().context("a number of runs")?, &all)));
    }
    let unseen: Vec<&str> =
        KINDS.iter().map(|kind| kind.name).filter(|kind| !TRAINED.contains(kind)).chain(["abrupt"]).collect();
    write(&dir.join("train"), &make(&Plan::new(seed, 60, &TRAINED)))?;
    write(&dir.join("unseen-kinds"), &make(&Plan::new(seed + 1000, 40, &unseen)))?;
    let other =
        Plan { metric_set: 2, per_category: (2, 6), nodes: (4, 24), ..Plan::new(seed + 2000, 25, &unseen) };
    write(&dir.join("unseen-kinds-and-metrics"), &make(&other))
}

fn write(dir: &Path, made: &Made) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let mut csv = String::from("run,fault,inject_minute,crash_minute,node_a,node_b\n");
    for (run, inject, crash) in &made.events {
        let minute = crash.minute.map_or_else(String::new, |minute| minute.to_string());
        let node = |nth: usize| crash.nodes.get(nth).map_or("", String::as_str);
        csv += &format!("{run},{},{inject},{minute},{},{}\n", crash.fault, node(0), node(1));
    }
    std::fs::write(dir.join("ramp_events.csv"), csv)?;
    telemetry(&dir.join("ramp_telemetry.parquet"), made)?;
    println!(
        "{}: {} rows, {} metrics, {} events",
        dir.display(),
        made.keys.len(),
        made.metrics.len(),
        made.events.len()
    );
    Ok(())
}

fn telemetry(path: &Path, made: &Made) -> anyhow::Result<()> {
    let field = |name: &str, physical| {
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::REQUIRED)
            .build()
            .map(Arc::new)
    };
    let mut fields = vec![field("run", Physical::BYTE_ARRAY)?, field("node", Physical::BYTE_ARRAY)?];
    fields.push(field("minute", Physical::INT32)?);
    for metric in &made.metrics {
        fields.push(field(metric, Physical::FLOAT)?);
    }
    let schema = Arc::new(Type::group_type_builder("telemetry").with_fields(fields).build()?);
    let properties =
        WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?)).build();
    let mut file = SerializedFileWriter::new(File::create(path)?, schema, Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    for text in [|key: &(String, String, i64)| key.0.clone(), |key: &(String, String, i64)| key.1.clone()] {
        let values: Vec<ByteArray> =
            made.keys.iter().map(|key| ByteArray::from(text(key).into_bytes())).collect();
        let mut column = group.next_column()?.context("a text column")?;
        column.typed::<ByteArrayType>().write_batch(&values, None, None)?;
        column.close()?;
    }
    let minutes: Vec<i32> = made.keys.iter().map(|key| key.2 as i32).collect();
    let mut column = group.next_column()?.context("the minutes")?;
    column.typed::<Int32Type>().write_batch(&minutes, None, None)?;
    column.close()?;
    for values in &made.columns {
        let mut column = group.next_column()?.context("a metric")?;
        column.typed::<FloatType>().write_batch(values, None, None)?;
        column.close()?;
    }
    group.close()?;
    file.close()?;
    Ok(())
}
