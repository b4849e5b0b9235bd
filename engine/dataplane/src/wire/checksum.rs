//! The Internet checksum (RFC 1071), its incremental update (RFC 1624), pseudo-headers.

use super::Protocol;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A running ones' complement sum of 16-bit big-endian words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Of nothing.
    #[inline]
    pub const fn zero() -> Sum {
        Sum(0)
    }

    /// Adds bytes that start at an even offset; an odd last byte is padded with zero (RFC 1071 §1).
    #[inline]
    pub fn bytes(self, data: &[u8]) -> Sum {
        Sum(self.0 + u64::from(u16::from_be(fold(in_host_order(data)))))
    }

    /// Adds one word.
    #[inline]
    pub const fn word(self, word: u16) -> Sum {
        Sum(self.0 + word as u64)
    }

    /// Adds two words.
    #[inline]
    pub const fn long(self, long: u32) -> Sum {
        Sum(self.0 + long as u64)
    }

    /// The checksum: the complement of the sum.
    #[inline]
    pub const fn finish(self) -> u16 {
        !fold(self.0)
    }

    /// True if the words summed, the checksum among them, are intact (RFC 1071 §1 (3)).
    #[inline]
    pub const fn is_intact(self) -> bool {
        fold(self.0) == 0xffff
    }
}

/// Summed in host order, to be folded and swapped once at the end: RFC 1071 §2(B). A u64 cannot overflow below 2^32
/// words, more than any packet has.
#[inline]
fn in_host_order(data: &[u8]) -> u64 {
    let (words, rest) = data.as_chunks::<4>();
    let mut sum: u64 = words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum();
    let (pairs, last) = rest.as_chunks::<2>();
    sum += pairs.iter().map(|&pair| u64::from(u16::from_ne_bytes(pair))).sum::<u64>();
    sum + last.iter().map(|&byte| u64::from(u16::from_ne_bytes([byte, 0]))).sum::<u64>()
}

/// True if `data`, its checksum among it, is intact (RFC 1071 §1 (3)): all ones when folded, in whichever byte order.
/// That is a multiple of 2^16 − 1 other than zero, which takes a multiplication to tell.
#[inline]
pub fn is_intact(data: &[u8]) -> bool {
    let sum = in_host_order(data);
    sum != 0 && sum.is_multiple_of(0xffff)
}

#[inline]
const fn fold(mut sum: u64) -> u16 {
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The checksum of `data`, whose checksum field is zero.
#[inline]
pub fn checksum(data: &[u8]) -> u16 {
    Sum::default().bytes(data).finish()
}

/// The checksum of three words, which two folds are enough for.
#[inline]
pub const fn of_words(words: [u16; 3]) -> u16 {
    let [a, b, c] = words;
    let sum = a as u32 + b as u32 + c as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum + (sum >> 16)) as u16)
}

/// `check` after a word changed: HC' = ~(~HC + ~m + m') (RFC 1624 §3, equation 3).
#[inline]
pub const fn update(check: u16, old: u16, new: u16) -> u16 {
    of_words([!check, !old, new])
}

/// `check` after a big-endian word at an odd offset changed: its bytes lie in two neighbouring words, which
/// sum to the same as its swapped value (RFC 1071 §2(B)).
#[inline]
pub const fn update_odd(check: u16, old: u16, new: u16) -> u16 {
    update(check, old.swap_bytes(), new.swap_bytes())
}

/// The IPv4 pseudo-header (RFC 768, RFC 9293 §3.1); `length` of the transport header and payload.
#[inline]
pub fn pseudo_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol, length: u16) -> Sum {
    Sum::default().long(src.to_bits()).long(dst.to_bits()).word(u16::from(protocol.0)).word(length)
}

/// The IPv6 pseudo-header (RFC 8200 §8.1); `length` of the upper-layer header and payload.
#[inline]
pub fn pseudo_v6(src: Ipv6Addr, dst: Ipv6Addr, protocol: Protocol, length: u32) -> Sum {
    let sum = Sum::default().bytes(&src.octets()).bytes(&dst.octets());
    sum.long(length).word(u16::from(protocol.0))
}
