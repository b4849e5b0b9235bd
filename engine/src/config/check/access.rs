//! What `[acl]`, `[sessions]` and `[nat]` say of each other.

use super::Check;
use crate::plan::AccessPlan;
use dataplane::acl::Action;
use dataplane::nat::Kind;

pub fn check(c: &mut Check<'_>) {
    let config = c.config;
    for rule in config.acl.iter().flat_map(|acl| &acl.rules) {
        let path = |key: &str| format!("acl.rule[{}].{key}", rule.index);
        if let Some(interface) = &rule.interface {
            c.refers(path("interface"), "interface", interface);
        }
        if rule.action == Action::PermitSession && config.sessions.is_none() {
            let remedy = "write a [sessions] section, or action = \"permit\"";
            c.wrong(path("action"), "no sessions are kept here", remedy);
        }
    }
    if let Err(error) = AccessPlan::from_config(config).acl() {
        c.wrong("acl.rule", error.to_string(), "merge rules, or write narrower prefixes");
    }
    let Some(nat) = &config.nat else { return };
    if config.sessions.is_none() {
        c.wrong("nat", "no sessions are kept here, and NAT is a part of them", "write a [sessions] section");
    }
    let workers = config.dpdk.cores.len();
    if workers > 1 {
        let what = format!("{workers} workers: answers would come to one that does not know their session");
        c.wrong("nat", what, "name one core in dpdk.cores");
    }
    let word = |kind| if kind == Kind::Tcp { "tcp" } else { "udp" };
    let outsides = nat.forwards.iter().map(|forward| {
        let outside = forward.outside;
        (forward.index, format!("{} {}:{}", word(forward.kind), outside.address, outside.port))
    });
    c.unique("nat.forward", "outside", outsides, "forward each outside port once");
}
