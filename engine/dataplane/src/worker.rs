//! A worker: it polls its queues and runs the packet's whole walk.

use crate::context::{Batch, Context, Egress, MAX_INBOUND, Meta, SaTable, Slot, TunnelSequence};
use crate::drop_reason::DropReason;
use crate::ecmp::Steering;
use crate::id::{Nanos, PortId, TunnelId, WorkerId};
use crate::lease::Lease;
use crate::limiter::TokenBucket;
use crate::links::{Handoff, WorkerLinks};
use crate::message::{Command, Event, Retired};
use crate::neighbor::HoldQueue;
use crate::packet::{BURST, Burst, PacketPool, Port};
use crate::snapshot::Snapshot;
use crate::stage::icmp_error::{self, Problem};
use crate::stage::rewrite::{Rewritten, rewrite};
use crate::stage::{Verdict, classify, decap, encap, forward, lookup, neighbor, parse, probe, steer};
use crate::telemetry::{Counters, Latency};
use arrayvec::ArrayVec;
use rustc_hash::FxHashMap;
use sync::mailbox;
use sync::ring::{Consumer, Producer};

/// Commands taken in one poll.
const COMMANDS: usize = 32;

/// How long a packet waits for a neighbour's answer: three solicitations (RFC 4861 §7.2.2).
const PATIENCE: Nanos = Nanos::from_millis(3000);

/// Time, in nanoseconds of the engine's monotonic clock.
pub trait Clock {
    /// Now. Cheap enough to be read a few times a burst.
    fn now(&self) -> Nanos;
}

/// What a worker is made of.
pub struct WorkerParts<Q: Port, A: PacketPool<Packet = Q::Packet>, C: Clock> {
    /// Which worker.
    pub id: WorkerId,
    /// Its queue pair of each port, by [`PortId`].
    pub ports: Vec<Q>,
    /// Where its own packets come from.
    pub pool: A,
    /// Its clock.
    pub clock: C,
    /// The first snapshot; the number of tunnels and groups stays as it is here.
    pub snapshot: Snapshot,
    /// Its ends towards control and the other workers.
    pub links: WorkerLinks<Q::Packet>,
    /// ICMP errors a second.
    pub icmp_errors_per_second: u32,
}

/// See the module.
pub struct Worker<Q: Port, A: PacketPool<Packet = Q::Packet>, C: Clock> {
    context: Context<A>,
    ports: Vec<Q>,
    tx: Vec<Burst<Q::Packet>>,
    hold: HoldQueue<Slot<Q::Packet>>,
    clock: C,
    snapshots: mailbox::Receiver<Snapshot>,
    retired: Producer<Box<Snapshot>>,
    commands: Consumer<Command>,
    latency: Box<Latency>,
    latency_in: mailbox::Receiver<Latency>,
    latency_out: mailbox::Sender<Latency>,
    handoff_out: Vec<Option<Producer<Handoff<Q::Packet>>>>,
    handoff_in: Vec<Consumer<Handoff<Q::Packet>>>,
    last_poll: Nanos,
    last_packet: Nanos,
}

