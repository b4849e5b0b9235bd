//! Packets that were never received and are never sent.

use crate::frame::HeapPacket;
use crate::packet::{Burst, Packet, PacketPool, Port};

/// Room before a packet, for the headers of any tunnel.
const HEADROOM: usize = 256;
/// The largest MTU, and room for a tunnel's trailer.
const CAPACITY: usize = HEADROOM + 9600 + 256;

/// A packet in plain memory. No port of this machine takes one: DPDK's take mbufs.
pub type DryPacket = HeapPacket<HEADROOM, CAPACITY>;

impl DryPacket {
    /// A packet of `length` bytes that begins with `head`; the rest is zeros. `None` if it is longer than any packet is.
    pub fn padded(head: &[u8], length: usize) -> Option<DryPacket> {
        let mut packet = DryPacket::empty();
        let all = packet.append(length)?;
        all.get_mut(..head.len())?.copy_from_slice(head);
        Some(packet)
    }
}

/// Where a shadow's own packets (ICMP errors, fragments) come from.
#[derive(Debug, Default)]
pub struct DryPool;

impl PacketPool for DryPool {
    type Packet = DryPacket;

    fn alloc(&mut self) -> Option<DryPacket> {
        Some(DryPacket::empty())
    }
}

/// A port without a wire: it has no field that could lead anywhere. What is sent by it is freed.
#[derive(Clone, Copy, Debug, Default)]
pub struct DryPort;

const _: () = assert!(size_of::<DryPort>() == 0, "a dry port leads nowhere");

impl Port for DryPort {
    type Packet = DryPacket;

    fn rx_burst(&mut self, _: &mut Burst<DryPacket>) {}

    fn tx_burst(&mut self, burst: &mut Burst<DryPacket>) {
        burst.clear();
    }
}
