//! One worker between two ports in memory, and packets to random destinations whose next hop shows in the MAC address
//! that they leave for.

use super::GATEWAYS;
use crate::bench::ROUND;
use crate::bench::port::MemoryPort;
use anyhow::{Context as _, Result, ensure};
use dataplane::fib::Fib;
use dataplane::fib::synthetic::{Random, address_in};
use dataplane::id::{Generation, InterfaceId, NextHopId, PortId, WorkerId};
use dataplane::links::{ControlLinks, connect};
use dataplane::packet::{BURST, Packet, PacketPool};
use dataplane::snapshot::{Interface, NextHop, Snapshot, Tables};
use dataplane::telemetry::Counters;
use dataplane::wire::ethernet::Ethernet;
use dataplane::wire::ipv4::{Fragmentation, Ipv4Fields};
use dataplane::wire::{EtherType, MacAddr, Protocol, TrafficClass, ethernet, ipv4, udp};
use dataplane::worker::{Worker, WorkerParts};
use dpdk::{Clock, Mbuf, Mempool};
use hdrhistogram::Histogram;
use ipnet::IpNet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

const LAN: u16 = 0;
const WAN: u16 = 1;
/// Bytes of a frame without its check sequence: the least.
const LENGTH: usize = 60;
/// Where an Ethernet frame with IPv4 has the last word of its destination.
const DESTINATION: usize = ethernet::HEADER_LENGTH + 16;

/// The worker, its ports and what was offered to it.
pub struct Traffic {
    worker: Worker<MemoryPort<Mbuf>, Mempool, Clock>,
    ports: [MemoryPort<Mbuf>; 2],
    control: ControlLinks,
    pool: Mempool,
    offered: Vec<u32>,
}

fn mac(interface: u16) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, interface as u8])
}

/// The MAC address of the gateway that `next_hop` leads to.
fn gateway_mac(next_hop: u32) -> MacAddr {
    MacAddr([2, 0, 0, 0, 2, next_hop as u8])
}

impl Traffic {
    /// A worker with the routes of `fib`: [`NextHopId`] n leads to gateway n.
    pub fn new(fib: Arc<Fib>, pool: &Mempool, clock: &Clock) -> Traffic {
        let forward_until = Arc::new(AtomicU64::new(u64::MAX));
        let (links, control) = connect(1, 0, &forward_until).pop().expect("one worker was asked for");
        let ports = [MemoryPort::default(), MemoryPort::default()];
        let worker = Worker::new(WorkerParts {
            id: WorkerId(0),
            ports: ports.to_vec(),
            pool: pool.clone(),
            clock: *clock,
            snapshot: snapshot(fib),
            links,
            icmp_errors_per_second: 0,
            sessions: None,
            bfd: Vec::new(),
        });
        Traffic { worker, ports, control, pool: pool.clone(), offered: Vec::new() }
    }

    /// The worker's counters.
    pub fn counters(&self) -> Arc<Counters> {
        self.control.counters.clone()
    }

    /// Puts a round of packets into the LAN's queue: to random addresses of random routes. Returns the addresses.
    pub fn offer(&mut self, table: &[IpNet], random: &mut Random) -> Result<Vec<u32>> {
        let addresses =
            std::iter::repeat_with(|| address_in(table[random.below(table.len())], random) as u32);
        // Link-local addresses are not forwarded, whatever a route says (RFC 3927 §7).
        let addresses = addresses.filter(|&to| !Ipv4Addr::from_bits(to).is_link_local());
        self.offered = addresses.take(ROUND).collect();
        let mut packets = Vec::with_capacity(ROUND);
        for &to in &self.offered {
            let mut packet = self.pool.alloc().context("the benchmark's pool is too small")?;
            write(packet.append(LENGTH).context("a frame fits an mbuf")?, to);
            packets.push(packet);
        }
        self.ports[usize::from(LAN)].offer(packets);
        Ok(self.offered.clone())
    }

