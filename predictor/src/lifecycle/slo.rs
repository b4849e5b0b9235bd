//! When an engine's service is bad, by what it measures itself: what its own history is labelled with. The lab's recordings are
//! labelled by the hosts (`scripts/lab/slo.py`); an engine in the field has its probes and counters.

use crate::recording::EventKind;
use crate::sample::{Metric, SAMPLE_MS, TelemetrySample};

/// The SLO: share of probes lost (one lost of a second's fifty reads 0.02), share of packets that the walk drops, round trip over
/// the calm one, and the least round trip (µs) that can be too long.
const LOSS_MAX: f32 = 0.03;
const DROPS_MAX: f32 = 0.001;
const SLOWER: f32 = 5.0;
const SLOW_US: f32 = 5_000.0;
/// A breach is five of six bad samples over three seconds, the last one too.
const WATCHED: u32 = 30;
const BAD: u32 = 25;
/// So many samples in a row of a link that is down, or of a path that gives nothing back, are a death.
const DEAD: u32 = 10;
/// So many good samples in a row, and it is over.
const RECOVERED: u32 = 100;
/// Time constant (ms) of the calm round trip, and of one that is too long: a path that is another for good becomes the normal one.
const CALM_MS: f32 = 60_000.0;
const CHANGED_MS: f32 = 3_600_000.0;
/// The calm round trip is the mean of so many samples at first; until then none is too long.
const FIRST: u32 = 50;

/// What a sample showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing new.
    Nothing,
    /// The service has failed: [`EventKind::Breach`] or [`EventKind::HardFailure`].
    Failed(EventKind),
    /// It has been good again for a while.
    Recovered,
}

/// Watches one engine.
#[derive(Clone, Debug, Default)]
pub struct SloWatch {
    /// The newest sample is the lowest bit; 1 is bad.
    bad: u32,
    dead: u32,
    good: u32,
    calm_rtt_us: f32,
    /// Round trips that the calm one was made of, as far as that matters.
    heard: u32,
    failed: bool,
    died: bool,
    /// Something was measured and good: before that a path is on its way up, and has not failed.
    begun: bool,
}

impl SloWatch {
    /// Takes the next sample.
    pub fn push(&mut self, sample: &TelemetrySample) -> Seen {
        let (bad, dead) = (self.is_bad(sample), is_dead(sample));
        self.bad = self.bad << 1 | u32::from(bad);
        self.dead = if dead { self.dead + 1 } else { 0 };
        self.good = if bad || dead { 0 } else { self.good + 1 };
        self.begun |= self.good > 0 && sample.get(Metric::PathRttUsP95).is_some();
        if !self.begun {
            (self.bad, self.dead) = (0, 0);
            return Seen::Nothing;
        }
        if self.dead >= DEAD && !self.died {
            (self.failed, self.died) = (true, true);
            return Seen::Failed(EventKind::HardFailure);
        }
        let watched = self.bad & ((1 << WATCHED) - 1);
        if bad && !self.failed && watched.count_ones() >= BAD {
            self.failed = true;
            return Seen::Failed(EventKind::Breach);
        }
        if self.failed && self.good >= RECOVERED {
            (self.failed, self.died, self.bad) = (false, false, 0);
            return Seen::Recovered;
        }
        Seen::Nothing
    }

    fn is_bad(&mut self, sample: &TelemetrySample) -> bool {
        let get = |metric| sample.get(metric).unwrap_or(0.0);
        let lossy = get(Metric::PathLossTx).max(get(Metric::PathLossRx)) > LOSS_MAX;
        let dropping = get(Metric::DropPps) > DROPS_MAX * get(Metric::RxPps).max(1.0);
        let Some(rtt) = sample.get(Metric::PathRttUsP95) else { return lossy || dropping };
        let known = self.heard >= FIRST;
        let slow = known && rtt > SLOW_US.max(SLOWER * self.calm_rtt_us);
        if known {
            let bad = lossy || dropping || slow;
            let share = SAMPLE_MS as f32 / if bad { CHANGED_MS } else { CALM_MS };
            // One round trip of minutes is no normal either.
            self.calm_rtt_us +=
                (rtt.min(2.0 * SLOWER * self.calm_rtt_us.max(1.0)) - self.calm_rtt_us) * share;
        } else if !lossy {
            self.heard += 1;
            self.calm_rtt_us += (rtt - self.calm_rtt_us) / self.heard as f32;
        }
        lossy || dropping || slow
    }
}

