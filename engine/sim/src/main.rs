//! `foreshift-sim --seeds N --from S`: runs seeds and says which broke a rule, and how.

use sim::scenario::{self, Hazards};
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: sim [--seeds N] [--from S]   (default: 100 seeds from 0)";
/// Failing seeds told in full.
const TOLD: usize = 5;
/// Seeds between two lines of progress.
const PROGRESS: u64 = 100;

fn main() -> ExitCode {
    let Some((seeds, from)) = arguments(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let (commit, begun) = (scenario::commit(), Instant::now());
    let (mut failed, mut simulated_ms, mut delivered, mut sealed) = (Vec::new(), 0, 0, 0);
    let mut hazards = Hazards::default();
    for seed in from..from.saturating_add(seeds) {
        let outcome = scenario::run(seed);
        simulated_ms += outcome.simulated_ms;
        delivered += outcome.delivered;
        sealed += outcome.sealed;
        hazards.add(outcome.hazards);
        if let Some(first) = outcome.violations.first() {
            if failed.len() < TOLD {
                println!("seed {seed}, commit {commit}: {:?}: {}", first.rule, first.what);
                println!("  replay: scripts/sim --seeds 1 --from {seed}");
                for violation in &outcome.violations {
                    println!("{:>7} ms! {:?}: {}", violation.at.as_millis(), violation.rule, violation.what);
                }
                println!("{}", outcome.story);
            }
            failed.push(seed);
        }
        let done = seed - from + 1;
        if done.is_multiple_of(PROGRESS) || done == seeds {
            println!("{done}/{seeds} seeds, {} failed, {:.0} s", failed.len(), begun.elapsed().as_secs_f64());
        }
    }
    println!(
        "{seeds} seeds from {from}, commit {commit}: {} failed; {} s simulated, {delivered} packets delivered to hosts, \
         {:.1} s\n{sealed} packets sealed with {hazards}: what was used twice under one key is among the failures",
        failed.len(),
        simulated_ms / 1000,
        begun.elapsed().as_secs_f64()
    );
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {failed:?}");
    ExitCode::FAILURE
}

fn arguments(mut given: impl Iterator<Item = String>) -> Option<(u64, u64)> {
    let (mut seeds, mut from) = (100, 0);
    while let Some(option) = given.next() {
        let value = given.next()?.parse().ok()?;
        match option.as_str() {
            "--seeds" => seeds = value,
            "--from" => from = value,
            _ => return None,
        }
    }
    Some((seeds, from))
}
