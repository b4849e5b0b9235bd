//! A packet in a DPDK buffer.

use dataplane::packet::{Packet, RxChecksum};
use dpdk_sys::{self as sys, field};
use std::ptr::NonNull;
use std::slice;

/// Length of an 802.1Q tag.
const TAG: usize = 4;
/// Both MAC addresses, which a tag follows.
const ADDRESSES: usize = 12;
const ETHERTYPE_VLAN: [u8; 2] = [0x81, 0x00];

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
    fn is_contiguous(&self) -> bool {
        // SAFETY: the field's type.
        unsafe { self.get::<u16>(field::NB_SEGS) == 1 }
    }

    /// Whether [`Mbuf::repair`] has something to do.
    #[inline(always)]
    pub(crate) fn needs_repair(&self) -> bool {
        !self.is_contiguous() || self.flags() & sys::RX_VLAN_STRIPPED != 0
    }

    /// Joins the segments and puts a stripped 802.1Q tag back, so that the walk sees the frame as it
    /// was on the wire.
    pub(crate) fn repair(&mut self) -> Result<(), Unusable> {
        if !self.is_contiguous() {
            // SAFETY: we own the chain; on failure it is unchanged.
            let rc = unsafe { sys::rte_pktmbuf_linearize(self.0.as_ptr()) };
            if rc != 0 {
                return Err(Unusable::NotContiguous);
            }
        }
        if self.flags() & sys::RX_VLAN_STRIPPED != 0 {
            // SAFETY: the field's type.
            let tci = unsafe { self.get::<u16>(field::VLAN_TCI) };
            self.insert_tag(tci).ok_or(Unusable::NoRoomForTag)?;
        }
        Ok(())
    }

    fn insert_tag(&mut self, tci: u16) -> Option<()> {
        if self.data_len() < ADDRESSES {
            return None;
        }
        let frame = self.prepend(TAG)?;
        frame.copy_within(TAG..TAG + ADDRESSES, 0);
        // IEEE 802.1Q-2018 §9.4: the TPID, then the TCI, in network byte order.
        frame[ADDRESSES..ADDRESSES + 2].copy_from_slice(&ETHERTYPE_VLAN);
        frame[ADDRESSES + 2..ADDRESSES + TAG].copy_from_slice(&tci.to_be_bytes());
        let flags = self.flags() & !(sys::RX_VLAN | sys::RX_VLAN_STRIPPED);
        // SAFETY: the field's type; the flags no longer promise a tag outside the data.
        unsafe { self.set(field::OL_FLAGS, flags) };
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
