//! What the judges say of runs that they were not fitted to: each kind of fault is left out in turn.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use super::TrainError;
use super::dataset::Series;
use super::ensemble::{Said, ask, judges};
use super::fit::{Plan, Steps};
use crate::recording::RunKind;
use crate::task::Progress;

/// What the judges say of every run when they were fitted without its kind of fault; `jobs` kinds at a time, with the same outcome.
pub(crate) fn unseen(
    train: &[Series],
    plan: Plan,
    jobs: usize,
    steps: &mut Steps<'_>,
) -> Result<Vec<Said>, TrainError> {
    let folds = Folds::new(train);
    steps.expect((folds.names.len() + 1) * plan.steps());
    let (next, (tell, told)) = (AtomicUsize::new(0), channel());
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, folds.names.len()) {
            let (folds, next, tell) = (&folds, &next, tell.clone());
            scope.spawn(move || folds.work(train, plan, next, &tell));
        }
        drop(tell);
        let mut said: Vec<Said> = vec![Vec::new(); train.len()];
        for news in told {
            match news {
                News::Step(fold) => {
                    steps.name(format!("without {}", folds.names[fold]));
                    steps.done();
                }
                News::Said(Ok(words)) => words.into_iter().for_each(|(i, words)| said[i] = words),
                News::Said(Err(error)) => {
                    next.store(folds.names.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(said)
    })
}

/// From a thread that fits.
enum News {
    /// A step of this fold is done.
    Step(usize),
    /// What was said of the runs of a fold.
    Said(Result<Vec<(usize, Said)>, TrainError>),
}

/// Which fold each run is in, and what each fold leaves out.
struct Folds {
    of: Vec<usize>,
    names: Vec<String>,
}

impl Folds {
    fn new(train: &[Series]) -> Self {
        let faulty = |s: &&Series| s.kind != RunKind::Calm;
        let mut kinds: Vec<String> = train.iter().filter(faulty).map(|s| s.fault.clone()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        // With a single kind of fault there is none to leave out: its runs go around, as calm ones always do.
        if kinds.len() < 2 {
            kinds = (1..=4).map(|part| format!("part {part} of 4")).collect();
        }
        // Both views of one recording are left out together.
        let mut recordings: Vec<&str> = train.iter().map(Series::recording).collect();
        recordings.dedup();
        let mut at = 0;
        let place = |s: &Series| {
            at += usize::from(recordings[at] != s.recording());
            let kind = kinds.iter().position(|kind| faulty(&s) && *kind == s.fault);
            kind.unwrap_or(at % kinds.len())
        };
        Self { of: train.iter().map(place).collect(), names: kinds }
    }

    /// Takes one fold after the other until none is left.
    fn work(&self, train: &[Series], plan: Plan, next: &AtomicUsize, tell: &Sender<News>) {
        loop {
            let fold = next.fetch_add(1, Ordering::Relaxed);
            if fold >= self.names.len() {
                return;
            }
            // Nobody listens any more once another fold has failed.
            let mut done = |_: Progress<'_>| drop(tell.send(News::Step(fold)));
            let said = self.without(fold, train, plan, &mut Steps::new(&mut done));
            drop(tell.send(News::Said(said)));
        }
    }

    fn without(
        &self,
        fold: usize,
        train: &[Series],
        plan: Plan,
        steps: &mut Steps<'_>,
    ) -> Result<Vec<(usize, Said)>, TrainError> {
        let rest = train.iter().zip(&self.of).filter(|(_, of)| **of != fold);
        let fitted = judges(&rest.map(|(s, _)| s.clone()).collect::<Vec<_>>(), plan, steps)?;
        let left_out = train.iter().enumerate().filter(|(i, _)| self.of[*i] == fold);
        left_out.map(|(i, series)| Ok((i, ask(&fitted, series, plan.window)?))).collect()
    }
}
