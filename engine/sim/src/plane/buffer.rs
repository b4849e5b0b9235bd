//! Buffers that go back to their pool and queues with an end: what mbufs and ports are to a worker.

use dataplane::packet::{Burst, Packet, PacketPool, Port};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

const HEADROOM: usize = 128;
const SIZE: usize = HEADROOM + 512;

/// Frames that wait in an RX queue; what comes then is lost, as in a NIC.
const RX_RING: usize = 256;

struct Stock {
    spare: Vec<Box<[u8]>>,
    free: usize,
    exhausted: bool,
}

/// The buffers of an engine. They are made when first asked for.
#[derive(Clone)]
pub struct Pool(Rc<RefCell<Stock>>);

impl Pool {
    /// So many.
    pub fn new(buffers: usize) -> Pool {
        Pool(Rc::new(RefCell::new(Stock { spare: Vec::new(), free: buffers, exhausted: false })))
    }

    /// How many nobody uses.
    pub fn free(&self) -> usize {
        self.0.borrow().free
    }

    /// Gives out none, or as many as there are.
    pub fn exhaust(&self, exhausted: bool) {
        self.0.borrow_mut().exhausted = exhausted;
    }

    /// A packet that holds `bytes`; `None` if there is no buffer or it is too small.
    pub fn fill(&self, bytes: &[u8]) -> Option<Buffer> {
        let mut packet = self.clone().alloc()?;
        packet.append(bytes.len())?.copy_from_slice(bytes);
        Some(packet)
    }
}

impl PacketPool for Pool {
    type Packet = Buffer;

    fn alloc(&mut self) -> Option<Buffer> {
        let mut stock = self.0.borrow_mut();
        if stock.exhausted {
            return None;
        }
        stock.free = stock.free.checked_sub(1)?;
        let bytes = stock.spare.pop().unwrap_or_else(|| vec![0; SIZE].into());
        Some(Buffer { bytes: Some(bytes), start: HEADROOM, end: HEADROOM, pool: self.clone() })
    }
}

/// A packet of a [`Pool`].
pub struct Buffer {
    /// `None` only while it is dropped.
    bytes: Option<Box<[u8]>>,
    start: usize,
    end: usize,
    pool: Pool,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut stock = self.pool.0.borrow_mut();
        stock.spare.extend(self.bytes.take());
        stock.free += 1;
    }
}

impl Packet for Buffer {
    fn data(&self) -> &[u8] {
        &self.bytes.as_ref().expect("it lives")[self.start..self.end]
    }

    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.bytes.as_mut().expect("it lives")[self.start..self.end]
    }

    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(n)?;
        Some(self.data_mut())
    }

    fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        self.end = self.end.checked_add(n).filter(|&end| end <= SIZE)?;
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

/// What a port does that none should; for tests of the checkers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A buffer of a transmitted packet never returns.
    Leaks,
    /// It takes more packets from a worker than it says to have taken.
    Loses,
}

/// One worker's queues of one port.
#[derive(Default)]
pub struct Queues {
    rx: VecDeque<Buffer>,
    tx: VecDeque<Buffer>,
    /// Frames given to the worker.
    pub given: u64,
    /// Frames taken from it.
    pub taken: u64,
    /// Frames that came while the ring was full or the pool empty.
    pub missed: u64,
    /// TX takes nothing.
    pub full: bool,
    /// What is wrong with it.
    pub flaw: Option<Flaw>,
}

impl Queues {
    /// A frame arrives from the wire.
    pub fn arrive(&mut self, pool: &Pool, bytes: &[u8]) {
        let buffer = if self.rx.len() < RX_RING { pool.fill(bytes) } else { None };
        match buffer {
            Some(buffer) => self.rx.push_back(buffer),
            None => self.missed += 1,
        }
    }

    /// The next frame that the wire carries off.
    pub fn depart(&mut self) -> Option<Vec<u8>> {
        let buffer = self.tx.pop_front()?;
        let bytes = buffer.data().to_vec();
        if self.flaw == Some(Flaw::Leaks) && self.taken.is_multiple_of(64) {
            std::mem::forget(buffer);
        }
        Some(bytes)
    }

    /// Buffers in here.
    pub fn waiting(&self) -> usize {
        self.rx.len() + self.tx.len()
    }
}

/// A worker's end of [`Queues`].
#[derive(Clone, Default)]
pub struct SimPort(pub Rc<RefCell<Queues>>);

impl Port for SimPort {
    type Packet = Buffer;

    fn rx_burst(&mut self, burst: &mut Burst<Buffer>) {
        let mut queues = self.0.borrow_mut();
        let n = burst.remaining_capacity().min(queues.rx.len());
        queues.given += n as u64;
        burst.extend(queues.rx.drain(..n));
    }

    fn tx_burst(&mut self, burst: &mut Burst<Buffer>) {
        let mut queues = self.0.borrow_mut();
        if queues.full {
            return;
        }
        if queues.flaw == Some(Flaw::Loses) {
            burst.pop();
        }
        queues.taken += burst.len() as u64;
        queues.tx.extend(burst.drain(..));
    }
}
