//! A worker's queues of a port.

use super::Started;
use crate::mbuf::{Mbuf, Unusable};
use dataplane::packet::{Burst, Port};
use dpdk_sys as sys;
use std::sync::Arc;

/// Received packets that were dropped before the walk saw them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxDropped {
    /// Segments that did not fit one buffer.
    pub not_contiguous: u64,
    /// No headroom for the 802.1Q tag that the port had taken out.
    pub no_room_for_tag: u64,
}

impl RxDropped {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.not_contiguous + self.no_room_for_tag
    }
}

/// One worker's queues of one port. The port runs as long as one of its queue pairs exists.
pub struct QueuePair {
    pub(super) started: Arc<Started>,
    /// `None` if the port has fewer receive queues than workers.
    pub(super) rx: Option<u16>,
    pub(super) tx: u16,
    pub(super) dropped: RxDropped,
}

impl QueuePair {
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
            match burst[at].repair() {
                Ok(()) => at += 1,
                Err(why) => {
                    drop(burst.remove(at));
                    match why {
                        Unusable::NotContiguous => self.dropped.not_contiguous += 1,
                        Unusable::NoRoomForTag => self.dropped.no_room_for_tag += 1,
                    }
                }
            }
        }
    }
}

impl Port for QueuePair {
    type Packet = Mbuf;

    #[inline]
    fn rx_burst(&mut self, burst: &mut Burst<Mbuf>) {
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
        if burst[first..].iter().any(Mbuf::needs_repair) {
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
            std::ptr::copy(first.add(sent), first, len - sent);
            burst.set_len(len - sent);
        }
    }
}
