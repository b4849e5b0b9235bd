use crate::wire::checksum::{self, Sum, update, update_odd};
use proptest::prelude::*;

/// RFC 1071 §4.1, word by word with the carry brought round at once.
fn slow_sum(data: &[u8]) -> u16 {
    data.chunks(2).fold(0u16, |sum, pair| {
        let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

#[test]
fn rfc_1071_example() {
    // RFC 1071 §3: these words sum to ddf2.
    let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(checksum::checksum(&data), !0xddf2);
}

#[test]
fn rfc_1624_example() {
    // RFC 1624 §4: 0x5555 becomes 0x3285 under checksum 0xdd2f; RFC 1141 would say 0xffff.
    assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
}

proptest! {
    #[test]
    fn fast_sum_is_the_slow_one(data in prop::collection::vec(any::<u8>(), 0..3000), split in 0usize..3000) {
        prop_assert_eq!(checksum::checksum(&data), !slow_sum(&data));
        let split = (split & !1).min(data.len() & !1);
        let sum = Sum::default().bytes(&data[..split]).bytes(&data[split..]);
        prop_assert_eq!(sum.finish(), !slow_sum(&data));
    }

    #[test]
    fn sums_of_large_words_do_not_overflow(length in 0usize..70_000) {
        let data = vec![0xff; length];
        prop_assert_eq!(checksum::checksum(&data), !slow_sum(&data));
    }

    #[test]
    fn incremental_update_is_a_full_one(
        mut data in prop::collection::vec(any::<u8>(), 3..200),
        at in any::<prop::sample::Index>(),
        new in any::<u16>(),
    ) {
        data.push(1); // A sum of zero has two representations; real headers never sum to zero.
        let at = at.index(data.len() - 2);
        let before = checksum::checksum(&data);
        let old = u16::from_be_bytes([data[at], data[at + 1]]);
        data[at..at + 2].copy_from_slice(&new.to_be_bytes());
        let changed = if at % 2 == 0 { update(before, old, new) } else { update_odd(before, old, new) };
        prop_assert_eq!(changed, checksum::checksum(&data));
    }

    #[test]
    fn every_single_bit_error_is_seen(
        mut data in prop::collection::vec(any::<u8>(), 2..100),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        data.resize(data.len() & !1, 0);
        data.extend([0, 1]);
        let check = checksum::checksum(&data);
        data.extend(check.to_be_bytes());
        prop_assert!(Sum::default().bytes(&data).is_intact());
        let at = at.index(data.len());
        data[at] ^= 1 << bit;
        prop_assert!(!Sum::default().bytes(&data).is_intact());
    }
}
