//! Recordings as labelled feature series, and their split by whole runs.

use std::collections::BTreeMap;

use chrono::DateTime;
use serde::{Deserialize, Serialize};

use crate::features::{FeatureExtractor, N_FEATURES, PER_METRIC};
use crate::recording::{AT_THE_PEER, Hearsay, Run, RunKind};
use crate::sample::{Metric, Role, SPECS, TelemetrySample};

/// What a step teaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// A failure follows within the horizon.
    Failing,
    /// None does.
    Healthy,
    /// The SLO is breached and worse is to come: taught as failing, never judged, for the alarm is too late.
    Failed,
    /// Warm-up, or within the horizon but before the fault began: nothing to be learnt.
    Ignored,
}

/// Scores of the simple detectors, for comparison.
#[derive(Clone, Copy, Debug, Default)]
pub struct Simple {
    /// Larger of the two loss shares.
    pub loss: f32,
    /// The largest raw value over its limit, of the metrics that have one (1: at it).
    pub level: f32,
    /// Nearness in time of the nearest limit by straight extrapolation (1: at it).
    pub exhaustion: f32,
    /// Largest z of the fast average over the baseline, all metrics but load.
    pub ewma: f32,
    /// The drift score.
    pub drift: f32,
}

/// One run as features and labels, up to its end: its death, or a breach that led to none.
#[derive(Clone, Debug)]
pub struct Series {
    /// Name of the run.
    pub run: String,
    /// What it was meant to show.
    pub kind: RunKind,
    /// Kind of its fault.
    pub fault: String,
    /// How its load went.
    pub profile: String,
    /// When it failed (ms).
    pub failure_ms: Option<u64>,
    /// When it died or its path went down for good (ms).
    pub death_ms: Option<u64>,
    /// When its fault began (ms).
    pub inject_ms: Option<u64>,
    /// Time of each step (ms).
    pub at_ms: Vec<u64>,
    /// Feature vectors, one after the other.
    pub features: Vec<f32>,
    /// One each step.
    pub labels: Vec<Label>,
    /// One each step.
    pub simple: Vec<Simple>,
    /// For how many recorded steps one of a training run stands: the rest of its kind's are in the test.
    pub stands_for: f32,
}

impl Series {
    /// A recording as each engine that nothing was done to, or the one that was harmed, lived through it.
    pub fn all(runs: &[Run], horizon_ms: u64) -> Vec<Self> {
        let seen = |run: &Run| {
            let peer = run.at_the_peer().map(|peer| Self::new(&peer, horizon_ms));
            [Some(Self::new(run, horizon_ms)), peer].into_iter().flatten()
        };
        runs.iter().flat_map(seen).collect()
    }

    /// Whether it was recorded on this day, as 2026-11-22, or in this hour, as 2026-11-22T21 (UTC).
    pub(crate) fn is_of(&self, day_or_hour: &str) -> bool {
        let first = self.at_ms.first().and_then(|at| i64::try_from(*at).ok());
        let at = first.and_then(DateTime::from_timestamp_millis).map(|at| at.to_rfc3339());
        let rest = at.as_deref().and_then(|at| at.strip_prefix(day_or_hour));
        rest.is_some_and(|rest| rest.starts_with(['T', ':']))
    }

    /// The name of the recording, whichever engine's view this is.
    pub(crate) fn recording(&self) -> &str {
        self.run.strip_suffix(AT_THE_PEER).unwrap_or(&self.run)
    }

    /// Runs the live feature extractor over a recording.
    pub fn new(run: &Run, horizon_ms: u64) -> Self {
        let mut series = Self {
            run: run.header.run.clone(),
            kind: run.header.kind,
            fault: run.header.fault.clone(),
            profile: run.header.profile.clone(),
            failure_ms: run.failure_ms(),
            death_ms: run.death_ms(),
            inject_ms: run.inject_ms(),
            at_ms: Vec::new(),
            features: Vec::new(),
            labels: Vec::new(),
            simple: Vec::new(),
            stands_for: 1.0,
        };
        let (mut extractor, mut peers) = (FeatureExtractor::new(), Hearsay::new(run));
        for sample in &run.samples {
            // Behind a breach that led to no death, the subject may be recovering.
            if series.death_ms.or(series.failure_ms).is_some_and(|end| sample.at_ms >= end) {
                break;
            }
            if let Some(vitals) = peers.until(sample.at_ms) {
                extractor.hear(&vitals);
            }
            if extractor.push(sample).stepped && extractor.ready() {
                series.at_ms.push(sample.at_ms);
                series.features.extend_from_slice(extractor.features());
                series.labels.push(series.label(sample.at_ms, horizon_ms));
                series.simple.push(simple(sample, &extractor));
            }
        }
        series
    }

    fn label(&self, at_ms: u64, horizon_ms: u64) -> Label {
        match self.failure_ms {
            Some(failure) if at_ms >= failure => Label::Failed,
            Some(failure) if at_ms + horizon_ms >= failure => match self.inject_ms {
                Some(inject) if at_ms < inject => Label::Ignored,
                _ => Label::Failing,
            },
            _ => Label::Healthy,
        }
    }

