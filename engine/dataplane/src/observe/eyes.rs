//! Where the walk calls an observation. Every call is out of line: the walk that is not observed has none of them.

use super::observer::{Observer, Tag};
use super::record::{Next, Origin, Outcome, Point, Seen};
use crate::batch::Batch;
use crate::context::{Context, Egress, Meta};
use crate::drop_reason::DropReason;
use crate::id::{Nanos, NextHopId, PortId};
use crate::mirror::Mirror;
use crate::packet::{Packet, PacketPool};
use crate::stage::Verdict;

/// A worker's observer and its mirror, while somebody looks.
#[derive(Default)]
pub struct Eyes {
    observer: Option<Box<Observer>>,
    mirror: Option<Box<Mirror>>,
}

impl Eyes {
    /// Whether anything looks.
    #[inline]
    pub fn open(&self) -> bool {
        self.observer.is_some() || self.mirror.is_some()
    }

    /// Looks with `observer` from now on, or no more; returns what looked until now.
    pub fn replace(&mut self, observer: Option<Box<Observer>>) -> Option<Box<Observer>> {
        std::mem::replace(&mut self.observer, observer)
    }

    /// Mirrors with `mirror` from now on, or no more; returns what mirrored until now.
    pub fn replace_mirror(&mut self, mirror: Option<Box<Mirror>>) -> Option<Box<Mirror>> {
        std::mem::replace(&mut self.mirror, mirror)
    }

    /// Whether nobody may look any more.
    pub fn lapsed(&self, now: Nanos) -> bool {
        self.observer.as_ref().is_some_and(|observer| observer.lapsed(now))
    }

    /// Whether anybody wants to know of this packet: of a mirror alone, few are.
    #[inline(always)]
    pub fn follow(&self, meta: &Meta) -> bool {
        self.observer.is_some() || meta.mirrored != Tag::NONE
    }

    /// A packet has come.
    #[inline]
    pub fn received<A: PacketPool>(
        &mut self,
        context: &Context<A>,
        origin: Origin,
        packet: &A::Packet,
        meta: &mut Meta,
    ) {
        // Another worker's, or of an earlier poll.
        meta.mirrored = Tag::NONE;
        if let Some(observer) = &mut self.observer {
            meta.trace = observer.received(context.now, origin, packet.data());
        }
    }

    /// The packets of a burst are in the clear.
    #[inline]
    pub fn tap<A: PacketPool>(&mut self, context: &Context<A>, batch: &mut Batch<A::Packet>) {
        if let Some(mirror) = &mut self.mirror {
            mirror.tap(context, batch);
        }
    }

    /// A stage has said `verdict` of a packet.
    #[inline(always)]
    pub fn note<A: PacketPool>(
        &mut self,
        context: &Context<A>,
        point: Point,
        packet: &A::Packet,
        meta: &Meta,
        verdict: Verdict,
    ) {
        if self.follow(meta) {
            self.note_followed(context, point, packet, meta, verdict);
        }
    }

    #[cold]
    fn note_followed<A: PacketPool>(
        &mut self,
        context: &Context<A>,
        point: Point,
        packet: &A::Packet,
        meta: &Meta,
        verdict: Verdict,
    ) {
        let next = next(context, point, meta);
        if let Some(observer) = &mut self.observer {
            let seen = Seen { data: packet.data(), meta, next };
            observer.note(context.now, point, meta.trace, seen, verdict);
        }
        if let Some(mirror) = &mut self.mirror {
            mirror.note(meta.mirrored, next, verdict);
        }
    }

    /// A packet, now a frame, goes to a port; `now` is the time.
    #[cold]
    pub fn transmit<A: PacketPool>(
        &mut self,
        context: &Context<A>,
        now: Nanos,
        port: PortId,
        packet: &A::Packet,
        meta: &Meta,
    ) {
        if let Some(observer) = &mut self.observer {
            let seen = Seen { data: packet.data(), meta, next: next(context, Point::Transmit, meta) };
            observer.transmit(context.now, port, meta.trace, seen);
        }
        if let Some(mirror) = &mut self.mirror {
            mirror.sent(meta.mirrored, now.since(context.now));
        }
    }

    /// A packet waits, or another worker goes on with it.
    #[cold]
    pub fn left(&mut self, now: Nanos, meta: &Meta, outcome: Outcome) {
        if let Some(observer) = &mut self.observer {
            observer.left(now, meta.trace, outcome);
        }
        if let Some(mirror) = &mut self.mirror
            && outcome == Outcome::Held
        {
            mirror.held(meta.mirrored);
        }
    }

    /// A packet ends between stages.
    #[cold]
    pub fn dropped(&mut self, now: Nanos, at: Point, meta: &Meta, reason: DropReason) {
        if let Some(observer) = &mut self.observer {
            observer.dropped(now, at, meta.trace, reason);
        }
        if let Some(mirror) = &mut self.mirror {
            mirror.dropped(meta.mirrored, reason);
        }
    }
}

/// Where a packet goes, as far as a stage knows. Routes are found for a burst, before the stages that do not ask for them.
fn next<A: PacketPool>(context: &Context<A>, point: Point, meta: &Meta) -> Option<Next> {
    let snapshot = &context.snapshot;
    match meta.egress {
        Egress::Unknown if point != Point::Lookup || meta.route == NextHopId::NONE => None,
        Egress::Unknown | Egress::Moving(_) => {
            snapshot.next_hops.get(meta.route.index()).copied().map(Next::Route)
        }
        Egress::Tunnel(tunnel) => Some(Next::Tunnel(tunnel)),
        Egress::Adjacency(id) => {
            let adjacency = snapshot.adjacencies.get(id);
            Some(Next::Neighbor { interface: adjacency.interface, ip: adjacency.ip })
        }
        Egress::Neighbor { interface, ip } => Some(Next::Neighbor { interface, ip }),
        Egress::Link { interface, mac, .. } => Some(Next::Link { interface, mac }),
    }
}
