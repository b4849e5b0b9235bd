//! Packets that wait for a neighbour's MAC address; those that wait for something else are told apart here.

use super::{Clock, Worker};
use crate::batch::{Batch, Slot};
use crate::context::{Egress, Meta, Wait};
use crate::drop_reason::DropReason;
use crate::message::Event;
use crate::observe::{Origin, Outcome, Point};
use crate::packet::{BURST, PacketPool, Port};
use crate::stage::icmp_error::{self, Problem};
use crate::stage::rewrite::{neighbor as neighbor_of, rewrite};
use crate::stage::{decap, parse};

impl<Q: Port, A: PacketPool<Packet = Q::Packet>, C: Clock> Worker<Q, A, C> {
    /// Keeps a packet until its neighbour is known, or its bucket has moved.
    #[cold]
    pub(super) fn hold(&mut self, packet: Q::Packet, meta: &Meta) {
        match meta.egress {
            Egress::Moving(group) => return self.wait_for_mark(packet, meta, group),
            Egress::Tunnel(tunnel) => {
                return self.wait_for_sa(Wait::ToSeal(tunnel), Slot { packet, meta: *meta });
            }
            _ => {}
        }
        let Some((interface, ip)) = neighbor_of(&self.context, meta) else {
            self.eyes.dropped(self.context.now, Point::Transmit, meta, DropReason::NoRoute);
            return self.context.count_drop(DropReason::NoRoute);
        };
        self.eyes.left(self.context.now, meta, Outcome::Held);
        self.context.report_neighbor(Event::NeighborWanted { interface, ip });
        // By name: the next snapshot numbers its adjacencies anew.
        let meta = Meta { egress: Egress::Neighbor { interface, ip }, ..*meta };
        if let Some(oldest) = self.held.push(interface, ip, Slot { packet, meta }, self.context.now) {
            self.give_up(oldest);
        }
    }

    /// Ends a packet whose neighbour does not answer, and tells its sender.
    #[cold]
    pub(super) fn unresolved(&mut self, mut slot: Slot<Q::Packet>) {
        let Slot { packet, meta } = &mut slot;
        // Encapsulation has left another header in front.
        if !meta.own
            && parse::ip_header(packet, meta).is_ok()
            && let Ok((src, ..)) = decap::outer(packet, meta.version)
            && !self.context.snapshot.is_local(src)
        {
            icmp_error::send(&mut self.context, packet, meta, Problem::Unresolved);
        }
        self.give_up(slot);
    }

    /// Sends what waited for a neighbour that the new snapshot knows.
    pub(super) fn release_held(&mut self) {
        loop {
            let mut released = Batch::default();
            let adjacencies = &self.context.snapshot.adjacencies;
            let resolves = |interface, ip| adjacencies.resolves(interface, ip);
            self.held.release(resolves, BURST, |_, _, slot| released.push(slot));
            if released.is_empty() {
                return;
            }
            self.look::<true>(Origin::Held, &mut released);
            released.drain(|mut packet, meta| {
                // The lease may have run out while they waited.
                let may_go = self.context.may_forward() || !meta.forwarded();
                let sent = match may_go {
                    true => rewrite(&self.context, &mut packet, meta),
                    false => Err(DropReason::LeaseExpired),
                };
                self.send::<true>(packet, meta, sent);
            });
        }
    }
}
