//! Ports: configured, started, asked, stopped.

mod config;
mod dropped;
mod packet_socket;
mod queue;
mod ring;
mod rss;
mod spread;
mod taken;

pub use config::{Link, MacFilter, Offloads, PortConfig, PortError, PortPools, PortStats};
pub use dropped::RxDropped;
pub use packet_socket::Admit;
pub use queue::QueuePair;
pub use taken::{Intake, TakenElsewhere};

use dropped::Dropped;
use queue::Rings;
use taken::Taken;

use crate::eal::Eal;
use crate::errno::Errno;
use dataplane::wire::MacAddr;
use dpdk_sys as sys;
use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

/// Bytes of a frame beyond its IP packet: Ethernet, two tags, and a checksum that some devices keep.
const FRAME_OVERHEAD: u32 = 14 + 2 * 4 + 4;

/// A started port. It stops and closes when this and all its queue pairs are gone, and cannot be
/// started again in this process.
pub struct Device {
    started: Arc<Started>,
    /// Drivers do not expect two control calls at once.
    _one_thread_at_a_time: PhantomData<Cell<()>>,
}

/// A claimed port; dropping it stops and closes it.
struct Started {
    eal: Eal,
    name: String,
    port: u16,
    offloads: Offloads,
    rx_queues: u16,
    tx_queues: u16,
    dropped: Dropped,
    taken: Taken,
    running: bool,
}

