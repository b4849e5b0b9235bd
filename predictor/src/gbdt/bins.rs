//! Features as bins: a column of bytes each, with the edges to walk raw values later.

use super::GbdtError;

/// Most features of a model.
pub(super) const FEATURES_MAX: usize = u16::MAX as usize;
/// The bin of a missing value; values start at 1.
pub(super) const MISSING: u8 = 0;
/// Edges are learnt from at most this many evenly spaced rows.
const SAMPLE_MAX: usize = 200_000;

/// A feature's values in bins.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Bin of every row: [`MISSING`], or 1 + the number of edges below the value.
    pub(super) bins: Vec<u8>,
    /// Ascending; a value x falls in bin 1 + |{edge < x}|, so `x <= edges[b - 1]` is `bin <= b`.
    pub(super) edges: Vec<f32>,
}

impl Column {
    /// Number of bins, the missing one included.
    pub(super) fn len(&self) -> usize {
        self.edges.len() + 2
    }
}

/// The features of all rows in bins. Fit as many models on subsets of its rows as needed.
#[derive(Clone, Debug)]
pub struct Binned {
    pub(super) columns: Vec<Column>,
    rows: usize,
}

impl Binned {
    /// Bins columns of equal length, at most `bins` (2 ..= 255) each, of about equal numbers of rows;
    /// equal values share a bin. NaN is missing; ±∞ are the extreme values.
    ///
    /// # Errors
    /// No column or row, too many columns, columns of different lengths, `bins` out of range.
    pub fn new<C: AsRef<[f32]>>(columns: &[C], bins: usize) -> Result<Self, GbdtError> {
        let rows = columns.first().ok_or(GbdtError::Empty("no feature"))?.as_ref().len();
        if rows == 0 {
            return Err(GbdtError::Empty("no row"));
        }
        if columns.len() > FEATURES_MAX {
            return Err(GbdtError::Shape { what: "features", found: columns.len(), expected: FEATURES_MAX });
        }
        if !(2..=255).contains(&bins) {
            return Err(GbdtError::Param("bins: 2 to 255"));
        }
        let column = |values: &C| {
            let values = values.as_ref();
            if values.len() == rows {
                Ok(bin(values, bins))
            } else {
                Err(GbdtError::Shape { what: "a column", found: values.len(), expected: rows })
            }
        };
        Ok(Self { columns: columns.iter().map(column).collect::<Result<_, _>>()?, rows })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of features.
    pub fn features(&self) -> usize {
        self.columns.len()
    }
}

fn bin(values: &[f32], bins: usize) -> Column {
    let edges = edges(values, bins);
    let bins = values
        .iter()
        .map(|x| if x.is_nan() { MISSING } else { 1 + edges.partition_point(|edge| edge < x) as u8 })
        .collect();
    Column { bins, edges }
}

/// At most `bins - 2` edges: one bin is the missing one's, and n edges make n + 1 bins.
fn edges(values: &[f32], bins: usize) -> Vec<f32> {
    let step = values.len().div_ceil(SAMPLE_MAX);
    // Clamped, as an infinite edge could not be stored.
    let finite = |x: f32| x.clamp(f32::MIN, f32::MAX);
    let mut sorted: Vec<f32> =
        values.iter().step_by(step).filter(|x| !x.is_nan()).map(|x| finite(*x)).collect();
    sorted.sort_unstable_by(f32::total_cmp);
    let bins = bins - 1;
    let mut distinct: Vec<(f32, usize)> = Vec::new();
    for &x in &sorted {
        match distinct.last_mut() {
            Some((last, count)) if *last == x => *count += 1,
            _ => distinct.push((x, 1)),
        }
    }
    if distinct.len() <= bins {
        return distinct.windows(2).map(|pair| between(pair[0].0, pair[1].0)).collect();
    }
    // Greedy: close a bin when it holds its share of what is left, so that a heavy value takes one bin only.
    let (mut edges, mut held, mut left) = (Vec::with_capacity(bins), 0usize, sorted.len());
    for pair in distinct.windows(2) {
        held += pair[0].1;
        let open = bins - edges.len();
        if open > 1 && held * open >= left {
            edges.push(between(pair[0].0, pair[1].0));
            left -= held;
            held = 0;
        }
    }
    edges
}

/// An edge e with a <= e < b.
fn between(a: f32, b: f32) -> f32 {
    let middle = a / 2.0 + b / 2.0;
    if middle >= a && middle < b { middle } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_on_their_side_of_every_edge() {
        let mut rng = crate::rng::Rng::new(5);
        let values: Vec<f32> = (0..5000)
            .map(|i| match i % 7 {
                0 => f32::NAN,
                1 | 2 => 0.0,
                3 => f32::INFINITY,
                4 => f32::NEG_INFINITY,
                _ => (rng.unit() - 0.5) * 1e6,
            })
            .collect();
        for bins in [2, 3, 16, 255] {
            let column = bin(&values, bins);
            assert!(column.len() <= bins.max(3), "{bins}: {}", column.len());
            for (x, &b) in values.iter().zip(&column.bins) {
                assert_eq!(b == MISSING, x.is_nan());
                for (i, edge) in column.edges.iter().enumerate() {
                    assert_eq!(b as usize <= i + 1 || x.is_nan(), x <= edge || x.is_nan());
                }
            }
        }
    }

    #[test]
    fn bins_hold_about_equally_many() {
        let values: Vec<f32> = (0..10_000).map(|i| (i as f32).powi(3)).collect();
        let column = bin(&values, 101);
        let mut counts = vec![0; column.len()];
        column.bins.iter().for_each(|b| counts[*b as usize] += 1);
        assert_eq!(column.edges.len(), 99);
        assert!(counts[1..].iter().all(|n| (95..=105).contains(n)), "{counts:?}");
    }

    #[test]
    fn wrong_shapes_are_refused() {
        assert!(matches!(Binned::new::<Vec<f32>>(&[], 255), Err(GbdtError::Empty(_))));
        assert!(matches!(Binned::new(&[Vec::new()], 255), Err(GbdtError::Empty(_))));
        let uneven = [vec![1.0], vec![1.0, 2.0]];
        assert!(matches!(Binned::new(&uneven, 255), Err(GbdtError::Shape { .. })));
        assert!(matches!(Binned::new(&[vec![1.0]], 256), Err(GbdtError::Param(_))));
    }
}
