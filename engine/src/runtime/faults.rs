//! Faults of the engine's own making, so that recordings and tests have real ones. Refused unless the
//! configuration allows them; without them a worker's loop has no trace of this.

use crate::api::faults::Fault;
use dataplane::packet::PacketPool as _;
use dpdk::{Mbuf, Mempool};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// More than any machine has: a slip of the finger is refused before it is carried out.
const HEAP_MB_MAX: u64 = 1 << 20;
const BURN_NS_MAX: u64 = 1_000_000_000;
const MIB: usize = 1 << 20;
/// Packet buffers that a worker leaks after one poll.
const LEAKED: usize = 64;

/// What the control core holds on purpose.
#[derive(Default)]
pub struct Faults {
    heap: Vec<Vec<u8>>,
}

impl Faults {
    /// Sets the level of a fault; the answer says what it is now.
    pub fn set(&mut self, fault: Fault, level: u64, harm: &Harm) -> Result<String, String> {
        match fault {
            Fault::Mbufs => {
                harm.0.mbufs.store(level, Ordering::Relaxed);
                Ok(format!("each worker leaks up to {level} packet buffers"))
            }
            Fault::Heap if level > HEAP_MB_MAX => Err(format!("at most {HEAP_MB_MAX} MiB")),
            Fault::Heap => {
                // Written to: memory that is only reserved costs nothing.
                self.heap.resize_with(level as usize, || vec![0xA5; MIB]);
                Ok(format!("{} MiB are held", self.heap.len()))
            }
            Fault::Burn if level > BURN_NS_MAX => Err(format!("at most {BURN_NS_MAX} ns")),
            Fault::Burn => {
                harm.0.burn_ns.store(level, Ordering::Relaxed);
                Ok(format!("{level} ns are burnt for each packet"))
            }
        }
    }
}

/// What is to be done to every worker.
#[derive(Clone, Default)]
pub struct Harm(Arc<Levels>);

#[derive(Default)]
struct Levels {
    mbufs: AtomicU64,
    burn_ns: AtomicU64,
}

/// One worker's share of it.
pub struct Harmed {
    harm: Harm,
    pool: Mempool,
    leaked: Vec<Mbuf>,
}

impl Harmed {
    /// A worker that takes its packets from `pool`.
    pub fn new(harm: &Harm, pool: &Mempool) -> Harmed {
        Harmed { harm: harm.clone(), pool: pool.clone(), leaked: Vec::new() }
    }

    /// After a poll that found so many packets.
    pub fn polled(&mut self, packets: usize) {
        let levels = &*self.harm.0;
        let leak = usize::try_from(levels.mbufs.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        if leak != self.leaked.len() {
            self.leaked.truncate(leak);
            let missing = (leak - self.leaked.len()).min(LEAKED);
            self.leaked.extend(std::iter::from_fn(|| self.pool.alloc()).take(missing));
        }
        let ns = levels.burn_ns.load(Ordering::Relaxed).saturating_mul(packets as u64);
        if ns > 0 {
            let begin = Instant::now();
            while begin.elapsed().as_nanos() < u128::from(ns) {
                std::hint::spin_loop();
            }
        }
    }
}