impl Device {
    /// Configures and starts a port whose packets come from `pools`, and returns its queue pairs: one a worker if
    /// [`PortConfig::workers`] says how many there are, else as many as transmit queues.
    pub fn start<'a>(
        eal: &Eal,
        config: &PortConfig,
        pools: impl Into<PortPools<'a>>,
    ) -> Result<(Device, Vec<QueuePair>), PortError> {
        let pools = pools.into();
        let mut started = Started::claim(eal, &config.device)?;
        let info = started.info()?;
        let config = &fitted(config, &info);
        started.check(config, &pools, &info)?;
        started.configure(config, &pools, &info)?;
        started.set_up_queues(config, &pools, &info)?;
        // Before the start, where drivers want it; those that cannot keep their own.
        if config.mtu <= largest_mtu(&info) {
            started.tolerate("rte_eth_dev_set_mtu", |port| {
                // SAFETY: the port exists.
                unsafe { sys::rte_eth_dev_set_mtu(port, config.mtu) }
            })?;
        }
        // SAFETY: the port exists and is configured.
        started.call("rte_eth_dev_start", |port| unsafe { sys::rte_eth_dev_start(port) })?;
        started.running = true;
        let started = Arc::new(started);
        let device = Device { started: Arc::clone(&started), _one_thread_at_a_time: PhantomData };
        device.receive_groups()?;
        if config.promiscuous {
            device.set_promiscuous(true)?;
        }
        let pairs = rings(eal, config).map_err(|errno| started.failed("rte_ring_create", errno))?;
        let pairs = (0..).zip(pairs).map(|(worker, rings)| {
            QueuePair::new(Arc::clone(&started), worker, rings, pools.jumbo.cloned(), config.lacp)
        });
        Ok((device, pairs.collect()))
    }

    /// Receive and transmit queues that it has been given.
    pub fn queues(&self) -> (u16, u16) {
        (self.started.rx_queues, self.started.tx_queues)
    }

    /// Packets that ended between the port and the walk.
    pub fn rx_dropped(&self) -> RxDropped {
        self.started.dropped.read()
    }

    /// As configured.
    pub fn name(&self) -> &str {
        &self.started.name
    }

    /// DPDK's number of it.
    pub fn number(&self) -> u16 {
        self.started.port
    }

    /// What the device does for us.
    pub fn offloads(&self) -> Offloads {
        self.started.offloads
    }

    /// The NUMA node that the device `name` is attached to, where known: its packets should come from a
    /// pool there.
    pub fn socket_of(_eal: &Eal, name: &str) -> Option<u32> {
        let (device, mut port) = (CString::new(name).ok()?, 0);
        // SAFETY: EAL runs; the name is terminated and the number is ours to fill.
        if unsafe { sys::rte_eth_dev_get_port_by_name(device.as_ptr(), &mut port) } != 0 {
            return None;
        }
        // SAFETY: the port exists.
        u32::try_from(unsafe { sys::rte_eth_dev_socket_id(port) }).ok()
    }

    /// The NUMA node that it is attached to, where known.
    pub fn socket(&self) -> Option<u32> {
        // SAFETY: the port exists.
        u32::try_from(unsafe { sys::rte_eth_dev_socket_id(self.started.port) }).ok()
    }

    /// Its own MAC address.
    pub fn mac(&self) -> Result<MacAddr, PortError> {
        let mut address = sys::rte_ether_addr::default();
        self.started.call("rte_eth_macaddr_get", |port| {
            // SAFETY: the port exists and the address is ours to fill.
            unsafe { sys::rte_eth_macaddr_get(port, &mut address) }
        })?;
        Ok(MacAddr(address.addr_bytes))
    }

    /// Receives frames for `mac` too; by promiscuous mode where the device has no filter for it.
    pub fn add_mac(&self, mac: MacAddr) -> Result<MacFilter, PortError> {
        let mut address = sys::rte_ether_addr { addr_bytes: mac.0 };
        let added = self.started.tolerate("rte_eth_dev_mac_addr_add", |port| {
            // SAFETY: the port exists; DPDK copies the address.
            unsafe { sys::rte_eth_dev_mac_addr_add(port, &mut address, 0) }
        })?;
        if added {
            return Ok(MacFilter::Hardware);
        }
        self.set_promiscuous(true)?;
        Ok(MacFilter::Promiscuous)
    }

    /// Receives what is sent to groups: neighbour discovery (RFC 4861 §7.2.3) and routers' talk is. Devices that cannot be told
    /// receive it anyway.
    fn receive_groups(&self) -> Result<(), PortError> {
        self.started.tolerate("rte_eth_allmulticast_enable", |port| {
            // SAFETY: the port exists.
            unsafe { sys::rte_eth_allmulticast_enable(port) }
        })?;
        Ok(())
    }

    /// Receives every frame, or only those for its addresses. Devices without such a mode receive
    /// every frame anyway.
    pub fn set_promiscuous(&self, on: bool) -> Result<(), PortError> {
        let change = if on { sys::rte_eth_promiscuous_enable } else { sys::rte_eth_promiscuous_disable };
        // SAFETY: the port exists.
        self.started.tolerate("rte_eth_promiscuous_enable/disable", |port| unsafe { change(port) })?;
        Ok(())
    }

    /// The MTU as the device has it.
    pub fn mtu(&self) -> Result<u16, PortError> {
        let mut mtu = 0;
        self.started.call("rte_eth_dev_get_mtu", |port| {
            // SAFETY: the port exists and the number is ours to fill.
            unsafe { sys::rte_eth_dev_get_mtu(port, &mut mtu) }
        })?;
        Ok(mtu)
    }

    /// Tells the kernel what to give to an AF_PACKET port; a frame that it is handling meanwhile may pass by what was told before.
    /// False, and nothing changed, for a port of another kind.
    pub fn admit(&self, what: Admit) -> Result<bool, PortError> {
        let info = self.started.info()?;
        if !is_af_packet(&info) {
            return Ok(false);
        }
        let failed = |error: std::io::Error| {
            self.started.failed("SO_ATTACH_FILTER", Errno(error.raw_os_error().unwrap_or(libc::EIO)))
        };
        match packet_socket::admit(info.if_index, what).map_err(failed)? {
            0 => Err(self.started.failed("SO_ATTACH_FILTER", Errno(libc::ENOTSOCK))),
            _ => Ok(true),
        }
    }

    /// What the queues do with what arrives.
    pub fn set_intake(&self, intake: Intake) {
        self.started.taken.set(intake);
    }

    /// What was received since [`Intake::Noted`], to be asked while nobody polls: what [`TakenElsewhere`] is made of in another process. `None` if
    /// it was more than is remembered.
    pub fn taken(&self) -> Option<Vec<u64>> {
        self.started.taken.read()
    }

    /// The link, without waiting for it.
    pub fn link(&self) -> Result<Link, PortError> {
        let (mut speed, mut up) = (0, 0);
        self.started.call("rte_eth_link_get_nowait", |port| {
            // SAFETY: the port exists and the numbers are ours to fill.
            unsafe { sys::dpdk_sys_link(port, &mut speed, &mut up) }
        })?;
        Ok(Link { up: up != 0, speed_mbps: (speed > 0).then_some(speed) })
    }

    /// The counters that every port has.
    pub fn stats(&self) -> Result<PortStats, PortError> {
        let mut raw = sys::rte_eth_stats::default();
        // SAFETY: the port exists and the struct is ours to fill.
        self.started.call("rte_eth_stats_get", |port| unsafe { sys::rte_eth_stats_get(port, &mut raw) })?;
        Ok(PortStats {
            ipackets: raw.ipackets,
            opackets: raw.opackets,
            ibytes: raw.ibytes,
            obytes: raw.obytes,
            imissed: raw.imissed,
            ierrors: raw.ierrors,
            oerrors: raw.oerrors,
            rx_nombuf: raw.rx_nombuf,
        })
    }

    /// Every counter of this device, by its driver's names.
    pub fn xstats(&self) -> Result<Vec<(String, u64)>, PortError> {
        let count = self.started.call("rte_eth_xstats_get_names", |port| {
            // SAFETY: the port exists; no room asks for the number of counters.
            unsafe { sys::rte_eth_xstats_get_names(port, ptr::null_mut(), 0) }
        })? as usize;
        let mut names = vec![sys::rte_eth_xstat_name::default(); count];
        let mut values = vec![sys::rte_eth_xstat::default(); count];
        let named = self.started.call("rte_eth_xstats_get_names", |port| {
            // SAFETY: room for `count`.
            unsafe { sys::rte_eth_xstats_get_names(port, names.as_mut_ptr(), count as u32) }
        })?;
        let valued = self.started.call("rte_eth_xstats_get", |port| {
            // SAFETY: room for `count`.
            unsafe { sys::rte_eth_xstats_get(port, values.as_mut_ptr(), count as u32) }
        })?;
        names.truncate(named as usize);
        values.truncate(valued as usize);
        let named = values.iter().filter_map(|value| {
            let name = names.get(value.id as usize)?;
            // SAFETY: DPDK terminates the names.
            let name = unsafe { CStr::from_ptr(name.name.as_ptr()) };
            Some((name.to_string_lossy().into_owned(), value.value))
        });
        Ok(named.collect())
    }
}

