//! Ports, their queues and the packet buffers behind them.

use super::PortPlan;
use crate::config::Config;
use crate::config::model::{self, Port};
use crate::config::types::{BondMode, Device};
use dataplane::id::PortId;
use dpdk::{PoolConfig, PortConfig};

/// Ethernet header, two 802.1Q tags and what a tunnel appends (ESP: padding, trailer and ICV).
const FRAME_EXTRA: u16 = 14 + 8 + 42;
/// Bytes of an AF_PACKET frame when nobody says otherwise, its own header included.
const AF_PACKET_FRAME: u16 = 2048;
/// That header with its addresses, rounded up.
const AF_PACKET_HEADER: u16 = 96;
/// AF_PACKET's frames lie in blocks of whole pages.
const PAGE: u16 = 4096;

/// Every device that EAL is to create, in order: a bond after its members.
pub fn vdevs(config: &Config) -> Vec<String> {
    let workers = workers(config);
    let of_port = |port: &Port| {
        let members = port.bond.iter().flat_map(|bond| &bond.members);
        let devices: Vec<&Device> = members.chain([&port.device]).collect();
        devices.into_iter().filter_map(|device| vdev(port, device, workers)).collect::<Vec<_>>()
    };
    config.ports.iter().flat_map(of_port).collect()
}

/// The PCI addresses of every device, a bond's members among them.
pub fn pci(config: &Config) -> Vec<String> {
    let devices = config.ports.iter().flat_map(Port::devices);
    devices.filter(|device| matches!(device, Device::Pci(_))).map(|device| device.name().to_owned()).collect()
}

/// The `--vdev` argument of a virtual device. AF_PACKET has as many queue pairs, and frames as large, as it is told at
/// creation.
fn vdev(port: &Port, device: &Device, workers: u16) -> Option<String> {
    if matches!(device, Device::Pci(_)) {
        return None;
    }
    let mut argument = device.to_string();
    if device.is_af_packet() {
        let (queues, frame) = (rx_queues(port, workers), af_packet_frame(port));
        if queues > 1 && device.arg("qpairs").is_none() {
            argument += &format!(",qpairs={queues}");
        }
        if frame > AF_PACKET_FRAME && device.arg("framesz").is_none() {
            argument += &format!(",blocksz={frame},framesz={frame}");
        }
    }
    Some(argument)
}

/// Bytes of an AF_PACKET frame that holds the port's largest packet.
fn af_packet_frame(port: &Port) -> u16 {
    let needed = port.mtu.get() as u16 + FRAME_EXTRA + AF_PACKET_HEADER;
    if needed <= AF_PACKET_FRAME { AF_PACKET_FRAME } else { needed.next_multiple_of(PAGE) }
}

fn workers(config: &Config) -> u16 {
    config.dpdk.cores.len() as u16
}

/// Receive queues that are asked for; with fewer than workers, flows are handed over.
pub fn rx_queues(port: &Port, workers: u16) -> u16 {
    port.queues.map_or(workers, |queues| queues.get() as u16)
}

/// Bytes that the largest frame of a port needs in a buffer.
pub fn frame_room(port: &Port) -> u16 {
    let copies_whole_frames = port.devices().any(Device::is_af_packet);
    let frame = port.mtu.get() as u16 + FRAME_EXTRA;
    if copies_whole_frames { frame.max(af_packet_frame(port)) } else { frame }.next_multiple_of(64)
}

fn largest_frame(config: &Config) -> u16 {
    config.ports.iter().map(frame_room).max().unwrap_or(0)
}

/// The pool of each socket.
pub fn pool(config: &Config) -> PoolConfig {
    let default = PoolConfig::default();
    let derived = largest_frame(config).max(default.data_room);
    let data_room = config.dpdk.data_room.map_or(derived, |bytes| bytes.get() as u16);
    PoolConfig { packets: config.dpdk.mbufs.get() as u32, data_room, ..default }
}

/// Bytes of the largest datagram that rules and NAT see whole.
const DATAGRAM: u16 = 16_384;

/// The large buffers of each socket, if some frames need them, or datagrams that are joined from fragments because rules
/// or NAT ask about them.
pub fn jumbo(config: &Config) -> Option<PoolConfig> {
    let asked = config.acl.is_some() || config.sessions.is_some() || config.nat.is_some();
    let data_room = largest_frame(config).max(if asked { DATAGRAM } else { 0 });
    let packets = config.dpdk.jumbo_mbufs.get() as u32;
    let needed = data_room > pool(config).data_room;
    needed.then(|| PoolConfig { packets, data_room, ..PoolConfig::default() })
}

/// How each port is started.
pub fn ports(config: &Config) -> Vec<PortPlan> {
    let workers = workers(config);
    let port = |(port, id): (&Port, u16)| {
        let rx_queues = rx_queues(port, workers);
        // A NIC has a queue for each worker to send by. Virtual devices have pairs.
        let physical = port.devices().all(|device| matches!(device, Device::Pci(_)) || is_bond(port, device));
        let descriptors = port.descriptors.get() as u16;
        let config = PortConfig {
            rx_queues,
            tx_queues: if physical { workers } else { rx_queues },
            workers: (workers > 1).then_some(workers),
            rx_descriptors: descriptors,
            tx_descriptors: descriptors,
            mtu: port.mtu.get() as u16,
            lacp: port.bond.as_ref().is_some_and(|bond| bond.mode == BondMode::Lacp),
            ..PortConfig::new(port.device.name())
        };
        PortPlan { id: PortId(id), name: port.name.to_string(), config }
    };
    config.ports.iter().zip(0..).map(port).collect()
}

fn is_bond(port: &Port, device: &Device) -> bool {
    port.bond.is_some() && *device == port.device
}

impl model::Port {
    /// The device and, of a bond, its members.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        std::iter::once(&self.device).chain(self.bond.iter().flat_map(|bond| &bond.members))
    }
}