impl<Q: Port, A: PacketPool<Packet = Q::Packet>, C: Clock> Worker<Q, A, C> {
    /// A worker ready to poll. Everything it will need is allocated here.
    pub fn new(parts: WorkerParts<Q, A, C>) -> Self {
        let (tunnels, groups) = (parts.snapshot.tunnels.len(), parts.snapshot.groups.len());
        let (links, now) = (parts.links, parts.clock.now());
        let mut inbound = FxHashMap::default();
        inbound.reserve(MAX_INBOUND);
        let context = Context {
            id: parts.id,
            workers: links.handoff_out.len() as u16,
            now,
            snapshot: Box::new(parts.snapshot),
            sas: SaTable { inbound, outbound: (0..tunnels).map(|_| None).collect() },
            sequences: vec![TunnelSequence::default(); tunnels].into(),
            steering: (0..groups).map(|_| Steering::new()).collect(),
            counters: links.counters,
            events: links.events,
            pool: parts.pool,
            originated: ArrayVec::new(),
            icmp_errors: TokenBucket::new(parts.icmp_errors_per_second, parts.icmp_errors_per_second),
            lease: Lease::new(links.forward_until, now),
        };
        Worker {
            context,
            tx: parts.ports.iter().map(|_| ArrayVec::new()).collect(),
            ports: parts.ports,
            hold: HoldQueue::new(PATIENCE),
            clock: parts.clock,
            snapshots: links.snapshots,
            retired: links.retired,
            commands: links.commands,
            latency: Box::default(),
            latency_in: links.latency_in,
            latency_out: links.latency_out,
            handoff_out: links.handoff_out,
            handoff_in: links.handoff_in,
            last_poll: now,
            last_packet: now,
        }
    }

    /// Polls every queue once and walks what was received. Returns how many packets that was.
    pub fn poll(&mut self) -> usize {
        self.begin();
        let (mut received, mut drained) = (0, true);
        for port in 0..self.ports.len() {
            let mut batch = self.receive(port);
            received += batch.len();
            drained &= !batch.is_full();
            self.stage(&mut batch, |context, packet, meta| {
                parse::parse(context, PortId(port as u16), packet, meta)
            });
            self.hand_off(&mut batch);
            self.walk(&mut batch);
        }
        received += self.handed_in();
        self.originated();
        self.context.lease.end(received, drained);
        self.finish(received)
    }

    /// The walk of an IP packet, from the outermost header to the wire.
    #[inline]
    fn walk(&mut self, batch: &mut Batch<Q::Packet>) {
        self.stage(batch, decap::decap);
        self.stage(batch, classify::classify);
        self.way_out(batch);
    }

    /// The second half of the walk, where own packets join.
    #[inline]
    fn way_out(&mut self, batch: &mut Batch<Q::Packet>) {
        self.stage(batch, lookup::lookup);
        self.stage(batch, steer::steer);
        self.stage(batch, forward::forward);
        self.stage(batch, encap::encap);
        self.transmit(batch);
    }

    /// Runs a stage over a batch: the one place that counts and compacts.
    #[inline]
    fn stage(
        &mut self,
        batch: &mut Batch<Q::Packet>,
        stage: impl Fn(&mut Context<A>, &mut Q::Packet, &mut Meta) -> Verdict,
    ) {
        let context = &mut self.context;
        batch.retain(|slot| {
            // An answer on the link has nothing left to do before it is sent.
            if matches!(slot.meta.egress, Egress::Link { .. }) {
                return true;
            }
            match stage(context, &mut slot.packet, &mut slot.meta) {
                Ok(()) => true,
                Err(reason) => {
                    context.count_drop(reason);
                    false
                }
            }
        });
    }

    #[inline]
    fn receive(&mut self, port: usize) -> Batch<Q::Packet> {
        let mut burst = Burst::new();
        let mut batch = Batch::new();
        self.ports[port].rx_burst(&mut burst);
        self.context.counters.received.add(burst.len() as u64);
        batch.extend(burst.drain(..).map(|packet| Slot { packet, meta: Meta::default() }));
        batch
    }

    /// Gives ESP to the worker that owns its SA.
    #[inline]
    fn hand_off(&mut self, batch: &mut Batch<Q::Packet>) {
        if self.context.workers == 1 {
            return;
        }
        let mut i = 0;
        while i < batch.len() {
            let Some(owner) = decap::owner(&self.context, &batch[i].packet, &batch[i].meta) else {
                i += 1;
                continue;
            };
            let slot = batch.remove(i);
            match self.handoff_out[owner.index()].as_mut().map(|ring| ring.push(slot)) {
                Some(Ok(())) => self.context.counters.handed_out.add(1),
                _ => self.context.count_drop(DropReason::HandoffFull),
            }
        }
    }

