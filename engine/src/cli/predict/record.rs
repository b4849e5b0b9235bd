//! `foreshift predict record`: telemetry of a running engine into a recording.

use super::Engine;
use super::progress::Bar;
use crate::api::Request;
use crate::api::status::{Decision, Measured, Status};
use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use predictor::lifecycle::{self, SloWatch};
use predictor::recording::{EventKind, Recorder, RunHeader, RunKind};
use predictor::task::Progress;
use predictor::{TelemetrySample, from_values};
use std::fs::File;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often the engine is asked; it remembers twelve seconds.
const ASK: Duration = Duration::from_secs(1);

/// Record a running engine's telemetry and decisions (recordings with faults on purpose: scripts/record-faults)
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    engine: Engine,
    /// The recording to write, JSON lines; its name is the run's
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How long
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// What the run is to show
    #[arg(long, value_enum, default_value = "calm")]
    kind: Kind,
    /// The kind of fault, or of calm
    #[arg(long, default_value = "none")]
    fault: String,
    /// How the load goes
    #[arg(long, default_value = "")]
    profile: String,
    /// A remark for the header
    #[arg(long, default_value = "")]
    note: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Nothing is done to the engine
    Calm,
    /// A fault that grows until something fails
    Ramp,
    /// A fault that grows and stops short of failure
    StoppedShort,
    /// A fault without warning
    Abrupt,
}

/// Asks, and writes what is new, until the time is over.
pub fn run(arguments: &Arguments) -> Result<()> {
    let status: Status = arguments.engine.ask(&Request::Status)?;
    let kind = match arguments.kind {
        Kind::Calm => RunKind::Calm,
        Kind::Ramp => RunKind::Ramp,
        Kind::StoppedShort => RunKind::StoppedShort,
        Kind::Abrupt => RunKind::Abrupt,
    };
    let out = &arguments.out;
    let run = out.file_stem().map_or("run".into(), |stem| stem.to_string_lossy().into_owned());
    let mut header = RunHeader::new(run, kind, arguments.fault.clone(), status.unix_ms);
    header.profile.clone_from(&arguments.profile);
    header.note = format!("engine {} {}", status.name, arguments.note).trim().to_owned();
    let named = || out.display().to_string();
    let mut recorder = Recorder::new(File::create(out).with_context(named)?, header).with_context(named)?;
    let (mut seen, mut samples, mut bar) = (Seen::new(&status), 0, Bar::new());
    let (started, length) = (Instant::now(), Duration::from_secs(arguments.seconds));
    while started.elapsed() < length {
        sleep(ASK.min(length.saturating_sub(started.elapsed())));
        samples += seen.write_new(&arguments.engine, &mut recorder).with_context(named)?;
        let done = started.elapsed().as_secs().min(arguments.seconds) as usize;
        bar.show(Progress { what: "recorded seconds", done, total: arguments.seconds as usize });
    }
    recorder.event(seen.at_ms, EventKind::End, "").with_context(named)?;
    println!("{samples} samples written to {}", out.display());
    Ok(())
}

/// What has been written.
struct Seen {
    at_ms: u64,
    decision: u64,
    /// UNIX time at zero of the engine's clock (ms).
    zero_ms: u64,
    /// By the engine's own measure a failure is written down: without one, a recording teaches calm.
    slo: SloWatch,
}

impl Seen {
    fn new(status: &Status) -> Seen {
        let zero_ms = status.unix_ms.saturating_sub(status.uptime_ms);
        Seen { at_ms: status.unix_ms, decision: 0, zero_ms, slo: SloWatch::default() }
    }

    /// How many samples were new.
    fn write_new(&mut self, engine: &Engine, recorder: &mut Recorder<File>) -> Result<usize> {
        let new: Vec<Measured> = engine.ask(&Request::Telemetry { since_ms: self.at_ms })?;
        for measured in &new {
            if let Some(z) = &measured.peers_z {
                recorder.peers(measured.at_ms, &from_values(z))?;
            }
            let sample = TelemetrySample { at_ms: measured.at_ms, metrics: from_values(&measured.values) };
            recorder.sample(&sample)?;
            if let lifecycle::Seen::Failed(kind) = self.slo.push(&sample) {
                recorder.event(sample.at_ms, kind, "measured by the engine itself")?;
            }
            self.at_ms = measured.at_ms;
        }
        let decisions: Vec<Decision> = engine.ask(&Request::Decisions)?;
        let known = self.decision;
        for decision in decisions.iter().filter(|decision| decision.id > known) {
            self.decision = decision.id;
            let at_ms = self.zero_ms + decision.at.as_millis();
            recorder.event(at_ms, EventKind::Decision, &serde_json::to_string(decision)?)?;
        }
        Ok(new.len())
    }
}
