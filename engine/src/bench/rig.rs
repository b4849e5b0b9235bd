//! Two engines back to back in memory: the near one is measured, the far one makes its input and reads its output.

use super::port::MemoryPort;
use super::{Case, ROUND};
use crate::config::types::CryptoProvider;
use crate::crypto::Crypto;
use anyhow::{Context as _, Result, bail, ensure};
use dataplane::ecmp::{BucketTable, Shares};
use dataplane::fib::FibBuilder;
use dataplane::id::{Generation, GroupId, InterfaceId, Nanos, NextHopId, PortId, Spi, TunnelId, WorkerId};
use dataplane::links::{ControlLinks, connect};
use dataplane::message::{Command, Inbound};
use dataplane::packet::{BURST, Packet, PacketPool};
use dataplane::replay::WindowSize;
use dataplane::sa::{Algorithm, InboundSa, Limits, OutboundSa, SaKey};
use dataplane::snapshot::{Encapsulation, Group, Interface, NextHop, Snapshot, Tables, Tunnel};
use dataplane::wire::ethernet::Ethernet;
use dataplane::wire::ipv4::{Fragmentation, Ipv4Fields};
use dataplane::wire::ipv6::Ipv6Fields;
use dataplane::wire::{EtherType, MacAddr, Protocol, TrafficClass, ethernet, ipv4, ipv6, udp};
use dataplane::worker::{Worker, WorkerParts};
use dpdk::{Clock, Mbuf, Mempool};
use hdrhistogram::Histogram;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

const LAN: usize = 0;
const WAN: usize = 1;
const HOST: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x10]);
/// Flows in the traffic: enough that no branch predictor learns one packet by heart.
const FLOWS: usize = 64;

struct End {
    worker: Worker<MemoryPort, Mempool, Clock>,
    ports: [MemoryPort; 2],
    control: ControlLinks,
}

/// The two engines and the traffic between them.
pub struct Rig {
    case: Case,
    near: End,
    far: End,
    pool: Mempool,
    frames: Vec<Vec<u8>>,
    offered: u64,
    delivered: u64,
}

/// Which end of the rig.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Near,
    Far,
}

impl Side {
    fn number(self) -> u8 {
        if self == Side::Near { 1 } else { 2 }
    }

    fn other(self) -> Side {
        if self == Side::Near { Side::Far } else { Side::Near }
    }

    fn mac(self, port: usize) -> MacAddr {
        MacAddr([2, 0, 0, 0, self.number(), port as u8])
    }

    fn wan(self) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, self.number()).into()
    }

    fn addresses(self, port: usize) -> Vec<IpNet> {
        let n = self.number();
        let texts = match port {
            LAN => [format!("10.{n}.0.1/24"), format!("fd00:{n}::1/64")],
            _ => [format!("192.0.2.{n}/24"), format!("2001:db8::{n}/64")],
        };
        texts.iter().map(|text| text.parse().expect("a constant prefix")).collect()
    }

    /// A host behind this end.
    fn host(self, v6: bool) -> IpAddr {
        let n = self.number();
        let text = if v6 { format!("fd00:{n}::10") } else { format!("10.{n}.0.10") };
        text.parse().expect("a constant address")
    }
}

impl Rig {
    /// Both engines with their tunnel up, and the frames of `length` bytes that the case forwards.
    pub fn new(case: Case, length: usize, pool: &Mempool, clock: &Clock) -> Rig {
        let mut rig = Rig {
            case,
            near: end(case, Side::Near, pool, clock),
            far: end(case, Side::Far, pool, clock),
            pool: pool.clone(),
            frames: (0..FLOWS).map(|flow| frame(case, flow as u16, length)).collect(),
            offered: 0,
            delivered: 0,
        };
        if matches!(case, Case::EspEncrypt | Case::EspDecrypt) {
            let (from, to) = rig.tunnel_ends();
            install(from, to);
        }
        rig
    }

