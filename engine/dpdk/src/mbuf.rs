//! A packet in a DPDK buffer.

use crate::mempool::Mempool;
use dataplane::packet::{Burst, Packet, PacketPool, RxChecksum};
use dpdk_sys::{self as sys, field};
use std::ptr::NonNull;
use std::slice;

/// Length of an 802.1Q tag.
const TAG: usize = 4;
/// Both MAC addresses, which a tag follows.
const ADDRESSES: usize = 12;
/// TPIDs of a C-tag and of an S-tag (IEEE 802.1Q-2018 §9.5).
const CUSTOMER: [u8; 2] = [0x81, 0x00];
const SERVICE: [u8; 2] = [0x88, 0xa8];
/// Flags of tags that the port took out of the data.
const STRIPPED: u64 = sys::RX_VLAN_STRIPPED | sys::RX_QINQ_STRIPPED;

/// One packet, owned: dropping it returns the buffer to its pool.
///
/// Outside this crate a packet is always one segment: ports linearize what they receive.
#[repr(transparent)]
pub struct Mbuf(NonNull<sys::rte_mbuf>);

// SAFETY: one owner, and pools take buffers back on any thread.
unsafe impl Send for Mbuf {}

/// Why a received packet cannot be handed to the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// Its segments do not fit one buffer.
    NotContiguous,
    /// No room to put back the tag that the port took out.
    NoRoomForTag,
    /// No large buffer is left to join the segments in.
    NoBuffer,
}

impl Mbuf {
    /// # Safety
    /// `raw` is an initialised mbuf that nobody else refers to.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: NonNull<sys::rte_mbuf>) -> Mbuf {
        Mbuf(raw)
    }

    /// # Safety
    /// `offset` is one of [`field`]'s and `T` the type given there.
    #[inline(always)]
    unsafe fn get<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: inside the mbuf, which we own.
        unsafe { self.0.as_ptr().cast::<u8>().add(offset).cast::<T>().read() }
    }

    /// # Safety
    /// As [`Mbuf::get`], and the value is valid for the mbuf.
    #[inline(always)]
    unsafe fn set<T>(&mut self, offset: usize, value: T) {
        // SAFETY: inside the mbuf, which we own.
        unsafe { self.0.as_ptr().cast::<u8>().add(offset).cast::<T>().write(value) }
    }

    #[inline(always)]
    fn buffer(&self) -> *mut u8 {
        // SAFETY: the field's type.
        unsafe { self.get(field::BUF_ADDR) }
    }

    #[inline(always)]
    fn offset(&self) -> usize {
        // SAFETY: the field's type.
        usize::from(unsafe { self.get::<u16>(field::DATA_OFF) })
    }

    #[inline(always)]
    fn data_len(&self) -> usize {
        // SAFETY: the field's type.
        usize::from(unsafe { self.get::<u16>(field::DATA_LEN) })
    }

    #[inline(always)]
    fn flags(&self) -> u64 {
        // SAFETY: the field's type.
        unsafe { self.get(field::OL_FLAGS) }
    }

    /// Sets where the data lies. Callers keep `offset + len` within the buffer, so both fit 16 bits.
    #[inline(always)]
    fn place(&mut self, offset: usize, len: usize) {
        // SAFETY: the fields' types; the range lies within the buffer.
        unsafe {
            self.set(field::DATA_OFF, offset as u16);
            self.set(field::DATA_LEN, len as u16);
            self.set(field::PKT_LEN, len as u32);
        }
    }

    /// Bytes free before the data.
    #[inline]
    pub fn headroom(&self) -> usize {
        self.offset()
    }

    /// Bytes free after the data.
    #[inline]
    pub fn tailroom(&self) -> usize {
        // SAFETY: the field's type.
        usize::from(unsafe { self.get::<u16>(field::BUF_LEN) }) - self.offset() - self.data_len()
    }

    #[inline(always)]
    fn segments(&self) -> u16 {
        // SAFETY: the field's type.
        unsafe { self.get(field::NB_SEGS) }
    }

    /// Not zero if [`Mbuf::repair`] has something to do. No branch: a burst's values are joined by OR. Both fields
    /// lie in the first cache line, which the driver has just written.
    #[inline(always)]
    pub(crate) fn defects(&self) -> u64 {
        u64::from(self.segments() ^ 1) | self.flags() & STRIPPED
    }

    /// Joins the segments, in a buffer of `jumbo` if they and `trailer` bytes do not fit the first one's, and puts
    /// stripped tags back, so that the walk sees the frame as it was on the wire.
    pub(crate) fn repair(&mut self, jumbo: Option<&mut Mempool>, trailer: usize) -> Result<(), Unusable> {
        if self.segments() != 1 {
            // SAFETY: we own the chain; on failure it is unchanged.
            let rc = unsafe { sys::rte_pktmbuf_linearize(self.0.as_ptr()) };
            if rc != 0 && jumbo.is_none() {
                return Err(Unusable::NotContiguous);
            }
        }
        if let Some(jumbo) = jumbo
            && (self.segments() != 1 || self.tailroom() < trailer)
        {
            self.gather(jumbo)?;
        }
        if self.flags() & STRIPPED != 0 {
            self.insert_tags().ok_or(Unusable::NoRoomForTag)?;
        }
        Ok(())
    }

    /// Moves the chain's bytes into one buffer of `pool`, and frees the chain.
    fn gather(&mut self, pool: &mut Mempool) -> Result<(), Unusable> {
        let mut whole = pool.alloc().ok_or(Unusable::NoBuffer)?;
        let mut segment = Some(self.0);
        while let Some(raw) = segment {
            // SAFETY: a segment of the chain that `self` owns, only read here; never dropped through this view.
            let view = std::mem::ManuallyDrop::new(unsafe { Mbuf::from_raw(raw) });
            let at = whole.data_len();
            let room = whole.append(view.data_len()).ok_or(Unusable::NotContiguous)?;
            room[at..].copy_from_slice(view.data());
            // SAFETY: the field's type.
            segment = NonNull::new(unsafe { view.get::<*mut sys::rte_mbuf>(field::NEXT) });
        }
        // SAFETY: the fields' types; what the port said of the frame is true of its copy.
        unsafe {
            whole.set(field::OL_FLAGS, self.flags());
            whole.set(field::VLAN_TCI, self.get::<u16>(field::VLAN_TCI));
            whole.set(field::VLAN_TCI_OUTER, self.get::<u16>(field::VLAN_TCI_OUTER));
        }
        *self = whole;
        Ok(())
    }

    fn insert_tags(&mut self) -> Option<()> {
        let stripped = self.flags() & STRIPPED;
        // SAFETY: the fields' type.
        let (tci, outer) = unsafe { (self.get(field::VLAN_TCI), self.get(field::VLAN_TCI_OUTER)) };
        if stripped == STRIPPED {
            self.insert_tag(CUSTOMER, tci)?;
            self.insert_tag(SERVICE, outer)?;
        } else if stripped == sys::RX_QINQ_STRIPPED {
            // Only the outer one was taken out.
            self.insert_tag(SERVICE, outer)?;
        } else {
            // Drivers do not tell the TPID. A tag in front of a C-tag is an S-tag.
            let tagged = self.data().get(ADDRESSES..ADDRESSES + 2) == Some(&CUSTOMER);
            self.insert_tag(if tagged { SERVICE } else { CUSTOMER }, tci)?;
        }
        let told = STRIPPED | sys::RX_VLAN | sys::RX_QINQ;
        // SAFETY: the field's type; the flags no longer promise a tag outside the data.
        unsafe { self.set(field::OL_FLAGS, self.flags() & !told) };
        Some(())
    }

    /// Puts a tag behind the addresses (IEEE 802.1Q-2018 §9.4).
    fn insert_tag(&mut self, tpid: [u8; 2], tci: u16) -> Option<()> {
        if self.data_len() < ADDRESSES {
            return None;
        }
        let frame = self.prepend(TAG)?;
        frame.copy_within(TAG..TAG + ADDRESSES, 0);
        frame[ADDRESSES..ADDRESSES + 2].copy_from_slice(&tpid);
        frame[ADDRESSES + 2..ADDRESSES + TAG].copy_from_slice(&tci.to_be_bytes());
        Some(())
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: we own it, and pools are never freed.
        unsafe { sys::rte_pktmbuf_free(self.0.as_ptr()) }
    }
}

