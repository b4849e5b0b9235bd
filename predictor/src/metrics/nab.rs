//! The score of the Numenta Anomaly Benchmark, profile `standard`.
//!
//! Lavin and Ahmad, "Evaluating Real-Time Anomaly Detection Algorithms", ICMLA 2015. The first alarm
//! in a labelled window earns up to 1, more the earlier it comes; a window without alarm costs 1; an
//! alarm elsewhere costs up to 0.11, less just after a window. One threshold serves the whole corpus:
//! the one with the highest score, as NAB's optimizer takes it. 0 is the score of no alarm at all,
//! 100 that of an alarm on the first row of each window and none elsewhere.

/// Cost of an alarm outside every window.
const FALSE_POSITIVE: f64 = 0.11;
/// Share of a file that is not judged, and the file length beyond which that stays the same.
const PROBATION: f64 = 0.15;
const PROBATION_ROWS_MAX: usize = 5000;

/// One file of the corpus.
#[derive(Clone, Copy, Debug)]
pub struct NabFile<'a> {
    /// The score of every row.
    pub scores: &'a [f64],
    /// The labelled windows, first and last row, in order and apart.
    pub windows: &'a [(usize, usize)],
}

/// The score of a corpus and the threshold that gives it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NabScore {
    /// At most 100; 0 for no alarm.
    pub score: f64,
    /// A row alarms if its score is at least this; infinite if no alarm is best.
    pub threshold: f64,
    /// Alarms outside the windows at that threshold.
    pub false_alarms: usize,
}

/// Rows at the start of a file that are not judged.
pub fn nab_probation(rows: usize) -> usize {
    (PROBATION * rows.min(PROBATION_ROWS_MAX) as f64).floor() as usize
}

/// A judged row: its score, what an alarm on it is worth, and its window.
struct Row {
    score: f64,
    worth: f64,
    window: Option<usize>,
}

/// The NAB score of a corpus; `None` if it has no window. NaN never alarms.
pub fn nab_score(corpus: &[NabFile]) -> Option<NabScore> {
    let windows: usize = corpus.iter().map(|file| file.windows.len()).sum();
    let mut first_window = 0;
    let mut rows = Vec::new();
    for file in corpus {
        rows.extend(judged(file, first_window));
        first_window += file.windows.len();
    }
    rows.sort_by(|a: &Row, b| b.score.total_cmp(&a.score));
    let mut missed = vec![false; windows];
    rows.iter().filter_map(|row| row.window).for_each(|window| missed[window] = true);
    let mut best_of: Vec<f64> = missed.iter().map(|in_rows| if *in_rows { -1.0 } else { 0.0 }).collect();
    let nothing: f64 = best_of.iter().sum();
    let (mut total, mut alarms) = (nothing, 0);
    let mut best = NabScore { score: nothing, threshold: f64::INFINITY, false_alarms: 0 };
    for (at, row) in rows.iter().enumerate() {
        match row.window {
            None => (total, alarms) = (total + row.worth, alarms + 1),
            Some(window) if row.worth > best_of[window] => {
                total += row.worth - best_of[window];
                best_of[window] = row.worth;
            }
            Some(_) => {}
        }
        let last_of_its_score = rows.get(at + 1).is_none_or(|next| next.score != row.score);
        if last_of_its_score && total > best.score && row.score > f64::NEG_INFINITY {
            best = NabScore { score: total, threshold: row.score, false_alarms: alarms };
        }
    }
    let score = 100.0 * (best.score - nothing) / (windows as f64 - nothing);
    (windows > 0).then_some(NabScore { score, ..best })
}

/// The rows of a file after its probation, the windows numbered from `first`.
fn judged(file: &NabFile, first: usize) -> Vec<Row> {
    let probation = nab_probation(file.scores.len());
    let mut rows = Vec::with_capacity(file.scores.len());
    for (at, score) in file.scores.iter().enumerate().skip(probation) {
        let score = if score.is_nan() { f64::NEG_INFINITY } else { *score };
        let inside = file.windows.iter().position(|(start, end)| (*start..=*end).contains(&at));
        let worth = match inside {
            Some(window) => {
                let (start, end) = file.windows[window];
                let position = -((end - at + 1) as f64) / (end - start + 1) as f64;
                sigmoid(position) / sigmoid(-1.0)
            }
            None => {
                let before = file.windows.iter().rev().find(|(_, end)| *end < at);
                FALSE_POSITIVE
                    * before
                        .map_or(-1.0, |(start, end)| sigmoid((at - end) as f64 / (end - start).max(1) as f64))
            }
        };
        rows.push(Row { score, worth, window: inside.map(|window| first + window) });
    }
    rows
}

