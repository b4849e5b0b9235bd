//! Each checker can fail: a rule is broken in the simulated wiring, and the checker of that rule sees it. Without the
//! breakage the same seed and the same story pass.

use sim::checkers::Rule;
use sim::node::Predictor;
use sim::sabotage::Sabotage;
use sim::{Cluster, Fault, Options};

/// Stories are told with these seeds, one after the other, until the breakage shows: packets that may overtake others need not.
const SEEDS: std::ops::Range<u64> = 42..47;

/// Tells the story with and without the breakage, which the checker of `rule` is to see.
fn caught(sabotage: Sabotage, rule: Rule, story: impl Fn(&mut Cluster)) {
    let run = |seed, sabotage| {
        let mut options = Options::seed(seed);
        options.sabotage = sabotage;
        let mut cluster = Cluster::new(options);
        cluster.run_ms(6000);
        story(&mut cluster);
        cluster.settle();
        cluster.end();
        cluster.checkers.violations().to_vec()
    };
    let sees = |seed| {
        assert_eq!(run(seed, None), [], "seed {seed}: nothing is broken, and yet");
        run(seed, Some(sabotage)).iter().any(|violation| violation.rule == rule)
    };
    assert!(SEEDS.into_iter().any(sees), "{sabotage:?} passes unseen");
}

fn talk(cluster: &mut Cluster) {
    cluster.hosts.talking = true;
    cluster.run_ms(1000);
}

fn shift(cluster: &mut Cluster) {
    cluster.set_delay(("a1", "b1"), 30);
    cluster.join_engines();
    cluster.run_ms(1000);
    talk(cluster);
    cluster.apply(Fault::Predict("a1", Predictor::Constant(0.9)));
    cluster.run_ms(8000);
}

#[test]
fn one_key_for_two_workers_repeats_a_nonce() {
    caught(Sabotage::SharedKey, Rule::Nonces, talk);
}

#[test]
fn a_lease_without_end_lets_a_former_owner_forward() {
    caught(Sabotage::EndlessLease, Rule::Owners, |cluster| {
        talk(cluster);
        cluster.apply(Fault::Pause("a1"));
        cluster.run_ms(2500);
        cluster.apply(Fault::Resume("a1"));
        cluster.run_ms(500);
    });
}

#[test]
fn without_a_fence_late_packets_of_a_former_owner_are_delivered() {
    caught(Sabotage::NoFence, Rule::Owners, |cluster| {
        talk(cluster);
        cluster.apply(Fault::Delay(("a1", "b1"), 3000));
        cluster.run_ms(150);
        cluster.apply(Fault::Pause("a1"));
        cluster.run_ms(4000);
    });
}

#[test]
fn a_port_that_keeps_buffers_is_found_out() {
    caught(Sabotage::LeakyPort, Rule::Conservation, talk);
}

#[test]
fn a_port_that_takes_more_than_it_counts_is_found_out() {
    caught(Sabotage::LossyPort, Rule::Conservation, talk);
}

#[test]
fn a_forgotten_replay_window_accepts_copies() {
    caught(Sabotage::NoWindow, Rule::Replays, |cluster| {
        cluster.apply(Fault::Duplicate(("a1", "b1"), 0.5));
        talk(cluster);
    });
}

#[test]
fn busy_buckets_that_do_not_wait_are_overtaken() {
    caught(Sabotage::Impatient, Rule::Planned, shift);
}

#[test]
fn two_states_of_one_generation_are_told_apart() {
    caught(Sabotage::SplitSnapshot, Rule::Digests, shift);
}

#[test]
fn an_engine_that_stays_silent_after_its_restart_is_missed() {
    caught(Sabotage::KeyedOnce, Rule::Recovery, |cluster| {
        cluster.apply(Fault::Kill("b1"));
        cluster.run_ms(2000);
        cluster.apply(Fault::Restart("b1"));
        cluster.run_ms(5000);
        cluster.must_deliver(500);
    });
}

#[test]
fn two_engines_that_hand_everything_to_each_other_are_a_loop() {
    caught(Sabotage::HandBack, Rule::Loops, talk);
}

/// Drains while the store is lost.
fn drain_without_store(cluster: &mut Cluster) {
    cluster.apply(Fault::StoreOutage(true));
    cluster.run_ms(7000);
    cluster.apply(Fault::Drain("a1"));
    cluster.run_ms(6000);
    cluster.heal_store();
    cluster.run_ms(2000);
}

#[test]
fn an_engine_that_does_not_know_of_an_outage_begins_a_move() {
    caught(Sabotage::UntoldOutage, Rule::Records, drain_without_store);
}

#[test]
fn a_store_that_heeds_no_guard_lets_a_former_owner_overwrite() {
    caught(Sabotage::HeedlessStore, Rule::Records, |cluster| {
        // What a1 wants is still on its way when a2 has taken the site over and has written what it wants.
        cluster.apply(Fault::StoreSlow(6000));
        cluster.apply(Fault::Drain("a1"));
        cluster.run_ms(200);
        cluster.heal_store();
        cluster.apply(Fault::Pause("a1"));
        cluster.run_ms(8000);
        cluster.apply(Fault::Resume("a1"));
        cluster.run_ms(4000);
    });
}

#[test]
fn a_watch_that_loses_changes_leaves_engines_behind() {
    caught(Sabotage::DeafWatch, Rule::Recovery, |cluster| {
        cluster.apply(Fault::Drain("a1"));
        cluster.run_ms(8000);
        cluster.must_share_state();
    });
}
