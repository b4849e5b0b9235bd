//! The environment abstraction layer: started once a process, cleaned up after everything else.

mod plan;
#[cfg(test)]
mod tests;

pub use plan::{EalPlan, Hugepages, LogLevel};

use crate::errno::Errno;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_int};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Why EAL did not start.
#[derive(Debug, thiserror::Error)]
pub enum EalError {
    /// EAL starts once a process, whether it succeeded or not.
    #[error("EAL was already started in this process; it starts only once a process")]
    AlreadyStarted,
    /// A CPU that this process may not use.
    #[error(
        "CPU {core} is not available: this process may use CPUs {allowed}; change the core list or the cpuset"
    )]
    Core {
        /// The CPU asked for.
        core: u16,
        /// Those allowed, comma-separated.
        allowed: String,
    },
    /// More lcores than DPDK was built for.
    #[error("{asked} lcores asked for, this DPDK was built for at most {max}; use fewer workers")]
    TooManyLcores {
        /// Main and workers.
        asked: usize,
        /// The limit.
        max: usize,
    },
    /// No memory asked for.
    #[error("memory_mb is 0; give at least what the mempools need")]
    NoMemory,
    /// A C string cannot hold it.
    #[error("EAL argument {0:?} contains a NUL byte; remove it")]
    Nul(String),
    /// EAL refused.
    #[error("EAL did not start: {errno}; {hint} (arguments: {arguments})")]
    Init {
        /// What DPDK says.
        errno: Errno,
        /// What to do.
        hint: &'static str,
        /// What it was started with.
        arguments: String,
    },
}

static STARTED: AtomicBool = AtomicBool::new(false);

/// The running EAL. Clones are handles to the same; the last one cleans up.
#[derive(Clone)]
pub struct Eal {
    inner: Arc<Inner>,
}

/// Who uses what, so that no port and no lcore is handed out twice.
#[derive(Default)]
pub(crate) struct InUse {
    pub ports: BTreeSet<u16>,
    pub lcores: BTreeSet<u32>,
}

struct Inner {
    workers: usize,
    hugepages: bool,
    in_use: Mutex<InUse>,
    /// EAL keeps pointers into its arguments.
    _arguments: Vec<CString>,
}

