//! Starts the workers on their lcores and holds control's ends of them.

use super::faults::{Harm, Harmed};
use super::live_routes::Seen;
use crate::plan::{Idle, Plan};
use anyhow::{Context as _, Result};
use dataplane::id::{Generation, Nanos, WorkerId};
use dataplane::links::{ControlLinks, WorkerLinks, connect};
use dataplane::message::{Command, Event};
use dataplane::shadow::ControlShadow;
use dataplane::shaper::Shaper;
use dataplane::snapshot::Snapshot;
use dataplane::stage::access::Sessions;
use dataplane::telemetry::Counters;
use dataplane::worker::{Worker, WorkerParts};
use dpdk::{Clock, Eal, LcoreHandle, Mbuf, Mempool, QueuePair};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Empty polls in a row before an idle worker sleeps: a burst's tail is not worth a sleep.
const EMPTY_POLLS: u32 = 32;

/// What ran on a worker's lcore, handed back when it ends so that its packets are freed after all queues.
pub type Ended = Worker<QueuePair, Mempool, Clock>;

/// The workers of a running engine.
pub struct Workers {
    links: Vec<ControlLinks>,
    handles: Vec<LcoreHandle<Ended>>,
    /// Those that are on no lcore now.
    parked: Vec<Ended>,
    stop: Arc<AtomicBool>,
    eal: Eal,
    idle: Idle,
    /// Of each worker.
    pools: Vec<Mempool>,
    /// Until when packets may be forwarded, nanoseconds; all workers read it every burst.
    pub forward_until: Arc<AtomicU64>,
    harm: Option<Harm>,
    /// What leads to the shadows of each worker's sessions, until somebody takes it.
    shadowed: Vec<ControlShadow>,
}

/// What every worker gets a share of.
pub struct Shared {
    /// Queue pairs: by worker, then by port.
    pub queues: Vec<Vec<QueuePair>>,
    /// The pool of each worker's socket.
    pub pools: Vec<Mempool>,
    /// The engine's clock.
    pub clock: Clock,
    /// The first snapshot.
    pub snapshot: Snapshot,
    /// The tunnels' shapers, by tunnel.
    pub shapers: Shapers,
}

/// Shapers by tunnel: the same ones for all workers and for control, which changes their rates.
pub type Shapers = Arc<[Option<Arc<Shaper>>]>;

impl Workers {
    /// Makes one worker for each lcore, parked.
    pub fn prepare(eal: &Eal, plan: &Plan, shared: Shared) -> Result<Workers> {
        let forward_until = Arc::new(AtomicU64::new(0));
        let ends = connect::<Mbuf>(plan.workers.len(), plan.forwarding.tunnels.len(), &forward_until);
        let mut workers = Workers {
            links: Vec::new(),
            handles: Vec::new(),
            parked: Vec::new(),
            stop: Arc::default(),
            eal: eal.clone(),
            idle: plan.idle,
            pools: shared.pools.clone(),
            forward_until,
            harm: plan.faults.then(Harm::default),
            shadowed: Vec::new(),
        };
        let parts = ends.into_iter().zip(shared.queues).zip(shared.pools);
        for (id, (((worker, control), ports), pool)) in (0..).map(WorkerId).zip(parts) {
            let kept = plan.access.sessions(id, plan.workers.len(), shared.clock.now())?;
            let (sessions, shadowed) = kept.unzip();
            workers.shadowed.extend(shadowed.flatten());
            let kept = Kept { ports, pool, sessions };
            let worker = assemble(plan, id, kept, &shared.clock, &shared.snapshot, worker);
            workers.parked.push(worker.with_shapers(&shared.shapers));
            workers.links.push(control);
        }
        Ok(workers)
    }

    /// Launches those that are parked, each on its lcore.
    ///
    /// # Errors
    /// If EAL does not start one.
    pub fn launch(&mut self) -> Result<()> {
        self.stop.store(false, Ordering::Relaxed);
        let parked = std::mem::take(&mut self.parked);
        for ((id, mut worker), pool) in (0..).map(WorkerId).zip(parked).zip(&self.pools) {
            worker.resume();
            let (stop, idle) = (self.stop.clone(), self.idle);
            let harmed = self.harm.as_ref().map(|harm| Harmed::new(harm, pool));
            // Two loops, so that one without faults does not even ask.
            let handle = match harmed {
                None => self.eal.launch(id, move || run(worker, &stop, idle, |_| ())),
                Some(mut harmed) => {
                    self.eal.launch(id, move || run(worker, &stop, idle, |packets| harmed.polled(packets)))
                }
            };
            self.handles.push(handle.with_context(|| format!("worker {id} could not be started"))?);
        }
        Ok(())
    }

