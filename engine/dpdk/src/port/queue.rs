//! A worker's queues of a port.

use super::Started;
use crate::mbuf::{Mbuf, Unusable};
use crate::mempool::Mempool;
use dataplane::packet::{Burst, Port};
use dpdk_sys as sys;
use std::ptr;
use std::sync::Arc;

/// Received packets that were dropped before the walk saw them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxDropped {
    /// Segments that did not fit one buffer.
    pub not_contiguous: u64,
    /// No headroom for the 802.1Q tag that the port had taken out.
    pub no_room_for_tag: u64,
    /// No large buffer was left for a frame of several segments.
    pub no_buffer: u64,
}

impl RxDropped {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.not_contiguous + self.no_room_for_tag + self.no_buffer
    }
}

/// Polls between two empty transmissions of an LACP bond. A worker polls at least every 10 ms, its longest sleep, so
/// that the 100 ms of the bond are kept twice over.
const LACP_POLLS: u32 = 4;

/// One worker's queues of one port. The port runs as long as one of its queue pairs exists.
pub struct QueuePair {
    started: Arc<Started>,
    /// `None` if the port has fewer receive queues than workers.
    rx: Option<u16>,
    tx: u16,
    /// Where frames of several segments are joined.
    jumbo: Option<Mempool>,
    /// Polls since the last transmission, on a port that needs one now and then.
    idle_polls: Option<u32>,
    dropped: RxDropped,
}

impl QueuePair {
    pub(super) fn new(
        started: Arc<Started>,
        rx: Option<u16>,
        tx: u16,
        jumbo: Option<Mempool>,
        lacp: bool,
    ) -> QueuePair {
        let idle_polls = lacp.then_some(0);
        QueuePair { started, rx, tx, jumbo, idle_polls, dropped: RxDropped::default() }
    }

    /// Whether packets can arrive here.
    pub fn receives(&self) -> bool {
        self.rx.is_some()
    }

    /// Packets received here and dropped at once.
    pub fn rx_dropped(&self) -> RxDropped {
        self.dropped
    }

    #[cold]
    fn repair(&mut self, burst: &mut Burst<Mbuf>, first: usize) {
        let mut at = first;
        while at < burst.len() {
            match burst[at].repair(self.jumbo.as_mut()) {
                Ok(()) => at += 1,
                Err(why) => {
                    drop(burst.remove(at));
                    match why {
                        Unusable::NotContiguous => self.dropped.not_contiguous += 1,
                        Unusable::NoRoomForTag => self.dropped.no_room_for_tag += 1,
                        Unusable::NoBuffer => self.dropped.no_buffer += 1,
                    }
                }
            }
        }
    }

    /// LACPDUs leave a bond inside its transmission only: once in a while there must be one, packets or not
    /// (DPDK, "Link Bonding Poll Mode Driver Library", 802.3AD: at least every 100 ms).
    #[inline]
    fn keep_bond_alive(&mut self) {
        let Some(polls) = &mut self.idle_polls else { return };
        *polls += 1;
        if *polls >= LACP_POLLS {
            *polls = 0;
            // SAFETY: the port is started and this queue is ours alone; no packet is given.
            unsafe { sys::rte_eth_tx_burst(self.started.port, self.tx, ptr::null_mut(), 0) };
        }
    }
}

impl Port for QueuePair {
    type Packet = Mbuf;

    #[inline]
    fn rx_burst(&mut self, burst: &mut Burst<Mbuf>) {
        self.keep_bond_alive();
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
        if burst[first..].iter().fold(0, |defects, mbuf| defects | mbuf.defects()) != 0 {
            self.repair(burst, first);
        }
    }

    #[inline]
    fn tx_burst(&mut self, burst: &mut Burst<Mbuf>) {
        let len = burst.len();
        if len == 0 {
            return;
        }
        // SAFETY: the port is started and this queue is ours alone. The first `sent` mbufs now belong
        // to the driver: they leave the burst without being dropped, and the rest moves to the front.
        unsafe {
            let first = burst.as_mut_ptr();
            let sent = sys::rte_eth_tx_burst(
                self.started.port,
                self.tx,
                first.cast::<*mut sys::rte_mbuf>(),
                len as u16,
            );
            let sent = usize::from(sent);
            burst.set_len(0);
            ptr::copy(first.add(sent), first, len - sent);
            burst.set_len(len - sent);
        }
    }
}
