//! The right to forward, as a worker sees it: until a deadline, and never for what arrived before a lapse.

use crate::id::Nanos;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A poll this long after the one before may find packets of another age in the queues.
const PAUSE: Nanos = Nanos::from_millis(10);
/// More packets than any RX ring holds: after so many, what comes is new even if no queue ever runs empty.
const RING_MAX: u32 = 32_768;

/// One worker's view of the engine's lease.
///
/// A worker that was paused past its deadline wakes up with old packets in its queues, and control may have got a new
/// lease, as standby, before the worker polls again. Those packets are not sent: whoever owned the site meanwhile has
/// sent their successors.
pub struct Lease {
    until: Arc<AtomicU64>,
    now: Nanos,
    seen: Nanos,
    stale: Option<u32>,
}

impl Lease {
    /// The lease that `until` (nanoseconds, written by control) tells the deadline of.
    pub fn new(until: Arc<AtomicU64>, now: Nanos) -> Lease {
        let seen = Nanos(until.load(Ordering::Relaxed));
        Lease { until, now, seen, stale: None }
    }

    /// The worker has not been on its lcore, and that was no lapse: what waits for it was left to it.
    pub fn resume(&mut self, now: Nanos) {
        (self.now, self.seen) = (now, Nanos(self.until.load(Ordering::Relaxed)));
    }

    /// A poll begins.
    #[inline]
    pub fn begin(&mut self, now: Nanos) {
        let lapsed = now >= self.seen && (self.now < self.seen || now.since(self.now) > PAUSE);
        if lapsed {
            self.stale = Some(0);
        }
        (self.now, self.seen) = (now, Nanos(self.until.load(Ordering::Relaxed)));
    }

    /// Whether the queues may still hold packets from before a lapse.
    #[inline]
    pub fn lapsed(&self) -> bool {
        self.stale.is_some()
    }

    /// Whether packets may be forwarded in this poll. The deadline is read anew: it may have been moved back.
    #[inline]
    pub fn holds(&self) -> bool {
        self.stale.is_none() && self.now.0 < self.until.load(Ordering::Relaxed)
    }

    /// The poll has taken `received` packets, and `drained` every queue.
    #[inline]
    pub fn end(&mut self, received: usize, drained: bool) {
        if let Some(before) = self.stale {
            let taken = before.saturating_add(received as u32);
            self.stale = (!drained && taken < RING_MAX).then_some(taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Nanos {
        Nanos::from_millis(ms)
    }

    #[test]
    fn what_waited_through_a_lapse_is_not_sent() {
        let until = Arc::new(AtomicU64::new(at(100).0));
        let mut lease = Lease::new(until.clone(), at(0));
        lease.begin(at(50));
        assert!(lease.holds());
        lease.end(0, true);
        // Paused from 50 to 500; control was faster and has a new lease.
        until.store(at(900).0, Ordering::Relaxed);
        lease.begin(at(500));
        assert!(!lease.holds(), "the queues hold packets of before");
        lease.end(32, false);
        lease.begin(at(500));
        assert!(!lease.holds());
        lease.end(7, true);
        lease.begin(at(501));
        assert!(lease.holds(), "what comes now is new");
    }

    #[test]
    fn a_worker_that_polls_on_needs_no_second_drain() {
        let until = Arc::new(AtomicU64::new(at(100).0));
        let mut lease = Lease::new(until.clone(), at(0));
        for ms in [99, 100, 101] {
            lease.begin(at(ms));
            assert_eq!(lease.holds(), ms < 100);
            lease.end(1, true);
        }
        until.store(at(200).0, Ordering::Relaxed);
        lease.begin(at(102));
        assert!(lease.holds());
    }

    #[test]
    fn a_worker_that_was_not_on_its_lcore_has_lapsed_only_where_the_lease_has() {
        let until = Arc::new(AtomicU64::new(0));
        let mut lease = Lease::new(until.clone(), at(0));
        until.store(Nanos::MAX.0, Ordering::Relaxed);
        lease.resume(at(500));
        lease.begin(at(501));
        assert!(lease.holds(), "what waited is this worker's");
        until.store(at(600).0, Ordering::Relaxed);
        lease.begin(at(502));
        lease.resume(at(700));
        lease.begin(at(701));
        assert!(!lease.holds());
    }

    #[test]
    fn queues_that_never_run_empty_do_not_silence_it_for_ever() {
        let until = Arc::new(AtomicU64::new(at(100).0));
        let mut lease = Lease::new(until.clone(), at(0));
        until.store(u64::MAX, Ordering::Relaxed);
        lease.begin(at(500));
        for _ in 0..RING_MAX / 32 {
            assert!(!lease.holds());
            lease.end(32, false);
            lease.begin(at(501));
        }
        assert!(lease.holds());
    }
}
