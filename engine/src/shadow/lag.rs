//! How far a shadow is behind, over the last minute or two.

use dataplane::id::Nanos;
use hdrhistogram::Histogram;

/// A part of the memory.
const PERIOD: Nanos = Nanos::from_millis(60_000);

/// Times from a change to its acknowledgement. Two periods are kept, so that what is said is never of a few changes only.
pub struct Lags {
    now: Histogram<u64>,
    before: Histogram<u64>,
    began: Nanos,
}

impl Lags {
    /// Nothing yet.
    pub fn new(now: Nanos) -> Lags {
        // 1 µs to a minute, two digits.
        let empty = || Histogram::new_with_bounds(1, 60_000_000, 2).expect("valid bounds");
        Lags { now: empty(), before: empty(), began: now }
    }

    /// So many changes were so late.
    pub fn record(&mut self, lag: Nanos, many: u32, now: Nanos) {
        if now.since(self.began) >= PERIOD {
            std::mem::swap(&mut self.now, &mut self.before);
            self.now.reset();
            self.began = now;
        }
        self.now.saturating_record_n((lag.0 / 1_000).max(1), u64::from(many));
    }

    /// A quantile, µs; `None` if nothing was acknowledged lately.
    pub fn quantile(&self, quantile: f64) -> Option<u64> {
        let mut both = self.before.clone();
        both.add(&self.now).ok()?;
        (!both.is_empty()).then(|| both.value_at_quantile(quantile))
    }
}
