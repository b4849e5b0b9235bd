//! The state store is on no packet's path: whatever happens to it, traffic flows on, planned moves wait, and afterwards all
//! engines know the same again.

use sim::{Cluster, Fault, Options};

fn talking(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(Options::seed(seed));
    cluster.join_engines();
    cluster.run_ms(6000);
    cluster.hosts.talking = true;
    cluster.run_ms(1000);
    cluster
}

/// Nothing lost, reordered or duplicated, and no rule broken.
fn unharmed(mut cluster: Cluster) {
    cluster.settle();
    cluster.must_share_state();
    cluster.end();
    cluster.assert_rules();
}

#[test]
fn an_outage_holds_planned_moves_and_nothing_else() {
    let mut cluster = talking(1);
    cluster.apply(Fault::StoreOutage(true));
    cluster.run_ms(6000);
    cluster.apply(Fault::Drain("a1"));
    cluster.run_ms(5000);
    let refusal = cluster.nodes["a1"].replies[0].clone().expect_err("nobody else would learn of the move");
    assert!(refusal.contains("planned moves wait"), "{refusal}");
    assert_eq!(cluster.owner(), Some("a1"));
    cluster.apply(Fault::StoreOutage(false));
    cluster.run_ms(2500);
    cluster.apply(Fault::Drain("a1"));
    cluster.run_ms(6000);
    assert_eq!((cluster.owner(), cluster.nodes["a1"].replies.len()), (Some("a2"), 2));
    unharmed(cluster);
}

#[test]
fn an_outage_during_a_move_does_not_stop_it() {
    let mut cluster = talking(2);
    cluster.apply(Fault::Drain("a1"));
    cluster.run_ms(1500);
    cluster.apply(Fault::StoreOutage(true));
    cluster.run_ms(8000);
    assert_eq!(cluster.owner(), Some("a2"));
    cluster.heal_store();
    unharmed(cluster);
}

#[test]
fn a_takeover_needs_no_store() {
    let mut cluster = talking(3);
    cluster.apply(Fault::StoreOutage(true));
    cluster.run_ms(6000);
    cluster.apply(Fault::Kill("a1"));
    assert!(cluster.run_until(2000, |c| c.owner() == Some("a2")).is_some());
    cluster.heal();
    cluster.run_ms(8000);
    cluster.must_share_state();
    cluster.must_deliver(500);
    cluster.end();
    cluster.assert_rules();
}

#[test]
fn late_and_stale_answers_and_a_lost_history_are_made_good() {
    let worst = [
        vec![Fault::StoreSlow(400), Fault::StoreStale(4000)],
        vec![Fault::StoreSlow(700)],
        vec![Fault::StoreCut("a1", true), Fault::StoreCompacts],
        vec![Fault::StoreCut("a2", true), Fault::StoreStale(1000), Fault::StoreCompacts],
    ];
    for (seed, faults) in (4..).zip(worst) {
        let mut cluster = talking(seed);
        faults.into_iter().for_each(|fault| cluster.apply(fault));
        for command in [Fault::Drain("a1"), Fault::Undrain("a1"), Fault::Drain("a1")] {
            cluster.apply(command);
            cluster.run_ms(7000);
        }
        cluster.heal_store();
        cluster.run_ms(3000);
        unharmed(cluster);
    }
}
