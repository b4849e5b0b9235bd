//! Death, pauses, partitions, and predictors that talk nonsense.

use control::config::WithoutWitness;
use control::decision::Outcome;
use dataplane::id::Nanos;
use sim::cluster::Cluster;
use sim::node::Predictor;
use sim::{Fault, Options};

fn booted(options: Options) -> Cluster {
    let mut cluster = Cluster::new(options);
    cluster.run_ms(6000);
    assert_eq!(cluster.owner(), Some("a1"));
    cluster
}

fn flows(cluster: &Cluster) -> bool {
    cluster.a_to_b().delivered > 0.999_999 && cluster.b_to_a().delivered > 0.999_999
}

#[test]
fn a_killed_owner_is_replaced_within_two_leases() {
    for seed in 0..20 {
        let mut options = Options::seed(seed);
        options.lease = Nanos::from_millis(600);
        let mut cluster = booted(options);
        cluster.apply(Fault::Kill("a1"));
        let ms = cluster.run_until(1200, |c| c.owner() == Some("a2") && flows(c));
        assert!(
            ms.is_some(),
            "seed {seed}: {:?} {:?} {:?}",
            cluster.owner(),
            cluster.a_to_b(),
            cluster.b_to_a()
        );
        cluster.apply(Fault::Restart("a1"));
        cluster.run_ms(8000);
        assert_eq!(cluster.owner(), Some("a2"), "a restarted engine does not take back");
        assert!(flows(&cluster));
        cluster.assert_rules();
    }
}

#[test]
fn a_paused_owner_that_wakes_is_fenced_and_never_owner_at_its_old_epoch() {
    for seed in 0..20 {
        let mut cluster = booted(Options::seed(seed));
        let old = cluster.nodes["a1"].owns(cluster.now).unwrap();
        cluster.apply(Fault::Pause("a1"));
        cluster.run_until(3000, |c| c.owner() == Some("a2")).expect("takeover");
        cluster.run_ms(300);
        let fenced = |c: &Cluster| c.nodes["b1"].told.tunnels[&sim::topology::FIRST].1;
        assert!(fenced(&cluster), "seed {seed}");
        cluster.apply(Fault::Resume("a1"));
        for _ in 0..6000 {
            cluster.run_ms(1);
            assert_ne!(cluster.nodes["a1"].owns(cluster.now), Some(old));
            assert!(cluster.a_to_b().looped == 0.0);
        }
        assert!(!fenced(&cluster) && flows(&cluster), "it acknowledged: seed {seed}");
        assert_eq!(cluster.owner(), Some("a2"));
        cluster.assert_rules();
    }
}

#[test]
fn hung_workers_lose_the_lease() {
    let mut cluster = booted(Options::seed(11));
    cluster.apply(Fault::Hang("a1"));
    assert!(cluster.run_until(2500, |c| c.owner() == Some("a2") && flows(c)).is_some());
    cluster.assert_rules();
}

#[test]
fn a_dead_own_path_moves_traffic_at_once_and_ownership_soon() {
    for seed in 0..20 {
        let mut cluster = booted(Options::seed(seed));
        for way in [("a1", "b1"), ("b1", "a1")] {
            cluster.apply(Fault::Block(way));
        }
        let ms = cluster.run_until(600, flows).expect("traffic goes through a2");
        assert!(ms < 500, "seed {seed}: {ms} ms");
        assert_eq!(cluster.nodes["a1"].told.last_move, (Nanos(0), Nanos(0)), "stranded buckets move at once");
        for _ in 0..5000 {
            cluster.run_ms(1);
            assert!(flows(&cluster), "seed {seed} at {:?}", cluster.now);
        }
        assert_eq!(cluster.owner(), Some("a2"));
        assert!(cluster.nodes["a1"].decisions.iter().any(|(_, d)| d.action == "handover a1 -> a2"));
        cluster.assert_rules();
    }
}

#[test]
fn a_dead_far_engine_moves_nothing() {
    let mut cluster = booted(Options::seed(12));
    cluster.apply(Fault::Kill("b1"));
    cluster.run_ms(3000);
    cluster.apply(Fault::Restart("b1"));
    cluster.run_ms(5000);
    assert!(cluster.owner() == Some("a1") && flows(&cluster));
    cluster.assert_rules();
}

