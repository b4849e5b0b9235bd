//! One life of an engine below its controller: real workers over simulated ports, and what the shell does for them.

pub mod buffer;
pub mod forwarding;
pub mod sas;
pub mod site_sa;
pub mod tape;

use crate::sabotage::Sabotage;
use crate::topology::THIRD;
use buffer::{Flaw, Pool, SimPort};
use control::io::Input;
use control::shadow::exchange::Exchange;
use dataplane::drop_reason::DropReason;
use dataplane::ecmp::MoveKind;
use dataplane::id::{Nanos, PortId, WorkerId};
use dataplane::links::{ControlLinks, connect};
use dataplane::message::{Command, Event};
use dataplane::packet::BURST;
use dataplane::snapshot::Snapshot;
use dataplane::worker::{Clock, Worker, WorkerParts};
use forwarding::Forwarding;
use sas::Sas;
use site_sa::{Disk, FROM_PARTNER, Shadowing};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tape::{Recorder, Tape};

/// Workers of every engine.
pub const WORKERS: usize = 2;
/// Ports of every engine.
pub const PORTS: usize = 3;
/// Most polls of a worker in one step of time.
const POLLS: usize = 16;
/// Buffers of every engine.
pub const BUFFERS: usize = 2048;

/// The engine's clock, as its workers read it.
#[derive(Clone)]
pub struct SimClock(Rc<Cell<Nanos>>);

impl Clock for SimClock {
    fn now(&self) -> Nanos {
        self.0.get()
    }
}

/// See the module.
pub struct Plane {
    /// Buffers.
    pub pool: Pool,
    /// By worker, by port.
    pub ports: Vec<Vec<SimPort>>,
    /// What its workers seal and open.
    pub tape: Tape,
    /// What workers are told.
    pub forwarding: Forwarding,
    /// SAs.
    pub sas: Sas,
    /// What the engines of site a share with each other.
    pub shadowing: Option<Shadowing>,
    /// Control's ends, by worker.
    pub links: Vec<ControlLinks>,
    workers: Vec<Worker<SimPort, Pool, SimClock>>,
    clock: Rc<Cell<Nanos>>,
    lease: Arc<AtomicU64>,
    sabotage: Option<Sabotage>,
}

impl Plane {
    /// Workers that have not polled yet, and may not forward.
    pub fn new(engine: &'static str, now: Nanos, disk: Disk, sabotage: Option<Sabotage>) -> Plane {
        let (clock, lease) = (Rc::new(Cell::new(now)), Arc::new(AtomicU64::new(0)));
        let (pool, recorder) = (Pool::new(BUFFERS), Recorder::default());
        let mut forwarding = Forwarding::new(engine, sabotage);
        let ports: Vec<Vec<SimPort>> =
            (0..WORKERS).map(|_| (0..PORTS).map(|_| port(sabotage)).collect()).collect();
        let snapshot = forwarding.snapshot();
        let (mut workers, mut links) = (Vec::new(), Vec::new());
        for (id, (worker, control)) in connect(WORKERS, 3, &lease).into_iter().enumerate() {
            workers.push(Worker::new(WorkerParts {
                id: WorkerId(id as u16),
                ports: ports[id].clone(),
                pool: pool.clone(),
                clock: SimClock(clock.clone()),
                snapshot: snapshot.clone(),
                links: worker,
                icmp_errors_per_second: 100,
                sessions: None,
                bfd: Vec::new(),
            }));
            links.push(control);
        }
        let shadowing = engine.starts_with('a').then(|| {
            let _ = links[0].commands.push(Command::Share { spi: FROM_PARTNER, tunnel: THIRD });
            Shadowing::new(Exchange::new(Vec::new(), (1, 1), Vec::new()), recorder.clone(), disk, sabotage)
        });
        let (tape, sas) = (recorder.0.clone(), Sas::new(recorder, sabotage));
        Plane { pool, ports, tape, forwarding, sas, shadowing, links, workers, clock, lease, sabotage }
    }

    /// A worker polls until its queues have no full burst left, as it would in a millisecond.
    pub fn poll(&mut self, worker: usize, now: Nanos) {
        self.clock.set(now);
        for _ in 0..POLLS {
            if self.workers[worker].poll() < BURST {
                break;
            }
        }
    }

    /// A frame arrives at a port, in the queue of `worker`.
    pub fn arrive(&mut self, port: PortId, worker: usize, frame: &[u8]) {
        self.ports[worker][port.index()].0.borrow_mut().arrive(&self.pool, frame);
    }

    /// The next frame that leaves, by worker and port.
    pub fn depart(&mut self) -> Option<(PortId, Vec<u8>)> {
        self.ports.iter().find_map(|ports| {
            (0..).map(PortId).zip(ports).find_map(|(id, port)| Some((id, port.0.borrow_mut().depart()?)))
        })
    }

