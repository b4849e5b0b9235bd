//! Addresses as bits, and prefixes of them.

/// Bits of the routes that are kept apart, since each of them would fill much of the direct index.
pub(super) const SHORT: u32 = 8;
/// Bits that a branch of the trie resolves.
pub(super) const STRIDE: u32 = 8;
/// Slots of a branch.
pub(super) const SLOTS: usize = 1 << STRIDE;

/// A destination address as bits, most significant first.
pub(super) trait Key: Copy + Ord + std::fmt::Debug {
    /// Bits of an address.
    const BITS: u32;
    /// The first of all addresses.
    const ZERO: Self;

    /// The first `n` bits, 0 < `n` ≤ 32.
    fn top(self, n: u32) -> usize;
    /// The 8 bits from bit `at` on.
    fn slot(self, at: u32) -> usize;
    /// How many leading bits two addresses share.
    fn common(self, other: Self) -> u32;
    /// The first `n` bits; zeros follow.
    fn first(self, n: u32) -> Self;
    /// The first `n` bits; ones follow.
    fn last(self, n: u32) -> Self;
    /// The upper and the lower 64 bits; an IPv4 address is the upper ones.
    fn halves(self) -> [u64; 2];
    /// The reverse of [`Key::halves`].
    fn from_halves(halves: [u64; 2]) -> Self;
}

impl Key for u32 {
    const BITS: u32 = 32;
    const ZERO: u32 = 0;

    #[inline(always)]
    fn top(self, n: u32) -> usize {
        (self >> (32 - n)) as usize
    }

    #[inline(always)]
    fn slot(self, at: u32) -> usize {
        (self >> (24 - at) & 0xff) as usize
    }

    #[inline(always)]
    fn common(self, other: u32) -> u32 {
        (self ^ other).leading_zeros()
    }

    fn first(self, n: u32) -> u32 {
        self & !(u32::MAX.checked_shr(n).unwrap_or(0))
    }

    fn last(self, n: u32) -> u32 {
        self | u32::MAX.checked_shr(n).unwrap_or(0)
    }

    #[inline(always)]
    fn halves(self) -> [u64; 2] {
        [u64::from(self) << 32, 0]
    }

    fn from_halves(halves: [u64; 2]) -> u32 {
        (halves[0] >> 32) as u32
    }
}

impl Key for u128 {
    const BITS: u32 = 128;
    const ZERO: u128 = 0;

    #[inline(always)]
    fn top(self, n: u32) -> usize {
        ((self >> 64) as u64 >> (64 - n)) as usize
    }

    #[inline(always)]
    fn slot(self, at: u32) -> usize {
        let half = if at < 64 { (self >> 64) as u64 } else { self as u64 };
        (half >> (56 - at % 64) & 0xff) as usize
    }

    #[inline(always)]
    fn common(self, other: u128) -> u32 {
        (self ^ other).leading_zeros()
    }

    fn first(self, n: u32) -> u128 {
        self & !(u128::MAX.checked_shr(n).unwrap_or(0))
    }

    fn last(self, n: u32) -> u128 {
        self | u128::MAX.checked_shr(n).unwrap_or(0)
    }

    #[inline(always)]
    fn halves(self) -> [u64; 2] {
        [(self >> 64) as u64, self as u64]
    }

    fn from_halves(halves: [u64; 2]) -> u128 {
        u128::from(halves[0]) << 64 | u128::from(halves[1])
    }
}

/// A prefix: `bits` behind `len` are zero. Ordered so that a prefix comes right before those inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Prefix<K> {
    pub bits: K,
    pub len: u8,
}

impl<K: Key> Prefix<K> {
    /// The first `len` bits of `bits`.
    pub fn new(bits: K, len: u32) -> Prefix<K> {
        Prefix { bits: bits.first(len), len: len as u8 }
    }

    /// Its length, bits.
    pub fn len(self) -> u32 {
        u32::from(self.len)
    }

    /// Its last address.
    pub fn last(self) -> K {
        self.bits.last(self.len())
    }

    /// Whether `bits` lies inside.
    #[inline(always)]
    pub fn contains(self, bits: K) -> bool {
        self.bits.common(bits) >= self.len()
    }
}
