//! `foreshift predict eval`: scores or forecasts for a folder of data, and their figures where it has labels.

use super::progress::Bar;
use crate::cli::table::Table;
use anyhow::Result;
use clap::{Args, ValueEnum};
use predictor::task::Report;
use predictor::train::Asked;
use predictor::{anomaly, forecast};
use std::path::PathBuf;

/// Score a folder of data: a value uses only rows before it
#[derive(Debug, Args)]
pub struct Arguments {
    /// What to compute
    #[arg(long, value_enum)]
    task: Task,
    /// The folder with the task's tables; for `engine` a folder of recordings or a packed file of them
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// The CSV file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The model of a task that is trained [default: where train wrote it; for `engine` the built-in one]
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// For `engine`: what other detectors said, to stand beside (CSV or Parquet: run, at_ms, then a column each)
    #[arg(long, value_name = "FILE")]
    beside: Option<PathBuf>,
    /// For `engine`: a folder for pictures (SVG) and the table (Markdown)
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Task {
    /// smd_telemetry.parquet → machine,index,score of the rows of part `test`
    Ad,
    /// nab.parquet → file,index,score
    Nab,
    /// traffic.parquet, traffic_meta.json → series,origin,h and quantiles
    Forecast,
    /// ramp_telemetry.parquet → run,node,minute,p
    Ramp,
    /// Recordings of engines → run,at_ms, and of each horizon the probability and its bounds
    Engine,
}

/// Writes the CSV file; the figures go to standard output, progress to standard error.
pub fn run(Arguments { task, data, out, model, beside, pictures }: &Arguments) -> Result<()> {
    let mut bar = Bar::new();
    let progress = &mut |progress: predictor::task::Progress| bar.show(progress);
    let report = match task {
        Task::Ad => anomaly::smd::evaluate(data, out, progress)?,
        Task::Nab => anomaly::nab::evaluate(data, out, progress)?,
        Task::Forecast => forecast::traffic::evaluate(data, out, progress)?,
        Task::Ramp => super::ramp::evaluate(data, out, model.as_deref(), progress)?,
        Task::Engine => {
            let asked = Asked { data, out, others: beside.as_deref(), pictures: pictures.as_deref() };
            super::engine::evaluate(asked, model.as_deref(), progress)?
        }
    };
    print(&report);
    Ok(())
}

/// Prints the tables and what else there is to say.
pub fn print(report: &Report) {
    for figures in &report.figures {
        let mut table = Table::new(&figures.header);
        figures.rows.iter().for_each(|row| table.row(row.clone()));
        println!("{}", table.render("no figures"));
    }
    report.notes.iter().for_each(|note| println!("{note}"));
}
