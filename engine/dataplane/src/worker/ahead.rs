//! Packets above the limit of their SA: authentic and new, but another engine that may take the SA over does not know yet that
//! their numbers are used. They wait the few milliseconds until it does.

use super::{Clock, Worker};
use crate::batch::{Batch, Slot};
use crate::context::Meta;
use crate::drop_reason::DropReason;
use crate::id::Spi;
use crate::message::Event;
use crate::observe::{Origin, Outcome, Point};
use crate::packet::{PacketPool, Port};
use arrayvec::ArrayVec;

/// Most that wait on one worker.
const AHEAD: usize = 64;

/// A packet that waits, and what it waits for.
pub(super) struct Waiting<P> {
    spi: Spi,
    seq: u64,
    slot: Slot<P>,
}

/// All of them, in the order in which they came.
pub(super) type Ahead<P> = Box<ArrayVec<Waiting<P>, AHEAD>>;

impl<Q: Port, A: PacketPool<Packet = Q::Packet>, C: Clock> Worker<Q, A, C> {
    /// Takes those that must wait out of a burst that was decapsulated just now.
    #[cold]
    pub(super) fn wait_for_limit(&mut self, batch: &mut Batch<Q::Packet>) {
        let numbers = std::mem::take(&mut self.context.sas.ahead);
        for (spi, seq) in numbers {
            let Some(place) = batch.metas().iter().position(|meta| meta.ahead) else { return };
            let mut slot = batch.remove(place);
            slot.meta.ahead = false;
            self.eyes.left(self.context.now, &slot.meta, Outcome::Held);
            if let Err(full) = self.ahead.try_push(Waiting { spi, seq, slot }) {
                self.end_ahead(&full.element().slot.meta, DropReason::Unreserved);
            }
        }
    }

    /// Raises or lowers the limit of an SA, and lets those go that waited for it.
    #[cold]
    pub(super) fn limit(&mut self, spi: Spi, limit: u64) {
        let Some(inbound) = self.context.sas.inbound.get_mut(&spi) else { return };
        let in_force = inbound.sa.set_limit(limit);
        self.context.report(Event::Limited(spi, in_force));
        loop {
            let mut released = Batch::default();
            while !released.is_full()
                && let Some(place) = self.ahead.iter().position(|w| w.spi == spi && w.seq <= in_force)
            {
                let Waiting { seq, slot, .. } = self.ahead.remove(place);
                let inbound = self.context.sas.inbound.get_mut(&spi);
                // Two copies of one packet may have waited.
                match inbound.is_some_and(|inbound| inbound.sa.accept(seq).is_ok()) {
                    true => released.push(slot),
                    false => self.end_ahead(&slot.meta, DropReason::Replayed),
                }
            }
            if released.is_empty() {
                return;
            }
            self.look::<true>(Origin::Held, &mut released);
            self.onward::<true>(&mut released);
        }
    }

    /// An SA goes: what waited for it does too.
    #[cold]
    pub(super) fn give_up_ahead(&mut self, spi: Spi) {
        while let Some(place) = self.ahead.iter().position(|waiting| waiting.spi == spi) {
            let Waiting { slot, .. } = self.ahead.remove(place);
            self.end_ahead(&slot.meta, DropReason::Unreserved);
        }
    }

    fn end_ahead(&mut self, meta: &Meta, reason: DropReason) {
        self.eyes.dropped(self.context.now, Point::Decap, meta, reason);
        self.context.count_drop(reason);
    }
}