/// NAB's scaled sigmoid: 0.99 at the start of a window (−1), 0 at its end, −1 far behind it.
fn sigmoid(position: f64) -> f64 {
    if position > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * position).exp()) - 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(scores: &[f64], windows: &[(usize, usize)]) -> NabScore {
        nab_score(&[NabFile { scores, windows }]).expect("a window")
    }

    fn alarms(rows: &[usize]) -> Vec<f64> {
        (0..1000).map(|row| if rows.contains(&row) { 1.0 } else { 0.0 }).collect()
    }

    #[test]
    fn the_first_row_of_every_window_and_nothing_else_is_perfect() {
        let windows = [(300, 349), (600, 699)];
        let best = scored(&alarms(&[300, 600]), &windows);
        assert!((best.score - 100.0).abs() < 1e-9, "{best:?}");
        assert_eq!((best.threshold, best.false_alarms), (1.0, 0));
        // More alarms in a window change nothing.
        assert!((scored(&alarms(&[300, 310, 320, 600]), &windows).score - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_late_alarm_earns_less_and_a_false_one_costs() {
        let windows = [(300, 399)];
        // Half-way: (2/(1+e^-2.5) - 1) / (2/(1+e^-5) - 1) = 0.859794; missed would be -1.
        let late = scored(&alarms(&[350]), &windows).score;
        assert!((late - 100.0 * (0.859_794 + 1.0) / 2.0).abs() < 1e-4, "{late}");
        // A false alarm before any window costs 0.11.
        let with_false = scored(&alarms(&[200, 300]), &windows);
        assert!((with_false.score - 100.0 * (2.0 - 0.11) / 2.0).abs() < 1e-9, "{with_false:?}");
        assert_eq!(with_false.false_alarms, 1);
        // Just behind the window it costs 0.11 * (1 - 2/(1+e^(5/99))) = 0.11 * 0.025247.
        let behind = scored(&alarms(&[300, 400]), &windows).score;
        assert!((behind - 100.0 * (2.0 - 0.11 * 0.025_247) / 2.0).abs() < 1e-3, "{behind}");
    }

    #[test]
    fn probation_is_not_judged_and_no_alarm_is_zero() {
        assert_eq!((nab_probation(1000), nab_probation(5000), nab_probation(20_000)), (150, 750, 750));
        assert!((scored(&alarms(&[10, 149, 300]), &[(300, 349)]).score - 100.0).abs() < 1e-9);
        // Alarms that are nearly all false: none at all is better.
        let best = scored(&[0.0; 1000], &[(990, 999)]);
        assert_eq!((best.score, best.threshold), (0.0, f64::INFINITY));
        assert_eq!(nab_score(&[NabFile { scores: &[1.0; 10], windows: &[] }]), None);
    }

    fn noise(seed: usize) -> f64 {
        let mixed = (seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed >> 40) as f64 / (1u64 << 24) as f64
    }

    /// The expected figures are those of NAB's `Sweeper` for the same two files: ties, several windows
    /// in a file, one in the probation, late hits and false alarms.
    #[test]
    fn it_agrees_with_the_reference_implementation() {
        let windows: [&[(usize, usize)]; 2] =
            [&[(100, 180), (400, 449), (700, 799)], &[(2000, 2300), (5000, 5100)]];
        let scores = [(1000, 0), (6000, 5000)].map(|(rows, seed)| -> Vec<f64> {
            let tied = |row| {
                if row % 97 == 0 { (noise(seed + row) * 10.0).round() / 10.0 } else { noise(seed + row) }
            };
            (0..rows).map(tied).collect()
        });
        let lifted = std::iter::zip(scores, windows).map(|(mut scores, windows)| {
            for (start, end) in windows {
                (usize::midpoint(*start, *end)..=*end).step_by(11).for_each(|row| {
                    scores[row] = (scores[row] * 0.02 + 0.99).min(1.0);
                });
            }
            scores
        });
        let lifted: Vec<Vec<f64>> = lifted.collect();
        let corpus: Vec<NabFile> =
            lifted.iter().zip(windows).map(|(scores, windows)| NabFile { scores, windows }).collect();
        let best = nab_score(&corpus).expect("windows");
        assert!((best.score - 81.962_242_444_514_79).abs() < 1e-9, "{best:?}");
        assert_eq!((best.threshold, best.false_alarms), (1.0, 2));
    }
}
