//! A token bucket, for the rate of the ICMP errors an engine sends (RFC 1812 §4.3.2.8,
//! RFC 4443 §2.4 (f)).

use crate::id::Nanos;

/// One token in the unit of account: at a rate of r tokens a second, r of these accrue each nanosecond.
const TOKEN: u64 = 1_000_000_000;

/// Allows a rate on average, and a burst at once.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    rate: u64,
    full: u64,
    level: u64,
    filled_at: Nanos,
}

impl TokenBucket {
    /// Full. `rate` in tokens a second, `burst` in tokens; zero of either allows at most the burst, or nothing.
    pub const fn new(rate: u32, burst: u32) -> TokenBucket {
        let full = burst as u64 * TOKEN;
        TokenBucket { rate: rate as u64, full, level: full, filled_at: Nanos(0) }
    }

    /// Takes a token; false if there is none. Time that goes back counts as standing still.
    #[inline]
    pub fn take(&mut self, now: Nanos) -> bool {
        let accrued = now.since(self.filled_at).0.saturating_mul(self.rate);
        self.level = self.level.saturating_add(accrued).min(self.full);
        self.filled_at = self.filled_at.max(now);
        let taken = self.level >= TOKEN;
        self.level -= if taken { TOKEN } else { 0 };
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = TokenBucket::new(10, 5);
        let now = Nanos::from_millis(1000);
        assert_eq!((0..20).filter(|_| bucket.take(now)).count(), 5);
        assert!(!bucket.take(now.plus(Nanos::from_millis(99))));
        assert!(bucket.take(now.plus(Nanos::from_millis(100))));
        assert!(!bucket.take(now.plus(Nanos::from_millis(100))));
        let hour = now.plus(Nanos::from_millis(3_600_000));
        assert_eq!((0..20).filter(|_| bucket.take(hour)).count(), 5);
        assert!(!bucket.take(now), "time that went back brings nothing");
    }

    #[test]
    fn zero_burst_allows_nothing() {
        let mut bucket = TokenBucket::new(1000, 0);
        assert!((0..100).all(|ms| !bucket.take(Nanos::from_millis(ms))));
    }

    proptest! {
        /// In every interval: at most burst + rate × time; and asked often enough, no fewer than rate × time.
        #[test]
        fn the_rate_holds_over_any_time(rate in 1..5000u32, burst in 2..100u32,
            gaps in prop::collection::vec(0..2_000_000u64, 1..300))
        {
            let mut bucket = TokenBucket::new(rate, burst);
            let (mut now, mut taken) = (Nanos(0), 0u128);
            for gap in gaps {
                now = now.plus(Nanos(gap));
                while bucket.take(now) {
                    taken += 1;
                }
                let earned = u128::from(now.0) * u128::from(rate) / u128::from(TOKEN);
                prop_assert!(taken <= earned + u128::from(burst));
                // A gap may overflow the bucket by what was earned in it, never if it is drained.
                if u128::from(rate) * 2_000_000 < u128::from(TOKEN) {
                    prop_assert!(taken >= earned);
                }
            }
        }
    }
}
