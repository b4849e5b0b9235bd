//! The FIB against a linear search over its routes.

mod direct_bits;
mod threads;

use super::synthetic::{Random, address_in, table_v4, table_v6};
use super::*;
use ipnet::IpNet;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn net(s: &str) -> IpNet {
    s.parse().unwrap()
}

/// What RFC 1812 §5.2.4.3 says, by looking at every route.
fn oracle(routes: &BTreeMap<IpNet, NextHopId>, destination: IpAddr) -> Option<NextHopId> {
    let matching = routes.iter().filter(|(prefix, _)| prefix.contains(&destination));
    matching.max_by_key(|(prefix, _)| prefix.prefix_len()).map(|(_, &next_hop)| next_hop)
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

/// What the FIB answers, by the single lookup and by the burst, which must agree.
fn ask(fib: &Fib, destinations: &[IpAddr]) -> Vec<Option<NextHopId>> {
    let (mut v4, mut v6) = (vec![], vec![]);
    for destination in destinations {
        match destination {
            IpAddr::V4(ip) => v4.push(ip.to_bits()),
            IpAddr::V6(ip) => v6.push(ip.to_bits()),
        }
    }
    let (mut out4, mut out6) = (vec![NextHopId(99); v4.len()], vec![NextHopId(99); v6.len()]);
    fib.lookup4_burst(&v4, &mut out4);
    fib.lookup6_burst(&v6, &mut out6);
    let (mut out4, mut out6) = (out4.into_iter(), out6.into_iter());
    destinations
        .iter()
        .map(|&destination| {
            let burst = if destination.is_ipv4() { out4.next() } else { out6.next() };
            let burst = burst.filter(|id| id.0 != 0);
            assert_eq!(burst, fib.lookup(destination), "burst and single lookup of {destination}");
            burst
        })
        .collect()
}

fn check(fib: &Fib, routes: &BTreeMap<IpNet, NextHopId>, destinations: &[IpAddr]) {
    for (&destination, found) in destinations.iter().zip(ask(fib, destinations)) {
        assert_eq!(found, oracle(routes, destination), "{destination}");
    }
}

/// One change: the next hop of a prefix, or none; by which earlier prefix, if one of those.
type Change = (IpNet, Option<prop::sample::Index>, u32);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec((prefix(), prop::option::of(any::<prop::sample::Index>()), 0..4u32), 0..150)
}

proptest! {
    /// Routes come, change and go; after each step the edges of the prefix, and in the end those of all and
    /// random addresses, lead where a linear search says.
    #[test]
    fn finds_what_a_linear_search_finds(
        changes in changes(),
        d4 in prop::collection::vec(v4(), 50),
        d6 in prop::collection::vec(v6(), 50),
    ) {
        let mut writer = FibWriter::new(Capacity::for_routes(150));
        let (mut routes, mut known) = (BTreeMap::new(), vec![]);
        for (new, earlier, next_hop) in changes {
            let earlier = earlier.filter(|_| !known.is_empty());
            let prefix: IpNet = earlier.map_or(new, |index| *index.get(&known));
            let prefix = prefix.trunc();
            known.push(prefix);
            let before = writer.get(prefix);
            prop_assert_eq!(before, routes.get(&prefix).copied());
            let replaced = if next_hop == 0 {
                routes.remove(&prefix);
                writer.remove(prefix)
            } else {
                routes.insert(prefix, NextHopId(next_hop));
                writer.insert(prefix, NextHopId(next_hop))
            };
            prop_assert_eq!(replaced, Ok(before));
            prop_assert_eq!(writer.len(), routes.len());
            check(writer.fib(), &routes, &edges(prefix));
            let epoch = writer.advance();
            writer.reclaim(epoch);
        }
        prop_assert_eq!(writer.routes().collect::<BTreeMap<_, _>>(), routes.clone());
        let mut destinations: Vec<IpAddr> = known.iter().flat_map(|&prefix| edges(prefix)).collect();
        destinations.extend(d4.into_iter().map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits))));
        destinations.extend(d6.into_iter().map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits))));
        check(writer.fib(), &routes, &destinations);
        // Without routes nothing is left behind, whatever there was.
        for prefix in known {
            prop_assert!(writer.remove(prefix).is_ok());
        }
        let epoch = writer.advance();
        writer.reclaim(epoch);
        prop_assert_eq!(writer.usage(), FibWriter::new(Capacity::for_routes(150)).usage());
        check(writer.fib(), &BTreeMap::new(), &destinations);
    }
}

#[test]
fn an_empty_fib_routes_nothing() {
    let fib = Fib::default();
    assert_eq!(fib.lookup4(Ipv4Addr::BROADCAST), None);
    assert_eq!(fib.lookup6(Ipv6Addr::LOCALHOST), None);
}

#[test]
fn an_id_that_is_no_next_hop_is_refused() {
    let mut writer = FibWriter::new(Capacity::for_routes(1));
    for id in [NextHopId(0), NextHopId(MAX_NEXT_HOP.0 + 1), NextHopId(u32::MAX)] {
        assert_eq!(writer.insert(net("0.0.0.0/0"), id), Err(FibError::NextHop(id)));
    }
    writer.insert(net("10.1.2.3/32"), MAX_NEXT_HOP).unwrap();
    assert_eq!(writer.fib().lookup4(Ipv4Addr::new(10, 1, 2, 3)), Some(MAX_NEXT_HOP));
    assert_eq!(writer.len(), 1);
}