impl Packet for Mbuf {
    #[inline]
    fn free_burst(burst: &mut Burst<Mbuf>) {
        let count = burst.len();
        // SAFETY: the burst owns its mbufs and is empty before they are freed; an Mbuf is a pointer to one.
        unsafe {
            burst.set_len(0);
            sys::rte_pktmbuf_free_bulk(burst.as_mut_ptr().cast::<*mut sys::rte_mbuf>(), count as u32);
        }
    }

    #[inline]
    fn data(&self) -> &[u8] {
        // SAFETY: offset and length lie within the buffer, whose memory EAL mapped zeroed.
        unsafe { slice::from_raw_parts(self.buffer().add(self.offset()), self.data_len()) }
    }

    #[inline]
    fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `data`; one owner.
        unsafe { slice::from_raw_parts_mut(self.buffer().add(self.offset()), self.data_len()) }
    }

    #[inline]
    fn len(&self) -> usize {
        self.data_len()
    }

    #[inline]
    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        let offset = self.offset().checked_sub(n)?;
        self.place(offset, self.data_len() + n);
        Some(self.data_mut())
    }

    #[inline]
    fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.tailroom() {
            return None;
        }
        self.place(self.offset(), self.data_len() + n);
        Some(self.data_mut())
    }

    #[inline]
    fn adj(&mut self, n: usize) -> bool {
        let fits = n <= self.data_len();
        if fits {
            self.place(self.offset() + n, self.data_len() - n);
        }
        fits
    }

    #[inline]
    fn trim(&mut self, n: usize) -> bool {
        let fits = n <= self.data_len();
        if fits {
            self.place(self.offset(), self.data_len() - n);
        }
        fits
    }

    #[inline]
    fn rx_checksum(&self) -> RxChecksum {
        match self.flags() & sys::RX_IP_CKSUM_MASK {
            sys::RX_IP_CKSUM_GOOD => RxChecksum::Good,
            sys::RX_IP_CKSUM_BAD => RxChecksum::Bad,
            // Unknown, or NONE: wrong in the data, but the driver vouches for the packet. Software checks.
            _ => RxChecksum::Unknown,
        }
    }
}
