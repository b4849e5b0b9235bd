//! Packets on their way together.

use crate::context::Meta;
use crate::packet::{BURST, Burst};
use arrayvec::ArrayVec;

/// A packet and what the walk knows of it.
pub struct Slot<P> {
    /// The buffer.
    pub packet: P,
    /// The knowledge.
    pub meta: Meta,
}

/// Up to [`BURST`] packets, and what the walk knows of each. In two arrays: ports fill and empty the first.
pub struct Batch<P> {
    packets: Burst<P>,
    metas: ArrayVec<Meta, BURST>,
}

impl<P> Default for Batch<P> {
    #[inline]
    fn default() -> Batch<P> {
        Batch { packets: Burst::new(), metas: ArrayVec::new() }
    }
}

impl<P> Batch<P> {
    /// Takes in what `receive` appends, of which nothing is known yet. In place: a batch is too large to be moved.
    #[inline]
    pub fn receive(&mut self, receive: impl FnOnce(&mut Burst<P>)) {
        receive(&mut self.packets);
        for _ in self.metas.len()..self.packets.len() {
            self.metas.push(Meta::NEW);
        }
    }

    /// The number of packets.
    #[inline]
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// True without packets.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// True with [`BURST`] packets.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.packets.is_full()
    }

    /// Adds a packet.
    ///
    /// # Panics
    /// If the batch is full.
    #[inline]
    pub fn push(&mut self, Slot { packet, meta }: Slot<P>) {
        self.packets.push(packet);
        self.metas.push(meta);
    }

    /// What is known of the packets, in their order.
    #[inline]
    pub fn metas(&self) -> &[Meta] {
        &self.metas
    }

    /// The same, to change.
    #[inline]
    pub fn metas_mut(&mut self) -> &mut [Meta] {
        &mut self.metas
    }

    /// The packets in their order.
    #[inline]
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&mut P, &mut Meta)> {
        self.packets.iter_mut().zip(&mut self.metas)
    }

    /// Keeps the packets that `passes` says yes to, in their order, and drops the others.
    #[inline]
    pub fn retain(&mut self, mut passes: impl FnMut(&mut P, &mut Meta) -> bool) {
        let (packets, metas) = (self.packets.as_mut_slice(), self.metas.as_mut_slice());
        let mut kept = 0;
        for i in 0..packets.len().min(metas.len()) {
            if passes(&mut packets[i], &mut metas[i]) {
                if kept != i {
                    packets.swap(kept, i);
                    metas[kept] = metas[i];
                }
                kept += 1;
            }
        }
        self.packets.truncate(kept);
        self.metas.truncate(kept);
    }

    /// Takes out all packets, in their order.
    #[inline]
    pub fn drain(&mut self, mut each: impl FnMut(P, &mut Meta)) {
        for (packet, meta) in self.packets.drain(..).zip(&mut self.metas) {
            each(packet, meta);
        }
        self.metas.clear();
    }

    /// Takes out one packet; those behind move up.
    pub fn remove(&mut self, i: usize) -> Slot<P> {
        Slot { packet: self.packets.remove(i), meta: self.metas.remove(i) }
    }

    /// A packet and what is known of it.
    pub fn get(&self, i: usize) -> (&P, &Meta) {
        (&self.packets[i], &self.metas[i])
    }
}
