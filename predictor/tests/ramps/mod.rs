//! Clusters that are made up, from a seed: load that nodes share, and ramps towards a crash of many kinds.
//!
//! Not recorded anywhere. What is drawn at random, and how often: DATA.md beside this file.

pub mod background;
pub mod faults;

use std::path::Path;

use background::{Category, Cluster, Spec, specs};
use faults::{KINDS, Kind, Ramp};
use predictor::ramp::{Crash, Events, Telemetry};

/// What to make.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub runs: usize,
    /// Least and most nodes of a run.
    pub nodes: (usize, usize),
    /// Least and most minutes of a run.
    pub minutes: (usize, usize),
    /// Least and most metrics of a category: the size of the metric set.
    pub per_category: (usize, usize),
    /// Which metrics there are is drawn from this seed.
    pub metric_set: u64,
    /// Names of [`KINDS`].
    pub kinds: Vec<&'static str>,
    /// Share of values that are missing.
    pub missing: f32,
}

impl Plan {
    pub fn new(seed: u64, runs: usize, kinds: &[&'static str]) -> Self {
        Self {
            seed,
            runs,
            nodes: (8, 14),
            minutes: (500, 900),
            per_category: (1, 4),
            metric_set: 1,
            kinds: kinds.to_vec(),
            missing: 0.001,
        }
    }
}

/// Random draws that read like the text.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
    pub fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }
    pub fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f32) as usize).min(n.saturating_sub(1))
    }
    pub fn whole(&mut self, (low, high): (usize, usize)) -> usize {
        low + self.below(high - low + 1)
    }
    pub fn chance(&mut self, p: f32) -> bool {
        self.unit() < p
    }
    /// Standard normal, near enough.
    pub fn normal(&mut self) -> f32 {
        (0..6).map(|_| self.unit()).sum::<f32>() * std::f32::consts::SQRT_2 - 3.0 * std::f32::consts::SQRT_2
    }
    /// Log-normal with median `middle`.
    pub fn spread(&mut self, middle: f32, sigma: f32) -> f32 {
        middle * (sigma * self.normal()).exp()
    }
}

/// Runs with their events.
pub struct Made {
    pub metrics: Vec<String>,
    pub columns: Vec<Vec<f32>>,
    /// Run, node and minute of every row.
    pub keys: Vec<(String, String, i64)>,
    /// Run, injection and crash.
    pub events: Vec<(String, i64, Crash)>,
}

impl Made {
    pub fn telemetry(&self) -> Telemetry {
        Telemetry::new(Path::new("made-up"), self.metrics.clone(), self.columns.clone(), &self.keys)
    }
    pub fn events(&self) -> Events {
        let mut events = Events::default();
        for (run, _, crash) in &self.events {
            events.push(run.clone(), crash.clone());
        }
        events
    }
}

/// Makes runs; the same plan makes the same.
pub fn make(plan: &Plan) -> Made {
    let specs = specs(plan.metric_set, plan.per_category);
    let mut draw = Draw::new(plan.seed);
    let mut made = Made {
        metrics: specs.iter().map(|spec| spec.name.clone()).collect(),
        columns: vec![Vec::new(); specs.len()],
        keys: Vec::new(),
        events: Vec::new(),
    };
    for run in 0..plan.runs {
        let name = format!("run{run:03}");
        make_run(plan, &specs, &name, &mut draw, &mut made);
    }
    made
}

fn make_run(plan: &Plan, specs: &[Spec], name: &str, draw: &mut Draw, made: &mut Made) {
    let nodes = draw.whole(plan.nodes);
    let minutes = draw.whole(plan.minutes);
    let kind = plan.kinds[draw.below(plan.kinds.len())];
    let kind = KINDS.iter().find(|known| known.name == kind).expect("a known kind");
    let ramp = Ramp::draw(kind, nodes, minutes, draw);
    if let Some(ramp) = &ramp {
        let named = ramp.nodes.iter().map(|node| format!("node{node:02}")).collect();
        let crash = Crash { fault: kind.name.into(), minute: ramp.crash.map(|m| m as i64), nodes: named };
        made.events.push((name.into(), ramp.inject as i64, crash));
    }
    let crash = ramp.as_ref().and_then(|ramp| ramp.crash);
    let strengths: Vec<f32> = specs.iter().map(|spec| strength(kind, spec, draw)).collect();
    let mut cluster = Cluster::new(specs, nodes, minutes, draw);
    for minute in 0..minutes.min(crash.map_or(minutes, |crash| crash + 15)) {
        cluster.step(minute, draw);
        for node in 0..nodes {
            let mut effect = [0.0, 0.0];
            if let Some(ramp) = ramp.as_ref().filter(|ramp| ramp.nodes.contains(&node)) {
                // What has crashed sends nothing any more.
                if crash.is_some_and(|crash| minute > crash) {
                    continue;
                }
                effect = ramp.effect(minute, draw);
            }
            for (m, spec) in specs.iter().enumerate() {
                let x = cluster.value(node, m, draw);
                let late = if late(kind, spec.category) { effect[1] } else { effect[0] };
                let x = (x + strengths[m] * late * spec.noise_unit()).max(if spec.signed {
                    f32::MIN
                } else {
                    0.0
                });
                made.columns[m].push(if draw.chance(plan.missing) { f32::NAN } else { x });
            }
            made.keys.push((name.into(), format!("node{node:02}"), minute as i64));
        }
    }
}

/// How many noises a metric moves when the ramp is at its end.
fn strength(kind: &Kind, spec: &Spec, draw: &mut Draw) -> f32 {
    let of = |list: &[(Category, f32)]| {
        list.iter().find(|(category, _)| *category == spec.category).map(|found| found.1)
    };
    match of(kind.early).or_else(|| of(kind.late)) {
        // Not every metric of a category sees the fault.
        Some(typical) if draw.chance(0.7) => typical.signum() * draw.spread(typical.abs(), 0.6),
        _ => 0.0,
    }
}

fn late(kind: &Kind, category: Category) -> bool {
    !kind.early.iter().any(|(early, _)| *early == category)
}
