//! A worker's queues of a port. Where the port has fewer queues than there are workers, rings stand in for those that
//! are missing: who polls a queue hands each flow to its worker, and who has none to send by hands its packets to one
//! that has. Where the port has enough queues no ring exists.

use super::Started;
use super::dropped::RxDropped;
use super::ring::{Receiver, Sender};
use super::spread::worker_of;
use super::taken::TakenElsewhere;
use crate::mbuf::{Mbuf, Unusable};
use crate::mempool::Mempool;
use dataplane::packet::{Burst, Packet, Port};
use dpdk_sys as sys;
use std::collections::VecDeque;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Polls between two empty transmissions of an LACP bond. A worker polls at least every 10 ms, its longest sleep, so
/// that the 100 ms of the bond are kept twice over.
const LACP_POLLS: u32 = 4;

/// What must be free behind a packet for what a tunnel appends: ESP's padding, trailer and ICV.
const TRAILER: usize = 64;

/// How a worker sends.
#[expect(clippy::large_enum_variant, reason = "one a queue pair: a box would cost every burst a cache line")]
enum Tx {
    /// By a queue of its own, and for those who have none.
    Queue { queue: u16, others: Vec<Receiver>, waiting: Burst<Mbuf> },
    /// Through a worker that has one.
    Through(Sender),
}

/// How a worker that polls a queue gives each flow to its worker.
struct Spread {
    me: usize,
    /// By worker; `None` to itself.
    to: Vec<Option<Sender>>,
    /// By worker, on its way into the ring.
    sorted: Vec<Burst<Mbuf>>,
}

/// The rings of one worker, empty where the port has queues enough.
#[derive(Default)]
pub(super) struct Rings {
    /// To each worker, if this one polls a queue that must be spread; `None` to itself.
    pub spread: Vec<Option<Sender>>,
    /// From those who poll.
    pub inbox: Vec<Receiver>,
    /// To who sends, if this one cannot.
    pub through: Option<Sender>,
    /// From those who cannot.
    pub others: Vec<Receiver>,
}

/// One worker's queues of one port. The port runs as long as one of its queue pairs exists.
pub struct QueuePair {
    started: Arc<Started>,
    /// `None` if the port has fewer receive queues than workers.
    rx: Option<u16>,
    spread: Option<Spread>,
    inbox: Vec<Receiver>,
    /// Received before the first poll, in order.
    early: VecDeque<Mbuf>,
    tx: Tx,
    /// Where frames of several segments are joined.
    jumbo: Option<Mempool>,
    /// Polls since the last transmission, on a port that needs one now and then.
    idle_polls: Option<u32>,
}

impl QueuePair {
    /// The pair of worker `worker`, with the queues of that number where they exist.
    pub(super) fn new(
        started: Arc<Started>,
        worker: u16,
        rings: Rings,
        jumbo: Option<Mempool>,
        lacp: bool,
    ) -> QueuePair {
        let tx = match rings.through {
            Some(sender) => Tx::Through(sender),
            None => Tx::Queue { queue: worker, others: rings.others, waiting: Burst::new() },
        };
        let spread = (!rings.spread.is_empty()).then(|| Spread {
            me: worker.into(),
            sorted: rings.spread.iter().map(|_| Burst::new()).collect(),
            to: rings.spread,
        });
        let rx = (worker < started.rx_queues).then_some(worker);
        let (inbox, idle_polls) = (rings.inbox, lacp.then_some(0));
        QueuePair { started, rx, spread, inbox, early: VecDeque::new(), tx, jumbo, idle_polls }
    }

    /// Whether packets can arrive here.
    pub fn receives(&self) -> bool {
        self.rx.is_some() || !self.inbox.is_empty()
    }

    /// Packets of the port that were received and dropped at once, by any of its pairs.
    pub fn rx_dropped(&self) -> RxDropped {
        self.started.dropped.read()
    }

    /// Takes what has arrived and keeps it for the first poll, so that the port's own ring has room: at most `most` packets are
    /// kept. Returns how many came.
    pub fn receive_early(&mut self, most: usize) -> usize {
        let mut burst = Burst::new();
        if self.early.len() + burst.capacity() > most {
            return 0;
        }
        self.poll_queue(&mut burst);
        let came = burst.len();
        self.early.extend(burst);
        came
    }

    /// How many packets are kept.
    pub fn received_early(&self) -> usize {
        self.early.len()
    }

    /// Forgets what was received early.
    pub fn forget_early(&mut self) {
        self.early.clear();
    }

    /// Leaves out, of what was received early, what another process has taken. Returns how many that were.
    pub fn leave_out(&mut self, taken: &mut TakenElsewhere) -> usize {
        let before = self.early.len();
        self.early.retain(|mbuf| !taken.take(mbuf));
        before - self.early.len()
    }

    /// Appends what the worker's own queue has received.
    #[inline]
    fn receive(&mut self, burst: &mut Burst<Mbuf>) {
        let first = burst.len();
        if self.started.taken.is_plain() && self.early.is_empty() {
            self.poll_queue(burst);
        } else {
            self.receive_otherwise(burst);
        }
        let new = &burst[first..];
        let defects = new.iter().fold(0, |defects, mbuf| defects | mbuf.defects());
        let short = self.jumbo.is_some() && new.iter().any(|mbuf| mbuf.tailroom() < TRAILER);
        if defects != 0 || short {
            self.repair(burst, first);
        }
    }

