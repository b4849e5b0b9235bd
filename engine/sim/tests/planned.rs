//! Boot, planned shifts, rollback, rekeying: with nothing broken, nothing is lost.

use control::decision::Outcome;
use control::io::Mode;
use dataplane::id::Nanos;
use sim::cluster::Cluster;
use sim::node::Predictor;
use sim::topology::GROUP;
use sim::{Fault, Options};

fn booted(options: Options) -> Cluster {
    let mut cluster = Cluster::new(options);
    cluster.run_ms(6000);
    assert_eq!(cluster.owner(), Some("a1"), "the active owns the site");
    assert_flows(&cluster);
    cluster
}

fn assert_flows(cluster: &Cluster) {
    assert!((cluster.a_to_b().delivered - 1.0).abs() < 1e-9, "{:?} at {:?}", cluster.a_to_b(), cluster.now);
    assert!((cluster.b_to_a().delivered - 1.0).abs() < 1e-9, "{:?} at {:?}", cluster.b_to_a(), cluster.now);
}

/// Parts of 65,536 on the second tunnel.
fn second(cluster: &Cluster, engine: &str) -> u32 {
    cluster.nodes[engine].told.weights[&GROUP][1].1
}

fn actions(cluster: &Cluster, engine: &str) -> Vec<(String, Outcome)> {
    cluster.nodes[engine].decisions.iter().map(|(_, d)| (d.action.clone(), d.outcome)).collect()
}

#[test]
fn boots_with_one_owner_and_sas_both_ways() {
    let cluster = booted(Options::seed(1));
    for (name, esp) in [("a1", 1), ("a2", 1), ("b1", 2)] {
        let node = &cluster.nodes[name];
        assert!(node.told.tunnels.values().all(|(up, fenced)| *up && !fenced), "{name}");
        assert_eq!(
            node.told.sas.values().filter(|s| s.outbound.is_some() && !s.inbound.is_empty()).count(),
            esp
        );
    }
    assert_eq!((second(&cluster, "a1"), second(&cluster, "b1")), (0, 0));
    cluster.assert_rules();
}

#[test]
fn an_alarm_shifts_in_exact_steps_and_loses_nothing() {
    let mut cluster = booted(Options::seed(2));
    cluster.apply(Fault::Predict("a1", Predictor::Constant(0.8)));
    let (mut seen, mut begun, mut owned) = (vec![0], 0, 0);
    for ms in 0..9000 {
        cluster.run_ms(1);
        assert_flows(&cluster);
        if seen.last() != Some(&second(&cluster, "b1")) {
            seen.push(second(&cluster, "b1"));
            let (gap, within) = cluster.nodes["b1"].told.last_move;
            // Half as long as the step is watched: the alarm leaves 5 s.
            let most = Nanos::from_millis(if seen.len() < 5 { 25 } else { 125 });
            assert!(gap >= Nanos::from_millis(2) && within == most, "busy buckets wait: {within:?}");
            begun = if begun == 0 { ms } else { begun };
        }
        owned = if owned == 0 && cluster.owner() == Some("a2") { ms } else { owned };
    }
    // 50 ms a step, 250 the last one: both engines look closely. The rest is messages.
    assert!((400..450).contains(&(owned - begun)), "{} ms", owned - begun);
    assert_eq!(seen, [0, 3277, 16_384, 32_768, 65_536], "5, 25, 50, 100 %");
    assert_eq!((cluster.owner(), cluster.gateway()), (Some("a2"), Some("a2")));
    let done = |action: &str| (action.to_owned(), Outcome::Done);
    assert_eq!(
        actions(&cluster, "a1")[1..],
        [
            done("shift a1 -> a2"),
            done("shift a1 -> a2 complete"),
            ("alarm raised".to_owned(), Outcome::Observed)
        ]
    );
    assert!(!cluster.nodes["b1"].told.tunnels.values().any(|(_, fenced)| *fenced), "a plan needs no fence");
    cluster.assert_rules();
}

#[test]
fn drain_and_undrain_move_everything_there_and_back() {
    let mut cluster = booted(Options::seed(3));
    cluster.apply(Fault::Drain("a2"));
    cluster.run_ms(10);
    let refusal = cluster.nodes["a2"].replies[0].clone().unwrap_err();
    assert!(refusal.contains("owned by a1"), "{refusal}");
    cluster.apply(Fault::Drain("a1"));
    for _ in 0..6000 {
        cluster.run_ms(1);
        assert_flows(&cluster);
    }
    assert_eq!(cluster.owner(), Some("a2"));
    cluster.apply(Fault::Undrain("a1"));
    for _ in 0..6000 {
        cluster.run_ms(1);
        assert_flows(&cluster);
    }
    assert_eq!((cluster.owner(), second(&cluster, "b1")), (Some("a1"), 0));
    cluster.assert_rules();
}

#[test]
fn a_worse_target_rolls_back_and_is_not_tried_in_the_cooldown() {
    let mut cluster = booted(Options::seed(4));
    cluster.apply(Fault::Predict("a1", Predictor::Constant(0.8)));
    cluster.run_until(4000, |c| second(c, "b1") == 16_384).expect("second step");
    cluster.apply(Fault::Loss(("a2", "b1"), 0.3));
    cluster.run_ms(3000);
    assert_eq!((cluster.owner(), second(&cluster, "a1"), second(&cluster, "b1")), (Some("a1"), 0, 0));
    let rolled = cluster.nodes["a1"].decisions.iter().find(|(_, d)| d.outcome == Outcome::RolledBack);
    assert!(rolled.expect("a decision").1.rule.contains("loses"), "{rolled:?}");
    let before = actions(&cluster, "a1").len();
    cluster.run_ms(20_000);
    assert!(actions(&cluster, "a1").len() <= before + 1, "no flood: {:?}", actions(&cluster, "a1"));
    cluster.assert_rules();
}

