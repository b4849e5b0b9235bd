//! The writer of a [`Fib`]: what control holds.

use super::arena::NoRoom;
use super::entry::MAX_NEXT_HOP;
use super::key::{Key, Prefix};
use super::table::Table;
use super::{DIRECT_V4, DIRECT_V6, Fib};
use crate::id::NextHopId;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use thiserror::Error;

/// A cache line, bytes.
const LINE: usize = 64;

/// How much memory routes may take besides the direct tables: cache lines of 64 bytes. It is address space until
/// routes use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// For IPv4 routes longer than the direct index.
    pub lines_v4: usize,
    /// The same for IPv6.
    pub lines_v6: usize,
}

impl Capacity {
    /// Enough for `routes` routes of each family wherever they lie. A route takes less than a line in a real table;
    /// one far from all others but one, as many as its bits have branches.
    pub const fn for_routes(routes: usize) -> Capacity {
        Capacity { lines_v4: 1024 + 4 * routes, lines_v6: 1024 + 12 * routes }
    }
}

impl Default for Capacity {
    /// 1,000,000 routes longer than /24 and 300,000 IPv6 routes, and more of usual tables.
    fn default() -> Capacity {
        Capacity { lines_v4: 4 << 20, lines_v6: 4 << 20 }
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// Why a route did not change. The routes are as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FibError {
    /// An id that no route may lead to.
    #[error("next hop {0} is not one of 1 to {MAX_NEXT_HOP}")]
    NextHop(NextHopId),
    /// The family's blocks take all the memory that they may.
    #[error(
        "the {family} FIB is full: {routes} routes take {lines} of {capacity} cache lines; give it more or summarise routes"
    )]
    Full { family: Family, routes: usize, lines: usize, capacity: usize },
    /// Workers may still read too much of what was replaced.
    #[error(
        "the {family} FIB waits for workers: they may still read {lines} of {capacity} cache lines that were replaced; try again when all have polled"
    )]
    Stalled { family: Family, lines: usize, capacity: usize },
}

/// What a FIB holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// IPv4 routes.
    pub routes_v4: usize,
    /// IPv6 routes.
    pub routes_v6: usize,
    /// Memory that workers read, bytes: the direct tables whole, and blocks in use.
    pub bytes: usize,
    /// Blocks that workers may still read, bytes.
    pub retired_bytes: usize,
    /// The most that `bytes` and `retired_bytes` can become together.
    pub bytes_max: usize,
}

/// Control's routes and the only writer of the [`Fib`] that workers read.
#[derive(Debug)]
pub struct FibWriter {
    fib: Arc<Fib>,
    v4: Table<u32, DIRECT_V4>,
    v6: Table<u128, DIRECT_V6>,
    epoch: u64,
}

impl FibWriter {
    /// No route, and room for blocks of `capacity`.
    pub fn new(capacity: Capacity) -> FibWriter {
        let fib = Arc::new(Fib::new(capacity));
        let (v4, v6) = (Table::new(capacity.lines_v4), Table::new(capacity.lines_v6));
        let mut writer = FibWriter { fib, v4, v6, epoch: 0 };
        writer.account();
        writer
    }

    /// What workers read.
    pub fn fib(&self) -> &Arc<Fib> {
        &self.fib
    }

    /// Routes `prefix` (host bits are ignored) to `next_hop`, from now on; returns what it replaced. Every worker's
    /// snapshot must hold `next_hop` already.
    pub fn insert(&mut self, prefix: IpNet, next_hop: NextHopId) -> Result<Option<NextHopId>, FibError> {
        if next_hop.0 == 0 || next_hop > MAX_NEXT_HOP {
            return Err(FibError::NextHop(next_hop));
        }
        let done = match prefix {
            IpNet::V4(net) => self
                .v4
                .insert(&self.fib.v4, v4(net), next_hop.0)
                .map_err(|why| no_room(Family::V4, &self.v4, why)),
            IpNet::V6(net) => self
                .v6
                .insert(&self.fib.v6, v6(net), next_hop.0)
                .map_err(|why| no_room(Family::V6, &self.v6, why)),
        };
        self.account();
        Ok(done?.map(NextHopId))
    }

