//! Packets that wait for their tunnel's tokens, on one worker.

use super::{Class, MAX_CLASSES, Shaper};
use crate::batch::Slot;
use crate::id::{Nanos, TunnelId};
use crate::packet::{BURST, Packet};
use crate::wire::TrafficClass;
use arrayvec::ArrayVec;
use std::collections::VecDeque;
use std::sync::Arc;

/// What becomes of a packet that comes to a shaper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It goes now.
    Go,
    /// It waits, in this class.
    Wait(usize),
    /// Its class's queue is full.
    Drop(usize),
}

/// The queues of one tunnel, by class.
struct Queues<P>(ArrayVec<Queue<P>, MAX_CLASSES>);

struct Queue<P> {
    slots: VecDeque<Slot<P>>,
    /// Packets that it holds; the room is there.
    most: usize,
}

impl<P: Packet> Queues<P> {
    /// Empty ones, with all the room they will ever have.
    fn new(shaper: &Shaper) -> Queues<P> {
        let queue = |class: &Class| Queue { slots: VecDeque::with_capacity(class.queue), most: class.queue };
        Queues(shaper.classes.iter().map(queue).collect())
    }

    /// Asks for a packet of `bytes` of `class`.
    fn admit(&self, shaper: &Shaper, class: usize, bytes: usize, now: Nanos) -> Admission {
        let before = self.0.iter().take(class + 1).any(|queue| !queue.slots.is_empty());
        if !before && draw(shaper, class, bytes, now) {
            return Admission::Go;
        }
        let room = |queue: &Queue<P>| queue.slots.len() < queue.most;
        if self.0.get(class).is_some_and(room) { Admission::Wait(class) } else { Admission::Drop(class) }
    }

    /// Lets a packet wait that was told to.
    fn push(&mut self, class: usize, slot: Slot<P>) {
        if let Some(queue) = self.0.get_mut(class) {
            queue.slots.push_back(slot);
        }
    }

    /// The next packet that may go.
    fn pop(&mut self, shaper: &Shaper, now: Nanos) -> Option<Slot<P>> {
        for (class, queue) in self.0.iter_mut().enumerate() {
            let Some(front) = queue.slots.front() else { continue };
            if draw(shaper, class, front.packet.len(), now) {
                return queue.slots.pop_front();
            }
        }
        None
    }
}

/// Draws from the class's bucket, if it has one, and the tunnel's: from both or none.
fn draw(shaper: &Shaper, class: usize, bytes: usize, now: Nanos) -> bool {
    let own = shaper.classes.get(class).and_then(|class| class.bucket.as_ref());
    if own.is_some_and(|own| !own.draw(bytes, now)) {
        return false;
    }
    let drawn = shaper.bucket.draw(bytes, now);
    if !drawn && let Some(own) = own {
        own.give_back(bytes);
    }
    drawn
}

/// A shaper, which all workers draw from, and what waits for it on one.
type Shaped<P> = (Arc<Shaper>, Queues<P>);

/// The shaped tunnels of a worker, with its queues.
pub struct Shapers<P> {
    tunnels: Box<[Option<Shaped<P>>]>,
    waiting: usize,
}

impl<P: Packet> Shapers<P> {
    /// By tunnel: those that have a shaper. All room that will be needed is taken here.
    pub fn new(shapers: &[Option<Arc<Shaper>>]) -> Shapers<P> {
        let shaped = |shaper: &Arc<Shaper>| (shaper.clone(), Queues::new(shaper));
        let tunnels = shapers.iter().map(|shaper| shaper.as_ref().map(shaped)).collect();
        Shapers { tunnels, waiting: 0 }
    }

    /// Whether any tunnel has one.
    pub fn any(&self) -> bool {
        self.tunnels.iter().any(Option::is_some)
    }

    /// Packets that wait.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// What becomes of a packet of `bytes` and `class` for `tunnel`.
    pub fn admit(&self, tunnel: TunnelId, class: TrafficClass, bytes: usize, now: Nanos) -> Admission {
        match self.tunnels.get(tunnel.index()).and_then(Option::as_ref) {
            Some((shaper, queues)) => queues.admit(shaper, shaper.class(class), bytes, now),
            None => Admission::Go,
        }
    }

    /// Lets a packet wait that was told to.
    pub fn push(&mut self, tunnel: TunnelId, class: usize, slot: Slot<P>) {
        if let Some(Some((_, queues))) = self.tunnels.get_mut(tunnel.index()) {
            queues.push(class, slot);
            self.waiting += 1;
        }
    }

    /// Takes out what may go now, tunnel by tunnel, a burst at the most; returns how many that were.
    pub fn release(&mut self, now: Nanos, mut each: impl FnMut(Slot<P>)) -> usize {
        let mut released = 0;
        for (shaper, queues) in self.tunnels.iter_mut().flatten() {
            while released < BURST
                && let Some(slot) = queues.pop(shaper, now)
            {
                each(slot);
                released += 1;
            }
        }
        self.waiting -= released;
        released
    }

    /// Takes out a burst of what waits, whether it may go or not; returns how many that were.
    pub fn release_early(&mut self, mut each: impl FnMut(Slot<P>)) -> usize {
        let waiting = self.tunnels.iter_mut().flatten().flat_map(|(_, queues)| &mut queues.0);
        let mut released = 0;
        for queue in waiting {
            let many = queue.slots.len().min(BURST - released);
            queue.slots.drain(..many).for_each(&mut each);
            released += many;
        }
        self.waiting -= released;
        released
    }
}
