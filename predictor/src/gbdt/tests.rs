use super::*;
use crate::rng::Rng;

/// Rows of three informative features, one of them often missing, and two of noise; P(y) known.
fn sample(rows: usize, seed: u64) -> (Vec<Vec<f32>>, Vec<f32>) {
    let mut rng = Rng::new(seed);
    let mut columns = vec![Vec::new(); 5];
    let mut y = Vec::new();
    for _ in 0..rows {
        let x: Vec<f32> = (0..5).map(|_| rng.unit()).collect();
        let missing = rng.unit() < 0.3;
        let logit =
            6.0 * (x[0] - 0.5) + if x[1] > 0.7 { 2.0 } else { -1.0 } + if missing { 1.5 } else { 0.0 };
        y.push(f32::from(rng.unit() < 1.0 / (1.0 + (-logit).exp())));
        for (f, column) in columns.iter_mut().enumerate() {
            column.push(if f == 2 && missing { f32::NAN } else { x[f] });
        }
    }
    (columns, y)
}

fn row(columns: &[Vec<f32>], i: usize) -> Vec<f32> {
    columns.iter().map(|column| column[i]).collect()
}

fn fit(columns: &[Vec<f32>], y: &[f32], params: &Params) -> Booster {
    let binned = Binned::new(columns, 255).unwrap();
    Booster::fit(&binned, &Target::new(y, None).unwrap(), Rows::all(y.len()), params).unwrap()
}

fn log_loss(booster: &Booster, columns: &[Vec<f32>], y: &[f32]) -> f64 {
    let loss = Loss::logistic();
    let sum: f64 = (0..y.len()).map(|i| loss.value(booster.raw(&row(columns, i)), y[i], 1.0)).sum();
    sum / y.len() as f64
}

fn small(loss: Loss) -> Params {
    Params { trees: 60, leaves: 8, ..Params::new(loss) }
}

#[test]
fn learns_a_known_law_with_missing_values() {
    let (columns, y) = sample(8000, 1);
    let (new, truth) = sample(4000, 2);
    let booster = fit(&columns, &y, &small(Loss::logistic()));
    // The law's own log loss is about 0.44, a constant's 0.69.
    let loss = log_loss(&booster, &new, &truth);
    assert!(loss < 0.47, "{loss}");
    let importance = booster.importance();
    assert!(importance[..3].iter().all(|share| *share > 5.0 * importance[3].max(importance[4])));
}

#[test]
fn the_walk_over_values_is_that_over_bins() {
    let (columns, y) = sample(3000, 3);
    let binned = Binned::new(&columns, 32).unwrap();
    let target = Target::new(&y, None).unwrap();
    let params = Params { trees: 1, rate: 1.0, leaves: 16, ..Params::new(Loss::Squared) };
    let booster = Booster::fit(&binned, &target, Rows::all(3000), &params).unwrap();
    // One tree at full rate without L2: the leaves' means are those of their rows.
    let exact = Booster::fit(&binned, &target, Rows::all(3000), &Params { l2: 0.0, ..params }).unwrap();
    let mean = |value: f32| {
        let (mut sum, mut n) = (0.0f64, 0.0f64);
        for (i, y) in y.iter().enumerate() {
            if exact.raw(&row(&columns, i)) == value {
                sum += f64::from(*y);
                n += 1.0;
            }
        }
        sum / n
    };
    for i in (0..3000).step_by(97) {
        let value = exact.raw(&row(&columns, i));
        assert!((mean(value) - f64::from(value)).abs() < 1e-4);
    }
    assert_eq!(booster.len(), 1);
}

#[test]
fn the_same_seed_gives_the_same_model_and_another_one_another() {
    let (columns, y) = sample(1000, 4);
    let params = Params { rows: 0.7, columns: 0.6, ..small(Loss::logistic()) };
    let first = fit(&columns, &y, &params);
    assert_eq!(first, fit(&columns, &y, &params));
    assert_ne!(first, fit(&columns, &y, &Params { seed: 2, ..params }));
}