impl Started {
    fn claim(eal: &Eal, name: &str) -> Result<Started, PortError> {
        let missing = || PortError::NotFound { device: name.into(), present: present(eal) };
        let device = CString::new(name).map_err(|_| missing())?;
        let mut port = 0;
        // SAFETY: EAL runs; the name is terminated and the number is ours to fill.
        if unsafe { sys::rte_eth_dev_get_port_by_name(device.as_ptr(), &mut port) } != 0 {
            return Err(missing());
        }
        if !eal.in_use().ports.insert(port) {
            return Err(PortError::InUse(name.into()));
        }
        Ok(Started {
            eal: eal.clone(),
            name: name.into(),
            port,
            offloads: Offloads::default(),
            rx_queues: 0,
            tx_queues: 0,
            dropped: Dropped::default(),
            taken: Taken::default(),
            running: false,
        })
    }

    fn call(&self, call: &'static str, f: impl FnOnce(u16) -> i32) -> Result<i32, PortError> {
        Errno::check(f(self.port)).map_err(|errno| self.failed(call, errno))
    }

    fn failed(&self, call: &'static str, errno: Errno) -> PortError {
        PortError::Dpdk { device: self.name.clone(), call, errno }
    }

    /// False if the driver has no such function.
    fn tolerate(&self, call: &'static str, f: impl FnOnce(u16) -> i32) -> Result<bool, PortError> {
        match self.call(call, f) {
            Ok(_) => Ok(true),
            Err(PortError::Dpdk { errno, .. }) if errno.is_unsupported() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn info(&self) -> Result<sys::rte_eth_dev_info, PortError> {
        let mut info = sys::rte_eth_dev_info::default();
        // SAFETY: the port exists and the struct is ours to fill.
        self.call("rte_eth_dev_info_get", |port| unsafe { sys::rte_eth_dev_info_get(port, &mut info) })?;
        Ok(info)
    }

    fn check(
        &self,
        config: &PortConfig,
        pools: &PortPools<'_>,
        info: &sys::rte_eth_dev_info,
    ) -> Result<(), PortError> {
        let device = self.name.clone();
        let (rx, tx, mtu) = (config.rx_queues, config.tx_queues, config.mtu);
        if rx == 0 || tx < rx {
            return Err(PortError::Queues { device, rx, tx });
        }
        let (max_rx, max_tx) = (info.max_rx_queues, info.max_tx_queues);
        if rx > max_rx || tx > max_tx {
            return Err(PortError::TooManyQueues { device, rx, tx, max_rx, max_tx });
        }
        let (min, max) = (info.min_mtu, largest_mtu(info));
        if mtu < min || mtu > max && !is_af_packet(info) {
            return Err(PortError::Mtu { device, mtu, min, max });
        }
        let large = pools.jumbo.filter(|_| info.rx_offload_capa & sys::OFFLOAD_SCATTER != 0);
        let data_room = pools.data_room().max(large.map_or(0, |pool| pool.data_room()));
        let needed = frame_length(mtu);
        if needed > u32::from(data_room) {
            return Err(PortError::BufferTooSmall { device, mtu, needed, data_room });
        }
        Ok(())
    }

    fn configure(
        &mut self,
        config: &PortConfig,
        pools: &PortPools<'_>,
        info: &sys::rte_eth_dev_info,
    ) -> Result<(), PortError> {
        (self.rx_queues, self.tx_queues) = (config.rx_queues, config.tx_queues);
        let hash = sys::RSS_WANTED & info.flow_type_rss_offloads;
        let (rx_capa, tx_capa) = (info.rx_offload_capa, info.tx_offload_capa);
        self.offloads = Offloads {
            rss: config.rss && config.rx_queues > 1 && hash != 0,
            ipv4_checksum: config.rx_checksum && rx_capa & sys::OFFLOAD_IPV4_CKSUM != 0,
            scatter: frame_length(config.mtu) > u32::from(pools.data_room()),
            // A large buffer comes from another pool.
            fast_free: config.one_pool && pools.jumbo.is_none() && tx_capa & sys::OFFLOAD_TX_FAST_FREE != 0,
        };
        let mut conf = sys::rte_eth_conf::default();
        conf.rxmode.mtu = u32::from(config.mtu.min(largest_mtu(info)));
        let mut key = rss::symmetric_key(usize::from(info.hash_key_size));
        if self.offloads.rss {
            conf.rxmode.mq_mode = sys::RTE_ETH_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_hf = hash;
            // A driver that names no length keeps its own key.
            if !key.is_empty() {
                conf.rx_adv_conf.rss_conf.rss_key = key.as_mut_ptr();
                conf.rx_adv_conf.rss_conf.rss_key_len = key.len() as u8;
            }
        }
        if self.offloads.ipv4_checksum {
            conf.rxmode.offloads |= sys::OFFLOAD_IPV4_CKSUM;
        }
        if self.offloads.scatter {
            conf.rxmode.offloads |= sys::OFFLOAD_SCATTER;
        }
        if self.offloads.fast_free {
            conf.txmode.offloads |= sys::OFFLOAD_TX_FAST_FREE;
        }
        self.call("rte_eth_dev_configure", |port| {
            // SAFETY: the port exists, is ours and stopped; DPDK copies the struct and the key.
            unsafe { sys::rte_eth_dev_configure(port, config.rx_queues, config.tx_queues, &conf) }
        })?;
        Ok(())
    }

    fn set_up_queues(
        &self,
        config: &PortConfig,
        pools: &PortPools<'_>,
        info: &sys::rte_eth_dev_info,
    ) -> Result<(), PortError> {
        let (mut rx, mut tx) = (config.rx_descriptors, config.tx_descriptors);
        self.call("rte_eth_dev_adjust_nb_rx_tx_desc", |port| {
            // SAFETY: the port exists and the numbers are ours to change.
            unsafe { sys::rte_eth_dev_adjust_nb_rx_tx_desc(port, &mut rx, &mut tx) }
        })?;
        // SAFETY: the port exists. Unknown is -1, which is also DPDK's "any".
        let socket = unsafe { sys::rte_eth_dev_socket_id(self.port) } as u32;
        for queue in 0..config.rx_queues {
            let pool = pools.of(queue).map_or(ptr::null_mut(), |pool| pool.as_ptr());
            self.call("rte_eth_rx_queue_setup", |port| {
                // SAFETY: the port is configured with this queue; a null asks for defaults; pools are
                // never freed, and DPDK refuses a null pool.
                unsafe { sys::rte_eth_rx_queue_setup(port, queue, rx, socket, ptr::null(), pool) }
            })?;
        }
        // The driver's own thresholds; a queue takes the port's offloads only if it is told so.
        let mut conf = info.default_txconf;
        if self.offloads.fast_free {
            conf.offloads |= sys::OFFLOAD_TX_FAST_FREE;
        }
        for queue in 0..config.tx_queues {
            self.call("rte_eth_tx_queue_setup", |port| {
                // SAFETY: the port is configured with this queue; DPDK copies the struct.
                unsafe { sys::rte_eth_tx_queue_setup(port, queue, tx, socket, &conf) }
            })?;
        }
        Ok(())
    }
}

/// The largest MTU that DPDK lets this driver have. One that leaves `max_mtu` open says it by the longest frame, Ethernet
/// header and checksum included.
fn largest_mtu(info: &sys::rte_eth_dev_info) -> u16 {
    let by_frame = u16::try_from(info.max_rx_pktlen.saturating_sub(14 + 4)).unwrap_or(u16::MAX);
    info.max_mtu.min(by_frame)
}

/// AF_PACKET says 1500 whatever it was told: its `framesz` and the kernel interface's MTU are the limits.
fn is_af_packet(info: &sys::rte_eth_dev_info) -> bool {
    // SAFETY: null, or the driver's name, a terminated string that lives as long as the driver.
    !info.driver_name.is_null() && unsafe { CStr::from_ptr(info.driver_name) } == c"net_af_packet"
}

/// As many queues as the device has, where rings can stand in for the rest.
fn fitted(config: &PortConfig, info: &sys::rte_eth_dev_info) -> PortConfig {
    let mut config = config.clone();
    if config.workers.is_some() {
        config.rx_queues = config.rx_queues.min(info.max_rx_queues);
        config.tx_queues = config.tx_queues.min(info.max_tx_queues);
    }
    config
}

/// The rings between a port's queue pairs, by worker: none where it has queues enough for them.
fn rings(eal: &Eal, config: &PortConfig) -> Result<Vec<Rings>, Errno> {
    let (rx, tx) = (usize::from(config.rx_queues), usize::from(config.tx_queues));
    let workers = usize::from(config.workers.unwrap_or(config.tx_queues));
    let mut all: Vec<Rings> = (0..workers).map(|_| Rings::default()).collect();
    if config.workers.is_some() && rx < workers {
        for (from, to) in (0..rx).flat_map(|from| (0..workers).map(move |to| (from, to))) {
            let sender = if from == to {
                None
            } else {
                let (sender, receiver) = ring::ring(eal)?;
                all[to].inbox.push(receiver);
                Some(sender)
            };
            all[from].spread.push(sender);
        }
    }
    for worker in tx..workers {
        let (sender, receiver) = ring::ring(eal)?;
        all[worker].through = Some(sender);
        all[worker % tx].others.push(receiver);
    }
    Ok(all)
}

/// The longest frame of a port with this MTU, bytes.
const fn frame_length(mtu: u16) -> u32 {
    mtu as u32 + FRAME_OVERHEAD
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.running {
            // SAFETY: no queue pair is left to poll the port.
            unsafe { sys::rte_eth_dev_stop(self.port) };
            // SAFETY: stopped, and never used again: its number leaves the ports that EAL finds.
            unsafe { sys::rte_eth_dev_close(self.port) };
        }
        self.eal.in_use().ports.remove(&self.port);
    }
}

fn present(eal: &Eal) -> String {
    let names = eal.ports();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
