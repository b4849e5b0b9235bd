//! Captures of real traffic through the walk, plain and through a GRE tunnel, every packet accounted for and compared
//! with the reference forwarder. `scripts/replay-capture` fetches captures and runs this; it says where they are.

// The example `mirror` asks when a packet came; this does not.
#[allow(dead_code)]
mod pcap;
#[allow(dead_code, unused_imports)]
#[path = "../walk/support/mod.rs"]
mod support;

use crate::pcap::Link;
use dataplane::drop_reason::DropReason;
use dataplane::id::{InterfaceId, PortId};
use dataplane::packet::Packet;
use dataplane::snapshot::{Encapsulation, NextHop};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use support::craft::addresses;
use support::draft::{wan_v4, wan_v6};
use support::pooled::{Pool, PooledPort};
use support::reference::{Fate, Reference};
use support::{Draft, Engine, LAN, PORTS, Sizes, WAN, conserved, engine_mac, host_mac};

type Pooled = Engine<PooledPort, Pool>;

const BUFFERS: usize = 512;
/// What a buffer holds; longer ones were put together by the capturing host's offloads and never were on a wire.
const ROOM: usize = 2048;

/// Names, and how many.
type Table = BTreeMap<String, u64>;

fn count(table: &mut Table, name: impl Into<String>) {
    *table.entry(name.into()).or_default() += 1;
}

/// What was in the captures.
#[derive(Default)]
struct Traffic {
    frames: Vec<Vec<u8>>,
    protocols: Table,
    left_out: Table,
}

#[test]
#[ignore = "scripts/replay-capture fetches the captures and runs it"]
fn real_traffic_is_accounted_for() {
    let folder = std::env::var("FORESHIFT_CAPTURES").expect("FORESHIFT_CAPTURES names a folder of captures");
    let traffic = read(Path::new(&folder));
    let packets = traffic.frames.len();
    assert!(packets > 1000, "only {packets} packets in {folder}");
    print("packets by protocol", &traffic.protocols);
    print("left out", &traffic.left_out);
    plain(&traffic.frames);
    bursts(&traffic.frames);
    tunnelled(&traffic.frames);
}

fn print(title: &str, table: &Table) {
    println!("\n{title}: {}", table.values().sum::<u64>());
    for (name, count) in table {
        println!("  {count:>10}  {name}");
    }
}

/// All captures below `folder`, as frames that come to our LAN.
fn read(folder: &Path) -> Traffic {
    let mut traffic = Traffic::default();
    let mut folders = vec![folder.to_path_buf()];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        match pcap::packets(&bytes) {
            Some(packets) => packets.iter().for_each(|one| take(&mut traffic, one.link, one.packet)),
            None => count(&mut traffic.left_out, "files that are no capture"),
        }
    }
    traffic
}

fn take(traffic: &mut Traffic, link: Link, packet: &[u8]) {
    let to_us = |ether_type: [u8; 2], body: &[u8]| {
        [&engine_mac(1, 0).0[..], &host_mac().0, &ether_type, body].concat()
    };
    let frame = match link {
        Link::Ethernet if packet.len() >= 14 => {
            // To us, from a station: what the capturing host had as addresses does not matter here.
            let mut frame = packet.to_vec();
            frame[..12].copy_from_slice(&[engine_mac(1, 0).0, host_mac().0].concat());
            frame
        }
        Link::Ip(front) if packet.len() > front => {
            let body = &packet[front..];
            to_us(if body[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] }, body)
        }
        Link::Ethernet | Link::Ip(_) => return count(&mut traffic.left_out, "shorter than a link header"),
        Link::Other(number) => return count(&mut traffic.left_out, format!("link type {number}")),
    };
    if frame.len() > ROOM {
        return count(&mut traffic.left_out, "longer than a buffer (offloads)");
    }
    count(&mut traffic.protocols, protocol(&frame));
    traffic.frames.push(frame);
}

fn protocol(frame: &[u8]) -> String {
    let (tag, rest) = match frame[12..] {
        [0x81, 0, ..] if frame.len() >= 18 => ("VLAN ", &frame[16..]),
        _ => ("", &frame[12..]),
    };
    let name = |version: &str, protocol: u8| {
        let known = match protocol {
            0 => "hop-by-hop",
            1 => "ICMP",
            2 => "IGMP",
            4 | 41 => "IP in IP",
            6 => "TCP",
            17 => "UDP",
            44 => "fragment",
            47 => "GRE",
            50 => "ESP",
            51 => "AH",
            58 => "ICMPv6",
            132 => "SCTP",
            _ => "others",
        };
        format!("{tag}{version} {known}")
    };
    match rest {
        [8, 0, packet @ ..] if packet.len() >= 20 => name("IPv4", packet[9]),
        [0x86, 0xdd, packet @ ..] if packet.len() >= 40 => name("IPv6", packet[6]),
        [8, 6, ..] => format!("{tag}ARP"),
        _ => format!("{tag}neither IP nor ARP"),
    }
}

