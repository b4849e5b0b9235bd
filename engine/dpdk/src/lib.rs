//! Safe DPDK: what the engine uses of EAL, mempools, mbufs, ports and lcores, released on drop; and
//! Intel's multi-buffer crypto library.
//!
//! One [`Eal`] a process. Everything made from it keeps it alive, and it is cleaned up after the last.

mod clock;
pub mod crypto;
mod eal;
mod errno;
mod lcore;
mod mbuf;
mod mempool;
mod port;

pub use clock::Clock;
pub use eal::{Eal, EalError, EalPlan, Hugepages, LogLevel};
pub use errno::Errno;
pub use lcore::{LcoreError, LcoreHandle};
pub use mbuf::Mbuf;
pub use mempool::{Mempool, PoolConfig, PoolError};
pub use port::{
    Admit, Device, Intake, Link, MacFilter, Offloads, PortConfig, PortError, PortPools, PortStats, QueuePair,
    RxDropped, TakenElsewhere,
};
