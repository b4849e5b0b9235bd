use super::*;

/// Repeatable noise around 1, so that baselines have a spread.
fn wobble(i: u64, salt: u64) -> f32 {
    let x = (i.wrapping_mul(2_654_435_761).wrapping_add(salt.wrapping_mul(40_503))) % 1009;
    0.9 + 0.2 * x as f32 / 1009.0
}

/// A healthy subject in interval `i`.
fn healthy(i: u64) -> TelemetrySample {
    let mut s = TelemetrySample::new(10_000 + i * SAMPLE_MS);
    s.set(Metric::RxPps, 5_000.0 * wobble(i, 1))
        .set(Metric::TxPps, 5_000.0 * wobble(i, 1))
        .set(Metric::PathRttUs, 800.0 * wobble(i, 2))
        .set(Metric::PathRttUsP95, 950.0 * wobble(i, 3))
        .set(Metric::PathJitterUs, 40.0 * wobble(i, 4))
        .set(Metric::ResidenceUsP99, 60.0 * wobble(i, 5))
        .set(Metric::PathLossTx, 0.0)
        .set(Metric::PathLossRx, 0.0)
        .set(Metric::BusyShare, 0.3 * wobble(i, 6))
        .set(Metric::MemoryUsed, 0.4)
        .set(Metric::MempoolUsed, 0.05 * wobble(i, 7));
    s
}

fn scale(sample: &mut TelemetrySample, metric: Metric, factor: f32) {
    sample.metrics[metric.index()] *= factor;
}

/// Growth that every subject below shares: the round trip doubles over ten seconds.
fn worsening(i: u64) -> TelemetrySample {
    let mut s = healthy(i);
    let factor = 1.0 + (i.saturating_sub(300) as f32 / 100.0).min(1.0);
    scale(&mut s, Metric::PathRttUs, factor);
    scale(&mut s, Metric::PathRttUsP95, factor);
    s
}

fn run(samples: impl Iterator<Item = TelemetrySample>) -> FeatureExtractor {
    let mut extractor = FeatureExtractor::new();
    for sample in samples {
        extractor.push(&sample);
    }
    extractor
}

fn largest_difference(a: &FeatureExtractor, b: &FeatureExtractor) -> f32 {
    a.features.iter().zip(&b.features).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_ten_times_longer_path_looks_the_same() {
    let near = run((0..360).map(worsening));
    let far = run((0..360).map(|i| {
        let mut s = worsening(i);
        for metric in [Metric::PathRttUs, Metric::PathRttUsP95, Metric::PathJitterUs] {
            scale(&mut s, metric, 10.0);
        }
        s
    }));
    assert!(near.features[Metric::PathRttUs.index() * PER_METRIC + 1] > 0.6, "the change must show");
    assert!(largest_difference(&near, &far) < 0.03, "{}", largest_difference(&near, &far));
}

#[test]
fn a_clock_jump_changes_nothing_but_the_flag() {
    let steady = run((0..360).map(worsening));
    for leap in [3_600_000u64, 9_000, u64::MAX / 2] {
        let mut jumped = FeatureExtractor::new();
        let mut flags = 0;
        for i in 0..360 {
            let mut s = worsening(i);
            s.at_ms += if i >= 200 { leap } else { leap / 2 + 20_000 };
            flags += usize::from(jumped.push(&s).clock_jump);
        }
        assert_eq!(flags, 1);
        assert_eq!(steady.features, jumped.features);
    }
    let back = run((0..360).map(|i| {
        let mut s = worsening(i);
        s.at_ms = if i >= 200 { s.at_ms - 10_000 } else { s.at_ms };
        s
    }));
    assert_eq!(steady.features, back.features);
}

#[test]
fn unusable_values_are_ignored_and_named() {
    let clean = run((0..360).map(worsening));
    let mut dirty = FeatureExtractor::new();
    for i in 0..360 {
        let mut s = worsening(i);
        // Metrics that this subject does not have turn to rubbish; none may leak into others.
        s.set(Metric::PortErrorsPs, f32::INFINITY).set(Metric::LinkUp, -1.0);
        let invalid = dirty.push(&s).invalid;
        assert_eq!(invalid, 1 << Metric::PortErrorsPs.index() | 1 << Metric::LinkUp.index());
    }
    assert_eq!(clean.features, dirty.features);
    // A short gap holds the last state, a long one makes the metric absent, never NaN.
    for i in 360..400 {
        dirty.push(&TelemetrySample::new(10_000 + i * SAMPLE_MS));
        assert!(dirty.features.iter().all(|f| f.is_finite()));
    }
    assert!(dirty.blind());
    let metrics = &dirty.features[..N_METRICS * PER_METRIC];
    assert!(metrics.iter().all(|f| *f == 0.0));
    let mut huge = healthy(401);
    huge.metrics = [f32::MAX; N_METRICS];
    for i in 0..50 {
        huge.at_ms += i * SAMPLE_MS;
        dirty.push(&huge);
        assert!(dirty.features.iter().all(|f| f.is_finite()));
    }
}

/// The score's maximum over a run.
fn peak(samples: impl Iterator<Item = TelemetrySample>) -> (f32, Drift) {
    let mut extractor = FeatureExtractor::new();
    let mut peak = Drift::default();
    for sample in samples {
        extractor.push(&sample);
        if extractor.drift().score > peak.score {
            peak = *extractor.drift();
        }
    }
    (peak.score, peak)
}

#[test]
fn busy_is_not_failing() {
    let burst = (0..600).map(|i| {
        let mut s = healthy(i);
        if (300..400).contains(&i) {
            for (metric, factor) in [
                (Metric::RxPps, 6.0),
                (Metric::TxPps, 6.0),
                (Metric::ResidenceUsP99, 2.5),
                (Metric::PathJitterUs, 2.0),
                (Metric::PathRttUs, 1.2),
                (Metric::BusyShare, 2.5),
            ] {
                scale(&mut s, metric, factor);
            }
        }
        s
    });
    let (score, drift) = peak(burst);
    assert!(score < 0.3, "{score} {:?}", drift.top());
}

#[test]
fn calm_stays_calm() {
    let (score, drift) = peak((0..18_000).map(healthy));
    assert!(score < 0.2, "{score} {:?}", drift.top());
}

#[test]
fn the_rate_of_change_raises_the_score() {
    let ramp = |metric: Metric, per_second: f32| {
        peak((0..400).map(move |i| {
            let mut s = healthy(i);
            let grown = i.saturating_sub(300) as f32 / 10.0 * per_second;
            s.set(metric, s.get(metric).unwrap_or(0.0) + grown);
            s
        }))
    };
    for (metric, per_second) in
        [(Metric::PathLossTx, 0.02), (Metric::MemoryUsed, 0.04), (Metric::PathRttUs, 400.0)]
    {
        let (fast, drift) = ramp(metric, per_second);
        let (slow, _) = ramp(metric, per_second / 20.0);
        assert_eq!(drift.top()[0].map(|t| t.0), Some(metric));
        assert!(fast > 0.45, "{metric}: {fast}");
        assert!(slow < fast - 0.1, "{metric}: {slow} against {fast}");
    }
}
