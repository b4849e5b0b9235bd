//! Pools of packet buffers, on one NUMA node each.

use crate::eal::Eal;
use crate::errno::Errno;
use crate::mbuf::Mbuf;
use dataplane::packet::{Burst, PacketPool};
use dpdk_sys as sys;
use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// How a pool is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Packets; one less than a power of two wastes no memory.
    pub packets: u32,
    /// Packets that each lcore keeps to itself; reduced to what the pool's size allows.
    pub cache: u32,
    /// Bytes of a packet, headroom (128) not counted.
    pub data_room: u16,
    /// The NUMA node; `None` for any.
    pub socket: Option<u32>,
}

impl Default for PoolConfig {
    fn default() -> PoolConfig {
        PoolConfig { packets: 8191, cache: 256, data_room: sys::MBUF_DEFAULT_DATAROOM as u16, socket: None }
    }
}

impl PoolConfig {
    /// What the pool takes of EAL's memory, in MiB, rounded up.
    pub fn memory_mb(&self) -> u32 {
        // A mempool object: a header of a cache line, the mbuf, its buffer, padding of a cache line;
        // and 8 bytes in the ring of twice the size at most.
        let each =
            64 + sys::MBUF_SIZE as u64 + sys::MBUF_HEADROOM as u64 + u64::from(self.data_room) + 64 + 16;
        (u64::from(self.packets) * each).div_ceil(1 << 20) as u32 + 1
    }
}

/// Why a pool was not made.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// EAL's memory is used up.
    #[error(
        "no memory for {packets} packets, which take about {needed_mb} MiB; raise memory_mb or use fewer packets"
    )]
    Memory {
        /// Asked for.
        packets: u32,
        /// For this pool alone.
        needed_mb: u32,
    },
    /// A limit of the format.
    #[error("data_room {0} is too large: headroom and data must fit 65535 bytes")]
    DataRoom(u16),
    /// DPDK refused.
    #[error("no pool of {packets} packets: {errno}")]
    Dpdk {
        /// Asked for.
        packets: u32,
        /// What DPDK says.
        errno: Errno,
    },
}

/// A pool of packets, shared by its clones.
///
/// Its memory lasts as long as the process: a packet may outlive every handle, and must still have
/// somewhere to return to.
#[derive(Clone)]
pub struct Mempool {
    pool: NonNull<sys::rte_mempool>,
    config: PoolConfig,
    large: Option<NonNull<sys::rte_mempool>>,
}

// SAFETY: pools are made for several producers and consumers, and are never freed.
unsafe impl Send for Mempool {}
// SAFETY: as above.
unsafe impl Sync for Mempool {}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Mempool {
    /// Makes a pool.
    pub fn new(_eal: &Eal, config: PoolConfig) -> Result<Mempool, PoolError> {
        let buffer = config
            .data_room
            .checked_add(sys::MBUF_HEADROOM as u16)
            .ok_or(PoolError::DataRoom(config.data_room))?;
        let cache = config.cache.min(sys::MEMPOOL_CACHE_MAX).min(config.packets * 2 / 3);
        let name = CString::new(format!("pool{}", COUNT.fetch_add(1, Ordering::Relaxed)))
            .expect("digits hold no NUL");
        let socket = config.socket.map_or(sys::SOCKET_ID_ANY, |socket| socket as i32);
        // SAFETY: EAL runs; the name is a terminated string that DPDK copies.
        let pool =
            unsafe { sys::rte_pktmbuf_pool_create(name.as_ptr(), config.packets, cache, 0, buffer, socket) };
        let pool = NonNull::new(pool).ok_or_else(|| match Errno::last() {
            Errno(libc::ENOMEM) => {
                PoolError::Memory { packets: config.packets, needed_mb: config.memory_mb() }
            }
            errno => PoolError::Dpdk { packets: config.packets, errno },
        })?;
        Ok(Mempool { pool, config: PoolConfig { cache, ..config }, large: None })
    }

    /// This pool, with `large` to take large packets from.
    pub fn with_large(self, large: &Mempool) -> Mempool {
        Mempool { large: Some(large.pool), ..self }
    }

    /// Bytes of a frame that one buffer holds behind its headroom.
    pub fn data_room(&self) -> u16 {
        self.config.data_room
    }

    /// As it was made.
    pub fn config(&self) -> PoolConfig {
        self.config
    }

    /// Packets that nobody holds, those in the lcores' caches included. Walks the caches: not for
    /// the packet path.
    pub fn available(&self) -> u32 {
        // SAFETY: the pool exists.
        unsafe { sys::rte_mempool_avail_count(self.pool.as_ptr()) }
    }

    /// Packets that somebody holds: queues, ports' descriptor rings, the walk.
    pub fn in_use(&self) -> u32 {
        self.config.packets.saturating_sub(self.available())
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.pool.as_ptr()
    }
}

impl PacketPool for Mempool {
    type Packet = Mbuf;

    #[inline]
    fn alloc(&mut self) -> Option<Mbuf> {
        // SAFETY: the pool exists; a fresh mbuf has one segment and one owner, us.
        NonNull::new(unsafe { sys::rte_pktmbuf_alloc(self.pool.as_ptr()) })
            .map(|mbuf| unsafe { Mbuf::from_raw(mbuf) })
    }
    fn alloc_large(&mut self) -> Option<Mbuf> {
        let pool = self.large.unwrap_or(self.pool);
        // SAFETY: as in `alloc`.
        NonNull::new(unsafe { sys::rte_pktmbuf_alloc(pool.as_ptr()) })
            .map(|mbuf| unsafe { Mbuf::from_raw(mbuf) })
    }

    #[inline]
    fn alloc_burst(&mut self, burst: &mut Burst<Mbuf>, count: usize) -> bool {
        let (first, count) = (burst.len(), count.min(burst.remaining_capacity()));
        // SAFETY: the pool exists. DPDK writes `count` pointers behind the burst's last one, or none; a fresh mbuf has
        // one segment and one owner, and an Mbuf is a pointer to one.
        unsafe {
            let free = burst.as_mut_ptr().add(first).cast::<*mut sys::rte_mbuf>();
            let made = sys::rte_pktmbuf_alloc_bulk(self.pool.as_ptr(), free, count as u32) == 0;
            burst.set_len(first + if made { count } else { 0 });
            made
        }
    }
}
