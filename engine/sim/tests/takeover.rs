//! An SA that cannot be rekeyed goes from engine to engine: what the partner sends is accepted once, what the engines send
//! bears no nonce twice.

use dataplane::id::Nanos;
use sim::checkers::Rule;
use sim::partner::{BACK, OUT};
use sim::sabotage::Sabotage;
use sim::{Cluster, Fault, Options};

fn booted(seed: u64, sabotage: Option<Sabotage>, spacing_ms: u64) -> Cluster {
    let mut options = Options::seed(seed);
    options.sabotage = sabotage;
    let mut cluster = Cluster::new(options);
    cluster.join_engines();
    cluster.partner.spacing = Nanos::from_millis(spacing_ms);
    cluster.run_ms(6000);
    cluster.hosts.talking = true;
    cluster.run_ms(6000);
    cluster
}

/// Packets that have not arrived, of those below `sent`.
fn missing(cluster: &Cluster, flow: u32, sent: u32) -> Vec<u32> {
    let has = |number| cluster.checkers.deliveries.has(sim::hosts::PacketId { flow, number });
    (0..sent).filter(|&number| !has(number)).collect()
}

/// The owner dies, the other engine takes over, the first one comes back, and is handed the site again.
fn there_and_back(cluster: &mut Cluster) {
    cluster.apply(Fault::Kill("a1"));
    cluster.run_ms(4000);
    cluster.apply(Fault::Restart("a1"));
    cluster.run_ms(8000);
    cluster.apply(Fault::Drain("a2"));
    cluster.run_ms(8000);
}

fn caught(sabotage: Sabotage, rule: Rule) {
    let run = |sabotage| {
        let mut cluster = booted(42, sabotage, 20);
        cluster.partner.attacks = 0.5;
        there_and_back(&mut cluster);
        cluster.settle();
        cluster.end();
        cluster.checkers.violations().to_vec()
    };
    assert_eq!(run(None), [], "nothing is broken, and yet");
    let seen = run(Some(sabotage));
    assert!(seen.iter().any(|violation| violation.rule == rule), "{sabotage:?} passes unseen: {seen:?}");
}

#[test]
fn a_new_owner_without_a_floor_accepts_replays() {
    caught(Sabotage::NoFloor, Rule::Replays);
}

/// Nothing is lost by a planned handover, either way and however fast the peer is: what comes before the next owner has the SA
/// waits for it, and what comes to the last one goes there.
#[test]
fn a_planned_handover_loses_nothing() {
    for (seed, spacing_ms) in [(1, 2), (2, 5), (3, 20), (4, 100), (5, 1000)] {
        let mut cluster = booted(seed, None, spacing_ms);
        let began = cluster.partner.sent[0];
        for (from, to) in [("a1", "a2"), ("a2", "a1")] {
            cluster.apply(Fault::Drain(from));
            cluster.run_ms(8000);
            assert_eq!(cluster.owner(), Some(to));
            cluster.apply(Fault::Undrain(from));
        }
        cluster.hosts.talking = false;
        cluster.run_ms(1000);
        for flow in [OUT, BACK] {
            let lost: Vec<u32> = missing(&cluster, flow, cluster.partner.sent[0])
                .into_iter()
                .filter(|n| *n >= began)
                .collect();
            assert_eq!(lost, [0; 0], "every {spacing_ms} ms, flow {flow}\n{}", cluster.story());
        }
        cluster.end();
        cluster.assert_rules();
    }
}

/// A slow peer: a crash costs what was on its way to the dead engine and two numbers.
#[test]
fn a_slow_peer_hardly_notices() {
    for seed in 0..6 {
        let mut cluster = booted(seed, None, 1000);
        cluster.apply(Fault::Drain("a1"));
        cluster.run_ms(15_000);
        assert_eq!(cluster.owner(), Some("a2"));
        cluster.apply(Fault::Kill("a2"));
        let taken = cluster.run_until(5000, |cluster| cluster.gateway() == Some("a1"));
        let (sent, came) = (cluster.partner.sent[1], cluster.checkers.deliveries.count_of(BACK));
        let first = cluster.run_until(8000, |cluster| cluster.checkers.deliveries.count_of(BACK) > came);
        println!("seed {seed}: taken over {taken:?} ms after the kill, the first packet {first:?} ms later");
        assert!(
            cluster.partner.sent[1] - sent <= 4,
            "seed {seed}: {} are refused",
            cluster.partner.sent[1] - sent
        );
        cluster.end();
        cluster.assert_rules();
    }
}
