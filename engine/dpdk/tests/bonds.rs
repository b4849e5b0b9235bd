//! Bonds of kernel ports over veth pairs: LACP between two of them, active-backup, balance. Needs root; the namespace
//! vanishes with the test. EAL starts once a process, so this is one test in steps.

mod common;

use common::kernel::{Host, ip, unshare};
use common::{experimental, frame, mbuf, plan, receive, send};
use dataplane::packet::{Burst, Packet, Port};
use dpdk::{Device, Eal, Mempool, PoolConfig, PortConfig, QueuePair};
use std::collections::BTreeSet;
use std::slice::from_mut;
use std::thread;
use std::time::{Duration, Instant};

/// veth pairs: a bond's member and what it is joined to.
const PAIRS: [(&str, &str); 6] =
    [("a0", "b0"), ("a1", "b1"), ("c0", "d0"), ("c1", "d1"), ("e0", "f0"), ("e1", "f1")];

#[test]
fn bonds() {
    unshare();
    for (one, other) in PAIRS {
        ip(&format!("link add {one} type veth peer name {other}"));
        ip(&format!("link set {one} up"));
        ip(&format!("link set {other} up"));
    }
    let vdevs = [
        "net_af_packet0,iface=a0",
        "net_af_packet1,iface=a1",
        "net_af_packet2,iface=b0",
        "net_af_packet3,iface=b1",
        "net_af_packet4,iface=c0",
        "net_af_packet5,iface=c1",
        "net_af_packet6,iface=e0",
        "net_af_packet7,iface=e1",
        "net_bonding0,mode=4,slave=net_af_packet0,slave=net_af_packet1,xmit_policy=l34",
        "net_bonding1,mode=4,slave=net_af_packet2,slave=net_af_packet3,xmit_policy=l34",
        "net_bonding2,mode=1,slave=net_af_packet4,slave=net_af_packet5,primary=net_af_packet5",
        "net_bonding3,mode=2,slave=net_af_packet6,slave=net_af_packet7,xmit_policy=l34",
    ];
    let eal = Eal::init(&plan(&vdevs)).unwrap();
    let pool = Mempool::new(&eal, PoolConfig { packets: 8191, ..PoolConfig::default() }).unwrap();
    lacp(&eal, &pool);
    active_backup(&eal, &pool);
    balance(&eal, &pool);
    assert_eq!(pool.in_use(), 0, "every packet came back");
}

fn start(eal: &Eal, pool: &Mempool, name: &str, lacp: bool) -> (Device, QueuePair) {
    let config = PortConfig { promiscuous: true, lacp, ..PortConfig::new(name) };
    let (device, mut pairs) = Device::start(eal, &config, pool).unwrap();
    // Members join when the bond has looked at their links.
    let deadline = Instant::now() + Duration::from_secs(5);
    while !device.link().unwrap().up && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(lacp || device.link().unwrap().up, "{name} has no link");
    (device, pairs.remove(0))
}

/// A bond carries packets only after both ends have agreed by LACPDUs, which none but its polls send. What crosses then
/// proves that idle polls keep it alive.
fn lacp(eal: &Eal, pool: &Mempool) {
    let wire = Host::open("b0");
    let (near_device, near) = start(eal, pool, "net_bonding0", true);
    let (far_device, far) = start(eal, pool, "net_bonding1", true);
    let mut ends = [near, far];
    let deadline = Instant::now() + Duration::from_secs(40);
    let mut crossed = 0;
    while crossed < 20 && Instant::now() < deadline {
        // As seldom as the most idle worker polls.
        thread::sleep(Duration::from_millis(10));
        let mut burst = Burst::new();
        burst.push(mbuf(&mut pool.clone(), &frame(7, 200)));
        ends[0].tx_burst(&mut burst);
        drop(burst);
        for end in &mut ends {
            let mut got = Burst::new();
            end.rx_burst(&mut got);
            crossed += got.iter().filter(|mbuf| mbuf.data() == frame(7, 200)).count();
        }
    }
    assert_eq!(crossed, 20, "the bonds never agreed");
    // Slow protocols, LACP (IEEE 802.1AX-2014 §6.4.2.3).
    let lacpdus =
        std::iter::from_fn(|| wire.poll()).filter(|bytes| bytes[12..].starts_with(&[0x88, 0x09, 1])).count();
    assert!(lacpdus > 2, "{lacpdus} LACPDUs");
    drop((near_device, far_device, ends));
}

/// Only the primary carries packets while its link is up, both ways. (The kernel's ports report no loss of link to DPDK
/// 22.11, so that the backup's turn cannot be seen here.)
fn active_backup(eal: &Eal, pool: &Mempool) {
    let kernel = ["d0", "d1"].map(Host::open);
    let (device, mut pair) = start(eal, pool, "net_bonding2", false);
    let there = frame(1, 98);
    send(&mut pair, mbuf(&mut pool.clone(), &there));
    assert_eq!(kernel[1].receive(), there);
    assert!(std::iter::from_fn(|| kernel[0].poll()).all(|bytes| bytes != there), "the backup sent it too");
    let back = frame(2, 98);
    kernel[1].send(&back);
    assert_eq!(receive(from_mut(&mut pair), 1, experimental), [back]);
    assert!(device.link().unwrap().up);
}

/// Flows spread over both members, and what either receives comes in.
fn balance(eal: &Eal, pool: &Mempool) {
    let kernel = ["f0", "f1"].map(Host::open);
    let (_device, mut pair) = start(eal, pool, "net_bonding3", false);
    let sent: BTreeSet<Vec<u8>> = (1..=64).map(udp).collect();
    for bytes in &sent {
        send(&mut pair, mbuf(&mut pool.clone(), bytes));
    }
    let of_ours =
        |host: &Host| std::iter::from_fn(|| host.poll()).filter(|bytes| sent.contains(bytes)).collect();
    let got: [BTreeSet<Vec<u8>>; 2] = [of_ours(&kernel[0]), of_ours(&kernel[1])];
    assert!(got.iter().all(|member| member.len() > 10), "{:?}", got.map(|member| member.len()));
    assert_eq!(got[0].union(&got[1]).cloned().collect::<BTreeSet<_>>(), sent);
    for (host, seed) in kernel.iter().zip([3, 4]) {
        host.send(&frame(seed, 98));
        assert_eq!(receive(from_mut(&mut pair), 1, experimental), [frame(seed, 98)]);
    }
}

/// An IPv4 UDP packet of flow `flow`.
fn udp(flow: u16) -> Vec<u8> {
    let mut bytes = frame(u32::from(flow), 60);
    bytes[12..14].copy_from_slice(&[0x08, 0x00]);
    bytes[14..24].copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17]);
    bytes[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    bytes[34..36].copy_from_slice(&(1000 + flow).to_be_bytes());
    bytes
}
