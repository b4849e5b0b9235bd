//! What must change nothing but a flag: rubbish in the telemetry, a stuck metric, a clock that jumps, a peer that is not
//! there or talks nonsense.

use std::sync::Arc;

use predictor::recording::{Run, RunKind};
use predictor::{Metric, Model, N_METRICS, Prediction, Predictor, Quality, TelemetrySample};

mod synthetic;

fn predictor() -> Predictor {
    Predictor::new(Arc::new(Model::default_model().unwrap()))
}

fn calm() -> Run {
    synthetic::run(21, RunKind::Calm, "steady", 0)
}

/// No alarm may come of `change`, at any sample.
fn stays_calm(mut change: impl FnMut(usize, &mut TelemetrySample)) -> Vec<Prediction> {
    let mut predictor = predictor();
    let push = |(i, clean): (usize, &TelemetrySample)| {
        let mut sample = *clean;
        change(i, &mut sample);
        let prediction = predictor.push(&sample);
        assert!(prediction.probability < 0.5, "{i}: {prediction:?}");
        prediction
    };
    calm().samples.iter().enumerate().map(push).collect()
}

#[test]
fn rubbish_is_named_and_ignored() {
    let said = stays_calm(|i, s| match i {
        220..260 => s.metrics = [f32::NAN; N_METRICS],
        280 => s.metrics = [f32::NEG_INFINITY; N_METRICS],
        300 => s.metrics = [f32::INFINITY; N_METRICS],
        _ => {}
    });
    for (i, p) in said.iter().enumerate() {
        assert_eq!(p.quality == Quality::WarmingUp, i < 30, "{i}");
        assert_eq!(p.invalid != 0, i == 280 || i == 300, "{i}");
        assert_eq!(p.quality == Quality::Blind, (229..260).contains(&i), "{i}");
    }
}

#[test]
fn a_clock_that_jumps_is_a_flag() {
    let jumps = |i: usize| i == 200 || i == 201;
    let said = stays_calm(|i, s| {
        if i == 200 {
            s.at_ms = 3
        }
    });
    assert!(said.iter().enumerate().all(|(i, p)| p.clock_jump == jumps(i)));
    let clean = stays_calm(|_, _| {});
    for (jumped, clean) in said.iter().zip(&clean) {
        assert_eq!(jumped.probability, clean.probability);
    }
}

#[test]
fn a_stuck_metric_is_no_failure() {
    for metric in Metric::all() {
        let mut stuck = None;
        stays_calm(|i, s| {
            if i >= 150 {
                let value = *stuck.get_or_insert(s.metrics[metric.index()]);
                s.metrics[metric.index()] = value;
            }
        });
    }
}

/// A peer's account is relative news; without it, or with nonsense in it, nothing happens.
#[test]
fn a_missing_or_mad_peer_changes_nothing_much() {
    let run = calm();
    let (mut alone, mut heard, mut mad) = (predictor(), predictor(), predictor());
    for (i, sample) in run.samples.iter().enumerate() {
        if i < 200 {
            heard.hear(&[0.0; N_METRICS]);
        }
        mad.hear(&[[f32::NAN, f32::INFINITY, -1e30, 1e30][i % 4]; N_METRICS]);
        let (a, h, m) = (alone.push(sample), heard.push(sample), mad.push(sample));
        assert_eq!(a.probability, h.probability, "a peer that is as ever, or gone, is no news");
        assert!(m.probability.is_finite() && (0.0..=1.0).contains(&m.probability), "{m:?}");
    }
}

/// A poisoned model is refused, so the one in use goes on.
#[test]
fn a_poisoned_model_never_replaces_a_good_one() {
    let mut bytes = Model::default_model().unwrap().to_bytes().unwrap();
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(Model::from_bytes(&bytes).is_err());
    let mut predictor = predictor();
    let name = predictor.model().description().name.clone();
    if let Ok(model) = Model::from_bytes(&bytes) {
        predictor.replace(Arc::new(model));
    }
    assert_eq!(predictor.model().description().name, name);
}

/// A ramp is foreseen with bounds that hold the probability, horizons in order, and reasons.
#[test]
fn every_prediction_hangs_together() {
    let mut predictor = predictor();
    for sample in &synthetic::run(9, RunKind::Ramp, "memory", 0).samples {
        let p = predictor.push(sample);
        for o in p.outlook.iter().filter(|_| p.quality == Quality::Good) {
            assert!(o.low <= o.probability + 1e-6 && o.probability <= o.high + 1e-6, "{o:?}");
        }
        assert!(p.probability < 0.3 || p.drivers[0].is_some(), "{p:?}");
    }
}
