//! A cluster in calm, which is not quiet: load that all share, bursts, jobs, deploys, restarts, sawtooth memory.

use super::Draw;

/// What a metric measures; faults act on categories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    Cpu,
    Memory,
    Swap,
    Files,
    Threads,
    Disk,
    Traffic,
    Errors,
    Latency,
    Queue,
    Buffers,
    Lag,
    Other,
}

const CATEGORIES: [Category; 13] = [
    Category::Cpu,
    Category::Memory,
    Category::Swap,
    Category::Files,
    Category::Threads,
    Category::Disk,
    Category::Traffic,
    Category::Errors,
    Category::Latency,
    Category::Queue,
    Category::Buffers,
    Category::Lag,
    Category::Other,
];

/// A metric: its unit, how it follows the load, and how it is noisy.
#[derive(Clone, Debug)]
pub struct Spec {
    pub name: String,
    pub category: Category,
    pub signed: bool,
    unit: f32,
    level: f32,
    load: f32,
    /// Memory of the noise from minute to minute.
    memory: f32,
    /// Exponent of a heavy tail; 0: none.
    tail: f32,
    /// Zero but for a share of minutes.
    rare: f32,
    sawtooth: bool,
}

impl Spec {
    /// One noise of this metric in its unit.
    pub fn noise_unit(&self) -> f32 {
        self.unit
    }
}

/// The metrics of a set.
pub fn specs(set: u64, per_category: (usize, usize)) -> Vec<Spec> {
    let mut draw = Draw::new(set ^ 0x5e7);
    let mut specs = Vec::new();
    for category in CATEGORIES {
        let count = draw.whole(per_category) * if category == Category::Other { 3 } else { 1 };
        for nth in 0..count {
            let counts = matches!(category, Category::Errors | Category::Swap);
            specs.push(Spec {
                name: format!("{category:?}_{set}_{nth}").to_lowercase(),
                category,
                signed: category == Category::Other && nth % 2 == 0,
                unit: draw.spread(1.0, 3.0),
                level: draw.between(5.0, 60.0),
                load: if matches!(category, Category::Files | Category::Disk | Category::Memory) {
                    draw.between(0.0, 4.0)
                } else {
                    draw.between(2.0, 20.0)
                },
                memory: draw.between(0.0, 0.9),
                tail: if draw.chance(0.3) { draw.between(0.5, 1.2) } else { 0.0 },
                rare: if counts { draw.between(0.01, 0.3) } else { 0.0 },
                sawtooth: category == Category::Memory && draw.chance(0.6),
            });
        }
    }
    specs
}

/// Something that happens to a node and is no fault.
#[derive(Clone, Debug)]
struct Benign {
    node: usize,
    start: usize,
    minutes: usize,
    /// Metric, and how many noises it moves.
    moves: Vec<(usize, f32)>,
    /// Grows to its end (a job) instead of being there at once (a burst, a deploy).
    grows: bool,
}

/// The state of a run's background.
pub struct Cluster<'a> {
    specs: &'a [Spec],
    /// By node and metric: the role's level, and the noise's state.
    roles: Vec<f32>,
    noise: Vec<f32>,
    teeth: Vec<f32>,
    benign: Vec<Benign>,
    phase: f32,
    burst: f32,
    load: f32,
    shares: Vec<f32>,
    minute: usize,
}

impl<'a> Cluster<'a> {
    pub fn new(specs: &'a [Spec], nodes: usize, minutes: usize, draw: &mut Draw) -> Self {
        let cells = nodes * specs.len();
        // Two roles, such as primaries and replicas.
        let lead: Vec<f32> = (0..nodes).map(|node| if node % 2 == 0 { 1.0 } else { 0.6 }).collect();
        let roles = (0..cells).map(|i| lead[i / specs.len()] * draw.between(0.85, 1.15)).collect();
        let per_day = nodes as f32 * minutes as f32 / 1440.0;
        let events = (per_day * draw.between(0.5, 2.5)).ceil() as usize;
        let benign = (0..events).map(|_| benign(specs, nodes, minutes, draw)).collect();
        Self {
            specs,
            roles,
            noise: vec![0.0; cells],
            teeth: (0..cells).map(|_| draw.unit()).collect(),
            benign,
            phase: draw.between(0.0, 1440.0),
            burst: 0.0,
            load: 0.5,
            shares: (0..nodes).map(|_| draw.between(0.9, 1.1)).collect(),
            minute: 0,
        }
    }

    pub fn step(&mut self, minute: usize, draw: &mut Draw) {
        self.minute = minute;
        let day = (minute as f32 + self.phase) / 1440.0 * std::f32::consts::TAU;
        if draw.chance(0.006) {
            self.burst = draw.between(0.2, 1.2);
        }
        self.burst *= 0.93;
        self.load = 0.5 + 0.35 * day.sin() + self.burst + 0.03 * draw.normal();
        for share in &mut self.shares {
            *share += 0.01 * draw.normal() - 0.02 * (*share - 1.0);
        }
    }

    pub fn value(&mut self, node: usize, metric: usize, draw: &mut Draw) -> f32 {
        let spec = &self.specs[metric];
        let cell = node * self.specs.len() + metric;
        let fresh = (1.0 - spec.memory * spec.memory).sqrt() * draw.normal();
        self.noise[cell] = spec.memory * self.noise[cell] + fresh;
        let mut noise = self.noise[cell];
        if spec.tail > 0.0 && draw.chance(0.02) {
            noise += draw.spread(2.0, spec.tail);
        }
        let mut x = if spec.rare > 0.0 {
            if draw.chance(spec.rare) { draw.spread(1.0, 0.8) } else { 0.0 }
        } else {
            self.roles[cell] * (spec.level + spec.load * self.load * self.shares[node]) + noise
        };
        if spec.sawtooth {
            self.teeth[cell] += 0.004;
            if self.teeth[cell] > 1.0 || draw.chance(0.001) {
                self.teeth[cell] = 0.0;
            }
            x += 6.0 * self.teeth[cell];
        }
        for event in self.benign.iter().filter(|event| event.node == node) {
            let Some(since) = self.minute.checked_sub(event.start).filter(|since| *since < event.minutes)
            else {
                continue;
            };
            let part = if event.grows { since as f32 / event.minutes as f32 } else { 1.0 };
            x += event
                .moves
                .iter()
                .filter(|(moved, _)| *moved == metric)
                .map(|(_, by)| by * part)
                .sum::<f32>();
        }
        x * spec.unit
    }
}

fn benign(specs: &[Spec], nodes: usize, minutes: usize, draw: &mut Draw) -> Benign {
    let start = draw.below(minutes);
    let (lasts, grows) = match draw.below(4) {
        // A deploy stays, a burst passes, a job and a slow leak with a restart grow.
        0 => (minutes, false),
        1 => (draw.whole((3, 25)), false),
        2 => (draw.whole((20, 90)), true),
        _ => (draw.whole((60, 240)), true),
    };
    let count = draw.whole((1, 4));
    let moves = (0..count).map(|_| (draw.below(specs.len()), draw.spread(5.0, 0.6))).collect();
    Benign { node: draw.below(nodes), start, minutes: lasts, moves, grows }
}
