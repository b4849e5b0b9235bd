//! What the engine measures about one subject every 100 ms.

use serde::{Deserialize, Serialize};

/// How many metrics a sample holds.
pub const N_METRICS: usize = 22;

/// The engine's sampling period (ms) that the time constants assume.
pub const SAMPLE_MS: u64 = 100;

/// One measured quantity. The order is part of the model format: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Median time from RX to TX in the interval (µs).
    ResidenceUsP50,
    /// 99th percentile of the time from RX to TX (µs).
    ResidenceUsP99,
    /// 99th percentile of the gap between packets (µs).
    GapUsP99,
    /// Packets received a second.
    RxPps,
    /// Packets transmitted a second.
    TxPps,
    /// Packets that the walk dropped a second, all reasons.
    DropPps,
    /// Median round trip of the path's probes (µs).
    PathRttUs,
    /// 95th percentile (or, under 20 probes, the maximum) of the round trip (µs).
    PathRttUsP95,
    /// Mean absolute difference of successive round trips (µs).
    PathJitterUs,
    /// Share of probes lost on the way out, over the last second or so (0..1).
    PathLossTx,
    /// Share of probes lost on the way back, over the last second or so (0..1).
    PathLossRx,
    /// Probes unanswered in a row.
    ProbeTimeoutsInARow,
    /// Share of polls that found packets (0..1).
    BusyShare,
    /// Longest time between two polls above the configured sleep (µs).
    PollGapUsMax,
    /// How late the control tick came (µs).
    ControlLateUs,
    /// Share of the packet buffers in use (0..1).
    MempoolUsed,
    /// Share of the memory limit (cgroup or host) in use (0..1).
    MemoryUsed,
    /// Share of the interval in which the CPU quota held the engine back (0..1).
    CpuThrottled,
    /// Port errors (rx + tx) a second.
    PortErrorsPs,
    /// Packets that the port missed (no descriptor, no buffer) a second.
    PortMissedPs,
    /// 1 while the link is up, else 0.
    LinkUp,
    /// Share of the packets mirrored to this engine, as a standby, that it treats otherwise than the active (0..1).
    MirrorDiverged,
}

/// How a metric's raw value becomes one in which differences mean the same anywhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    /// Positive quantity compared by ratio: `ln(x + floor)`.
    Ratio { floor: f32 },
    /// A rate that is 0 when all is well: `ln(1 + x / unit)`.
    Count { unit: f32 },
    /// A share of a limit: `-ln(1.02 - x)`, so that the last percents count most.
    Share,
    /// 1 is good, 0 bad: `1 - x`.
    Good,
}

/// What a change of the metric says about health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Demand: says how busy, never how ill.
    Load,
    /// Rises with demand and with illness: discounted by the growth of the load.
    Strain,
    /// Illness whatever the load.
    Harm,
}

/// The static description of one metric.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) metric: Metric,
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) scale: Scale,
    pub(crate) role: Role,
    /// Smallest spread (in scaled units) taken as noise.
    pub(crate) noise: f32,
    /// Weight in the drift score (0..1).
    pub(crate) weight: f32,
    /// Where it hurts: raw value, or for `Ratio` a multiple of the baseline. `None`: no limit.
    pub(crate) limit: Option<f32>,
}

const fn spec(
    metric: Metric,
    name: &'static str,
    unit: &'static str,
    shape: (Scale, Role),
    noise: f32,
    weight: f32,
    limit: Option<f32>,
) -> Spec {
    Spec { metric, name, unit, scale: shape.0, role: shape.1, noise, weight, limit }
}

const US: Scale = Scale::Ratio { floor: 0.5 };
const PPS: Scale = Scale::Ratio { floor: 10.0 };
const LOSS: Scale = Scale::Count { unit: 0.01 };
const RATE: Scale = Scale::Count { unit: 5.0 };
use Role::{Harm, Load, Strain};

pub(crate) static SPECS: [Spec; N_METRICS] = [
    spec(Metric::ResidenceUsP50, "residence_us_p50", "us", (US, Strain), 0.15, 0.5, Some(10.0)),
    spec(Metric::ResidenceUsP99, "residence_us_p99", "us", (US, Strain), 0.25, 0.6, Some(10.0)),
    spec(Metric::GapUsP99, "gap_us_p99", "us", (US, Load), 0.25, 0.0, None),
    spec(Metric::RxPps, "rx_pps", "packets/s", (PPS, Load), 0.15, 0.0, None),
    spec(Metric::TxPps, "tx_pps", "packets/s", (PPS, Load), 0.15, 0.0, None),
    spec(Metric::DropPps, "drop_pps", "packets/s", (RATE, Harm), 0.3, 0.7, None),
    spec(Metric::PathRttUs, "path_rtt_us", "us", (US, Strain), 0.15, 0.7, Some(10.0)),
    spec(Metric::PathRttUsP95, "path_rtt_us_p95", "us", (US, Strain), 0.25, 0.6, Some(10.0)),
    spec(Metric::PathJitterUs, "path_jitter_us", "us", (US, Strain), 0.4, 0.4, None),
    spec(Metric::PathLossTx, "path_loss_tx", "0..1", (LOSS, Harm), 0.3, 1.0, Some(0.25)),
    spec(Metric::PathLossRx, "path_loss_rx", "0..1", (LOSS, Harm), 0.3, 1.0, Some(0.25)),
    spec(
        Metric::ProbeTimeoutsInARow,
        "probe_timeouts_in_a_row",
        "probes",
        (Scale::Count { unit: 2.0 }, Harm),
        0.25,
        0.9,
        Some(10.0),
    ),
    spec(Metric::BusyShare, "busy_share", "0..1", (Scale::Share, Strain), 0.1, 0.2, None),
    spec(Metric::PollGapUsMax, "poll_gap_us_max", "us", (US, Strain), 0.4, 0.6, None),
    spec(Metric::ControlLateUs, "control_late_us", "us", (US, Strain), 0.4, 0.5, None),
    spec(Metric::MempoolUsed, "mempool_used", "0..1", (Scale::Share, Harm), 0.03, 0.9, Some(0.97)),
    spec(Metric::MemoryUsed, "memory_used", "0..1", (Scale::Share, Harm), 0.02, 0.9, Some(0.97)),
    spec(Metric::CpuThrottled, "cpu_throttled", "0..1", (Scale::Share, Harm), 0.05, 0.9, Some(0.8)),
    spec(Metric::PortErrorsPs, "port_errors_ps", "errors/s", (RATE, Harm), 0.3, 0.8, None),
    spec(Metric::PortMissedPs, "port_missed_ps", "packets/s", (RATE, Harm), 0.3, 0.8, None),
    spec(Metric::LinkUp, "link_up", "0/1", (Scale::Good, Harm), 0.05, 1.0, None),
    spec(Metric::MirrorDiverged, "mirror_diverged", "0..1", (LOSS, Harm), 0.3, 0.8, None),
];