    /// The sending end of the case's tunnel, and the receiving one.
    fn tunnel_ends(&mut self) -> (&mut End, &mut End) {
        match self.case {
            Case::GreDecap | Case::EspDecrypt => (&mut self.far, &mut self.near),
            _ => (&mut self.near, &mut self.far),
        }
    }

    /// Checks that what goes in at one host comes out at the other, whole and with its hops taken. A tunnelled
    /// packet is read by the far end, which also made the input where the near end reads.
    pub fn verify(&mut self) -> Result<()> {
        let input = self.input()?;
        self.feed(input);
        let sent = self.poll_all();
        ensure!(sent == ROUND, "{sent} of {ROUND} packets were transmitted: {}", dropped(&self.near));
        let to = if self.case.is_decap() { LAN } else { WAN };
        let mut outputs = std::mem::take(&mut self.near.ports[to].0.borrow_mut().tx);
        let mut hops = 1;
        if !self.case.is_decap() && self.case.is_tunnel() {
            ensure!(outputs[0].len() > self.frames[0].len(), "nothing was encapsulated");
            outputs = pass(&mut self.far, WAN, LAN, outputs)?;
        }
        if self.case.is_tunnel() {
            hops = 2;
        }
        ensure!(outputs.len() == ROUND, "{} of {ROUND} packets came out", outputs.len());
        for (i, output) in outputs.iter().enumerate() {
            same(&self.frames[i % FLOWS], output.data(), hops)?;
        }
        Ok(())
    }

    /// One round of [`ROUND`] packets, which records the cycles of each poll.
    pub fn round(&mut self, clock: &Clock, polls: &mut Histogram<u64>) -> Result<()> {
        let input = self.input()?;
        self.feed(input);
        loop {
            let begin = clock.cycles();
            let received = self.near.worker.poll();
            let cycles = clock.cycles() - begin;
            if received == 0 {
                break;
            }
            ensure!(received == BURST, "a poll took {received} packets: a round is whole bursts");
            polls.record(cycles)?;
        }
        self.offered += ROUND as u64;
        for port in &self.near.ports {
            self.delivered += port.0.borrow_mut().tx.drain(..).len() as u64;
        }
        Ok(())
    }

    /// Packets that went in and did not come out.
    pub fn drops(&self) -> u64 {
        self.offered - self.delivered
    }

    fn feed(&mut self, input: Vec<Mbuf>) {
        let port = if self.case.is_decap() { WAN } else { LAN };
        self.near.ports[port].0.borrow_mut().rx = input.into();
    }

    fn poll_all(&mut self) -> usize {
        while self.near.worker.poll() > 0 {}
        self.near.ports.iter().map(|port| port.0.borrow().tx.len()).sum()
    }

    /// Fresh packets as the near end receives them.
    fn input(&mut self) -> Result<Vec<Mbuf>> {
        let mut packets = Vec::with_capacity(ROUND);
        for i in 0..ROUND {
            let frame = &self.frames[i % FLOWS];
            let mut packet = self.pool.alloc().context("the benchmark's pool is too small")?;
            packet.append(frame.len()).context("a frame fits an mbuf")?.copy_from_slice(frame);
            packets.push(packet);
        }
        if self.case.is_decap() { pass(&mut self.far, LAN, WAN, packets) } else { Ok(packets) }
    }
}

/// Checks that `output` is `input` after `hops` hops: the IP header but for TTL and checksum, and the payload.
fn same(input: &[u8], output: &[u8], hops: u8) -> Result<()> {
    ensure!(output.len() == input.len(), "{} bytes became {}", input.len(), output.len());
    let (input, output) = (&input[ethernet::HEADER_LENGTH..], &output[ethernet::HEADER_LENGTH..]);
    let (ttl, check) = if input[0] >> 4 == 4 { (8, 10..12) } else { (7, 0..0) };
    ensure!(output[ttl] + hops == input[ttl], "TTL {} became {}", input[ttl], output[ttl]);
    let changed = |i: &usize| *i != ttl && !check.contains(i) && input[*i] != output[*i];
    match (0..input.len()).find(changed) {
        Some(i) => bail!("byte {i} of the IP packet changed"),
        None => Ok(()),
    }
}

