//! `foreshift explain`: why something moved, or did not; what it points to, what came of it, and what would have helped.

mod cause;

use super::Engine;
use super::show::duration;
use crate::api::Request;
use crate::api::status::{Decision, Status};
use anyhow::{Result, bail};
use cause::Cause;
use clap::Args;
use control::decision::Outcome;
use std::fmt::Write as _;

/// Say why something moved: inputs, features, rule, what came of it, the likely cause and what to change
#[derive(Debug, Args)]
pub struct Arguments {
    /// Its number in `foreshift show decisions` [default: the last move of traffic or ownership]
    #[arg(value_name = "ID")]
    decision: Option<u64>,
    #[command(flatten)]
    engine: Engine,
}

/// Decisions this long after one are told as what came of it, milliseconds.
const AFTER_MS: u64 = 60_000;
/// An alarm this long before a takeover foretold it, milliseconds.
const BEFORE_MS: u64 = 60_000;

/// Asks and prints.
pub fn run(arguments: &Arguments) -> Result<()> {
    let decisions: Vec<Decision> = arguments.engine.ask(&Request::Decisions)?;
    let status: Status = arguments.engine.ask(&Request::Status)?;
    let place = match arguments.decision {
        Some(id) => decisions.iter().position(|decision| decision.id == id),
        None => decisions.iter().rposition(is_move),
    };
    match (place, arguments.decision) {
        (Some(place), _) => print!("{}", explained(&decisions, place, &status)),
        (None, None) => println!("nothing was moved yet"),
        (None, Some(id)) => match (decisions.first(), decisions.last()) {
            (Some(first), Some(last)) => {
                bail!(
                    "decision {id} is not known: {} to {} are kept; see foreshift show decisions",
                    first.id,
                    last.id
                )
            }
            _ => bail!("decision {id} is not known: nothing was decided yet"),
        },
    }
    Ok(())
}

fn is_move(decision: &Decision) -> bool {
    ["shift", "handover", "takeover", "own site", "gateway"]
        .iter()
        .any(|word| decision.action.starts_with(word))
}

/// The whole story of the decision at `place`.
pub fn explained(decisions: &[Decision], place: usize, status: &Status) -> String {
    let decision = &decisions[place];
    let ago = status.uptime_ms.saturating_sub(decision.at.as_millis());
    let mut out = format!(
        "decision {}, {} ago: {} ({})\n",
        decision.id,
        duration(ago),
        decision.action,
        word(decision)
    );
    let mut say = |name: &str, text: &str| {
        if !text.is_empty() {
            let _ = writeln!(out, "  {name:<12} {text}");
        }
    };
    say("rule", &decision.rule);
    let (drivers, inputs): (Vec<_>, Vec<_>) =
        decision.inputs.iter().partition(|(name, _)| name.starts_with(cause::DRIVER));
    let pairs = |of: &[&(String, String)], cut: &str| {
        let one =
            |(name, value): &&(String, String)| format!("{} {value}", name.strip_prefix(cut).unwrap_or(name));
        of.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    say("inputs", &pairs(&inputs, ""));
    say("driven by", &pairs(&drivers, cause::DRIVER));
    let before = alarm_before(decisions, place);
    let cause = Cause::of(decision, before);
    say("points to", &cause.told());
    for (at, later) in after(decisions, place).enumerate() {
        let passed = (later.at.as_millis() - decision.at.as_millis()) as f64 / 1e3;
        let text = format!("+{passed:.1} s #{} {} ({}): {}", later.id, later.action, word(later), later.rule);
        say(if at == 0 { "then" } else { "" }, &text);
    }
    let owner = status.site_owner.as_deref().unwrap_or("nobody known");
    say("now", &format!("site {} is owned by {owner}, epoch {}", status.site, status.epoch));
    say("to change", &cause.proposal(decision, after(decisions, place)));
    out
}

/// The decision that an alarm led to, not long before the one at `place`.
fn alarm_before(decisions: &[Decision], place: usize) -> Option<&Decision> {
    let decision = &decisions[place];
    let recent = |d: &&Decision| decision.at.since(d.at).as_millis() <= BEFORE_MS;
    decisions[..place].iter().rev().take_while(recent).find(|d| d.rule.starts_with("probability"))
}

fn after(decisions: &[Decision], place: usize) -> impl Iterator<Item = &Decision> {
    let at = decisions[place].at;
    decisions[place + 1..].iter().take_while(move |d| d.at.since(at).as_millis() <= AFTER_MS)
}

fn word(decision: &Decision) -> &'static str {
    match decision.outcome {
        Outcome::Done => "done",
        Outcome::Proposed => "proposed",
        Outcome::Observed => "not carried out",
        Outcome::RolledBack => "given up",
    }
}

#[cfg(test)]
mod tests;
