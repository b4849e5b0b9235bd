//! (6) One generation, one forwarding state: what a worker forwarded by, once it has put it away, is what was
//! published under that generation, and so the same on every worker of the engine.

use super::{Log, Rule};
use dataplane::id::{Bucket, Nanos};
use dataplane::snapshot::Snapshot;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};

/// See the module.
#[derive(Debug, Default)]
pub struct Digests {
    known: BTreeMap<(u64, u64), u64>,
}

impl Digests {
    /// A snapshot of an engine's life (`process`) was published, or was put away by a worker.
    pub fn seen(&mut self, at: Nanos, process: u64, snapshot: &Snapshot, log: &mut Log) {
        let (key, digest) = ((process, snapshot.generation.0), digest(snapshot));
        if *self.known.entry(key).or_insert(digest) != digest {
            log.violate(at, Rule::Digests, format!("life {process} has two states of generation {}", key.1));
        }
    }
}

/// Of everything that decides where a packet goes. Routes change in place, and are left out.
fn digest(snapshot: &Snapshot) -> u64 {
    let mut hasher = DefaultHasher::new();
    let plain = (&snapshot.interfaces, &snapshot.next_hops, &snapshot.tunnels);
    hasher.write(format!("{plain:?}").as_bytes());
    let mut neighbors: Vec<_> = snapshot.neighbors.iter().collect();
    neighbors.sort_by_key(|(interface, ip, _)| (*interface, *ip));
    hasher.write(format!("{neighbors:?}").as_bytes());
    for group in snapshot.groups.iter() {
        let times = (group.flowlet_gap, group.move_deadline, group.taken_over);
        let rest = (&group.own, &group.members, times, group.mss_clamp);
        hasher.write(format!("{rest:?}").as_bytes());
        // Multiply and rotate: 65,536 buckets a snapshot are many.
        let buckets = (0..=u16::MAX).fold(0u64, |sum, bucket| {
            let target = group.buckets.target(Bucket(bucket));
            (sum ^ u64::from(target.0)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
        });
        hasher.write_u64(buckets);
    }
    hasher.finish()
}
