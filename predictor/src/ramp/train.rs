//! From runs with known crashes to a model that is measured on fault kinds it has not seen.

use std::collections::BTreeMap;

use super::RampError;
use super::card::Card;
use super::data::{Run, Telemetry};
use super::events::Events;
use super::features::{N_FEATURES, Prior};
use super::figures::{Outcome, average_precision, judge};
use super::model::{RampModel, ensemble, run_features};
use super::order::median;
use crate::calibrate::{Scored, VennAbers};
use crate::gbdt::{Binned, Booster, Loss, Params, Rows, Target};
use crate::rng::Rng;

/// Parts that are left out in turn, at most.
const FOLDS_MAX: usize = 5;
/// Models whose log odds are averaged.
const MEMBERS: u64 = 3;
/// After so many trees the parts left out are asked whether more would help.
const STAGES: [usize; 6] = [40, 80, 120, 180, 260, 360];

/// How to train.
#[derive(Clone, Debug)]
pub struct Options {
    /// The same seed and data give the same model.
    pub seed: u64,
    /// Rows in calm to learn from, at most; the others are drawn from and weighted.
    pub calm_rows: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 1, calm_rows: 120_000 }
    }
}

/// Features and labels of the rows kept.
struct Lesson {
    columns: Vec<Vec<f32>>,
    crashed: Vec<f32>,
    weights: Vec<f32>,
    /// The run of every row.
    runs: Vec<usize>,
}

/// Trains on runs and what happened in them; `say` hears of the progress.
///
/// The score of every row comes from trees that saw neither its run nor its kind of fault (its run alone, if there is
/// but one kind): on these the number of trees is chosen, the calibration fitted and the figures of the card taken.
///
/// # Errors
/// No crash, no calm, or a crash of nodes that are not in the telemetry.
pub fn train(
    telemetry: &Telemetry,
    events: &Events,
    options: &Options,
    mut say: impl FnMut(&str),
) -> Result<RampModel, RampError> {
    let strangers = events.strangers(telemetry.runs());
    if let Some(first) = strangers.first() {
        return Err(RampError::Lesson(format!(
            "{first} crashes but has no telemetry ({} such)",
            strangers.len()
        )));
    }
    let priors = learn_priors(telemetry);
    say(&format!(
        "{} rows of {} metrics in {} runs read once",
        telemetry.rows(),
        telemetry.metrics().len(),
        telemetry.runs().len()
    ));
    let lesson = gather(telemetry, events, &priors, options)?;
    let crashing = lesson.crashed.iter().filter(|y| **y > 0.5).count();
    say(&format!("{} rows to learn from, {crashing} of them before a crash", lesson.crashed.len()));
    let (folds, split) = folds(telemetry.runs(), events, options.seed);
    let binned = Binned::new(&lesson.columns, 128)?;
    let target = Target::new(&lesson.crashed, Some(&lesson.weights))?;
    let (scores, trees) = held_out_scores(&lesson, &binned, &target, &folds, options, &mut say)?;
    let outcomes = outcomes(&lesson, &scores);
    let cases: Vec<Scored> = outcomes.iter().map(case).collect();
    let calibration = VennAbers::fit(&cases)?;
    let mut figures = judge(&cross_calibrated(&lesson, &folds, &outcomes, &calibration));
    // Calibration maps groups apart from each other; the order is that of the scores.
    figures.auc_pr = average_precision(&outcomes);
    let mut boosters = Vec::new();
    for member in 0..MEMBERS {
        say(&format!("member {} of {MEMBERS}: {trees} trees on all runs", member + 1));
        let params = params(trees, options.seed + member, &lesson);
        boosters.push(Booster::fit(&binned, &target, Rows::all(lesson.crashed.len()), &params)?);
    }
    let card = card(telemetry, events, split, trees, options.seed, figures);
    let named =
        telemetry.metrics().iter().cloned().zip(priors).filter_map(|(name, prior)| Some((name, prior?)));
    Ok(RampModel { priors: named.collect(), boosters, calibration, card })
}

fn card(
    telemetry: &Telemetry,
    events: &Events,
    split: String,
    trees: usize,
    seed: u64,
    held_out: super::Figures,
) -> Card {
    let runs = telemetry.runs();
    let mut faults: Vec<String> = runs.iter().filter_map(|run| events.fault(&run.name)).collect();
    faults.sort();
    faults.dedup();
    let crashed = |run: &&Run| events.of(&run.name).iter().any(|crash| crash.minute.is_some());
    Card {
        runs: runs.len(),
        crashed: runs.iter().filter(crashed).count(),
        rows: telemetry.rows(),
        metrics: telemetry.metrics().len(),
        faults,
        split,
        trees,
        seed,
        held_out,
    }
}