/// With addresses on the LAN that are reserved for benchmarks (RFC 2544), and none on the VLAN and the site link: those
/// of the tests' sites are in captures, too.
fn apart(mut draft: Draft) -> Draft {
    let lan = [format!("198.18.{}.1/30", draft.engine), format!("2001:db8:fff0:{}::1/126", draft.engine)];
    draft.interfaces[0].addresses = lan.map(|net| net.parse().unwrap()).into();
    draft.interfaces[2].addresses.clear();
    draft.interfaces[3].addresses.clear();
    draft
}

/// Site 1 with everything else behind a router on the WAN.
fn routed() -> Draft {
    let mut draft = apart(Draft::new(1, 1));
    let via = |gateway| NextHop::Via { interface: InterfaceId(1), gateway };
    draft.routes.push(("0.0.0.0/0".parse().unwrap(), via(wan_v4(2))));
    draft.routes.push(("::/0".parse().unwrap(), via(wan_v6(2))));
    draft
}

fn engine(draft: Draft, pool: &Pool) -> Pooled {
    let sizes = Sizes { workers: 1, icmp_errors_per_second: 1_000_000 };
    Engine::assemble(draft, &sizes, || PooledPort::new(32), || pool.clone())
}

fn taken(engine: &Pooled) -> Vec<(PortId, Vec<u8>)> {
    let mut out = Vec::new();
    for port in 0..PORTS {
        let mut tx = engine.queues[0][port].tx.lock().unwrap();
        out.extend(tx.drain(..).map(|packet| (PortId(port as u16), packet.data().to_vec())));
    }
    out
}

fn put(engine: &Pooled, pool: &Pool, port: PortId, frame: &[u8]) {
    engine.queues[0][port.index()].rx.lock().unwrap().extend(pool.fill(frame));
}

/// The figures, and that they add up to what came in.
fn accounted(title: &str, engine: &mut Pooled, pool: &Pool, received: usize) {
    // What waits for a neighbour is given up.
    for _ in 0..3 {
        engine.wait(4000);
        engine.poll();
        engine.events();
        taken(engine);
    }
    let counters = engine.counters();
    conserved(counters);
    assert_eq!(counters.received.get(), received as u64, "{title}");
    assert_eq!((counters.held.get(), pool.free()), (0, BUFFERS), "{title}: something is kept");
    println!("\n{title}");
    let (originated, transmitted) = (counters.originated.get(), counters.transmitted.get());
    println!(
        "  received {received} + originated {originated} = transmitted {transmitted} + dropped {} + held 0",
        counters.dropped_total()
    );
    assert_eq!(received as u64 + originated, transmitted + counters.dropped_total());
    for reason in DropReason::ALL {
        let dropped = engine.dropped(*reason);
        if dropped > 0 {
            println!("  {dropped:>10}  {reason}");
        }
    }
}

/// One by one, each compared with the reference.
fn plain(frames: &[Vec<u8>]) {
    let pool = Pool::new(BUFFERS);
    let mut engine = engine(routed(), &pool);
    let mut agreed = Table::new();
    for (n, frame) in frames.iter().enumerate() {
        put(&engine, &pool, LAN, frame);
        engine.wait(1);
        engine.poll();
        let out = taken(&engine);
        let name = match Reference::new(&engine.draft).fate(LAN, frame) {
            Fate::Leaves(ways) => {
                assert!(
                    out.len() == 1 && ways.contains(&out[0]),
                    "packet {n}: {frame:02x?}\n{ways:02x?}\n{out:02x?}"
                );
                "forwarded, every byte as the reference has it".to_owned()
            }
            Fate::Ends | Fate::Refused(..) => {
                let back = out.iter().all(|(_, sent)| sent.len() < frame.len().max(60) + 600);
                assert!(out.len() <= 1 && back, "packet {n}: {frame:02x?}\n{out:02x?}");
                "not forwarded, as the reference says".to_owned()
            }
            Fate::Fragmented(..) => {
                assert!(out.len() > 1, "packet {n}: {frame:02x?}\n{out:02x?}");
                "fragmented, as the reference says".to_owned()
            }
            Fate::Unknown(what) => format!("unknown to the reference: {what}"),
        };
        count(&mut agreed, name);
    }
    print("compared with the reference", &agreed);
    accounted("plain, one by one", &mut engine, &pool, frames.len());
}

