//! Hours of simulated calm, the real predictor and real controllers of four engines, and what they made of it; and the
//! opposite, everything at once.

use super::day::{Happening, Healthy};
use super::rig::{NAMES, Rig, Step, steps};
use super::{RUNS, moved, predictor};
use crate::runtime::assessment::assessment;
use crate::runtime::vitals::PeerVitals;
use control::io::{Assessment, Mode};
use dataplane::id::Nanos;
use predictor::recording::RunKind;
use predictor::{Metric, Predictor, SAMPLE_MS, TelemetrySample};
use std::fmt;

const FLEET: usize = NAMES.len();

/// A predictor for every engine, each of which hears the others, as the shell has it.
struct Fleet {
    predictors: [Predictor; FLEET],
    heard: [PeerVitals; FLEET],
}

impl Fleet {
    fn new() -> Fleet {
        Fleet { predictors: [(); FLEET].map(|()| predictor()), heard: Default::default() }
    }

    /// What is said of each engine's sample.
    fn assess(&mut self, samples: &[TelemetrySample; FLEET]) -> [Assessment; FLEET] {
        let now = Nanos::from_millis(samples[0].at_ms);
        let said = std::array::from_fn(|me| {
            self.heard[me].mean(now).inspect(|peers| self.predictors[me].hear(peers));
            let said = self.predictors[me].push(&samples[me]);
            let busy = samples[me].get(Metric::BusyShare).unwrap_or(f32::NAN);
            assessment(&said, self.predictors[me].model().description().alarm_from, busy)
        });
        for (me, predictor) in self.predictors.iter().enumerate() {
            let Some(vitals) = predictor.vitals() else { continue };
            let z = vitals.map(|z| z.is_finite().then_some(z));
            for (_, heard) in self.heard.iter_mut().enumerate().filter(|(other, _)| *other != me) {
                heard.heard(NAMES[me].to_owned(), &z, now);
            }
        }
        said
    }
}

/// What was made of some hours.
#[derive(Debug, Default)]
struct Report {
    hours: f64,
    seed: u64,
    happened: [u64; Happening::ALL.len()],
    /// By engine.
    highest: [f32; FLEET],
    above: [u64; FLEET],
    alarms: [u64; FLEET],
    threshold: f32,
    moves: Vec<String>,
    decisions: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let samples = self.hours * 3_600_000.0 / SAMPLE_MS as f64 * FLEET as f64;
        writeln!(f, "{} h of calm of {FLEET} engines, seed {}: {samples:.0} samples", self.hours, self.seed)?;
        let happened = Happening::ALL.iter().zip(self.happened);
        let happened: Vec<String> = happened.map(|((what, ..), n)| format!("{n} x {what:?}")).collect();
        writeln!(f, "  happened: {}", happened.join(", "))?;
        for (me, name) in NAMES.iter().enumerate() {
            let (highest, above) = (self.highest[me], self.above[me]);
            writeln!(
                f,
                "  {name}: highest probability {highest:.3}; {above} samples at the threshold of {:.3} or above; \
                 {} alarms",
                self.threshold, self.alarms[me]
            )?;
        }
        let (moves, decisions) = (self.moves.len(), self.decisions.join("; "));
        write!(
            f,
            "  shifts: {moves}; what a1 decided: {}",
            if decisions.is_empty() { "nothing" } else { &decisions }
        )
    }
}

fn hours_of_calm(hours: f64, seed: u64) -> Report {
    let mut engines: [Healthy; FLEET] = std::array::from_fn(|me| Healthy::new(seed * 16 + me as u64));
    let (mut fleet, mut rig) = (Fleet::new(), Rig::new(Mode::Auto));
    rig.tick = 20;
    let mut report = Report { hours, seed, ..Report::default() };
    let samples = (hours * 3_600_000.0) as u64 / SAMPLE_MS;
    for _ in 0..samples {
        let samples = std::array::from_fn(|me| engines[me].sample());
        let said = fleet.assess(&samples);
        report.threshold = said[0].alarm_from;
        for (me, said) in said.iter().enumerate() {
            report.highest[me] = report.highest[me].max(said.probability);
            report.above[me] += u64::from(said.probability >= said.alarm_from);
        }
        let moves = rig.assessed(said, false);
        report.moves.extend(moves.into_iter().filter(|m| moved(std::slice::from_ref(m))));
    }
    for engine in &engines {
        report.happened.iter_mut().zip(engine.happened).for_each(|(sum, n)| *sum += n);
    }
    (report.alarms, report.decisions) = (rig.alarms, rig.actions);
    report
}

#[test]
fn an_hour_of_calm_moves_nothing() {
    let report = hours_of_calm(1.0, 1);
    println!("{report}");
    assert_eq!(report.moves, Vec::<String>::new());
    assert!(report.happened.iter().all(|n| *n > 0), "{:?}", report.happened);
}

/// `scripts/sim --calm-hours 24 --seed 1`.
#[test]
#[ignore = "takes minutes: scripts/sim --calm-hours runs it"]
fn hours_of_calm_move_nothing() {
    let asked = |name: &str| std::env::var(name).ok();
    let hours = asked("FORESHIFT_CALM_HOURS").and_then(|hours| hours.parse().ok()).unwrap_or(24.0);
    let seed = asked("FORESHIFT_CALM_SEED").and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let report = hours_of_calm(hours, seed);
    println!("{report}");
    assert_eq!(report.moves, Vec::<String>::new());
}

/// Real ramps at all engines at once, a2's last: the real predictor alarms at each, and the brake holds.
#[test]
fn a_mass_alarm_holds_the_brake_and_says_why() {
    let ramp = RUNS.iter().filter(|run| run.header.kind == RunKind::Ramp && run.failure_ms().is_some());
    let steps: Vec<Step> =
        ramp.map(steps).find(|steps| alarms(steps)).expect("a ramp that the model foresees");
    let (mut rig, mut fleet) = (Rig::new(Mode::Auto), Fleet::new());
    let last = steps.len() - 1;
    // Nobody hears of the others' normal: that what troubles all is no one's failure is not what holds here.
    let mut done = Vec::new();
    for i in 0..last + 20 {
        // The far engines are a second ahead, and the standby a second behind.
        let of = [i.saturating_sub(10), i.saturating_sub(20), i, i].map(|at| steps[at.min(last)].sample);
        fleet.heard = Default::default();
        done.extend(rig.assessed(fleet.assess(&of), false));
    }
    for (action, rule) in rig.actions.iter().zip(&rig.rules) {
        println!("a1: {action}: {rule}");
    }
    assert!(rig.alarms.iter().all(|alarms| *alarms > 0), "all alarm: {:?}", rig.alarms);
    let held = rig.rules.iter().any(|rule| rule.contains("engines alarm at once: the model is suspected"));
    assert!(held && !moved(&done), "{:?} {done:?}", rig.rules);
}

/// Whether the model alarms at a ramp.
fn alarms(steps: &[Step]) -> bool {
    let mut predictor = predictor();
    let from = predictor.model().description().alarm_from;
    steps.iter().filter(|step| predictor.push(&step.sample).alarm.probability >= from).count() >= 10
}
