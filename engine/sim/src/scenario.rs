//! What one seed stands for: a cluster, what happens to it, and what must hold in the end.

use crate::checkers::{Rule, Violation};
use crate::rng::Rng;
use crate::{Cluster, Options, faults};
use dataplane::id::Nanos;
use std::process::Command;

/// Every so many seeds nothing is broken: only what is planned happens, and no packet may notice.
const CALM: u64 = 4;

/// Ownership that is handed over is on its way for no longer, milliseconds.
const HAND_OVER_MS: u64 = 100;

/// What became of a seed.
pub struct Outcome {
    /// Rules that were broken.
    pub violations: Vec<Violation>,
    /// What happened, for who looks into it.
    pub story: String,
    /// Milliseconds of true time.
    pub simulated_ms: u64,
    /// Packets that arrived at hosts.
    pub delivered: u64,
    /// Packets sealed.
    pub sealed: u64,
}

/// The commit that is run, for whoever replays a seed.
pub fn commit() -> String {
    let asked = || {
        let git = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output().ok()?;
        Some(String::from_utf8(git.stdout).ok()?.trim().to_owned()).filter(|commit| !commit.is_empty())
    };
    std::env::var("FORESHIFT_COMMIT").ok().or_else(asked).unwrap_or_else(|| "unknown".to_owned())
}

/// Runs a seed from start to end.
pub fn run(seed: u64) -> Outcome {
    let mut rng = Rng::new(seed ^ 0x5eed);
    let mut cluster = Cluster::new(options(seed));
    if seed.is_multiple_of(CALM) {
        calm(&mut cluster, &mut rng)
    } else {
        stormy(&mut cluster, &mut rng)
    }
    let (at, story) = (cluster.now, cluster.story());
    // The last order may have been to move: then ownership may just now be on its way.
    if cluster.run_until(HAND_OVER_MS, |cluster| cluster.owner().is_some()).is_none() {
        let log = &mut cluster.checkers.log;
        log.violate(at, Rule::Recovery, "nobody owns site a after all is well".to_owned());
    }
    cluster.end();
    Outcome {
        violations: cluster.checkers.violations().to_vec(),
        story,
        simulated_ms: at.as_millis(),
        delivered: cluster.checkers.deliveries.count,
        sealed: cluster.checkers.nonces.count,
    }
}

fn options(seed: u64) -> Options {
    let mut options = Options::seed(seed);
    options.rekey_after = Nanos::from_millis(3000);
    options.lease = Nanos::from_millis(300 + seed % 8 * 200);
    if seed.is_multiple_of(CALM) {
        options.prediction.cooldown = Nanos::from_millis(1000);
        options.lease = options.lease.max(Nanos::from_millis(700));
    }
    options
}

/// Paths of different delay, and everything that may be asked of a healthy cluster.
fn calm(cluster: &mut Cluster, rng: &mut Rng) {
    for name in ["a1", "a2"] {
        cluster.set_delay((name, "b1"), 1 + rng.below(20));
        cluster.set_delay(("b1", name), 1 + rng.below(20));
    }
    cluster.join_engines();
    cluster.run_ms(6000);
    cluster.hosts.talking = true;
    for _ in 0..6 {
        cluster.apply(faults::planned(rng));
        cluster.run_ms(rng.below(2500));
    }
    cluster.must_deliver(500);
}

/// Everything that goes wrong, and then nothing any more.
fn stormy(cluster: &mut Cluster, rng: &mut Rng) {
    cluster.hosts.talking = true;
    cluster.run_ms(rng.below(6000));
    for _ in 0..12 {
        let fault = faults::random(cluster, rng);
        cluster.apply(fault);
        cluster.run_ms(rng.below(1500));
    }
    cluster.heal();
    cluster.hosts.talking = false;
    cluster.run_ms(12_000);
    cluster.must_deliver(500);
}
