//! From assessments to an alarm, and how often an alarm may move traffic. Prediction is advice: whatever
//! the model says, this file bounds what comes of it.

use crate::config::PredictionConfig;
use crate::io::{Assessment, Policy};
use dataplane::id::Nanos;
use std::collections::{BTreeMap, VecDeque};

/// Drift at which a model without an opinion is worth a line in the decisions.
const DRIFT_NOTABLE: f32 = 0.9;
/// Failure is imminent: shift faster.
const IMMINENT: f32 = 0.95;

/// See [`Said`].
const SAY_AGAIN: Nanos = Nanos::from_millis(60_000);

/// What a sample did to the alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    Raised,
    Cleared,
    /// The model has no opinion but the engine is far from its baseline.
    DriftOnly,
}

/// Why an alarm does not move traffic now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hold {
    NotOwner,
    NoStandby,
    TargetAlarm,
    TargetNotReady,
    /// The target treats mirrored packets otherwise.
    Mirror,
    /// The applications do not answer at the target, and do here.
    Checks,
    /// The state store is lost: nobody else would learn of the move.
    NoStore,
    Budget,
    Cooldown,
    MassAlarm,
    Risk,
    Capacity,
}

/// What would be lost with this engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stake {
    /// The share of the site's traffic that it carries, weighed by group, 0–1.
    pub impact: f32,
    /// The largest SLA weight of what it carries (or would, as a standby).
    pub weight: f32,
}

impl Default for Stake {
    fn default() -> Stake {
        Stake { impact: 0.0, weight: 1.0 }
    }
}

/// Alarm at this probability where neither the configuration nor the model says one.
const THRESHOLD: f32 = 0.7;

/// What is said once in an alarm episode, and by a flapping alarm once in [`SAY_AGAIN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Said {
    Hold(Hold),
    Observed,
    Proposed,
}

/// The alarm and the budget of moves.
#[derive(Debug)]
pub(crate) struct FailureWatch {
    config: PredictionConfig,
    last: Assessment,
    stake: Stake,
    above: u32,
    below: u32,
    raised_at: Option<Nanos>,
    drift_said: bool,
    /// When, and in the current episode.
    said: BTreeMap<Said, (Nanos, bool)>,
    moves: VecDeque<Nanos>,
    quiet_until: Nanos,
}

impl FailureWatch {
    pub fn new(config: PredictionConfig) -> FailureWatch {
        FailureWatch {
            config,
            last: Assessment { probability: f32::NAN, ..Assessment::default() },
            stake: Stake::default(),
            above: 0,
            below: 0,
            raised_at: None,
            drift_said: false,
            said: BTreeMap::new(),
            moves: VecDeque::new(),
            quiet_until: Nanos(0),
        }
    }

    pub fn config(&self) -> &PredictionConfig {
        &self.config
    }

    pub fn set_mode(&mut self, mode: crate::io::Mode) {
        self.config.mode = mode;
        self.said.clear();
    }

    /// What the configuration says now.
    pub fn change_policy(&mut self, policy: Policy) {
        let Policy { mode, threshold, moves_max, moves_window, sla_weights, rates: _ } = policy;
        self.config =
            PredictionConfig { threshold, moves_max, moves_window, sla_weights, ..self.config.clone() };
        if let Some(mode) = mode {
            self.set_mode(mode);
        }
    }

    pub fn last(&self) -> &Assessment {
        &self.last
    }

    pub fn raised_at(&self) -> Option<Nanos> {
        self.raised_at
    }

    /// While the alarm is raised: within what time this engine fails, as it says. One that says no time leaves all of it.
    pub fn fails_within(&self) -> Option<Nanos> {
        self.raised_at.map(|_| match self.last.horizon_ms {
            0 => Nanos(u64::MAX),
            horizon => Nanos::from_millis(horizon),
        })
    }

    pub fn imminent(&self) -> bool {
        self.raised_at.is_some() && self.last.probability >= IMMINENT
    }