/// Runs packets through an engine, untimed.
fn pass(end: &mut End, from: usize, to: usize, packets: Vec<Mbuf>) -> Result<Vec<Mbuf>> {
    end.ports[from].0.borrow_mut().rx = packets.into();
    while end.worker.poll() > 0 {}
    let out = std::mem::take(&mut end.ports[to].0.borrow_mut().tx);
    if out.is_empty() {
        bail!("the far end let nothing through: {}", dropped(end));
    }
    Ok(out)
}

fn dropped(end: &End) -> String {
    let counters = &end.control.counters;
    let reasons = dataplane::drop_reason::DropReason::ALL.iter();
    reasons
        .filter(|&&reason| counters.dropped(reason).get() > 0)
        .map(|&reason| format!("{reason} {}", counters.dropped(reason).get()))
        .collect::<Vec<_>>()
        .join(", ")
}

fn end(case: Case, side: Side, pool: &Mempool, clock: &Clock) -> End {
    let forward_until = Arc::new(AtomicU64::new(u64::MAX));
    let (worker, control) = connect(1, 1, &forward_until).pop().expect("one worker was asked for");
    let ports = [MemoryPort::default(), MemoryPort::default()];
    let worker = Worker::new(WorkerParts {
        id: WorkerId(0),
        ports: ports.to_vec(),
        pool: pool.clone(),
        clock: *clock,
        snapshot: snapshot(case, side),
        links: worker,
        icmp_errors_per_second: 100,
        sessions: None,
    });
    End { worker, ports, control }
}

fn snapshot(case: Case, side: Side) -> Snapshot {
    let interface = |port: usize| Interface {
        id: InterfaceId(port as u16),
        port: PortId(port as u16),
        vlan: None,
        mac: side.mac(port),
        mtu: 1600,
        addresses: side.addresses(port),
        site_link: false,
    };
    let encapsulation = match case {
        Case::EspEncrypt | Case::EspDecrypt => Encapsulation::Esp,
        _ => Encapsulation::Gre { key: None, sequence: false },
    };
    let (id, group, other) = (TunnelId(0), GroupId(0), side.other());
    let tunnel = Tunnel {
        id,
        encapsulation,
        local: side.wan(),
        remote: other.wan(),
        interface: InterfaceId(WAN as u16),
        next_hop: other.wan(),
        mtu: 1518,
        up: true,
        fenced: false,
    };
    let shares = Shares::by_weight(&[(id, 1)]).expect("one member has all");
    let to_other = match case {
        Case::Ipv4 | Case::Ipv6 => {
            let gateway = if case == Case::Ipv6 { other.addresses(WAN)[1].addr() } else { other.wan() };
            NextHop::Via { interface: InterfaceId(WAN as u16), gateway }
        }
        _ => NextHop::Group(group),
    };
    let mut fib = FibBuilder::new();
    let next_hops =
        [NextHop::Unreachable, NextHop::Local, NextHop::Connected(InterfaceId(LAN as u16)), to_other];
    for net in [LAN, WAN].into_iter().flat_map(|port| side.addresses(port)) {
        fib.insert(IpNet::from(net.addr()), NextHopId(1));
    }
    for net in side.addresses(LAN) {
        fib.insert(net.trunc(), NextHopId(2));
    }
    for net in other.addresses(LAN) {
        fib.insert(net.trunc(), NextHopId(3));
    }
    let neighbors =
        other.addresses(WAN).into_iter().map(|net| (InterfaceId(WAN as u16), net.addr(), other.mac(WAN)));
    let hosts = [false, true].map(|v6| (InterfaceId(LAN as u16), side.host(v6), HOST));
    Snapshot::from(Tables {
        generation: Generation(1),
        interfaces: [interface(LAN), interface(WAN)].into(),
        fib: fib.build().expect("a few routes fit"),
        next_hops: next_hops.into(),
        neighbors: Arc::new(neighbors.chain(hosts).collect()),
        tunnels: [tunnel].into(),
        groups: [Group {
            id: group,
            buckets: Arc::new(BucketTable::new(&shares)),
            own: [id].into_iter().collect(),
            members: [id].into_iter().collect(),
            flowlet_gap: Nanos(0),
            move_deadline: Nanos(0),
            mss_clamp: true,
        }]
        .into(),
        router_v4: None,
        router_v6: None,
        acl: None,
    })
}

