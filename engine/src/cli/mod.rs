//! The command line.

mod access;
mod check;
mod cluster;
mod config;
mod drill;
mod explain;
mod mirror;
mod observe;
mod predict;
mod remote;
mod routes;
mod shadow;
mod shifts;
mod show;
mod switchover;
mod table;
#[cfg(test)]
mod tests;

use crate::api::faults::Fault;
use crate::api::status::Mode;
use crate::plan::Plan;
use crate::site::Start;
use crate::{bench, load, peer, runtime};
use anyhow::Result;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// A DPDK gateway that moves its traffic before it fails
#[derive(Debug, Parser)]
#[command(name = "foreshift", version, arg_required_else_help = true, color = clap::ColorChoice::Never)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the engine until SIGINT or SIGTERM
    Run(RunArguments),
    /// Find every error in a configuration
    Check(File),
    /// Show what the running engine is doing
    Show(show::Arguments),
    /// Show packets' ways through the stages of the walk, with every verdict
    #[command(after_help = observe::FILTER_HELP)]
    Trace(observe::TraceArguments),
    /// Capture packets of a port, a tunnel or a drop reason as pcapng
    #[command(after_help = observe::FILTER_HELP)]
    Capture(observe::CaptureArguments),
    /// Move all traffic to the standby, gradually
    Drain {
        /// Whatever mirrored traffic and application checks say against it
        #[arg(long)]
        overrule: bool,
        #[command(flatten)]
        engine: Engine,
    },
    /// Take the traffic back, on the engine that was drained
    Undrain(Engine),
    Drill(drill::Arguments),
    Explain(explain::Arguments),
    /// Carry out a decision that waits for a person (prediction mode `approve`)
    Approve {
        /// Its number in `foreshift show decisions`
        #[arg(value_name = "ID")]
        decision: u64,
        #[command(flatten)]
        engine: Engine,
    },
    /// Change how far prediction may go by itself, until the engine restarts
    Mode {
        #[arg(value_enum)]
        mode: ModeName,
        #[command(flatten)]
        engine: Engine,
    },
    /// Show and change what the engines of a site run alike
    Config(config::Arguments),
    /// Change and list the routes of the running engine
    Routes(routes::Arguments),
    Predict(predict::Arguments),
    /// Harm the running engine on purpose, where its configuration says `debug.faults = true`
    Fault {
        #[arg(value_enum)]
        fault: Fault,
        /// How much of it, in its own unit; 0 ends it
        level: u64,
        #[command(flatten)]
        engine: Engine,
    },
    /// Set the rate of a tunnel's shaper, until the engine restarts
    Shape {
        /// The tunnel's name
        tunnel: String,
        /// Kilobits a second
        kbps: u64,
        /// One of its classes in place of the whole
        #[arg(long, value_name = "NAME")]
        class: Option<String>,
        #[command(flatten)]
        engine: Engine,
    },
    Bench(bench::Arguments),
    BenchFib(bench::fib::Arguments),
    BenchShadow(bench::shadow::Arguments),
    Load(load::Arguments),
    /// Make a lab's CA and a certificate for each engine
    Pki {
        /// Where ca.pem, ca.key, NAME.pem and NAME.key go
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// An engine; once for each
        #[arg(long, value_name = "NAME", required = true)]
        name: Vec<String>,
        /// Replace certificates that are there
        #[arg(long)]
        force: bool,
    },
    /// Print a shell's completions
    Completions {
        #[arg(value_enum)]
        shell: Shell,
    },
}

#[derive(Debug, Args)]
struct File {
    /// The configuration, TOML
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct RunArguments {
    #[command(flatten)]
    file: File,
    /// Follow the process of this engine that runs, with its sessions, SAs and neighbours; it ends. Without one: an
    /// ordinary start
    #[arg(long)]
    take_over: bool,
}

/// Which running engine.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Engine {
    /// The engine's API socket
    #[arg(short, long, value_name = "SOCKET")]
    socket: Option<PathBuf>,
    /// Or its configuration, which names the socket
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeName {
    /// Record what would have been done
    Observe,
    /// Propose; a person approves
    Approve,
    /// Act
    Auto,
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Mode {
        match name {
            ModeName::Observe => Mode::Observe,
            ModeName::Approve => Mode::Approve,
            ModeName::Auto => Mode::Auto,
        }
    }
}

/// Runs what the command line asks for.
pub fn main() -> Result<ExitCode> {
    use crate::api::status::OperatorCommand as Operator;
    match Cli::parse().command {
        Command::Run(RunArguments { file: File { config }, take_over }) => {
            run(Start::load(&config, take_over)?, take_over)?;
        }
        Command::Check(File { config }) => return Ok(check::run(&config)),
        Command::Show(arguments) => show::run(&arguments)?,
        Command::Trace(arguments) => observe::trace(&arguments)?,
        Command::Capture(arguments) => observe::capture(&arguments)?,
        Command::Drain { overrule, engine } => remote::command(&engine, Operator::Drain { overrule })?,
        Command::Undrain(engine) => remote::command(&engine, Operator::Undrain)?,
        Command::Drill(arguments) => drill::run(&arguments)?,
        Command::Explain(arguments) => explain::run(&arguments)?,
        Command::Approve { decision, engine } => remote::command(&engine, Operator::Approve { decision })?,
        Command::Mode { mode, engine } => remote::command(&engine, Operator::SetMode { mode: mode.into() })?,
        Command::Config(arguments) => config::run(&arguments)?,
        Command::Routes(arguments) => routes::run(&arguments)?,
        Command::Predict(arguments) => predict::run(&arguments)?,
        Command::Fault { fault, level, engine } => remote::fault(&engine, fault, level)?,
        Command::Shape { tunnel, kbps, class, engine } => remote::shape(&engine, tunnel, class, kbps)?,
        Command::Bench(arguments) => bench::command(&arguments)?,
        Command::BenchFib(arguments) => bench::fib::command(&arguments)?,
        Command::BenchShadow(arguments) => bench::shadow::command(&arguments)?,
        Command::Load(arguments) => load::command(&arguments)?,
        Command::Pki { out, name, force } => pki(&out, &name, force)?,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "foreshift", &mut io::stdout());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run(Start { config, site }: Start, take_over: bool) -> Result<()> {
    let plan = Plan::from_config(&config);
    start_log(plan.log_level.as_str());
    for doubt in config.warnings() {
        tracing::warn!("{doubt}");
    }
    runtime::run(plan, site.map(|site| (site, config)), take_over)
}

/// To standard error; `RUST_LOG` overrides the configured level.
fn start_log(level: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).init();
}

fn pki(out: &std::path::Path, names: &[String], force: bool) -> Result<()> {
    let made = peer::pki::run(out, names, force)?;
    let kept = if made.ca_reused { " (was there)" } else { "" };
    println!("ca     {}{kept}", made.ca.display());
    for (name, cert, key) in made.engines {
        println!("{name:<6} {}  {}", cert.display(), key.display());
    }
    Ok(())
}
