//! Begins, keeps up and ends what a client looks at. One at a time.

use super::engine::Engine;
use crate::observe::names::Names;
use crate::observe::stream::{Observation, unix_ns};
use crate::observe::{ObserveRequest, SNAPLEN_MAX, WatchRequest};
use dataplane::id::{Nanos, WorkerId};
use dataplane::message::Command;
use dataplane::observe::session::{ObserverLease, Order, observe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Workers stop looking by themselves so long after control's last tick.
const LEASE: Nanos = Nanos::from_millis(2000);
/// The most traces a second of each worker: more than anybody reads, and far less than slows a worker.
const TRACES: u32 = 5_000;
/// The most captured packets a second of each worker.
const CAPTURES: u32 = 500_000;
/// What a link header adds to the MTU: Ethernet and two tags.
const LINK_HEADER: u32 = 22;

/// A running observation.
pub struct Observing {
    /// Shared with the thread that shows it: when that has dropped its end, nobody looks any more.
    stopped: Arc<AtomicBool>,
    lease: ObserverLease,
    until: Instant,
}

impl Engine {
    /// Makes every worker watch what is asked for.
    ///
    /// # Errors
    /// In words for whoever asked.
    pub fn observe(&mut self, request: &ObserveRequest) -> Result<Observation, String> {
        self.observe_tick(self.now());
        if let Some(other) = &self.observing {
            let left = other.until.saturating_duration_since(Instant::now()).as_secs() + 1;
            return Err(format!(
                "another client is tracing or capturing, for {left} s more at most; wait for it or end it"
            ));
        }
        let names = Names::of(&self.plan);
        let (watch, filter) = request.resolve(&names, self.forwarding.tunnels())?;
        let mtu = self.plan.forwarding.interfaces.iter().map(|interface| u32::from(interface.mtu)).max();
        let whole = (mtu.unwrap_or(0) + LINK_HEADER).next_multiple_of(64).min(SNAPLEN_MAX);
        let (snaplen, rate) = match request.watch {
            WatchRequest::Trace => (0, TRACES),
            _ => (request.snaplen.unwrap_or(whole), CAPTURES),
        };
        let order = Order { watch, filter, snaplen: snaplen as usize, rate };
        let lease = ObserverLease::default();
        lease.renew(self.now().plus(LEASE));
        let mut sources = Vec::new();
        for worker in (0..self.workers.len() as u16).map(WorkerId) {
            let (observer, source) = observe(worker, &order, &lease);
            if !self.workers.command(worker, Command::Observe(observer)) {
                lease.renew(Nanos(0));
                return Err(format!("worker {worker} takes no commands: it does not poll"));
            }
            sources.push(source);
        }
        let stopped = Arc::new(AtomicBool::new(false));
        let until = Instant::now() + Duration::from_secs(request.seconds.into());
        tracing::info!(watch = ?request.watch, filter = request.filter, "packets are being observed");
        self.observing = Some(Observing { stopped: stopped.clone(), lease, until });
        Ok(Observation {
            watch,
            filter: request.filter.clone(),
            snaplen,
            count: request.count,
            until,
            sources,
            names,
            started_ns: unix_ns() - self.now().0,
            stopped,
        })
    }

    /// Keeps the workers looking while somebody wants it.
    pub fn observe_tick(&mut self, now: Nanos) {
        let Some(observing) = &self.observing else { return };
        if Arc::strong_count(&observing.stopped) == 1 {
            self.end_observation("nobody looks any more");
        } else if Instant::now() >= observing.until {
            self.end_observation("the time is up");
        } else {
            observing.lease.renew(now.plus(LEASE));
        }
    }

    /// Makes the workers stop looking.
    pub fn end_observation(&mut self, why: &str) {
        let Some(observing) = self.observing.take() else { return };
        tracing::info!(why, "packets are no longer observed");
        observing.stopped.store(true, Ordering::Relaxed);
        observing.lease.renew(Nanos(0));
        for worker in (0..self.workers.len() as u16).map(WorkerId) {
            // A worker that takes no commands sees the lease.
            self.workers.command(worker, Command::Unobserve);
        }
    }
}