#[test]
fn contributions_sum_to_the_prediction() {
    let (columns, y) = sample(2000, 5);
    let booster = fit(&columns, &y, &small(Loss::logistic()));
    for i in 0..50 {
        let row = row(&columns, i);
        let mut out = [0.0; 5];
        let rest = booster.contributions(&row, &mut out);
        assert!((rest + out.iter().sum::<f32>() - booster.raw(&row)).abs() < 1e-4);
        // The first feature decides at its ends.
        if row[0] > 0.9 || row[0] < 0.1 {
            assert_eq!(out[0] > 0.0, row[0] > 0.5, "{row:?}: {out:?}");
        }
    }
}

#[test]
fn quantiles_hold_their_level() {
    let mut rng = Rng::new(6);
    let x: Vec<f32> = (0..6000).map(|_| rng.unit()).collect();
    let y: Vec<f32> = x.iter().map(|x| 10.0 * x + (0.5 + x) * (rng.unit() - 0.5)).collect();
    for level in [0.1, 0.5, 0.9] {
        let params = Params { trees: 150, ..small(Loss::Quantile { level }) };
        let booster = fit(std::slice::from_ref(&x), &y, &params);
        for half in [0.0..0.5, 0.5..1.0] {
            let inside: Vec<usize> = (0..x.len()).filter(|i| half.contains(&x[*i])).collect();
            let below = inside.iter().filter(|i| y[**i] <= booster.raw(&[x[**i]])).count();
            let share = below as f32 / inside.len() as f32;
            assert!((share - level).abs() < 0.03, "{level}: {share}");
        }
    }
}

#[test]
fn early_stopping_keeps_the_best_round() {
    let (columns, y) = sample(1200, 7);
    let binned = Binned::new(&columns, 255).unwrap();
    let target = Target::new(&y, None).unwrap();
    let rows = Rows::split((0..800).collect(), (800..1200).collect());
    let params =
        Params { trees: 600, rate: 0.3, patience: 10, min_child_rows: 5, ..Params::new(Loss::logistic()) };
    let booster = Booster::fit(&binned, &target, rows, &params).unwrap();
    assert!((1..200).contains(&booster.len()), "{}", booster.len());
    let valid: Vec<Vec<f32>> = columns.iter().map(|column| column[800..].to_vec()).collect();
    let kept = log_loss(&booster, &valid, &y[800..]);
    for trees in [1, booster.len() / 2] {
        assert!(kept < log_loss(&booster.clone().truncated(trees), &valid, &y[800..]));
    }
}

#[test]
fn a_rising_feature_never_lowers_the_prediction() {
    let mut rng = Rng::new(8);
    let columns: Vec<Vec<f32>> = (0..2).map(|_| (0..2000).map(|_| rng.unit()).collect()).collect();
    // A dent at 0.5 that the constraint must bridge.
    let y: Vec<f32> = (0..2000)
        .map(|i| {
            let x = columns[0][i];
            x + columns[1][i] - if (0.4..0.6).contains(&x) { 0.5 } else { 0.0 } + 0.1 * rng.unit()
        })
        .collect();
    let params = Params { rising: vec![0], ..small(Loss::Squared) };
    let booster = fit(&columns, &y, &params);
    let free = fit(&columns, &y, &small(Loss::Squared));
    let falls = |booster: &Booster| {
        let values: Vec<f32> = (0..=100).map(|i| booster.raw(&[i as f32 / 100.0, 0.3])).collect();
        values.windows(2).any(|pair| pair[1] < pair[0] - 1e-5)
    };
    assert!(!falls(&booster));
    assert!(falls(&free), "the test's data must tempt a free model");
}

#[test]
fn a_class_weight_acts_as_repeated_rows() {
    let (columns, y) = sample(600, 9);
    let weights: Vec<f32> = y.iter().map(|y| if *y > 0.5 { 3.0 } else { 1.0 }).collect();
    let binned = Binned::new(&columns, 64).unwrap();
    let by_rows = Target::new(&y, Some(&weights)).unwrap();
    let params = small(Loss::logistic());
    let a = Booster::fit(&binned, &by_rows, Rows::all(600), &params).unwrap();
    let b = fit_on(&binned, &y, &Params { loss: Loss::Logistic { positive_weight: 3.0 }, ..params });
    for i in 0..600 {
        let row = row(&columns, i);
        assert!((a.raw(&row) - b.raw(&row)).abs() < 1e-5);
    }
}

