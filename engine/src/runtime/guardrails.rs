//! The real predictor and real controllers together: what may go wrong with a model or with telemetry moves no traffic.

mod calm;
mod day;
mod rig;

use control::io::Mode;
use predictor::recording::{self, Run, RunKind};
use predictor::{Metric, Model, N_METRICS, Predictor};
use rig::{Rig, Step};
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// Real calm, and a real ramp that the built-in model alarms at.
static RUNS: LazyLock<Vec<Run>> = LazyLock::new(|| {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../predictor/data/engine.parquet");
    recording::read(&data).expect("the recordings are in the repository")
});

fn predictor() -> Predictor {
    Predictor::new(Arc::new(Model::default_model().expect("the built-in model")))
}

/// Whether any share of the traffic, or ownership, went elsewhere.
fn moved(moves: &[String]) -> bool {
    moves.iter().any(|m| m.contains("LeaseTransfer") || m.contains("SetShares"))
}

/// A calm run with its steps: what a1 measures, and what its peer says of itself.
fn calm() -> Vec<Step> {
    let steady = |run: &&Run| run.header.kind == RunKind::Calm && run.header.fault == "steady";
    let run = RUNS.iter().filter(steady).find(|run| run.failure_ms().is_none()).expect("a calm run");
    rig::steps(run)
}

/// What is done of `steps`, with the model's word on each as a1's.
fn moves(steps: &[Step]) -> Vec<String> {
    Rig::new(Mode::Auto).run(&mut predictor(), steps)
}

/// The calm run as it was, and after `change`: the same is done.
fn changes_nothing(change: impl Fn(usize, &mut Step)) {
    let clean = calm();
    let mut changed = clean.clone();
    changed.iter_mut().enumerate().for_each(|(i, step)| change(i, step));
    assert_eq!(moves(&changed), moves(&clean));
}

/// The other tests would see a move: a real ramp, and a probability that is high for a while, move everything to a2.
#[test]
fn a_failing_engine_is_left_in_time() {
    let sure = |said: f32| Rig::new(Mode::Auto).told(said, 100);
    assert!(moved(&sure(0.97)), "{:?}", sure(0.97));
    assert!(!moved(&sure(0.3)) && !moved(&moves(&calm())));
    let ramps = RUNS.iter().filter(|run| run.header.kind == RunKind::Ramp && run.failure_ms().is_some());
    let left = ramps.take(12).filter(|run| moved(&moves(&rig::steps(run)))).count();
    assert!(left >= 3, "{left} of 12 ramps moved traffic");
}

#[test]
fn a_poisoned_model_changes_nothing() {
    let good = Model::default_model().and_then(|model| model.to_bytes()).expect("the built-in model");
    let mut poisoned = good.clone();
    let end = poisoned.len();
    poisoned[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    for bytes in [poisoned, good[..good.len() / 2].to_vec(), b"not a model".to_vec()] {
        Model::from_bytes(&bytes).expect_err("it is refused, and the one in use stays");
    }
    // A model that was accepted and then says nonsense, on every sample.
    for nonsense in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, 2.0] {
        assert_eq!(
            Rig::new(Mode::Auto).told(nonsense, 100),
            Rig::new(Mode::Auto).told(0.0, 100),
            "{nonsense}"
        );
    }
}

#[test]
fn nans_in_the_telemetry_change_nothing() {
    changes_nothing(|i, step| match i {
        60..90 => step.sample.metrics = [f32::NAN; N_METRICS],
        100 => step.sample.metrics = [f32::INFINITY; N_METRICS],
        110 => step.sample.metrics = [f32::NEG_INFINITY; N_METRICS],
        _ if i % 3 == 0 => step.sample.metrics[i % N_METRICS] = f32::NAN,
        _ => {}
    });
}

#[test]
fn a_stuck_metric_changes_nothing() {
    let clean = calm();
    for metric in Metric::all() {
        let stuck = clean[60].sample.metrics[metric.index()];
        changes_nothing(|i, step| {
            if i >= 60 {
                step.sample.metrics[metric.index()] = stuck;
            }
        });
    }
}

#[test]
fn a_clock_jump_changes_nothing() {
    const HOUR: u64 = 3_600_000;
    changes_nothing(|i, step| match i {
        70..80 => step.sample.at_ms += HOUR,
        90..95 => step.sample.at_ms -= HOUR,
        100 => step.sample.at_ms = 0,
        _ => {}
    });
}

#[test]
fn a_missing_peer_changes_nothing() {
    changes_nothing(|i, step| {
        if i >= 60 {
            step.peers = None;
        }
    });
    let mut alone = Rig::new(Mode::Auto);
    alone.cut_off_at = Some(60);
    assert_eq!(
        alone.run(&mut predictor(), &calm()),
        moves(&calm()),
        "the standby's control connection is gone"
    );
}

/// What the fleet, the stakes and the standby's load have to say.
#[test]
fn guardrails_hold_what_the_model_wants() {
    let held = |change: &dyn Fn(&mut Rig)| {
        let mut rig = Rig::new(Mode::Auto);
        change(&mut rig);
        // The others speak first: nobody can heed an alarm that has not been heard.
        rig.told(0.0, 10);
        let moves = rig.told(0.97, 100);
        assert!(!moved(&moves), "{moves:?}");
        rig.rules.join("; ")
    };
    let rules = held(&|rig| rig.others_alarm = true);
    assert!(rules.contains("the target's own alarm is raised"), "{rules}");
    let rules = held(&|rig| rig.fleet_alarms());
    assert!(rules.contains("engines alarm at once: the model is suspected"), "{rules}");
    let rules = held(&|rig| (rig.busy, rig.busy_of_target) = (0.6, 0.5));
    assert!(rules.contains("cannot carry both"), "{rules}");
    let rules = held(&|rig| rig.mirror_diverges = Some(true));
    assert!(rules.contains("the target treats mirrored packets otherwise: drops: 10.1.0.9"), "{rules}");
    let rules = held(&|rig| rig.mode(Mode::Observe));
    assert!(rules.contains("probability x SLA weight"), "{rules}");
}

/// Nothing is ever moved towards a shadow that was found out; one that agrees, or was, and has been silent since, holds nothing.
#[test]
fn a_mirror_holds_moves_only_while_it_diverges() {
    let mut agrees = Rig::new(Mode::Auto);
    agrees.mirror_diverges = Some(false);
    assert!(moved(&agrees.told(0.97, 100)));
    let mut silent = Rig::new(Mode::Auto);
    silent.mirror_diverges = Some(true);
    silent.told(0.0, 10);
    assert_eq!(
        silent.rules,
        ["mirrored packets get the same verdict from both engines of a site"],
        "told once"
    );
    silent.mirror_diverges = None;
    silent.told(0.0, 60);
    assert!(moved(&silent.told(0.97, 100)));
}
