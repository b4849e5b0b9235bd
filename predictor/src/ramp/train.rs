//! From runs with known crashes to a model that is measured on fault kinds it has not seen.

use std::collections::BTreeMap;

use super::RampError;
use super::card::Card;
use super::data::{Run, Telemetry};
use super::events::Events;
use super::features::{Layout, N_FEATURES, Prior};
use super::figures::{Outcome, average_precision, judge};
use super::model::{Ensemble, Named, RampModel, run_features};
use crate::calibrate::{Scored, VennAbers};
use crate::gbdt::{Binned, Booster, Loss, Params, Rows, Target};
use crate::median::median;
use crate::rng::Rng;

/// Parts that are left out in turn, at most.
const FOLDS_MAX: usize = 5;
/// Models whose log odds are averaged.
const MEMBERS: u64 = 3;
/// With more metrics than this none is told by its name.
const NAMED_MAX: usize = 200;
/// The names must raise the AUC-PR on what is left out by this much to be used: they do not carry to other clusters.
const NAMED_GAIN: f64 = 0.01;
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
        say(&format!("not used: {first} crashes but has no telemetry ({} such)", strangers.len()));
    }
    let count = telemetry.metrics().len();
    let layout = Layout {
        priors: learn_priors(telemetry),
        named: if count > NAMED_MAX { Vec::new() } else { (0..count).map(Some).collect() },
    };
    say(&format!(
        "{} rows of {count} metrics in {} runs read once",
        telemetry.rows(),
        telemetry.runs().len()
    ));
    let lesson = gather(telemetry, events, &layout, options)?;
    let crashing = lesson.crashed.iter().filter(|y| **y > 0.5).count();
    say(&format!("{} rows to learn from, {crashing} of them before a crash", lesson.crashed.len()));
    let (folds, split) = folds(telemetry.runs(), events, options.seed);
    let trainer = Trainer { lesson: &lesson, folds: &folds, options };
    let plain = trainer.measure(&lesson.columns[..N_FEATURES], 0.3, "no names", &mut say)?;
    let mut held = plain.outcomes(&lesson);
    let plain_ensemble = plain.ensemble(&trainer, &held, &mut say)?;
    let mut named = None;
    if layout.width() > N_FEATURES {
        let with = trainer.measure(&lesson.columns, 0.15, "names", &mut say)?;
        if let Some((share, outcomes)) = mixture(&lesson, &plain, &with, &mut say) {
            let ensemble = with.ensemble(&trainer, &outcomes, &mut say)?;
            named = Some(Named { metrics: telemetry.metrics().to_vec(), share, ensemble });
            held = outcomes;
        }
    }
    let all = &named.as_ref().map_or(&plain_ensemble, |named| &named.ensemble).calibration;
    let mut figures = judge(&cross_calibrated(&lesson, &folds, &held, all));
    // Calibration maps groups apart from each other; the order is that of the scores.
    figures.auc_pr = average_precision(&held);
    let card =
        Card { named: named.is_some(), ..card(telemetry, events, split, plain.trees, options.seed, figures) };
    let priors = telemetry.metrics().iter().cloned().zip(layout.priors);
    let priors = priors.filter_map(|(name, prior)| Some((name, prior?))).collect();
    Ok(RampModel { priors, plain: plain_ensemble, named, card })
}

/// The share of the named models in the log odds that does best on what was left out, with the scores; `None` when
/// they are not worth having.
fn mixture(
    lesson: &Lesson,
    plain: &Measured<'_>,
    named: &Measured<'_>,
    say: &mut impl FnMut(&str),
) -> Option<(f32, Vec<Outcome>)> {
    let mixed = |share: f32| -> Vec<Outcome> {
        let scores: Vec<f32> =
            plain.scores.iter().zip(&named.scores).map(|(a, b)| (1.0 - share) * a + share * b).collect();
        outcomes(lesson, &scores)
    };
    let without = average_precision(&mixed(0.0));
    let both = [0.5, 1.0].map(|share| (share, mixed(share)));
    let best = both.into_iter().map(|(share, held)| (average_precision(&held), share, held));
    let (precision, share, held) = best.max_by(|a, b| a.0.total_cmp(&b.0))?;
    say(&format!(
        "AUC-PR on what was left out: {without:.3} without names, {precision:.3} with a share of {share}"
    ));
    (precision > without + NAMED_GAIN).then_some((share, held))
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
        named: false,
        held_out,
    }
}