    /// Takes all workers from their lcores: they keep what they have.
    ///
    /// # Errors
    /// If one has panicked.
    pub fn park(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for handle in self.handles.drain(..) {
            self.parked.push(handle.join().context("a worker ended badly")?);
        }
        Ok(())
    }

    /// Those that are on no lcore.
    pub fn parked(&mut self) -> &mut [Ended] {
        &mut self.parked
    }

    /// What leads to the shadows of their sessions.
    pub fn take_shadowed(&mut self) -> Vec<ControlShadow> {
        std::mem::take(&mut self.shadowed)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// What harms them, where the configuration allows faults.
    pub fn harm(&self) -> Option<&Harm> {
        self.harm.as_ref()
    }

    /// Control's ends, by worker.
    pub fn links(&mut self) -> &mut [ControlLinks] {
        &mut self.links
    }

    /// Control's ends, to read.
    pub fn counters(&self) -> impl Iterator<Item = &Counters> {
        self.links.iter().map(|link| &*link.counters)
    }

    /// Gives a snapshot to every worker and frees those they have replaced.
    pub fn publish(&mut self, snapshot: &Snapshot) {
        for link in &mut self.links {
            drop(link.snapshots.post(Box::new(snapshot.clone())));
            while link.retired.pop().is_some() {}
        }
    }

    /// Gives `command` to one worker. False if its ring is full: the worker does not poll.
    pub fn command(&mut self, worker: WorkerId, command: Command) -> bool {
        self.links[worker.index()].commands.push(command).is_ok()
    }

    /// The next event of any worker.
    pub fn event(&mut self) -> Option<(WorkerId, Event)> {
        (0..)
            .map(WorkerId)
            .zip(&mut self.links)
            .find_map(|(id, link)| link.events.pop().map(|event| (id, event)))
    }

    /// When the worker that polled longest ago did so.
    pub fn polled_at(&self) -> Nanos {
        Nanos(self.counters().map(|counters| counters.polled_at.get()).min().unwrap_or(0))
    }

    /// The snapshot and the epoch of the FIB that all of them have come to.
    pub fn seen(&self) -> Seen {
        let least = |of: fn(&Counters) -> u64| self.counters().map(of).min().unwrap_or(0);
        Seen {
            generation: Generation(least(|counters| counters.generation.announced())),
            epoch: least(|counters| counters.fib_epoch.announced()),
        }
    }

    /// Sets the lease.
    pub fn set_forward_until(&self, until: Nanos) {
        self.forward_until.store(until.0, Ordering::Relaxed);
    }

    /// Stops the workers and frees what they hold.
    pub fn stop(mut self) -> Result<()> {
        self.park()
    }
}

/// What one worker keeps for itself.
struct Kept {
    ports: Vec<QueuePair>,
    pool: Mempool,
    sessions: Option<Box<Sessions>>,
}

fn assemble(
    plan: &Plan,
    id: WorkerId,
    Kept { ports, pool, sessions }: Kept,
    clock: &Clock,
    snapshot: &Snapshot,
    links: WorkerLinks<Mbuf>,
) -> Ended {
    Worker::new(WorkerParts {
        id,
        ports,
        pool,
        clock: *clock,
        snapshot: snapshot.clone(),
        links,
        icmp_errors_per_second: plan.icmp_errors_per_second,
        sessions,
        bfd: if id == WorkerId(0) { plan.forwarding.bfd.clone() } else { Vec::new() },
    })
}

/// A worker's life on its lcore; `polled` is told how many packets each poll found.
fn run(mut worker: Ended, stop: &AtomicBool, idle: Idle, mut polled: impl FnMut(usize)) -> Ended {
    let mut empty = 0;
    while !stop.load(Ordering::Relaxed) {
        let packets = worker.poll();
        polled(packets);
        empty = if packets == 0 { empty + 1 } else { 0 };
        match idle {
            Idle::Backoff { sleep } if empty >= EMPTY_POLLS => std::thread::sleep(sleep),
            _ => std::hint::spin_loop(),
        }
    }
    worker
}

/// How late a sleep of this length may end before a poll counts as late.
pub fn expected_poll_gap(idle: Idle) -> Duration {
    match idle {
        Idle::Spin => Duration::ZERO,
        Idle::Backoff { sleep } => sleep,
    }
}
