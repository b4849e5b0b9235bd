//! Application checks: what came of attempts, and when a check changes its mind.

use super::Controller;
use crate::checks::CheckState;
use crate::decision::Outcome;
use crate::io::Output;
use dataplane::id::Nanos;

impl Controller {
    /// An attempt has ended. A check that begins or ceases to fail is told as a decision: nothing is done about it by itself.
    pub(super) fn check_result(
        &mut self,
        place: usize,
        began: Nanos,
        outcome: Result<(), String>,
        out: &mut Vec<Output>,
    ) {
        let Some(name) = self.config.checks.get(place).map(|check| check.name.clone()) else { return };
        let before = self.checks.state(place, self.now);
        self.checks.result(place, began, outcome);
        let after = self.checks.state(place, self.now);
        let (word, rule) = match (before.state, after.state) {
            (CheckState::Failing, CheckState::Passing) => ("passes", "good attempts in a row".to_owned()),
            (CheckState::Failing, _) | (_, CheckState::Unknown | CheckState::Passing) => return,
            (_, CheckState::Failing) => ("fails", after.reason),
        };
        let inputs = self.sight().checks_told();
        self.decide(format!("check {name} {word}"), rule, inputs, Outcome::Observed, out);
    }
}
