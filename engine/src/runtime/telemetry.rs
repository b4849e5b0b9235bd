//! Every 100 ms: counters, histograms, path statistics and the host become one telemetry sample.

use super::workers::Workers;
use control::Controller;
use control::health::PathStats;
use dataplane::id::{Nanos, TunnelId};
use dataplane::telemetry::Latency;
use dpdk::{Device, Mempool, PortStats};
use predictor::{Metric, TelemetrySample};
use std::time::{Duration, Instant};

/// The sampling period.
pub const PERIOD: Duration = Duration::from_millis(predictor::SAMPLE_MS);

/// Sums over all workers at one time.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    received: u64,
    transmitted: u64,
    dropped: u64,
    polls: u64,
    busy_polls: u64,
}

/// Turns cumulative counters into samples of one interval each.
pub struct Sampler {
    host: crate::host::HostSampler,
    own_tunnels: Vec<TunnelId>,
    expected_poll_gap: Duration,
    sampled_at: Nanos,
    totals: Totals,
    ports: PortStats,
    control_late: Duration,
    latency: Latency,
    busy_share: f32,
}

impl Sampler {
    /// `own_tunnels` are the paths that this engine answers for.
    pub fn new(own_tunnels: Vec<TunnelId>, expected_poll_gap: Duration, now: Nanos) -> Sampler {
        Sampler {
            host: crate::host::HostSampler::new(),
            own_tunnels,
            expected_poll_gap,
            sampled_at: now,
            totals: Totals::default(),
            ports: PortStats::default(),
            control_late: Duration::ZERO,
            latency: Latency::default(),
            busy_share: 0.0,
        }
    }

    /// Notes that a control tick came `late`.
    pub fn ticked(&mut self, late: Duration) {
        self.control_late = self.control_late.max(late);
    }

    /// The latency of the last interval, all workers together.
    pub fn latency(&self) -> &Latency {
        &self.latency
    }

    /// Share of the last interval's polls that found packets; NaN if nobody polled.
    pub fn busy_share(&self) -> f32 {
        self.busy_share
    }

    /// The sample of the interval that ends now; `at_ms` is its time stamp.
    pub fn sample(
        &mut self,
        at_ms: u64,
        now: Nanos,
        (workers, ports, pools): (&mut Workers, &[Device], &[Mempool]),
        controller: &Controller,
    ) -> TelemetrySample {
        let seconds = now.since(self.sampled_at).0 as f32 / 1e9;
        self.sampled_at = now;
        let mut sample = TelemetrySample::new(at_ms);
        self.traffic(&mut sample, workers, seconds);
        self.latencies(&mut sample, workers);
        self.paths(&mut sample, controller);
        self.port_health(&mut sample, ports, seconds);
        let used = pools.iter().map(|pool| pool.in_use() as f32 / pool.config().packets as f32);
        sample.set(Metric::MempoolUsed, used.fold(f32::NAN, f32::max));
        let host = self.host.sample(Instant::now());
        sample.set(Metric::MemoryUsed, host.memory_used);
        sample.set(Metric::CpuThrottled, host.cpu_throttled);
        sample.set(Metric::ControlLateUs, micros(std::mem::take(&mut self.control_late)));
        sample
    }

    fn traffic(&mut self, sample: &mut TelemetrySample, workers: &Workers, seconds: f32) {
        let mut totals = Totals::default();
        for counters in workers.counters() {
            totals.received += counters.received.get();
            totals.transmitted += counters.transmitted.get();
            totals.dropped += dropped_in_error(counters);
            totals.polls += counters.polls.get();
            totals.busy_polls += counters.busy_polls.get();
        }
        let before = std::mem::replace(&mut self.totals, totals);
        let rate = |now: u64, then: u64| (now - then) as f32 / seconds;
        sample.set(Metric::RxPps, rate(totals.received, before.received));
        sample.set(Metric::TxPps, rate(totals.transmitted, before.transmitted));
        sample.set(Metric::DropPps, rate(totals.dropped, before.dropped));
        let polls = (totals.polls - before.polls) as f32;
        self.busy_share = (totals.busy_polls - before.busy_polls) as f32 / polls;
        sample.set(Metric::BusyShare, self.busy_share);
    }

