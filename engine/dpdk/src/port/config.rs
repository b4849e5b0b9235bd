//! What a port is asked for, and what it turned out to offer.

use crate::errno::Errno;
use crate::mempool::Mempool;

/// How a port is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// The device: a virtual one's name (`net_af_packet0`) or a PCI address (`0000:01:00.0`).
    pub device: String,
    /// Receive queues; the first so many queue pairs have one.
    pub rx_queues: u16,
    /// Transmit queues; the first so many queue pairs have one.
    pub tx_queues: u16,
    /// Workers, each with a queue pair. Where the device has fewer queues than asked for, or fewer are asked for than
    /// there are workers, rings stand in for the rest. `None`: one queue pair for each transmit queue, and no rings.
    pub workers: Option<u16>,
    /// Descriptors of each receive queue; adjusted to what the device accepts.
    pub rx_descriptors: u16,
    /// Descriptors of each transmit queue; adjusted likewise.
    pub tx_descriptors: u16,
    /// Largest IP packet in bytes. Left as it is where the device cannot change it.
    pub mtu: u16,
    /// Spread flows over the receive queues by IP addresses, L4 ports and ESP SPI, where the device can.
    pub rss: bool,
    /// Let the device check IPv4 header checksums, where it can.
    pub rx_checksum: bool,
    /// Receive frames for every MAC address.
    pub promiscuous: bool,
    /// Every packet this port will ever send comes from one pool, one segment each, so that the driver may give them
    /// back without looking at each (`RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE`).
    pub one_pool: bool,
    /// A bond that speaks LACP: its queues must be polled and flushed at least every 100 ms, packets or not.
    pub lacp: bool,
}

impl PortConfig {
    /// One queue pair, MTU 1500, every offload that the device has.
    pub fn new(device: impl Into<String>) -> PortConfig {
        PortConfig {
            device: device.into(),
            rx_queues: 1,
            tx_queues: 1,
            workers: None,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            mtu: 1500,
            rss: true,
            rx_checksum: true,
            promiscuous: false,
            one_pool: false,
            lacp: false,
        }
    }
}

/// What the device does for us; the rest is software's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// It spreads flows over the receive queues.
    pub rss: bool,
    /// It checks IPv4 header checksums.
    pub ipv4_checksum: bool,
    /// It spreads a frame larger than a buffer over several; they are joined in a large one.
    pub scatter: bool,
    /// It gives sent packets back to their pool in bulk, unseen.
    pub fast_free: bool,
}

/// Where a port's packets come from.
#[derive(Clone)]
pub struct PortPools<'a> {
    /// By receive queue, each near the worker that polls it; the last one serves those beyond.
    pub queues: Vec<&'a Mempool>,
    /// Buffers for frames that the queues' own cannot hold.
    pub jumbo: Option<&'a Mempool>,
}

impl<'a> From<&'a Mempool> for PortPools<'a> {
    fn from(pool: &'a Mempool) -> PortPools<'a> {
        PortPools { queues: vec![pool], jumbo: None }
    }
}

impl<'a> PortPools<'a> {
    /// The pool of receive queue `queue`.
    pub(super) fn of(&self, queue: u16) -> Option<&'a Mempool> {
        self.queues.get(usize::from(queue)).or(self.queues.last()).copied()
    }

    /// The least that a buffer of any queue holds, bytes.
    pub(super) fn data_room(&self) -> u16 {
        self.queues.iter().map(|pool| pool.data_room()).min().unwrap_or(0)
    }
}

/// Why a port did not start, or did not do as told.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// No such device.
    #[error(
        "no port {device}; EAL found: {present}. Add it to the vdevs, or bind the PCI device to vfio-pci and allow it"
    )]
    NotFound {
        /// As configured.
        device: String,
        /// Names of the ports there are.
        present: String,
    },
    /// Somebody has it.
    #[error("port {0} is already in use; a port is started once")]
    InUse(String),
    /// A queue pair needs a transmit queue.
    #[error(
        "{device}: {rx} receive and {tx} transmit queues; there must be at least one of each, and a transmit queue for every receive queue"
    )]
    Queues {
        /// The port.
        device: String,
        /// Receive queues asked for.
        rx: u16,
        /// Transmit queues asked for.
        tx: u16,
    },
    /// More queues than the device has.
    #[error(
        "{device}: {rx} receive and {tx} transmit queues asked for, it has {max_rx} and {max_tx}; use fewer, or give the device more (net_af_packet: qpairs=N)"
    )]
    TooManyQueues {
        /// The port.
        device: String,
        /// Receive queues asked for.
        rx: u16,
        /// Transmit queues asked for.
        tx: u16,
        /// Receive queues it has.
        max_rx: u16,
        /// Transmit queues it has.
        max_tx: u16,
    },
    /// The device's limits.
    #[error("{device}: MTU {mtu} is outside what it can do, {min} to {max}")]
    Mtu {
        /// The port.
        device: String,
        /// Asked for.
        mtu: u16,
        /// Its least.
        min: u16,
        /// Its greatest.
        max: u16,
    },
    /// A full frame would fit neither one buffer nor, where the device can spread it over several, a large one.
    #[error(
        "{device}: MTU {mtu} needs buffers of {needed} bytes, the pool's have {data_room}; raise the pool's data_room"
    )]
    BufferTooSmall {
        /// The port.
        device: String,
        /// Asked for.
        mtu: u16,
        /// Bytes of the largest frame.
        needed: u32,
        /// The pool's.
        data_room: u16,
    },
    /// DPDK or the driver refused.
    #[error("{device}: {call} failed: {errno}")]
    Dpdk {
        /// The port.
        device: String,
        /// The function.
        call: &'static str,
        /// What it says.
        errno: Errno,
    },
}

/// A port's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Frames can pass, as far as the driver knows.
    pub up: bool,
    /// Megabit/s, where known.
    pub speed_mbps: Option<u32>,
}

/// A port's counters since its start, as its driver keeps them. Some drivers miss losses here: count
/// in software, and probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Packets received.
    pub ipackets: u64,
    /// Packets sent.
    pub opackets: u64,
    /// Bytes received.
    pub ibytes: u64,
    /// Bytes sent.
    pub obytes: u64,
    /// Packets lost because nobody polled in time.
    pub imissed: u64,
    /// Erroneous packets received.
    pub ierrors: u64,
    /// Packets that were not sent.
    pub oerrors: u64,
    /// Packets lost because the pool was empty.
    pub rx_nombuf: u64,
}

/// How a port came to accept another MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacFilter {
    /// Its filter knows the address.
    Hardware,
    /// It has no filter to add to, and receives everything now.
    Promiscuous,
}
