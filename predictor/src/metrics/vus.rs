//! VUS-PR: the volume under the surface of range-aware precision–recall curves.
//!
//! Paparrizos et al., "Volume Under the Surface", PVLDB 15(11), 2022, in the form that TSB-AD
//! (NeurIPS 2024) scores with: each labelled range gets a buffer of half the window before and
//! after it, whose weight falls as √(1 − distance/window); recall is multiplied by the share of
//! ranges hit; average precision over 250 thresholds at evenly spaced ranks; and the mean of that
//! over all windows 0..=`window`.

/// Thresholds of a curve, at evenly spaced ranks of the scores.
const THRESHOLDS: usize = 250;

/// VUS-PR of a score against its labels, with the unit's largest buffer window in rows.
/// `None` where it is not defined: no row is labelled, or the lengths differ.
pub fn vus_pr(labels: &[bool], scores: &[f64], window: usize) -> Option<f64> {
    let ranges = ranges(labels);
    if ranges.is_empty() || labels.len() != scores.len() {
        return None;
    }
    let bins = bins(scores);
    let predicted = cumulated(bins.iter().map(|bin| (*bin, 1.0)));
    let inside = labels.iter().zip(&bins).filter(|(label, _)| **label);
    let hit = cumulated(inside.map(|(_, bin)| (*bin, 1.0)));
    let positives = hit[THRESHOLDS - 1];
    let mut sum = 0.0;
    for window in 0..=window {
        let half = window / 2;
        let buffer = buffer(labels, &ranges, window);
        let in_buffer = cumulated(buffer.iter().map(|(row, weight)| (bins[*row], *weight)));
        let extended = joined(&ranges, half, labels.len());
        let first_hit =
            extended.iter().map(|(start, end)| bins[*start..=*end].iter().min().expect("a range has rows"));
        let found = cumulated(first_hit.map(|bin| (*bin, 1.0)));
        let mut recall_before = 0.0;
        for at in 0..THRESHOLDS {
            let true_positives = hit[at] + in_buffer[at];
            let recall = (true_positives / (positives + in_buffer[at] / 2.0)).min(1.0);
            let recall = recall * found[at] / extended.len() as f64;
            sum += (recall - recall_before) * true_positives / predicted[at];
            recall_before = recall;
        }
    }
    Some(sum / (window + 1) as f64)
}

/// The labelled ranges, first and last row.
fn ranges(labels: &[bool]) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for row in (0..labels.len()).filter(|row| labels[*row]) {
        match found.last_mut() {
            Some((_, end)) if *end + 1 == row => *end = row,
            _ => found.push((row, row)),
        }
    }
    found
}

/// For each row, the first threshold that its score reaches. NaN ranks below every number.
fn bins(scores: &[f64]) -> Vec<usize> {
    let key = |score: f64| if score.is_nan() { f64::NEG_INFINITY } else { score };
    let mut sorted: Vec<f64> = scores.iter().map(|score| key(*score)).collect();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let step = (scores.len() - 1) as f64 / (THRESHOLDS - 1) as f64;
    let thresholds: Vec<f64> = (0..THRESHOLDS).map(|at| sorted[(at as f64 * step) as usize]).collect();
    scores.iter().map(|score| thresholds.partition_point(|threshold| *threshold > key(*score))).collect()
}

/// Running sum of weights over the thresholds.
fn cumulated(weights: impl Iterator<Item = (usize, f64)>) -> [f64; THRESHOLDS] {
    let mut sums = [0.0; THRESHOLDS];
    weights.for_each(|(bin, weight)| sums[bin] += weight);
    for at in 1..THRESHOLDS {
        sums[at] += sums[at - 1];
    }
    sums
}

/// The unlabelled rows near a range, with their weight, at most 1 where buffers overlap.
fn buffer(labels: &[bool], ranges: &[(usize, usize)], window: usize) -> Vec<(usize, f64)> {
    let half = window / 2;
    let weight = |distance: usize| (1.0 - distance as f64 / window as f64).sqrt();
    let mut weights = std::collections::BTreeMap::new();
    for (start, end) in ranges {
        let before = (start.saturating_sub(half)..*start).map(|row| (row, weight(start - row)));
        let after = (end + 1..(end + half + 1).min(labels.len())).map(|row| (row, weight(row - end)));
        for (row, weight) in before.chain(after).filter(|(row, _)| !labels[*row]) {
            *weights.entry(row).or_insert(0.0) += weight;
        }
    }
    weights.into_iter().map(|(row, weight): (usize, f64)| (row, weight.min(1.0))).collect()
}

/// The ranges with `half` a window on both sides, joined where they touch.
fn joined(ranges: &[(usize, usize)], half: usize, rows: usize) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (start, end) in ranges {
        let (start, end) = (start.saturating_sub(half), (end + half).min(rows - 1));
        match found.last_mut() {
            Some((_, last)) if *last >= start => *last = end,
            _ => found.push((start, end)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deterministic noise.
    fn noise(row: usize) -> f64 {
        ((row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1u64 << 24) as f64
    }

    fn example() -> (Vec<bool>, Vec<f64>) {
        let labelled = |row| matches!(row, 0..4 | 100..140 | 150..153 | 400 | 590..600);
        let labels: Vec<bool> = (0..600).map(labelled).collect();
        let scores =
            labels.iter().enumerate().map(|(row, label)| noise(row) + 0.3 * f64::from(u8::from(*label)));
        let scores = scores.collect();
        (labels, scores)
    }

    #[track_caller]
    fn near(found: Option<f64>, expected: f64) {
        let found = found.expect("defined");
        assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    }

    /// The expected values are those of TSB-AD's `generate_curve` (version `opt`) on the same rows.
    #[test]
    fn it_agrees_with_the_reference_implementation() {
        let (labels, scores) = example();
        near(vus_pr(&labels, &scores, 24), 0.487_170_458_228_845_36);
        let tied: Vec<f64> = scores.iter().map(|score| (score * 10.0).round_ties_even() / 10.0).collect();
        near(vus_pr(&labels, &tied, 7), 0.376_819_765_121_566_1);
        near(vus_pr(&labels, &[1.0; 600], 7), 0.112_881_894_998_559_54);
    }

    #[test]
    fn what_cannot_be_judged_has_no_figure() {
        let (labels, scores) = example();
        assert_eq!(vus_pr(&[false; 600], &scores, 5), None);
        assert_eq!(vus_pr(&labels, &scores[1..], 5), None);
        assert_eq!(vus_pr(&[], &[], 5), None);
    }

    #[test]
    fn a_score_that_is_not_a_number_is_the_lowest() {
        let (labels, mut scores) = example();
        scores[10] = f64::NAN;
        let with_nan = vus_pr(&labels, &scores, 5);
        scores[10] = -1.0;
        assert_eq!(with_nan, vus_pr(&labels, &scores, 5));
    }
}
