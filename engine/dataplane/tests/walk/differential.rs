//! The walk against [`crate::support::reference`]: the same bytes leave, or the same message goes back.

use crate::support::craft::{addresses, payload};
use crate::support::draft::{wan_v4, wan_v6};
use crate::support::pooled::{Pool, PooledPort};
use crate::support::reference::{Fate, Reference};
use crate::support::{
    Draft, Engine, Ip, LAN, PORTS, Sizes, WAN, checked, engine_mac, frame, host_mac, host_v4, host_v6,
};
use dataplane::id::{InterfaceId, PortId, TunnelId};
use dataplane::packet::Packet;
use dataplane::snapshot::{Encapsulation, NextHop};
use etherparse::{IpNumber, Ipv4Header, Ipv4Options, PacketBuilder};
use ipnet::IpNet;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

type Pooled = Engine<PooledPort, Pool>;

const BUFFERS: usize = 256;

/// A route within 10.64.0.0/10 or 2001:db8:4000::/34, and what it leads to.
#[derive(Clone, Copy, Debug)]
struct Route {
    v6: bool,
    bits: u128,
    length: u8,
    hop: u8,
}

impl Route {
    fn net(self) -> IpNet {
        let net = if self.v6 {
            let base = u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0x4000, 0, 0, 0, 0, 0));
            IpNet::new(Ipv6Addr::from(base | self.bits >> 34).into(), 34 + self.length % 95)
        } else {
            let bits = (self.bits >> 106) as u32;
            IpNet::new(
                Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 64, 0, 0)) | bits).into(),
                10 + self.length % 23,
            )
        };
        net.unwrap().trunc()
    }

    fn next_hop(self) -> NextHop {
        let peer = 2 + self.hop % 2;
        let gateway = if self.v6 { wan_v6(peer) } else { wan_v4(peer) };
        match self.hop {
            0..=3 => NextHop::Via { interface: InterfaceId(1), gateway },
            4 => NextHop::Blackhole,
            5 => NextHop::Connected(InterfaceId(2)),
            _ => NextHop::Group(dataplane::id::GroupId(u16::from(self.hop) % 2)),
        }
    }
}

fn route() -> impl Strategy<Value = Route> {
    (any::<bool>(), any::<u128>(), any::<u8>(), 0..8u8).prop_map(|(v6, bits, length, hop)| Route {
        v6,
        bits,
        length,
        hop,
    })
}

/// A packet in the making.
#[derive(Clone, Debug)]
struct Sent {
    v6: bool,
    /// Within this route, or without.
    to: prop::sample::Index,
    host: u128,
    ttl: u8,
    class: u8,
    whole: bool,
    kind: u8,
    length: usize,
    padding: usize,
    /// As GRE from a far engine.
    through: Option<(u8, u8)>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let ttl = prop_oneof![1 => Just(1u8), 1 => Just(0), 2 => Just(2), 6 => Just(64), 1 => Just(255)];
    let length = prop_oneof![5 => 0..200usize, 3 => 1380..1500usize, 1 => 1500..1900usize];
    let through = prop::option::weighted(0.3, (0..3u8, any::<u8>()));
    let packet = (any::<bool>(), any::<prop::sample::Index>(), any::<u128>(), ttl, any::<u8>());
    (packet, any::<bool>(), 0..8u8, length, 0..20usize, through).prop_map(
        |((v6, to, host, ttl, class), whole, kind, length, padding, through)| Sent {
            v6,
            to,
            host,
            ttl,
            class,
            whole,
            kind,
            length,
            padding,
            through,
        },
    )
}

impl Sent {
    fn packet(&self, routes: &[Route]) -> Vec<u8> {
        let nets: Vec<IpNet> = routes.iter().filter(|r| r.v6 == self.v6).map(|r| r.net()).collect();
        let mut dst = match (nets.is_empty(), self.v6) {
            (true, true) => host_v6(9, 9),
            (true, false) => host_v4(9, 9),
            (false, _) => within(nets[self.to.index(nets.len())], self.host),
        };
        let mut src = if self.v6 { host_v6(1, 9) } else { host_v4(1, 9) };
        if self.through.is_some() {
            // From a host behind the group of the far engines, to one of ours.
            (src, dst) = (if self.v6 { host_v6(2, 9) } else { host_v4(2, 9) }, src);
        }
        let ip = Ip { src, dst, ttl: self.ttl, class: self.class, dont_fragment: self.whole };
        let bytes: Vec<u8> = (0..self.length).map(|n| (n * 7 + n / 251) as u8).collect();
        match self.kind {
            0 => ip.echo(3, &bytes),
            1 => ip.raw(self.host as u8 | 128, &bytes),
            2 if !self.v6 => options(ip, &bytes),
            3 if !self.v6 => fragment(ip, self.host as u16, &bytes),
            4 => tcp(ip, &bytes),
            _ => ip.datagram(self.host as u16, 6000, &bytes),
        }
    }

