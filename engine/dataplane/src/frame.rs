//! Heap packets and queues that stand in for mbufs and ports in tests and in simulation.

use crate::packet::{Burst, Packet, PacketPool, Port};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

const HEADROOM: usize = 128;
const CAPACITY: usize = 2048 + HEADROOM;

/// A packet on the heap: `CAPACITY` bytes, of which `HEADROOM` are before an empty one. Ports and pools of different sizes have
/// different types of it.
pub struct HeapPacket<const HEADROOM: usize, const CAPACITY: usize> {
    buffer: Box<[u8; CAPACITY]>,
    start: usize,
    end: usize,
}

/// With an mbuf's headroom and tailroom.
pub type Frame = HeapPacket<HEADROOM, CAPACITY>;

impl Frame {
    /// A frame holding `bytes`.
    ///
    /// # Panics
    /// If `bytes` is longer than an mbuf's data room (2048).
    pub fn new(bytes: &[u8]) -> Frame {
        let mut frame = Frame::empty();
        frame.append(bytes.len()).expect("a frame holds 2048 bytes").copy_from_slice(bytes);
        frame
    }
}

impl<const HEADROOM: usize, const CAPACITY: usize> HeapPacket<HEADROOM, CAPACITY> {
    /// One without a byte, with all its room.
    pub fn empty() -> Self {
        HeapPacket { buffer: Box::new([0; CAPACITY]), start: HEADROOM, end: HEADROOM }
    }
}

impl<const HEADROOM: usize, const CAPACITY: usize> Packet for HeapPacket<HEADROOM, CAPACITY> {
    fn data(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(n)?;
        Some(self.data_mut())
    }

    fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        let end = self.end.checked_add(n).filter(|&end| end <= CAPACITY)?;
        self.end = end;
        Some(self.data_mut())
    }

    fn adj(&mut self, n: usize) -> bool {
        let fits = n <= self.len();
        self.start += if fits { n } else { 0 };
        fits
    }

    fn trim(&mut self, n: usize) -> bool {
        let fits = n <= self.len();
        self.end -= if fits { n } else { 0 };
        fits
    }
}

/// A pool of frames with a limit, like a mempool.
pub struct FramePool {
    /// Frames that may still be allocated.
    pub left: usize,
}

impl PacketPool for FramePool {
    type Packet = Frame;

    fn alloc(&mut self) -> Option<Frame> {
        self.left = self.left.checked_sub(1)?;
        Some(Frame::empty())
    }
}

/// A direction of a [`FramePort`]: frames in order.
pub type Wire = Arc<Mutex<VecDeque<Frame>>>;

/// A port whose two directions are queues that a test or the simulator holds.
#[derive(Clone, Default)]
pub struct FramePort {
    /// Frames waiting to be received.
    pub rx: Wire,
    /// Frames transmitted.
    pub tx: Wire,
}

impl Port for FramePort {
    type Packet = Frame;

    fn rx_burst(&mut self, burst: &mut Burst<Frame>) {
        let mut rx = self.rx.lock().expect("no holder panics");
        let n = burst.remaining_capacity().min(rx.len());
        burst.extend(rx.drain(..n));
    }

    fn tx_burst(&mut self, burst: &mut Burst<Frame>) {
        self.tx.lock().expect("no holder panics").extend(burst.drain(..));
    }
}
