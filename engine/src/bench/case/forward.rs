//! Forwarding: one route, and tables of the size of the Internet's.

use super::super::site::Side;
use super::super::traffic::{Flow, Random};
use super::{Scenario, Way, between_hosts};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Packets to different destinations before they repeat. Their share of a table is far more than a cache of 2 MiB.
const DESTINATIONS: usize = 1 << 18;
const ROUTES4: usize = 1_000_000;
const ROUTES6: usize = 100_000;

/// Routes of each prefix length, in thousandths: about what BGP speakers see today.
const LENGTHS4: [(u8, u64); 10] =
    [(24, 600), (23, 100), (22, 115), (21, 50), (20, 45), (19, 30), (18, 20), (17, 10), (16, 20), (15, 10)];
const LENGTHS6: [(u8, u64); 8] =
    [(48, 480), (44, 110), (40, 100), (36, 60), (32, 170), (29, 50), (46, 20), (64, 10)];

/// One route to the far network.
pub fn one_route(v6: bool) -> Scenario {
    Scenario::new(Way::Forward, between_hosts(Way::Forward, v6))
}

/// 1,000,000 IPv4 routes, from 1.0.0.0 to 223.255.255.255 without the networks of both ends.
pub fn table4() -> Scenario {
    let mut random = Random(4);
    let mut prefixes = HashSet::with_capacity(ROUTES4);
    let mut routes = Vec::with_capacity(ROUTES4);
    while routes.len() < ROUTES4 {
        let length = length(&LENGTHS4, &mut random);
        let address = Ipv4Addr::from_bits(0x0100_0000 + random.below(0xdf00_0000) as u32);
        let net = Ipv4Net::new(address, length).expect("a length of the table").trunc();
        let taken = [10, 127, 192].contains(&net.addr().octets()[0]);
        if !taken && prefixes.insert(net) {
            routes.push(IpNet::V4(net));
        }
    }
    over(routes, &mut random, |net, random| match net {
        IpNet::V4(net) => {
            let hosts = 1u64 << (32 - net.prefix_len());
            IpAddr::V4(Ipv4Addr::from_bits(net.addr().to_bits() | random.below(hosts) as u32))
        }
        IpNet::V6(net) => IpAddr::V6(net.addr()),
    })
}

/// 100,000 IPv6 routes in 2000::/4.
pub fn table6() -> Scenario {
    let mut random = Random(6);
    let mut prefixes = HashSet::with_capacity(ROUTES6);
    let mut routes = Vec::with_capacity(ROUTES6);
    while routes.len() < ROUTES6 {
        let length = length(&LENGTHS6, &mut random);
        let high = 0x2000_0000_0000_0000 | random.next() >> 4;
        let net = Ipv6Net::new(Ipv6Addr::from_bits(u128::from(high) << 64), length)
            .expect("a length of the table")
            .trunc();
        let taken = net.addr().segments()[0] == 0x2001;
        if !taken && prefixes.insert(net) {
            routes.push(IpNet::V6(net));
        }
    }
    over(routes, &mut random, |net, random| match net {
        IpNet::V6(net) => {
            let host = (u128::from(random.next()) << 64 | u128::from(random.next())) >> net.prefix_len();
            IpAddr::V6(Ipv6Addr::from_bits(net.addr().to_bits() | host))
        }
        IpNet::V4(net) => IpAddr::V4(net.addr()),
    })
}

fn length(shares: &[(u8, u64)], random: &mut Random) -> u8 {
    let mut at = random.below(1000);
    for &(length, share) in shares {
        if at < share {
            return length;
        }
        at -= share;
    }
    shares[0].0
}

/// Routes over all routers, and traffic to a random host of a random route each.
fn over(routes: Vec<IpNet>, random: &mut Random, host: impl Fn(IpNet, &mut Random) -> IpAddr) -> Scenario {
    let v6 = matches!(routes[0], IpNet::V6(_));
    let src = Side::Near.host(v6);
    let flows = (0..DESTINATIONS).map(|_| {
        let route = routes[random.below(routes.len() as u64) as usize];
        Flow { src: (src, 1024 + random.below(60_000) as u16), dst: (host(route, random), 4789) }
    });
    let flows = flows.collect();
    let routes = routes.into_iter().map(|net| (net, random.below(Side::ROUTERS as u64) as usize)).collect();
    Scenario { routes, ..Scenario::new(Way::Forward, flows) }
}
