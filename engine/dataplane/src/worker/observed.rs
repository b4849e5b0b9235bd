//! What a worker does for an observer, away from the walk.

use super::{Clock, Worker};
use crate::batch::{Batch, Slot};
use crate::context::Meta;
use crate::drop_reason::DropReason;
use crate::id::{Nanos, PortId, WorkerId};
use crate::message::{Event, Retired};
use crate::mirror::Mirror;
use crate::observe::{Observer, Origin, Outcome, Point};
use crate::packet::{PacketPool, Port};

impl<Q: Port, A: PacketPool<Packet = Q::Packet>, C: Clock> Worker<Q, A, C> {
    /// Tells an observer of new packets.
    #[inline(always)]
    pub(super) fn look<const OBSERVED: bool>(&mut self, origin: Origin, batch: &mut Batch<Q::Packet>) {
        if OBSERVED {
            for (packet, meta) in batch.iter_mut() {
                self.eyes.received(&self.context, origin, packet, meta);
            }
        }
    }

    /// Counts a packet that has waited in vain.
    pub(super) fn give_up(&mut self, mut slot: Slot<Q::Packet>) {
        self.eyes.received(&self.context, Origin::Held, &slot.packet, &mut slot.meta);
        let reason = DropReason::NeighborUnresolved;
        self.eyes.dropped(self.context.now, Point::Transmit, &slot.meta, reason);
        self.context.count_drop(reason);
    }

    /// Tells an observer of a packet that another worker goes on with, or cannot.
    #[cold]
    pub(super) fn look_at_handoff(&mut self, meta: &Meta, owner: WorkerId, pushed: bool) {
        match pushed {
            true => self.eyes.left(self.context.now, meta, Outcome::HandedTo(owner)),
            false => self.eyes.dropped(self.context.now, Point::Parse, meta, DropReason::HandoffFull),
        }
    }

    /// Tells an observer how a packet's way ends, unless a stage has, or [`Worker::hold`] will.
    #[cold]
    pub(super) fn look_at_end(
        &mut self,
        packet: &Q::Packet,
        meta: &Meta,
        sent: Result<Option<PortId>, DropReason>,
    ) {
        let end = match sent {
            Ok(Some(port)) => {
                let tx = &mut self.tx[port.index()];
                if tx.is_full() {
                    Self::flush(&mut self.ports[port.index()], tx, &self.context.counters);
                }
                if tx.is_full() { Err(DropReason::TxFull) } else { Ok(port) }
            }
            Ok(None) => return,
            Err(reason) => Err(reason),
        };
        match end {
            Ok(port) => {
                let now = self.clock.now();
                self.eyes.transmit(&self.context, now, port, packet, meta);
            }
            Err(reason) => self.eyes.dropped(self.context.now, Point::Transmit, meta, reason),
        }
    }

    /// Looks with `observer` from now on; control frees what looked until now.
    pub(super) fn observe(&mut self, observer: Option<Box<Observer>>) {
        if let Some(old) = self.eyes.replace(observer) {
            self.context.report(Event::Retired(Retired::Observer(old)));
        }
    }

    /// Mirrors with `mirror` from now on; control frees what mirrored until now.
    pub(super) fn mirror(&mut self, mirror: Option<Box<Mirror>>) {
        if let Some(old) = self.eyes.replace_mirror(mirror) {
            self.context.report(Event::Retired(Retired::Mirror(old)));
        }
    }

    /// An observer whose lease has ended goes home, whatever became of who asked for it.
    #[cold]
    pub(super) fn look_no_longer_than_asked(&mut self, now: Nanos) {
        if self.eyes.lapsed(now) {
            self.observe(None);
        }
    }
}
