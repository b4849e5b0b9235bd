//! What workers look up.

use crate::id::InterfaceId;
use crate::wire::MacAddr;
use rustc_hash::FxSeededState;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// (interface, IP address) → MAC address. Immutable; part of a snapshot.
#[derive(Clone, Debug)]
pub struct AdjacencyTable {
    // Seeded: a host on the link picks its addresses, and so could pick ones that collide.
    entries: HashMap<(InterfaceId, IpAddr), MacAddr, FxSeededState>,
}

impl AdjacencyTable {
    /// The MAC address of a neighbour, if it is known.
    #[inline]
    pub fn get(&self, interface: InterfaceId, ip: IpAddr) -> Option<MacAddr> {
        self.entries.get(&(interface, ip)).copied()
    }

    /// The number of neighbours.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True without any neighbour.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All neighbours, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (InterfaceId, IpAddr, MacAddr)> + '_ {
        self.entries.iter().map(|(&(interface, ip), &mac)| (interface, ip, mac))
    }
}

impl FromIterator<(InterfaceId, IpAddr, MacAddr)> for AdjacencyTable {
    fn from_iter<T: IntoIterator<Item = (InterfaceId, IpAddr, MacAddr)>>(neighbors: T) -> AdjacencyTable {
        let seed = RandomState::new().hash_one(0) as usize;
        let mut entries = HashMap::with_hasher(FxSeededState::with_seed(seed));
        entries.extend(neighbors.into_iter().map(|(interface, ip, mac)| ((interface, ip), mac)));
        AdjacencyTable { entries }
    }
}

impl Default for AdjacencyTable {
    fn default() -> AdjacencyTable {
        AdjacencyTable::from_iter([])
    }
}
