//! Longest-prefix match: an IPv4 or IPv6 destination → a next hop (RFC 1812 §5.2.4.3, RFC 7608).
//!
//! Control keeps a [`FibBuilder`] and publishes what [`FibBuilder::build`] makes of it: a [`Fib`]
//! is immutable. Each family is a compressed trie, which costs 256 KiB and a few bytes
//! a route.

mod trie;

#[cfg(test)]
mod tests;

use crate::id::NextHopId;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use trie::{Route, Trie};

/// The routes that a [`Fib`] is built from: one next hop a prefix.
#[derive(Clone, Debug, Default)]
pub struct FibBuilder {
    // In the order of (address, length), so that a prefix comes right before those inside it.
    v4: BTreeMap<(u32, u8), NextHopId>,
    v6: BTreeMap<(u128, u8), NextHopId>,
}

impl FibBuilder {
    /// No route.
    pub fn new() -> FibBuilder {
        FibBuilder::default()
    }

    /// Routes `prefix` (host bits are ignored) to `next_hop`; returns what it replaced.
    pub fn insert(&mut self, prefix: IpNet, next_hop: NextHopId) -> Option<NextHopId> {
        match prefix {
            IpNet::V4(net) => self.v4.insert((net.network().to_bits(), net.prefix_len()), next_hop),
            IpNet::V6(net) => self.v6.insert((net.network().to_bits(), net.prefix_len()), next_hop),
        }
    }

    /// Forgets the route to exactly `prefix`; returns its next hop.
    pub fn remove(&mut self, prefix: IpNet) -> Option<NextHopId> {
        match prefix {
            IpNet::V4(net) => self.v4.remove(&(net.network().to_bits(), net.prefix_len())),
            IpNet::V6(net) => self.v6.remove(&(net.network().to_bits(), net.prefix_len())),
        }
    }

    /// The number of routes.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// True without any route.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The lookup structure for the routes of now.
    pub fn build(&self) -> Fib {
        let v4: Vec<_> =
            self.v4.iter().map(|(&(bits, len), &next_hop)| Route { bits, len, next_hop }).collect();
        let v6: Vec<_> =
            self.v6.iter().map(|(&(bits, len), &next_hop)| Route { bits, len, next_hop }).collect();
        Fib { v4: Trie::build(&v4), v6: Trie::build(&v6) }
    }
}

impl Extend<(IpNet, NextHopId)> for FibBuilder {
    fn extend<T: IntoIterator<Item = (IpNet, NextHopId)>>(&mut self, routes: T) {
        for (prefix, next_hop) in routes {
            self.insert(prefix, next_hop);
        }
    }
}

/// The forwarding information base of one generation.
#[derive(Debug)]
pub struct Fib {
    v4: Trie<u32>,
    v6: Trie<u128>,
}

impl Fib {
    /// The next hop of the longest prefix that holds `destination`; `None` without a route.
    #[inline]
    pub fn lookup4(&self, destination: Ipv4Addr) -> Option<NextHopId> {
        self.v4.lookup(destination.to_bits())
    }

    /// The next hop of the longest prefix that holds `destination`; `None` without a route.
    #[inline]
    pub fn lookup6(&self, destination: Ipv6Addr) -> Option<NextHopId> {
        self.v6.lookup(destination.to_bits())
    }

    /// The next hops of up to a burst of destinations; [`NextHopId::NONE`] without a route.
    #[inline]
    pub fn lookup4_burst(&self, destinations: &[u32], next_hops: &mut [NextHopId]) {
        for (&destination, next_hop) in destinations.iter().zip(next_hops) {
            *next_hop = self.v4.lookup(destination).unwrap_or(NextHopId::NONE);
        }
    }

    /// The next hops of up to a burst of destinations; [`NextHopId::NONE`] without a route.
    #[inline]
    pub fn lookup6_burst(&self, destinations: &[u128], next_hops: &mut [NextHopId]) {
        for (&destination, next_hop) in destinations.iter().zip(next_hops) {
            *next_hop = self.v6.lookup(destination).unwrap_or(NextHopId::NONE);
        }
    }

    /// The same for either family.
    #[inline]
    pub fn lookup(&self, destination: IpAddr) -> Option<NextHopId> {
        match destination {
            IpAddr::V4(destination) => self.lookup4(destination),
            IpAddr::V6(destination) => self.lookup6(destination),
        }
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.v4.bytes() + self.v6.bytes()
    }
}

impl Default for Fib {
    fn default() -> Fib {
        FibBuilder::new().build()
    }
}
