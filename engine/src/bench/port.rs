//! A port whose queues are in memory: it moves pointers and does nothing else.

use dataplane::packet::{Burst, Port};
use dpdk::Mbuf;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Both directions of a port.
#[derive(Default)]
pub struct Queues {
    /// Packets to be received.
    pub rx: VecDeque<Mbuf>,
    /// Packets transmitted.
    pub tx: Vec<Mbuf>,
}

/// The worker's end; the rig keeps the other.
#[derive(Clone, Default)]
pub struct MemoryPort(pub Rc<RefCell<Queues>>);

impl Port for MemoryPort {
    type Packet = Mbuf;

    #[inline]
    fn rx_burst(&mut self, burst: &mut Burst<Mbuf>) {
        let mut queues = self.0.borrow_mut();
        let many = queues.rx.len().min(burst.remaining_capacity());
        burst.extend(queues.rx.drain(..many));
    }

    #[inline]
    fn tx_burst(&mut self, burst: &mut Burst<Mbuf>) {
        self.0.borrow_mut().tx.extend(burst.drain(..));
    }
}
