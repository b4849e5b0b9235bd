//! The addresses that a far end may use inside: WireGuard's "allowed IPs".

use ipnet::IpNet;
use std::net::IpAddr;

/// Prefixes as ranges, sorted and apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedIps {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl AllowedIps {
    /// Those of all of `nets`.
    pub fn new(nets: &[IpNet]) -> AllowedIps {
        let v4 = nets.iter().filter_map(|net| match net {
            IpNet::V4(net) => Some((net.network().to_bits(), net.broadcast().to_bits())),
            IpNet::V6(_) => None,
        });
        let v6 = nets.iter().filter_map(|net| match net {
            IpNet::V6(net) => Some((net.network().to_bits(), net.broadcast().to_bits())),
            IpNet::V4(_) => None,
        });
        AllowedIps { v4: apart(v4.collect()), v6: apart(v6.collect()) }
    }

    /// Whether `ip` is in one of them.
    #[inline]
    pub fn has(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => is_within(&self.v4, ip.to_bits()),
            IpAddr::V6(ip) => is_within(&self.v6, ip.to_bits()),
        }
    }
}

/// Sorted, and without those that lie within another: prefixes are nested or apart.
fn apart<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    let mut kept: Vec<(T, T)> = Vec::new();
    for range in ranges {
        if kept.last().is_none_or(|last| range.0 > last.1) {
            kept.push(range);
        }
    }
    kept.into()
}

#[inline]
fn is_within<T: Ord + Copy>(ranges: &[(T, T)], value: T) -> bool {
    let after = ranges.partition_point(|range| range.0 <= value);
    after.checked_sub(1).is_some_and(|at| value <= ranges[at].1)
}