    /// While one process takes over from another.
    #[cold]
    fn receive_otherwise(&mut self, burst: &mut Burst<Mbuf>) {
        let first = burst.len();
        if self.started.taken.is_closed() {
            return;
        }
        if self.early.is_empty() {
            self.poll_queue(burst);
        } else {
            let room = burst.remaining_capacity().min(self.early.len());
            burst.extend(self.early.drain(..room));
        }
        if !self.started.taken.is_plain() {
            self.started.taken.keep(&burst[first..]);
        }
    }

    #[inline]
    fn poll_queue(&self, burst: &mut Burst<Mbuf>) {
        let first = burst.len();
        let room = burst.remaining_capacity() as u16;
        let Some(queue) = self.rx.filter(|_| room > 0) else { return };
        // SAFETY: the port is started and this queue is ours alone. DPDK writes at most `room`
        // pointers behind the burst's last one, and an Mbuf is such a pointer; their mbufs become ours.
        unsafe {
            let free = burst.as_mut_ptr().add(first).cast::<*mut sys::rte_mbuf>();
            let n = sys::rte_eth_rx_burst(self.started.port, queue, free, room);
            burst.set_len(first + usize::from(n));
        }
    }

    #[cold]
    fn repair(&mut self, burst: &mut Burst<Mbuf>, first: usize) {
        let dropped = &self.started.dropped;
        let mut at = first;
        while at < burst.len() {
            match burst[at].repair(self.jumbo.as_mut(), TRAILER) {
                Ok(()) => at += 1,
                Err(why) => {
                    drop(burst.remove(at));
                    let counter = match why {
                        Unusable::NotContiguous => &dropped.not_contiguous,
                        Unusable::NoRoomForTag => &dropped.no_room_for_tag,
                        Unusable::NoBuffer => &dropped.no_buffer,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Receives, keeps this worker's flows and hands on the others'.
    fn receive_and_spread(&mut self, burst: &mut Burst<Mbuf>) {
        let first = burst.len();
        self.receive(burst);
        let Some(spread) = &mut self.spread else { return };
        let workers = spread.to.len();
        let mut received: Burst<Mbuf> = burst.drain(first..).collect();
        for mbuf in received.drain(..) {
            match worker_of(mbuf.data(), workers) {
                Some(worker) if worker != spread.me => spread.sorted[worker].push(mbuf),
                _ => burst.push(mbuf),
            }
        }
        for (sorted, to) in spread.sorted.iter_mut().zip(&mut spread.to) {
            if let Some(to) = to.as_mut().filter(|_| !sorted.is_empty()) {
                to.push(sorted);
                self.started.dropped.handoff_full.fetch_add(sorted.len() as u64, Ordering::Relaxed);
                Mbuf::free_burst(sorted);
            }
        }
    }

    /// Sends what workers without a queue have handed to this one.
    fn send_for_others(&mut self) {
        let Tx::Queue { queue, others, waiting } = &mut self.tx else { return };
        for ring in others {
            ring.pop(waiting);
            if !waiting.is_empty() {
                transmit(&self.started, *queue, waiting);
            }
        }
    }

    /// LACPDUs leave a bond inside its transmission only: once in a while there must be one, packets or not
    /// (DPDK, "Link Bonding Poll Mode Driver Library", 802.3AD: at least every 100 ms).
    #[inline]
    fn keep_bond_alive(&mut self) {
        let (Some(polls), Tx::Queue { queue, .. }) = (&mut self.idle_polls, &self.tx) else { return };
        *polls += 1;
        if *polls >= LACP_POLLS {
            *polls = 0;
            // SAFETY: the port is started and this queue is ours alone; no packet is given.
            unsafe { sys::rte_eth_tx_burst(self.started.port, *queue, ptr::null_mut(), 0) };
        }
    }
}

/// Sends from the front of `burst`; what the queue does not take stays, in order.
#[inline]
fn transmit(started: &Started, queue: u16, burst: &mut Burst<Mbuf>) {
    let len = burst.len();
    // SAFETY: the port is started and this queue is the caller's alone. The first `sent` mbufs now belong
    // to the driver: they leave the burst without being dropped, and the rest moves to the front.
    unsafe {
        let first = burst.as_mut_ptr();
        let sent = sys::rte_eth_tx_burst(started.port, queue, first.cast::<*mut sys::rte_mbuf>(), len as u16);
        let sent = usize::from(sent);
        burst.set_len(0);
        ptr::copy(first.add(sent), first, len - sent);
        burst.set_len(len - sent);
    }
}

impl Port for QueuePair {
    type Packet = Mbuf;

    #[inline]
    fn rx_burst(&mut self, burst: &mut Burst<Mbuf>) {
        self.keep_bond_alive();
        self.send_for_others();
        if self.spread.is_some() {
            self.receive_and_spread(burst);
        } else {
            self.receive(burst);
        }
        for ring in &mut self.inbox {
            ring.pop(burst);
        }
    }

    #[inline]
    fn tx_burst(&mut self, burst: &mut Burst<Mbuf>) {
        if burst.is_empty() {
            return;
        }
        match &mut self.tx {
            Tx::Queue { queue, .. } => transmit(&self.started, *queue, burst),
            Tx::Through(ring) => ring.push(burst),
        }
    }
}
