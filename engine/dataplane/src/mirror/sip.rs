//! SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012) of whole 64-bit words. Without the key
//! nobody can make traffic that is always sampled, or never.

/// 128 bits that only the two ends of a mirror know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SipKey(pub [u64; 2]);

struct State([u64; 4]);

impl State {
    #[inline(always)]
    fn rounds(&mut self, count: u8) {
        let [v0, v1, v2, v3] = &mut self.0;
        for _ in 0..count {
            *v0 = v0.wrapping_add(*v1);
            *v1 = v1.rotate_left(13) ^ *v0;
            *v0 = v0.rotate_left(32);
            *v2 = v2.wrapping_add(*v3);
            *v3 = v3.rotate_left(16) ^ *v2;
            *v0 = v0.wrapping_add(*v3);
            *v3 = v3.rotate_left(21) ^ *v0;
            *v2 = v2.wrapping_add(*v1);
            *v1 = v1.rotate_left(17) ^ *v2;
            *v2 = v2.rotate_left(32);
        }
    }

    #[inline(always)]
    fn word(&mut self, word: u64) {
        self.0[3] ^= word;
        self.rounds(2);
        self.0[0] ^= word;
    }
}

/// The hash of `words`, as of their bytes in little-endian order.
#[inline]
pub fn siphash<const N: usize>(key: SipKey, words: [u64; N]) -> u64 {
    let [k0, k1] = key.0;
    // "somepseudorandomlygeneratedbytes" (§2.1).
    let mut state = State([
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ]);
    words.into_iter().for_each(|word| state.word(word));
    // The last word holds the length and the bytes behind the last whole word: none.
    state.word((N as u64 * 8) << 56);
    state.0[2] ^= 0xff;
    state.rounds(4);
    state.0.into_iter().fold(0, |hash, word| hash ^ word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::Hasher as _;

    /// The reference's key, 00 01 … 0f, and messages, 00 01 …, of 0 and 8 bytes (its file vectors.h).
    #[test]
    fn the_references_vectors() {
        let key = SipKey([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
        assert_eq!(siphash(key, []).to_le_bytes(), [0x31, 0x0e, 0x0e, 0xdd, 0x47, 0xdb, 0x6f, 0x72]);
        let eight = siphash(key, [0x0706_0504_0302_0100]).to_le_bytes();
        assert_eq!(eight, [0x62, 0x24, 0x93, 0x9a, 0x79, 0xf5, 0xf5, 0x93]);
    }

    #[test]
    #[allow(deprecated)]
    fn as_another_implementation_has_it() {
        let mut next = 1u64;
        let mut word = || {
            next = next.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            next
        };
        for _ in 0..1000 {
            let (key, words) = (SipKey([word(), word()]), [word(), word(), word(), word(), word(), word()]);
            let mut other = std::hash::SipHasher::new_with_keys(key.0[0], key.0[1]);
            words.iter().for_each(|word| other.write(&word.to_le_bytes()));
            assert_eq!(siphash(key, words), other.finish());
        }
    }
}
