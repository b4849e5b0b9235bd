//! Longest-prefix match: an IPv4 or IPv6 destination → a next hop (RFC 1812 §5.2.4.3, RFC 7608).
//!
//! Control changes the routes in a [`FibWriter`] and workers look up in the [`Fib`] of it, at the same time: no
//! table is rebuilt or published for a route, no worker waits, and each lookup answers with the routes of one instant.
//!
//! # What it costs
//!
//! 64 MiB of address space a family for the direct index, of which only what routes cover becomes memory, and for the
//! rest 64 bytes and less a route. Past its L2 cache a machine takes hundreds of cycles for a load, and a worker has
//! many in flight: the number of cache lines that a lookup touches decides, not the size of the table. So nearly all
//! of an internet table's IPv4 routes cost one line, and IPv6 routes two or three; the `direct_bits` measurement of
//! the tests compares that with a smaller index (10 MiB for 1,000,000 IPv4 routes, and more than twice the time).
//!
//! # Next hops: made before a route leads to them, broken after
//!
//! A [`NextHopId`] is an index into the next hops of the snapshot; 0 is no route and is never given to one. As a
//! route takes effect at once and a snapshot when a worker takes it, control keeps an order: it publishes the
//! snapshot with the new next hop, waits until every worker has taken it, and only then inserts the route. To
//! retire an id it first removes or replaces the routes to it, then waits for a grace period, and only then may
//! a snapshot hold something else under it.
//!
//! # Grace periods
//!
//! What an update replaced may still be read by a worker in the middle of a burst. So each worker says at the
//! beginning of a poll, between two bursts, which [`Fib::epoch`] it has seen, and control calls, every now and then,
//! [`FibWriter::reclaim`] with the least that all of them said, and [`FibWriter::advance`] for the next epoch. A worker
//! that stops does not stop the updates until the room for replaced blocks is used up ([`FibError::Stalled`]).

mod arena;
mod block;
mod builder;
mod entry;
mod key;
pub mod recent;
mod rib;
pub mod synthetic;
mod table;
mod trie;
mod writer;

#[cfg(test)]
mod tests;

pub use builder::FibBuilder;
pub use entry::MAX_NEXT_HOP;
pub use writer::{Capacity, Family, FibError, FibWriter, Usage};

use crate::id::NextHopId;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use trie::Trie;

/// Bits of an IPv4 address that are indexed directly.
const DIRECT_V4: u32 = 24;
/// Bits of an IPv6 address that are indexed directly.
const DIRECT_V6: u32 = 24;

/// The forwarding information base, as workers read it.
#[derive(Debug)]
pub struct Fib {
    v4: Trie<u32, DIRECT_V4>,
    v6: Trie<u128, DIRECT_V6>,
    news: News,
}

/// What the writer changes with the routes: in cache lines of its own, so that workers keep theirs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct News {
    epoch: AtomicU64,
    bytes: AtomicUsize,
}

impl Fib {
    /// Without routes, with room for blocks of so many cache lines.
    fn new(capacity: Capacity) -> Fib {
        Fib { v4: Trie::new(capacity.lines_v4), v6: Trie::new(capacity.lines_v6), news: News::default() }
    }

    /// The next hop of the longest prefix that holds `destination`; `None` without a route.
    #[inline]
    pub fn lookup4(&self, destination: Ipv4Addr) -> Option<NextHopId> {
        Some(self.v4.lookup(destination.to_bits())).filter(|&id| id != NextHopId::NONE)
    }

    /// The next hop of the longest prefix that holds `destination`; `None` without a route.
    #[inline]
    pub fn lookup6(&self, destination: Ipv6Addr) -> Option<NextHopId> {
        Some(self.v6.lookup(destination.to_bits())).filter(|&id| id != NextHopId::NONE)
    }

    /// The same for either family.
    #[inline]
    pub fn lookup(&self, destination: IpAddr) -> Option<NextHopId> {
        match destination {
            IpAddr::V4(destination) => self.lookup4(destination),
            IpAddr::V6(destination) => self.lookup6(destination),
        }
    }

    /// The next hop of each IPv4 destination (as [`Ipv4Addr::to_bits`]) into `out` at the same place; 0 without a
    /// route. Cache misses of up to 32 destinations overlap. The shorter of the slices says how many.
    #[inline]
    pub fn lookup4_burst(&self, destinations: &[u32], out: &mut [NextHopId]) {
        self.v4.lookup_burst(destinations, out);
    }

    /// The same for IPv6 destinations (as [`Ipv6Addr::to_bits`]).
    #[inline]
    pub fn lookup6_burst(&self, destinations: &[u128], out: &mut [NextHopId]) {
        self.v6.lookup_burst(destinations, out);
    }

    /// What a worker reports between two bursts: from now on it reads nothing that was replaced before this epoch.
    #[inline]
    pub fn epoch(&self) -> u64 {
        // Acquire: lookups after this one see what the writer did before it began the epoch.
        self.news.epoch.load(Ordering::Acquire)
    }

    /// Memory that the routes take, bytes: the direct tables whole, and blocks in use or still read.
    pub fn bytes(&self) -> usize {
        self.news.bytes.load(Ordering::Relaxed)
    }
}

impl Default for Fib {
    fn default() -> Fib {
        Fib::new(Capacity { lines_v4: 0, lines_v6: 0 })
    }
}
