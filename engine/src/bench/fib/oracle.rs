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
    /// Takes the last change back.
    undo: Option<Change>,
}

/// Whether `prefix` holds the address.
pub fn contains(prefix: IpNet, address: u32) -> bool {
    matches!(prefix, IpNet::V4(net) if net.contains(&Ipv4Addr::from_bits(address)))
}

impl Default for Oracle {
    fn default() -> Oracle {
        Oracle { routes: std::array::from_fn(|_| FxHashMap::default()), changes: 0, undo: None }
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
        let before = match change.next_hop {
            Some(next_hop) => routes.insert(net.network().to_bits(), next_hop),
            None => routes.remove(&net.network().to_bits()),
        };
        self.undo = Some(Change { prefix: change.prefix, next_hop: before });
    }

    /// Where `address` leads.
    pub fn lookup(&self, address: u32) -> Option<NextHopId> {
        self.find(address, None)
    }

    /// Where it led before the last change.
    pub fn lookup_before(&self, address: u32) -> Option<NextHopId> {
        self.find(address, self.undo)
    }

    /// The longest match, with one route as `instead` has it.
    fn find(&self, address: u32, instead: Option<Change>) -> Option<NextHopId> {
        (0..=32).rev().find_map(|len: u8| {
            let bits = address & !u32::MAX.checked_shr(len.into()).unwrap_or(0);
            match instead {
                Some(Change { prefix: IpNet::V4(net), next_hop })
                    if (net.prefix_len(), net.network().to_bits()) == (len, bits) =>
                {
                    next_hop
                }
                _ => self.routes[usize::from(len)].get(&bits).copied(),
            }
        })
    }
}
