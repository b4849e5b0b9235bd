//! Large shared tables that begin as zeros: address space at first, memory only where something was written, and
//! huge pages where the kernel lends them, so that random access does not miss the TLB too.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::Deref;
use std::ptr::NonNull;
use zerocopy::FromZeros;

/// What a transparent huge page holds on x86-64, bytes; the table starts at a multiple of it.
const HUGE_PAGE: usize = 2 << 20;

/// A fixed number of `T`, all zeros at first. Not initialised page by page: a table may be far larger than what will
/// be used of it.
#[derive(Debug)]
pub struct Zeroed<T> {
    first: NonNull<T>,
    len: usize,
    memory: Memory,
}

/// Where the table lies.
#[derive(Debug)]
enum Memory {
    /// An anonymous mapping: its start and its length, bytes.
    Mapped(NonNull<libc::c_void>, usize),
    /// The allocator's.
    Allocated(Layout),
}

// SAFETY: the table owns its memory as a `Box<[T]>` does.
unsafe impl<T: Send> Send for Zeroed<T> {}
// SAFETY: as above; shared access gives out `&T` only.
unsafe impl<T: Sync> Sync for Zeroed<T> {}

impl<T: FromZeros> Zeroed<T> {
    /// `len` zeros. Where no address space can be mapped, the allocator is asked, which aborts if it has none either.
    pub fn new(len: usize) -> Zeroed<T> {
        let layout = Layout::array::<T>(len.max(1)).expect("a table is smaller than the address space");
        assert!(layout.align() <= HUGE_PAGE && size_of::<T>() > 0, "aligned as a huge page at most");
        Zeroed::mapped(layout, len).unwrap_or_else(|| Zeroed::allocated(layout, len))
    }

    fn mapped(layout: Layout, len: usize) -> Option<Zeroed<T>> {
        let length = layout.size().next_multiple_of(HUGE_PAGE) + HUGE_PAGE;
        // SAFETY: a new private anonymous mapping touches nothing that exists.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        let start = (start != libc::MAP_FAILED).then(|| NonNull::new(start)).flatten()?;
        let offset = start.as_ptr().addr().next_multiple_of(HUGE_PAGE) - start.as_ptr().addr();
        // SAFETY: `offset` < HUGE_PAGE, by which the mapping is longer than the table.
        let first = unsafe { start.cast::<u8>().add(offset) };
        // Only whole huge pages: a small table keeps its small pages.
        let whole = layout.size() / HUGE_PAGE * HUGE_PAGE;
        if whole > 0 {
            // SAFETY: the range lies in the mapping. It is advice: a refusal changes nothing but speed.
            unsafe { libc::madvise(first.as_ptr().cast(), whole, libc::MADV_HUGEPAGE) };
        }
        Some(Zeroed { first: first.cast(), len, memory: Memory::Mapped(start, length) })
    }

    fn allocated(layout: Layout, len: usize) -> Zeroed<T> {
        // SAFETY: the layout is not empty: `len` is at least 1 in it, and `T` takes space.
        let first = unsafe { alloc_zeroed(layout) };
        let Some(first) = NonNull::new(first) else { handle_alloc_error(layout) };
        Zeroed { first: first.cast(), len, memory: Memory::Allocated(layout) }
    }
}

impl<T> Deref for Zeroed<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `first` is aligned, owned, valid for `len` values until the drop, and all-zero bytes are a `T`
        // (`FromZeros`). Changes go through `T`'s own interior mutability.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T> Drop for Zeroed<T> {
    fn drop(&mut self) {
        const { assert!(!std::mem::needs_drop::<T>()) };
        match self.memory {
            // SAFETY: exactly what `mapped` mapped; nobody borrows it any more.
            Memory::Mapped(start, length) => unsafe {
                libc::munmap(start.as_ptr(), length);
            },
            // SAFETY: exactly what `allocated` was given; nobody borrows it any more.
            Memory::Allocated(layout) => unsafe { dealloc(self.first.as_ptr().cast(), layout) },
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

    #[test]
    fn all_zeros_aligned_and_writable_to_the_last() {
        let table = Zeroed::<AtomicU64>::new(3 * HUGE_PAGE / 8 + 5);
        assert_eq!(table.first.as_ptr().addr() % HUGE_PAGE, 0);
        assert!(table.iter().step_by(4093).all(|value| value.load(Relaxed) == 0));
        table[table.len() - 1].store(7, Relaxed);
        assert_eq!(table.iter().map(|value| value.load(Relaxed)).sum::<u64>(), 7);
    }

    #[test]
    fn the_allocator_stands_in_for_the_mapping() {
        let layout = Layout::array::<AtomicU32>(10).unwrap();
        let table = Zeroed::<AtomicU32>::allocated(layout, 10);
        table[9].store(7, Relaxed);
        assert_eq!(table.iter().map(|value| value.load(Relaxed)).sum::<u32>(), 7);
    }

    #[test]
    fn one_that_holds_nothing() {
        assert!(Zeroed::<AtomicU32>::new(0).is_empty());
    }
}