    fn frame(&self, routes: &[Route]) -> (PortId, Vec<u8>) {
        let packet = self.packet(routes);
        let (port, mut frame) = match self.through {
            None => (LAN, frame(engine_mac(1, 0), host_mac(), None, &packet)),
            Some((tunnel, class)) => {
                let key = (tunnel == 0).then_some(42u32);
                let mut gre = vec![if key.is_some() { 0x20 } else { 0 }, 0];
                gre.extend(if self.v6 { [0x86, 0xdd] } else { [8, 0] });
                gre.extend(key.iter().flat_map(|key| key.to_be_bytes()));
                gre.extend(packet);
                let (src, dst) = if tunnel == 1 { (wan_v6(2), wan_v6(1)) } else { (wan_v4(2), wan_v4(1)) };
                let outer = Ip::new(src, dst).class(class).raw(47, &gre);
                (WAN, frame(engine_mac(1, 1), engine_mac(2, 1), None, &outer))
            }
        };
        frame.extend(vec![0xaa; self.padding]);
        frame.truncate(2048);
        (port, frame)
    }
}

fn within(net: IpNet, host: u128) -> IpAddr {
    match net {
        IpNet::V4(net) => {
            Ipv4Addr::from(u32::from(net.network()) | host as u32 & u32::from(net.hostmask())).into()
        }
        IpNet::V6(net) => {
            Ipv6Addr::from(u128::from(net.network()) | host & u128::from(net.hostmask())).into()
        }
    }
}

fn options(ip: Ip, body: &[u8]) -> Vec<u8> {
    let etherparse::IpHeaders::Ipv4(mut header, _) = ip.header() else { unreachable!("IPv4") };
    header.options = Ipv4Options::try_from(&[7u8, 7, 4, 0, 0, 0, 0, 0][..]).unwrap();
    header.protocol = IpNumber::UDP;
    header.set_payload_len(body.len()).unwrap();
    with_checksum(header, body)
}

/// A fragment from the middle, or the last of all.
fn fragment(ip: Ip, at: u16, body: &[u8]) -> Vec<u8> {
    let etherparse::IpHeaders::Ipv4(mut header, _) = ip.header() else { unreachable!("IPv4") };
    header.fragment_offset = (at & 0x3ff).try_into().unwrap();
    header.more_fragments = at & 0x400 != 0;
    header.protocol = IpNumber::UDP;
    header.set_payload_len(body.len()).unwrap();
    with_checksum(header, body)
}

fn with_checksum(mut header: Ipv4Header, body: &[u8]) -> Vec<u8> {
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes()[..], body].concat()
}

fn tcp(ip: Ip, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    PacketBuilder::ip(ip.header()).tcp(5000, 80, 1, 1000).ack(7).write(&mut out, body).unwrap();
    out
}

fn draft(routes: &[Route]) -> Draft {
    let mut draft = Draft::new(1, 1);
    let keyed = draft.tunnel(Encapsulation::Gre { key: Some(42), sequence: false }, false, 2);
    let over_v6 = draft.tunnel(Encapsulation::Gre { key: None, sequence: false }, true, 2);
    let plain = draft.tunnel(Encapsulation::Gre { key: None, sequence: false }, false, 2);
    draft.tunnels.iter_mut().for_each(|tunnel| tunnel.mtu = 1400);
    draft.group(2, &[(keyed, 1), (over_v6, 2), (plain, 3)], &[keyed]);
    let alone = draft.tunnel(Encapsulation::Gre { key: Some(7), sequence: false }, false, 3);
    draft.group(3, &[(alone, 1)], &[TunnelId(3)]);
    for route in routes {
        // Two routes of one prefix are one route.
        if draft.routes.iter().all(|(net, _)| *net != route.net()) {
            draft.routes.push((route.net(), route.next_hop()));
        }
    }
    draft
}

/// Everything that left since the last time, by port.
fn taken(engine: &Pooled) -> Vec<(PortId, Vec<u8>)> {
    let ports = (0..PORTS).map(|port| PortId(port as u16));
    ports
        .flat_map(|port| {
            let mut tx = engine.queues[0][port.index()].tx.lock().unwrap();
            tx.drain(..).map(|packet| (port, packet.data().to_vec())).collect::<Vec<_>>()
        })
        .collect()
}