/// One AES-128-GCM SA from one end to the other.
fn install(from: &mut End, to: &mut End) {
    let (spi, tunnel) = (Spi(0x1000), TunnelId(0));
    let crypto = Crypto::choose(CryptoProvider::Auto).expect("auto falls back");
    let key = || {
        SaKey::new(&*crypto.provider, Algorithm::Aes128Gcm, &[0x42; 20])
            .expect("AES-128 and salt have 20 bytes")
    };
    let limits = Limits { soft: u64::MAX - 1, hard: u64::MAX };
    let outbound = OutboundSa::new(spi, key(), limits, true).expect("a valid SA");
    let window = WindowSize::new(1024).expect("a valid size");
    let inbound = InboundSa::new(spi, key(), window, true).expect("a valid SA");
    let sent = from.control.commands.push(Command::InstallOutbound(tunnel, Box::new(outbound)));
    let sent = sent
        .and(to.control.commands.push(Command::InstallInbound(Box::new(Inbound { tunnel, sa: inbound }))));
    assert!(sent.is_ok(), "fresh rings have room");
}

/// A UDP packet from a host behind the sending end to one behind the other, `length` bytes.
fn frame(case: Case, flow: u16, length: usize) -> Vec<u8> {
    let from = if case.is_decap() { Side::Far } else { Side::Near };
    let v6 = case == Case::Ipv6;
    let (src, dst) = (from.host(v6), from.other().host(v6));
    let header = if v6 { ipv6::HEADER_LENGTH } else { ipv4::HEADER_LENGTH };
    // An IPv6 header with UDP needs 62 bytes: more than the least frame.
    let length = length.max(ethernet::HEADER_LENGTH + header + udp::HEADER_LENGTH);
    let mut frame: Vec<u8> = (0..length).map(|i| i as u8).collect();
    let ether_type = if v6 { EtherType::IPV6 } else { EtherType::IPV4 };
    let link = Ethernet { dst: from.mac(LAN), src: HOST, vlan: None, ether_type };
    let ip = link.write(&mut frame).expect("a frame holds its header");
    let upper = ip + header;
    let ports = ((src, 1024 + flow), (dst, 4789));
    udp::write(&mut frame[upper..], ports.0, ports.1).expect("a frame holds a UDP header");
    let payload_length = (length - upper) as u16;
    let (traffic_class, protocol) = (TrafficClass(0), Protocol::UDP);
    let written = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let fragmentation = Fragmentation { dont_fragment: true, more: false, offset: 0 };
            Ipv4Fields { traffic_class, payload_length, id: 0, fragmentation, ttl: 64, protocol, src, dst }
                .write(&mut frame[ip..])
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let fields = Ipv6Fields {
                traffic_class,
                flow_label: 0,
                payload_length,
                next_header: protocol,
                hop_limit: 64,
                src,
                dst,
            };
            fields.write(&mut frame[ip..])
        }
        _ => unreachable!("both hosts are of one family"),
    };
    written.expect("a frame holds an IP header");
    frame
}
