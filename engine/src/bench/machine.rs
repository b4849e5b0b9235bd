//! What a rig runs on: DPDK's mbufs and the time stamp counter, or the heap and a clock that only counts.

use dataplane::frame::Frame;
use dataplane::id::Nanos;
use dataplane::packet::PacketPool;
use dataplane::worker::Clock;
use std::cell::Cell;
use std::rc::Rc;

/// A clock that can also time a poll.
pub trait Stopwatch: Clock + Clone {
    /// TSC cycles.
    fn cycles(&self) -> u64;
}

impl Stopwatch for dpdk::Clock {
    #[inline]
    fn cycles(&self) -> u64 {
        dpdk::Clock::cycles(self)
    }
}

/// A clock for instruction counts, which must repeat: a microsecond passes each time somebody looks.
#[derive(Clone, Default)]
pub struct Counted(Rc<Cell<u64>>);

impl Clock for Counted {
    fn now(&self) -> Nanos {
        self.0.set(self.0.get() + 1000);
        Nanos(self.0.get())
    }
}

impl Stopwatch for Counted {
    fn cycles(&self) -> u64 {
        0
    }
}

/// Packets from the heap, without limit.
#[derive(Clone)]
pub struct Heap;

impl PacketPool for Heap {
    type Packet = Frame;

    fn alloc(&mut self) -> Option<Frame> {
        Some(Frame::new(&[]))
    }
}
