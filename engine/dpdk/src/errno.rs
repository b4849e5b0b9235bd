use std::ffi::CStr;
use std::fmt;

/// A DPDK error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// What DPDK left in this thread's `rte_errno`.
    pub(crate) fn last() -> Errno {
        // SAFETY: reads a thread-local variable.
        Errno(unsafe { dpdk_sys::dpdk_sys_errno() })
    }

    /// From a return code: negative numbers are errors.
    pub(crate) fn check(rc: i32) -> Result<i32, Errno> {
        if rc < 0 { Err(Errno(-rc)) } else { Ok(rc) }
    }

    /// True if the driver has no such function. Drivers say it in two ways.
    pub(crate) fn is_unsupported(self) -> bool {
        self.0 == libc::ENOTSUP || self.0 == libc::ENOSYS
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: rte_strerror returns a string that is valid until this thread calls it again.
        let text = unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(self.0)) };
        write!(f, "{} (errno {})", text.to_string_lossy(), self.0)
    }
}
