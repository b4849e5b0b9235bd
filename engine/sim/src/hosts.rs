//! The hosts of both sites: numbered UDP packets one way, and a note of each that arrives.

use crate::rng::Rng;
use crate::topology::{GATEWAY, HOST_A, HOST_B, HOST_MAC, engine_mac};
use dataplane::id::Nanos;
use dataplane::wire::ipv4::{Fragmentation, Ipv4Fields};
use dataplane::wire::{MacAddr, Protocol, TrafficClass, udp};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr};

const MARK: [u8; 4] = *b"FSIM";
const ETHERNET: usize = 14;
const IP: usize = 20;
const UDP: usize = 8;
const PAYLOAD: usize = 12;

/// Packets of a burst.
const PACKETS: u32 = 4;

/// One packet of a host: the same wherever it is met, and however often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId {
    /// Its flow.
    pub flow: u32,
    /// Its number in the flow, from 0.
    pub number: u32,
}

impl PacketId {
    /// Of an IP packet, whatever follows it; `None` if no host sent it.
    pub fn of(ip: &[u8]) -> Option<PacketId> {
        let payload = ip.get(IP + UDP..IP + UDP + PAYLOAD)?;
        let number = |at: usize| payload[at..].first_chunk().copied().map(u32::from_be_bytes);
        if payload[..4] != MARK {
            return None;
        }
        Some(PacketId { flow: number(4)?, number: number(8)? })
    }

    /// The same, of a frame.
    pub fn of_frame(frame: &[u8]) -> Option<PacketId> {
        PacketId::of(frame.get(ETHERNET..)?)
    }
}

/// A flow of packets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    /// Packets sent.
    pub sent: u32,
}

/// What hosts do.
pub struct Hosts {
    /// By number; even ones go from a to b, odd ones from b to a.
    pub flows: Vec<Flow>,
    /// The engine that site a's hosts send to: the last that told them by ARP that it has the gateway's address.
    pub gateway: Option<&'static str>,
    /// They send.
    pub talking: bool,
    spacing: [(Nanos, Nanos); 2],
    due: BinaryHeap<Reverse<(Nanos, u32)>>,
}

impl Hosts {
    /// So many flows, half of them each way; each sends bursts of packets. `spacing` is that of packets in a
    /// burst and of bursts, each the least and the most.
    pub fn new(flows: u32, spacing: [(Nanos, Nanos); 2], rng: &mut Rng) -> Hosts {
        let first = spacing[1].1.0 + 1;
        let due = (0..flows).map(|flow| Reverse((Nanos(rng.below(first)), flow))).collect();
        let flows = vec![Flow::default(); flows as usize];
        Hosts { flows, gateway: None, talking: false, spacing, due }
    }

    /// What is sent by now.
    pub fn send(&mut self, now: Nanos, rng: &mut Rng) -> Vec<PacketId> {
        let mut sent = Vec::new();
        while let Some(&Reverse((at, flow))) = self.due.peek()
            && at <= now
        {
            self.due.pop();
            let number = &mut self.flows[flow as usize].sent;
            let burst_ends = !self.talking || *number % PACKETS == PACKETS - 1;
            let (least, most) = self.spacing[usize::from(burst_ends)];
            let wait = least.0 + rng.below(most.since(least).0 + 1);
            self.due.push(Reverse((at.plus(Nanos(wait)), flow)));
            if self.talking {
                sent.push(PacketId { flow, number: *number });
                *number += 1;
            }
        }
        sent
    }

    /// The engine that a packet's host sends it to.
    pub fn first_hop(&self, packet: PacketId) -> Option<&'static str> {
        if packet.flow.is_multiple_of(2) { self.gateway } else { Some("b1") }
    }

    /// A frame that an engine sent to hosts. What it is of theirs, if it is; an announcement of site a's
    /// gateway is heeded.
    pub fn hear(&mut self, from: &'static str, frame: &[u8]) -> Option<PacketId> {
        // RFC 826, and RFC 5227 §3: the sender's protocol address.
        if frame.get(12..14) == Some(&[0x08, 0x06]) {
            if from.starts_with('a') && frame.get(28..32) == Some(&GATEWAY.octets()) {
                self.gateway = Some(from);
            }
            return None;
        }
        PacketId::of_frame(frame)
    }
}

/// The frame of a packet, to an engine.
pub fn frame(packet: PacketId, to: &str) -> Vec<u8> {
    let (src, dst) = if packet.flow.is_multiple_of(2) { (HOST_A, HOST_B) } else { (HOST_B, HOST_A) };
    framed(engine_mac(to, 0), &packet_between(packet, src, dst))
}

/// An IPv4 packet from a host, in a frame to this address.
pub fn framed(to: MacAddr, packet: &[u8]) -> Vec<u8> {
    [&to.0, &HOST_MAC.0, &[0x08, 0x00][..], packet].concat()
}

/// A host's packet.
pub fn packet_between(packet: PacketId, src: Ipv4Addr, dst: Ipv4Addr) -> Vec<u8> {
    let mut ip = vec![0; IP + UDP + PAYLOAD];
    let fields = Ipv4Fields {
        traffic_class: TrafficClass(0),
        payload_length: (UDP + PAYLOAD) as u16,
        id: 0,
        fragmentation: Fragmentation { dont_fragment: true, more: false, offset: 0 },
        ttl: 64,
        protocol: Protocol::UDP,
        src,
        dst,
    };
    let (header, datagram) = ip.split_at_mut(IP);
    fields.write(header).expect("room for an IPv4 header");
    datagram[UDP..UDP + 4].copy_from_slice(&MARK);
    datagram[UDP + 4..UDP + 8].copy_from_slice(&packet.flow.to_be_bytes());
    datagram[UDP + 8..].copy_from_slice(&packet.number.to_be_bytes());
    let ports = (1024 + (packet.flow % 60_000) as u16, 2000 + (packet.flow / 60_000) as u16);
    udp::write(datagram, (IpAddr::V4(src), ports.0), (IpAddr::V4(dst), ports.1)).expect("room for UDP");
    ip
}