fn fit_on(binned: &Binned, y: &[f32], params: &Params) -> Booster {
    Booster::fit(binned, &Target::new(y, None).unwrap(), Rows::all(y.len()), params).unwrap()
}

#[test]
fn unusable_input_is_refused() {
    let (columns, mut y) = sample(100, 10);
    let binned = Binned::new(&columns, 255).unwrap();
    let fit = |y: &[f32], rows, params: &Params| Booster::fit(&binned, &Target::new(y, None)?, rows, params);
    let good = small(Loss::logistic());
    assert!(matches!(fit(&y[..50], Rows::all(50), &good), Err(GbdtError::Shape { .. })));
    assert!(matches!(fit(&y, Rows::all(101), &good), Err(GbdtError::Shape { .. })));
    assert!(matches!(fit(&y, Rows::split(vec![], vec![]), &good), Err(GbdtError::Empty(_))));
    let none = Params { trees: 0, ..good.clone() };
    assert!(matches!(fit(&y, Rows::all(100), &none), Err(GbdtError::Param(_))));
    let level = Params { loss: Loss::Quantile { level: 1.0 }, ..good.clone() };
    assert!(matches!(fit(&y, Rows::all(100), &level), Err(GbdtError::Param(_))));
    y[7] = 2.0;
    assert!(matches!(fit(&y, Rows::all(100), &good), Err(GbdtError::Value { row: 7, .. })));
    y[7] = f32::NAN;
    assert!(matches!(fit(&y, Rows::all(100), &good), Err(GbdtError::Value { row: 7, .. })));
}

#[test]
fn constant_targets_and_features_give_a_constant() {
    let binned = Binned::new(&[vec![3.0; 50], vec![f32::NAN; 50]], 255).unwrap();
    let y: Vec<f32> = (0..50).map(|i| f32::from(i % 5 == 0)).collect();
    let booster = fit_on(&binned, &y, &small(Loss::logistic()));
    assert!((booster.predict(&[3.0, f32::NAN]) - 0.2).abs() < 1e-4);
    assert!((booster.predict(&[]) - 0.2).abs() < 1e-4);
    // A draw of columns does not go on for ever when none has a split.
    let drawn = Params { columns: 0.5, rows: 0.5, ..small(Loss::logistic()) };
    assert!(fit_on(&binned, &y, &drawn).is_empty());
    let all_one = fit_on(&binned, &[1.0; 50], &small(Loss::logistic()));
    assert!(all_one.predict(&[3.0, 1.0]) > 0.999);
}

#[test]
fn a_model_survives_its_file_and_a_damaged_one_is_refused() {
    let (columns, y) = sample(500, 11);
    let booster = fit(&columns, &y, &Params { trees: 3, ..small(Loss::logistic()) });
    let text = serde_json::to_string(&booster).unwrap();
    assert_eq!(serde_json::from_str::<Booster>(&text).unwrap(), booster);
    let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
    let refused = |path: &str, value: serde_json::Value, says: &str| {
        let mut damaged = parsed.clone();
        *damaged.pointer_mut(path).unwrap() = value;
        let error = serde_json::from_value::<Booster>(damaged).unwrap_err().to_string();
        assert!(error.contains(says), "{path}: {error}");
    };
    refused("/trees/1/left/0", 60_000.into(), "tree 1: a child");
    refused("/trees/0/feature/0", 5.into(), "a feature that there is not");
    refused("/trees/2/value", serde_json::json!([1.0]), "different lengths");
    refused("/trees/0/value/1", serde_json::json!(1e300), "finite");
    refused("/features", 0.into(), "number of features");
    refused("/base", serde_json::Value::Null, "null");
    refused("/loss", serde_json::json!({"quantile": {"level": 2.0}}), "level");
}
