//! Packets of SAs that another engine may have as well ([`SharedSa`](crate::context::SharedSa)). They wait the few milliseconds
//! until the SA is here, handed over, or until the other engine knows that their numbers are used.

use super::{Clock, Worker};
use crate::batch::{Batch, Slot};
use crate::context::Wait;
use crate::drop_reason::DropReason;
use crate::id::{Nanos, Spi, TunnelId};
use crate::message::Event;
use crate::observe::{Origin, Outcome, Point};
use crate::packet::{PacketPool, Port};
use crate::stage::encap::encap;
use crate::stage::rewrite::rewrite;
use arrayvec::ArrayVec;

/// Most that wait on one worker.
const WAITING: usize = 128;
/// For how long: more than an engine waits for one that it has not heard lately.
const PATIENCE: Nanos = Nanos::from_millis(3_000);

/// A packet that waits.
pub(super) struct Waits<P> {
    wait: Wait,
    since: Nanos,
    slot: Slot<P>,
}

/// All of them, in the order in which they came.
pub(super) type Waiting<P> = Box<ArrayVec<Waits<P>, WAITING>>;

impl<Q: Port, A: PacketPool<Packet = Q::Packet>, C: Clock> Worker<Q, A, C> {
    /// Takes those that must wait out of a burst that was decapsulated just now.
    #[cold]
    pub(super) fn wait_for_sas(&mut self, batch: &mut Batch<Q::Packet>) {
        for wait in std::mem::take(&mut self.context.sas.waits) {
            let Some(place) = batch.metas().iter().position(|meta| meta.waits) else { return };
            let mut slot = batch.remove(place);
            slot.meta.waits = false;
            self.wait_for_sa(wait, slot);
        }
    }

    #[cold]
    pub(super) fn wait_for_sa(&mut self, wait: Wait, slot: Slot<Q::Packet>) {
        self.eyes.left(self.context.now, &slot.meta, Outcome::Held);
        let waits = Waits { wait, since: self.context.now, slot };
        if let Err(full) = self.waiting.try_push(waits) {
            self.end_waiting(&full.element());
        }
    }

    /// Raises or lowers the limit of an SA, and lets those go that waited for it.
    #[cold]
    pub(super) fn limit(&mut self, spi: Spi, limit: u64) {
        let Some(inbound) = self.context.sas.inbound.get_mut(&spi) else { return };
        let in_force = inbound.sa.set_limit(limit);
        self.context.report(Event::Limited(spi, in_force));
        let accepted = |wait| matches!(wait, Wait::ToAccept(of, seq) if of == spi && seq <= in_force);
        self.let_go(accepted, |worker, batch| {
            worker.look::<true>(Origin::Held, batch);
            worker.onward::<true>(batch);
        });
    }

    /// The SA is here: what came before it is opened.
    #[cold]
    pub(super) fn open_waiting(&mut self, spi: Spi) {
        self.let_go(
            |wait| wait == Wait::ToOpen(spi),
            |worker, batch| {
                worker.look::<true>(Origin::Held, batch);
                worker.walk::<true>(batch);
            },
        );
    }

    /// The SA is here: what was to leave before it does.
    #[cold]
    pub(super) fn seal_waiting(&mut self, tunnel: TunnelId) {
        self.let_go(
            |wait| wait == Wait::ToSeal(tunnel),
            |worker, batch| {
                worker.look::<true>(Origin::Held, batch);
                batch.drain(|mut packet, meta| {
                    // The lease may have run out while they waited.
                    let sent = match worker.context.may_forward() || !meta.forwarded() {
                        true => encap(&mut worker.context, &mut packet, meta)
                            .and_then(|()| rewrite(&worker.context, &mut packet, meta)),
                        false => Err(DropReason::LeaseExpired),
                    };
                    worker.send::<true>(packet, meta, sent);
                });
            },
        );
    }

    /// Lets those go of which `ready` is true, as many as there are now, in their order.
    fn let_go(&mut self, ready: impl Fn(Wait) -> bool, go: impl Fn(&mut Self, &mut Batch<Q::Packet>)) {
        let mut left = self.waiting.iter().filter(|waits| ready(waits.wait)).count();
        while left > 0 {
            let mut released = Batch::default();
            while left > 0
                && !released.is_full()
                && let Some(place) = self.waiting.iter().position(|waits| ready(waits.wait))
            {
                left -= 1;
                let Waits { wait, slot, .. } = self.waiting.remove(place);
                match self.is_accepted(wait) {
                    true => released.push(slot),
                    // Two copies of one packet may have waited.
                    false => self.drop_waiting(&slot, DropReason::Replayed),
                }
            }
            go(self, &mut released);
        }
    }

    fn is_accepted(&mut self, wait: Wait) -> bool {
        let Wait::ToAccept(spi, seq) = wait else { return true };
        let inbound = self.context.sas.inbound.get_mut(&spi);
        inbound.is_some_and(|inbound| inbound.sa.accept(seq).is_ok())
    }

    /// An SA goes: what it was to accept does too. The engine that has it next may well open what is still closed.
    #[cold]
    pub(super) fn give_up_accepting(&mut self, spi: Spi) {
        while let Some(place) =
            self.waiting.iter().position(|waits| matches!(waits.wait, Wait::ToAccept(of, _) if of == spi))
        {
            let waits = self.waiting.remove(place);
            self.end_waiting(&waits);
        }
    }

    /// What has waited too long ends.
    pub(super) fn give_up_late(&mut self) {
        while let Some(oldest) = self.waiting.first()
            && self.context.now.since(oldest.since) >= PATIENCE
        {
            let waits = self.waiting.remove(0);
            self.end_waiting(&waits);
        }
    }

    #[cold]
    fn end_waiting(&mut self, waits: &Waits<Q::Packet>) {
        let reason = match waits.wait {
            Wait::ToOpen(_) => DropReason::UnknownSpi,
            Wait::ToAccept(..) => DropReason::Unreserved,
            Wait::ToSeal(_) => DropReason::NoSa,
        };
        self.drop_waiting(&waits.slot, reason);
    }

    fn drop_waiting(&mut self, slot: &Slot<Q::Packet>, reason: DropReason) {
        self.eyes.dropped(self.context.now, Point::Decap, &slot.meta, reason);
        self.context.count_drop(reason);
    }
}
