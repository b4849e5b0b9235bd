use super::rarity::SortedWindow;
use super::*;

/// Deterministic noise, about uniform in 0..1.
fn noise(seed: usize) -> f64 {
    let mixed = (seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 40) as f64 / (1u64 << 24) as f64
}

const METRICS: usize = 5;

/// Rows of five metrics; metric 2 is stuck.
fn row(at: usize) -> Vec<f64> {
    (0..METRICS)
        .map(|metric| if metric == 2 { 0.3 } else { 0.4 + 0.1 * noise(at * METRICS + metric) })
        .collect()
}

fn fitted() -> MultivariateDetector {
    let baseline: Vec<Vec<f64>> = (0..2000).map(row).collect();
    MultivariateDetector::fit(baseline.iter().map(Vec::as_slice), 0.01).expect("enough rows")
}

#[test]
fn a_metric_that_leaves_its_past_raises_the_score_and_is_named() {
    let mut detector = fitted();
    let calm = (2000..2100).map(|at| detector.push(&row(at))).fold(0.0, f64::max);
    let mut strange = row(2100);
    strange[2] = 0.9;
    let score = detector.push(&strange);
    assert!(score > 100.0 * calm, "{score} after {calm}");
    let deviations = detector.deviations();
    let most = (0..METRICS).max_by(|a, b| deviations[*a].total_cmp(&deviations[*b]));
    assert_eq!(most, Some(2), "{deviations:?}");
}

#[test]
fn a_new_level_becomes_normal_with_time() {
    let mut detector = MetricDetector::new(1.0, 0.1, 0.0, 100.0);
    let first = detector.push(5.0);
    assert!((first - 40.0).abs() < 1e-9, "{first}");
    let last = (0..1000).map(|at| detector.push(5.0 + 0.1 * noise(at))).last().expect("a row");
    assert!(last < 3.0, "{last}");
}

#[test]
fn the_scores_of_a_beginning_are_the_beginning_of_the_scores() {
    let (mut one, mut other) = (fitted(), fitted());
    let all: Vec<f64> = (2000..2600).map(|at| one.push(&row(at))).collect();
    let some: Vec<f64> = (2000..2300).map(|at| other.push(&row(at))).collect();
    assert_eq!(all[..300], some);
    let (mut one, mut other) = (SeriesDetector::new(), SeriesDetector::new());
    let all: Vec<SeriesScore> = (0..600).map(|at| one.push(noise(at))).collect();
    let some: Vec<SeriesScore> = (0..300).map(|at| other.push(noise(at))).collect();
    assert_eq!(all[..300], some);
}

#[test]
fn missing_values_change_nothing_and_short_rows_deviate_in_nothing() {
    let (mut with, mut without) = (fitted(), fitted());
    let mut holed = row(2000);
    holed[1] = f64::NAN;
    holed[4] = f64::INFINITY;
    let score = with.push(&holed);
    assert!(score.is_finite());
    assert_eq!((with.deviations()[1], with.deviations()[4]), (0.0, 0.0));
    assert!((without.push(&holed[..1]) - score).abs() < 0.01);
    let huge = with.push(&[f64::MAX; METRICS]);
    assert!(huge.is_finite(), "{huge}");
    assert!(with.push(&row(2001)).is_finite());
}

#[test]
fn a_detector_needs_rows_and_metrics() {
    let fit = |rows: &[Vec<f64>]| MultivariateDetector::fit(rows.iter().map(Vec::as_slice), 0.01);
    assert_eq!(fit(&[]).unwrap_err(), TooShort { rows: 0, metrics: 0 });
    assert_eq!(fit(&[row(0)]).unwrap_err(), TooShort { rows: 1, metrics: METRICS });
    assert_eq!(fit(&[vec![], vec![]]).unwrap_err(), TooShort { rows: 2, metrics: 0 });
    let mut constant = fit(&[vec![2.0], vec![2.0]]).expect("two rows");
    assert_eq!(constant.push(&[2.0]), 0.0);
    let mut unknown = fit(&[vec![f64::NAN], vec![f64::NAN]]).expect("two rows");
    assert!(unknown.push(&[1.0]).is_finite());
}

#[test]
fn an_onset_is_alarmed_once_and_the_level_stays_up() {
    let mut detector = SeriesDetector::new();
    let value = |at: usize| if at < 2000 { noise(at) } else { 3.0 + noise(at) };
    let scores: Vec<SeriesScore> = (0..2060).map(|at| detector.push(value(at))).collect();
    assert!(scores[2000].onset, "{:?}", scores[2000]);
    assert!(scores[2000].score > 0.5);
    assert!(!scores[2001..].iter().any(|score| score.onset && score.score > scores[2000].score));
    let level = |rows: &[SeriesScore]| {
        let levels: Vec<f64> = rows.iter().filter(|row| !row.onset).map(|row| row.score).collect();
        levels.iter().sum::<f64>() / levels.len() as f64
    };
    let (before, after) = (level(&scores[1000..2000]), level(&scores[2030..]));
    assert!(after > 1.1 * before, "{after} after {before}");
    assert!(
        scores.iter().all(|score| (0.0..1.0).contains(&score.score) && (score.score > 0.5) == score.onset)
    );
}

#[test]
fn constant_and_missing_series_have_no_onset() {
    let mut detector = SeriesDetector::new();
    for value in [[7.0; 500], [f64::NAN; 500]].concat() {
        let score = detector.push(value);
        assert!(!score.onset && score.score.is_finite(), "{score:?}");
    }
}

#[test]
fn a_sorted_window_is_the_sort_of_its_newest_values() {
    let mut window = SortedWindow::new(16);
    let values: Vec<f64> = (0..300).map(|at| (noise(at) * 20.0).floor()).collect();
    for (at, value) in values.iter().enumerate() {
        window.push(*value);
        let mut newest = values[(at + 1).saturating_sub(16)..=at].to_vec();
        newest.sort_by(f64::total_cmp);
        assert_eq!(window.len(), newest.len());
        for probe in [-1.0, 3.0, 9.5, 30.0] {
            assert_eq!(window.below(probe), newest.iter().filter(|other| **other < probe).count());
            let mut distances: Vec<f64> = newest.iter().map(|other| (other - probe).abs()).collect();
            distances.sort_by(f64::total_cmp);
            assert_eq!(window.distance(probe, 3), distances.get(2).copied().unwrap_or(f64::INFINITY));
        }
        assert_eq!(window.quantile(1.0), newest.last().copied());
    }
}
