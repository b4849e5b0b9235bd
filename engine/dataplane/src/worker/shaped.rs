//! The way out past shapers: the walk of an engine that has none does not come here.

use super::{Clock, Worker};
use crate::batch::{Batch, Slot};
use crate::context::{Egress, Meta};
use crate::drop_reason::DropReason;
use crate::observe::{Origin, Outcome};
use crate::packet::{BURST, Packet, PacketPool, Port};
use crate::shaper::{Admission, Shaper, Shapers};
use crate::stage::steer::Passage;
use crate::tunnel::ecn;
use std::sync::Arc;

impl<Q: Port, A: PacketPool<Packet = Q::Packet>, C: Clock> Worker<Q, A, C> {
    /// The same worker with shapers, by [`TunnelId`](crate::id::TunnelId): before its first poll.
    pub fn with_shapers(mut self, shapers: &[Option<Arc<Shaper>>]) -> Self {
        self.shapers = Shapers::new(shapers);
        self.shaped = self.shapers.any();
        self
    }

    /// As `way_out`, and what goes into a tunnel goes, waits or ends by its shaper. Before encapsulation: what waits has taken
    /// no sequence number yet.
    #[inline(never)]
    pub(super) fn shaped_way_out<const OBSERVED: bool>(&mut self, batch: &mut Batch<Q::Packet>) {
        batch.drain(|mut packet, meta| {
            let sent = match self.towards::<OBSERVED>(&mut packet, meta) {
                Err(reason) => Err(reason),
                Ok(Passage::Waits) => Ok(None),
                Ok(Passage::Goes) => match self.admitted(&packet, meta) {
                    Err(reason) => Err(reason),
                    Ok(None) => self.wrapped::<OBSERVED>(&mut packet, meta),
                    Ok(Some(class)) => return self.wait(Slot { packet, meta: *meta }, class),
                },
            };
            self.send::<OBSERVED>(packet, meta, sent);
        });
    }

    /// `None`: it goes; a class: it waits there.
    fn admitted(&self, packet: &Q::Packet, meta: &Meta) -> Result<Option<usize>, DropReason> {
        let Egress::Tunnel(tunnel) = meta.egress else { return Ok(None) };
        let class = ecn::class_of(packet.data(), meta.version).ok_or(DropReason::BadIpHeader)?;
        match self.shapers.admit(tunnel, class, packet.len(), self.context.now) {
            Admission::Go => Ok(None),
            Admission::Wait(class) => Ok(Some(class)),
            Admission::Drop(class) => {
                self.context.counters.tunnel(tunnel.index()).shaper[class].dropped.add(1);
                Err(DropReason::Shaped)
            }
        }
    }

    fn wait(&mut self, slot: Slot<Q::Packet>, class: usize) {
        let Egress::Tunnel(tunnel) = slot.meta.egress else {
            return self.context.count_drop(DropReason::Shaped);
        };
        self.eyes.left(self.context.now, &slot.meta, Outcome::Held);
        self.context.counters.tunnel(tunnel.index()).shaper[class].waited.add(1);
        self.shapers.push(tunnel, class, slot);
    }

    /// Sends what waited long enough.
    #[cold]
    pub(super) fn release_shaped(&mut self) {
        self.release_from_shapers(false);
    }

    /// Sends what waited long enough, or everything that waits.
    pub(super) fn release_from_shapers(&mut self, everything: bool) {
        loop {
            let mut released = Batch::default();
            let many = match everything {
                true => self.shapers.release_early(|slot| released.push(slot)),
                false => self.shapers.release(self.context.now, |slot| released.push(slot)),
            };
            if many == 0 {
                return;
            }
            let last = released.len() < BURST;
            self.look::<true>(Origin::Held, &mut released);
            released.drain(|mut packet, meta| {
                // The lease may have run out while they waited.
                let may_go = self.context.may_forward() || !meta.forwarded();
                let sent = match may_go {
                    true => self.wrapped::<true>(&mut packet, meta),
                    false => Err(DropReason::LeaseExpired),
                };
                self.send::<true>(packet, meta, sent);
            });
            if last {
                return;
            }
        }
    }
}
