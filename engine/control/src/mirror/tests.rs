use super::*;
use dataplane::id::{GroupId, Nanos};
use dataplane::mirror::{Fate, Lead, Walked};

const LIMITS: Limits = Limits { share: 0.05, packets_ps: 10_000.0, bytes_ps: 1e6 };
const SITE: Fate = Fate::Forwarded(Lead::Group(GroupId(0)));
const DENIED: Fate = Fate::Dropped(DropReason::AclDenied);

fn at(ms: u64) -> Nanos {
    Nanos::from_millis(ms)
}

/// A mirror of `offered` packets a second of 100 bytes each, for some seconds.
fn settle(budget: &mut Budget, offered: f64, seconds: u32) -> f64 {
    for _ in 0..seconds * 4 {
        let packets = (offered * budget.share() / 4.0) as u64;
        budget.adapt(Load { packets, bytes: packets * 100, lost: 0 }, at(250));
    }
    offered * budget.share()
}

#[test]
fn the_budget_is_kept_by_a_lower_share_and_used_when_there_is_room() {
    let mut budget = Budget::new(LIMITS);
    assert_eq!(settle(&mut budget, 100_000.0, 10), 5_000.0, "the full share fits");
    let mirrored = settle(&mut budget, 2_000_000.0, 10);
    assert!((7_000.0..=10_000.0).contains(&mirrored), "{mirrored} of 10,000 packets a second");
    assert_eq!(settle(&mut budget, 50_000.0, 60), 2_500.0, "and back");
}

#[test]
fn copies_that_were_lost_halve_the_share() {
    let mut budget = Budget::new(LIMITS);
    let share = budget.adapt(Load { packets: 10, bytes: 1000, lost: 1 }, at(250));
    assert!(share < 0.03, "{share}");
    let least = (0..1000).map(|_| budget.adapt(Load { packets: 0, bytes: 0, lost: 9 }, at(250))).last();
    assert!(least.is_some_and(|least| least > 0.0), "it can always grow again");
    assert_eq!(settle(&mut budget, 100_000.0, 60), 5_000.0);
}

fn judged(active: Fate, shadow: Fate) -> Judged {
    let shadow = Some(Walked { fate: shadow, in_session: false, residence: None });
    Judged { active: Some(active), in_session: false, shadow }
}

#[test]
fn verdicts_are_told_apart() {
    let elsewhere = Fate::Forwarded(Lead::Group(GroupId(1)));
    let full = Fate::Dropped(DropReason::TxFull);
    let spoofed = Fate::Dropped(DropReason::Spoofed);
    for (active, shadow, outcome) in [
        (SITE, SITE, Outcome::Agreed),
        (DENIED, DENIED, Outcome::Agreed),
        (SITE, DENIED, Outcome::Diverged(Kind::Drops)),
        (DENIED, SITE, Outcome::Diverged(Kind::Passes)),
        (DENIED, spoofed, Outcome::Diverged(Kind::Reason)),
        (SITE, elsewhere, Outcome::Diverged(Kind::NextHop)),
        (full, SITE, Outcome::Incomparable),
        (SITE, full, Outcome::Incomparable),
    ] {
        assert_eq!(judged(active, shadow).outcome(), outcome, "{active:?} {shadow:?}");
    }
    let unknown = Judged { active: None, ..judged(SITE, SITE) };
    assert_eq!(unknown.outcome(), Outcome::Diverged(Kind::Unknown));
    let unwalked = Judged { shadow: None, ..judged(SITE, SITE) };
    assert_eq!(unwalked.outcome(), Outcome::Diverged(Kind::Unknown));
    // A session that the active knows and the shadow does not; the packet that begins it is in none.
    let late = Judged { in_session: true, ..judged(SITE, DENIED) };
    assert_eq!(late.outcome(), Outcome::UnseenSession);
}

#[test]
fn a_few_divergences_raise_the_alarm_and_quiet_clears_it() {
    let mut findings = Findings::default();
    findings.tick(at(5_000));
    let diverge = |findings: &mut Findings, ms| {
        findings.judged(at(ms), &judged(SITE, DENIED), || "10.1.0.9 > 10.2.0.9".to_owned());
    };
    findings.judged(at(5_000), &judged(SITE, SITE), || unreachable!("nothing to tell"));
    diverge(&mut findings, 5_100);
    diverge(&mut findings, 6_100);
    assert_eq!(findings.report().alarm, None, "two may be an accident");
    diverge(&mut findings, 9_000);
    let report = findings.report();
    let alarm = report.alarm.as_deref().expect("three are not");
    assert_eq!(alarm, "drops: 10.1.0.9 > 10.2.0.9");
    assert_eq!((report.compared, report.diverged_total(), report.examples.len()), (4, 3, 3));
    findings.tick(at(18_500));
    assert!(findings.report().alarm.is_some(), "the last one is in the window");
    findings.tick(at(19_100));
    assert_eq!(findings.report().alarm, None);
    (0..100).for_each(|_| diverge(&mut findings, 30_000));
    assert_eq!((findings.report().examples.len(), findings.report().diverged_total()), (8, 103));
}

#[test]
fn the_packet_sample_tells_the_load() {
    let mut findings = Findings::default();
    findings.tick(at(1_000));
    (0..50).for_each(|_| findings.sampled(at(1_500), 1000, 0.05, Some(20_000)));
    findings.tick(at(2_000));
    let report = findings.report();
    assert_eq!((report.packets_ps, report.bytes_ps), (1000, 1_000_000));
    assert_eq!(report.latency_active, [0, 0, 50, 0, 0, 0]);
    findings.tick(at(4_000));
    assert_eq!(findings.report().packets_ps, 0);
}