impl Eal {
    /// Starts EAL on the calling thread, which becomes lcore 0.
    pub fn init(plan: &EalPlan) -> Result<Eal, EalError> {
        let lcores = 1 + plan.worker_cores.len();
        if lcores > dpdk_sys::LCORE_MAX as usize {
            return Err(EalError::TooManyLcores { asked: lcores, max: dpdk_sys::LCORE_MAX as usize });
        }
        if plan.memory_mb == 0 {
            return Err(EalError::NoMemory);
        }
        check_cores(plan)?;
        let hugepages = plan.wants_hugepages(&fs::read_to_string("/proc/meminfo").unwrap_or_default());
        let arguments = plan.arguments(hugepages);
        let strings = arguments
            .iter()
            .map(|argument| CString::new(argument.as_str()).map_err(|_| EalError::Nul(argument.clone())))
            .collect::<Result<Vec<CString>, EalError>>()?;
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(EalError::AlreadyStarted);
        }
        // getopt permutes the array, so it is not the one that owns the strings.
        let mut argv: Vec<*mut c_char> = strings.iter().map(|s| s.as_ptr().cast_mut()).collect();
        argv.push(std::ptr::null_mut());
        // SAFETY: argv holds argc valid strings and a terminating null; the strings live as long as EAL.
        let rc = unsafe { dpdk_sys::rte_eal_init(strings.len() as c_int, argv.as_mut_ptr()) };
        if rc < 0 {
            let errno = Errno::last();
            // EAL may have kept pointers into them before it failed.
            std::mem::forget(strings);
            return Err(EalError::Init { errno, hint: hint(errno), arguments: arguments.join(" ") });
        }
        let inner = Inner {
            workers: plan.worker_cores.len(),
            hugepages,
            in_use: Mutex::default(),
            _arguments: strings,
        };
        Ok(Eal { inner: Arc::new(inner) })
    }

    /// How many workers the plan had.
    pub fn workers(&self) -> usize {
        self.inner.workers
    }

    /// Whether packets live in hugepages.
    pub fn hugepages(&self) -> bool {
        self.inner.hugepages
    }

    /// The NUMA node of worker `worker`'s CPU; 0 for an unknown worker.
    pub fn worker_socket(&self, worker: usize) -> u32 {
        // SAFETY: returns 0 for lcores that do not exist.
        unsafe { dpdk_sys::rte_lcore_to_socket_id(u32::try_from(worker + 1).unwrap_or(u32::MAX)) }
    }

    /// Names of the ports that EAL found and nobody closed.
    pub fn ports(&self) -> Vec<String> {
        (0..dpdk_sys::RTE_MAX_ETHPORTS as u16).filter_map(port_name).collect()
    }

    /// DPDK's version.
    pub fn version() -> String {
        // SAFETY: returns a static string.
        unsafe { CStr::from_ptr(dpdk_sys::rte_version()) }.to_string_lossy().into_owned()
    }

    pub(crate) fn in_use(&self) -> MutexGuard<'_, InUse> {
        // Sets stay whole whatever panics while one is held.
        self.inner.in_use.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A packet may be dropped later than this, so its memory must stay mapped. EAL's cleanup
        // leaves in-memory hugepages to the process's end, but unmaps ordinary memory; without
        // hugepages there is nothing else for it to do: ports are closed, and no file exists.
        if self.hugepages {
            // SAFETY: ports and lcore handles hold an `Eal`, so all of them are gone.
            unsafe { dpdk_sys::rte_eal_cleanup() };
        }
    }
}

fn port_name(port: u16) -> Option<String> {
    // SAFETY: any number may be asked about.
    if unsafe { dpdk_sys::rte_eth_dev_is_valid_port(port) } == 0 {
        return None;
    }
    let mut name = [0 as c_char; dpdk_sys::RTE_ETH_NAME_MAX_LEN as usize];
    // SAFETY: the buffer has the length that DPDK asks for.
    let found = unsafe { dpdk_sys::rte_eth_dev_get_name_by_port(port, name.as_mut_ptr()) } == 0;
    // SAFETY: on success the buffer holds a terminated string.
    found.then(|| unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned())
}

fn check_cores(plan: &EalPlan) -> Result<(), EalError> {
    let allowed = allowed_cores();
    match std::iter::once(&plan.main_core).chain(&plan.worker_cores).find(|core| !allowed.contains(core)) {
        None => Ok(()),
        Some(&core) => {
            let list: Vec<String> = allowed.iter().map(u16::to_string).collect();
            Err(EalError::Core { core, allowed: list.join(",") })
        }
    }
}

fn allowed_cores() -> Vec<u16> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is as large as said.
    unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
    // SAFETY: CPU numbers stay below the set's size.
    (0..libc::CPU_SETSIZE as u16).filter(|&cpu| unsafe { libc::CPU_ISSET(usize::from(cpu), &set) }).collect()
}

fn hint(errno: Errno) -> &'static str {
    match errno.0 {
        libc::EACCES | libc::EPERM => "run as root, or with CAP_NET_RAW, CAP_NET_ADMIN and CAP_IPC_LOCK",
        libc::ENOMEM => "lower memory_mb, free memory, or reserve hugepages (sysctl vm.nr_hugepages)",
        libc::ENODEV | libc::ENOTSUP => {
            "a device did not start: check that its interface exists, that the driver's package is installed, \
             and that a PCI device is bound to vfio-pci"
        }
        libc::EINVAL => "check the core list and the devices; set the log level to info to see the reason",
        _ => "set the log level to debug to see the reason",
    }
}