/// How much every metric varies: the median over the runs.
fn learn_priors(telemetry: &Telemetry) -> Vec<Option<Prior>> {
    let layout = Layout { priors: vec![None; telemetry.metrics().len()], named: Vec::new() };
    let learnt: Vec<Vec<Option<Prior>>> = telemetry
        .runs()
        .iter()
        .map(|run| run_features(telemetry, run, &layout, |_, _| ()).learnt())
        .collect();
    (0..layout.priors.len())
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
    layout: &Layout,
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
        columns: vec![Vec::new(); layout.width()],
        crashed: Vec::new(),
        weights: Vec::new(),
        runs: Vec::new(),
    };
    for (place, run) in runs.iter().enumerate() {
        let touched: Vec<bool> = (0..run.nodes.len()).map(|node| events.touches(run, node)).collect();
        run_features(telemetry, run, layout, |at, row| {
            // A node that sends rows behind its crash is up again, and looks like none before: no crash follows.
            let crashes = labels[place][at] == Some(true);
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

fn params(trees: usize, seed: u64, columns: f32, lesson: &Lesson) -> Params {
    let sum = |positive: bool| -> f32 {
        let rows = lesson.crashed.iter().zip(&lesson.weights);
        rows.filter(|(y, _)| (**y > 0.5) == positive).map(|(_, weight)| weight).sum()
    };
    // Rare rows weigh more, but not so much that the calm has no say.
    let positive_weight = (sum(false) / sum(true)).sqrt().max(1.0);
    Params {
        trees,
        leaves: 12,
        depth: 5,
        rate: 0.05,
        min_child_weight: 30.0,
        min_child_rows: 150,
        l2: 100.0,
        columns,
        rows: 0.5,
        seed,
        ..Params::new(Loss::Logistic { positive_weight })
    }
}

/// What every fit needs.
struct Trainer<'a> {
    lesson: &'a Lesson,
    folds: &'a [usize],
    options: &'a Options,
}

/// Scores of every row by trees that know neither its run nor its kind of fault, and what made them.
struct Measured<'a> {
    what: &'a str,
    binned: Binned,
    columns: f32,
    scores: Vec<f32>,
    trees: usize,
}

impl Trainer<'_> {
    /// Leaves every group out in turn, and keeps the number of trees that does best.
    fn measure<'a>(
        &self,
        features: &[Vec<f32>],
        columns: f32,
        what: &'a str,
        say: &mut impl FnMut(&str),
    ) -> Result<Measured<'a>, RampError> {
        let lesson = self.lesson;
        let binned = Binned::new(features, 128)?;
        let target = Target::new(&lesson.crashed, Some(&lesson.weights))?;
        let params = params(STAGES[STAGES.len() - 1], self.options.seed, columns, lesson);
        let mut staged: Vec<Vec<f32>> = vec![vec![0.0; lesson.crashed.len()]; STAGES.len()];
        let count = self.folds.iter().max().map_or(0, |last| last + 1);
        let mut row = vec![0.0; features.len()];
        for fold in 0..count {
            let (held, rest): (Vec<u32>, Vec<u32>) =
                (0..lesson.runs.len() as u32).partition(|row| self.folds[lesson.runs[*row as usize]] == fold);
            if held.is_empty() || rest.iter().all(|row| lesson.crashed[*row as usize] < 0.5) {
                continue;
            }
            say(&format!("{what}: group {} of {count} left out, {} rows", fold + 1, held.len()));
            let mut booster = Booster::fit(&binned, &target, Rows::split(rest, Vec::new()), &params)?;
            for (stage, scores) in STAGES.iter().zip(&mut staged).rev() {
                booster = booster.truncated(*stage);
                for &at in &held {
                    row.iter_mut().zip(features).for_each(|(x, column)| *x = column[at as usize]);
                    scores[at as usize] = booster.raw(&row);
                }
            }
        }
        let precisions: Vec<f64> =
            staged.iter().map(|scores| average_precision(&outcomes(lesson, scores))).collect();
        let told: Vec<String> =
            STAGES.iter().zip(&precisions).map(|(trees, ap)| format!("{trees} trees {ap:.3}")).collect();
        say(&format!("{what}: AUC-PR on what was left out: {}", told.join(", ")));
        let best = (0..STAGES.len()).max_by(|a, b| precisions[*a].total_cmp(&precisions[*b])).unwrap_or(0);
        Ok(Measured { what, binned, columns, scores: staged.swap_remove(best), trees: STAGES[best] })
    }
}

impl Measured<'_> {
    fn outcomes(&self, lesson: &Lesson) -> Vec<Outcome> {
        outcomes(lesson, &self.scores)
    }

    /// Trains on all rows; the calibration is of the scores that were held out.
    fn ensemble(
        &self,
        trainer: &Trainer<'_>,
        held: &[Outcome],
        say: &mut impl FnMut(&str),
    ) -> Result<Ensemble, RampError> {
        let lesson = trainer.lesson;
        let target = Target::new(&lesson.crashed, Some(&lesson.weights))?;
        let cases: Vec<Scored> = held.iter().map(case).collect();
        let calibration = VennAbers::fit(&cases)?;
        let mut boosters = Vec::new();
        for member in 0..MEMBERS {
            say(&format!(
                "{}: member {} of {MEMBERS}, {} trees on all runs",
                self.what,
                member + 1,
                self.trees
            ));
            let params = params(self.trees, trainer.options.seed + member, self.columns, lesson);
            boosters.push(Booster::fit(&self.binned, &target, Rows::all(lesson.crashed.len()), &params)?);
        }
        Ok(Ensemble { boosters, calibration })
    }
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
