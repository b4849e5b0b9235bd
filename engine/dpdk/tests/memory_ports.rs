//! Ports that need no network: net_ring, net_null, net_pcap. EAL starts once a process, so this is
//! one test in steps.

mod common;

use common::{Random, frame, mbuf, plan, receive, send};
use dataplane::frame::Frame;
use dataplane::id::WorkerId;
use dataplane::packet::{BURST, Burst, Packet, PacketPool, Port, RxChecksum};
use dataplane::wire::MacAddr;
use dpdk::{
    Clock, Device, Eal, EalError, LcoreError, MacFilter, Mbuf, Mempool, PoolConfig, PoolError, PortConfig,
    PortError, PortPools, QueuePair,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::slice::from_mut;
use std::time::{Duration, Instant};

#[test]
fn ports_in_memory() {
    let folder = std::env::temp_dir().join(format!("foreshift-dpdk-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (input, output) = (folder.join("in.pcap"), folder.join("out.pcap"));
    let arriving = [frame(1, 60), frame(2, 5000), frame(3, 1514)];
    fs::write(&input, pcap(&arriving)).unwrap();
    let vdev = format!("net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());
    let large = [frame(4, 9014), frame(5, 60), frame(6, 2100), frame(7, 12_000), frame(8, 4000)];
    let jumbo = folder.join("jumbo.pcap");
    fs::write(&jumbo, pcap(&large)).unwrap();
    let jumbo =
        format!("net_pcap1,rx_pcap={},tx_pcap={}", jumbo.display(), folder.join("none.pcap").display());

    let vdevs = ["net_ring0", "net_ring1", "net_ring2", "net_null0,size=100", &vdev, &jumbo];
    let eal = Eal::init(&plan(&vdevs)).unwrap();
    assert!(matches!(Eal::init(&plan(&[])), Err(EalError::AlreadyStarted)));
    assert_eq!(eal.ports(), ["net_ring0", "net_ring1", "net_ring2", "net_null0", "net_pcap0", "net_pcap1"]);
    assert!(!eal.hugepages() && eal.workers() == 2);
    let pool = Mempool::new(&eal, PoolConfig { packets: 4095, cache: 64, ..PoolConfig::default() }).unwrap();

    packets_change_like_frames(pool.clone());
    the_pool_has_an_end(pool.clone());
    bursts_come_and_go_whole(pool.clone());
    wrong_ports_are_refused(&eal, &pool);
    ring(&eal, &pool);
    null(&eal, &pool);
    recording(&eal, &pool, &output, &arriving);
    jumbo_frames(&eal, &pool, &large);
    rings_stand_in_for_queues(&eal, &pool);
    workers(&eal);
    clock(&eal);
    assert_eq!(pool.in_use(), 0, "every packet came back");

    // A packet that outlives EAL still has a pool to go to.
    let late = mbuf(&mut pool.clone(), &[1, 2, 3]);
    drop((eal, pool));
    assert_eq!(late.data(), [1, 2, 3]);
    drop(late);
    fs::remove_dir_all(&folder).unwrap();
}

fn packets_change_like_frames(mut pool: Mempool) {
    for seed in 1..200 {
        let mut random = Random(seed);
        let mut packet = pool.alloc().unwrap();
        let mut model = Frame::new(&[]);
        for _ in 0..100 {
            // Mostly sizes of headers, sometimes sizes that meet the buffer's limits, or no limit.
            let n = match random.below(20) {
                0 => usize::MAX - random.below(4),
                1..4 => random.below(2300),
                _ => random.below(64),
            };
            let fill = random.next() as u8;
            let (did, modelled) = match random.below(4) {
                0 => (
                    packet.prepend(n).map(|all| all[..n].fill(fill)).is_some(),
                    model.prepend(n).map(|all| all[..n].fill(fill)).is_some(),
                ),
                1 => (grow(&mut packet, n, fill), grow(&mut model, n, fill)),
                2 => (packet.adj(n), model.adj(n)),
                _ => (packet.trim(n), model.trim(n)),
            };
            assert_eq!(did, modelled);
            assert_eq!(packet.data(), model.data());
            assert_eq!((packet.len(), packet.is_empty()), (model.len(), model.is_empty()));
            assert_eq!(packet.headroom() + packet.len() + packet.tailroom(), 128 + 2048);
        }
        assert_eq!(packet.rx_checksum(), RxChecksum::Unknown);
    }
    assert_eq!(pool.in_use(), 0);
}

fn grow(packet: &mut impl Packet, n: usize, fill: u8) -> bool {
    let old = packet.len();
    packet.append(n).map(|all| all[old..].fill(fill)).is_some()
}

fn the_pool_has_an_end(mut pool: Mempool) {
    let all: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!((all.len(), pool.available(), pool.in_use()), (4095, 0, 4095));
    drop(all);
    assert_eq!((pool.available(), pool.in_use()), (4095, 0));
}

fn bursts_come_and_go_whole(mut pool: Mempool) {
    let mut all = Vec::new();
    let mut burst = Burst::new();
    while pool.alloc_burst(&mut burst, 20) {
        assert!(burst.len() == 20 && burst.iter().all(|mbuf| mbuf.is_empty() && mbuf.headroom() == 128));
        all.push(std::mem::take(&mut burst));
    }
    assert!(burst.is_empty(), "all or none");
    assert!(pool.available() < 20 && all.len() == 4095 / 20);
    let mut last = all.pop().unwrap();
    Mbuf::free_burst(&mut last);
    assert!(last.is_empty());
    assert!(pool.alloc_burst(&mut burst, 8) && pool.alloc_burst(&mut burst, 12));
    assert_eq!(burst.len(), 20);
    all.push(burst);
    all.iter_mut().for_each(Mbuf::free_burst);
    assert_eq!(pool.in_use(), 0);
    let mut full: Burst<Mbuf> = (0..BURST - 3).map(|_| pool.alloc().unwrap()).collect();
    assert!(pool.alloc_burst(&mut full, 20), "as many as there is room for");
    assert_eq!((full.len(), pool.in_use()), (BURST, BURST as u32));
    drop(full);
    assert_eq!(pool.in_use(), 0);
}

fn wrong_ports_are_refused(eal: &Eal, pool: &Mempool) {
    let refused = |config: PortConfig| Device::start(eal, &config, pool).err().expect("refused");
    let base = PortConfig::new("net_ring0");
    let missing = refused(PortConfig::new("net_ring7")).to_string();
    assert!(missing.contains("net_ring7") && missing.contains("net_null0"), "{missing}");
    assert!(matches!(refused(PortConfig { rx_queues: 2, ..base.clone() }), PortError::Queues { .. }));
    assert!(matches!(
        refused(PortConfig { tx_queues: 999, ..base.clone() }),
        PortError::TooManyQueues { .. }
    ));
    assert!(matches!(refused(PortConfig { mtu: 2048, ..base.clone() }), PortError::BufferTooSmall { .. }));
    assert!(matches!(refused(PortConfig { mtu: 20, ..base }), PortError::Mtu { .. }));
    let too_many = PoolConfig { packets: 1 << 20, ..PoolConfig::default() };
    assert!(matches!(Mempool::new(eal, too_many), Err(PoolError::Memory { needed_mb: 2000.., .. })));
}

/// Each of net_ring's transmit queues leads to the receive queue of the same number.
fn ring(eal: &Eal, pool: &Mempool) {
    let config = PortConfig { rx_queues: 2, tx_queues: 3, ..PortConfig::new("net_ring0") };
    let (device, pairs) = Device::start(eal, &config, pool).unwrap();
    assert!(matches!(Device::start(eal, &config, pool), Err(PortError::InUse(_))));
    assert!(device.link().unwrap().up);
    let [mut pair, mut full, sender]: [_; 3] = pairs.try_into().ok().expect("one a transmit queue");
    assert!(pair.receives() && full.receives() && !sender.receives());

    let sent: Vec<Vec<u8>> = (0..20).map(|i| frame(i, 60 + 70 * i as usize)).collect();
    let mut burst: Burst<_> = sent.iter().map(|bytes| mbuf(&mut pool.clone(), bytes)).collect();
    pair.tx_burst(&mut burst);
    assert!(burst.is_empty());
    assert_eq!(receive(from_mut(&mut pair), 20, |_| true), sent);
    assert_eq!(device.stats().unwrap().ipackets, 20);
    assert!(device.xstats().unwrap().contains(&("tx_good_packets".into(), 20)));
    // A VRRP router's address (RFC 5798 §7.3).
    assert_eq!(device.add_mac(MacAddr([0, 0, 0x5e, 0, 1, 7])).unwrap(), MacFilter::Hardware);

    a_burst_is_filled_up_and_no_further(&mut pair, pool);
    a_full_queue_leaves_the_rest(&mut full, pool);
    drop((device, pair, full, sender));
    assert!(!eal.ports().contains(&"net_ring0".to_owned()), "closed");
}

fn a_burst_is_filled_up_and_no_further(pair: &mut QueuePair, pool: &Mempool) {
    (0..40).for_each(|i| send(pair, mbuf(&mut pool.clone(), &frame(i, 60))));
    let mut burst: Burst<_> = (100..130).map(|i| mbuf(&mut pool.clone(), &frame(i, 60))).collect();
    pair.rx_burst(&mut burst);
    assert_eq!(burst.len(), BURST);
    let expected = (100..130).chain(0..2).map(|i| frame(i, 60));
    assert!(burst.iter().map(|mbuf| mbuf.data().to_vec()).eq(expected));
    pair.rx_burst(&mut burst);
    assert_eq!(burst.len(), BURST, "a full burst takes no more");
    assert_eq!(receive(from_mut(pair), 38, |_| true), (2..40).map(|i| frame(i, 60)).collect::<Vec<_>>());
    drop(burst);
    assert_eq!(pool.in_use(), 0);
}

/// The ring is polled by nobody until the end, but holds no more than its size.
fn a_full_queue_leaves_the_rest(pair: &mut QueuePair, pool: &Mempool) {
    let mut next = 0;
    let left = loop {
        let numbers = next..next + BURST as u32;
        let mut burst: Burst<_> = numbers.clone().map(|n| mbuf(&mut pool.clone(), &frame(n, 60))).collect();
        pair.tx_burst(&mut burst);
        let rest = burst.iter().map(|mbuf| mbuf.data().to_vec());
        next = numbers.end - burst.len() as u32;
        assert!(rest.eq((next..numbers.end).map(|n| frame(n, 60))), "the rest stays, in order");
        assert_eq!(pool.in_use(), numbers.end, "none was freed, none twice");
        if !burst.is_empty() {
            break burst.len();
        }
    };
    assert!(next > 0 && left > 0);
    let expected: Vec<_> = (0..next).map(|n| frame(n, 60)).collect();
    assert_eq!(receive(from_mut(pair), next as usize, |_| true), expected);
    assert_eq!(pool.in_use(), 0);
}

fn null(eal: &Eal, pool: &Mempool) {
    let before = pool.in_use();
    let config = PortConfig { rx_queues: 2, tx_queues: 2, one_pool: true, ..PortConfig::new("net_null0") };
    let (device, mut pairs) = Device::start(eal, &config, pool).unwrap();
    assert!(device.offloads().rss);
    let mut burst = Burst::new();
    pairs[0].rx_burst(&mut burst);
    assert_eq!((burst.len(), burst[0].len()), (BURST, 100));
    pairs[0].tx_burst(&mut burst);
    assert!(burst.is_empty());
    assert_eq!(pool.in_use(), before);
    assert_eq!(device.stats().unwrap().opackets, BURST as u64);
}

/// Byte for byte from one file and into another; the frame that fits no buffer is dropped and counted.
fn recording(eal: &Eal, pool: &Mempool, output: &Path, arriving: &[Vec<u8>]) {
    let (device, mut pairs) = Device::start(eal, &PortConfig::new("net_pcap0"), pool).unwrap();
    let got = receive(&mut pairs, 2, |_| true);
    assert_eq!(got, [arriving[0].clone(), arriving[2].clone()]);
    assert_eq!((pairs[0].rx_dropped().not_contiguous, pairs[0].rx_dropped().total()), (1, 1));
    let leaving = [frame(8, 1400), frame(9, 64)];
    for bytes in &leaving {
        send(&mut pairs[0], mbuf(&mut pool.clone(), bytes));
    }
    drop((device, pairs));
    assert_eq!(read_pcap(&fs::read(output).unwrap()), leaving);
}

/// Three workers, one queue: each flow arrives at one worker, both ways and in order, and all can send.
fn rings_stand_in_for_queues(eal: &Eal, pool: &Mempool) {
    let config = PortConfig { workers: Some(3), ..PortConfig::new("net_ring2") };
    let (device, mut pairs) = Device::start(eal, &config, pool).unwrap();
    assert_eq!((device.queues(), pairs.len()), ((1, 1), 3));
    assert!(pairs.iter().all(QueuePair::receives));
    let mut workers_of = BTreeMap::<u16, BTreeSet<usize>>::new();
    for round in 0..50_u16 {
        for sender in 0..3 {
            // Every flow in either direction, numbered by its source port.
            for flow in 0..8 {
                let forth = (round + sender) % 2 == 0;
                send(&mut pairs[usize::from(sender)], mbuf(&mut pool.clone(), &udp(flow, forth, round)));
            }
        }
        let mut got = 0;
        while got < 24 {
            for (worker, pair) in pairs.iter_mut().enumerate() {
                let mut burst = Burst::new();
                pair.rx_burst(&mut burst);
                got += burst.len();
                for packet in &burst {
                    let ports = [packet.data()[34], packet.data()[36]];
                    workers_of.entry(u16::from(ports[0].max(ports[1]))).or_default().insert(worker);
                    assert_eq!(packet.data()[50..52], round.to_be_bytes());
                }
            }
        }
        assert_eq!(got, 24);
    }
    assert_eq!(workers_of.len(), 8);
    assert!(workers_of.values().all(|workers| workers.len() == 1), "{workers_of:?}");
    assert!(workers_of.values().flatten().collect::<BTreeSet<_>>().len() > 1, "{workers_of:?}");
    a_full_ring_drops_and_counts(&device, &mut pairs, pool);
    drop((device, pairs));
    assert_eq!(pool.in_use(), 0, "what was in the rings came back");
}

/// Nobody polls for worker 1 and 2.
fn a_full_ring_drops_and_counts(device: &Device, pairs: &mut [QueuePair], pool: &Mempool) {
    let mut kept = 0;
    for round in 0..2000 {
        send(&mut pairs[0], mbuf(&mut pool.clone(), &udp(round % 8, true, round)));
        let mut burst = Burst::new();
        pairs[0].rx_burst(&mut burst);
        kept += burst.len();
    }
    let dropped = device.rx_dropped();
    assert_eq!(dropped.total(), dropped.handoff_full);
    assert!(kept < 2000 && pool.in_use() < 2048);
    assert_eq!(kept as u64 + dropped.handoff_full + u64::from(pool.in_use()), 2000);
}

/// A packet of flow `flow`, or of its way back.
fn udp(flow: u16, forth: bool, number: u16) -> Vec<u8> {
    let mut bytes = vec![0; 60];
    bytes[..12].copy_from_slice(&[2; 12]);
    bytes[12..26].copy_from_slice(&[0x08, 0x00, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0]);
    let (near, far) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let [src, dst] = if forth { [near, far] } else { [far, near] };
    bytes[26..30].copy_from_slice(&src);
    bytes[30..34].copy_from_slice(&dst);
    let own = [100 + flow as u8, 7];
    let (src, dst) = if forth { (own, [1, 1]) } else { ([1, 1], own) };
    bytes[34..36].copy_from_slice(&src);
    bytes[36..38].copy_from_slice(&dst);
    bytes[50..52].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// Frames of several segments are joined in a large buffer, as long as there is one and they fit it.
fn jumbo_frames(eal: &Eal, pool: &Mempool, large: &[Vec<u8>]) {
    let config = PoolConfig { packets: 15, cache: 0, data_room: 9100, socket: None };
    let jumbo = Mempool::new(eal, config).unwrap();
    let ring = PortConfig { mtu: 9000, ..PortConfig::new("net_ring1") };
    let alone = Device::start(eal, &ring, pool).err().expect("refused");
    assert!(matches!(alone, PortError::BufferTooSmall { needed: 9026, data_room: 2048, .. }), "{alone}");
    let pools = PortPools { queues: vec![pool], jumbo: Some(&jumbo) };
    let (device, mut pairs) = Device::start(eal, &ring, pools.clone()).unwrap();
    assert!(device.offloads().scatter && device.mtu().unwrap() == 9000);
    for len in [9014, 60, 8000] {
        let there = frame(9, len);
        send(&mut pairs[0], mbuf(&mut jumbo.clone(), &there));
        assert_eq!(receive(&mut pairs, 1, |_| true), [there]);
    }
    drop((device, pairs));

    let (device, mut pairs) = Device::start(eal, &PortConfig::new("net_pcap1"), pools).unwrap();
    // 12,000 bytes fit no buffer.
    let got = receive(&mut pairs, 4, |_| true);
    assert_eq!(got, [large[0].clone(), large[1].clone(), large[2].clone(), large[4].clone()]);
    assert_eq!((pairs[0].rx_dropped().not_contiguous, pairs[0].rx_dropped().total()), (1, 1));
    drop((device, pairs));
    assert_eq!((jumbo.in_use(), pool.in_use()), (0, 0));
}

fn workers(eal: &Eal) {
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let first = eal.launch(WorkerId(0), move || stopped.recv().is_err()).unwrap();
    assert!(matches!(eal.launch(WorkerId(0), || ()), Err(LcoreError::Busy(WorkerId(0)))));
    assert!(matches!(eal.launch(WorkerId(2), || ()), Err(LcoreError::NoSuchWorker { workers: 2, .. })));
    let second = eal.launch(WorkerId(1), || -> u32 { panic!("on purpose: {}", 7) }).unwrap();
    let Err(LcoreError::Panicked { worker: WorkerId(1), message }) = second.join() else { panic!() };
    assert_eq!(message, "on purpose: 7");
    assert!(!first.is_finished());
    drop(stop);
    assert!(first.join().unwrap());
    // A panic leaves the worker fit for more.
    assert_eq!(eal.launch(WorkerId(1), || vec![1, 2]).unwrap().join().unwrap(), [1, 2]);
}

fn clock(eal: &Eal) {
    let clock = Clock::new(eal);
    // One of several tries is undisturbed by other processes.
    let ratio = || {
        let (ours, real) = (clock.now(), Instant::now());
        std::thread::sleep(Duration::from_millis(100));
        clock.now().since(ours).0 as f64 / real.elapsed().as_nanos() as f64
    };
    let ratios: Vec<f64> = (0..5).map(|_| ratio()).collect();
    assert!(ratios.iter().any(|ratio| (ratio - 1.0).abs() < 2e-3), "{ratios:?}");
    let mut last = clock.now();
    let start = Instant::now();
    for _ in 0..1_000_000 {
        let now = clock.now();
        assert!(now >= last);
        last = now;
    }
    println!(
        "clock: tsc {}, {} Hz, {} ns a call, ratios {ratios:?}",
        clock.is_tsc(),
        clock.hz(),
        start.elapsed().as_nanos() as f64 / 1e6
    );
    let copy = clock;
    let elsewhere = eal.launch(WorkerId(1), move || copy.now()).unwrap().join().unwrap();
    assert!(elsewhere >= last && clock.now() >= elsewhere);
}

/// A pcap file: microseconds, Ethernet.
fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file: Vec<u8> =
        [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1].iter().flat_map(|n| n.to_le_bytes()).collect();
    for frame in frames {
        let len = frame.len() as u32;
        file.extend([0, 0, len, len].iter().flat_map(|n: &u32| n.to_le_bytes()));
        file.extend(frame);
    }
    file
}

fn read_pcap(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &file[24..];
    let mut frames = Vec::new();
    while let Some((header, more)) = rest.split_first_chunk::<16>() {
        let len = u32::from_le_bytes(header[8..12].try_into().unwrap()) as usize;
        frames.push(more[..len].to_vec());
        rest = &more[len..];
    }
    frames
}