    /// What probability × SLA weight is held against. A model's own word counts only if it is a probability.
    pub fn threshold(&self) -> f32 {
        let of_model = Some(self.last.alarm_from).filter(|from| (0.0..=1.0).contains(from) && *from > 0.0);
        self.config.threshold.or(of_model).unwrap_or(THRESHOLD)
    }

    /// Below this an alarm clears. Under a low threshold it must still be able to.
    fn clear_below(&self) -> f32 {
        let threshold = self.threshold();
        threshold - self.config.hysteresis.min(threshold / 2.0)
    }

    /// Probability × impact × SLA weight.
    fn risk(&self) -> f32 {
        self.last.probability * self.stake.impact * self.stake.weight
    }

    /// Whether so much is at stake that an alarm shall move traffic.
    pub fn worth_it(&self) -> bool {
        self.risk() >= self.clear_below()
    }

    pub fn sample(&mut self, now: Nanos, assessment: Assessment, stake: Stake) -> Change {
        self.last = assessment;
        self.stake = stake;
        let p = self.last.probability;
        if !(0.0..=1.0).contains(&p) {
            // No opinion, or nonsense: neither raises nor clears.
            self.above = 0;
            self.below = 0;
            let notable = self.last.drift >= DRIFT_NOTABLE;
            let first = notable && !self.drift_said;
            self.drift_said |= notable;
            return if first { Change::DriftOnly } else { Change::None };
        }
        self.drift_said = false;
        let urgency = p * stake.weight;
        self.above = if urgency >= self.threshold() { self.above.saturating_add(1) } else { 0 };
        let calm = urgency < self.clear_below();
        self.below = if calm { self.below.saturating_add(1) } else { 0 };
        if self.raised_at.is_none() && self.above >= self.config.raise_after {
            self.raised_at = Some(now);
            self.said.values_mut().for_each(|(_, current)| *current = false);
            Change::Raised
        } else if self.raised_at.is_some() && self.below >= self.config.clear_after {
            self.raised_at = None;
            Change::Cleared
        } else {
            Change::None
        }
    }

    /// True if it is to be said now.
    pub fn say(&mut self, now: Nanos, what: Said) -> bool {
        let silent = |(at, current): &(Nanos, bool)| *current || now.since(*at) < SAY_AGAIN;
        let again = !self.said.get(&what).is_some_and(silent);
        if again {
            self.said.insert(what, (now, true));
        }
        again
    }

    /// Whether budget and cooldown allow a predicted move.
    pub fn allows(&mut self, now: Nanos) -> Result<(), Hold> {
        while self.moves.front().is_some_and(|at| now.since(*at) > self.config.moves_window) {
            self.moves.pop_front();
        }
        if self.moves.len() >= self.config.moves_max {
            return Err(Hold::Budget);
        }
        if now < self.quiet_until { Err(Hold::Cooldown) } else { Ok(()) }
    }

    /// A predicted move begins.
    pub fn moved(&mut self, now: Nanos) {
        self.moves.push_back(now);
    }

    /// Ownership or traffic has just moved, for whatever reason.
    pub fn settle(&mut self, now: Nanos) {
        self.quiet_until = now.plus(self.config.cooldown);
    }

