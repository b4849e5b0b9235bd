//! The last step of a packet: a TX queue, a place to wait, or its end.

use super::{Clock, Worker};
use crate::context::Meta;
use crate::drop_reason::DropReason;
use crate::id::PortId;
use crate::packet::{Burst, PacketPool, Port};
use crate::telemetry::Counters;

impl<Q: Port, A: PacketPool<Packet = Q::Packet>, C: Clock> Worker<Q, A, C> {
    /// Out, or held, or counted.
    #[inline(always)]
    pub(super) fn send<const OBSERVED: bool>(
        &mut self,
        packet: Q::Packet,
        meta: &Meta,
        sent: Result<Option<PortId>, DropReason>,
    ) {
        if OBSERVED && self.eyes.follow(meta) {
            self.look_at_end(&packet, meta, sent);
        }
        match sent {
            Ok(Some(port)) => self.enqueue(port, packet),
            Ok(None) => self.hold(packet, meta),
            Err(reason) => self.context.count_drop(reason),
        }
    }

    #[inline(always)]
    pub(super) fn enqueue(&mut self, port: PortId, packet: Q::Packet) {
        if let Err(full) = self.tx[port.index()].try_push(packet) {
            self.enqueue_after_flush(port, full.element());
        }
    }

    fn enqueue_after_flush(&mut self, port: PortId, packet: Q::Packet) {
        let tx = &mut self.tx[port.index()];
        Self::flush(&mut self.ports[port.index()], tx, &self.context.counters);
        if tx.try_push(packet).is_err() {
            self.context.count_drop(DropReason::TxFull);
        }
    }

    #[inline]
    pub(super) fn flush(port: &mut Q, tx: &mut Burst<Q::Packet>, counters: &Counters) {
        let before = tx.len();
        port.tx_burst(tx);
        counters.transmitted.add((before - tx.len()) as u64);
    }

    /// What waited in TX through a lapse of the lease.
    #[cold]
    pub(super) fn discard_unsent(&mut self) {
        for tx in &mut self.tx {
            self.context.counters.dropped(DropReason::LeaseExpired).add(tx.len() as u64);
            tx.clear();
        }
    }
}
