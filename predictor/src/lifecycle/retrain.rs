//! A challenger from the engine's own history.

use crate::lifecycle::duel::{Score, better};
use crate::model::Model;
use crate::recording::Run;
use crate::task::OnProgress;
use crate::train::{Options, Series, TrainError, Trained, evaluate, train};

/// What came of it.
#[derive(Debug)]
pub enum Outcome {
    /// A challenger that is better on held-out recent history: it may run in shadow.
    Better(Box<Trained>),
    /// The champion stays; why.
    Kept(String),
}

/// Trains on recordings and on the engine's own history, and judges the result beside the champion on the part of that history that it
/// was not shown: the newest quarter.
///
/// # Errors
/// Training failed for another reason than that there is too little to learn from.
pub fn retrain(
    recordings: Vec<Run>,
    history: Vec<Run>,
    champion: &Model,
    options: &Options,
    progress: OnProgress<'_>,
) -> Result<Outcome, TrainError> {
    let own: Vec<String> = history.iter().map(|run| run.header.run.clone()).collect();
    let runs: Vec<Run> = recordings.into_iter().chain(history).collect();
    let trained = match train(&runs, options, progress) {
        Ok(trained) => trained,
        Err(error @ TrainError::OneSided { .. }) => return Ok(Outcome::Kept(error.to_string())),
        Err(error) => return Err(error),
    };
    let held_out =
        |run: &&Run| own.contains(&run.header.run) && !trained.card.split.train.contains(&run.header.run);
    let recent: Vec<Series> =
        runs.iter().filter(held_out).map(|run| Series::new(run, options.horizon_ms)).collect();
    if recent.iter().all(Series::is_empty) {
        return Ok(Outcome::Kept("there is no recent history to judge by".into()));
    }
    let score = |model: &Model| Score::of(&evaluate(model, &recent));
    Ok(match better(&score(champion), &score(&trained.model)) {
        Ok(()) => Outcome::Better(Box::new(trained)),
        Err(why) => Outcome::Kept(format!("on {} recent runs: {why}", recent.len())),
    })
}