    /// Forgets the route to exactly `prefix`, from now on; returns its next hop.
    pub fn remove(&mut self, prefix: IpNet) -> Result<Option<NextHopId>, FibError> {
        let done = match prefix {
            IpNet::V4(net) => {
                self.v4.remove(&self.fib.v4, v4(net)).map_err(|why| no_room(Family::V4, &self.v4, why))
            }
            IpNet::V6(net) => {
                self.v6.remove(&self.fib.v6, v6(net)).map_err(|why| no_room(Family::V6, &self.v6, why))
            }
        };
        self.account();
        Ok(done?.map(NextHopId))
    }

    /// Where exactly `prefix` leads.
    pub fn get(&self, prefix: IpNet) -> Option<NextHopId> {
        let value = match prefix {
            IpNet::V4(net) => self.v4.rib.get(v4(net)),
            IpNet::V6(net) => self.v6.rib.get(v6(net)),
        };
        value.map(NextHopId)
    }

    /// All routes.
    pub fn routes(&self) -> impl Iterator<Item = (IpNet, NextHopId)> {
        self.routes_in(Ipv4Net::default().into()).chain(self.routes_in(Ipv6Net::default().into()))
    }

    /// The routes inside `within`, itself included.
    pub fn routes_in(&self, within: IpNet) -> impl Iterator<Item = (IpNet, NextHopId)> {
        let (in_v4, in_v6) = match within {
            IpNet::V4(net) => (Some(v4(net)), None),
            IpNet::V6(net) => (None, Some(v6(net))),
        };
        let in_v4 = in_v4.into_iter().flat_map(|within| self.v4.rib.within(within)).map(|(prefix, value)| {
            let net = Ipv4Net::new_assert(prefix.bits.into(), prefix.len);
            (IpNet::V4(net), NextHopId(value))
        });
        let in_v6 = in_v6.into_iter().flat_map(|within| self.v6.rib.within(within)).map(|(prefix, value)| {
            let net = Ipv6Net::new_assert(prefix.bits.into(), prefix.len);
            (IpNet::V6(net), NextHopId(value))
        });
        in_v4.chain(in_v6)
    }

    /// The number of routes.
    pub fn len(&self) -> usize {
        self.v4.rib.len() + self.v6.rib.len()
    }

    /// True without any route.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Begins the next epoch and returns it: when all workers have reported it, [`FibWriter::reclaim`] makes room of
    /// what was replaced until now.
    pub fn advance(&mut self) -> u64 {
        self.epoch += 1;
        (self.v4.epoch, self.v6.epoch) = (self.epoch, self.epoch);
        // Release: who sees the epoch sees the links of before it.
        self.fib.news.epoch.store(self.epoch, Ordering::Release);
        self.epoch
    }

    /// Makes room of what was replaced before epoch `seen`, the least that any worker reported.
    pub fn reclaim(&mut self, seen: u64) {
        self.v4.arena.reclaim(seen.min(self.epoch));
        self.v6.arena.reclaim(seen.min(self.epoch));
        self.account();
    }

    /// Routes and memory.
    pub fn usage(&self) -> Usage {
        let direct = size_of_val(&*self.fib.v4.direct) + size_of_val(&*self.fib.v6.direct);
        let (v4, v6) = (&self.v4.arena, &self.v6.arena);
        Usage {
            routes_v4: self.v4.rib.len(),
            routes_v6: self.v6.rib.len(),
            bytes: direct + LINE * (v4.in_use() + v6.in_use()),
            retired_bytes: LINE * (v4.retired() + v6.retired()),
            bytes_max: direct + LINE * (v4.capacity() + v6.capacity()),
        }
    }

    fn account(&mut self) {
        let usage = self.usage();
        self.fib.news.bytes.store(usage.bytes + usage.retired_bytes, Ordering::Relaxed);
    }
}

fn v4(net: Ipv4Net) -> Prefix<u32> {
    Prefix::new(net.addr().to_bits(), net.prefix_len().into())
}

fn v6(net: Ipv6Net) -> Prefix<u128> {
    Prefix::new(net.addr().to_bits(), net.prefix_len().into())
}

fn no_room<K: Key, const D: u32>(family: Family, table: &Table<K, D>, why: NoRoom) -> FibError {
    let capacity = table.arena.capacity();
    match why {
        NoRoom::Full => {
            FibError::Full { family, routes: table.rib.len(), lines: table.arena.in_use(), capacity }
        }
        NoRoom::Stalled => FibError::Stalled { family, lines: table.arena.retired(), capacity },
    }
}
