use super::*;

const SEASON: usize = 48;

/// Deterministic noise, about uniform in −1..1.
fn noise(step: usize) -> f64 {
    let mixed = (step as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 40) as f64 / (1u64 << 23) as f64 - 1.0
}

/// A day's wave on a slow trend, with noise.
fn wave(step: usize, noisy: f64) -> f64 {
    let phase = step as f64 / SEASON as f64 * std::f64::consts::TAU;
    100.0 + 0.005 * step as f64 + 40.0 * phase.sin() + noisy * noise(step)
}

fn forecaster() -> Forecaster {
    Forecaster::new(SEASON, &[1, 6]).expect("a valid season")
}

#[test]
fn season_and_trend_are_learnt() {
    let mut forecaster = forecaster();
    (0..3000).for_each(|step| forecaster.push(wave(step, 0.0)));
    for horizon in [1, 6] {
        let median = forecaster.forecast(horizon).expect("warm").median();
        let value = wave(2999 + horizon, 0.0);
        assert!((median - value).abs() < 0.5, "h = {horizon}: {median}, not {value}");
    }
}

#[test]
fn every_level_keeps_its_coverage_even_when_the_noise_grows() {
    let mut forecaster = forecaster();
    let steps = 8000;
    let value = |step: usize| wave(step, if step < steps / 2 { 3.0 } else { 12.0 });
    let (mut below, mut count) = ([0.0; LEVELS.len()], 0.0);
    for step in 0..steps {
        if let Some(quantiles) = forecaster.forecast(1) {
            count += 1.0;
            let hits = quantiles.values.map(|quantile| f64::from(u8::from(value(step) <= quantile)));
            below.iter_mut().zip(hits).for_each(|(below, hit)| *below += hit);
        }
        forecaster.push(value(step));
    }
    for (level, below) in LEVELS.iter().zip(below) {
        let covered = below / count;
        assert!((covered - level).abs() < 0.02, "level {level} covers {covered}");
    }
}

#[test]
fn a_forecast_depends_on_the_past_only() {
    let (mut one, mut other) = (forecaster(), forecaster());
    let mut forecasts = Vec::new();
    for step in 0..1000 {
        one.push(wave(step, 5.0));
        forecasts.push(one.forecast(6));
    }
    for step in 0..700 {
        other.push(wave(step, 5.0));
        assert_eq!(other.forecast(6), forecasts[step]);
    }
}

#[test]
fn the_first_forecast_comes_with_the_warm_up() {
    for horizon in [1, 6] {
        let mut forecaster = forecaster();
        let first = (1..1000).find(|step| {
            forecaster.push(wave(*step, 1.0));
            forecaster.forecast(horizon).is_some()
        });
        assert_eq!(first, Some(forecaster.warm_up(horizon)));
    }
    assert_eq!(forecaster().forecast(2), None, "a horizon that was not asked for");
}

#[test]
fn quantiles_never_cross_and_missing_values_break_nothing() {
    let mut forecaster = forecaster();
    for step in 0..4000 {
        let missing = step % 50 > 44 || (2000..2100).contains(&step);
        let value = if missing { [f64::NAN, f64::INFINITY][step % 2] } else { wave(step, 2.0) };
        forecaster.push(value);
        if let Some(quantiles) = forecaster.forecast(6) {
            assert!(quantiles.values.is_sorted(), "{quantiles:?}");
            assert!(quantiles.values.iter().all(|value| value.is_finite()), "{quantiles:?}");
        }
    }
    let median = forecaster.forecast(6).expect("warm").median();
    assert!((median - wave(4005, 0.0)).abs() < 5.0, "{median}");
}

#[test]
fn a_constant_series_is_forecast_as_it_is_for_ever() {
    for constant in [0.0, 7.0, -3.0] {
        let mut forecaster = forecaster();
        (0..60_000).for_each(|_| forecaster.push(constant));
        let quantiles = forecaster.forecast(1).expect("warm");
        let near = quantiles.values.iter().all(|value| (value - constant).abs() < 1e-6);
        assert!(near, "{quantiles:?}");
    }
}

#[test]
fn a_season_or_horizon_that_cannot_be_is_refused() {
    assert_eq!(Forecaster::new(48, &[]).unwrap_err(), ForecastError::Horizon);
    assert_eq!(Forecaster::new(48, &[0, 1]).unwrap_err(), ForecastError::Horizon);
    assert_eq!(Forecaster::new(13, &[12]).unwrap_err(), ForecastError::Season { season: 13, horizon: 12 });
    assert!(Forecaster::new(14, &[12]).is_ok());
}
