//! The middle of many values.

/// The median, which reorders `values`; NaN of none.
pub(crate) fn median(values: &mut [f32]) -> f32 {
    let n = values.len();
    if n == 0 {
        return f32::NAN;
    }
    let (_, upper, _) = values.select_nth_unstable_by(n / 2, f32::total_cmp);
    let upper = *upper;
    if n % 2 == 1 {
        return upper;
    }
    let lower = values[..n / 2].iter().copied().fold(f32::NEG_INFINITY, f32::max);
    lower / 2.0 + upper / 2.0
}