#[test]
fn asymmetric_partitions_break_no_rule_and_heal() {
    let ways = [("a1", "a2"), ("a2", "a1"), ("a1", "b1"), ("b1", "a1"), ("a2", "b1"), ("b1", "a2")];
    for bits in 1u32..64 {
        let mut cluster = booted(Options::seed(u64::from(bits)));
        for (i, way) in ways.iter().enumerate().filter(|(i, _)| bits & (1 << i) != 0) {
            let _ = i;
            cluster.apply(Fault::Block(*way));
        }
        cluster.run_ms(6000);
        cluster.heal();
        cluster.run_ms(10_000);
        cluster.assert_rules();
        assert!(
            flows(&cluster),
            "{bits:06b}: {:?} {:?} {:?}",
            cluster.owner(),
            cluster.a_to_b(),
            cluster.b_to_a()
        );
    }
}

#[test]
fn no_predictor_moves_more_than_the_budget_allows() {
    let predictors = [
        Predictor::Constant(f32::NAN),
        Predictor::Constant(0.0),
        Predictor::Constant(1.0),
        Predictor::Constant(f32::INFINITY),
        Predictor::Flapping(1),
        Predictor::Flapping(5),
        Predictor::Flapping(25),
        Predictor::Flapping(100),
    ];
    let pairs = (0..predictors.len()).flat_map(|n| [n, n + 3].map(|m| (n, m % predictors.len())));
    for (seed, (one, two)) in (0..).zip(pairs) {
        let (one, two) = (predictors[one], predictors[two]);
        let mut cluster = booted(Options::seed(seed));
        cluster.apply(Fault::Predict("a1", one));
        cluster.apply(Fault::Predict("a2", two));
        for _ in 0..400 {
            cluster.run_ms(100);
            assert!(flows(&cluster), "{one:?} {two:?} at {:?}", cluster.now);
        }
        for name in ["a1", "a2"] {
            let moves = cluster.nodes[name].decisions.iter();
            let moves = moves.filter(|(_, d)| d.outcome == Outcome::Done && d.action.starts_with("shift"));
            assert!(moves.clone().filter(|(_, d)| !d.action.ends_with("complete")).count() <= 3);
            assert!(cluster.nodes[name].decisions.len() < 30, "no flood");
        }
        cluster.assert_rules();
    }
}

#[test]
fn a_target_that_fails_again_and_again_is_tried_three_times() {
    let mut options = Options::seed(14);
    options.prediction.cooldown = Nanos::from_millis(500);
    let mut cluster = booted(options);
    cluster.apply(Fault::Predict("a1", Predictor::Constant(1.0)));
    for _ in 0..600 {
        cluster.run_ms(100);
        let shifting = cluster.nodes["a1"]
            .controller
            .as_ref()
            .is_some_and(|c| c.switchover().is_some_and(|s| s.is_moving()));
        cluster.apply(Fault::Loss(("a2", "b1"), if shifting { 0.5 } else { 0.0 }));
    }
    let count = |outcome| {
        let decisions = cluster.nodes["a1"].decisions.iter();
        decisions.filter(|(_, d)| d.action.starts_with("shift") && d.outcome == outcome).count()
    };
    assert_eq!((count(Outcome::Done), count(Outcome::RolledBack)), (3, 3));
    assert!(cluster.owner() == Some("a1") && flows(&cluster));
    cluster.assert_rules();
}

#[test]
fn without_a_witness_hold_holds_and_dual_active_takes_over() {
    let mut options = Options::seed(13);
    options.witness = false;
    let mut cluster = booted(options.clone());
    cluster.apply(Fault::Kill("a1"));
    cluster.run_ms(10_000);
    assert_eq!(cluster.owner(), None, "hold");
    cluster.apply(Fault::Undrain("a2"));
    cluster.run_ms(500);
    assert_eq!(cluster.owner(), Some("a2"), "a person overrules");
    cluster.assert_rules();
    options.without_witness = WithoutWitness::DualActive;
    let mut cluster = booted(options);
    for way in [("a1", "a2"), ("a2", "a1")] {
        cluster.apply(Fault::Block(way));
    }
    cluster.run_ms(6000);
    let owners = |c: &Cluster| c.nodes.values().filter(|n| n.name != "b1" && n.owns(c.now).is_some()).count();
    assert_eq!(owners(&cluster), 2, "both, while they cannot hear each other");
    cluster.heal();
    cluster.run_ms(3000);
    assert!(owners(&cluster) == 1 && flows(&cluster));
}
