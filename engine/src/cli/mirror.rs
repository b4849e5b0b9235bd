//! Mirrored traffic, for a person.

use super::table::Table;
use crate::api::mirror::{MirrorReport, MirrorStatus, MirroringStatus};
use control::mirror::CLASSES;
use std::fmt::Write as _;

/// What is mirrored, and what came of it.
pub fn mirror(status: &Option<MirrorStatus>) -> String {
    let Some(s) = status else { return "nothing is mirrored: there is no [mirror]\n".to_owned() };
    let mut out = String::new();
    if let Some(active) = &s.active {
        mirroring(&mut out, active);
        match &active.report {
            Some(found) => report(&mut out, found),
            None => out.push_str("verdicts   none yet\n"),
        }
    }
    if let (Some(from), Some(found)) = (&s.from, &s.found) {
        // A String takes all that is written.
        let _ = writeln!(out, "mirrored   here by {from}");
        report(&mut out, found);
    }
    if out.is_empty() {
        out.push_str("this engine does not own its site, and nobody mirrors here\n");
    }
    out
}

fn mirroring(out: &mut String, s: &MirroringStatus) {
    let state = if s.up { "up" } else { "NOT CONNECTED" };
    let _ = writeln!(out, "mirror     to {}, {state}", s.peer);
    let (now, most) = (s.share * 100.0, s.share_max * 100.0);
    let _ = writeln!(
        out,
        "share      {now:.2} % of the flows, {most:.2} % if the budget allows, choice {}",
        s.epoch
    );
    let _ = writeln!(
        out,
        "copies     {} packets, {} bytes of {} packets seen; {} sampled for themselves; {} lost, {} too long",
        s.flow_packets, s.flow_bytes, s.seen_packets, s.sampled_packets, s.lost, s.too_long
    );
}

fn report(out: &mut String, r: &MirrorReport) {
    let kinds: Vec<String> =
        r.diverged.iter().filter(|(_, n)| *n > 0).map(|(kind, n)| format!("{kind} {n}")).collect();
    let kinds = if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") };
    let _ = writeln!(out, "compared   {} packets; differ: {kinds}", r.compared);
    let _ = writeln!(
        out,
        "not judged {} of sessions begun before, {} that load decided; {} copies lost",
        r.unseen_session, r.incomparable, r.lost
    );
    let _ =
        writeln!(out, "load       {} packets/s, {} bytes/s by the packet sample", r.packets_ps, r.bytes_ps);
    let alarm = r.alarm.as_ref().map_or("none".to_owned(), |example| format!("RAISED: {example}"));
    let _ = writeln!(out, "alarm      {alarm}\n");
    let mut table = Table::new(&["residence", "packets active", "packets shadow"]);
    let names: [&str; CLASSES] = ["< 1 us", "< 10 us", "< 100 us", "< 1 ms", "< 10 ms", "longer"];
    for ((name, active), shadow) in names.iter().zip(r.latency_active).zip(r.latency_shadow) {
        table.row([(*name).to_owned(), active.to_string(), shadow.to_string()]);
    }
    out.push_str(&table.render("no packets"));
    for example in &r.examples {
        let _ = writeln!(out, "differs    {example}");
    }
}