    /// The samples behind the alarm, for the decision.
    pub fn inputs(&self) -> Vec<(String, String)> {
        let a = &self.last;
        let mut inputs = vec![
            ("probability".to_owned(), format!("{:.3}", a.probability)),
            ("threshold".to_owned(), format!("{:.3}", self.threshold())),
            ("impact".to_owned(), format!("{:.2}", self.stake.impact)),
            ("sla_weight".to_owned(), format!("{:.2}", self.stake.weight)),
            ("risk".to_owned(), format!("{:.3}", self.risk())),
            ("drift".to_owned(), format!("{:.3}", a.drift)),
            ("horizon_ms".to_owned(), a.horizon_ms.to_string()),
        ];
        inputs.extend(a.drivers.iter().take(8).map(|(k, v)| (format!("driver {k}"), format!("{v:.3}"))));
        inputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(watch: &mut FailureWatch, samples: &[f32]) -> Vec<Change> {
        let step = |(i, p): (usize, &f32)| {
            let a = Assessment { probability: *p, drift: 1.0, ..Assessment::default() };
            watch.sample(Nanos::from_millis(i as u64 * 100), a, Stake::default())
        };
        samples.iter().enumerate().map(step).filter(|c| *c != Change::None).collect()
    }

    fn watch() -> FailureWatch {
        FailureWatch::new(PredictionConfig::default())
    }

    #[test]
    fn raises_after_three_and_clears_after_twenty_calm() {
        let mut w = watch();
        assert_eq!(feed(&mut w, &[0.9, 0.9, 0.1, 0.9, 0.9]), []);
        assert_eq!(feed(&mut w, &[0.9, 0.9]), [Change::Raised]);
        assert_eq!(feed(&mut w, &[0.6; 50]), [], "between the two thresholds nothing changes");
        assert_eq!(feed(&mut w, &[0.49; 19]), []);
        assert_eq!(feed(&mut w, &[0.49]), [Change::Cleared]);
    }

    #[test]
    fn the_threshold_is_the_configurations_then_the_models() {
        let raised = |threshold, alarm_from: f32, weight, p: f32| {
            let mut w = FailureWatch::new(PredictionConfig { threshold, ..PredictionConfig::default() });
            let a = Assessment { probability: p, alarm_from, ..Assessment::default() };
            let stake = Stake { impact: 1.0, weight };
            (0..3).any(|i| w.sample(Nanos::from_millis(i * 100), a.clone(), stake) == Change::Raised)
        };
        assert!(raised(None, 0.4, 1.0, 0.45) && !raised(None, 0.4, 1.0, 0.35));
        assert!(!raised(Some(0.9), 0.4, 1.0, 0.45) && raised(Some(0.2), 0.9, 1.0, 0.25));
        for nonsense in [0.0, -1.0, 7.0, f32::NAN] {
            assert!(raised(None, nonsense, 1.0, 0.7) && !raised(None, nonsense, 1.0, 0.69));
        }
        assert!(raised(Some(0.6), 0.0, 2.0, 0.35) && !raised(Some(0.6), 0.0, 0.5, 1.0), "the SLA weighs");
    }

    #[test]
    fn a_move_must_be_worth_it() {
        let worth = |p: f32, impact, weight| {
            let mut w = watch();
            w.sample(
                Nanos(0),
                Assessment { probability: p, ..Assessment::default() },
                Stake { impact, weight },
            );
            w.worth_it()
        };
        assert!(
            worth(0.8, 1.0, 1.0) && !worth(0.8, 0.5, 1.0) && worth(0.8, 0.5, 2.0) && !worth(1.0, 0.0, 9.0)
        );
    }

    #[test]
    fn nonsense_raises_nothing() {
        assert_eq!(feed(&mut watch(), &[f32::NAN; 50]), [Change::DriftOnly]);
        assert_eq!(feed(&mut watch(), &[f32::INFINITY, 2.0, -1.0, 2.0, 7.0]), [Change::DriftOnly]);
        let flapping: Vec<f32> = (0..200).map(|i| (i % 2) as f32).collect();
        assert_eq!(feed(&mut watch(), &flapping), []);
    }

    #[test]
    fn the_budget_and_the_cooldown_bound_moves() {
        let mut w = watch();
        let at = |s: u64| Nanos::from_millis(s * 1000);
        for s in [0, 100, 200] {
            assert_eq!(w.allows(at(s)), Ok(()));
            w.moved(at(s));
            w.settle(at(s));
            assert_eq!(w.allows(at(s + 29)), Err(if s == 200 { Hold::Budget } else { Hold::Cooldown }));
        }
        assert_eq!(w.allows(at(500)), Err(Hold::Budget));
        assert_eq!(w.allows(at(601)), Ok(()));
    }
}
