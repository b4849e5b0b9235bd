//! Nonce and AAD as the library loads them: 16 bytes at once, of which it uses the first 12.
//!
//! Each is put together in a register and stored once. Written piecewise, the load would wait until
//! the pieces have left the store buffer: 45 cycles a packet of 114 at 64 bytes, when measured.

use dataplane::sa::{Aad, IV_LENGTH, SALT_LENGTH};
use std::arch::x86_64::{__m128i, _mm_set_epi64x};

/// Bytes of a nonce.
pub(super) const NONCE_LENGTH: u64 = (SALT_LENGTH + IV_LENGTH) as u64;

/// Salt ‖ IV (RFC 4106 §4, RFC 7634 §2).
#[inline(always)]
pub(super) fn nonce(salt: u32, iv: [u8; IV_LENGTH]) -> __m128i {
    twelve(salt, u64::from_le_bytes(iv))
}

/// The bytes of `first`, then of `then`, each as it lies in memory.
#[inline(always)]
fn twelve(first: u32, then: u64) -> __m128i {
    let low = u64::from(first) | then << 32;
    // SAFETY: every x86-64 CPU has SSE2.
    #[allow(unused_unsafe, reason = "safe from Rust 1.87 on where SSE2 is enabled")]
    unsafe {
        _mm_set_epi64x((then >> 32) as i64, low as i64)
    }
}

/// ESP's AADs by value, others by reference.
pub(super) struct AadOperand<'a> {
    block: __m128i,
    bytes: Option<&'a [u8]>,
    length: u64,
}

impl<'a> AadOperand<'a> {
    #[inline(always)]
    pub fn new(aad: Aad<'a>) -> AadOperand<'a> {
        match aad {
            Aad::Esn(spi, seq) => {
                AadOperand { block: twelve(spi.0.to_be(), seq.to_be()), bytes: None, length: 12 }
            }
            Aad::Seq(spi, seq) => {
                AadOperand { block: twelve(spi.0.to_be(), u64::from(seq.to_be())), bytes: None, length: 8 }
            }
            Aad::Bytes(bytes) => {
                AadOperand { block: twelve(0, 0), bytes: Some(bytes), length: bytes.len() as u64 }
            }
        }
    }

    /// Where it lies, as long as `self` does.
    #[inline(always)]
    pub fn as_ptr(&self) -> *const u8 {
        self.bytes.map_or_else(|| (&raw const self.block).cast(), <[u8]>::as_ptr)
    }

    /// In bytes.
    #[inline(always)]
    pub fn len(&self) -> u64 {
        self.length
    }
}

/// Whether two tags are the same, in the same time wherever they differ.
#[inline(always)]
pub(super) fn same(a: &[u8; 16], b: &[u8; 16]) -> bool {
    // `black_box` keeps the compiler from leaving early once it has compared a half.
    std::hint::black_box(u128::from_ne_bytes(*a) ^ u128::from_ne_bytes(*b)) == 0
}
