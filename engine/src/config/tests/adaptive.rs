//! Groups whose tunnels follow their traffic.

use super::tunnels::each_is_told;
use super::{GOOD, errors};
use crate::config::Config;
use crate::plan::Plan;
use dataplane::snapshot::Encapsulation;

/// Two tunnels to b1, and all that a group may say of them.
fn good() -> String {
    let beside = "[[tunnel]]\nname = \"gre\"\npeer = \"b1\"\nprotocol = \"gre\"\ngre_key = 7\ncost = 3\n\
        local = \"192.0.2.11\"\nremote = \"198.51.100.20\"\n[tunnel.shaper]\nrate_kbps = 1000\nceiling_kbps = 2000\n[[group]]";
    let adaptive = "members = [\"a1-b1\", \"gre\", \"a1-a2\"]\n[group.adaptive]\nmode = \"auto\"\nfailure = 0.7\n\
        utilisation = 0.8\nrelease = 0.5\ntunnels_max = 4\ncooldown_ms = 5000\nidle_seconds = 60\nactions_max = 20\n\
        actions_minutes = 10\nencrypted = false\nmtu_min = 1400\ncost_max = 3\n\
        [group.adaptive.forecast]\nseason_seconds = 86_400\nstep_ms = 60_000\nlead_ms = 300_000\n";
    GOOD.replacen("[[group]]", beside, 1).replacen("members = [\"a1-b1\", \"a1-a2\"]\n", adaptive, 1)
}

#[test]
fn mistakes_are_told() {
    let good = good();
    assert_eq!(errors(&good), []);
    let at = |key: &str| -> &'static str { format!("group[0].adaptive.{key}").leak() };
    let mistakes = [
        ("mode = \"auto\"", "mode = \"approve\"", at("mode"), "cannot wait"),
        ("mode = \"auto\"", "mode = \"always\"", at("mode"), "is not one"),
        ("failure = 0.7", "failure = 1.0", at("failure"), "not a probability"),
        ("release = 0.5", "release = 0.8", at("release"), "made again"),
        ("utilisation = 0.8", "utilisation = \"most\"", at("utilisation"), "is a string"),
        ("tunnels_max = 4", "tunnels_max = 1", at("tunnels_max"), "2 configured tunnels already"),
        ("tunnels_max = 4", "tunnels_max = 9", at("tunnels_max"), "17 tunnels"),
        ("tunnels_max = 4", "tunnels_max = 0", at("tunnels_max"), "out of range"),
        ("cooldown_ms = 5000", "cooldown_ms = 1", at("cooldown_ms"), "out of range"),
        ("idle_seconds = 60", "idle = 60", at("idle"), "unknown key"),
        ("actions_max = 20", "actions_max = 1", at("actions_max"), "out of range"),
        ("encrypted = false", "encrypted = true", "group[0].members[1]", "does not encrypt"),
        ("mtu_min = 1400", "mtu_min = 1470", "group[0].members[0]", "has room for"),
        ("cost_max = 3", "cost_max = 2", "group[0].members[1]", "costs 3"),
        ("step_ms = 60_000", "step_ms = 250", at("forecast.step_ms"), "no multiple"),
        ("step_ms = 60_000", "step_ms = 100", at("forecast.step_ms"), "steps a season"),
        ("lead_ms = 300_000", "lead_ms = 1000", at("forecast.lead_ms"), "less than a step"),
        (
            "season_seconds = 86_400",
            "season_seconds = 300",
            at("forecast.season_seconds"),
            "longer than the lead",
        ),
        ("season_seconds = 86_400", "period = 5", at("forecast.period"), "unknown key"),
        ("ceiling_kbps = 2000", "ceiling_kbps = 900", "tunnel[2].shaper.ceiling_kbps", "less than rate_kbps"),
        (
            "members = [\"a1-b1\", \"gre\", ",
            "members = [\"a1-b1\", ",
            "tunnel[2].shaper.ceiling_kbps",
            "nobody raises",
        ),
        (
            "[[group]]",
            "[[tunnel]]\nname = \"in-the-way\"\npeer = \"b1\"\nprotocol = \"gre\"\ngre_key = 9\n\
             local = \"192.0.2.11\"\nremote = \"198.51.100.20\"\n[[group]]",
            "tunnel[3].gre_key",
            "made beside \"gre\"",
        ),
        (
            "[[route]]",
            "[[group]]\nname = \"again\"\nsite = \"b\"\nmembers = [\"gre\"]\n[[route]]",
            "group[0].members[1]",
            "in group \"again\" too",
        ),
    ];
    each_is_told(&good, &mistakes);
}

/// Two places beside each of the two configured tunnels, told apart by what their protocol has for it.
#[test]
fn places_are_planned_for_what_may_be_made() {
    let plan = Plan::from_config(&Config::parse(&good()).expect("valid"));
    let names: Vec<&str> = plan.tunnels.iter().map(|tunnel| tunnel.name.as_str()).collect();
    assert_eq!(names, ["a1-b1", "a1-a2", "gre", "a1-b1+1", "a1-b1+2", "gre+1", "gre+2"]);
    let numbers: Vec<u16> = plan.controller.tunnels.iter().map(|tunnel| tunnel.endpoints.number).collect();
    assert_eq!(numbers, [0, 0, 0, 1, 2, 1, 2]);
    let key = |id: usize| match plan.forwarding.tunnels[id].encapsulation {
        Encapsulation::Gre { key, .. } => key,
        _ => None,
    };
    assert_eq!([2, 5, 6].map(key), [Some(7), Some(8), Some(9)]);
    assert_eq!(plan.forwarding.groups[0].members.len(), 7);
    let adaptive = plan.controller.groups[0].adaptive.as_ref().expect("it is");
    let parents: Vec<_> = adaptive.tunnels.iter().map(|t| t.parallel_to.map(|id| id.0)).collect();
    assert_eq!(parents, [None, None, Some(0), Some(0), Some(2), Some(2)], "and none beside the site link");
    assert_eq!(
        plan.adaptive[0].forecast.as_ref().map(|f| (f.season, f.horizons.clone())),
        Some((1440, vec![1, 3, 5]))
    );
}
