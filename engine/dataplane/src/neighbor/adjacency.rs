//! What workers look up to reach a neighbour.

use crate::id::{AdjacencyId, InterfaceId, PortId};
use crate::snapshot::Interface;
use crate::wire::flow::as_bits;
use crate::wire::link_header::LinkHeader;
use crate::wire::{EtherType, Ethernet, MacAddr};
use rustc_hash::FxSeededState;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

// Seeded: a host on the link picks its addresses, and so could pick ones that collide.
type Map<K, T> = HashMap<(InterfaceId, K), T, FxSeededState>;

fn map<K, T>() -> Map<K, T> {
    HashMap::with_hasher(FxSeededState::with_seed(RandomState::new().hash_one(0) as usize))
}

/// (interface, IP address) → MAC address: what control has learnt.
#[derive(Clone, Debug)]
pub struct Neighbors {
    entries: Map<IpAddr, MacAddr>,
}

impl Neighbors {
    /// The MAC address of a neighbour, if it is known.
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

impl FromIterator<(InterfaceId, IpAddr, MacAddr)> for Neighbors {
    fn from_iter<T: IntoIterator<Item = (InterfaceId, IpAddr, MacAddr)>>(neighbors: T) -> Neighbors {
        let mut entries = map();
        entries.extend(neighbors.into_iter().map(|(interface, ip, mac)| ((interface, ip), mac)));
        Neighbors { entries }
    }
}

impl Default for Neighbors {
    fn default() -> Neighbors {
        Neighbors::from_iter([])
    }
}

/// A neighbour with everything that sending to it needs.
#[derive(Clone, Debug)]
pub struct Adjacency {
    /// The interface it is on.
    pub interface: InterfaceId,
    /// Its address.
    pub ip: IpAddr,
    /// The interface's port.
    pub port: PortId,
    /// The interface's MTU, bytes.
    pub mtu: u16,
    /// The link header; `None` while its MAC address is not known.
    pub header: Option<LinkHeader>,
}

/// Every neighbour that is known or that a next hop or tunnel names. Immutable; part of a snapshot.
#[derive(Clone, Debug)]
pub struct AdjacencyTable {
    entries: Vec<Adjacency>,
    /// By address in words that hash fast.
    index: Map<u128, AdjacencyId>,
}

impl AdjacencyTable {
    /// The adjacencies of all `neighbors`, and of those `named` whose MAC address is not known yet.
    pub fn stack(
        interfaces: &[Interface],
        neighbors: &Neighbors,
        named: impl Iterator<Item = (InterfaceId, IpAddr)>,
    ) -> AdjacencyTable {
        let mut table = AdjacencyTable { entries: Vec::with_capacity(neighbors.len()), index: map() };
        for (interface, ip, mac) in neighbors.iter() {
            table.add(interfaces, interface, ip, Some(mac));
        }
        for (interface, ip) in named {
            table.add(interfaces, interface, ip, None);
        }
        table
    }

    fn add(&mut self, interfaces: &[Interface], id: InterfaceId, ip: IpAddr, mac: Option<MacAddr>) {
        let Some(interface) = interfaces.get(id.index()) else { return };
        let place = AdjacencyId(self.entries.len() as u32);
        if *self.index.entry((id, as_bits(ip))).or_insert(place) != place {
            return;
        }
        let ether_type = if ip.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 };
        let header = mac.map(|dst| {
            LinkHeader::new(&Ethernet { dst, src: interface.mac, vlan: interface.vlan, ether_type })
        });
        self.entries.push(Adjacency { interface: id, ip, port: interface.port, mtu: interface.mtu, header });
    }

    /// The entry of this neighbour.
    #[inline]
    pub fn find(&self, interface: InterfaceId, ip: IpAddr) -> Option<AdjacencyId> {
        self.index.get(&(interface, as_bits(ip))).copied()
    }

    /// An entry that [`AdjacencyTable::find`] or the snapshot names.
    #[inline]
    pub fn get(&self, id: AdjacencyId) -> &Adjacency {
        &self.entries[id.index()]
    }

    /// Whether packets can be sent to this neighbour now.
    pub fn resolves(&self, interface: InterfaceId, ip: IpAddr) -> bool {
        self.find(interface, ip).is_some_and(|id| self.get(id).header.is_some())
    }
}
