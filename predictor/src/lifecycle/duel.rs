//! Champion and challenger on the same steps. Each probability is judged when its horizon has passed and it is known what came.

use std::collections::VecDeque;

use crate::train::Figures;

/// A challenger must be better by this share of the champion's squared error: what is as good is not worth a change.
const MARGIN: f64 = 0.01;
/// One alarm lasts until so many milliseconds have been quiet.
const QUIET_MS: u64 = 10_000;

/// How good a model is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Mean squared error of the probability.
    pub brier: f64,
    /// Alarms that no failure followed.
    pub false_alarms: usize,
    /// Failures.
    pub failures: usize,
    /// Those of them that an alarm preceded.
    pub foreseen: usize,
}

impl Score {
    /// From the figures of an evaluation.
    pub fn of(figures: &Figures) -> Score {
        Score {
            brier: figures.brier.unwrap_or(f64::INFINITY),
            false_alarms: figures.false_alarms,
            failures: figures.foreseen.0,
            foreseen: figures.foreseen.1,
        }
    }
}

/// Whether the challenger shall replace the champion.
///
/// # Errors
/// Why not.
pub fn better(champion: &Score, challenger: &Score) -> Result<(), String> {
    if challenger.false_alarms > champion.false_alarms {
        return Err(format!(
            "{} false alarms, the champion has {}",
            challenger.false_alarms, champion.false_alarms
        ));
    }
    if challenger.foreseen < champion.foreseen {
        return Err(format!(
            "{} of {} failures foreseen, the champion foresees {}",
            challenger.foreseen, challenger.failures, champion.foreseen
        ));
    }
    // NaN is not below anything.
    let enough = champion.brier * (1.0 - MARGIN);
    if challenger.brier < enough {
        return Ok(());
    }
    Err(format!("its squared error is {:.5}, the champion's {:.5}", challenger.brier, champion.brier))
}

/// What one of the two says at a step.
#[derive(Clone, Copy, Debug)]
pub struct Rival {
    /// P(failure within the horizon); NaN: no number.
    pub probability: f32,
    /// Whether it alarms.
    pub alarms: bool,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    at_ms: u64,
    said: [Rival; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    squared: f64,
    score: Score,
    last_false_ms: Option<u64>,
}

/// A challenger in shadow: nobody acts on what it says. Allocates nothing after `new`.
#[derive(Debug)]
pub struct Duel {
    horizon_ms: u64,
    length_ms: u64,
    waiting: VecDeque<Step>,
    sums: [Sum; 2],
    judged: u64,
    judged_ms: u64,
    /// Of the last step that was judged.
    last_ms: Option<u64>,
    failed_ms: Option<u64>,
}

impl Duel {
    /// Until `length_ms` of steps have been judged.
    pub fn new(horizon_ms: u64, length_ms: u64) -> Duel {
        let waiting = VecDeque::with_capacity(2 * (horizon_ms / crate::SAMPLE_MS) as usize + 2);
        let (sums, judged, judged_ms) = ([Sum::default(); 2], 0, 0);
        Duel { horizon_ms, length_ms, waiting, sums, judged, judged_ms, last_ms: None, failed_ms: None }
    }

    /// One step of both, the champion first.
    pub fn push(&mut self, at_ms: u64, champion: Rival, challenger: Rival) {
        // A clock that goes back would leave steps that never ripen.
        if self.waiting.back().is_some_and(|last| last.at_ms > at_ms)
            || self.waiting.len() == self.waiting.capacity()
        {
            self.waiting.clear();
        }
        self.waiting.push_back(Step { at_ms, said: [champion, challenger] });
        while let Some(step) =
            self.waiting.front().copied().filter(|step| at_ms > step.at_ms + self.horizon_ms)
        {
            self.waiting.pop_front();
            self.ripe(step, false);
        }
    }

    /// The service has failed: what was said within the horizon before was said of this.
    pub fn failed(&mut self, at_ms: u64) {
        self.failed_ms = Some(at_ms);
        let alarmed = |side: usize| self.waiting.iter().any(|step| step.said[side].alarms);
        let foreseen = [alarmed(0), alarmed(1)];
        for (sum, foreseen) in self.sums.iter_mut().zip(foreseen) {
            sum.score.failures += 1;
            sum.score.foreseen += usize::from(foreseen);
        }
        while let Some(step) = self.waiting.pop_front() {
            self.ripe(step, at_ms <= step.at_ms + self.horizon_ms);
        }
    }

