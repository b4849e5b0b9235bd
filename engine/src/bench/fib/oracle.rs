//! What every packet's next hop should be, found without the FIB: one hash table of prefixes a length, longest first.

use dataplane::id::NextHopId;
use ipnet::IpNet;
use rustc_hash::FxHashMap;
use std::net::Ipv4Addr;

/// A change of one route; `None` withdraws it.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// Its prefix: IPv4.
    pub prefix: IpNet,
    /// Where it leads from now on.
    pub next_hop: Option<NextHopId>,
}

/// The routes after some changes.
#[derive(Debug)]
pub struct Oracle {
    /// By length: prefix bits → next hop.
    routes: [FxHashMap<u32, NextHopId>; 33],
    changes: u64,
}

/// Whether `prefix` holds the address.
pub fn contains(prefix: IpNet, address: u32) -> bool {
    matches!(prefix, IpNet::V4(net) if net.contains(&Ipv4Addr::from_bits(address)))
}

impl Default for Oracle {
    fn default() -> Oracle {
        Oracle { routes: std::array::from_fn(|_| FxHashMap::default()), changes: 0 }
    }
}

impl Oracle {
    /// The table so far is the beginning; changes are counted from here.
    pub fn begin(&mut self) {
        self.changes = 0;
    }

    /// Changes since then.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The next state.
    pub fn apply(&mut self, change: Change) {
        self.changes += 1;
        let IpNet::V4(net) = change.prefix else { return };
        let routes = &mut self.routes[usize::from(net.prefix_len())];
        match change.next_hop {
            Some(next_hop) => routes.insert(net.network().to_bits(), next_hop),
            None => routes.remove(&net.network().to_bits()),
        };
    }

    /// Where `address` leads.
    pub fn lookup(&self, address: u32) -> Option<NextHopId> {
        (0..=32).rev().find_map(|len: u32| {
            let bits = address & !u32::MAX.checked_shr(len).unwrap_or(0);
            let routes = &self.routes[len as usize];
            if routes.is_empty() { None } else { routes.get(&bits).copied() }
        })
    }
}