#[test]
fn a_target_that_turns_bad_at_any_step_of_a_hurried_move_is_known_before_it_owns_the_site() {
    for (step, seed) in
        [3277, 16_384, 32_768, 65_536].iter().flat_map(|step| (20..25).map(move |s| (*step, s)))
    {
        let mut cluster = booted(Options::seed(seed));
        cluster.apply(Fault::Predict("a1", Predictor::Constant(1.0)));
        cluster.run_until(4000, |c| second(c, "b1") == step).expect("the step");
        cluster.apply(Fault::Loss(("a2", "b1"), 0.5));
        cluster.run_ms(3000);
        assert_eq!((cluster.owner(), second(&cluster, "b1")), (Some("a1"), 0), "at {step}, seed {seed}");
        cluster.assert_rules();
    }
}

#[test]
fn two_alarms_suspect_the_model() {
    let mut cluster = booted(Options::seed(5));
    cluster.apply(Fault::Predict("a2", Predictor::Constant(1.0)));
    cluster.run_ms(1000);
    cluster.apply(Fault::Predict("a1", Predictor::Constant(1.0)));
    cluster.run_ms(20_000);
    assert_eq!(cluster.owner(), Some("a1"));
    let held = cluster.nodes["a1"].decisions.iter().filter(|(_, d)| d.action == "hold").collect::<Vec<_>>();
    assert!(held.len() == 1 && held[0].1.rule.contains("model is suspected"), "{held:?}");
}

#[test]
fn observe_only_records_and_approve_waits() {
    for (mode, outcome) in [(Mode::Observe, Outcome::Observed), (Mode::Approve, Outcome::Proposed)] {
        let mut options = Options::seed(6);
        options.prediction.mode = mode;
        let mut cluster = booted(options);
        cluster.apply(Fault::Predict("a1", Predictor::Constant(1.0)));
        cluster.run_ms(20_000);
        assert_eq!(cluster.owner(), Some("a1"));
        assert_eq!(actions(&cluster, "a1")[1..], [("shift a1 -> a2".to_owned(), outcome)]);
    }
}

#[test]
fn rekeys_by_time_and_by_count_without_a_gap() {
    let mut options = Options::seed(7);
    options.rekey_after = Nanos::from_millis(4000);
    let mut cluster = booted(options);
    for ms in 0..40_000u64 {
        cluster.run_ms(1);
        assert_flows(&cluster);
        if ms % 1500 == 0 {
            cluster.apply(Fault::SoftLimit("b1"));
        }
    }
    let generation =
        |name: &str| cluster.nodes[name].controller.as_ref().unwrap().tunnels()[0].outbound_generation;
    assert!(generation("a1").unwrap() >= 9, "by time: {:?}", generation("a1"));
    assert!(generation("b1").unwrap() >= 25, "by count: {:?}", generation("b1"));
    cluster.assert_rules();
}

/// Old path 30 ms slower, then 30 ms faster than the new one: all of 100,000 flows move.
#[test]
fn a_shift_of_100_000_flows_loses_reorders_and_duplicates_nothing() {
    for slow in ["a1", "a2"] {
        let mut options = Options::seed(8);
        options.flows = 100_000;
        options.spacing[1] = (Nanos::from_millis(15_000), Nanos::from_millis(25_000));
        let mut cluster = Cluster::new(options);
        cluster.set_delay((slow, "b1"), 32);
        cluster.join_engines();
        cluster.run_ms(6000);
        cluster.hosts.talking = true;
        cluster.run_ms(3000);
        cluster.apply(Fault::Predict("a1", Predictor::Constant(0.8)));
        cluster.run_ms(7000);
        assert_eq!((cluster.owner(), cluster.gateway()), (Some("a2"), Some("a2")));
        cluster.settle();
        cluster.assert_rules();
        let sent: u32 = cluster.hosts.flows.iter().map(|flow| flow.sent).sum();
        assert!(sent > 100_000, "{sent} packets");
    }
}

/// Flows that never pause for as long as their paths differ: they move behind MARKs.
#[test]
fn a_shift_of_flows_that_never_pause_keeps_their_order() {
    for slow in ["a1", "a2"] {
        let mut options = Options::seed(9);
        options.flows = 64;
        options.spacing = [(Nanos::from_millis(1), Nanos::from_millis(4)); 2];
        let mut cluster = Cluster::new(options);
        cluster.set_delay((slow, "b1"), 32);
        cluster.set_delay(("b1", slow), 32);
        cluster.run_ms(6000);
        cluster.hosts.talking = true;
        cluster.run_ms(1000);
        cluster.apply(Fault::Predict("a1", Predictor::Constant(0.8)));
        cluster.run_ms(8000);
        assert_eq!((cluster.owner(), cluster.gateway()), (Some("a2"), Some("a2")));
        cluster.settle();
        cluster.assert_rules();
        for engine in ["a1", "b1"] {
            let (moved, longest) = cluster.nodes[engine].plane.as_ref().expect("it lives").marked();
            println!("{slow} 30 ms slower: {engine} moved {moved} buckets behind MARKs, {longest:?} at most");
            assert!(moved >= 20, "{engine}: {moved} buckets were held");
            assert!(longest <= Nanos::from_millis(110), "{engine}: {longest:?}");
        }
    }
}
