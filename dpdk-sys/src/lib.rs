//! Raw bindings to the installed DPDK (22.11 or later), generated at build time from its headers, and
//! to Intel's multi-buffer crypto library ([`ipsec_mb`]) on x86-64.
//!
//! Static inline functions are real calls here: use bursts, and read an mbuf's fields through
//! [`field`] rather than through a call.
#![no_std]

mod bindings {
    #![allow(
        missing_docs,
        non_camel_case_types,
        non_snake_case,
        non_upper_case_globals,
        unsafe_op_in_unsafe_fn,
        clippy::all,
        clippy::undocumented_unsafe_blocks
    )]
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use bindings::*;

/// Intel's multi-buffer crypto library (1.3 or later).
#[cfg(target_arch = "x86_64")]
pub mod ipsec_mb {
    #![allow(
        missing_docs,
        non_camel_case_types,
        non_snake_case,
        non_upper_case_globals,
        unsafe_op_in_unsafe_fn,
        clippy::all,
        clippy::undocumented_unsafe_blocks
    )]
    include!(concat!(env!("OUT_DIR"), "/ipsec_mb.rs"));
}

/// Places of an mbuf's fields, from its first byte.
pub mod field {
    use crate::bindings as raw;

    /// Start of the buffer: `*mut u8`.
    pub const BUF_ADDR: usize = raw::MBUF_BUF_ADDR as usize;
    /// Bytes from the buffer's start to the first byte of data: `u16`.
    pub const DATA_OFF: usize = raw::MBUF_DATA_OFF as usize;
    /// Segments in the chain: `u16`.
    pub const NB_SEGS: usize = raw::MBUF_NB_SEGS as usize;
    /// Offload flags: `u64`.
    pub const OL_FLAGS: usize = raw::MBUF_OL_FLAGS as usize;
    /// Bytes in all segments: `u32`.
    pub const PKT_LEN: usize = raw::MBUF_PKT_LEN as usize;
    /// Bytes in this segment: `u16`.
    pub const DATA_LEN: usize = raw::MBUF_DATA_LEN as usize;
    /// The 802.1Q tag that the port stripped, host byte order: `u16`.
    pub const VLAN_TCI: usize = raw::MBUF_VLAN_TCI as usize;
    /// The outer tag (802.1ad) that the port stripped, host byte order: `u16`.
    pub const VLAN_TCI_OUTER: usize = raw::MBUF_VLAN_TCI_OUTER as usize;
    /// The next segment: `*mut rte_mbuf`, null in the last.
    pub const NEXT: usize = raw::MBUF_NEXT as usize;
    /// Length of the buffer: `u16`.
    pub const BUF_LEN: usize = raw::MBUF_BUF_LEN as usize;
}

// Every field lies inside the mbuf, and data_off in the first cache line.
const _: () = assert!(field::DATA_LEN + 2 <= 64 && field::BUF_LEN + 2 <= raw_size());
const fn raw_size() -> usize {
    bindings::MBUF_SIZE as usize
}
