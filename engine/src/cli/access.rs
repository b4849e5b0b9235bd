//! Access list, sessions and NAT for a person.

use super::table::Table;
use crate::api::status::{AclStatus, NatStatus, SessionsStatus};

fn table(what: &'static str, lines: &[(&str, u64)]) -> String {
    let mut table = Table::new(&[what, "count"]);
    lines.iter().for_each(|(name, count)| table.row([(*name).to_owned(), count.to_string()]));
    table.render("")
}

/// All workers' sessions.
pub fn sessions(sessions: Option<&SessionsStatus>) -> String {
    let Some(s) = sessions else { return "no sessions are kept: there is no [sessions]\n".to_owned() };
    let lines = [
        ("live", s.live),
        ("capacity", s.capacity),
        ("begun", s.begun),
        ("ended", s.ended),
        ("evicted", s.evicted),
        ("refused, table full", s.refused),
    ];
    table("sessions", &lines)
}

/// The access list.
pub fn acl(acl: Option<&AclStatus>) -> String {
    let Some(a) = acl else { return "everything may pass: there is no [acl]\n".to_owned() };
    let lines = [
        ("rules", a.rules as u64),
        ("bytes", a.bytes as u64),
        ("packets denied", a.denied),
        ("packets rejected", a.rejected),
    ];
    table("acl", &lines)
}

/// NAT.
pub fn nat(nat: Option<&NatStatus>) -> String {
    let Some(n) = nat else { return "nothing is translated: there is no [nat]\n".to_owned() };
    let lines = [
        ("outside addresses", n.addresses as u64),
        ("ports in use", n.ports_in_use),
        ("flows without a port", n.exhausted),
        ("packets not translatable", n.untranslatable),
    ];
    table("nat", &lines)
}
