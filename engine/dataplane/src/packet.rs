//! What the walk needs of a packet buffer and of a port. Two implementations: DPDK's mbuf and
//! ports, and heap [`frame`](crate::frame)s for tests and simulation.

use arrayvec::ArrayVec;

/// Packets handled at once.
pub const BURST: usize = 32;

/// Up to [`BURST`] packets.
pub type Burst<P> = ArrayVec<P, BURST>;

/// What the port found out about the IPv4 header checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RxChecksum {
    /// Not checked: software must.
    #[default]
    Unknown,
    /// Checked and right.
    Good,
    /// Checked and wrong.
    Bad,
}

/// One packet, contiguous, owned: dropping it frees the buffer. Never `Clone`.
pub trait Packet: Sized {
    /// The bytes from the first header on.
    fn data(&self) -> &[u8];
    /// The same, to change.
    fn data_mut(&mut self) -> &mut [u8];
    /// Length in bytes.
    fn len(&self) -> usize {
        self.data().len()
    }
    /// True if no byte is left.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Grows by `n` bytes at the front and returns the whole packet; `None` without headroom.
    fn prepend(&mut self, n: usize) -> Option<&mut [u8]>;
    /// Grows by `n` bytes at the end and returns the whole packet; `None` without tailroom.
    fn append(&mut self, n: usize) -> Option<&mut [u8]>;
    /// Removes `n` bytes at the front; false (and unchanged) if there are fewer.
    fn adj(&mut self, n: usize) -> bool;
    /// Removes `n` bytes at the end; false (and unchanged) if there are fewer.
    fn trim(&mut self, n: usize) -> bool;
    /// Frees all of `burst`: one call of the pool instead of one a packet.
    fn free_burst(burst: &mut Burst<Self>) {
        burst.clear();
    }
    /// The port's verdict on the IPv4 header checksum.
    fn rx_checksum(&self) -> RxChecksum {
        RxChecksum::Unknown
    }
}

/// Where packets that the engine originates come from.
pub trait PacketPool {
    /// The buffer type.
    type Packet: Packet;
    /// An empty packet with full headroom; `None` when the pool is exhausted.
    fn alloc(&mut self) -> Option<Self::Packet>;
    /// The same, as large as there is: for a datagram joined from fragments.
    fn alloc_large(&mut self) -> Option<Self::Packet> {
        self.alloc()
    }
    /// Appends `count` empty packets, at most as many as `burst` has room for; all or none. False if the pool has
    /// fewer.
    fn alloc_burst(&mut self, burst: &mut Burst<Self::Packet>, count: usize) -> bool {
        let (first, count) = (burst.len(), count.min(burst.remaining_capacity()));
        burst.extend(std::iter::from_fn(|| self.alloc()).take(count));
        let made = burst.len() == first + count;
        if !made {
            burst.truncate(first);
        }
        made
    }
}

/// One worker's queue pair of one port.
pub trait Port {
    /// The buffer type.
    type Packet: Packet;
    /// Appends received packets to `burst`, up to its free room.
    fn rx_burst(&mut self, burst: &mut Burst<Self::Packet>);
    /// Sends from the front of `burst` and removes what was accepted; the rest stays, in order.
    fn tx_burst(&mut self, burst: &mut Burst<Self::Packet>);
}