/// A tunnel packet without its outer flow label, which is whatever the engine chose for the flow (RFC 6437 §3).
fn unlabelled((port, mut frame): (PortId, Vec<u8>)) -> (PortId, Vec<u8>) {
    if frame.len() > 20 && frame[12..14] == [0x86, 0xdd] && frame[20] == 47 {
        frame[15] &= 0xf0;
        frame[16..18].fill(0);
    }
    (port, frame)
}

/// Whether `out` is what `fate` asks for.
fn agree(fate: &Fate, frame: &[u8], out: &[(PortId, Vec<u8>)]) -> Result<(), String> {
    let right = match fate {
        Fate::Leaves(ways) => out.len() == 1 && ways.contains(&unlabelled(out[0].clone())),
        Fate::Ends => out.iter().all(|(_, frame)| told(frame).is_some()),
        Fate::Refused(kind, code) => match out {
            // A fragment that is not the first, or an ICMP error, is answered by nothing (RFC 1122 §3.2.2).
            [] => true,
            [(_, answer)] => told(answer) == Some((*kind, *code)),
            _ => false,
        },
        Fate::Fragmented(port, packet) => {
            let fragments: Vec<_> = out.iter().map(|(_, frame)| checked(frame)).collect();
            out.iter().all(|(by, _)| by == port)
                && together(&fragments) == Some(packet[20..].to_vec())
                && fragments.iter().all(|fragment| {
                    addresses(fragment) == addresses(packet)
                        && fragment.len() <= 1500
                        && fragment[8] == packet[8]
                        && fragment[1] == packet[1]
                        && fragment[4..6] == packet[4..6]
                        && fragment[9] == packet[9]
                })
        }
        Fate::Unknown(_) => true,
    };
    if right { Ok(()) } else { Err(format!("{fate:02x?}\nfrom {frame:02x?}\ncame {out:02x?}")) }
}

/// Type and code of an ICMP or ICMPv6 message that the engine sent, itself or in GRE.
fn told(frame: &[u8]) -> Option<(u8, u8)> {
    let protocol = |packet: &[u8]| if packet[0] >> 4 == 6 { packet[6] } else { packet[9] };
    let mut packet = checked(frame);
    if protocol(&packet) == 47 {
        let gre = payload(&packet);
        packet = gre[if gre[0] & 0x20 != 0 { 8 } else { 4 }..].to_vec();
    }
    matches!(protocol(&packet), 1 | 58).then(|| (payload(&packet)[0], payload(&packet)[1]))
}

/// The bytes that fragments of one packet carry, whose own offsets begin where the first one's does.
fn together(fragments: &[Vec<u8>]) -> Option<Vec<u8>> {
    let offset = |packet: &Vec<u8>| usize::from(u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff) * 8;
    let mut parts: Vec<_> = fragments.iter().map(|packet| (offset(packet), payload(packet))).collect();
    parts.sort();
    let start = parts.first()?.0;
    let mut whole = Vec::new();
    for (at, part) in parts {
        (at - start == whole.len()).then_some(())?;
        whole.extend(part);
    }
    Some(whole)
}

proptest! {
    #[test]
    fn the_walk_does_what_the_reference_says(routes in prop::collection::vec(route(), 1..24),
        packets in prop::collection::vec(sent(), 1..64), burst in 1..33usize)
    {
        let pool = Pool::new(BUFFERS);
        let sizes = Sizes { workers: 1, icmp_errors_per_second: 1_000_000 };
        let mut engine = Engine::assemble(draft(&routes), &sizes, || PooledPort::new(32), || pool.clone());
        let frames: Vec<_> = packets.iter().map(|packet| packet.frame(&routes)).collect();
        let mut alone = Vec::new();
        for (port, frame) in &frames {
            engine.queues[0][port.index()].rx.lock().unwrap().extend(pool.fill(frame));
            engine.poll();
            let out = taken(&engine);
            let fate = Reference::new(&engine.draft).fate(*port, frame);
            if let Err(difference) = agree(&fate, frame, &out) {
                prop_assert!(false, "{}\n{:?}", difference, engine.drops());
            }
            alone.extend(out);
        }
        // In bursts the same packets leave as one by one, and those of a port in the same order.
        engine.wait(1000);
        let mut together = Vec::new();
        for frames in frames.chunks(burst) {
            for (port, frame) in frames {
                engine.queues[0][port.index()].rx.lock().unwrap().extend(pool.fill(frame));
            }
            for _ in 0..3 {
                engine.poll();
                together.extend(taken(&engine));
            }
        }
        alone.sort();
        together.sort();
        prop_assert_eq!(alone, together);
        prop_assert_eq!(engine.counters().held.get() as usize + pool.free(), BUFFERS);
    }
}