fn is_dead(sample: &TelemetrySample) -> bool {
    let gone = |metric| sample.get(metric).is_some_and(|share| share >= 0.99);
    let down = sample.get(Metric::LinkUp).is_some_and(|up| up < 0.5);
    down || gone(Metric::PathLossTx) || gone(Metric::PathLossRx)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(loss: f32, rtt: f32, n: u64) -> impl Iterator<Item = TelemetrySample> {
        (0..n).map(move |i| {
            let mut sample = TelemetrySample::new(i * SAMPLE_MS);
            sample.set(Metric::PathLossTx, loss).set(Metric::PathRttUsP95, rtt).set(Metric::LinkUp, 1.0);
            sample
        })
    }

    fn feed(watch: &mut SloWatch, samples: impl Iterator<Item = TelemetrySample>) -> Vec<(usize, Seen)> {
        let seen = samples.map(|sample| watch.push(&sample)).enumerate();
        seen.filter(|(_, seen)| *seen != Seen::Nothing).collect()
    }

    #[test]
    fn a_breach_lasts_and_a_death_is_told_apart() {
        let mut watch = SloWatch::default();
        assert_eq!(feed(&mut watch, samples(0.0, 800.0, 100)), []);
        assert_eq!(feed(&mut watch, samples(0.2, 800.0, 20)), [], "two seconds are a blip");
        assert_eq!(feed(&mut watch, samples(0.0, 900.0, 50)), []);
        assert_eq!(feed(&mut watch, samples(0.0, 9000.0, 60)), [(24, Seen::Failed(EventKind::Breach))]);
        assert_eq!(feed(&mut watch, samples(1.0, f32::NAN, 40)), [(9, Seen::Failed(EventKind::HardFailure))]);
        assert_eq!(feed(&mut watch, samples(0.0, 800.0, 150)), [(99, Seen::Recovered)]);
        let dead = [(9, Seen::Failed(EventKind::HardFailure))];
        assert_eq!(feed(&mut watch, samples(1.0, 800.0, 40)), dead, "the dead are not in breach as well");
    }

    #[test]
    fn a_path_that_is_longer_for_good_becomes_the_normal_one() {
        let mut watch = SloWatch::default();
        // The first few were lucky.
        assert_eq!(feed(&mut watch, samples(0.0, 300.0, 5).chain(samples(0.0, 8000.0, 300))), []);
        let seen = feed(&mut watch, samples(0.0, 80_000.0, 20_000));
        assert_eq!(seen[0], (24, Seen::Failed(EventKind::Breach)));
        let (after, last) = seen[seen.len() - 1];
        assert!(last == Seen::Recovered && (600..12_000).contains(&after), "{seen:?}");
    }

    #[test]
    fn a_path_that_was_never_up_has_not_failed() {
        let mut watch = SloWatch::default();
        assert_eq!(feed(&mut watch, samples(1.0, f32::NAN, 100)), []);
        assert_eq!(feed(&mut watch, samples(0.0, 800.0, 1)), []);
        assert_eq!(feed(&mut watch, samples(1.0, f32::NAN, 20)), [(9, Seen::Failed(EventKind::HardFailure))]);
    }

    #[test]
    fn what_was_not_measured_is_not_bad() {
        let blind = (0..200).map(|i| TelemetrySample::new(i * SAMPLE_MS));
        assert_eq!(feed(&mut SloWatch::default(), blind), []);
    }
}