    /// Whether a failure follows a step within `horizon_ms` (or has begun), and whether that teaches anything.
    pub(crate) fn target(&self, step: usize, horizon_ms: u64) -> (bool, bool) {
        let fails = self.failure_ms.is_some_and(|failure| self.at_ms[step] + horizon_ms >= failure);
        (fails, self.labels[step] != Label::Ignored)
    }

    /// How long after a step the failure came (ms; 0 once it has), if that was within `horizon_ms`.
    pub fn left_ms(&self, step: usize, horizon_ms: u64) -> Option<u64> {
        let left = self.failure_ms.map(|failure| failure.saturating_sub(self.at_ms[step]));
        left.filter(|left| *left <= horizon_ms)
    }

    /// Number of steps.
    pub fn len(&self) -> usize {
        self.at_ms.len()
    }
    /// Whether the run was too short for a single step.
    pub fn is_empty(&self) -> bool {
        self.at_ms.is_empty()
    }

    /// The feature vector of a step; before the first, a subject is as ever.
    pub(crate) fn row(&self, step: isize) -> &[f32] {
        static CALM: [f32; N_FEATURES] = [0.0; N_FEATURES];
        match usize::try_from(step) {
            Ok(i) => &self.features[i * N_FEATURES..(i + 1) * N_FEATURES],
            Err(_) => &CALM,
        }
    }
}

fn simple(sample: &TelemetrySample, extractor: &FeatureExtractor) -> Simple {
    let loss = |m| sample.get(m).unwrap_or(0.0);
    let most = |feature: usize| {
        let value = |i: usize| extractor.features()[i * PER_METRIC + feature];
        (0..SPECS.len()).filter(|&i| SPECS[i].role != Role::Load).map(value).fold(0.0, f32::max)
    };
    Simple {
        loss: loss(Metric::PathLossTx).max(loss(Metric::PathLossRx)),
        level: extractor.nearness(),
        exhaustion: most(6),
        ewma: most(1),
        drift: extractor.drift().score,
    }
}

/// Whole runs, never cut: neighbouring steps of one run would leak.
#[derive(Clone, Debug, Default)]
pub struct Split {
    /// For fitting, weighing and calibrating.
    pub train: Vec<Series>,
    /// Looked at once.
    pub test: Vec<Series>,
}

/// What is kept whole for the test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Faults.
    pub faults: Vec<String>,
    /// Load profiles.
    pub profiles: Vec<String>,
    /// Days of recording, as 2026-11-22, or hours, as 2026-11-22T21 (UTC).
    pub dates: Vec<String>,
}

impl HeldOut {
    /// A fault, load, day or hour that is held out but of which no run is.
    pub(crate) fn absent(&self, series: &[Series]) -> Option<&str> {
        let none = |is_of: &dyn Fn(&Series) -> bool| !series.iter().any(is_of);
        let faults = self.faults.iter().filter(|fault| none(&|s| s.fault == **fault));
        let profiles = self.profiles.iter().filter(|profile| none(&|s| s.profile == **profile));
        let dates = self.dates.iter().filter(|date| none(&|s| s.is_of(date)));
        faults.chain(profiles).chain(dates).map(String::as_str).next()
    }

    /// Nothing is.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Its fault is.
    pub(crate) fn fault(&self, s: &Series) -> bool {
        self.faults.contains(&s.fault)
    }

    /// Its load is, and not its fault.
    pub(crate) fn load(&self, s: &Series) -> bool {
        self.profiles.contains(&s.profile) && !self.fault(s)
    }

    /// Its day is, and neither fault nor load.
    pub(crate) fn day(&self, s: &Series) -> bool {
        self.dates.iter().any(|date| s.is_of(date)) && !self.fault(s) && !self.load(s)
    }

    /// Any of them is.
    pub(crate) fn has(&self, s: &Series) -> bool {
        self.fault(s) || self.load(s) || self.day(s)
    }
}

impl Split {
    /// Within each kind of run, in order of time: the last quarter tests, and of calm ones the last half, as a false alarm shows
    /// in hours only. All runs of a fault, under a load or of a day that is held out test.
    pub fn new(series: Vec<Series>, held_out: &HeldOut) -> Self {
        let mut groups = BTreeMap::<(RunKind, String), Vec<Series>>::new();
        let (mut split, mut recorded) = (Self::default(), BTreeMap::<_, usize>::new());
        for s in series.into_iter().filter(|s| !s.is_empty()) {
            *recorded.entry((s.kind, s.fault.clone())).or_default() += s.len();
            if held_out.has(&s) || s.kind == RunKind::Abrupt {
                split.test.push(s);
            } else {
                groups.entry((s.kind, s.fault.clone())).or_default().push(s);
            }
        }
        for (kind_of, mut group) in groups {
            let tested = if kind_of.0 == RunKind::Calm { group.len() / 2 } else { group.len() / 4 };
            let mut last = group.len() - tested;
            // Both views of one recording stay together.
            while last > 1 && last < group.len() && group[last].recording() == group[last - 1].recording() {
                last -= 1;
            }
            split.test.extend(group.split_off(last));
            let trained: usize = group.iter().map(Series::len).sum();
            let stands_for = recorded[&kind_of] as f32 / trained as f32;
            split.train.extend(group.into_iter().map(|s| Series { stands_for, ..s }));
        }
        split
    }
}
