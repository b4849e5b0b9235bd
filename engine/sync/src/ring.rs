//! Bounded SPSC rings (rtrb) whose overflow is counted, never waited for.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The pushing end of a ring.
pub struct Producer<T> {
    inner: rtrb::Producer<T>,
    overflow: Arc<AtomicU64>,
}

/// The popping end of a ring.
pub struct Consumer<T> {
    inner: rtrb::Consumer<T>,
    overflow: Arc<AtomicU64>,
}

/// A ring of `capacity` values.
pub fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let (producer, consumer) = rtrb::RingBuffer::new(capacity);
    let overflow = Arc::new(AtomicU64::new(0));
    (Producer { inner: producer, overflow: overflow.clone() }, Consumer { inner: consumer, overflow })
}

impl<T> Producer<T> {
    /// Pushes `value`.
    ///
    /// # Errors
    /// Gives `value` back when the ring is full, and counts it.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        self.inner.push(value).map_err(|rtrb::PushError::Full(value)| {
            self.overflow.fetch_add(1, Ordering::Relaxed);
            value
        })
    }

    /// Free places.
    pub fn free(&self) -> usize {
        self.inner.slots()
    }
}

impl<T> Consumer<T> {
    /// The oldest value, if any.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.inner.pop().ok()
    }

    /// Values that found the ring full since it was made.
    pub fn overflow(&self) -> u64 {
        self.overflow.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn overflow_is_counted_and_returned() {
        let (mut tx, mut rx) = super::ring(2);
        assert_eq!((tx.push(1), tx.push(2), tx.push(3)), (Ok(()), Ok(()), Err(3)));
        assert_eq!(rx.overflow(), 1);
        assert_eq!((rx.pop(), rx.pop(), rx.pop()), (Some(1), Some(2), None));
    }
}
