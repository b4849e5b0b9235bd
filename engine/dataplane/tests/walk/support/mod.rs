//! A small world: engines built as the shell builds them, with queues for wires and a clock that stands still.

pub mod craft;
pub mod draft;
pub mod everything;
pub mod pooled;
pub mod reference;
pub mod sessions;

pub use craft::{Ip, checked, frame, payload};
pub use draft::{Draft, GATEWAY_V4, LAN, LINK, VLAN, WAN, engine_mac, host_mac, host_v4, host_v6};

use dataplane::drop_reason::DropReason;
use dataplane::frame::{Frame, FramePool, FramePort};
use dataplane::id::{Nanos, PortId, Spi, TunnelId};
use dataplane::links::{ControlLinks, connect};
use dataplane::message::{Command, Event, Inbound};
use dataplane::packet::{Packet, PacketPool, Port};
use dataplane::replay::WindowSize;
use dataplane::sa::{Algorithm, AwsLc, InboundSa, Limits, OutboundSa, SaKey};
use dataplane::telemetry::Counters;
use dataplane::worker::{Clock, Worker, WorkerParts};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Ports of every engine: LAN (with a VLAN), WAN, site link.
pub const PORTS: usize = 3;

/// Time as the test says.
#[derive(Clone)]
pub struct TestClock(Arc<AtomicU64>);

impl Clock for TestClock {
    fn now(&self) -> Nanos {
        Nanos(self.0.load(Ordering::Relaxed))
    }
}

/// An engine: its workers, and control's end of them.
pub struct Engine<Q: Port = FramePort, A: PacketPool<Packet = Q::Packet> = FramePool> {
    pub workers: Vec<Worker<Q, A, TestClock>>,
    pub control: Vec<ControlLinks>,
    pub draft: Draft,
    /// By worker, by port.
    pub queues: Vec<Vec<Q>>,
    clock: Arc<AtomicU64>,
    lease: Arc<AtomicU64>,
}

/// What an engine is made with.
pub struct Sizes {
    pub workers: usize,
    pub icmp_errors_per_second: u32,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes { workers: 1, icmp_errors_per_second: 1000 }
    }
}

impl<Q: Port + Clone, A: PacketPool<Packet = Q::Packet>> Engine<Q, A> {
    /// An engine whose clock says one second and whose lease never ends.
    pub fn assemble(draft: Draft, sizes: &Sizes, queue: impl Fn() -> Q, pool: impl Fn() -> A) -> Self {
        let (clock, lease) = (Arc::new(AtomicU64::new(1_000_000_000)), Arc::new(AtomicU64::new(u64::MAX)));
        let queues: Vec<Vec<Q>> = (0..sizes.workers).map(|_| (0..PORTS).map(|_| queue()).collect()).collect();
        let pairs = connect(sizes.workers, draft.tunnels.len(), &lease);
        let (mut workers, mut control) = (Vec::new(), Vec::new());
        for (id, (links, ends)) in pairs.into_iter().enumerate() {
            let worker = Worker::new(WorkerParts {
                id: dataplane::id::WorkerId(id as u16),
                ports: queues[id].clone(),
                pool: pool(),
                clock: TestClock(clock.clone()),
                snapshot: draft.snapshot(),
                links,
                icmp_errors_per_second: sizes.icmp_errors_per_second,
                sessions: draft.sessions(id as u16, sizes.workers as u16),
                bfd: if id == 0 { draft.bfd.clone() } else { Vec::new() },
            });
            workers.push(worker.with_shapers(&draft.shapers));
            control.push(ends);
        }
        Engine { workers, control, draft, queues, clock, lease }
    }

    /// Polls every worker once, and checks that no packet vanished or came from nowhere.
    pub fn poll(&mut self) {
        for worker in &mut self.workers {
            worker.poll();
        }
        self.control.iter().for_each(|control| conserved(&control.counters));
    }

    /// Time passes.
    pub fn wait(&self, ms: u64) {
        self.clock.fetch_add(ms * 1_000_000, Ordering::Relaxed);
    }

    /// The time now.
    pub fn now(&self) -> Nanos {
        Nanos(self.clock.load(Ordering::Relaxed))
    }

    /// The lease ends at `until`.
    pub fn lease(&self, until: Nanos) {
        self.lease.store(until.0, Ordering::Relaxed);
    }

    /// Publishes what the draft says now; the workers see it with their next poll.
    pub fn publish(&mut self) {
        for control in &mut self.control {
            control.snapshots.post(Box::new(self.draft.snapshot()));
            while control.retired.pop().is_some() {}
        }
    }

    /// Tells worker `worker`, which has room for a command.
    pub fn command(&mut self, worker: usize, command: Command) {
        assert!(self.control[worker].commands.push(command).is_ok(), "the command ring is full");
    }

    /// What all workers reported since the last time.
    pub fn events(&mut self) -> Vec<Event> {
        self.control.iter_mut().flat_map(|control| std::iter::from_fn(|| control.events.pop())).collect()
    }

    /// Packets dropped for `reason` by all workers.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.control.iter().map(|control| control.counters.dropped(reason).get()).sum()
    }

    /// All drops, by name.
    pub fn drops(&self) -> BTreeMap<&'static str, u64> {
        let all = DropReason::ALL.iter().map(|&reason| (reason.name(), self.dropped(reason)));
        all.filter(|&(_, count)| count > 0).collect()
    }

    /// The counters of the first worker.
    pub fn counters(&self) -> &Counters {
        &self.control[0].counters
    }
}

