//! `foreshift show shifts`: what is moving now, how the traffic is split, and how buckets moved until now.

use super::switchover;
use super::table::Table;
use crate::api::status::{GroupStatus, MovesStatus, Status};
use crate::api::switchover::SwitchoverStatus;
use serde::Serialize;
use std::fmt::Write as _;

/// What is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shifts {
    /// The switchover whose traffic is on its way.
    pub shift: Option<SwitchoverStatus>,
    /// How each group's buckets are split.
    pub groups: Vec<GroupStatus>,
    /// How buckets moved.
    pub moves: MovesStatus,
}

impl Shifts {
    /// Of what an engine says of itself.
    pub fn of(status: &Status) -> Shifts {
        let Status { switchover, groups, moves, .. } = status.clone();
        Shifts { shift: switchover.filter(|s| s.moving), groups, moves }
    }
}

/// For a person.
pub fn shifts(s: &Shifts) -> String {
    let shift = |s: &SwitchoverStatus| format!("to {}: {}", s.target, switchover::line(s));
    let mut out = format!("{:<14} {}\n", "shift", s.shift.as_ref().map_or("none".to_owned(), shift));
    for group in &s.groups {
        let members: Vec<String> =
            group.members.iter().map(|member| format!("{} {}", member.tunnel, member.buckets)).collect();
        let _ = writeln!(out, "{:<14} {}", group.name, members.join(", "));
    }
    let m = &s.moves;
    let mut table = Table::new(&["buckets moved", "while"]);
    let kinds = [
        (m.idle, "idle for a second or more"),
        (m.gap, "pausing for longer than their paths differ"),
        (m.marked, "held behind a MARK, as they never paused"),
        (m.failed, "their tunnel had failed"),
    ];
    kinds.iter().for_each(|(many, why)| table.row([many.to_string(), (*why).to_owned()]));
    let marks = format!(
        "{} MARKs sent, {} answered; {} packets waited; {:.1} ms in all, {:.1} ms at most\n",
        m.marks_sent, m.marks_answered, m.packets_waited, m.wait_ms, m.wait_ms_max
    );
    format!("{out}\n{}\n{marks}", table.render(""))
}
