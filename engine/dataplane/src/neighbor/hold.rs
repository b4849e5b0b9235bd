//! Packets that wait for a neighbour's MAC address.

use crate::id::{InterfaceId, Nanos};
use std::collections::VecDeque;
use std::net::IpAddr;

/// Most packets held by one queue.
pub const HELD_MAX: usize = 256;
/// Most packets held for one neighbour (RFC 4861 §7.2.2 asks for one at least; RFC 1122 §2.3.2.2).
pub const HELD_MAX_EACH: usize = 16;

struct Held<P> {
    interface: InterfaceId,
    ip: IpAddr,
    since: Nanos,
    packet: P,
}

/// One worker's waiting packets, oldest first. Allocates only at creation.
pub struct HoldQueue<P> {
    queue: VecDeque<Held<P>>,
    patience: Nanos,
}

impl<P> HoldQueue<P> {
    /// Empty. A packet waits no longer than `patience`.
    pub fn new(patience: Nanos) -> HoldQueue<P> {
        HoldQueue { queue: VecDeque::with_capacity(HELD_MAX), patience }
    }

    /// Packets held now.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True if none waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Holds a packet. Returns the one that makes room for it, to be counted as dropped: the
    /// neighbour's oldest if that has its full number, else the oldest of all if the queue is full.
    pub fn push(&mut self, interface: InterfaceId, ip: IpAddr, packet: P, now: Nanos) -> Option<P> {
        let same = |held: &Held<P>| held.ip == ip && held.interface == interface;
        let evicted = if self.queue.iter().filter(|held| same(held)).count() >= HELD_MAX_EACH {
            self.queue.iter().position(same).and_then(|oldest| self.queue.remove(oldest))
        } else if self.queue.len() >= HELD_MAX {
            self.queue.pop_front()
        } else {
            None
        };
        self.queue.push_back(Held { interface, ip, since: now, packet });
        evicted.map(|held| held.packet)
    }

    /// Takes out up to `limit` packets whose neighbour `resolves`, oldest first.
    pub fn release(
        &mut self,
        resolves: impl Fn(InterfaceId, IpAddr) -> bool,
        limit: usize,
        mut sink: impl FnMut(InterfaceId, IpAddr, P),
    ) {
        let mut left = limit;
        for _ in 0..self.queue.len() {
            let Some(held) = self.queue.pop_front() else { return };
            if left > 0 && resolves(held.interface, held.ip) {
                left -= 1;
                sink(held.interface, held.ip, held.packet);
            } else {
                self.queue.push_back(held);
            }
        }
    }

    /// One packet that has waited too long, to be counted as dropped; call until `None`.
    pub fn expired(&mut self, now: Nanos) -> Option<P> {
        let oldest = self.queue.front()?;
        if now.since(oldest.since) < self.patience {
            return None;
        }
        self.queue.pop_front().map(|held| held.packet)
    }
}
