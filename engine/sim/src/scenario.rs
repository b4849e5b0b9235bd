//! What one seed stands for: a cluster, what happens to it, and what must hold in the end.

use crate::checkers::{Rule, Violation};
use crate::rng::Rng;
use crate::{Cluster, Fault, Options, faults};
use dataplane::id::Nanos;
use std::fmt;
use std::process::Command;

/// Every so many seeds nothing is broken: only what is planned happens, and no packet may notice.
const CALM: u64 = 4;

/// Ownership that is handed over is on its way for no longer, milliseconds.
const HAND_OVER_MS: u64 = 100;

/// Seeds of so many have no state store.
const WITHOUT_STORE: u64 = 8;

/// Some time in the story something happens to the state store, or an engine's machine is set back.
const OF_STORE: f64 = 0.3;
const RESTORED: f64 = 0.06;

/// Or to what site a's engines bring each other.
const OF_SESSIONS: f64 = 0.4;

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
    /// What could make a nonce repeat.
    pub hazards: Hazards,
}

/// How often something happened after which keys and counters of another engine, or of another life, are at hand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hazards {
    /// Keys that packets were sealed with.
    pub keys: u64,
    /// Engines that were killed, or set back to an earlier state.
    pub deaths: u64,
    /// Engines that were paused.
    pub pauses: u64,
    /// Directions in which nothing passed any more.
    pub partitions: u64,
    /// Ownership that was taken because its lease had ended.
    pub takeovers: u64,
    /// Ownership that was handed over, back to where it had been as well.
    pub handovers: u64,
    /// Packets of the site's shared SA that were looked at while both engines knew of each other.
    pub shadowed: u64,
    /// Packets of it that were accepted again, as the engine that did could not have heard of the first time.
    pub unheard: u64,
}

impl Hazards {
    fn of(cluster: &Cluster) -> Hazards {
        let faults = |is: fn(&Fault) -> bool| cluster.history.iter().filter(|(_, f)| is(f)).count() as u64;
        let decisions = || cluster.nodes.values().flat_map(|node| &node.decisions).map(|(_, d)| d);
        Hazards {
            keys: cluster.checkers.nonces.keys() as u64,
            deaths: faults(|fault| matches!(fault, Fault::Kill(_) | Fault::Restore(..))),
            pauses: faults(|fault| matches!(fault, Fault::Pause(_))),
            partitions: faults(|fault| matches!(fault, Fault::Block(_))),
            takeovers: decisions().filter(|d| d.action.starts_with("takeover")).count() as u64,
            handovers: decisions().filter(|d| d.rule.starts_with("handed over by")).count() as u64,
            shadowed: cluster.checkers.shadows.count,
            unheard: cluster.checkers.shadows.again_unheard,
        }
    }

    /// The sum of both.
    pub fn add(&mut self, more: Hazards) {
        self.keys += more.keys;
        self.deaths += more.deaths;
        self.pauses += more.pauses;
        self.partitions += more.partitions;
        self.takeovers += more.takeovers;
        self.handovers += more.handovers;
        self.shadowed += more.shadowed;
        self.unheard += more.unheard;
    }
}

impl fmt::Display for Hazards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hazards { keys, deaths, pauses, partitions, takeovers, handovers, shadowed, unheard } = self;
        write!(
            f,
            "{keys} keys; {deaths} deaths, {pauses} pauses, {partitions} partitions, {takeovers} takeovers, \
             {handovers} handovers; of the shared SA {shadowed} packets were known to both engines, {unheard} accepted \
             again by one that could not know"
        )
    }
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
    // What is told of `others` came later than `rng`: a stream of its own leaves the older stories as they were.
    let (mut rng, mut others) = (Rng::new(seed ^ 0x5eed), [0x0c1e, 0x5a5a].map(|salt| Rng::new(seed ^ salt)));
    let mut cluster = Cluster::new(options(seed));
    if seed.is_multiple_of(CALM) {
        calm(&mut cluster, &mut rng, &mut others)
    } else {
        stormy(&mut cluster, &mut rng, &mut others)
    }
    let (at, story) = (cluster.now, cluster.story());
    // The last order may have been to move: then ownership may just now be on its way.
    if cluster.run_until(HAND_OVER_MS, |cluster| cluster.owner().is_some()).is_none() {
        let log = &mut cluster.checkers.log;
        log.violate(at, Rule::Recovery, "nobody owns site a after all is well".to_owned());
    }
    cluster.must_share_state();
    cluster.end();
    Outcome {
        violations: cluster.checkers.violations().to_vec(),
        story,
        simulated_ms: at.as_millis(),
        delivered: cluster.checkers.deliveries.count,
        sealed: cluster.checkers.nonces.count,
        hazards: Hazards::of(&cluster),
    }
}

fn options(seed: u64) -> Options {
    let mut options = Options::seed(seed);
    options.store = seed % WITHOUT_STORE != WITHOUT_STORE - 1;
    options.rekey_after = Nanos::from_millis(3000);
    options.lease = Nanos::from_millis(300 + seed % 8 * 200);
    if seed.is_multiple_of(CALM) {
        options.prediction.cooldown = Nanos::from_millis(1000);
        options.lease = options.lease.max(Nanos::from_millis(700));
    }
    options
}

/// Paths of different delay, and everything that may be asked of a healthy cluster.
fn calm(cluster: &mut Cluster, rng: &mut Rng, [of_store, of_sessions]: &mut [Rng; 2]) {
    for name in ["a1", "a2"] {
        cluster.set_delay((name, "b1"), 1 + rng.below(20));
        cluster.set_delay(("b1", name), 1 + rng.below(20));
    }
    cluster.join_engines();
    cluster.run_ms(6000);
    cluster.hosts.talking = true;
    for _ in 0..6 {
        harm_store(cluster, of_store);
        harm_sessions(cluster, of_sessions);
        cluster.apply(faults::planned(rng));
        cluster.run_ms(rng.below(2500));
    }
    cluster.must_deliver(500);
    cluster.heal_store();
}

fn harm_sessions(cluster: &mut Cluster, rng: &mut Rng) {
    if rng.chance(OF_SESSIONS) {
        cluster.apply(faults::of_sessions(rng));
    }
}

fn harm_store(cluster: &mut Cluster, rng: &mut Rng) {
    if cluster.has_store() && rng.chance(OF_STORE) {
        let fault = faults::of_store(cluster, rng);
        cluster.apply(fault);
    }
}

/// Everything that goes wrong, and then nothing any more.
fn stormy(cluster: &mut Cluster, rng: &mut Rng, [others, of_sessions]: &mut [Rng; 2]) {
    cluster.hosts.talking = true;
    cluster.run_ms(rng.below(6000));
    for _ in 0..12 {
        harm_store(cluster, others);
        harm_sessions(cluster, of_sessions);
        if others.chance(RESTORED) {
            let fault = faults::restored(cluster, others);
            cluster.apply(fault);
        }
        let fault = faults::random(cluster, rng);
        cluster.apply(fault);
        cluster.run_ms(rng.below(1500));
    }
    cluster.heal();
    cluster.hosts.talking = false;
    cluster.run_ms(12_000);
    cluster.must_deliver(500);
}
