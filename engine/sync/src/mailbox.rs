//! A one-slot mailbox: the newest value wins, and every value is freed by the side that posts.
//!
//! It publishes snapshots (control posts, a worker takes) and swaps telemetry. The reader's check
//! of an empty box is one relaxed load, so it may be made every burst.

#[cfg(loom)]
use loom::sync::{
    Arc,
    atomic::{AtomicPtr, Ordering},
};
#[cfg(not(loom))]
use std::sync::{
    Arc,
    atomic::{AtomicPtr, Ordering},
};
use std::{marker::PhantomData, ptr};

struct Slot<T>(AtomicPtr<T>, PhantomData<Box<T>>);

impl<T> Slot<T> {
    fn swap(&self, value: Option<Box<T>>) -> Option<Box<T>> {
        let new = value.map_or(ptr::null_mut(), Box::into_raw);
        let old = self.0.swap(new, Ordering::AcqRel);
        // SAFETY: every non-null pointer in the slot came from `Box::into_raw` above, and the
        // swap took it out, so this is the only owner.
        (!old.is_null()).then(|| unsafe { Box::from_raw(old) })
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        drop(self.swap(None));
    }
}

// SAFETY: the slot owns at most one `Box<T>` and hands it over whole, like a channel of one.
unsafe impl<T: Send> Send for Slot<T> {}
// SAFETY: as above; all access goes through an atomic swap.
unsafe impl<T: Send> Sync for Slot<T> {}

/// The posting end. See [`mailbox`].
pub struct Sender<T>(Arc<Slot<T>>);
/// The taking end. See [`mailbox`].
pub struct Receiver<T>(Arc<Slot<T>>);

/// An empty mailbox.
pub fn mailbox<T>() -> (Sender<T>, Receiver<T>) {
    let slot = Arc::new(Slot(AtomicPtr::new(ptr::null_mut()), PhantomData));
    (Sender(slot.clone()), Receiver(slot))
}

impl<T> Sender<T> {
    /// Posts `value`; returns the previous one if nobody took it.
    pub fn post(&self, value: Box<T>) -> Option<Box<T>> {
        self.0.swap(Some(value))
    }
}

impl<T> Receiver<T> {
    /// Takes the newest value, if one was posted since the last call.
    #[inline]
    pub fn take(&self) -> Option<Box<T>> {
        if self.0.0.load(Ordering::Relaxed).is_null() {
            return None;
        }
        self.0.swap(None)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn newest_wins_and_nothing_leaks() {
        let (tx, rx) = mailbox();
        let token = std::sync::Arc::new(());
        assert!(rx.take().is_none());
        assert!(tx.post(Box::new((1, token.clone()))).is_none());
        assert_eq!(tx.post(Box::new((2, token.clone()))).unwrap().0, 1);
        assert_eq!(rx.take().unwrap().0, 2);
        assert!(rx.take().is_none());
        tx.post(Box::new((3, token.clone())));
        drop((tx, rx));
        assert_eq!(std::sync::Arc::strong_count(&token), 1);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;

    /// Every posted value is owned by exactly one side at the end, in order, whatever the interleaving.
    #[test]
    fn each_value_has_one_owner() {
        loom::model(|| {
            let (tx, rx) = mailbox();
            let posting = loom::thread::spawn(move || {
                (1..=2u32).filter_map(|v| tx.post(Box::new(v))).map(|v| *v).collect::<Vec<_>>()
            });
            let mut taken: Vec<u32> = (0..2).filter_map(|_| rx.take()).map(|v| *v).collect();
            let returned = posting.join().unwrap();
            taken.extend(rx.take().map(|v| *v));
            assert!(taken.is_sorted(), "taken out of order: {taken:?}");
            let mut all = [taken, returned].concat();
            all.sort();
            assert_eq!(all, [1, 2]);
        });
    }
}
