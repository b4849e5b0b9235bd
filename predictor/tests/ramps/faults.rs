//! Kinds of fault, and the shapes of their ramps.

use super::Draw;
use super::background::Category::{self, *};

/// A kind of fault: the categories it moves from the start and those that it moves near the end, in noises.
pub struct Kind {
    pub name: &'static str,
    pub early: &'static [(Category, f32)],
    pub late: &'static [(Category, f32)],
    /// It sits on a link, and both ends suffer.
    pub link: bool,
    /// It kills at once: nobody can foresee it.
    pub abrupt: bool,
}

const fn kind(
    name: &'static str,
    link: bool,
    early: &'static [(Category, f32)],
    late: &'static [(Category, f32)],
) -> Kind {
    Kind { name, early, late, link, abrupt: false }
}

pub const KINDS: [Kind; 12] = [
    kind("heap-leak", false, &[(Memory, 14.0)], &[(Swap, 12.0), (Latency, 8.0), (Cpu, 4.0)]),
    kind("fd-leak", false, &[(Files, 18.0)], &[(Errors, 6.0), (Queue, 4.0)]),
    kind("mbuf-leak", false, &[(Buffers, -14.0)], &[(Errors, 8.0), (Traffic, -6.0)]),
    kind("cpu-theft", false, &[(Cpu, 10.0), (Latency, 6.0)], &[(Queue, 10.0), (Lag, 5.0)]),
    kind("link-loss", true, &[(Errors, 8.0), (Latency, 5.0)], &[(Lag, 10.0), (Traffic, -6.0)]),
    kind("link-delay", true, &[(Latency, 10.0), (Lag, 6.0)], &[(Queue, 8.0), (Traffic, -4.0)]),
    kind("disk-fill", false, &[(Disk, 20.0)], &[(Latency, 6.0), (Errors, 6.0)]),
    kind("slow-consumer", false, &[(Queue, 12.0), (Memory, 6.0)], &[(Latency, 8.0)]),
    kind("error-climb", false, &[(Errors, 12.0)], &[(Traffic, -5.0)]),
    kind("thread-leak", false, &[(Threads, 15.0), (Memory, 4.0)], &[(Cpu, 6.0), (Latency, 4.0)]),
    kind("lock-decay", false, &[(Latency, 6.0), (Threads, 6.0)], &[(Traffic, -8.0), (Queue, 6.0)]),
    Kind { name: "abrupt", early: &[], late: &[], link: false, abrupt: true },
];

#[derive(Clone, Copy, Debug)]
enum Shape {
    Linear,
    Exponential,
    Steps,
    Saturating,
    Oscillating,
}

/// One fault of one run.
#[derive(Clone, Debug)]
pub struct Ramp {
    pub nodes: Vec<usize>,
    pub inject: usize,
    /// `None`: it stopped short.
    pub crash: Option<usize>,
    shape: Shape,
    minutes: f32,
    /// Progress at which it stops, and whether it stays there.
    stops: f32,
    stays: bool,
    phase: f32,
}

impl Ramp {
    /// `None`: a calm run.
    pub fn draw(kind: &Kind, nodes: usize, minutes: usize, draw: &mut Draw) -> Option<Self> {
        if draw.chance(0.1) {
            return None;
        }
        let lasts = draw.whole((25, 180));
        let inject = draw.whole((60.min(minutes / 4), minutes.saturating_sub(lasts + 20).max(minutes / 4)));
        let first = draw.below(nodes);
        let second = (first + 1 + draw.below(nodes.max(2) - 1)) % nodes;
        let short = !kind.abrupt && draw.chance(0.33);
        let end = inject + lasts;
        Some(Self {
            nodes: if kind.link && nodes > 1 { vec![first, second] } else { vec![first] },
            inject,
            crash: (!short && end < minutes).then_some(end),
            shape: [Shape::Linear, Shape::Exponential, Shape::Steps, Shape::Saturating, Shape::Oscillating]
                [draw.below(5)],
            minutes: lasts as f32,
            stops: if short { draw.between(0.3, 0.8) } else { 1.0 },
            stays: draw.chance(0.3),
            phase: draw.between(0.0, 6.0),
        })
    }

    /// How far the early and the late symptoms have come, 0 to about 1.
    pub fn effect(&self, minute: usize, draw: &mut Draw) -> [f32; 2] {
        let Some(since) = minute.checked_sub(self.inject) else { return [0.0; 2] };
        let time = since as f32 / self.minutes;
        if time > self.stops && !self.stays {
            return [0.0; 2];
        }
        let time = time.min(self.stops);
        let level = match self.shape {
            Shape::Linear => time,
            Shape::Exponential => ((3.0 * time).exp() - 1.0) / (3.0f32.exp() - 1.0),
            Shape::Steps => (time * 6.0).floor() / 6.0,
            Shape::Saturating => 1.05 * (1.0 - (-3.0 * time).exp()),
            Shape::Oscillating => time + 0.12 * (self.phase + since as f32 * 0.35).sin() * time.sqrt(),
        };
        let level = (level * (1.0 + 0.05 * draw.normal())).max(0.0);
        [level, ((level - 0.6) / 0.4).max(0.0)]
    }
}
