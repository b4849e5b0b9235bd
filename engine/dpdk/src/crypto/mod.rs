//! ESP's AEADs computed by Intel's multi-buffer crypto library, called directly.
//!
//! One call a packet, without bursts: measured, a packet takes the AEAD's own time as soon as nonce and
//! AAD reach it in one store each (see `operands`), and the library's bursts add to that.

#[cfg(not(target_arch = "x86_64"))]
mod absent;
#[cfg(target_arch = "x86_64")]
mod chacha;
#[cfg(target_arch = "x86_64")]
mod gcm;
#[cfg(target_arch = "x86_64")]
mod ipsec_mb;
#[cfg(target_arch = "x86_64")]
mod manager;
#[cfg(target_arch = "x86_64")]
mod operands;

#[cfg(not(target_arch = "x86_64"))]
pub use absent::IpsecMb;
#[cfg(target_arch = "x86_64")]
pub use ipsec_mb::IpsecMb;

/// Why the library cannot be used on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The CPU lacks an instruction set.
    #[error("the CPU lacks {0}")]
    Cpu(&'static str),
    /// The library would not start.
    #[error("Intel's multi-buffer library does not start: {0}")]
    Library(String),
    /// It computes wrong results here.
    #[error("Intel's multi-buffer library fails its self-test")]
    SelfTest,
}
