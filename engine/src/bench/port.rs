//! A port whose queues are in memory: it moves whole bursts of pointers and does nothing else, so that what is measured
//! is the walk.

use dataplane::packet::{Burst, Packet, Port};
use std::cell::RefCell;
use std::mem;
use std::rc::Rc;

/// Both directions of a port.
struct Queues<P> {
    /// Bursts to be received, the last one first.
    rx: Vec<Burst<P>>,
    /// Bursts transmitted, in order.
    tx: Vec<Burst<P>>,
}

/// The worker's end and the rig's.
pub struct MemoryPort<P>(Rc<RefCell<Queues<P>>>);

/// Bursts that are transmitted before anybody looks: there is room from the beginning.
const BURSTS: usize = 64;

impl<P> Default for MemoryPort<P> {
    fn default() -> MemoryPort<P> {
        MemoryPort(Rc::new(RefCell::new(Queues { rx: Vec::new(), tx: Vec::with_capacity(BURSTS) })))
    }
}

impl<P> Clone for MemoryPort<P> {
    fn clone(&self) -> MemoryPort<P> {
        MemoryPort(Rc::clone(&self.0))
    }
}

impl<P> MemoryPort<P> {
    /// What the worker is to receive, after what is still waiting.
    pub fn offer(&self, packets: impl IntoIterator<Item = P>) {
        let mut bursts: Vec<Burst<P>> = Vec::new();
        for packet in packets {
            if bursts.last().is_none_or(Burst::is_full) {
                bursts.push(Burst::new());
            }
            bursts.last_mut().expect("there is one with room").push(packet);
        }
        bursts.reverse();
        let mut queues = self.0.borrow_mut();
        // What waited is received first: it is last in the queue.
        bursts.append(&mut queues.rx);
        queues.rx = bursts;
    }

    /// What the worker transmitted.
    pub fn taken(&self) -> Vec<P> {
        self.0.borrow_mut().tx.drain(..).flatten().collect()
    }
}

impl<P: Packet> Port for MemoryPort<P> {
    type Packet = P;

    #[inline]
    fn rx_burst(&mut self, burst: &mut Burst<P>) {
        let mut queues = self.0.borrow_mut();
        if let Some(next) = queues.rx.pop() {
            debug_assert!(burst.is_empty(), "the walk receives into an empty burst");
            *burst = next;
        }
    }

    #[inline]
    fn tx_burst(&mut self, burst: &mut Burst<P>) {
        self.0.borrow_mut().tx.push(mem::take(burst));
    }
}
