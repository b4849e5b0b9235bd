//! The largest of many values, and their mean: what a node's metrics say together, whichever they are.

/// How many of the largest are kept.
const KEPT: usize = 8;

/// The largest values of one quantity over a node's metrics.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    top: [f32; KEPT],
    count: u32,
    sum: f32,
    above: u32,
}

impl Order {
    pub(super) fn new() -> Self {
        Self { top: [f32::NAN; KEPT], count: 0, sum: 0.0, above: 0 }
    }

    /// A value, at least 0; `limit` is what counts as large.
    pub(super) fn push(&mut self, x: f32, limit: f32) {
        self.sum += x.ln_1p();
        self.above += u32::from(x > limit);
        let kept = (self.count as usize).min(KEPT);
        self.count += 1;
        if kept == KEPT && x <= self.top[KEPT - 1] {
            return;
        }
        let place = self.top[..kept].partition_point(|held| *held >= x);
        self.top[place..(kept + 1).min(KEPT)].rotate_right(1);
        self.top[place] = x;
    }

    /// The `nth` largest from 0, NaN if there are not as many.
    pub(super) fn top(&self, nth: usize) -> f32 {
        self.top[nth]
    }

    /// Mean of ln(1 + x), NaN without a value.
    pub(super) fn mean(&self) -> f32 {
        if self.count == 0 { f32::NAN } else { self.sum / self.count as f32 }
    }

    /// Share of the values above the limit, NaN without a value.
    pub(super) fn share(&self) -> f32 {
        if self.count == 0 { f32::NAN } else { self.above as f32 / self.count as f32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::median::median;
    use crate::rng::Rng;

    #[test]
    fn agrees_with_sorting() {
        let mut rng = Rng::new(1);
        for n in 0..40 {
            let mut values: Vec<f32> = (0..n).map(|_| rng.below(12) as f32).collect();
            let mut order = Order::new();
            values.iter().for_each(|x| order.push(*x, 5.0));
            values.sort_by(|a, b| b.total_cmp(a));
            for nth in 0..KEPT {
                assert_eq!(values.get(nth).copied(), Some(order.top(nth)).filter(|x| !x.is_nan()));
            }
            if n > 0 {
                let large = values.iter().filter(|x| **x > 5.0).count();
                assert_eq!(order.share(), large as f32 / n as f32);
                let sorted = (values[(n - 1) / 2] + values[n / 2]) / 2.0;
                assert_eq!(median(&mut values), sorted);
            }
        }
        assert!(median(&mut []).is_nan() && Order::new().mean().is_nan());
    }
}
