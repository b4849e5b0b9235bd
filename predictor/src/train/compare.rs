//! Detectors side by side on the same runs.

use std::collections::BTreeMap;

use super::card::SplitCard;
use super::dataset::{Label, Series, Simple};
use super::figures::{Alarm, Coverage, Figures, Meaning, Scores, best_threshold, judge};
use super::{Spoken, verdicts_of};
use crate::model::Model;
use crate::predict::Verdict;
use crate::recording::RunKind;

/// Runs by what they serve for.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    /// Trained on: they give the simple detectors their thresholds.
    pub(crate) train: Vec<Series>,
    /// Judged, part by part.
    pub(crate) parts: Vec<Part>,
}

/// A part of the test.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) series: Vec<Series>,
}

impl Sets {
    /// The faults never trained on (with all calm runs that were not; then alone), the loads and the days never trained on, and later
    /// runs of what was.
    /// Runs that the split does not know were not trained on. A part without failing or without healthy steps is left out.
    pub(crate) fn new(split: &SplitCard, series: Vec<Series>) -> Self {
        let (train, test): (Vec<Series>, Vec<Series>) =
            series.into_iter().filter(|s| !s.is_empty()).partition(|s| split.train.contains(&s.run));
        let out = &split.held_out;
        let calm = |s: &Series| s.kind == RunKind::Calm && !out.faults.is_empty();
        let of = |wanted: &dyn Fn(&Series) -> bool| test.iter().filter(|s| wanted(s)).cloned().collect();
        let mut parts = vec![
            Part { name: "unseen faults", series: of(&|s| out.fault(s) || calm(s)) },
            Part { name: "unseen faults alone", series: of(&|s| out.fault(s)) },
            Part { name: "unseen loads", series: of(&|s| out.load(s)) },
            Part { name: "unseen days", series: of(&|s| out.day(s)) },
            Part { name: "later runs", series: of(&|s| !out.has(s)) },
        ];
        if out.is_empty() {
            parts = vec![Part { name: "runs not trained on", series: test }];
        }
        parts.retain(|part| {
            let has =
                |label| part.series.iter().any(|s| s.kind != RunKind::Abrupt && s.labels.contains(&label));
            has(Label::Failing) && has(Label::Healthy)
        });
        Self { train, parts }
    }
}

/// What another detector said of every step: run, time, score.
#[derive(Clone, Debug)]
pub(crate) struct Other {
    pub(crate) name: String,
    pub(crate) said: BTreeMap<String, BTreeMap<u64, f32>>,
}

impl Other {
    /// Its scores of a run's steps; where it said nothing, 0.
    fn scores(&self, series: &Series) -> Scores {
        let said = self.said.get(&series.run);
        series.at_ms.iter().map(|at| said.and_then(|said| said.get(at)).copied().unwrap_or(0.0)).collect()
    }
}

/// One detector on one part.
#[derive(Debug)]
pub(crate) struct Row {
    /// Place among the parts.
    pub(crate) part: usize,
    pub(crate) name: String,
    /// One each step of each run of the part.
    pub(crate) scores: Vec<Scores>,
    /// What raises its alarm, the same.
    pub(crate) alarm: Vec<Scores>,
    pub(crate) figures: Figures,
}

/// What our detector is called.
pub(crate) const OURS: &str = "ours";

/// The model and the others on every part of the test. The model has its fixed threshold; the others get the one that serves them
/// best (F1) on the training runs, and are left out where those are not there.
pub(crate) fn rows(model: &Model, sets: &Sets, others: &[Other]) -> Vec<Row> {
    type Score = fn(&Simple) -> f32;
    let simple: [(&str, Score); 4] = [
        ("threshold", |s| s.level),
        ("EWMA", |s| s.ewma),
        ("linear time to exhaustion", |s| s.exhaustion),
        ("drift score", |s| s.drift),
    ];
    let mut rows = Vec::new();
    for (part, Part { series, .. }) in sets.parts.iter().enumerate() {
        rows.push(ours(model, part, series));
        let mut add = |name: &str, of: &dyn Fn(&Series) -> Scores, meaning| {
            let scores = |set: &[Series]| -> Vec<Scores> { set.iter().map(of).collect() };
            let (threshold, said) = (best_threshold(&sets.train, &scores(&sets.train)), scores(series));
            let figures = judge(series, &said, Alarm { scores: &said, threshold }, meaning);
            rows.push(Row { part, name: name.to_owned(), alarm: said.clone(), scores: said, figures });
        };
        if sets.train.is_empty() {
            continue;
        }
        for (name, score) in simple {
            add(name, &|s| s.simple.iter().map(score).collect(), Meaning::Score);
        }
        for other in others {
            add(&other.name, &|s| other.scores(s), Meaning::Probability);
        }
    }
    rows
}

fn ours(model: &Model, part: usize, series: &[Series]) -> Row {
    let horizon_ms = model.description().horizon_ms;
    let mut coverage = Coverage::default();
    let mut spoken = Spoken::default();
    for run in series {
        let verdicts = verdicts_of(model, run);
        if run.kind != RunKind::Abrupt {
            cover(&mut coverage, run, &verdicts, horizon_ms);
        }
        spoken.push(model, &verdicts);
    }
    let figures = Figures { coverage: Some(coverage), ..spoken.judge(model, series) };
    Row { part, name: OURS.into(), scores: spoken.probability, alarm: spoken.alarm, figures }
}

/// Counts the steps of a run before its failure, and those at which the interval of the time left held.
fn cover(sum: &mut Coverage, run: &Series, verdicts: &[Option<Verdict>], horizon_ms: u64) {
    for (step, verdict) in verdicts.iter().enumerate().filter(|(step, _)| run.labels[*step] == Label::Failing)
    {
        if let (Some(came), Some(said)) =
            (run.left_ms(step, horizon_ms), verdict.and_then(|said| said.time_left))
        {
            sum.given += 1;
            sum.held += usize::from(said.holds(came));
        }
    }
}