/// What came in went out, ended under a reason, or waits.
pub fn conserved(counters: &Counters) {
    let into = counters.received.get() + counters.originated.get() + counters.handed_in.get();
    let out = counters.transmitted.get()
        + counters.dropped_total()
        + counters.held.get()
        + counters.handed_out.get();
    assert_eq!(into, out, "packets vanished or came from nowhere: {counters:?}");
}

impl Engine {
    /// An engine with one worker, of heap frames.
    pub fn new(draft: Draft) -> Engine {
        Engine::sized(draft, &Sizes::default())
    }

    /// The same, of any size.
    pub fn sized(draft: Draft, sizes: &Sizes) -> Engine {
        Engine::assemble(draft, sizes, FramePort::default, || FramePool { left: 100_000 })
    }

    /// A frame arrives at a port, in the queue of worker `worker`.
    pub fn put(&mut self, worker: usize, port: PortId, frame: &[u8]) {
        self.queues[worker][port.index()].rx.lock().unwrap().push_back(Frame::new(frame));
    }

    /// What was sent by a port.
    pub fn take(&mut self, port: PortId) -> Vec<Vec<u8>> {
        let sent = |queue: &Vec<FramePort>| {
            let mut tx = queue[port.index()].tx.lock().unwrap();
            tx.drain(..).map(|frame| frame.data().to_vec()).collect::<Vec<_>>()
        };
        self.queues.iter().flat_map(sent).collect()
    }

    /// A frame arrives, one poll runs, and this left by `out`.
    pub fn pass(&mut self, port: PortId, frame: &[u8], out: PortId) -> Vec<Vec<u8>> {
        self.put(0, port, frame);
        self.poll();
        self.take(out)
    }

    /// A frame arrives and ends for `reason`, and nothing leaves by any port.
    pub fn refuses(&mut self, port: PortId, frame: &[u8], reason: DropReason) {
        let before = self.dropped(reason);
        self.put(0, port, frame);
        self.poll();
        assert_eq!(self.dropped(reason), before + 1, "wanted {reason}, got {:?}", self.drops());
        for port in 0..PORTS {
            assert!(self.take(PortId(port as u16)).is_empty(), "{reason}, and yet something was sent");
        }
    }
}

/// An IP packet from a host of `from`'s site through the tunnel to a host of `to`'s: what `to` sends on its LAN, and
/// the frames on the wire between.
pub fn through(from: &mut Engine, to: &mut Engine, packet: &[u8]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let wire = from.pass(LAN, &frame(from.draft.mac(0), host_mac(), None, packet), WAN);
    let out = deliver(to, &wire);
    (out, wire)
}

/// Frames from the WAN arrive: what leaves by the LAN.
pub fn deliver(to: &mut Engine, wire: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for frame in wire {
        out.extend(to.pass(WAN, frame, LAN));
    }
    out
}

/// Two single-worker engines of sites 1 and 2 with a tunnel between, and its SAs if it takes any.
pub fn pair(encapsulation: dataplane::snapshot::Encapsulation, outer_v6: bool) -> (Engine, Engine) {
    let side = |engine: u8, far: u8| {
        let mut draft = Draft::new(engine, engine);
        let tunnel = draft.tunnel(encapsulation, outer_v6, far);
        draft.group(far, &[(tunnel, 1)], &[tunnel]);
        Engine::new(draft)
    };
    let (mut a, mut b) = (side(1, 2), side(2, 1));
    if encapsulation.is_esp() {
        key(&mut a, &mut b, TunnelId(0), TunnelId(0), 0x1000);
        key(&mut b, &mut a, TunnelId(0), TunnelId(0), 0x2000);
    }
    if let dataplane::snapshot::Encapsulation::WireGuard(_) = encapsulation {
        sessions::agree(&mut a, &mut b, TunnelId(0));
    }
    (a, b)
}

/// Gives `from`'s workers SAs towards `to`: worker n uses SPI `spi` + n.
pub fn key<Q: Port + Clone, A: PacketPool<Packet = Q::Packet>>(
    from: &mut Engine<Q, A>,
    to: &mut Engine<Q, A>,
    out: TunnelId,
    into: TunnelId,
    spi: u32,
) {
    for worker in 0..from.workers.len() {
        let spi = Spi(spi + worker as u32);
        let keymat: Vec<u8> = (0..20).map(|n| n ^ spi.0 as u8 ^ (spi.0 >> 8) as u8).collect();
        let key = || SaKey::new(&AwsLc, Algorithm::Aes128Gcm, &keymat).unwrap();
        let inbound = InboundSa::new(spi, key(), WindowSize::default(), true).unwrap();
        let owner = spi.0 as usize % to.workers.len();
        to.command(owner, Command::InstallInbound(Box::new(Inbound { tunnel: into, sa: inbound })));
        let limits = Limits { soft: 1 << 30, hard: 1 << 31 };
        let outbound = OutboundSa::new(spi, key(), limits, true).unwrap();
        from.command(worker, Command::InstallOutbound(out, Box::new(outbound)));
    }
    to.poll();
    from.poll();
}
