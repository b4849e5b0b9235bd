//! `foreshift drill`: a failover rehearsed on the running site, there and back, and what it cost.

use super::Engine;
use super::show::duration;
use super::table::Table;
use crate::api::Request;
use crate::api::status::{Decision, DropsStatus, OperatorCommand, Status};
use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use dataplane::drop_reason::DropReason;
use std::time::{Duration, Instant};

/// Rehearse a failover: the traffic goes to the standby and comes back, by the same steps as in earnest, and nothing is harmed
#[derive(Debug, Args)]
#[command(
    after_help = "Asked of the engine that owns the site. Its exit status is 0 if the site is back and no packet was dropped."
)]
pub struct Arguments {
    /// What is rehearsed
    #[arg(long, value_enum, default_value = "planned")]
    fault: Rehearsal,
    /// Seconds that the standby keeps the site
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    stay: u64,
    /// Seconds that each way may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
    #[command(flatten)]
    engine: Engine,
}

/// What is rehearsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rehearsal {
    /// A person drains the engine
    Planned,
    /// The model alarms: threshold, risk, budget, brake, capacity and the target are judged as in earnest
    Prediction,
}

const LOOK: Duration = Duration::from_millis(100);

/// Rehearses and reports.
pub fn run(arguments: &Arguments) -> Result<()> {
    let engine = &arguments.engine;
    let before: Status = engine.ask(&Request::Status)?;
    if !before.owner {
        let owner = before.site_owner.as_deref().unwrap_or("nobody known");
        bail!("site {} is owned by {owner}: rehearse there", before.site);
    }
    let dropped: DropsStatus = engine.ask(&Request::Drops)?;
    let known = engine.ask::<Vec<Decision>>(&Request::Decisions)?.last().map_or(0, |decision| decision.id);
    let command = match arguments.fault {
        Rehearsal::Planned => OperatorCommand::Drain { overrule: false },
        Rehearsal::Prediction => OperatorCommand::Rehearse,
    };
    let said: String = engine.ask(&Request::Command { command }).context("nothing was moved")?;
    println!("there    {said}");
    let there = until(arguments, false, known)?;
    println!("         {} owns the site after {}", there.1, duration(there.0.as_millis() as u64));
    std::thread::sleep(Duration::from_secs(arguments.stay));
    let back = come_back(arguments, known)?;
    println!("back     {} owns the site after {}", before.name, duration(back.as_millis() as u64));
    report(engine, &before, &dropped, known)
}

/// Asks for the site back until it is; an engine that has just given it away may have to wait.
fn come_back(arguments: &Arguments, known: u64) -> Result<Duration> {
    let begin = Instant::now();
    let patience = Duration::from_secs(arguments.patience);
    loop {
        let command = OperatorCommand::Undrain;
        match arguments.engine.ask::<String>(&Request::Command { command }) {
            Ok(_) => return until(arguments, true, known).map(|_| begin.elapsed()),
            Err(error) if begin.elapsed() > patience => {
                return Err(error.context("the site is still the standby's"));
            }
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

/// Waits until the engine owns the site, or does not; how long that took, and whose the site is.
fn until(arguments: &Arguments, owner: bool, known: u64) -> Result<(Duration, String)> {
    let (begin, patience) = (Instant::now(), Duration::from_secs(arguments.patience));
    loop {
        let status: Status = arguments.engine.ask(&Request::Status)?;
        if status.owner == owner {
            return Ok((begin.elapsed(), status.site_owner.unwrap_or_else(|| "nobody".to_owned())));
        }
        let given_up = news(&arguments.engine, known)?
            .into_iter()
            .find(|decision| decision.outcome == control::decision::Outcome::RolledBack);
        if let Some(decision) = given_up {
            bail!("decision {} was given up: {}; the traffic is where it was", decision.id, decision.rule);
        }
        if begin.elapsed() > patience {
            let what = if owner { "back" } else { "there" };
            bail!(
                "not {what} after {} s; see foreshift show shifts and foreshift show decisions",
                arguments.patience
            );
        }
        std::thread::sleep(LOOK);
    }
}

fn news(engine: &Engine, known: u64) -> Result<Vec<Decision>> {
    let decisions: Vec<Decision> = engine.ask(&Request::Decisions)?;
    Ok(decisions.into_iter().filter(|decision| decision.id > known).collect())
}

/// What was dropped meanwhile, how buckets moved, and what was decided.
fn report(engine: &Engine, before: &Status, dropped: &DropsStatus, known: u64) -> Result<()> {
    let (now, after): (Status, DropsStatus) = (engine.ask(&Request::Status)?, engine.ask(&Request::Drops)?);
    let lost = lost(dropped, &after);
    let mut table = Table::new(&["meanwhile", "count"]);
    let (m, b) = (&now.moves, &before.moves);
    let held = m.packets_waited.saturating_sub(b.packets_waited);
    for (name, count) in [
        ("packets transmitted", after.transmitted.saturating_sub(dropped.transmitted)),
        ("packets dropped", lost.iter().map(|(_, count)| count).sum()),
        ("buckets moved while idle", m.idle.saturating_sub(b.idle)),
        ("buckets moved in a gap", m.gap.saturating_sub(b.gap)),
        ("buckets moved behind a MARK", m.marked.saturating_sub(b.marked)),
        ("packets that waited for it", held),
    ] {
        table.row([name.to_owned(), count.to_string()]);
    }
    print!("\n{}", table.render(""));
    for (reason, count) in &lost {
        println!("  {count} dropped for {reason}");
    }
    println!("\ndecisions (foreshift explain ID tells more)");
    for decision in news(engine, known)? {
        println!("  #{} {}: {}", decision.id, decision.action, decision.rule);
    }
    if lost.is_empty() {
        Ok(())
    } else {
        bail!("packets were dropped meanwhile; by whom, foreshift show drops may tell")
    }
}

/// What ended under each reason between two accounts, of what did no work here.
fn lost(before: &DropsStatus, after: &DropsStatus) -> Vec<(String, u64)> {
    let was = |reason: &str| before.dropped.get(reason).copied().unwrap_or(0);
    let loss = |reason: &str| DropReason::from_name(reason).is_none_or(|reason| !reason.is_consumed());
    let lost = after.dropped.iter().filter(|(reason, _)| loss(reason));
    lost.map(|(reason, count)| (reason.clone(), count.saturating_sub(was(reason))))
        .filter(|(_, n)| *n > 0)
        .collect()
}
