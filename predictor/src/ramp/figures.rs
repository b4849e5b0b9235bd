//! How good predictions are.

/// A prediction and what came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The predicted probability, or any score.
    pub p: f32,
    /// Whether the node crashed within the horizon.
    pub crashed: bool,
    /// How many rows it stands for.
    pub weight: f32,
}

/// The figures of a set of predictions; NaN where a class is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Figures {
    /// Rows, weighted.
    pub rows: f64,
    /// Share of rows that crashed within the horizon.
    pub base_rate: f64,
    /// Area under precision and recall: average precision.
    pub auc_pr: f64,
    /// Mean squared error of the probability.
    pub brier: f64,
    /// Expected calibration error over ten bins of p.
    pub ece: f64,
    /// Share of the crashing rows at p of at least one half.
    pub recall: f64,
    /// Share of the rows at p of at least one half that crashed.
    pub precision: f64,
}

/// The figures of predictions.
pub fn judge(outcomes: &[Outcome]) -> Figures {
    let weight = |o: &Outcome| f64::from(o.weight);
    let rows: f64 = outcomes.iter().map(weight).sum();
    let positives: f64 = outcomes.iter().filter(|o| o.crashed).map(weight).sum();
    let alarmed = |crashed: Option<bool>| -> f64 {
        outcomes.iter().filter(|o| o.p >= 0.5 && crashed.is_none_or(|c| c == o.crashed)).map(weight).sum::<f64>()
            // The sum of nothing is −0.
            + 0.0
    };
    let squared = |o: &Outcome| weight(o) * (f64::from(o.p) - f64::from(u8::from(o.crashed))).powi(2);
    Figures {
        rows,
        base_rate: positives / rows,
        auc_pr: average_precision(outcomes),
        brier: outcomes.iter().map(squared).sum::<f64>() / rows,
        ece: calibration_error(outcomes) / rows,
        recall: alarmed(Some(true)) / positives,
        precision: alarmed(Some(true)) / alarmed(None),
    }
}

/// Average precision: Σ (recall gained) × (precision there), equal scores taken together.
pub(super) fn average_precision(outcomes: &[Outcome]) -> f64 {
    let mut sorted: Vec<&Outcome> = outcomes.iter().collect();
    sorted.sort_by(|a, b| b.p.total_cmp(&a.p));
    let (mut hits, mut all, mut area) = (0.0f64, 0.0f64, 0.0f64);
    for equal in sorted.chunk_by(|a, b| a.p == b.p) {
        let gained: f64 = equal.iter().filter(|o| o.crashed).map(|o| f64::from(o.weight)).sum();
        hits += gained;
        all += equal.iter().map(|o| f64::from(o.weight)).sum::<f64>();
        area += gained * hits / all;
    }
    area / hits
}

/// Σ over ten bins of |Σ p − Σ crashed|.
fn calibration_error(outcomes: &[Outcome]) -> f64 {
    let mut bins = [0.0f64; 10];
    for o in outcomes {
        let bin = ((o.p * 10.0) as usize).min(9);
        bins[bin] += f64::from(o.weight) * (f64::from(o.p) - f64::from(u8::from(o.crashed)));
    }
    bins.iter().map(|sum| sum.abs()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(of: &[(f32, bool)]) -> Vec<Outcome> {
        of.iter().map(|(p, crashed)| Outcome { p: *p, crashed: *crashed, weight: 1.0 }).collect()
    }

    #[test]
    fn figures_of_a_small_set_by_hand() {
        let figures = judge(&outcomes(&[(0.9, true), (0.8, false), (0.55, true), (0.1, false)]));
        // Precision 1 at the first hit, 2/3 at the second.
        assert!((figures.auc_pr - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        assert!((figures.brier - (0.01 + 0.64 + 0.2025 + 0.01) / 4.0).abs() < 1e-6);
        assert!((figures.ece - (0.1 + 0.8 + 0.45 + 0.1) / 4.0).abs() < 1e-6);
        assert_eq!((figures.recall, figures.base_rate), (1.0, 0.5));
        assert!((figures.precision - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn equal_scores_earn_no_order_and_weights_are_rows() {
        let tied = judge(&outcomes(&[(0.5, true), (0.5, false), (0.5, false), (0.5, false)]));
        assert_eq!(tied.auc_pr, 0.25);
        let mut heavy = outcomes(&[(0.5, true), (0.5, false)]);
        heavy[1].weight = 3.0;
        assert_eq!(judge(&heavy).auc_pr, 0.25);
        assert!(judge(&outcomes(&[(0.5, false)])).auc_pr.is_nan());
    }
}
