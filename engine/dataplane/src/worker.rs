//! A worker: it polls its queues and runs the packet's whole walk.

mod commands;
pub mod handover;
mod held;
mod marked;
mod observed;
mod shaped;
mod shared;
mod transmit;

use crate::batch::{Batch, Slot};
use crate::bfd;
use crate::context::{Context, MAX_INBOUND, Meta, SaTable, TunnelSequence};
use crate::drop_reason::DropReason;
use crate::ecmp::Steering;
use crate::ecmp::mark::Marks;
use crate::fib::recent::Recent;
use crate::id::{Nanos, PortId, WorkerId};
use crate::lease::Lease;
use crate::limiter::TokenBucket;
use crate::links::{Handoff, WorkerLinks};
use crate::message::Command;
use crate::neighbor::HoldQueue;
use crate::observe::{Eyes, Origin, Point};
use crate::packet::{BURST, Burst, PacketPool, Port};
use crate::reassembly::Reassembly;
use crate::shaper::Shapers;
use crate::snapshot::Snapshot;
use crate::stage::access::{self, Sessions};
use crate::stage::parse::Ingress;
use crate::stage::rewrite::rewrite;
use crate::stage::steer::{Passage, steer};
use crate::stage::{Verdict, bfd as keepalive, classify, decap, encap, forward, lookup, parse, reassemble};
use crate::telemetry::Latency;
use crate::wireguard::Keypairs;
use arrayvec::ArrayVec;
use rustc_hash::FxHashMap;
use sync::mailbox;
use sync::ring::{Consumer, Producer};

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
    /// Its sessions, where they are kept.
    pub sessions: Option<Box<Sessions>>,
    /// The BFD sessions that it runs.
    pub bfd: Vec<bfd::Parameters>,
}

