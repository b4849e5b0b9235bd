//! The stages of the walk, one file each. A stage is a function over one packet and its metadata
//! that returns `Ok` or the reason the packet ends here.

pub mod access;
pub mod bfd;
pub mod classify;
pub mod decap;
pub mod encap;
pub mod forward;
pub mod fragment;
pub mod icmp_error;
pub mod local;
pub mod lookup;
pub mod neighbor;
pub mod parse;
pub mod probe;
pub mod reassemble;
pub mod rewrite;
pub mod steer;
pub mod vrrp;

use crate::drop_reason::DropReason;

/// What a stage says of a packet.
pub type Verdict = Result<(), DropReason>;
