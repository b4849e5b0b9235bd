//! Where the walk calls an observation. Every call is out of line: the walk that is not observed has none of them.

use super::observer::{Observer, Tag};
use super::record::{Next, Origin, Outcome, Point, Seen};
use crate::context::{Context, Egress, Meta};
use crate::drop_reason::DropReason;
use crate::id::{Nanos, NextHopId, PortId};
use crate::packet::{Packet, PacketPool};
use crate::stage::Verdict;

/// A worker's observer, while somebody looks.
#[derive(Default)]
pub struct Eyes(Option<Box<Observer>>);

impl Eyes {
    /// Whether somebody looks.
    #[inline]
    pub fn open(&self) -> bool {
        self.0.is_some()
    }

    /// Looks with `observer` from now on, or no more; returns what looked until now.
    pub fn replace(&mut self, observer: Option<Box<Observer>>) -> Option<Box<Observer>> {
        std::mem::replace(&mut self.0, observer)
    }

    /// Whether nobody may look any more.
    pub fn lapsed(&self, now: Nanos) -> bool {
        self.0.as_ref().is_some_and(|observer| observer.lapsed(now))
    }

    /// A packet has come.
    #[cold]
    pub fn received<A: PacketPool>(
        &mut self,
        context: &Context<A>,
        origin: Origin,
        packet: &A::Packet,
        meta: &mut Meta,
    ) {
        if let Some(observer) = &mut self.0 {
            meta.trace = observer.received(context.now, origin, packet.data());
        }
    }

    /// A stage has said `verdict` of a packet.
    #[cold]
    pub fn note<A: PacketPool>(
        &mut self,
        context: &Context<A>,
        point: Point,
        packet: &A::Packet,
        meta: &Meta,
        verdict: Verdict,
    ) {
        if let Some(observer) = &mut self.0 {
            let seen = Seen { data: packet.data(), meta, next: next(context, point, meta) };
            observer.note(context.now, point, meta.trace, seen, verdict);
        }
    }

    /// A packet, now a frame, goes to a port.
    #[cold]
    pub fn transmit<A: PacketPool>(
        &mut self,
        context: &Context<A>,
        port: PortId,
        packet: &A::Packet,
        meta: &Meta,
    ) {
        if let Some(observer) = &mut self.0 {
            let seen = Seen { data: packet.data(), meta, next: next(context, Point::Transmit, meta) };
            observer.transmit(context.now, port, meta.trace, seen);
        }
    }

    /// A packet waits, or another worker goes on with it.
    #[cold]
    pub fn left(&mut self, now: Nanos, tag: Tag, outcome: Outcome) {
        if let Some(observer) = &mut self.0 {
            observer.left(now, tag, outcome);
        }
    }

    /// A packet ends between stages.
    #[cold]
    pub fn dropped(&mut self, now: Nanos, at: Point, tag: Tag, reason: DropReason) {
        if let Some(observer) = &mut self.0 {
            observer.dropped(now, at, tag, reason);
        }
    }
}

/// Where a packet goes, as far as a stage knows. Routes are found for a burst, before the stages that do not ask for them.
fn next<A: PacketPool>(context: &Context<A>, point: Point, meta: &Meta) -> Option<Next> {
    let snapshot = &context.snapshot;
    match meta.egress {
        Egress::Unknown if point != Point::Lookup || meta.route == NextHopId::NONE => None,
        Egress::Unknown => snapshot.next_hops.get(meta.route.index()).copied().map(Next::Route),
        Egress::Tunnel(tunnel) => Some(Next::Tunnel(tunnel)),
        Egress::Adjacency(id) => {
            let adjacency = snapshot.adjacencies.get(id);
            Some(Next::Neighbor { interface: adjacency.interface, ip: adjacency.ip })
        }
        Egress::Neighbor { interface, ip } => Some(Next::Neighbor { interface, ip }),
        Egress::Link { interface, mac, .. } => Some(Next::Link { interface, mac }),
    }
}