    /// Lets the worker forward them, and records the cycles of each poll.
    pub fn forward(&mut self, clock: &Clock, polls: &mut Histogram<u64>) -> Result<()> {
        loop {
            let begin = clock.cycles();
            let received = self.worker.poll();
            let cycles = clock.cycles() - begin;
            if received == 0 {
                return Ok(());
            }
            ensure!(received == BURST, "a poll took {received} packets: a round is whole bursts");
            polls.record(cycles)?;
        }
    }

    /// Where each packet of the round left for; `None` if it did not.
    pub fn led(&mut self) -> Result<Vec<Option<NextHopId>>> {
        drop(self.ports[usize::from(LAN)].taken());
        let mut left = self.ports[usize::from(WAN)].taken().into_iter();
        let mut next = left.next();
        let mut led = Vec::with_capacity(ROUND);
        // In the order of their arrival, without those that were dropped.
        for &to in &self.offered {
            let Some(frame) = next.as_ref().map(Packet::data) else {
                led.push(None);
                continue;
            };
            if frame[DESTINATION..DESTINATION + 4] != to.to_be_bytes() {
                led.push(None);
                continue;
            }
            let next_hop = u32::from(frame[5]);
            ensure!(frame[..6] == gateway_mac(next_hop).0, "a packet left for no gateway");
            led.push(Some(NextHopId(next_hop)));
            next = left.next();
        }
        ensure!(next.is_none(), "a packet came out that was not offered, or out of order");
        Ok(led)
    }
}

fn snapshot(fib: Arc<Fib>) -> Snapshot {
    let interface = |id: u16, net: &str| Interface {
        id: InterfaceId(id),
        port: PortId(id),
        vlan: None,
        mac: mac(id),
        mtu: 1500,
        addresses: vec![net.parse().expect("a constant prefix")],
        gateway: Vec::new(),
        site_link: false,
        virtual_router: None,
    };
    let gateway = |n: u32| Ipv4Addr::new(198, 18, 1, n as u8).into();
    let via = |n: u32| NextHop::Via { interface: InterfaceId(WAN), gateway: gateway(n) };
    let next_hops = std::iter::once(NextHop::Unreachable).chain((1..=GATEWAYS).map(via));
    let neighbors = (1..=GATEWAYS).map(|n| (InterfaceId(WAN), gateway(n), gateway_mac(n)));
    Snapshot::from(Tables {
        generation: Generation(1),
        interfaces: [interface(LAN, "10.0.0.1/24"), interface(WAN, "198.18.1.254/24")].into(),
        fib,
        next_hops: next_hops.collect(),
        neighbors: Arc::new(neighbors.collect()),
        tunnels: [].into(),
        groups: [].into(),
        router_v4: None,
        router_v6: None,
        acl: None,
    })
}

/// A UDP packet from a host of the LAN to `to`.
fn write(frame: &mut [u8], to: u32) {
    let src = Ipv4Addr::new(10, 0, 0, 10);
    let link =
        Ethernet { dst: mac(LAN), src: MacAddr([2, 0, 0, 0, 0, 9]), vlan: None, ether_type: EtherType::IPV4 };
    let ip = link.write(frame).expect("a frame holds its header");
    let upper = ip + ipv4::HEADER_LENGTH;
    let dst = Ipv4Addr::from_bits(to);
    udp::write(&mut frame[upper..], (src.into(), 1024), (dst.into(), 9)).expect("a frame holds a UDP header");
    let fields = Ipv4Fields {
        traffic_class: TrafficClass(0),
        payload_length: (LENGTH - upper) as u16,
        id: 0,
        fragmentation: Fragmentation { dont_fragment: true, more: false, offset: 0 },
        ttl: 64,
        protocol: Protocol::UDP,
        src,
        dst,
    };
    fields.write(&mut frame[ip..]).expect("a frame holds an IP header");
}