    #[inline]
    fn handed_in(&mut self) -> usize {
        let mut received = 0;
        for ring in 0..self.handoff_in.len() {
            let mut batch = Batch::new();
            while batch.len() < BURST
                && let Some(slot) = self.handoff_in[ring].pop()
            {
                batch.push(slot);
            }
            received += batch.len();
            self.context.counters.handed_in.add(batch.len() as u64);
            self.walk(&mut batch);
        }
        received
    }

    /// Sends what the walk originated. Own packets originate nothing further but fragments.
    #[inline]
    fn originated(&mut self) {
        while !self.context.originated.is_empty() {
            let mut batch = Batch::new();
            let many = self.context.originated.len().min(BURST);
            batch.extend(self.context.originated.drain(..many));
            self.way_out(&mut batch);
        }
    }

    /// Link headers on, and out; or held until the neighbour is known.
    #[inline]
    fn transmit(&mut self, batch: &mut Batch<Q::Packet>) {
        for mut slot in batch.drain(..) {
            match rewrite(&self.context, &mut slot.packet, &slot.meta) {
                Ok(Rewritten::Ready(port)) => self.enqueue(port, slot.packet),
                Ok(Rewritten::Unresolved { interface, ip }) => {
                    self.context.report_neighbor(Event::NeighborWanted { interface, ip });
                    if let Some(_oldest) = self.hold.push(interface, ip, slot, self.context.now) {
                        self.context.count_drop(DropReason::NeighborUnresolved);
                    }
                }
                Err(reason) => self.context.count_drop(reason),
            }
        }
    }

    #[inline]
    fn enqueue(&mut self, port: PortId, packet: Q::Packet) {
        let tx = &mut self.tx[port.index()];
        if tx.is_full() {
            Self::flush(&mut self.ports[port.index()], tx, &self.context.counters);
        }
        if tx.try_push(packet).is_err() {
            self.context.count_drop(DropReason::TxFull);
        }
    }

    #[inline]
    fn flush(port: &mut Q, tx: &mut Burst<Q::Packet>, counters: &Counters) {
        let before = tx.len();
        port.tx_burst(tx);
        counters.transmitted.add((before - tx.len()) as u64);
    }

    /// Time, snapshot, commands, neighbours: once a poll.
    #[inline]
    fn begin(&mut self) {
        let now = self.clock.now();
        self.context.now = now;
        let gap = now.since(self.last_poll);
        self.latency.poll_gap_max = self.latency.poll_gap_max.max(gap);
        self.last_poll = now;
        self.context.lease.begin(now);
        if self.context.lease.lapsed() {
            self.discard_unsent();
        }
        if let Some(snapshot) = self.snapshots.take() {
            let old = std::mem::replace(&mut self.context.snapshot, snapshot);
            // Control sizes the ring so that this cannot fail while it keeps its own copy alive.
            let _ = self.retired.push(old);
            self.release_held();
        }
        if let Some(empty) = self.latency_in.take() {
            let full = std::mem::replace(&mut self.latency, empty);
            // Control takes the previous one before it sends another empty one.
            drop(self.latency_out.post(full));
        }
        for _ in 0..COMMANDS {
            let Some(command) = self.commands.pop() else { break };
            self.carry_out(command);
        }
        while let Some(slot) = self.hold.expired(now) {
            self.unresolved(slot);
        }
    }

    /// What waited in TX through a lapse of the lease.
    #[cold]
    fn discard_unsent(&mut self) {
        for tx in &mut self.tx {
            self.context.counters.dropped(DropReason::LeaseExpired).add(tx.len() as u64);
            tx.clear();
        }
    }

