//! What is normal for a metric: median and spread of the subject's own past.

use crate::median::median;

/// Values kept. When full, every second one goes and the sampling interval doubles, so that
/// the memory starts short (quick warm-up) and ends long.
const KEPT: usize = 96;
/// First interval between kept values (ms).
const FIRST_INTERVAL_MS: u32 = 300;
/// Longest interval (ms); 96 of them look back 13 minutes.
const LAST_INTERVAL_MS: u32 = 8_000;
/// Median absolute deviation to standard deviation of a normal distribution.
const MAD_TO_SIGMA: f32 = 1.4826;

/// Streaming median and MAD over a thinned memory; allocates nothing.
#[derive(Clone, Debug)]
pub(crate) struct Baseline {
    kept: [f32; KEPT],
    len: usize,
    next: usize,
    interval_ms: u32,
    since_ms: u32,
    noise: f32,
    median: f32,
    spread: f32,
}

impl Baseline {
    /// `noise`: the smallest spread to report.
    pub(crate) fn new(noise: f32) -> Self {
        Self {
            kept: [0.0; KEPT],
            len: 0,
            next: 0,
            interval_ms: FIRST_INTERVAL_MS,
            since_ms: 0,
            noise,
            median: 0.0,
            spread: noise,
        }
    }

    /// Forgets everything: the next values define normal.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.noise);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }
    pub(crate) fn median(&self) -> f32 {
        self.median
    }
    /// Robust standard deviation, never under the noise floor.
    pub(crate) fn spread(&self) -> f32 {
        self.spread
    }

    /// Offers a finite value seen `dt_ms` after the one before.
    pub(crate) fn push(&mut self, value: f32, dt_ms: u32) {
        self.since_ms = self.since_ms.saturating_add(dt_ms);
        if self.since_ms < self.interval_ms && self.len > 0 {
            return;
        }
        self.since_ms = 0;
        if self.len == KEPT && self.interval_ms < LAST_INTERVAL_MS {
            self.thin();
        }
        self.kept[self.next] = value;
        self.next = (self.next + 1) % KEPT;
        self.len = (self.len + 1).min(KEPT);
        self.summarise();
    }

    fn thin(&mut self) {
        // Before the last interval is reached, the ring has never wrapped: index order is age order.
        for i in 0..KEPT / 2 {
            self.kept[i] = self.kept[2 * i + 1];
        }
        self.len = KEPT / 2;
        self.next = self.len;
        self.interval_ms = (self.interval_ms * 2).min(LAST_INTERVAL_MS);
    }

    fn summarise(&mut self) {
        let mut scratch = self.kept;
        let values = &mut scratch[..self.len];
        self.median = median(values);
        for v in values.iter_mut() {
            *v = (*v - self.median).abs();
        }
        self.spread = (median(values) * MAD_TO_SIGMA).max(self.noise);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_moves_neither_median_nor_spread_much() {
        let mut b = Baseline::new(0.01);
        for i in 0..3000 {
            let burst = if (1000..1200).contains(&i) { 50.0 } else { 0.0 };
            b.push(5.0 + ((i * 7919) % 101) as f32 / 101.0 + burst, 100);
        }
        assert!((b.median() - 5.5).abs() < 0.15, "{}", b.median());
        assert!((0.2..0.6).contains(&b.spread()), "{}", b.spread());
    }
}