    /// Swaps out the workers' histograms. A worker that does not poll keeps its own, and its silence is the gap.
    fn latencies(&mut self, sample: &mut TelemetrySample, workers: &mut Workers) {
        let now = self.sampled_at;
        self.latency.clear();
        for link in workers.links() {
            let mut empty = link.latency_out.take().unwrap_or_default();
            // What was filled during the last interval; it goes back empty.
            let silent = now.since(Nanos(link.counters.polled_at.get()));
            self.latency.poll_gap_max = self.latency.poll_gap_max.max(empty.poll_gap_max).max(silent);
            let same_bounds = "all histograms have the same bounds";
            self.latency.residence_ns.add(&empty.residence_ns).expect(same_bounds);
            self.latency.gap_ns.add(&empty.gap_ns).expect(same_bounds);
            empty.clear();
            drop(link.latency_in.post(empty));
        }
        let (residence, gap) = (&self.latency.residence_ns, &self.latency.gap_ns);
        if !residence.is_empty() {
            sample.set(Metric::ResidenceUsP50, residence.value_at_quantile(0.5) as f32 / 1e3);
            sample.set(Metric::ResidenceUsP99, residence.value_at_quantile(0.99) as f32 / 1e3);
            sample.set(Metric::GapUsP99, gap.value_at_quantile(0.99) as f32 / 1e3);
        }
        let late = Duration::from_nanos(self.latency.poll_gap_max.0).saturating_sub(self.expected_poll_gap);
        sample.set(Metric::PollGapUsMax, micros(late));
    }

    /// Those of the own paths.
    fn paths(&self, sample: &mut TelemetrySample, controller: &Controller) {
        let paths: Vec<PathStats> = self.own_tunnels.iter().filter_map(|&id| controller.path(id)).collect();
        set_paths(sample, &paths);
    }

    fn port_health(&mut self, sample: &mut TelemetrySample, ports: &[Device], seconds: f32) {
        let mut sum = PortStats::default();
        let mut up = true;
        for port in ports {
            up &= port.link().is_ok_and(|link| link.up);
            let Ok(stats) = port.stats() else { continue };
            sum.ierrors += stats.ierrors;
            sum.oerrors += stats.oerrors;
            sum.imissed += stats.imissed;
            sum.rx_nombuf += stats.rx_nombuf;
        }
        let before = std::mem::replace(&mut self.ports, sum);
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f32 / seconds;
        let errors = (sum.ierrors + sum.oerrors, before.ierrors + before.oerrors);
        let missed = (sum.imissed + sum.rx_nombuf, before.imissed + before.rx_nombuf);
        sample.set(Metric::PortErrorsPs, rate(errors.0, errors.1));
        sample.set(Metric::PortMissedPs, rate(missed.0, missed.1));
        sample.set(Metric::LinkUp, f32::from(up));
    }
}

/// The worst of the paths, figure by figure.
pub fn set_paths(sample: &mut TelemetrySample, paths: &[PathStats]) {
    let mut worst = |metric: Metric, figure: fn(&PathStats) -> f32| {
        let value = paths.iter().map(figure).filter(|value| value.is_finite()).fold(f32::NAN, f32::max);
        sample.set(metric, value);
    };
    worst(Metric::PathRttUs, |path| path.rtt.0 as f32 / 1e3);
    worst(Metric::PathRttUsP95, |path| path.rtt_p95.0 as f32 / 1e3);
    worst(Metric::PathJitterUs, |path| path.jitter.0 as f32 / 1e3);
    worst(Metric::PathLossTx, |path| path.loss_tx);
    worst(Metric::PathLossRx, |path| path.loss_rx);
    worst(Metric::ProbeTimeoutsInARow, |path| path.consecutive_lost as f32);
}

/// Drops that mean trouble; packets that were consumed on purpose are not.
fn dropped_in_error(counters: &dataplane::telemetry::Counters) -> u64 {
    use dataplane::drop_reason::DropReason as R;
    let consumed =
        [R::NeighborConsumed, R::ProbeConsumed, R::IcmpConsumed, R::Fragmented, R::Multicast, R::NotForUs];
    // Not the total less these: a worker counts on between two reads.
    let others = R::ALL.iter().filter(|reason| !consumed.contains(reason));
    others.map(|&reason| counters.dropped(reason).get()).sum()
}

fn micros(duration: Duration) -> f32 {
    duration.as_secs_f32() * 1e6
}
