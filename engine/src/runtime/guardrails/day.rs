//! Days in the life of healthy engines, simulated: load with the shape of a day, noise of a busy machine, and what happens
//! to a healthy gateway now and then. Medians, spreads and tails are those of the calm runs of `predictor/data`, of which
//! nothing else is in here.

use predictor::{Metric, N_METRICS, SAMPLE_MS, TelemetrySample};
use std::f32::consts::TAU;

const DAY_MS: u64 = 24 * 3_600_000;
/// Samples that the noise of the machine lasts, about.
const WEATHER: f32 = 200.0;

/// What happens to a healthy engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Somebody sends at once for seconds, up to several times the usual.
    Burst,
    /// All routes are read anew.
    Reload,
    /// The table grows, by a fifth of what it was, and stays.
    Growth,
    /// The process does not run for 50 to 200 ms.
    Pause,
    /// The path loses a probe.
    LostProbe,
}

impl Happening {
    /// All, with how often each happens an hour, and for how many samples it is felt: least and most.
    pub const ALL: [(Happening, f32, (u64, u64)); 5] = [
        (Happening::Burst, 40.0, (5, 30)),
        (Happening::Reload, 2.0, (8, 20)),
        (Happening::Growth, 0.5, (50, 150)),
        (Happening::Pause, 2.0, (1, 2)),
        (Happening::LostProbe, 6.0, (10, 10)),
    ];
}

/// One healthy engine.
pub struct Healthy {
    rng: u64,
    at_ms: u64,
    /// Packets a second at noon.
    size: f32,
    /// How busy the machine is, and how much comes: of log-normal spread, and slow.
    weather: f32,
    demand: f32,
    /// Happening, samples left of it, and its strength, 0–1.
    now: Vec<(Happening, u64, f32)>,
    /// Share of the memory.
    memory: f32,
    /// How often each has happened.
    pub happened: [u64; Happening::ALL.len()],
}

impl Healthy {
    /// An engine of its own size at midnight.
    pub fn new(seed: u64) -> Healthy {
        let mut engine = Healthy {
            rng: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            at_ms: DAY_MS,
            size: 0.0,
            weather: 0.0,
            demand: 0.0,
            now: Vec::new(),
            memory: 0.14,
            happened: [0; Happening::ALL.len()],
        };
        engine.size = 400.0 + 600.0 * engine.uniform();
        engine
    }

    /// SplitMix64.
    fn uniform(&mut self) -> f32 {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Standard normal (Box and Muller).
    fn normal(&mut self) -> f32 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (TAU * v).cos()
    }

    /// Log-normal about `median`; one in thirty is several times larger: a machine with neighbours.
    fn noisy(&mut self, median: f32, spread: f32) -> f32 {
        let spike = if self.uniform() < 1.0 / 30.0 { (4.0 * spread * self.uniform()).exp() } else { 1.0 };
        median * (spread * self.normal()).exp() * spike
    }

    fn happen(&mut self) {
        self.now.retain_mut(|(_, left, _)| {
            *left -= 1;
            *left > 0
        });
        for (i, (what, an_hour, (least, most))) in Happening::ALL.into_iter().enumerate() {
            if self.uniform() < an_hour * SAMPLE_MS as f32 / 3_600_000.0 {
                let length = least + ((most - least + 1) as f32 * self.uniform()) as u64;
                let strength = self.uniform();
                self.now.push((what, length + 1, strength));
                self.happened[i] += 1;
            }
        }
    }

    /// How strong something is just now: 0 if it is not, or up to 1.
    fn feels(&self, what: Happening) -> f32 {
        let felt = self.now.iter().filter(|(which, ..)| *which == what);
        felt.map(|(.., strength)| 0.2 + 0.8 * strength).fold(0.0, f32::max)
    }

    /// Packets that come a second.
    fn load(&mut self) -> f32 {
        self.demand += -self.demand / WEATHER + 0.15 * (2.0 / WEATHER).sqrt() * self.normal();
        let of_day = (self.at_ms % DAY_MS) as f32 / DAY_MS as f32;
        let shape = 0.6 - 0.4 * (TAU * of_day).cos();
        let burst = 1600.0 * self.feels(Happening::Burst);
        (self.size * shape * self.demand.exp() + burst) * (0.03 * self.normal()).exp()
    }

    /// The share of memory: caches fill and are given back, the table grows.
    fn memory(&mut self) -> f32 {
        if self.feels(Happening::Growth) > 0.0 {
            self.memory += 0.0002;
        }
        if self.feels(Happening::Reload) > 0.0 {
            // A new table beside the old one, and what had grown is packed.
            self.memory += (0.14 - self.memory) * 0.05;
        }
        let breath = 0.01 * (TAU * (self.at_ms % 600_000) as f32 / 600_000.0).sin();
        (self.memory + breath) * (1.0 + 0.001 * self.normal())
    }

    /// The next sample.
    pub fn sample(&mut self) -> TelemetrySample {
        self.at_ms += SAMPLE_MS;
        self.happen();
        self.weather += -self.weather / WEATHER + 0.3 * (2.0 / WEATHER).sqrt() * self.normal();
        let (load, memory) = (self.load(), self.memory());
        let (reload, paused) = (self.feels(Happening::Reload), self.feels(Happening::Pause));
        let busy = self.weather.exp() * (1.0 + load / 20_000.0) * (1.0 + reload);
        let pause_us = 200_000.0 * paused;
        let lost = if self.feels(Happening::LostProbe) > 0.0 { 0.02 } else { 0.0 };
        let waited = if self.uniform() < 0.1 { 1.0 } else { 0.0 };
        let rtt = self.noisy(340.0 * busy.sqrt(), 0.2);
        let rtt_p95 = rtt * self.noisy(1.6, 0.4).max(1.0);
        let late = self.noisy(450.0 * busy, 0.7);
        let mut metrics = [0.0; N_METRICS];
        let mut set = |metric: Metric, value: f32| metrics[metric.index()] = value;
        set(Metric::ResidenceUsP50, self.noisy(21.0 * busy, 0.2));
        set(Metric::ResidenceUsP99, self.noisy(150.0 * busy, 0.5) + pause_us * 0.5);
        set(Metric::GapUsP99, self.noisy(2_200_000.0 / load.max(20.0), 0.4) + pause_us);
        set(Metric::RxPps, load);
        set(Metric::TxPps, load);
        set(Metric::PathRttUs, rtt);
        set(Metric::PathRttUsP95, rtt_p95 + pause_us * 0.1);
        set(Metric::PathJitterUs, self.noisy(160.0 * busy, 0.4));
        set(Metric::PathLossTx, lost);
        set(Metric::ProbeTimeoutsInARow, if paused > 0.0 { 1.0 + (4.0 * paused).round() } else { waited });
        set(Metric::BusyShare, (0.011 + load / 45_000.0) * self.noisy(1.0, 0.05));
        set(Metric::PollGapUsMax, self.noisy(650.0 * busy, 0.7) + pause_us);
        set(Metric::ControlLateUs, late + pause_us);
        set(Metric::MempoolUsed, if self.uniform() < 0.05 { 0.0005 } else { 0.0 });
        set(Metric::MemoryUsed, memory);
        set(Metric::LinkUp, 1.0);
        TelemetrySample { at_ms: self.at_ms, metrics }
    }
}
