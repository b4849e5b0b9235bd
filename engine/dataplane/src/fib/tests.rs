use super::*;
use proptest::prelude::*;

fn net(s: &str) -> IpNet {
    s.parse().unwrap()
}

/// What RFC 1812 §5.2.4.3 says, by looking at every route.
fn oracle(routes: &[(IpNet, NextHopId)], destination: IpAddr) -> Option<NextHopId> {
    let mut best: Option<(u8, NextHopId)> = None;
    for (prefix, next_hop) in routes.iter().filter(|(prefix, _)| prefix.contains(&destination)) {
        // Of two routes for one prefix the later one replaced the earlier.
        if best.is_none_or(|(len, _)| prefix.prefix_len() >= len) {
            best = Some((prefix.prefix_len(), *next_hop));
        }
    }
    best.map(|(_, next_hop)| next_hop)
}

/// Addresses in a few clusters, so that random prefixes overlap and lookups hit them.
fn v4() -> impl Strategy<Value = u32> {
    (
        prop::sample::select(vec![0, 0x0a00_0000, 0x0a01_0200, 0xc0a8_0000, 0xffff_ff00]),
        any::<u32>(),
        0..33u32,
    )
        .prop_map(|(base, noise, keep)| base ^ noise.checked_shr(keep).unwrap_or(0))
}

fn v6() -> impl Strategy<Value = u128> {
    let bases = vec![0, 0x2001_0db8 << 96, 0x2001_0db8_0001_0002 << 64, 0xfe80 << 112, u128::MAX];
    (prop::sample::select(bases), any::<u128>(), 0..129u32)
        .prop_map(|(base, noise, keep)| base ^ noise.checked_shr(keep).unwrap_or(0))
}

fn prefix() -> impl Strategy<Value = IpNet> {
    let len = |max: u8| prop_oneof![0..=max, Just(0), Just(max)];
    prop_oneof![
        (v4(), len(32)).prop_map(|(bits, len)| IpNet::new(Ipv4Addr::from_bits(bits).into(), len).unwrap()),
        (v6(), len(128)).prop_map(|(bits, len)| IpNet::new(Ipv6Addr::from_bits(bits).into(), len).unwrap()),
    ]
}

/// The addresses at both edges of a prefix and just outside: where an error of one shows.
fn edges(prefix: IpNet) -> [IpAddr; 4] {
    match prefix {
        IpNet::V4(net) => {
            let (low, high) = (net.network().to_bits(), net.broadcast().to_bits());
            [low, high, low.wrapping_sub(1), high.wrapping_add(1)]
                .map(|bits| Ipv4Addr::from_bits(bits).into())
        }
        IpNet::V6(net) => {
            let (low, high) = (net.network().to_bits(), net.broadcast().to_bits());
            [low, high, low.wrapping_sub(1), high.wrapping_add(1)]
                .map(|bits| Ipv6Addr::from_bits(bits).into())
        }
    }
}

fn agrees(fib: &Fib, routes: &[(IpNet, NextHopId)], destination: IpAddr) -> Result<(), TestCaseError> {
    prop_assert_eq!(fib.lookup(destination), oracle(routes, destination), "{}", destination);
    Ok(())
}

proptest! {
    #[test]
    fn finds_what_a_linear_search_finds(
        prefixes in prop::collection::vec((prefix(), 0..40u32), 0..120),
        removed in any::<prop::sample::Index>(),
        d4 in prop::collection::vec(v4(), 50),
        d6 in prop::collection::vec(v6(), 50),
    ) {
        let mut routes: Vec<_> = prefixes.into_iter().map(|(p, n)| (p, NextHopId(n.wrapping_sub(1)))).collect();
        let mut builder = FibBuilder::new();
        builder.extend(routes.iter().copied());
        if !routes.is_empty() {
            let gone = routes[removed.index(routes.len())].0;
            prop_assert!(builder.remove(gone).is_some());
            prop_assert!(builder.remove(gone).is_none());
            routes.retain(|(prefix, _)| prefix.trunc() != gone.trunc());
        }
        let fib = builder.build();
        for (prefix, _) in &routes {
            for destination in edges(*prefix) {
                agrees(&fib, &routes, destination)?;
            }
        }
        for bits in d4 {
            agrees(&fib, &routes, Ipv4Addr::from_bits(bits).into())?;
        }
        for bits in d6 {
            agrees(&fib, &routes, Ipv6Addr::from_bits(bits).into())?;
        }
    }
}