/// See the module.
pub struct Worker<Q: Port, A: PacketPool<Packet = Q::Packet>, C: Clock> {
    context: Context<A>,
    ports: Vec<Q>,
    tx: Vec<Burst<Q::Packet>>,
    held: HoldQueue<Slot<Q::Packet>>,
    waiting: shared::Waiting<Q::Packet>,
    fragments: Reassembly<Q::Packet>,
    clock: C,
    snapshots: mailbox::Receiver<Snapshot>,
    retired: Producer<Box<Snapshot>>,
    commands: Consumer<Command>,
    latency: Box<Latency>,
    latency_in: mailbox::Receiver<Latency>,
    latency_out: mailbox::Sender<Latency>,
    handoff_out: Vec<Option<Producer<Handoff<Q::Packet>>>>,
    handoff_in: Vec<Consumer<Handoff<Q::Packet>>>,
    shapers: Shapers<Q::Packet>,
    shaped: bool,
    eyes: Eyes,
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
        links.counters.generation.announce(parts.snapshot.generation.0);
        let context = Context {
            id: parts.id,
            workers: links.handoff_out.len() as u16,
            now,
            snapshot: Box::new(parts.snapshot),
            sas: SaTable {
                inbound,
                outbound: (0..tunnels).map(|_| None).collect(),
                shared: ArrayVec::new(),
                waits: ArrayVec::new(),
                keypairs: (0..tunnels).map(|_| Keypairs::default()).collect(),
            },
            sequences: vec![TunnelSequence::default(); tunnels].into(),
            steering: (0..groups).map(|_| Steering::new()).collect(),
            marks: Marks::default(),
            counters: links.counters,
            events: links.events,
            handshakes: links.handshakes,
            pool: parts.pool,
            originated: ArrayVec::new(),
            icmp_errors: TokenBucket::new(parts.icmp_errors_per_second, parts.icmp_errors_per_second),
            lease: Lease::new(links.forward_until, now),
            sessions: parts.sessions,
            reverse: Recent::default(),
            bfd: parts.bfd.into_iter().map(bfd::Session::new).collect(),
        };
        Worker {
            context,
            tx: parts.ports.iter().map(|_| ArrayVec::new()).collect(),
            ports: parts.ports,
            held: HoldQueue::new(PATIENCE),
            waiting: Box::default(),
            fragments: Reassembly::new(),
            clock: parts.clock,
            snapshots: links.snapshots,
            retired: links.retired,
            commands: links.commands,
            latency: Box::default(),
            latency_in: links.latency_in,
            latency_out: links.latency_out,
            handoff_out: links.handoff_out,
            handoff_in: links.handoff_in,
            shapers: Shapers::new(&[]),
            shaped: false,
            eyes: Eyes::default(),
            last_poll: now,
            last_packet: now,
        }
    }

    /// Polls every queue once and walks what was received. Returns how many packets that was.
    pub fn poll(&mut self) -> usize {
        self.begin();
        if self.eyes.open() { self.round::<true>() } else { self.round::<false>() }
    }

    /// A poll with or without somebody looking: two walks, so that nobody looking costs nothing.
    #[inline(always)]
    fn round<const OBSERVED: bool>(&mut self) -> usize {
        let (mut received, mut drained) = (0, true);
        let mut batch = Batch::default();
        for port in 0..self.ports.len() {
            batch.receive(|burst| self.ports[port].rx_burst(burst));
            if batch.is_empty() {
                continue;
            }
            self.context.counters.received.add(batch.len() as u64);
            received += batch.len();
            drained &= !batch.is_full();
            let ingress = Ingress::of(&self.context.snapshot, PortId(port as u16));
            self.look::<OBSERVED>(Origin::Port(PortId(port as u16)), &mut batch);
            self.stage::<OBSERVED>(Point::Parse, &mut batch, |context, packet, meta| {
                parse::parse(context, ingress, packet, meta)
            });
            self.hand_off::<OBSERVED>(&mut batch);
            self.walk::<OBSERVED>(&mut batch);
        }
        received += self.handed_in::<OBSERVED>();
        self.originated::<OBSERVED>();
        self.context.lease.end(received, drained);
        self.finish(received)
    }

    /// The walk of an IP packet, from the outermost header to the wire.
    #[inline]
    fn walk<const OBSERVED: bool>(&mut self, batch: &mut Batch<Q::Packet>) {
        let wrapped = self.context.snapshot.wrapped();
        if batch.metas().iter().any(|meta| wrapped.has(meta.protocol)) {
            if batch.metas().iter().any(|meta| meta.fragment && wrapped.has(meta.protocol)) {
                self.join_tunnelled::<OBSERVED>(batch);
            }
            self.stage::<OBSERVED>(Point::Decap, batch, decap::decap);
            if !self.context.sas.waits.is_empty() {
                self.wait_for_sas(batch);
            }
        }
        self.onward::<OBSERVED>(batch);
    }

    /// The walk of what is in no tunnel, or not any more.
    #[inline]
    fn onward<const OBSERVED: bool>(&mut self, batch: &mut Batch<Q::Packet>) {
        if access::is_needed(&self.context) && batch.metas().iter().any(reassemble::is_asked_about) {
            self.join_asked_about(batch);
        }
        if OBSERVED {
            self.eyes.tap(&self.context, batch);
        }
        if classify::is_needed(&self.context.snapshot) {
            lookup::reverse_routes(&mut self.context, batch);
            self.stage::<OBSERVED>(Point::Classify, batch, classify::classify);
        }
        lookup::routes(&self.context.snapshot.fib, batch);
        if access::is_needed(&self.context) {
            let (context, eyes) = (&mut self.context, &mut self.eyes);
            access::access(context, batch, |context, packet, meta, verdict| {
                if OBSERVED {
                    eyes.note(context, Point::Access, packet, meta, verdict);
                }
            });
        }
        self.way_out::<OBSERVED>(batch);
    }

    /// The second half of the walk, where own packets join; their routes are known. One pass: a packet's headers stay at hand.
    #[inline]
    fn way_out<const OBSERVED: bool>(&mut self, batch: &mut Batch<Q::Packet>) {
        if self.shaped {
            return self.shaped_way_out::<OBSERVED>(batch);
        }
        batch.drain(|mut packet, meta| {
            let sent = self.out::<OBSERVED>(&mut packet, meta);
            self.send::<OBSERVED>(packet, meta, sent);
        });
    }

    /// A packet's way out.
    #[inline(always)]
    fn out<const OBSERVED: bool>(
        &mut self,
        packet: &mut Q::Packet,
        meta: &mut Meta,
    ) -> Result<Option<PortId>, DropReason> {
        match self.towards::<OBSERVED>(packet, meta)? {
            Passage::Goes => self.wrapped::<OBSERVED>(packet, meta),
            Passage::Waits => Ok(None),
        }
    }

    /// Where it goes, and whether it may.
    #[inline(always)]
    fn towards<const OBSERVED: bool>(
        &mut self,
        packet: &mut Q::Packet,
        meta: &mut Meta,
    ) -> Result<Passage, DropReason> {
        let context = &mut self.context;
        let way = lookup::lookup(context, packet, meta);
        if OBSERVED {
            self.eyes.note(context, Point::Lookup, packet, meta, way.map(drop));
        }
        if let Some(way) = way? {
            let steered = steer(context, packet, meta, way);
            if OBSERVED {
                self.eyes.note(context, Point::Steer, packet, meta, steered.map(drop));
            }
            if steered? == Passage::Waits {
                return Ok(Passage::Waits);
            }
        }
        let forwarded = forward::forward(context, packet, meta);
        if OBSERVED {
            self.eyes.note(context, Point::Forward, packet, meta, forwarded);
        }
        forwarded.map(|()| Passage::Goes)
    }

    /// What it is in on its way there.
    #[inline(always)]
    fn wrapped<const OBSERVED: bool>(
        &mut self,
        packet: &mut Q::Packet,
        meta: &mut Meta,
    ) -> Result<Option<PortId>, DropReason> {
        let context = &mut self.context;
        access::leave(packet, meta);
        let wrapped = encap::encap(context, packet, meta);
        if OBSERVED {
            self.eyes.note(context, Point::Encap, packet, meta, wrapped);
        }
        wrapped?;
        rewrite(context, packet, meta)
    }

    /// Runs a stage over a batch: the one place that counts and compacts.
    #[inline]
    fn stage<const OBSERVED: bool>(
        &mut self,
        point: Point,
        batch: &mut Batch<Q::Packet>,
        stage: impl Fn(&mut Context<A>, &mut Q::Packet, &mut Meta) -> Verdict,
    ) {
        let (context, eyes) = (&mut self.context, &mut self.eyes);
        batch.retain(|packet, meta| {
            let verdict = stage(context, packet, meta);
            if OBSERVED {
                eyes.note(context, point, packet, meta, verdict);
            }
            context.passes(verdict)
        });
    }

    /// Fragments of tunnel packets make way for the whole ones, whose SA may be another worker's.
    #[cold]
    fn join_tunnelled<const OBSERVED: bool>(&mut self, batch: &mut Batch<Q::Packet>) {
        reassemble::reassemble(&mut self.context, &mut self.fragments, batch, |context, packet, meta| {
            let wrapped = context.snapshot.wrapped();
            meta.fragment && wrapped.has(meta.protocol) && reassemble::is_between_ends(context, packet, meta)
        });
        self.hand_off::<OBSERVED>(batch);
    }

    /// Rules and NAT see whole packets.
    #[cold]
    fn join_asked_about(&mut self, batch: &mut Batch<Q::Packet>) {
        let (context, fragments) = (&mut self.context, &mut self.fragments);
        reassemble::reassemble(context, fragments, batch, |_, _, meta| reassemble::is_asked_about(meta));
    }

    /// Gives ESP to the worker that owns its SA, and fragments of tunnel packets to the one that joins them.
    #[inline]
    fn hand_off<const OBSERVED: bool>(&mut self, batch: &mut Batch<Q::Packet>) {
        if self.context.workers == 1 {
            return;
        }
        let mut i = 0;
        while i < batch.len() {
            let (packet, meta) = batch.get(i);
            let Some(owner) = decap::owner(&self.context, packet, meta) else {
                i += 1;
                continue;
            };
            let slot = batch.remove(i);
            let meta = slot.meta;
            let pushed = self.handoff_out[owner.index()].as_mut().is_some_and(|ring| ring.push(slot).is_ok());
            if OBSERVED {
                self.look_at_handoff(&meta, owner, pushed);
            }
            match pushed {
                true => self.context.counters.handed_out.add(1),
                false => self.context.count_drop(DropReason::HandoffFull),
            }
        }
    }

    #[inline]
    fn handed_in<const OBSERVED: bool>(&mut self) -> usize {
        let mut received = 0;
        for ring in 0..self.handoff_in.len() {
            let mut batch = Batch::default();
            while !batch.is_full()
                && let Some(slot) = self.handoff_in[ring].pop()
            {
                batch.push(slot);
            }
            received += batch.len();
            self.context.counters.handed_in.add(batch.len() as u64);
            self.look::<OBSERVED>(Origin::Handoff, &mut batch);
            self.walk::<OBSERVED>(&mut batch);
        }
        received
    }

    /// Sends what the walk originated. Own packets originate nothing further but fragments.
    #[inline]
    fn originated<const OBSERVED: bool>(&mut self) {
        while !self.context.originated.is_empty() {
            let mut batch = Batch::default();
            let many = self.context.originated.len().min(BURST);
            self.context.originated.drain(..many).for_each(|slot| batch.push(slot));
            self.look::<OBSERVED>(Origin::Own, &mut batch);
            lookup::routes(&self.context.snapshot.fib, &mut batch);
            self.way_out::<OBSERVED>(&mut batch);
        }
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
            self.take_over(&old, now);
            // Control sizes the ring so that this cannot fail while it keeps its own copy alive.
            let _ = self.retired.push(old);
            self.context.reverse.forget();
            self.context.counters.generation.announce(self.context.snapshot.generation.0);
            self.release_held();
        }
        self.context.counters.fib_epoch.announce(self.context.snapshot.fib.epoch());
        if let Some(empty) = self.latency_in.take() {
            let full = std::mem::replace(&mut self.latency, empty);
            // Control takes the previous one before it sends another empty one.
            drop(self.latency_out.post(full));
        }
        self.take_commands();
        if self.context.marks.round().is_some() {
            self.release_marked();
        }
        if !self.context.sas.shared.is_empty() {
            self.report_reached(now);
            self.give_up_late();
        }
        if !self.context.bfd.is_empty() {
            keepalive::poll(&mut self.context);
        }
        if self.eyes.open() {
            self.look_no_longer_than_asked(now);
        }
        while let Some(slot) = self.held.expired(now) {
            self.unresolved(slot);
        }
        if let Some(sessions) = &mut self.context.sessions {
            sessions.poll(now, &self.context.counters);
        }
        if self.shapers.waiting() > 0 {
            self.release_shaped();
        }
        let counters = &self.context.counters;
        self.fragments.sweep(now, &mut |reason| counters.dropped(reason).add(1));
    }

    /// Groups whose site has come to this engine since the `old` snapshot wait for what is on the site link.
    fn take_over(&mut self, old: &Snapshot, now: Nanos) {
        for ((new, old), steering) in
            self.context.snapshot.groups.iter().zip(old.groups.iter()).zip(self.context.steering.iter_mut())
        {
            if new.taken_over != old.taken_over {
                steering.taken_over(now);
            }
        }
    }

    #[inline]
    fn finish(&mut self, received: usize) -> usize {
        let mut waiting = self.held.len() + self.fragments.held() + self.waiting.len();
        waiting += self.context.marks.len() + self.shapers.waiting();
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
}
