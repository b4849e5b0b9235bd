use super::seed_packet;
use crate::wire::Protocol;
use crate::wire::flow::FlowKey;

const BUCKETS: usize = 65_536;

/// χ² of the buckets' loads against an even spread. For 65,535 degrees of freedom its mean is 65,535 and its
/// standard deviation √(2·65,535) = 362.
fn chi_square(keys: impl Iterator<Item = FlowKey>, seed: u64) -> f64 {
    let mut loads = vec![0u32; BUCKETS];
    let mut count = 0;
    for key in keys {
        loads[key.bucket(seed).index()] += 1;
        count += 1;
    }
    let expected = f64::from(count) / BUCKETS as f64;
    loads.iter().map(|&load| (f64::from(load) - expected).powi(2) / expected).sum()
}

fn udp(src: u128, dst: u128, src_port: u16, dst_port: u16) -> FlowKey {
    FlowKey { src, dst, protocol: Protocol::UDP, src_port, dst_port, fragment: false }
}

#[test]
fn similar_flows_spread_evenly() {
    let host = 0xffff_c000_020a;
    let far = 0xffff_c633_6414;
    let limit = 65_535.0 + 5.0 * 362.0;
    for seed in [0, 1, 0x5eed, u64::MAX] {
        let ports =
            (0..=u16::MAX).flat_map(|port| (0..8).map(move |other| udp(host, far, port, 8000 + other)));
        let figure = chi_square(ports, seed);
        assert!(figure < limit, "consecutive source ports, seed {seed}: χ² {figure}");
        let hosts = (0..BUCKETS as u128).flat_map(|n| (0..8).map(move |m| udp(host + n, far + m, 5000, 443)));
        let figure = chi_square(hosts, seed);
        assert!(figure < limit, "consecutive hosts, seed {seed}: χ² {figure}");
        let prefixes = (0..BUCKETS as u128 * 8).map(|n| udp(0x2001_0db8 << 96 | n << 64 | 1, far, 5000, 443));
        let figure = chi_square(prefixes, seed);
        assert!(figure < limit, "consecutive prefixes, seed {seed}: χ² {figure}");
    }
}

#[test]
fn every_part_of_the_key_counts() {
    let key = udp(1, 2, 3, 4);
    let others = [
        FlowKey { src: 2, dst: 1, ..key },
        FlowKey { src: 1 << 64, ..key },
        FlowKey { dst: 2 << 64, ..key },
        FlowKey { src_port: 4, dst_port: 3, ..key },
        FlowKey { protocol: Protocol::TCP, ..key },
        FlowKey { fragment: true, ..key },
    ];
    for other in others {
        assert_ne!(key.hash(7), other.hash(7), "{other:?}");
    }
    assert_ne!(key.hash(7), key.hash(8));
}

#[test]
fn flows_of_scapy_packets() {
    let key = FlowKey::of(&seed_packet("ipv4-udp.ok")).unwrap();
    let addresses = (0xffff_c000_020a, 0xffff_c633_6414);
    assert_eq!(key, udp(addresses.0, addresses.1, 40000, 53));
    let key = FlowKey::of(&seed_packet("ipv6-chain.ok")).unwrap();
    assert_eq!(key, FlowKey::of(&seed_packet("ipv6-udp.ok")).unwrap());
    assert_eq!((key.src_port, key.dst_port), (40000, 53));
    assert_eq!(key, FlowKey::of(&seed_packet("ipv6-atomic.ok")).unwrap());
    let esp = FlowKey::of(&seed_packet("esp.ok")).unwrap();
    assert_eq!((esp.protocol, esp.src_port, esp.dst_port), (Protocol::ESP, 0, 0));
}

#[test]
fn fragments_of_a_datagram_are_one_flow() {
    for version in ["ipv4", "ipv6"] {
        let [first, last] = ["first", "last"]
            .map(|part| FlowKey::of(&seed_packet(&format!("{version}-fragment-{part}.ok"))).unwrap());
        assert_eq!(first, last);
        assert!(first.fragment && first.src_port == 0);
    }
}
