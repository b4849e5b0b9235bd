//! A token bucket that workers share.

use crate::id::Nanos;
use std::sync::atomic::{AtomicU64, Ordering};

/// Time is counted in parts of a nanosecond, so that a small packet at a high rate costs more than nothing. The count wraps
/// after two years, and is compared accordingly.
const TICKS: u64 = 256;

/// How often a worker tries again when another one draws at the same instant; then it waits for the next poll.
const ATTEMPTS: usize = 16;

/// How fast, and how much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bits a second; not 0.
    pub bits_per_second: u64,
    /// Bytes.
    pub burst: u64,
}

impl Rate {
    /// Ticks that `bytes` take.
    fn ticks(self, bytes: u64) -> u64 {
        let ticks = u128::from(bytes) * 8 * 1_000_000_000 * u128::from(TICKS);
        (ticks / u128::from(self.bits_per_second.max(1))).min(u128::from(u64::MAX / 4)) as u64
    }
}

/// A token bucket, kept as the time at which it would be full again (the virtual scheduling algorithm of ITU-T I.371, equal
/// to counting tokens). One number, so drawing from it is one exchange.
#[derive(Debug)]
pub struct Bucket {
    bits_per_second: AtomicU64,
    burst: AtomicU64,
    full_at: AtomicU64,
}

impl Bucket {
    /// Full at `now`.
    pub fn new(rate: Rate, now: Nanos) -> Bucket {
        Bucket {
            bits_per_second: AtomicU64::new(rate.bits_per_second),
            burst: AtomicU64::new(rate.burst),
            full_at: AtomicU64::new(now.0.wrapping_mul(TICKS)),
        }
    }

    /// How fast it fills now.
    pub fn rate(&self) -> Rate {
        let [bits_per_second, burst] =
            [&self.bits_per_second, &self.burst].map(|value| value.load(Ordering::Relaxed));
        Rate { bits_per_second, burst }
    }

    /// Fills it so fast from `now` on. The tokens that are missing stay missing; what a worker draws at the same instant
    /// may count at either rate.
    pub fn set_rate(&self, rate: Rate, now: Nanos) {
        let before = self.rate();
        self.bits_per_second.store(rate.bits_per_second, Ordering::Relaxed);
        self.burst.store(rate.burst, Ordering::Relaxed);
        let now = now.0.wrapping_mul(TICKS);
        let rescaled = |full_at: u64| {
            let bits = u128::from(missing(full_at, now)) * u128::from(before.bits_per_second);
            let ticks = (bits / u128::from(rate.bits_per_second.max(1))).min(u128::from(u64::MAX / 4));
            Some(now.wrapping_add(ticks as u64))
        };
        let _ = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rescaled);
    }

    /// Draws `bytes`; false, and nothing drawn, if there are fewer.
    #[inline]
    pub fn draw(&self, bytes: usize, now: Nanos) -> bool {
        let rate = self.rate();
        let (cost, depth) = (rate.ticks(bytes as u64), rate.ticks(rate.burst));
        let now = now.0.wrapping_mul(TICKS);
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        for _ in 0..ATTEMPTS {
            let missing = missing(full_at, now);
            if missing + cost > depth {
                return false;
            }
            let next = now.wrapping_add(missing + cost);
            match self.full_at.compare_exchange_weak(full_at, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(changed) => full_at = changed,
            }
        }
        false
    }

    /// Gives back what was drawn and not used.
    #[inline]
    pub fn give_back(&self, bytes: usize) {
        self.full_at.fetch_sub(self.rate().ticks(bytes as u64), Ordering::Relaxed);
    }
}

/// Ticks until it is full.
fn missing(full_at: u64, now: u64) -> u64 {
    (full_at.wrapping_sub(now) as i64).max(0) as u64
}
