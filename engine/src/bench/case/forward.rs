//! Forwarding: one route, and tables of the size of the Internet's.

use super::super::site::Side;
use super::super::traffic::Flow;
use super::{Scenario, Way, between_hosts};
use dataplane::fib::synthetic::{self, Random};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Packets to different destinations before they repeat. Their share of a table is far more than a cache of 2 MiB.
const DESTINATIONS: usize = 1 << 18;
const SEED: u64 = 3;

/// One route to the far network.
pub fn one_route(v6: bool) -> Scenario {
    Scenario::new(Way::Forward, between_hosts(Way::Forward, v6))
}

/// 1,000,000 IPv4 routes.
pub fn table4() -> Scenario {
    over(synthetic::table_v4(1_000_000, SEED))
}

/// 100,000 IPv6 routes.
pub fn table6() -> Scenario {
    over(synthetic::table_v6(100_000, SEED))
}

/// Routes over all routers, and traffic to a random host of a random route each.
fn over(mut table: Vec<IpNet>) -> Scenario {
    // The rig's own links, and what is never forwarded (RFC 3927 §2.7).
    let not_routed: [IpNet; 3] = ["192.0.2.0/24", "2001:db8::/32", "169.254.0.0/16"]
        .map(|text| text.parse().expect("a constant prefix"));
    table.retain(|net| !not_routed.iter().any(|other| other.contains(net) || net.contains(other)));
    let mut random = Random(SEED);
    let src = Side::Near.host(matches!(table[0], IpNet::V6(_)));
    let mut flow = || {
        let route = table[random.below(table.len())];
        let bits = synthetic::address_in(route, &mut random);
        let dst: IpAddr = match route {
            IpNet::V4(_) => Ipv4Addr::from_bits(bits as u32).into(),
            IpNet::V6(_) => Ipv6Addr::from_bits(bits).into(),
        };
        Flow { src: (src, 1024 + random.below(60_000) as u16), dst: (dst, 4789) }
    };
    let flows = (0..DESTINATIONS).map(|_| flow()).collect();
    let routes = table.iter().map(|&net| (net, random.below(Side::ROUTERS))).collect();
    Scenario { routes, ..Scenario::new(Way::Forward, flows) }
}
