//! Rings of packets between two workers: one fills, one empties, and neither waits.

use crate::eal::Eal;
use crate::errno::Errno;
use crate::mbuf::Mbuf;
use dataplane::packet::Burst;
use dpdk_sys as sys;
use std::ffi::{CString, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Places of a ring; one stays empty. As many packets as a worker handles in about a tenth of a millisecond.
const PLACES: u32 = 1024;

struct Ring {
    ring: NonNull<sys::rte_ring>,
    /// Its memory is EAL's.
    _eal: Eal,
}

// SAFETY: made for one producer and one consumer; each end exists once and takes `&mut self`.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The end that fills.
pub(super) struct Sender(Arc<Ring>);

/// The end that empties.
pub(super) struct Receiver(Arc<Ring>);

/// A new ring.
pub(super) fn ring(eal: &Eal) -> Result<(Sender, Receiver), Errno> {
    let name = CString::new(format!("handoff{}", COUNT.fetch_add(1, Ordering::Relaxed)))
        .expect("digits hold no NUL");
    let flags = sys::RING_F_SP_ENQ | sys::RING_F_SC_DEQ;
    // SAFETY: EAL runs; the name is a terminated string that DPDK copies.
    let ring = unsafe { sys::rte_ring_create(name.as_ptr(), PLACES, sys::SOCKET_ID_ANY, flags) };
    let ring = NonNull::new(ring).ok_or_else(Errno::last)?;
    let ring = Arc::new(Ring { ring, _eal: eal.clone() });
    Ok((Sender(ring.clone()), Receiver(ring)))
}

impl Sender {
    /// Moves packets from the front of `burst` into the ring; what does not fit stays, in order.
    #[inline]
    pub fn push(&mut self, burst: &mut Burst<Mbuf>) {
        let len = burst.len();
        // SAFETY: this is the only producer; an Mbuf is a pointer to an mbuf. The first `sent` belong to the ring now:
        // they leave the burst without being dropped, and the rest moves to the front.
        unsafe {
            let first = burst.as_mut_ptr();
            let sent = sys::rte_ring_sp_enqueue_burst(
                self.0.ring.as_ptr(),
                first.cast::<*mut c_void>(),
                len as u32,
                ptr::null_mut(),
            );
            let sent = sent as usize;
            burst.set_len(0);
            ptr::copy(first.add(sent), first, len - sent);
            burst.set_len(len - sent);
        }
    }
}

impl Receiver {
    /// Appends packets to `burst`, as many as there are and as it has room for.
    #[inline]
    pub fn pop(&mut self, burst: &mut Burst<Mbuf>) {
        let (first, room) = (burst.len(), burst.remaining_capacity());
        // SAFETY: this is the only consumer; DPDK writes at most `room` pointers behind the burst's last one, and what
        // lies in the ring are mbufs that `push` gave up.
        unsafe {
            let free = burst.as_mut_ptr().add(first).cast::<*mut c_void>();
            let got =
                sys::rte_ring_sc_dequeue_burst(self.0.ring.as_ptr(), free, room as u32, ptr::null_mut());
            burst.set_len(first + got as usize);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        loop {
            let mut packet: *mut c_void = ptr::null_mut();
            // SAFETY: both ends are gone; what lies in the ring are mbufs that `push` gave up.
            let got = unsafe {
                sys::rte_ring_sc_dequeue_burst(self.ring.as_ptr(), &mut packet, 1, ptr::null_mut())
            };
            let Some(packet) = NonNull::new(packet.cast()).filter(|_| got == 1) else { break };
            // SAFETY: as above.
            drop(unsafe { Mbuf::from_raw(packet) });
        }
        // SAFETY: both ends are gone, and it is empty.
        unsafe { sys::rte_ring_free(self.ring.as_ptr()) };
    }
}
