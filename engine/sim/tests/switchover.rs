//! Switchovers with an application behind the far site, and failback: real controllers on both sides of every message.

use control::status::{Cause, SwitchoverStatus};
use control::switchover::Stage;
use dataplane::id::Nanos;
use sim::cluster::Cluster;
use sim::node::Predictor;
use sim::{Fault, Options};

fn booted(options: Options) -> Cluster {
    let mut cluster = Cluster::new(options);
    cluster.run_ms(8000);
    assert_eq!(cluster.owner(), Some("a1"), "the active owns the site");
    cluster
}

fn checked(seed: u64) -> Cluster {
    booted(Options { checks: true, ..Options::seed(seed) })
}

fn switchover(cluster: &Cluster, engine: &str) -> SwitchoverStatus {
    let controller = cluster.nodes[engine].controller.as_ref().expect("alive");
    controller.switchover().expect("a switchover")
}

fn why(s: &SwitchoverStatus) -> &str {
    &s.passages.last().expect("a stage").reason
}

fn decided(cluster: &Cluster, engine: &str, action: &str) -> Vec<String> {
    let decisions = cluster.nodes[engine].decisions.iter();
    decisions.filter(|(_, d)| d.action == action).map(|(_, d)| d.rule.clone()).collect()
}

#[test]
fn with_a_healthy_application_a_drain_passes_every_stage() {
    let mut cluster = checked(71);
    cluster.apply(Fault::Drain("a1"));
    cluster.run_ms(9000);
    assert_eq!((cluster.owner(), switchover(&cluster, "a1").stage), (Some("a2"), Stage::Watch));
    cluster.run_ms(10_000);
    let done = switchover(&cluster, "a1");
    assert!(done.ended.is_some() && done.passages.iter().all(|passage| !passage.skipped), "{done:?}");
    assert_eq!(done.passages.iter().map(|passage| passage.stage).collect::<Vec<_>>(), Stage::ALL[..7]);
    cluster.assert_rules();
}

#[test]
fn a_target_that_does_not_reach_the_application_gets_nothing_planned_and_everything_sudden() {
    let mut cluster = checked(72);
    cluster.apply(Fault::Reach("a2", false));
    cluster.run_ms(4000);
    cluster.apply(Fault::Drain("a1"));
    cluster.run_ms(100);
    let refusal = cluster.nodes["a1"].replies.last().expect("answered").clone().expect_err("refused");
    assert!(
        refusal.contains("check app fails at the target: connection refused; it passes here"),
        "{refusal}"
    );
    assert_eq!(decided(&cluster, "a1", "hold"), [refusal]);
    cluster.apply(Fault::Predict("a1", Predictor::Constant(1.0)));
    cluster.run_ms(5000);
    assert!(decided(&cluster, "a1", "shift a1 -> a2").is_empty());
    assert!(decided(&cluster, "a1", "hold")[1].contains("check app fails at the target"));
    cluster.apply(Fault::Kill("a1"));
    cluster.run_ms(6000);
    assert_eq!(cluster.owner(), Some("a2"), "alive is better than perfect");
    let taken = switchover(&cluster, "a2");
    assert_eq!((taken.cause, taken.stage), (Cause::Sudden, Stage::Watch));
    assert!(taken.passages[..4].iter().all(|p| p.skipped && p.reason.contains("expired")), "{taken:?}");
    cluster.assert_rules();
}

#[test]
fn what_neither_reaches_is_not_held_against_the_target() {
    let mut cluster = checked(73);
    cluster.apply(Fault::Reach("a1", false));
    cluster.apply(Fault::Reach("a2", false));
    cluster.run_ms(4000);
    cluster.apply(Fault::Drain("a1"));
    cluster.run_ms(6000);
    assert_eq!(cluster.owner(), Some("a2"));
}

#[test]
fn an_application_lost_on_the_way_rolls_back_and_lost_afterwards_comes_back_once() {
    let mut cluster = checked(74);
    cluster.apply(Fault::Drain("a1"));
    cluster.run_ms(500);
    cluster.apply(Fault::Reach("a2", false));
    cluster.run_ms(6000);
    let rolled = switchover(&cluster, "a1");
    assert_eq!((cluster.owner(), rolled.stage), (Some("a1"), Stage::RollBack), "{rolled:?}");
    assert!(why(&rolled).contains("check app"), "{rolled:?}");
    cluster.apply(Fault::Reach("a2", true));
    cluster.run_ms(8000);
    cluster.apply(Fault::Drain("a1"));
    cluster.run_until(12_000, |c| c.owner() == Some("a2")).expect("handed over");
    cluster.apply(Fault::Reach("a2", false));
    cluster.run_until(20_000, |c| c.owner() == Some("a1")).expect("asked back");
    let asked = switchover(&cluster, "a1");
    assert!(asked.stage == Stage::RollBack && why(&asked).contains("fails at a2"), "{asked:?}");
    assert_eq!(decided(&cluster, "a2", "shift a2 -> a1").len(), 1);
    // a1 loses it too, and a2 reaches it again: what was undone is not done again by itself.
    cluster.apply(Fault::Reach("a1", false));
    cluster.apply(Fault::Reach("a2", true));
    cluster.run_ms(20_000);
    assert_eq!(cluster.owner(), Some("a1"));
    cluster.assert_rules();
}

#[test]
fn the_active_comes_back_by_itself_when_it_has_been_well_and_not_when_a_person_moved_it() {
    let failback = Some(Nanos::from_millis(20_000));
    let mut cluster = booted(Options { failback, checks: true, ..Options::seed(75) });
    cluster.apply(Fault::Kill("a1"));
    cluster.run_ms(5000);
    assert_eq!(cluster.owner(), Some("a2"));
    cluster.apply(Fault::Restart("a1"));
    cluster.run_ms(15_000);
    cluster.apply(Fault::Predict("a1", Predictor::Constant(1.0)));
    cluster.run_ms(15_000);
    assert_eq!(cluster.owner(), Some("a2"), "its alarm is raised");
    cluster.apply(Fault::Predict("a1", Predictor::Constant(0.0)));
    cluster.run_ms(15_000);
    assert_eq!(cluster.owner(), Some("a2"), "not well for long enough");
    cluster.run_ms(20_000);
    assert_eq!(cluster.owner(), Some("a1"), "{:?}", cluster.nodes["a2"].decisions);
    assert!(decided(&cluster, "a2", "shift a2 -> a1")[0].contains("failback"));
    cluster.run_ms(6000);
    cluster.apply(Fault::Drain("a1"));
    cluster.run_ms(60_000);
    assert_eq!(cluster.owner(), Some("a2"), "a person has moved it");
    cluster.assert_rules();
}