/// How much every metric varies: the median over the runs.
fn learn_priors(telemetry: &Telemetry) -> Vec<Option<Prior>> {
    let none = vec![None; telemetry.metrics().len()];
    let learnt: Vec<Vec<Option<Prior>>> =
        telemetry.runs().iter().map(|run| run_features(telemetry, run, &none, |_, _| ()).learnt()).collect();
    (0..none.len())
        .map(|metric| {
            let of = |part: fn(Prior) -> f32| {
                let mut values: Vec<f32> = learnt.iter().filter_map(|run| run[metric].map(part)).collect();
                median(&mut values)
            };
            let prior = Prior { peers: of(|prior| prior.peers), own: of(|prior| prior.own) };
            (prior.peers.is_finite() && prior.own.is_finite()).then_some(prior)
        })
        .collect()
}

/// All rows before a crash and of nodes at fault, and a draw of the calm ones.
fn gather(
    telemetry: &Telemetry,
    events: &Events,
    priors: &[Option<Prior>],
    options: &Options,
) -> Result<Lesson, RampError> {
    let runs = telemetry.runs();
    let labels: Vec<Vec<Option<bool>>> = runs.iter().map(|run| events.labels(run)).collect();
    let positives = labels.iter().flatten().filter(|label| **label == Some(true)).count();
    let negatives = labels.iter().flatten().filter(|label| **label == Some(false)).count();
    if positives == 0 {
        return Err(RampError::Lesson(
            "no node crashes in the telemetry (crash_minute, node_a, node_b)".into(),
        ));
    }
    if negatives == 0 {
        return Err(RampError::Lesson("no row lies outside the 30 minutes before a crash".into()));
    }
    let share = (options.calm_rows as f32 / negatives as f32).min(1.0);
    let mut rng = Rng::new(options.seed);
    let mut lesson = Lesson {
        columns: vec![Vec::new(); N_FEATURES],
        crashed: Vec::new(),
        weights: Vec::new(),
        runs: Vec::new(),
    };
    for (place, run) in runs.iter().enumerate() {
        let touched: Vec<bool> = (0..run.nodes.len()).map(|node| events.touches(run, node)).collect();
        run_features(telemetry, run, priors, |at, row| {
            let Some(crashes) = labels[place][at] else { return };
            let always = crashes || touched[run.samples[at].node];
            if !always && rng.unit() >= share {
                return;
            }
            lesson.columns.iter_mut().zip(row).for_each(|(column, x)| column.push(*x));
            lesson.crashed.push(f32::from(crashes));
            lesson.weights.push(if always { 1.0 } else { 1.0 / share });
            lesson.runs.push(place);
        });
    }
    Ok(lesson)
}

/// The fold of every run, and how it was chosen. A kind of fault lies in one fold.
fn folds(runs: &[Run], events: &Events, seed: u64) -> (Vec<usize>, String) {
    let faults: Vec<Option<String>> = runs.iter().map(|run| events.fault(&run.name)).collect();
    let crashes = |run: &Run| events.of(&run.name).iter().any(|crash| crash.minute.is_some());
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for (run, fault) in runs.iter().zip(&faults) {
        if let (Some(fault), true) = (fault, crashes(run)) {
            *kinds.entry(fault).or_default() += 1;
        }
    }
    let mut rng = Rng::new(seed);
    if kinds.len() < 2 {
        let count = FOLDS_MAX.min(runs.len().max(2));
        // Crashing runs are dealt out first, so that every fold has its share.
        let mut order: Vec<usize> = (0..runs.len()).collect();
        rng.shuffle(&mut order);
        order.sort_by_key(|run| !crashes(&runs[*run]));
        let mut folds = vec![0; runs.len()];
        order.iter().enumerate().for_each(|(at, run)| folds[*run] = at % count);
        return (folds, format!("{count} groups of runs, each left out in turn (one kind of fault only)"));
    }
    // The commonest kinds first, each into the emptiest fold.
    let count = FOLDS_MAX.min(kinds.len());
    let mut by_size: Vec<(&str, usize)> = kinds.iter().map(|(kind, runs)| (*kind, *runs)).collect();
    by_size.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let mut loads = vec![0; count];
    let mut fold_of = BTreeMap::new();
    for (kind, runs) in by_size {
        let fold = (0..count).min_by_key(|fold| loads[*fold]).unwrap_or(0);
        loads[fold] += runs;
        fold_of.insert(kind, fold);
    }
    let folds = faults
        .iter()
        .map(|fault| {
            fault.as_deref().and_then(|kind| fold_of.get(kind).copied()).unwrap_or_else(|| rng.below(count))
        })
        .collect();
    (folds, format!("{} kinds of fault in {count} groups, each left out in turn", kinds.len()))
}

