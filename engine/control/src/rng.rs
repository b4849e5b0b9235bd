//! Deterministic pseudo-random numbers from the configured seed: SplitMix64 (Steele, Lea, Flood 2014).

use dataplane::id::Nanos;

#[derive(Clone, Debug)]
pub(crate) struct SplitMix(u64);

impl SplitMix {
    pub fn new(seed: u64) -> SplitMix {
        SplitMix(seed)
    }

    /// An independent stream for one user of the same seed.
    pub fn fork(&mut self) -> SplitMix {
        SplitMix(self.next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in 0..bound; 0 for an empty range.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// Exponentially distributed with `mean`, cut to [mean/10, 4·mean] so that a detector that counts
    /// probes stays bounded (RFC 2330 §11.1.1 spacing, truncated).
    pub fn exponential(&mut self, mean: Nanos) -> Nanos {
        let unit = ((self.next() >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        let factor = (-unit.ln()).clamp(0.1, 4.0);
        Nanos((mean.0 as f64 * factor) as u64)
    }
}
