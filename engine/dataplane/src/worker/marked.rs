//! Packets that wait until their bucket may move ([`crate::ecmp::mark`]).

use super::{Clock, Worker};
use crate::batch::{Batch, Slot};
use crate::context::{Egress, Meta};
use crate::drop_reason::DropReason;
use crate::ecmp::mark::{End, Round};
use crate::ecmp::{MoveKind, Old};
use crate::id::{Bucket, GroupId, TunnelId};
use crate::observe::{Origin, Outcome, Point};
use crate::packet::{PacketPool, Port};
use crate::stage::steer;

/// Most bursts released in one poll: more than comes in at the same time, less than fills a TX ring.
const BURSTS: usize = 4;

impl<Q: Port, A: PacketPool<Packet = Q::Packet>, C: Clock> Worker<Q, A, C> {
    /// Keeps a packet behind those of its bucket.
    pub(super) fn wait_for_mark(&mut self, packet: Q::Packet, meta: &Meta, group: GroupId) {
        let context = &mut self.context;
        // Steering held it by this bucket a moment ago.
        let Some(bucket) = steer::bucket(&packet, meta) else {
            return context.count_drop(DropReason::NoTunnel);
        };
        self.eyes.left(context.now, meta, Outcome::Held);
        context.counters.marks.packets.add(1);
        if let Err(slot) = context.marks.push(bucket, Slot { packet, meta: *meta }, context.now) {
            // Others of its bucket wait, or there would be room: it does not become free by this.
            if let Some(round) = context.marks.round() {
                context.steering[group.index()].released(bucket, round.tunnel, context.now, None);
            }
            self.eyes.dropped(context.now, Point::Steer, &slot.meta, DropReason::HoldFull);
            context.count_drop(DropReason::HoldFull);
        }
    }

    /// Sends on what need wait no longer.
    #[cold]
    pub(super) fn release_marked(&mut self) {
        let context = &mut self.context;
        let up = |tunnel: TunnelId| context.snapshot.is_up(tunnel);
        let Some((round, end, waited)) = context.marks.due(context.now, up) else { return };
        if let Some(wait) = waited {
            context.counters.marks.waited(wait);
        }
        for _ in 0..BURSTS {
            let mut released = Batch::default();
            while !released.is_full()
                && let Some((bucket, slot)) = self.context.marks.pop(self.context.now)
            {
                match self.way_of(round, end, bucket, &slot.meta) {
                    Some(tunnel) => {
                        let meta = Meta { egress: Egress::Tunnel(tunnel), ..slot.meta };
                        released.push(Slot { packet: slot.packet, meta });
                    }
                    None => self.context.count_drop(DropReason::NoTunnel),
                }
            }
            if released.is_empty() {
                return;
            }
            self.look::<true>(Origin::Held, &mut released);
            self.way_out::<true>(&mut released);
        }
    }

    /// Where a packet that waited goes; its bucket follows with the last one.
    fn way_of(&mut self, round: Round, end: End, bucket: Bucket, meta: &Meta) -> Option<TunnelId> {
        let Egress::Moving(group) = meta.egress else { return None };
        let context = &mut self.context;
        let (snapshot, now) = (&context.snapshot, context.now);
        let group = &snapshot.groups[group.index()];
        let back = match (end, round.old) {
            (End::Back, Old::Tunnel(old)) => Some(old).filter(|old| snapshot.is_up(*old)),
            _ => None,
        };
        let tunnel = back.or_else(|| group.buckets.usable_target(bucket, |t| snapshot.is_up(t)));
        let kind = back.is_none().then_some(MoveKind::Marked);
        let there = tunnel.unwrap_or(group.buckets.target(bucket));
        if context.steering[group.id.index()].released(bucket, there, now, kind)
            && let Some(kind) = kind
        {
            context.counters.moved(kind).add(1);
        }
        tunnel
    }
}
