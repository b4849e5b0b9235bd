//! Closures on worker lcores.

use crate::eal::Eal;
use crate::errno::Errno;
use dataplane::id::WorkerId;
use std::any::Any;
use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

/// Why a worker did not run, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum LcoreError {
    /// The plan has no such worker.
    #[error("no worker {worker}: the EAL plan has {workers}")]
    NoSuchWorker {
        /// The one asked for.
        worker: WorkerId,
        /// How many there are.
        workers: usize,
    },
    /// It runs something whose handle still exists.
    #[error("worker {0} is busy; join it first")]
    Busy(WorkerId),
    /// EAL refused.
    #[error("worker {worker} did not start: {errno}")]
    Launch {
        /// The worker.
        worker: WorkerId,
        /// What DPDK says.
        errno: Errno,
    },
    /// The closure panicked.
    #[error("worker {worker} panicked: {message}")]
    Panicked {
        /// The worker.
        worker: WorkerId,
        /// The panic's message.
        message: String,
    },
}

type Slot<T> = UnsafeCell<Option<thread::Result<T>>>;

struct Start<F, T> {
    run: F,
    slot: *const Slot<T>,
}

/// A closure running on a worker lcore. Dropping it waits for the closure's end.
pub struct LcoreHandle<T> {
    eal: Eal,
    worker: WorkerId,
    /// Written by the lcore until it is back in the WAIT state, read here only after.
    slot: Box<Slot<T>>,
}

// SAFETY: the slot holds a T made on the lcore, so T must be Send; it is read by one owner.
unsafe impl<T: Send> Send for LcoreHandle<T> {}

fn lcore(worker: WorkerId) -> u32 {
    u32::from(worker.0) + 1
}

impl Eal {
    /// Runs `run` on a worker's lcore. A panic in it ends there and is reported by
    /// [`LcoreHandle::join`].
    pub fn launch<T, F>(&self, worker: WorkerId, run: F) -> Result<LcoreHandle<T>, LcoreError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        if worker.index() >= self.workers() {
            return Err(LcoreError::NoSuchWorker { worker, workers: self.workers() });
        }
        if !self.in_use().lcores.insert(lcore(worker)) {
            return Err(LcoreError::Busy(worker));
        }
        // From here on the handle's drop gives the lcore back.
        let handle = LcoreHandle { eal: self.clone(), worker, slot: Box::new(UnsafeCell::new(None)) };
        let start = Box::into_raw(Box::new(Start { run, slot: &*handle.slot }));
        // SAFETY: `enter::<F, T>` takes back the box; the slot outlives the lcore's run, since the
        // handle waits before it frees it.
        let rc = unsafe { dpdk_sys::rte_eal_remote_launch(Some(enter::<F, T>), start.cast(), lcore(worker)) };
        Errno::check(rc).map_err(|errno| {
            // SAFETY: the lcore did not take it.
            drop(unsafe { Box::from_raw(start) });
            LcoreError::Launch { worker, errno }
        })?;
        Ok(handle)
    }
}

extern "C" fn enter<F: FnOnce() -> T, T>(start: *mut c_void) -> c_int {
    // SAFETY: `launch` made it with the same F and T, and passes it once.
    let start = unsafe { Box::from_raw(start.cast::<Start<F, T>>()) };
    let slot = start.slot;
    let result = catch_unwind(AssertUnwindSafe(start.run));
    // SAFETY: the handle neither reads nor frees the slot before this lcore is back in WAIT.
    unsafe { *(*slot).get() = Some(result) };
    0
}

impl<T> LcoreHandle<T> {
    /// Whether the closure has ended.
    pub fn is_finished(&self) -> bool {
        // SAFETY: the lcore exists.
        unsafe { dpdk_sys::rte_eal_get_lcore_state(lcore(self.worker)) == dpdk_sys::WAIT }
    }

    /// Waits for the closure and returns what it returned.
    pub fn join(mut self) -> Result<T, LcoreError> {
        self.wait();
        let worker = self.worker;
        match self.slot.get_mut().take() {
            Some(Ok(value)) => Ok(value),
            Some(Err(panic)) => Err(LcoreError::Panicked { worker, message: message(&*panic) }),
            None => Err(LcoreError::Launch { worker, errno: Errno(libc::ESRCH) }),
        }
    }

    fn wait(&self) {
        // EAL's own wait spins, on a core that a worker may need.
        while !self.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
        // SAFETY: the lcore exists and has ended: this returns at once.
        unsafe { dpdk_sys::rte_eal_wait_lcore(lcore(self.worker)) };
    }
}

impl<T> Drop for LcoreHandle<T> {
    fn drop(&mut self) {
        self.wait();
        self.eal.in_use().lcores.remove(&lcore(self.worker));
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