/// Values that another process gave, in the order of [`Metric::all`]; of another version's those that both know, as metrics are only
/// ever appended.
pub fn from_values(values: &[Option<f32>]) -> [f32; N_METRICS] {
    std::array::from_fn(|i| values.get(i).copied().flatten().unwrap_or(f32::NAN))
}

impl Metric {
    /// Every metric, in the order of [`TelemetrySample::metrics`].
    pub fn all() -> impl ExactSizeIterator<Item = Metric> {
        SPECS.iter().map(|s| s.metric)
    }
    /// The name in recordings, decisions and model files.
    pub fn name(self) -> &'static str {
        self.spec().name
    }
    /// The unit of the raw value.
    pub fn unit(self) -> &'static str {
        self.spec().unit
    }
    /// Position in [`TelemetrySample::metrics`].
    pub const fn index(self) -> usize {
        self as usize
    }
    /// The metric of this name.
    pub fn from_name(name: &str) -> Option<Metric> {
        SPECS.iter().find(|s| s.name == name).map(|s| s.metric)
    }
    pub(crate) fn spec(self) -> &'static Spec {
        &SPECS[self.index()]
    }
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Spec {
    /// A raw value as it may be used, `None` when it was not measured or makes no sense.
    pub(crate) fn usable(raw: f32) -> Option<f32> {
        // Beyond any real value; keeps the sums below finite.
        (raw.is_finite() && raw >= 0.0).then_some(raw.min(1e12))
    }

    /// The scaled value of a usable raw one.
    pub(crate) fn scaled(&self, raw: f32) -> f32 {
        match self.scale {
            Scale::Ratio { floor } => (raw + floor).ln(),
            Scale::Count { unit } => (1.0 + raw / unit).ln(),
            Scale::Share => -(1.02 - raw.min(1.0)).ln(),
            Scale::Good => 1.0 - raw.min(1.0),
        }
    }

    /// The raw limit for a subject whose scaled baseline is `base`.
    pub(crate) fn raw_limit(&self, base: f32) -> Option<f32> {
        let limit = self.limit?;
        match self.scale {
            Scale::Ratio { .. } => Some(limit * base.exp()),
            Scale::Good => None,
            _ => Some(limit),
        }
    }

    /// Raw units in one scaled unit around the raw value `x`.
    pub(crate) fn raw_per_scaled(&self, x: f32) -> f32 {
        match self.scale {
            Scale::Ratio { floor } => x + floor,
            Scale::Count { unit } => x + unit,
            Scale::Share => 1.02 - x,
            Scale::Good => 1.0,
        }
    }
}

/// One sample of one subject. `NaN` means not measured in this interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TelemetrySample {
    /// Monotonic time of the end of the interval (ms).
    pub at_ms: u64,
    /// Raw values in the order of [`Metric::all`].
    pub metrics: [f32; N_METRICS],
}

impl TelemetrySample {
    /// A sample in which nothing was measured yet.
    pub fn new(at_ms: u64) -> Self {
        Self { at_ms, metrics: [f32::NAN; N_METRICS] }
    }
    /// Sets one metric's raw value.
    pub fn set(&mut self, metric: Metric, value: f32) -> &mut Self {
        self.metrics[metric.index()] = value;
        self
    }
    /// One metric's raw value, `None` when not measured.
    pub fn get(&self, metric: Metric) -> Option<f32> {
        let v = self.metrics[metric.index()];
        v.is_finite().then_some(v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_another_version_are_those_that_both_know() {
        let newer = from_values(&[Some(1.0); N_METRICS + 1]);
        assert_eq!(newer, [1.0; N_METRICS]);
        let older = from_values(&[Some(1.0), None]);
        assert!(older[0] == 1.0 && older[1..].iter().all(|value| value.is_nan()));
    }

    /// The model format rests on name, index and order being one and the same.
    #[test]
    fn metric_table_is_consistent() {
        for (i, s) in SPECS.iter().enumerate() {
            assert_eq!(s.metric.index(), i, "{}", s.name);
            assert_eq!(Metric::from_name(s.name), Some(s.metric));
            assert_eq!(serde_json::to_value(s.metric).unwrap(), s.name);
        }
    }
}
