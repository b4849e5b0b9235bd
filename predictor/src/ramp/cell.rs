//! What one metric of one node remembers: how far it has left its own past and its peers, since when, how steadily.

/// Time constants of the three means of a deviation, minutes.
const MEANS: [f32; 3] = [5.0, 15.0, 60.0];
/// Time constant of baselines and scales, minutes.
const SLOW: f32 = 240.0;
/// Minutes of plain averaging before a baseline resists outliers.
const WARM: f32 = 30.0;
/// A baseline moves as if no value were further than this many scales away: a ramp cannot take it along.
const PULL_MAX: f32 = 2.5;
/// Deviations, in scales, are clipped here.
const Z_MAX: f32 = 50.0;
/// CUSUM: slack, largest step and cap, scales.
const SLACK: f32 = 0.75;
const STEP_MAX: f32 = 4.0;
const CUSUM_MAX: f32 = 80.0;
/// An episode of deviation begins above the first and ends below the second, scales.
const EPISODE: [f32; 2] = [2.0, 1.0];
/// Minutes after which an age says nothing more.
const AGE_MAX: f32 = 360.0;

/// The share of the old value that is replaced after `minutes`, with time constant `tau`.
pub(super) fn share(minutes: f32, tau: f32) -> f32 {
    1.0 - (-minutes / tau).exp()
}

/// Shares for a step in time, computed once for all metrics.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    means: [f32; 3],
    slow: f32,
    minutes: f32,
}

impl Step {
    /// A step of so many minutes, at least one.
    pub(super) fn new(minutes: i64) -> Self {
        let minutes = minutes.clamp(1, 60) as f32;
        Self { means: MEANS.map(|tau| share(minutes, tau)), slow: share(minutes, SLOW), minutes }
    }
}

/// A prior counts as this many minutes of a run.
const PRIOR: f32 = 30.0;
/// After ten values, a prior that is this many times off is of something else: another unit, another machine.
const PRIOR_OFF: f32 = 8.0;

/// How much a metric varies: an average of absolute deviations.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scale {
    mean: f32,
    weight: f32,
    prior: Option<f32>,
}

impl Scale {
    /// With what other runs have taught.
    pub(super) fn with_prior(prior: Option<f32>) -> Self {
        Self { prior, ..Self::default() }
    }

    pub(super) fn push(&mut self, deviation: f32) {
        let most = if self.weight > WARM && self.mean > 0.0 { STEP_MAX * self.mean } else { f32::MAX };
        self.weight = (self.weight + 1.0).min(SLOW);
        self.mean += (deviation.min(most) - self.mean) / self.weight;
        if let Some(prior) = self.prior
            && self.weight >= 10.0
            && !(prior / PRIOR_OFF..=prior * PRIOR_OFF).contains(&self.mean)
            // What was always still in this run may yet speak.
            && self.mean > 0.0
        {
            self.prior = None;
        }
    }

    pub(super) fn mean(self) -> f32 {
        match self.prior {
            Some(prior) => (PRIOR * prior + self.weight * self.mean) / (PRIOR + self.weight),
            None => self.mean,
        }
    }

    /// How far the mean may be relied on, 0 to 1.
    pub(super) fn trust(self) -> f32 {
        let known = if self.prior.is_some() { PRIOR } else { 0.0 };
        ((self.weight + known) / WARM).min(1.0)
    }
}

/// A baseline that outliers and ramps hardly move.
#[derive(Clone, Copy, Debug, Default)]
struct Base {
    mean: f32,
    seen: f32,
}

impl Base {
    /// The deviation of a value, before the baseline learns it.
    fn push(&mut self, x: f32, scale: f32, slow: f32) -> f32 {
        if self.seen == 0.0 {
            self.mean = x;
        }
        let deviation = x - self.mean;
        self.seen += 1.0;
        if self.seen <= WARM {
            self.mean += deviation / self.seen;
        } else {
            let most = PULL_MAX * scale;
            self.mean += slow.max(1.0 / self.seen) * deviation.clamp(-most, most);
        }
        deviation
    }
}

/// The scales of a metric over all nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scales {
    /// Of the difference from the peers.
    pub(super) peers: f32,
    /// Of the difference from the node's own past.
    pub(super) own: f32,
    /// 0 (never seen) to 1 (known well): a scale learnt from few values makes giants of nothing.
    pub(super) trust: f32,
}

/// One metric of one node.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    peers_base: Base,
    own_base: Base,
    peers_scale: Scale,
    /// Means of the deviation from the peers over 5, 15 and 60 minutes, scales.
    pub(super) peers: [f32; 3],
    /// The same from the node's own past.
    pub(super) own: [f32; 3],
    up: f32,
    down: f32,
    /// −1 (falls steadily) to 1 (rises steadily).
    pub(super) trend: f32,
    /// Share of the last minutes in which no node had ever been as far out.
    pub(super) records: f32,
    /// Minutes since the deviation began.
    pub(super) age: f32,
    seen: f32,
}