/// A table of real size after as many changes, against the oracle where it is cheap: the routes around an address.
#[test]
fn tables_of_internet_size_agree_and_stay_in_bounds() {
    let mut writer = FibWriter::new(Capacity::default());
    let tables = [table_v4(200_000, 3), table_v6(60_000, 3)].concat();
    let mut random = Random(5);
    let mut routes = BTreeMap::new();
    for (n, &prefix) in tables.iter().enumerate() {
        routes.insert(prefix, NextHopId(n as u32 % 1000 + 1));
        writer.insert(prefix, NextHopId(n as u32 % 1000 + 1)).unwrap();
    }
    for n in 0..100_000 {
        let prefix = tables[random.below(tables.len())];
        if random.below(3) == 0 {
            assert_eq!(writer.remove(prefix), Ok(routes.remove(&prefix)));
        } else {
            let next_hop = NextHopId(random.below(1000) as u32 + 1);
            assert_eq!(writer.insert(prefix, next_hop), Ok(routes.insert(prefix, next_hop)));
        }
        if n % 100 == 0 {
            let epoch = writer.advance();
            writer.reclaim(epoch);
        }
    }
    for _ in 0..50_000 {
        let prefix = tables[random.below(tables.len())];
        let bits = address_in(prefix, &mut random);
        let destination = match prefix {
            IpNet::V4(_) => IpAddr::from(Ipv4Addr::from_bits(bits as u32)),
            IpNet::V6(_) => IpAddr::from(Ipv6Addr::from_bits(bits)),
        };
        let longest = (0..=prefix.max_prefix_len())
            .rev()
            .find_map(|len| routes.get(&IpNet::new(destination, len).unwrap().trunc()).copied());
        assert_eq!(writer.fib().lookup(destination), longest, "{destination}");
    }
    let usage = writer.usage();
    assert!(usage.bytes + usage.retired_bytes == writer.fib().bytes());
    let blocks = usage.bytes - FibWriter::new(Capacity::for_routes(0)).usage().bytes;
    assert!(blocks < 64 * writer.len(), "{} bytes a route", blocks / writer.len());
}

/// At its capacity a FIB says so, changes nothing, still removes, and takes as many routes again.
#[test]
fn a_full_fib_says_so_and_recovers() {
    let capacity = Capacity { lines_v4: 4096, lines_v6: 4096 };
    let mut writer = FibWriter::new(capacity);
    let prefixes = |round: u32| {
        (0..).map(move |n: u32| {
            let bits = 0x2001_0db8_u128 << 96 | u128::from(Random(n.into()).0 as u32 ^ round << 20) << 64 | 1;
            IpNet::new(Ipv6Addr::from_bits(bits).into(), 128).unwrap()
        })
    };
    let mut fitted = vec![];
    for round in 0..4 {
        let mut inserted = vec![];
        let error = loop {
            let prefix = prefixes(round).nth(inserted.len()).unwrap();
            match writer.insert(prefix, NextHopId(1)) {
                Ok(_) => inserted.push(prefix),
                Err(FibError::Stalled { .. }) => {
                    let epoch = writer.advance();
                    writer.reclaim(epoch);
                }
                Err(error) => break error,
            }
        };
        assert!(
            matches!(error, FibError::Full { family: Family::V6, routes, .. } if routes == inserted.len())
        );
        assert!(writer.usage().bytes + writer.usage().retired_bytes <= writer.usage().bytes_max);
        check(
            writer.fib(),
            &inserted.iter().map(|&prefix| (prefix, NextHopId(1))).collect(),
            &[
                inserted[0].addr(),
                inserted[inserted.len() - 1].addr(),
                prefixes(round).nth(inserted.len()).unwrap().addr(),
            ],
        );
        fitted.push(inserted.len());
        for prefix in inserted {
            while writer.remove(prefix).is_err() {
                let epoch = writer.advance();
                writer.reclaim(epoch);
            }
        }
        let epoch = writer.advance();
        writer.reclaim(epoch);
        assert_eq!(writer.usage().bytes, FibWriter::new(capacity).usage().bytes);
    }
    assert!(fitted.iter().all(|&n| 10 * n >= 9 * fitted[0]), "{fitted:?}");
}

/// A worker that never reports its epoch holds memory up to the bound, not routes to the wrong place.
#[test]
fn a_worker_that_stops_stalls_the_writer_in_the_end() {
    let mut writer = FibWriter::new(Capacity { lines_v4: 2048, lines_v6: 0 });
    let prefixes = [net("10.0.0.0/24"), net("10.0.2.0/24"), net("10.0.4.0/26")];
    writer.insert(prefixes[0], NextHopId(1)).unwrap();
    let stalled = (0..100_000).find_map(|n| {
        let prefix = prefixes[1 + n % 2];
        writer.insert(prefix, NextHopId(2)).and_then(|_| writer.remove(prefix)).err()
    });
    assert!(matches!(stalled, Some(FibError::Stalled { family: Family::V4, .. })), "{stalled:?}");
    assert_eq!(writer.fib().lookup4(Ipv4Addr::new(10, 0, 0, 1)), Some(NextHopId(1)));
    let epoch = writer.advance();
    writer.reclaim(epoch);
    assert_eq!(writer.usage().retired_bytes, 0);
    writer.insert(prefixes[2], NextHopId(3)).unwrap();
}
