//! A port whose queues are in memory: it moves pointers and does nothing else.

use dataplane::packet::{Burst, Packet, Port};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Both directions of a port.
pub struct Queues<P> {
    /// Packets to be received.
    pub rx: VecDeque<P>,
    /// Packets transmitted.
    pub tx: Vec<P>,
}

/// The worker's end; the rig keeps the other.
pub struct MemoryPort<P>(pub Rc<RefCell<Queues<P>>>);

impl<P> Default for MemoryPort<P> {
    fn default() -> MemoryPort<P> {
        MemoryPort(Rc::new(RefCell::new(Queues { rx: VecDeque::new(), tx: Vec::new() })))
    }
}

impl<P> Clone for MemoryPort<P> {
    fn clone(&self) -> MemoryPort<P> {
        MemoryPort(Rc::clone(&self.0))
    }
}

impl<P: Packet> Port for MemoryPort<P> {
    type Packet = P;

    #[inline]
    fn rx_burst(&mut self, burst: &mut Burst<P>) {
        let mut queues = self.0.borrow_mut();
        let many = queues.rx.len().min(burst.remaining_capacity());
        burst.extend(queues.rx.drain(..many));
    }

    #[inline]
    fn tx_burst(&mut self, burst: &mut Burst<P>) {
        self.0.borrow_mut().tx.extend(burst.drain(..));
    }
}