/// Absolute deviations of a value, in the metric's units: they feed the metric's scales.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deviation {
    pub(super) peers: f32,
    pub(super) own: f32,
}

impl Cell {
    /// A value, its difference from the peers' median, the metric's scales, and whether it is a record.
    pub(super) fn push(
        &mut self,
        x: f32,
        difference: f32,
        scales: Scales,
        record: bool,
        step: Step,
    ) -> Deviation {
        let typical = if self.peers_scale.weight > WARM {
            0.5 * (scales.peers + self.peers_scale.mean().min(4.0 * scales.peers))
        } else {
            scales.peers
        };
        let peers = self.peers_base.push(difference, typical, step.slow);
        let own = self.own_base.push(x, scales.own, step.slow);
        self.peers_scale.push(peers.abs());
        self.seen += 1.0;
        let z = scales.trust * (peers / (1.25 * typical)).clamp(-Z_MAX, Z_MAX);
        let z_own = scales.trust * (own / (1.25 * scales.own)).clamp(-Z_MAX, Z_MAX);
        let middle = self.peers[1];
        for i in 0..3 {
            let share = step.means[i].max(1.0 / self.seen);
            self.peers[i] += share * (z - self.peers[i]);
            self.own[i] += share * (z_own - self.own[i]);
        }
        // A change below a fiftieth of the noise is none: a constant has no trend.
        let turn = ((self.peers[1] - middle) * 50.0).clamp(-1.0, 1.0);
        self.trend += step.means[1] * (turn - self.trend);
        self.records += step.means[1] * (f32::from(record) - self.records);
        let e = z.clamp(-STEP_MAX, STEP_MAX);
        self.up = (self.up + e - SLACK).clamp(0.0, CUSUM_MAX);
        self.down = (self.down - e - SLACK).clamp(0.0, CUSUM_MAX);
        self.grow_old(step.minutes);
        Deviation { peers: peers.abs(), own: own.abs() }
    }

    /// No value at this minute: what was seen fades.
    pub(super) fn fade(&mut self, step: Step) {
        let keep = 1.0 - step.means[2];
        self.peers.iter_mut().chain(&mut self.own).for_each(|mean| *mean *= keep);
        for part in [&mut self.up, &mut self.down, &mut self.trend, &mut self.records] {
            *part *= keep;
        }
        self.grow_old(step.minutes);
    }

    fn grow_old(&mut self, minutes: f32) {
        let far = self.peers[0].abs();
        if self.age > 0.0 && far >= EPISODE[1] {
            self.age = (self.age + minutes).min(AGE_MAX);
        } else {
            self.age = if far >= EPISODE[0] { 1.0 } else { 0.0 };
        }
    }

    /// Either side's sum.
    pub(super) fn cusum(&self) -> f32 {
        self.up.max(self.down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALES: Scales = Scales { peers: 1.0, own: 1.0, trust: 1.0 };

    fn run(values: impl IntoIterator<Item = f32>) -> Cell {
        let mut cell = Cell::default();
        for x in values {
            cell.push(x, x, SCALES, false, Step::new(1));
        }
        cell
    }

    fn noise(i: usize) -> f32 {
        [0.9, -1.1, 0.3, -0.2, 1.2, -0.8, -0.6, 0.3][i % 8]
    }

    #[test]
    fn a_ramp_shows_in_every_window_and_a_calm_does_not() {
        let calm = run((0..300).map(noise));
        let ramp = run((0..300).map(|i| noise(i) + (i as f32 - 240.0).max(0.0) * 0.2));
        assert!(calm.peers.iter().all(|z| z.abs() < 1.0) && calm.cusum() < 5.0 && calm.age == 0.0);
        assert!(ramp.peers[0] > 5.0 && ramp.peers[0] > ramp.peers[1] && ramp.peers[1] > ramp.peers[2]);
        assert!(ramp.trend > 0.8 && ramp.cusum() > 40.0 && ramp.age > 20.0 && ramp.age < 60.0);
    }

    #[test]
    fn one_spike_is_soon_forgotten() {
        let spiked = run((0..300).map(|i| if i == 250 { 1e9 } else { noise(i) }));
        assert!(spiked.peers[0].abs() < 1.0 && spiked.cusum() < 5.0, "{spiked:?}");
        assert!((spiked.peers_base.mean).abs() < 0.5);
    }

    #[test]
    fn a_constant_says_nothing_and_silence_fades() {
        let constant = run(std::iter::repeat_n(7.0, 100));
        assert_eq!((constant.peers, constant.trend, constant.cusum()), ([0.0; 3], 0.0, 0.0));
        let mut ramp = run((0..100).map(|i| i as f32));
        (0..300).for_each(|_| ramp.fade(Step::new(1)));
        assert!(ramp.peers[0] < 1.0 && ramp.age == 0.0);
    }
}
