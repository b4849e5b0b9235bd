//! What is wrong with `[gateway.vrrp]`.

use super::*;

const VRRP: &str = "[gateway.vrrp]\nvrid = 7\npriority = 150\n";

/// The good configuration with an election for both IP versions.
fn elected() -> String {
    let alone = GOOD.replace("[api]", &format!("{VRRP}[api]"));
    let gateway = alone.replace("[\"10.1.0.1\"]", "[\"10.1.0.1\", \"fe80::5e:1\"]");
    gateway.replace("\"fd00:a::2/64\"]", "\"fd00:a::2/64\", \"fe80::2/64\"]")
}

#[test]
fn it_has_defaults_and_a_place_in_both_plans() {
    let config = Config::parse(&elected()).expect("valid");
    let vrrp = config.gateway.as_ref().and_then(|gateway| gateway.vrrp.as_ref()).expect("an election");
    assert_eq!((vrrp.vrid.get(), vrrp.priority.get(), vrrp.interval_ms.get()), (7, 150, 1000));
    assert!(vrrp.preempt && vrrp.pseudo_header && vrrp.failing_priority.is_none());
    let plan = crate::plan::Plan::from_config(&config);
    let local: Vec<String> =
        plan.controller.vrrp.iter().flat_map(|v| &v.local).map(ToString::to_string).collect();
    assert_eq!(local, ["10.1.0.2", "fe80::2"]);
    let with =
        plan.forwarding.interfaces.iter().find_map(|i| i.virtual_router.as_ref()).expect("a virtual router");
    let addresses: Vec<String> = with.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses[0], "fe80::5e:1", "RFC 9568 §5.2.9: the link-local one first");
    assert!(!with.active.v4 && !with.active.v6);
}

#[test]
fn every_mistake_is_told_with_its_place_and_remedy() {
    let mistakes = [
        ("vrid = 7", "", "gateway.vrrp.vrid", "is missing", "write vrid"),
        ("vrid = 7", "vrid = 0", "gateway.vrrp.vrid", "out of range", "from 1 to 255"),
        ("priority = 150", "priority = 255", "gateway.vrrp.priority", "out of range", "from 1 to 254"),
        ("priority = 150", "interval_ms = 125", "gateway.vrrp.interval_ms", "centiseconds", "multiple of 10"),
        (
            "priority = 150",
            "priority = 100\nfailing_priority = 100",
            "gateway.vrrp.failing_priority",
            "not below priority",
            "lower",
        ),
        (
            "priority = 150",
            "priority = 150\nfailing_priority = 10",
            "gateway.vrrp.failing_priority",
            "other engine",
            "remove it",
        ),
        ("priority = 150", "advert_int = 1", "gateway.vrrp.advert_int", "unknown key", "interval_ms"),
        ("\"fe80::5e:1\"", "\"fd00:a::1\"", "gateway.addresses", "link-local", "fe80::5e:1"),
        (", \"fe80::2/64\"", "", "interface[0].addresses", "link-local", "fe80::2/64"),
    ];
    for (from, to, path, what, remedy) in mistakes {
        let good = elected();
        assert!(good.contains(from), "{from}");
        let errors = Config::parse(&good.replacen(from, to, 1)).expect_err(to);
        let told = errors
            .problems
            .iter()
            .any(|p| p.path == path && p.what.contains(what) && p.remedy.contains(remedy));
        assert!(told, "{from} -> {to}: {errors}");
    }
}
