//! Synthetic recordings: to test the pipeline, never to make a claim about a real engine.

#![allow(dead_code)] // each test uses a part

use predictor::recording::{Event, EventKind, Run, RunHeader, RunKind};
use predictor::{Metric, TelemetrySample};

const SAMPLES: u64 = 450;
const FAULTS: [&str; 4] = ["loss", "latency", "cpu", "memory"];
const CALMS: [&str; 4] = ["steady", "burst", "pause", "blips"];

/// Any seed will do; SplitMix64.
pub struct Noise(pub u64);

impl Noise {
    fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }
    fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }
    /// Around 1, skewed upwards, with a rare outlier.
    fn factor(&mut self, spread: f32) -> f32 {
        let bell: f32 = (0..4).map(|_| self.unit() - 0.5).sum();
        let outlier = if self.unit() < 0.005 { self.range(1.0, 3.0) } else { 1.0 };
        (spread * bell * 1.7).exp() * outlier
    }
}

/// The machine and traffic of a run.
struct Site {
    rtt: f32,
    pps: f32,
    residence: f32,
    busy: f32,
    memory: f32,
}

/// What presses on the subject in one interval (0: nothing; 1: as much as it can bear).
#[derive(Default)]
struct Pressure {
    loss: f32,
    latency: f32,
    cpu: f32,
    memory: f32,
    load: f32,
    blip: bool,
}

/// A full set of runs: every fault and every calm `each` times, in random order of size.
pub fn runs(seed: u64, each: usize) -> Vec<Run> {
    let mut runs = Vec::new();
    for round in 0..each {
        for (i, fault) in FAULTS.iter().enumerate() {
            let seed = seed.wrapping_mul(1_000_003) + (round * 100 + i) as u64;
            runs.push(run(seed, RunKind::Ramp, fault, round));
            runs.push(run(seed + 20, RunKind::StoppedShort, fault, round));
        }
        for (i, calm) in CALMS.iter().enumerate() {
            let seed = seed.wrapping_mul(1_000_003) + (round * 100 + 50 + i) as u64;
            runs.push(run(seed, RunKind::Calm, calm, round));
        }
    }
    runs
}

/// One run.
pub fn run(seed: u64, kind: RunKind, fault: &str, round: usize) -> Run {
    let mut noise = Noise(seed);
    let site = Site {
        rtt: 10f32.powf(noise.range(2.0, 4.5)),
        pps: 10f32.powf(noise.range(2.5, 5.0)),
        residence: noise.range(2.0, 60.0),
        busy: noise.range(0.05, 0.5),
        memory: noise.range(0.1, 0.6),
    };
    let name = format!("{}-{fault}-{round:02}", kind.name());
    let mut run = Run {
        header: RunHeader::new(name, kind, fault, round as u64),
        samples: vec![],
        events: vec![],
        peer: vec![],
        heard: vec![],
    };
    let (inject, length) = (noise.range(8.0, 15.0), noise.range(14.0, 28.0));
    let power = [1.0, 2.0, 0.6][(noise.unit() * 3.0) as usize % 3];
    let short = if kind == RunKind::StoppedShort { noise.range(0.1, 0.4) } else { 1.05 };
    let (burst_at, burst_for, burst) =
        (noise.range(8.0, 25.0), noise.range(3.0, 12.0), noise.range(2.0, 10.0));
    for i in 0..SAMPLES {
        let at_ms = 5_000 + i * 100;
        let t = i as f32 / 10.0;
        let mut p = Pressure { load: 1.0, ..Pressure::default() };
        if kind == RunKind::Calm {
            let within = (burst_at..burst_at + burst_for).contains(&t);
            match fault {
                "burst" if within => p.load = burst,
                "pause" if within => p.load = 0.0,
                "blips" => p.blip = noise.unit() < 0.02,
                _ => {}
            }
        } else {
            let grown = (((t - inject) / length).max(0.0)).powf(power).min(short);
            press(&mut p, fault, grown);
            if i > 0 && t >= inject && t - 0.1 < inject {
                run.events.push(event(at_ms, EventKind::Inject));
            }
            if grown >= 1.0 && run.failure_ms().is_none() {
                run.events.push(event(at_ms, EventKind::HardFailure));
            }
        }
        run.samples.push(sample(at_ms, &site, &p, &mut noise));
    }
    run
}

fn event(at_ms: u64, event: EventKind) -> Event {
    Event { at_ms, event, detail: String::new() }
}

fn press(p: &mut Pressure, fault: &str, grown: f32) {
    match fault {
        "loss" => p.loss = grown,
        "latency" => p.latency = grown,
        "cpu" => p.cpu = grown,
        _ => p.memory = grown,
    }
}

fn sample(at_ms: u64, site: &Site, p: &Pressure, noise: &mut Noise) -> TelemetrySample {
    let pps = site.pps * p.load * noise.factor(0.1);
    let strain = p.load.max(0.3).powf(0.5);
    let residence = site.residence * strain * (1.0 + 12.0 * p.cpu * p.cpu);
    let rtt = site.rtt * (1.0 + 9.0 * p.latency) + residence;
    // Twenty probes of the last second; a blip loses one of them.
    let lost = (0..20).filter(|_| noise.unit() < p.loss * 0.6).count() as f32 + f32::from(p.blip);
    let jitter = 0.03 * rtt * strain * (1.0 + 3.0 * p.latency);
    let mut s = TelemetrySample::new(at_ms);
    s.set(Metric::ResidenceUsP50, residence * noise.factor(0.1))
        .set(Metric::ResidenceUsP99, 4.0 * residence * noise.factor(0.3))
        .set(Metric::GapUsP99, if pps > 1.0 { 3e6 / pps * noise.factor(0.3) } else { f32::NAN })
        .set(Metric::RxPps, pps)
        .set(Metric::TxPps, pps * noise.factor(0.02))
        .set(Metric::DropPps, 0.0)
        .set(Metric::PathRttUs, rtt * noise.factor(0.05))
        .set(Metric::PathRttUsP95, rtt * 1.2 * noise.factor(0.15))
        .set(Metric::PathJitterUs, jitter * noise.factor(0.4))
        .set(Metric::PathLossTx, lost / 20.0)
        .set(Metric::PathLossRx, 0.0)
        .set(Metric::ProbeTimeoutsInARow, if lost > 14.0 { lost - 14.0 } else { 0.0 })
        .set(Metric::BusyShare, (site.busy * strain * (1.0 + p.cpu) * noise.factor(0.1)).min(1.0))
        .set(Metric::PollGapUsMax, (80.0 + 20_000.0 * p.cpu * p.cpu) * noise.factor(0.4))
        .set(Metric::ControlLateUs, (60.0 + 30_000.0 * p.cpu * p.cpu) * noise.factor(0.5))
        .set(Metric::MempoolUsed, 0.02 * strain * noise.factor(0.1))
        .set(Metric::MemoryUsed, site.memory + (1.0 - site.memory) * p.memory.min(1.0))
        .set(Metric::CpuThrottled, (0.8 * p.cpu * noise.factor(0.1)).min(1.0))
        .set(Metric::PortErrorsPs, 0.0)
        .set(Metric::PortMissedPs, if p.load > 6.0 { noise.range(0.0, 40.0) } else { 0.0 })
        .set(Metric::LinkUp, 1.0);
    s
}
