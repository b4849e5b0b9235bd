//! Logistic regression by accelerated gradient descent on standardised columns: for the linear judge, and to weigh the
//! judges. Deterministic.

/// Rows of features, what came of each, and how much each counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cases<'a> {
    /// Row after row.
    pub(crate) x: &'a [f32],
    pub(crate) columns: usize,
    pub(crate) y: &'a [bool],
}

/// How to fit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How<'a> {
    /// Pull of the standardised weights towards 0.
    pub(crate) l2: f64,
    /// Columns whose weights may not fall below 0.
    pub(crate) rising: &'a [usize],
}

const ROUNDS: usize = 400;

/// Weights on the columns as they are, and the bias.
pub(crate) fn fit(cases: Cases<'_>, how: How<'_>) -> (Vec<f32>, f32) {
    let Cases { x, columns, y } = cases;
    let rows = y.len().max(1) as f64;
    let (mean, spread) = moments(x, columns);
    let scaled: Vec<f32> = x
        .chunks_exact(columns)
        .flat_map(|row| {
            row.iter().zip(&mean).zip(&spread).map(|((x, m), s)| ((f64::from(*x) - m) / s) as f32)
        })
        .collect();
    let positives = y.iter().filter(|y| **y).count() as f64;
    let base = ((positives + 1.0) / (rows - positives + 1.0)).ln();
    // The curvature of the mean log loss is at most a quarter of the largest eigenvalue of a correlation matrix.
    let rate = 1.0 / (0.25 * (columns as f64 + 1.0) + how.l2);
    let (mut w, mut before) = (vec![0.0f64; columns + 1], vec![0.0f64; columns + 1]);
    w[columns] = base;
    before[columns] = base;
    for round in 0..ROUNDS {
        let momentum = round as f64 / (round as f64 + 3.0);
        let ahead: Vec<f64> = w.iter().zip(&before).map(|(w, b)| w + momentum * (w - b)).collect();
        let gradient = gradient(&scaled, columns, y, &ahead, how.l2);
        before = std::mem::replace(&mut w, ahead);
        w.iter_mut().zip(&gradient).for_each(|(w, g)| *w -= rate * g);
        how.rising.iter().for_each(|&column| w[column] = w[column].max(0.0));
    }
    let weights: Vec<f32> = w.iter().zip(&spread).map(|(w, s)| (w / s) as f32).collect();
    let shift: f64 = w.iter().zip(&spread).zip(&mean).map(|((w, s), m)| w * m / s).sum();
    (weights, (w[columns] - shift) as f32)
}

fn gradient(x: &[f32], columns: usize, y: &[bool], w: &[f64], l2: f64) -> Vec<f64> {
    let mut sum = vec![0.0f64; columns + 1];
    for (row, y) in x.chunks_exact(columns).zip(y) {
        let logit: f64 = w[columns] + row.iter().zip(w).map(|(x, w)| f64::from(*x) * w).sum::<f64>();
        let error = 1.0 / (1.0 + (-logit).exp()) - f64::from(u8::from(*y));
        sum.iter_mut().zip(row).for_each(|(s, x)| *s += error * f64::from(*x));
        sum[columns] += error;
    }
    let rows = y.len().max(1) as f64;
    sum.iter().enumerate().map(|(i, s)| s / rows + if i < columns { l2 * w[i] } else { 0.0 }).collect()
}

/// Mean and spread of each column; a column that never changes has a spread of 1.
fn moments(x: &[f32], columns: usize) -> (Vec<f64>, Vec<f64>) {
    let rows = (x.len() / columns).max(1) as f64;
    let (mut sum, mut square) = (vec![0.0f64; columns], vec![0.0f64; columns]);
    for row in x.chunks_exact(columns) {
        for (i, x) in row.iter().enumerate() {
            sum[i] += f64::from(*x);
            square[i] += f64::from(*x).powi(2);
        }
    }
    let mean: Vec<f64> = sum.iter().map(|s| s / rows).collect();
    let spread = square.iter().zip(&mean).map(|(s, m)| (s / rows - m * m).max(0.0).sqrt());
    (mean.clone(), spread.map(|s| if s > 1e-6 { s } else { 1.0 }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn finds_the_weights_that_made_the_data() {
        let mut rng = Rng::new(5);
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for _ in 0..20_000 {
            let row = [4.0 * rng.unit() - 2.0, 10.0 * rng.unit(), rng.unit()];
            let logit = 1.5 * row[0] - 0.3 * row[1] + 0.5;
            y.push(rng.unit() < 1.0 / (1.0 + (-logit).exp()));
            x.extend(row);
        }
        let cases = Cases { x: &x, columns: 3, y: &y };
        let (w, bias) = fit(cases, How { l2: 0.0, rising: &[] });
        for (found, made) in w.iter().chain([&bias]).zip([1.5, -0.3, 0.0, 0.5]) {
            assert!((found - made).abs() < 0.15, "{w:?} {bias}");
        }
        let (w, _) = fit(cases, How { l2: 0.0, rising: &[0, 1, 2] });
        assert!(w[1] == 0.0 && w[0] > 1.0, "{w:?}");
    }
}