fn params(trees: usize, seed: u64, lesson: &Lesson) -> Params {
    let sum = |positive: bool| -> f32 {
        lesson
            .crashed
            .iter()
            .zip(&lesson.weights)
            .filter(|(y, _)| (**y > 0.5) == positive)
            .map(|(_, w)| w)
            .sum()
    };
    // Rare rows weigh more, but not so much that the calm has no say.
    let positive_weight = (sum(false) / sum(true)).sqrt().max(1.0);
    Params {
        trees,
        leaves: 12,
        depth: 5,
        rate: 0.05,
        min_child_weight: 5.0,
        min_child_rows: 40,
        l2: 20.0,
        columns: 0.3,
        rows: 0.5,
        seed,
        ..Params::new(Loss::Logistic { positive_weight })
    }
}

/// Scores of every row by trees that know neither its run nor its kind of fault, at the best number of trees.
fn held_out_scores(
    lesson: &Lesson,
    binned: &Binned,
    target: &Target<'_>,
    folds: &[usize],
    options: &Options,
    say: &mut impl FnMut(&str),
) -> Result<(Vec<f32>, usize), RampError> {
    let most = STAGES[STAGES.len() - 1];
    let params = params(most, options.seed, lesson);
    let mut staged: Vec<Vec<f32>> = vec![vec![0.0; lesson.crashed.len()]; STAGES.len()];
    let count = folds.iter().max().map_or(0, |last| last + 1);
    for fold in 0..count {
        let (held, rest): (Vec<u32>, Vec<u32>) =
            (0..lesson.runs.len() as u32).partition(|row| folds[lesson.runs[*row as usize]] == fold);
        if held.is_empty() || rest.iter().all(|row| lesson.crashed[*row as usize] < 0.5) {
            continue;
        }
        say(&format!("group {} of {count} left out: {} rows", fold + 1, held.len()));
        let mut booster = Booster::fit(binned, target, Rows::split(rest, Vec::new()), &params)?;
        for (stage, scores) in STAGES.iter().zip(&mut staged).rev() {
            booster = booster.truncated(*stage);
            let one = std::slice::from_ref(&booster);
            let mut row = vec![0.0; N_FEATURES];
            for &at in &held {
                row.iter_mut().zip(&lesson.columns).for_each(|(x, column)| *x = column[at as usize]);
                scores[at as usize] = ensemble(one, &row);
            }
        }
    }
    let precisions: Vec<f64> =
        staged.iter().map(|scores| average_precision(&outcomes(lesson, scores))).collect();
    let told: Vec<String> =
        STAGES.iter().zip(&precisions).map(|(trees, ap)| format!("{trees} trees {ap:.3}")).collect();
    say(&format!("AUC-PR on what was left out: {}", told.join(", ")));
    let best = (0..STAGES.len()).max_by(|a, b| precisions[*a].total_cmp(&precisions[*b])).unwrap_or(0);
    Ok((staged.swap_remove(best), STAGES[best]))
}

fn outcomes(lesson: &Lesson, scores: &[f32]) -> Vec<Outcome> {
    let row = |(at, p): (usize, &f32)| Outcome {
        p: *p,
        crashed: lesson.crashed[at] > 0.5,
        weight: lesson.weights[at],
    };
    scores.iter().enumerate().map(row).collect()
}

/// The outcomes with probabilities from a calibration that saw none of their group.
fn cross_calibrated(lesson: &Lesson, folds: &[usize], outcomes: &[Outcome], all: &VennAbers) -> Vec<Outcome> {
    let fold_of = |at: usize| folds[lesson.runs[at]];
    let mut calibrated = outcomes.to_vec();
    for fold in 0..=folds.iter().copied().max().unwrap_or(0) {
        let others = outcomes.iter().enumerate().filter(|(at, _)| fold_of(*at) != fold).map(|(_, o)| case(o));
        // Without both classes among the others there is no second opinion.
        let fitted = VennAbers::fit(&others.collect::<Vec<_>>());
        let calibration = fitted.as_ref().unwrap_or(all);
        for (at, outcome) in calibrated.iter_mut().enumerate().filter(|(at, _)| fold_of(*at) == fold) {
            outcome.p = calibration.probability(outcomes[at].p);
        }
    }
    calibrated
}

fn case(outcome: &Outcome) -> Scored {
    Scored { score: outcome.p, positive: outcome.crashed, weight: outcome.weight }
}