/// In full bursts.
fn bursts(frames: &[Vec<u8>]) {
    let pool = Pool::new(BUFFERS);
    let mut engine = engine(routed(), &pool);
    for burst in frames.chunks(32) {
        burst.iter().for_each(|frame| put(&engine, &pool, LAN, frame));
        engine.wait(1);
        engine.poll();
        taken(&engine);
    }
    accounted("plain, in bursts of 32", &mut engine, &pool, frames.len());
}

/// Who is behind which engine: who speaks first is behind the near one, whom it speaks to behind the far one.
#[derive(Default)]
struct Sides {
    near: BTreeSet<IpAddr>,
    far: BTreeSet<IpAddr>,
}

impl Sides {
    fn of(frames: &[Vec<u8>]) -> Sides {
        let mut sides = Sides::default();
        for (src, dst) in frames.iter().filter_map(|frame| ends(frame)) {
            if !sides.far.contains(&src) {
                sides.near.insert(src);
            }
            if !sides.near.contains(&dst) {
                sides.far.insert(dst);
            }
        }
        sides
    }
}

/// Source and destination, where both are somebody.
fn ends(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let ends = match frame[12..] {
        [8, 0, 0x45..=0x4f, ..] if frame.len() >= 34 => addresses(&frame[14..]),
        [0x86, 0xdd, 0x60..=0x6f, ..] if frame.len() >= 54 => addresses(&frame[14..]),
        _ => return None,
    };
    let somebody = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !matches!(ip.octets()[0], 0 | 127 | 224..) && !ip.is_link_local(),
        IpAddr::V6(ip) => {
            !ip.is_multicast() && !ip.is_unspecified() && !ip.is_loopback() && !ip.is_unicast_link_local()
        }
    };
    (somebody(&ends.0) && somebody(&ends.1)).then_some(ends)
}

/// An engine with a GRE tunnel to the other one, to the hosts behind it; everybody else is behind a router.
fn with_tunnel(engine: u8, other: u8, behind: &BTreeSet<IpAddr>) -> Draft {
    let mut draft = apart(Draft::new(engine, engine));
    let tunnel = draft.tunnel(Encapsulation::Gre { key: Some(9), sequence: true }, false, other);
    draft.group(other, &[(tunnel, 1)], &[tunnel]);
    let group = draft.routes[0].1;
    draft.routes = behind.iter().map(|ip| (IpNet::from(*ip), group)).collect();
    let via = |gateway| NextHop::Via { interface: InterfaceId(1), gateway };
    draft.routes.push(("0.0.0.0/0".parse().unwrap(), via(wan_v4(3))));
    draft.routes.push(("::/0".parse().unwrap(), via(wan_v6(3))));
    draft
}

/// Both ways through a GRE tunnel between two engines.
fn tunnelled(frames: &[Vec<u8>]) {
    let sides = Sides::of(frames);
    let pool = Pool::new(BUFFERS);
    let mut near = engine(with_tunnel(1, 2, &sides.far), &pool);
    let mut far = engine(with_tunnel(2, 1, &sides.near), &pool);
    let (mut received, mut carried) = ([0, 0], 0);
    for burst in frames.chunks(32) {
        for frame in burst {
            let side = usize::from(ends(frame).is_some_and(|(src, _)| sides.far.contains(&src)));
            let mut frame = frame.clone();
            frame[..6].copy_from_slice(&engine_mac(1 + side as u8, 0).0);
            put(if side == 0 { &near } else { &far }, &pool, LAN, &frame);
            received[side] += 1;
        }
        for engine in [&mut near, &mut far] {
            engine.wait(1);
            engine.poll();
        }
        let (there, back) = (to(&near, 2), to(&far, 1));
        carried += there.len() + back.len();
        received[1] += there.len();
        received[0] += back.len();
        there.iter().for_each(|frame| put(&far, &pool, WAN, frame));
        back.iter().for_each(|frame| put(&near, &pool, WAN, frame));
        for engine in [&mut near, &mut far] {
            (0..2).for_each(|_| engine.poll());
            taken(engine);
        }
    }
    println!("\nthrough the tunnel, both ways: {carried}");
    assert!(carried > frames.len() / 2, "only {carried} of {} packets took the tunnel", frames.len());
    accounted("a GRE tunnel's near end", &mut near, &pool, received[0]);
    accounted("its far end", &mut far, &pool, received[1]);
    for reason in [DropReason::OutOfSequence, DropReason::BadEncapsulation, DropReason::Spoofed] {
        assert_eq!(near.dropped(reason), 0, "{reason}");
    }
}

/// What an engine sends to the other one's WAN.
fn to(engine: &Pooled, other: u8) -> Vec<Vec<u8>> {
    let sent = taken(engine).into_iter().filter(|(port, _)| *port == WAN).map(|(_, frame)| frame);
    sent.filter(|frame| frame[..6] == engine_mac(other, 1).0).collect()
}
