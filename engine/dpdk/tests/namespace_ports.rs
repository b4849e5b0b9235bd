//! Ports that the kernel is behind: net_af_packet on a veth whose other end is in another namespace,
//! and net_tap. Needs root. Both namespaces belong to threads and sockets of this test: they vanish
//! with it, whatever happens.

mod common;

use common::kernel::{Host, host_with, ip, kernel, unshare};
use common::{experimental, frame, mbuf, plan, receive, send};
use dpdk::{Device, Eal, MacFilter, Mempool, PoolConfig, PortConfig, PortError, QueuePair};

#[test]
fn ports_of_the_kernel() {
    unshare();
    ip("link set lo up");
    ip("link add fs0 type veth peer name fs1");
    let host = host_with("fs1");
    ip("link set fs0 up");

    ip("link add fs2 mtu 9000 type veth peer name fs3 mtu 9000");
    ip("link set fs3 up");
    ip("link set fs2 up");
    let large = "net_af_packet1,iface=fs2,blocksz=12288,framesz=12288";
    let vdevs = ["net_af_packet0,iface=fs0,qpairs=2", "net_tap0,iface=fstap0", large];
    let eal = Eal::init(&plan(&vdevs)).unwrap();
    let pool = Mempool::new(&eal, PoolConfig { packets: 4095, ..PoolConfig::default() }).unwrap();
    af_packet(&eal, &pool, &host);
    large_tap(&eal, &pool);
    tap(&eal, &pool);
    jumbo(&eal);
    assert_eq!(pool.in_use(), 0, "every packet came back");
}

fn af_packet(eal: &Eal, pool: &Mempool, host: &Host) {
    let config = PortConfig {
        rx_queues: 2,
        tx_queues: 2,
        mtu: 1400,
        promiscuous: true,
        ..PortConfig::new("net_af_packet0")
    };
    let (device, mut pairs) = Device::start(eal, &config, pool).unwrap();
    assert_eq!((device.mtu().unwrap(), kernel("fs0", "mtu")), (1400, "1400".into()));
    assert_eq!(format!("{}", device.mac().unwrap()), kernel("fs0", "address"));
    assert!(device.link().unwrap().up);
    // Its two queues are two sockets: neither may receive what the other sends.
    both_ways(&mut pairs, pool, host);
    a_stripped_tag_is_put_back(&mut pairs, host);
    two_tags_come_and_go(&mut pairs, pool, host);
    assert!(device.stats().unwrap().ipackets > 0 && device.stats().unwrap().opackets > 0);
    assert!(!device.xstats().unwrap().is_empty());
    // The driver has no filter of addresses.
    assert_eq!(device.add_mac(device.mac().unwrap()).unwrap(), MacFilter::Promiscuous);
}

fn both_ways(pairs: &mut [QueuePair], pool: &Mempool, host: &Host) {
    // A ping is 98 bytes; then what fills the MTU.
    for (seed, len) in [(1, 98), (2, 1414)] {
        let there = frame(seed, len);
        for pair in &mut *pairs {
            send(pair, mbuf(&mut pool.clone(), &there));
            assert_eq!(host.receive(), there);
        }
        let back = frame(seed + 10, len);
        host.send(&back);
        assert_eq!(receive(pairs, 1, experimental), [back]);
    }
}

fn a_stripped_tag_is_put_back(pairs: &mut [QueuePair], host: &Host) {
    for tci in [0x0005_u16, 0xeffe, 0x0000] {
        let mut tagged = frame(u32::from(tci), 98);
        tagged.splice(12..12, [0x81, 0x00, (tci >> 8) as u8, tci as u8]);
        host.send(&tagged);
        let got = receive(pairs, 1, |bytes| bytes.get(12..14) == Some(&[0x81, 0x00]));
        assert_eq!(got, [tagged]);
    }
    assert!(pairs.iter().all(|pair| pair.rx_dropped().total() == 0));
}

/// 802.1ad: the kernel takes the S-tag out, and the driver puts it back as if it were a C-tag: it knows the TCI only. The
/// parser takes the outer one of two tags for an S-tag.
fn two_tags_come_and_go(pairs: &mut [QueuePair], pool: &Mempool, host: &Host) {
    let mut tagged = frame(77, 98);
    tagged.splice(12..12, [0x88, 0xa8, 0x20, 200, 0x81, 0x00, 0x00, 100]);
    host.send(&tagged);
    let got = receive(pairs, 1, |bytes| bytes.get(16..18) == Some(&[0x81, 0x00]));
    let mut expected = tagged.clone();
    expected[12..14].copy_from_slice(&[0x81, 0x00]);
    assert_eq!(got, [expected]);
    send(&mut pairs[0], mbuf(&mut pool.clone(), &tagged));
    // The kernel strips the outer one from what a socket sees, too.
    assert_eq!(host.receive_if(|bytes| bytes.ends_with(&tagged[18..])).len(), tagged.len() - 4);
}

/// The driver copies a frame into one buffer, whatever its MTU.
fn jumbo(eal: &Eal) {
    let config = PoolConfig { packets: 2047, data_room: 12_288, ..PoolConfig::default() };
    let pool = Mempool::new(eal, config).unwrap();
    let config = PortConfig { mtu: 9000, ..PortConfig::new("net_af_packet1") };
    let (device, mut pairs) = Device::start(eal, &config, &pool).unwrap();
    assert_eq!(kernel("fs2", "mtu"), "9000", "left as it was");
    let host = Host::open("fs3");
    for len in [9014, 98, 4000] {
        let there = frame(30, len);
        send(&mut pairs[0], mbuf(&mut pool.clone(), &there));
        assert_eq!(host.receive(), there);
        let back = frame(31, len);
        host.send(&back);
        assert_eq!(receive(&mut pairs, 1, experimental), [back]);
    }
    assert_eq!(pairs[0].rx_dropped().total(), 0);
    drop((device, pairs));
    assert_eq!(pool.in_use(), 0);
}

/// The driver takes no more than an MTU of 1504.
fn large_tap(eal: &Eal, pool: &Mempool) {
    let config = PortConfig { mtu: 9000, ..PortConfig::new("net_tap0") };
    let refused = Device::start(eal, &config, pool).err().expect("refused");
    assert!(matches!(refused, PortError::Mtu { mtu: 9000, max: 1500..1510, .. }), "{refused}");
}

fn tap(eal: &Eal, pool: &Mempool) {
    let (device, mut pairs) = Device::start(eal, &PortConfig::new("net_tap0"), pool).unwrap();
    assert_eq!(format!("{}", device.mac().unwrap()), kernel("fstap0", "address"));
    let kernel_side = Host::open("fstap0");
    let there = frame(21, 98);
    send(&mut pairs[0], mbuf(&mut pool.clone(), &there));
    assert_eq!(kernel_side.receive(), there);
    let back = frame(22, 98);
    kernel_side.send(&back);
    assert_eq!(receive(&mut pairs, 1, experimental), [back]);
}
