//! `foreshift show switchover` and `foreshift show checks`.

use super::show::duration;
use super::table::Table;
use crate::api::switchover::{CheckState, CheckStatus, CheckView, SwitchoverStatus};
use std::fmt::Write as _;

/// The switchover under way or watched, or the last one, with the stages that it came through.
pub fn switchover(s: Option<&SwitchoverStatus>) -> String {
    let Some(s) = s else { return "no switchover yet\n".to_owned() };
    let mut out =
        format!("decision {}, {}: {} -> {}, {}\n", s.decision, s.cause.name(), s.from, s.target, line(s));
    if let Some(waits_for) = &s.waits_for {
        // A String takes all that is written.
        let _ = writeln!(out, "waits for {waits_for}");
    }
    let mut table = Table::new(&["stage", "after", "why"]);
    for passage in &s.passages {
        let skipped = if passage.skipped { "skipped: " } else { "" };
        let name = passage.stage.name().replace('_', " ");
        table.row([name, duration(passage.after_ms), format!("{skipped}{}", passage.reason)]);
    }
    format!("{out}\n{}", table.render(""))
}

/// Where it is, in few words.
pub fn line(s: &SwitchoverStatus) -> String {
    let stage = s.stage.name().replace('_', " ");
    match (s.moving, s.ended_ms) {
        (true, _) => {
            let step = format!("step {} of {} ({} %)", s.step, s.steps, s.percent);
            format!("{stage}, {step}, since {}", duration(s.elapsed_ms))
        }
        (false, None) => format!("{stage} since {}", duration(s.stage_ms)),
        (false, Some(ended)) => format!("ended {} ago by {stage}", duration(ended)),
    }
}

/// The application checks, here and at the other engine.
pub fn checks(checks: &[CheckStatus]) -> String {
    let mut table = Table::new(&["check", "kind", "address", "group", "blocks", "here", "there"]);
    for check in checks {
        let blocks = if check.blocks { "yes" } else { "no" };
        table.row([
            check.name.clone(),
            check.kind.clone(),
            check.address.to_string(),
            check.group.clone().unwrap_or("-".to_owned()),
            blocks.to_owned(),
            view(&check.here),
            check.there.as_ref().map_or("-".to_owned(), view),
        ]);
    }
    table.render("no application checks")
}

fn view(view: &CheckView) -> String {
    let state = match view.state {
        CheckState::Unknown => "unknown",
        CheckState::Passing => "passing",
        CheckState::Failing => "FAILING",
    };
    let age = view.age_ms.map_or(String::new(), |ms| format!(", {} ago", duration(ms)));
    let reason = view.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    format!("{state}{age}{reason}")
}