    /// Until when packets are forwarded.
    pub fn set_forward_until(&self, until: Nanos) {
        let until = if self.sabotage == Some(Sabotage::EndlessLease) { Nanos::MAX } else { until };
        self.lease.store(until.0, Ordering::Relaxed);
    }

    /// TX queues take nothing, or do again.
    pub fn fill_queues(&self, full: bool) {
        self.ports.iter().flatten().for_each(|port| port.0.borrow_mut().full = full);
    }

    /// Tells a worker. A full ring: it does not poll.
    pub fn command(&mut self, worker: usize, command: Command) {
        let _ = self.links[worker].commands.push(command);
    }

    /// Publishes what has changed, and says what that was.
    pub fn publish(&mut self) -> Option<Snapshot> {
        let snapshot = self.forwarding.changed()?;
        for (worker, link) in self.links.iter_mut().enumerate() {
            let turned = self.sabotage == Some(Sabotage::SplitSnapshot) && worker == 1;
            let copy = if turned { self.forwarding.mirrored() } else { snapshot.clone() };
            drop(link.snapshots.post(Box::new(copy)));
        }
        Some(snapshot)
    }

    /// Snapshots that workers have put away since the last time.
    pub fn retired(&mut self) -> Vec<Box<Snapshot>> {
        self.links.iter_mut().flat_map(|link| std::iter::from_fn(|| link.retired.pop())).collect()
    }

    /// What the workers report, as inputs for the controller.
    pub fn events(&mut self, now: Nanos) -> Vec<Input> {
        let (mut inputs, mut of_sites) = (Vec::new(), Vec::new());
        for (worker, link) in (0..).map(WorkerId).zip(&mut self.links) {
            while let Some(event) = link.events.pop() {
                inputs.extend(match event {
                    Event::ProbeReply { tunnel, sequence, reflector_sequence, rtt } => {
                        Some(Input::ProbeReply { tunnel, sequence, reflector_sequence, rtt })
                    }
                    Event::InboundInstalled(spi) => self.sas.installs.inbound_installed(spi),
                    Event::OutboundInstalled(tunnel, spi) if tunnel != THIRD => {
                        self.sas.installs.outbound_installed(worker, tunnel, spi)
                    }
                    Event::SoftLimit(tunnel) if tunnel != THIRD => Some(Input::SaSoftLimit { tunnel }),
                    // Neighbours are known beforehand; what is retired and not the site's is freed here.
                    of_site => {
                        of_sites.push(of_site);
                        None
                    }
                });
            }
        }
        if let Some(shadowing) = &mut self.shadowing {
            of_sites.into_iter().for_each(|event| shadowing.event(event, &mut self.links, now));
        }
        inputs
    }

    /// The control loop's part for the SA of the site.
    pub fn tick(&mut self, disk: &mut Disk, now: Nanos) {
        if let Some(shadowing) = &mut self.shadowing {
            shadowing.tick(disk, &mut self.links, now);
        }
    }

    /// The engine owns its site from now on, or does not any more: its shared SA's part of that.
    pub fn set_owner(&mut self, owner: bool, now: Nanos) {
        if let Some(shadowing) = &mut self.shadowing {
            shadowing.owner(owner, &mut self.links, now);
        }
    }

    /// What its workers dropped, by reason, and under `missed` what its ports did.
    pub fn drops(&self) -> BTreeMap<&'static str, u64> {
        let count =
            |reason: DropReason| self.links.iter().map(|l| l.counters.dropped(reason).get()).sum::<u64>();
        let missed = self.ports.iter().flatten().map(|port| port.0.borrow().missed).sum();
        let all = DropReason::ALL.iter().map(|&reason| (reason.name(), count(reason)));
        all.chain([("missed", missed)]).filter(|(_, many)| *many > 0).collect()
    }

    /// Buckets that moved behind a MARK, and the longest time that any waited for one.
    pub fn marked(&self) -> (u64, Nanos) {
        let counters = || self.links.iter().map(|link| &link.counters);
        let longest = counters().map(|c| c.marks.wait_ns_max.get()).max();
        (counters().map(|c| c.moved(MoveKind::Marked).get()).sum(), Nanos(longest.unwrap_or(0)))
    }

    /// When the worker that polled longest ago did so.
    pub fn polled_at(&self) -> Nanos {
        Nanos(self.links.iter().map(|link| link.counters.polled_at.get()).min().unwrap_or(0))
    }
}

fn port(sabotage: Option<Sabotage>) -> SimPort {
    let port = SimPort::default();
    port.0.borrow_mut().flaw = match sabotage {
        Some(Sabotage::LeakyPort) => Some(Flaw::Leaks),
        Some(Sabotage::LossyPort) => Some(Flaw::Loses),
        _ => None,
    };
    port
}
