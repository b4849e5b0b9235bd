//! Packets that end between the port and the walk.

use std::sync::atomic::{AtomicU64, Ordering};

/// Received packets that were dropped before the walk saw them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxDropped {
    /// Segments that did not fit one buffer.
    pub not_contiguous: u64,
    /// No headroom for the 802.1Q tag that the port had taken out.
    pub no_room_for_tag: u64,
    /// No large buffer was left for a frame of several segments.
    pub no_buffer: u64,
    /// The ring to the worker that the packet belongs to was full.
    pub handoff_full: u64,
}

impl RxDropped {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.not_contiguous + self.no_room_for_tag + self.no_buffer + self.handoff_full
    }
}

/// The same, counted by all workers of a port. It is rare: they share the cache line.
#[derive(Default)]
pub(super) struct Dropped {
    pub not_contiguous: AtomicU64,
    pub no_room_for_tag: AtomicU64,
    pub no_buffer: AtomicU64,
    pub handoff_full: AtomicU64,
}

impl Dropped {
    pub fn read(&self) -> RxDropped {
        RxDropped {
            not_contiguous: self.not_contiguous.load(Ordering::Relaxed),
            no_room_for_tag: self.no_room_for_tag.load(Ordering::Relaxed),
            no_buffer: self.no_buffer.load(Ordering::Relaxed),
            handoff_full: self.handoff_full.load(Ordering::Relaxed),
        }
    }
}