    /// Ends a packet whose neighbour does not answer, and tells its sender.
    #[cold]
    fn unresolved(&mut self, Slot { mut packet, mut meta }: Slot<Q::Packet>) {
        // Encapsulation has left another header in front.
        if !meta.own
            && parse::ip_header(&mut packet, &mut meta).is_ok()
            && let Ok((src, ..)) = decap::outer(&packet, meta.version)
            && !self.context.snapshot.is_local(src)
        {
            icmp_error::send(&mut self.context, &packet, &meta, Problem::Unresolved);
        }
        self.context.count_drop(DropReason::NeighborUnresolved);
    }

    /// Sends what waited for a neighbour that the new snapshot knows.
    fn release_held(&mut self) {
        let mut released = Batch::new();
        let adjacencies = self.context.snapshot.adjacencies.clone();
        while !self.hold.is_empty() {
            self.hold.release(&adjacencies, released.remaining_capacity(), |_, _, slot| released.push(slot));
            if released.is_empty() {
                return;
            }
            // The lease may have run out while they waited.
            let context = &self.context;
            released.retain(|slot| {
                let may_go = context.may_forward() || !slot.meta.forwarded();
                if !may_go {
                    context.count_drop(DropReason::LeaseExpired);
                }
                may_go
            });
            self.transmit(&mut released);
        }
    }

    #[inline]
    fn finish(&mut self, received: usize) -> usize {
        let mut waiting = self.hold.len();
        for (port, tx) in self.ports.iter_mut().zip(&mut self.tx) {
            if !tx.is_empty() {
                Self::flush(port, tx, &self.context.counters);
                waiting += tx.len();
            }
        }
        let counters = &self.context.counters;
        counters.held.set(waiting as u64);
        counters.polls.add(1);
        counters.polled_at.set(self.context.now.0);
        if received > 0 {
            counters.busy_polls.add(1);
            self.latency.record_residence(self.clock.now().since(self.context.now), received as u32);
            self.latency.record_gap(self.context.now.since(self.last_packet));
            self.last_packet = self.context.now;
        }
        received
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::InstallInbound(inbound) => self.install_inbound(inbound),
            Command::InstallOutbound(tunnel, sa) => self.install_outbound(tunnel, sa),
            Command::RemoveInbound(spi) => {
                if let Some(old) = self.context.sas.inbound.remove(&spi) {
                    self.context.report(Event::Retired(Retired::Inbound(old)));
                }
            }
            Command::ResetSequence(tunnel) => {
                if let Some(sequence) = self.context.sequences.get_mut(tunnel.index()) {
                    sequence.gre_rx = None;
                }
            }
            Command::Probe { tunnel, sequence } => probe::send(&mut self.context, tunnel, sequence),
            Command::Solicit { interface, ip, unicast } => {
                neighbor::solicit(&mut self.context, interface, ip, unicast);
            }
            Command::Announce { interface, ip } => neighbor::announce(&mut self.context, interface, ip),
        }
    }

    fn install_inbound(&mut self, inbound: Box<crate::message::Inbound>) {
        let spi = inbound.sa.spi();
        let known = inbound.tunnel.index() < self.context.sas.outbound.len();
        if !known || self.context.sas.inbound.len() >= MAX_INBOUND {
            self.context.report(Event::Retired(Retired::Inbound(inbound)));
            return;
        }
        if let Some(old) = self.context.sas.inbound.insert(spi, inbound) {
            self.context.report(Event::Retired(Retired::Inbound(old)));
        }
        self.context.report(Event::InboundInstalled(spi));
    }

    fn install_outbound(&mut self, tunnel: TunnelId, sa: Box<crate::sa::OutboundSa>) {
        let spi = sa.spi();
        let Some(place) = self.context.sas.outbound.get_mut(tunnel.index()) else {
            self.context.report(Event::Retired(Retired::Outbound(sa)));
            return;
        };
        if let Some(old) = place.replace(sa) {
            self.context.report(Event::Retired(Retired::Outbound(old)));
        }
        self.context.report(Event::OutboundInstalled(tunnel, spi));
    }
}