    fn ripe(&mut self, step: Step, failed: bool) {
        let apart = self.last_ms.map_or(0, |last| step.at_ms.saturating_sub(last));
        self.judged_ms += apart.min(QUIET_MS);
        self.last_ms = Some(step.at_ms);
        self.judged += 1;
        for (sum, said) in self.sums.iter_mut().zip(step.said) {
            // No number is as wrong as can be.
            let wrong =
                if said.probability.is_nan() { 1.0 } else { said.probability - f32::from(u8::from(failed)) };
            sum.squared += f64::from(wrong).powi(2);
            if said.alarms && !failed {
                let new = sum.last_false_ms.is_none_or(|last| step.at_ms > last + QUIET_MS);
                sum.score.false_alarms += usize::from(new);
                sum.last_false_ms = Some(step.at_ms);
            }
        }
    }

    /// The scores so far, the champion's first.
    pub fn scores(&self) -> [Score; 2] {
        self.sums.map(|sum| Score { brier: sum.squared / self.judged.max(1) as f64, ..sum.score })
    }

    /// Whether the challenger has won, once it has run long enough.
    pub fn verdict(&self) -> Option<Result<(), String>> {
        let [champion, challenger] = self.scores();
        (self.judged_ms >= self.length_ms).then(|| better(&champion, &challenger))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(probability: f32) -> Rival {
        Rival { probability, alarms: probability >= 0.6 }
    }

    fn calm(duel: &mut Duel, from: u64, steps: u64, champion: f32, challenger: f32) {
        (0..steps).for_each(|i| duel.push(from + i * 100, says(champion), says(challenger)));
    }

    #[test]
    fn the_better_one_wins_when_its_time_has_come() {
        let mut duel = Duel::new(10_000, 60_000);
        calm(&mut duel, 0, 600, 0.1, 0.05);
        assert_eq!(duel.verdict(), None, "not yet");
        calm(&mut duel, 60_000, 200, 0.1, 0.05);
        assert_eq!(duel.verdict(), Some(Ok(())));
        let [champion, challenger] = duel.scores();
        assert!((champion.brier - 0.01).abs() < 1e-6 && (challenger.brier - 0.0025).abs() < 1e-6);
    }

    #[test]
    fn who_alarms_for_nothing_or_misses_a_failure_loses() {
        let mut rash = Duel::new(10_000, 30_000);
        calm(&mut rash, 0, 300, 0.3, 0.01);
        calm(&mut rash, 30_000, 5, 0.3, 0.9);
        calm(&mut rash, 30_500, 200, 0.3, 0.01);
        assert!(rash.verdict().unwrap().unwrap_err().contains("1 false alarms"));

        let mut deaf = Duel::new(10_000, 30_000);
        calm(&mut deaf, 0, 400, 0.3, 0.01);
        calm(&mut deaf, 40_000, 50, 0.9, 0.01);
        deaf.failed(45_100);
        calm(&mut deaf, 60_000, 300, 0.3, 0.01);
        let why = deaf.verdict().unwrap().unwrap_err();
        assert!(why.contains("0 of 1 failures foreseen, the champion foresees 1"), "{why}");
    }

    #[test]
    fn equals_and_models_without_a_number_change_nothing() {
        let mut equal = Duel::new(10_000, 10_000);
        calm(&mut equal, 0, 400, 0.1, 0.1);
        assert!(equal.verdict().unwrap().unwrap_err().contains("squared error"));
        let mut silent = Duel::new(10_000, 10_000);
        calm(&mut silent, 0, 400, 0.1, f32::NAN);
        assert!(silent.verdict().unwrap().is_err());
        // A clock that jumps back and forth neither panics nor ends it early.
        let mut jumping = Duel::new(10_000, 1_000_000);
        (0..2000u64).for_each(|i| jumping.push(if i % 7 == 0 { 3 } else { i * 100 }, says(0.1), says(0.0)));
        assert_eq!(jumping.verdict(), None);
    }
}
