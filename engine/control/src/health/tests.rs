use super::*;
use std::collections::VecDeque;

const MS: u64 = 1_000_000;

/// A path with a 10 ms round trip that loses chosen probes out and back.
struct Path {
    health: PathHealth,
    spacing: Nanos,
    reflected: u32,
    flying: VecDeque<(Nanos, u32, u32)>,
}

impl Path {
    fn new() -> Path {
        let mut health = PathHealth::new(TunnelId(1), ProbeConfig::default(), true, SplitMix::new(7));
        health.start(Nanos(0));
        Path { health, spacing: Nanos(20 * MS), reflected: 0, flying: VecDeque::new() }
    }

    /// Runs milliseconds `from..to`; `lose(sequence)` says (lost out, lost back).
    fn run(&mut self, from: u64, to: u64, lose: impl Fn(u32) -> (bool, bool)) {
        for ms in from..to {
            let now = Nanos::from_millis(ms);
            while self.flying.front().is_some_and(|f| f.0 <= now) {
                let (_, sequence, reflected) = self.flying.pop_front().unwrap();
                self.health.reply(now, sequence, reflected, Nanos(10 * MS));
            }
            let mut out = Vec::new();
            self.health.poll(now, self.spacing, &mut out);
            for output in out {
                let Output::SendProbe { sequence, .. } = output else { panic!("{output:?}") };
                let (lost_out, lost_back) = lose(sequence);
                if !lost_out {
                    self.reflected += 1;
                    if !lost_back {
                        self.flying.push_back((now.plus(Nanos(10 * MS)), sequence, self.reflected));
                    }
                }
            }
        }
    }
}

#[test]
fn a_clean_path_comes_up_and_reads_no_loss() {
    let mut path = Path::new();
    path.run(0, 5000, |_| (false, false));
    let stats = path.health.stats();
    assert!(stats.up);
    assert_eq!((stats.loss, stats.loss_tx, stats.loss_rx), (0.0, 0.0, 0.0));
    assert_eq!((stats.rtt_min, stats.rtt_p95), (Nanos(10 * MS), Nanos(10 * MS)));
    // mean 20 ms, truncated exponential: 5 s hold about 250 probes
    assert!((190..330).contains(&stats.sent), "{}", stats.sent);
}

#[test]
fn loss_is_charged_to_its_direction() {
    let mut path = Path::new();
    path.run(0, 6000, |s| (s % 4 == 0, false));
    let out = path.health.stats();
    assert!((out.loss_tx - 0.25).abs() < 0.05 && out.loss_rx < 0.03, "{out:?}");
    let mut path = Path::new();
    path.run(0, 6000, |s| (false, s % 5 == 0));
    let back = path.health.stats();
    assert!(back.loss_tx < 0.03 && (back.loss_rx - 0.2).abs() < 0.05, "{back:?}");
    assert!(back.up, "loss is not death");
}

#[test]
fn silence_is_detected_in_time_and_recovery_needs_a_streak() {
    let mut path = Path::new();
    path.run(0, 2000, |_| (false, false));
    path.run(2000, 2250, |_| (true, true));
    assert!(path.health.up(), "not before detect");
    path.run(2250, 2420, |_| (true, true));
    assert!(!path.health.up());
    assert_eq!(path.health.stats().loss_tx, path.health.stats().loss_rx);
    path.run(2420, 2440, |_| (false, false));
    assert!(!path.health.up());
    path.run(2440, 3000, |_| (false, false));
    assert!(path.health.up());
}

#[test]
fn our_own_stall_is_not_the_paths_death() {
    let mut path = Path::new();
    path.run(0, 2000, |_| (false, false));
    path.flying.clear(); // what came back during the stall was overwritten in the socket
    path.health.forgive(Nanos::from_millis(900));
    path.run(2900, 3600, |_| (false, false));
    assert!(path.health.up());
}

#[test]
fn a_restarted_reflector_is_not_loss() {
    let mut path = Path::new();
    path.run(0, 3000, |_| (false, false));
    path.reflected = 0;
    path.run(3000, 3600, |_| (false, false));
    let stats = path.health.stats();
    assert_eq!((stats.loss_tx, stats.loss_rx), (0.0, 0.0), "{stats:?}");
}

#[test]
fn a_late_reply_undoes_its_loss_and_a_duplicate_counts_once() {
    let mut path = Path::new();
    path.run(0, 1000, |s| (false, s == 10));
    let received = path.health.stats().received;
    assert!(path.health.stats().loss > 0.0);
    path.health.reply(Nanos::from_millis(1000), 10, 10, Nanos(500 * MS));
    path.health.reply(Nanos::from_millis(1000), 10, 10, Nanos(500 * MS));
    assert_eq!(path.health.stats().received, received + 1);
    assert_eq!(path.health.stats().loss, 0.0);
}

#[test]
fn closely_looked_at_a_path_is_known_sooner_and_reads_the_same() {
    let mut path = Path::new();
    path.run(0, 2000, |_| (false, false));
    path.spacing = Nanos(4 * MS);
    path.run(2000, 2200, |_| (false, false));
    // A round trip of 10 ms: two or three are under way, which at the configured spacing is less than one.
    assert!(path.health.stats().consecutive_lost <= 1, "{:?}", path.health.stats());
    let before = path.health.stats().sent;
    path.run(2200, 2500, |s| (s % 10 == 0, false));
    let stats = path.health.stats();
    assert!((50..100).contains(&(stats.sent - before)), "{}", stats.sent - before);
    assert!((0.02..0.1).contains(&stats.loss_tx) && stats.loss_rx < 0.01, "{stats:?}");
    path.run(2500, 2700, |_| (true, true));
    assert!((7..=11).contains(&path.health.stats().consecutive_lost), "{:?}", path.health.stats());
    assert!(path.health.up(), "not before detect");
    path.run(2700, 2900, |_| (true, true));
    assert!(!path.health.up());
}

/// A third party's gateway answers no probe: none is sent, and the path is taken to be up from when it may be used.
#[test]
fn a_path_that_is_not_probed_is_up_and_silent() {
    let mut health = PathHealth::new(TunnelId(1), ProbeConfig::default(), false, SplitMix::new(7));
    assert!(!health.up());
    health.start(Nanos(0));
    let mut out = Vec::new();
    (0..60_000).for_each(|ms| health.poll(Nanos::from_millis(ms), Nanos(20 * MS), &mut out));
    assert!(health.up() && out.is_empty());
    health.reset();
    assert!(!health.up());
}
