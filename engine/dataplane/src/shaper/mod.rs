//! Shapers: what of a tunnel's traffic goes now, what waits, what is dropped.
//!
//! A tunnel has a token bucket, and classes in the order of their priority, each told by DSCPs and with an own bucket where it
//! is to have no more than a part. The buckets belong to the tunnel: all workers draw from them without a lock. The queues are
//! each worker's own, bounded, and made at its start. A packet goes at once if no packet of its own or a better class
//! waits and the buckets have room; or else it waits, or is dropped where its class's queue is full. What waits goes by
//! strict priority (RFC 2475 §2.3.3.3 calls such a thing a shaper).

mod bucket;
mod queues;
#[cfg(test)]
mod tests;

pub use bucket::{Bucket, Rate};
pub use queues::{Admission, Shapers};

use crate::wire::TrafficClass;
use arrayvec::ArrayVec;
use std::sync::Arc;

/// Most classes of a shaper.
pub const MAX_CLASSES: usize = 8;

/// A class: which packets, how many may wait, and how fast they may go.
#[derive(Clone, Debug)]
pub struct Class {
    /// Packets that may wait on each worker.
    pub queue: usize,
    /// Its own bucket, where it has one beside the tunnel's.
    pub bucket: Option<Arc<Bucket>>,
}

/// A tunnel's shaper, shared by the workers and by control, which sets the rates of its buckets in place.
#[derive(Clone, Debug)]
pub struct Shaper {
    /// The tunnel's bucket.
    pub bucket: Arc<Bucket>,
    /// By priority, the best first; the last one takes what no other does.
    pub classes: ArrayVec<Class, MAX_CLASSES>,
    /// By DSCP: the class.
    class_of: [u8; 64],
}

impl Shaper {
    /// A shaper of these classes, at least one, each with its DSCPs. One that several name belongs to the first.
    pub fn new(bucket: Arc<Bucket>, classes: impl IntoIterator<Item = (Class, Vec<u8>)>) -> Shaper {
        let mut all = ArrayVec::new();
        let mut dscps = Vec::new();
        for (class, of) in classes.into_iter().take(MAX_CLASSES) {
            all.push(class);
            dscps.push(of);
        }
        let mut class_of = [all.len().saturating_sub(1) as u8; 64];
        for (number, of) in dscps.iter().enumerate().rev() {
            for dscp in of {
                class_of[usize::from(dscp & 63)] = number as u8;
            }
        }
        Shaper { bucket, classes: all, class_of }
    }

    /// The class of packets that say `class`.
    #[inline]
    pub fn class(&self, class: TrafficClass) -> usize {
        usize::from(self.class_of[usize::from(class.0 >> 2)])
    }
}