#[test]
fn an_empty_fib_routes_nothing() {
    let fib = Fib::default();
    assert_eq!(fib.lookup4(Ipv4Addr::BROADCAST), None);
    assert_eq!(fib.lookup6(Ipv6Addr::LOCALHOST), None);
}

#[test]
fn ten_routes_take_little_more_memory_than_none() {
    let mut builder = FibBuilder::new();
    builder.extend((0..10).map(|n| (net(&format!("10.{n}.0.0/24")), NextHopId(n))));
    builder.extend((0..10).map(|n| (net(&format!("2001:db8:0:{n}::/64")), NextHopId(n))));
    let more = builder.build().bytes() - Fib::default().bytes();
    assert!(more < 2048, "{more} bytes");
}

/// A table large enough for the direct index, in both families, against the oracle in the shape of
/// nested prefixes whose answer follows from the address.
#[test]
fn a_hundred_thousand_routes() {
    let mut builder = FibBuilder::new();
    builder.insert(net("0.0.0.0/0"), NextHopId(u32::MAX));
    builder.insert(net("::/0"), NextHopId(u32::MAX));
    let v4 = |i: u32| Ipv4Addr::from_bits((1 << 24) + (i << 8));
    let v6 = |i: u32| Ipv6Addr::from_bits((0x2001 << 112) + (u128::from(i) << 80));
    for i in 0..50_000 {
        builder.insert(IpNet::new(v4(i).into(), 24).unwrap(), NextHopId(i));
        builder.insert(IpNet::new(v6(i).into(), 48).unwrap(), NextHopId(i));
    }
    builder.insert(net("1.0.0.77/32"), NextHopId(7));
    builder.insert(net("1.0.0.0/15"), NextHopId(8));
    assert_eq!(builder.len(), 100_004);
    let fib = builder.build();
    assert!(fib.bytes() < 4 << 20, "{} bytes", fib.bytes());
    for i in 0..50_000 {
        assert_eq!(fib.lookup4(Ipv4Addr::from_bits(v4(i).to_bits() + 9)), Some(NextHopId(i)));
        assert_eq!(fib.lookup6(Ipv6Addr::from_bits(v6(i).to_bits() + 9)), Some(NextHopId(i)));
    }
    assert_eq!(fib.lookup4(Ipv4Addr::new(1, 0, 0, 77)), Some(NextHopId(7)));
    assert_eq!(fib.lookup4(Ipv4Addr::new(1, 0, 0, 78)), Some(NextHopId(0)));
    assert_eq!(fib.lookup4(v4(50_000)), Some(NextHopId(u32::MAX)));
    assert_eq!(fib.lookup6(v6(50_000)), Some(NextHopId(u32::MAX)));
    assert_eq!(fib.lookup4(Ipv4Addr::UNSPECIFIED), Some(NextHopId(u32::MAX)));
}

/// The direct index with overlapping short and long prefixes, against the linear search.
#[test]
fn a_direct_index_agrees_with_a_linear_search() {
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    let mut routes = std::collections::BTreeMap::new();
    for n in 0..6000 {
        let (bits, len) = (0x0a00_0000 | random() >> 9, (random() % 33) as u8);
        routes.insert(IpNet::new(Ipv4Addr::from_bits(bits).into(), len).unwrap().trunc(), NextHopId(n % 50));
        let bits = 0x2001_0db8 << 96 | u128::from(random()) << 72 | u128::from(random()) << 40;
        let len = (random() % 129) as u8;
        routes.insert(IpNet::new(Ipv6Addr::from_bits(bits).into(), len).unwrap().trunc(), NextHopId(n % 50));
    }
    let routes: Vec<_> = routes.into_iter().collect();
    let mut builder = FibBuilder::new();
    builder.extend(routes.iter().copied());
    let fib = builder.build();
    for (prefix, _) in routes.iter().step_by(7) {
        for destination in edges(*prefix) {
            assert_eq!(fib.lookup(destination), oracle(&routes, destination), "{destination}");
        }
    }
}
