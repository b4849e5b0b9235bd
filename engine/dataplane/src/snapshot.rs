//! What the control core publishes to the workers: immutable, whole, replaced in one step.

use crate::acl::Acl;
use crate::ecmp::BucketTable;
use crate::fib::Fib;
use crate::id::{AdjacencyId, Generation, GroupId, InterfaceId, Nanos, NextHopId, PortId, TunnelId};
use crate::neighbor::{AdjacencyTable, Neighbors};
use crate::tunnel::template::Template;
use crate::virtual_router::VirtualRouter;
use crate::wire::flow::as_bits;
use crate::wire::vxlan::Vni;
use crate::wire::{MacAddr, Protocol, VlanId};
use arrayvec::ArrayVec;
use ipnet::IpNet;
use rustc_hash::FxHashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::sync::Arc;

/// Most members of one tunnel group.
pub const MAX_MEMBERS: usize = 16;

/// A layer-3 interface: a port, or one VLAN of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Interface {
    /// Its index in [`Tables::interfaces`].
    pub id: InterfaceId,
    /// The port it sends and receives on.
    pub port: PortId,
    /// Its 802.1Q tag, if tagged.
    pub vlan: Option<VlanId>,
    /// Its own MAC address.
    pub mac: MacAddr,
    /// Largest IP packet, bytes.
    pub mtu: u16,
    /// Addresses it answers for now, gateway addresses included while owned; each with its prefix.
    pub addresses: Vec<IpNet>,
    /// Those of them that are the site's. Told only while this engine may forward: it may have slept, and own nothing any more.
    pub gateway: Vec<IpAddr>,
    /// It carries a direct tunnel: what arrives here was handed over and is never handed back.
    pub site_link: bool,
    /// The virtual router that its gateway addresses belong to, where they are elected for by VRRP.
    pub virtual_router: Option<VirtualRouter>,
}

impl Interface {
    /// Whether `ip` is one of its addresses.
    pub fn has(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|net| net.addr() == ip)
    }

    /// Whether `ip` is on one of its connected prefixes.
    pub fn reaches(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|net| net.contains(&ip))
    }

    /// The MAC address that `ip`, one of its addresses, is told with.
    pub fn mac_of(&self, ip: IpAddr) -> MacAddr {
        let elected = self.virtual_router.as_ref().filter(|router| router.addresses.contains(&ip));
        elected.map_or(self.mac, |router| router.number.mac(ip.is_ipv6()))
    }

    /// Whether frames to `mac` are for it: its own address, or a virtual router's while that is here.
    pub fn takes(&self, mac: MacAddr) -> bool {
        let active = |router: &VirtualRouter| {
            let number = router.number;
            router.active.v4 && mac == number.mac(false) || router.active.v6 && mac == number.mac(true)
        };
        mac == self.mac || self.virtual_router.as_ref().is_some_and(active)
    }

    /// Where most IPv4 frames are sent to: the virtual router while it is here, else the interface.
    pub fn ipv4_mac(&self) -> MacAddr {
        let active = self.virtual_router.as_ref().filter(|router| router.active.v4);
        active.map_or(self.mac, |router| router.number.mac(false))
    }

    /// Its first IPv4 address.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().find_map(|net| match net {
            IpNet::V4(net) => Some(net.addr()),
            IpNet::V6(_) => None,
        })
    }

    /// Its first IPv6 address, a link-local one only if it has no other (RFC 6724 §5, rule 2).
    pub fn ipv6(&self) -> Option<Ipv6Addr> {
        let addresses = || {
            self.addresses.iter().filter_map(|net| match net {
                IpNet::V6(net) => Some(net.addr()),
                IpNet::V4(_) => None,
            })
        };
        addresses().find(|ip| !ip.is_unicast_link_local()).or_else(|| addresses().next())
    }

    /// Its address in the prefix of `neighbor`, to ask for it with; else its first of that family.
    pub fn towards(&self, neighbor: IpAddr) -> Option<IpAddr> {
        let near = self.addresses.iter().find(|net| net.contains(&neighbor)).map(IpNet::addr);
        near.or_else(|| match neighbor {
            IpAddr::V4(_) => self.ipv4().map(IpAddr::V4),
            IpAddr::V6(_) => self.ipv6().map(IpAddr::V6),
        })
    }

    /// Whether `ip` is the broadcast address, old form or new, of one of its prefixes (RFC 1812 §5.3.5.2). A /31 has
    /// none (RFC 3021 §2.2).
    pub fn broadcasts(&self, ip: Ipv4Addr) -> bool {
        self.addresses.iter().any(|net| match net {
            IpNet::V4(net) => net.prefix_len() < 31 && (net.broadcast() == ip || net.network() == ip),
            IpNet::V6(_) => false,
        })
    }
}

/// What tells apart the tunnels between two addresses that have no SPI: protocol and, if any, key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demux {
    /// GRE with this key (RFC 2890 §2.1).
    Gre(Option<u32>),
    /// IP in IP: there is one.
    IpIp,
    /// VXLAN with this VNI.
    Vxlan(Vni),
    /// WireGuard on this UDP port, whoever sends: far ends roam.
    WireGuard(u16),
}

/// Outer source, outer destination and [`Demux`] of a packet as it is received. In words that hash fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Endpoints {
    src: u128,
    dst: u128,
    demux: u64,
}

impl Endpoints {
    #[inline]
    fn new(src: u128, dst: u128, demux: Demux) -> Endpoints {
        let demux = match demux {
            Demux::Gre(key) => key.map_or(u64::MAX, u64::from),
            Demux::IpIp => 1 << 32,
            Demux::Vxlan(vni) => 2 << 32 | u64::from(vni.get()),
            Demux::WireGuard(port) => 3 << 32 | u64::from(port),
        };
        Endpoints { src, dst, demux }
    }
}

/// The IP protocols of which some packets may be for a tunnel of this engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrapped(u64);

impl Wrapped {
    /// Those of `tunnels`, and ESP and GRE, which are refused under their own reasons even without a tunnel.
    fn of(tunnels: &[Tunnel]) -> Wrapped {
        let bit = |protocol: Protocol| 1 << protocol.0;
        tunnels.iter().fold(Wrapped(bit(Protocol::ESP) | bit(Protocol::GRE)), |Wrapped(all), tunnel| {
            Wrapped(match tunnel.encapsulation {
                Encapsulation::IpIp => all | bit(Protocol::IPV4) | bit(Protocol::IPV6),
                Encapsulation::Vxlan(_) | Encapsulation::EspUdp(_) | Encapsulation::WireGuard(_) => {
                    all | bit(Protocol::UDP)
                }
                Encapsulation::Gre { .. } | Encapsulation::Esp | Encapsulation::Direct => all,
            })
        })
    }

    /// Whether `protocol` is one of them.
    #[inline(always)]
    pub const fn has(self, protocol: Protocol) -> bool {
        protocol.0 < 64 && self.0 >> protocol.0 & 1 != 0
    }
}

/// What a route leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NextHop {
    /// Nowhere: the sender is told. The first entry of every next-hop table, for what no route covers.
    Unreachable,
    /// An address of this engine.
    Local,
    /// Drop silently.
    Blackhole,
    /// The destination itself is a neighbour on this interface.
    Connected(InterfaceId),
    /// A router.
    Via { interface: InterfaceId, gateway: IpAddr },
    /// A site, through its tunnel group.
    Group(GroupId),
}

/// How a tunnel wraps packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// RFC 2784 with the extensions of RFC 2890.
    Gre { key: Option<u32>, sequence: bool },
    /// RFC 4303 tunnel mode.
    Esp,
    /// The same in UDP, past NATs and filters (RFC 3948).
    EspUdp(EspUdp),
    /// Either IP version right behind either (RFC 2003, RFC 2473, RFC 4213).
    IpIp,
    /// RFC 7348, as a link between two routers.
    Vxlan(Vxlan),
    /// WireGuard, by sessions that the workers have.
    WireGuard(WireGuard),
    /// None: the site link, where the standby is a plain next hop.
    Direct,
}

impl Encapsulation {
    /// Whether packets are encrypted, by SAs that the workers have.
    pub const fn is_esp(self) -> bool {
        matches!(self, Encapsulation::Esp | Encapsulation::EspUdp(_))
    }
}

/// What ESP in UDP adds to ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EspUdp {
    /// UDP source port of what is sent. What comes is for [`esp_udp::PORT`](crate::wire::esp_udp::PORT).
    pub local_port: u16,
    /// UDP port of the far end.
    pub remote_port: u16,
    /// Who of the two is behind a NAT.
    pub nat: Nat,
    /// The far end's own address, by which probes inside reach it, once known: `remote` is its NAT's.
    pub inside: Option<IpAddr>,
}

/// Who of a tunnel's ends is behind a NAT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nat {
    /// Nobody.
    #[default]
    None,
    /// This engine: it keeps the NAT's mapping alive (RFC 3948 §4).
    Local,
    /// The far end: its address and port are those that its newest authentic packet came from (RFC 7296 §2.23).
    Remote,
}

/// What WireGuard adds to the outer addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireGuard {
    /// The UDP port here.
    pub local_port: u16,
    /// That of the far end, as its newest authentic packet has told.
    pub remote_port: u16,
}

/// What VXLAN adds to the outer addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// The network.
    pub vni: Vni,
    /// This end of the link inside.
    pub local_mac: MacAddr,
    /// The far end of it.
    pub remote_mac: MacAddr,
}

/// A tunnel with everything encapsulation needs ("stacked": nothing is looked up again).
#[derive(Clone, Debug, PartialEq)]
pub struct Tunnel {
    /// Its index in [`Tables::tunnels`].
    pub id: TunnelId,
    /// The protocol.
    pub encapsulation: Encapsulation,
    /// Outer source.
    pub local: IpAddr,
    /// Outer destination.
    pub remote: IpAddr,
    /// The interface that `remote` is reached through.
    pub interface: InterfaceId,
    /// The neighbour on it: `remote` itself or a router.
    pub next_hop: IpAddr,
    /// Largest inner packet, bytes.
    pub mtu: u16,
    /// It may carry traffic.
    pub up: bool,
    /// What it delivers is refused: its sender's epoch is over.
    pub fenced: bool,
}

/// The tunnels that reach one site, and how its buckets are split over them.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its index in [`Tables::groups`].
    pub id: GroupId,
    /// Bucket → tunnel.
    pub buckets: Arc<BucketTable>,
    /// Members that are up and lead out of the site: where handed-over packets may go.
    pub own: ArrayVec<TunnelId, MAX_MEMBERS>,
    /// All members.
    pub members: ArrayVec<TunnelId, MAX_MEMBERS>,
    /// A busy bucket moves in a gap of at least this.
    pub flowlet_gap: Nanos,
    /// … and at this time at the latest.
    pub move_deadline: Nanos,
    /// Lower the MSS of TCP SYNs to what the tunnel carries.
    pub mss_clamp: bool,
    /// How often the site came to this engine: with a new one, what the owner before had of hosts may be on the site link.
    pub taken_over: u32,
}

/// A next hop with everything looked up beforehand ("stacked").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// See [`NextHop::Unreachable`].
    Unreachable,
    /// See [`NextHop::Local`].
    Local,
    /// See [`NextHop::Blackhole`].
    Blackhole,
    /// See [`NextHop::Connected`].
    Connected(InterfaceId),
    /// This neighbour.
    Neighbor(AdjacencyId),
    /// See [`NextHop::Group`].
    Group(GroupId),
}

/// What wrapping a packet for a tunnel takes, and the neighbour it then goes to.
#[derive(Clone, Debug)]
pub struct Outer {
    /// The tunnel's protocol.
    pub encapsulation: Encapsulation,
    /// Largest inner packet, bytes.
    pub mtu: u16,
    /// The underlay's next hop.
    pub adjacency: AdjacencyId,
    /// The outer headers; `None` for a direct tunnel.
    pub template: Option<Template>,
    /// Some group that the tunnel is a member of clamps the MSS of TCP SYNs.
    pub mss_clamp: bool,
}

/// What control knows and workers read.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Increases with every publication.
    pub generation: Generation,
    /// By [`InterfaceId`].
    pub interfaces: Arc<[Interface]>,
    /// Longest prefix → [`NextHopId`].
    pub fib: Arc<Fib>,
    /// By [`NextHopId`]; the first is [`NextHop::Unreachable`].
    pub next_hops: Arc<[NextHop]>,
    /// Resolved neighbours.
    pub neighbors: Arc<Neighbors>,
    /// By [`TunnelId`].
    pub tunnels: Arc<[Tunnel]>,
    /// By [`GroupId`].
    pub groups: Arc<[Group]>,
    /// Source of ICMP errors about packets that came out of a tunnel.
    pub router_v4: Option<Ipv4Addr>,
    /// The same for ICMPv6.
    pub router_v6: Option<Ipv6Addr>,
    /// What may pass; without it everything.
    pub acl: Option<Arc<Acl>>,
}

/// All that a worker only reads: the tables, and what follows from them.
#[derive(Clone, Debug)]
pub struct Snapshot {
    tables: Tables,
    /// Neighbours with their link headers.
    pub adjacencies: AdjacencyTable,
    /// By [`NextHopId`].
    ways: Box<[Way]>,
    /// By [`TunnelId`].
    outers: Box<[Outer]>,
    endpoints: FxHashMap<Endpoints, TunnelId>,
    wrapped: Wrapped,
    /// Some tunnel is WireGuard's.
    wireguard: bool,
}

impl Deref for Snapshot {
    type Target = Tables;

    #[inline]
    fn deref(&self) -> &Tables {
        &self.tables
    }
}

impl From<Tables> for Snapshot {
    /// Stacks the tables: each next hop gets its adjacency, each tunnel its headers and adjacency.
    fn from(tables: Tables) -> Snapshot {
        let via = tables.next_hops.iter().filter_map(|next_hop| match *next_hop {
            NextHop::Via { interface, gateway } => Some((interface, gateway)),
            _ => None,
        });
        let underlay = tables.tunnels.iter().map(|tunnel| (tunnel.interface, tunnel.next_hop));
        let named = via.chain(underlay);
        let adjacencies = AdjacencyTable::stack(&tables.interfaces, &tables.neighbors, named);
        let find =
            |interface, ip| adjacencies.find(interface, ip).expect("every named neighbour has an entry");
        let way = |next_hop: &NextHop| match *next_hop {
            NextHop::Unreachable => Way::Unreachable,
            NextHop::Local => Way::Local,
            NextHop::Blackhole => Way::Blackhole,
            NextHop::Connected(interface) => Way::Connected(interface),
            NextHop::Via { interface, gateway } => Way::Neighbor(find(interface, gateway)),
            NextHop::Group(group) => Way::Group(group),
        };
        let outer = |tunnel: &Tunnel| Outer {
            encapsulation: tunnel.encapsulation,
            mtu: tunnel.mtu,
            adjacency: find(tunnel.interface, tunnel.next_hop),
            template: Template::new(tunnel),
            mss_clamp: tables.groups.iter().any(|g| g.mss_clamp && g.members.contains(&tunnel.id)),
        };
        let ways = tables.next_hops.iter().map(way).collect();
        let outers = tables.tunnels.iter().map(outer).collect();
        let endpoints = |tunnel: &Tunnel| {
            let mut src = as_bits(tunnel.remote);
            let demux = match tunnel.encapsulation {
                Encapsulation::Gre { key, .. } => Demux::Gre(key),
                Encapsulation::IpIp => Demux::IpIp,
                Encapsulation::Vxlan(Vxlan { vni, .. }) => Demux::Vxlan(vni),
                Encapsulation::WireGuard(WireGuard { local_port, .. }) => {
                    src = 0;
                    Demux::WireGuard(local_port)
                }
                Encapsulation::Esp | Encapsulation::EspUdp(_) | Encapsulation::Direct => return None,
            };
            Some((Endpoints::new(src, as_bits(tunnel.local), demux), tunnel.id))
        };
        let endpoints = tables.tunnels.iter().filter_map(endpoints).collect();
        let wrapped = Wrapped::of(&tables.tunnels);
        let wireguard = tables.tunnels.iter().any(|t| matches!(t.encapsulation, Encapsulation::WireGuard(_)));
        Snapshot { adjacencies, ways, outers, endpoints, wrapped, wireguard, tables }
    }
}

impl Snapshot {
    /// What a route leads to. An id that this snapshot does not know yet leads nowhere.
    #[inline]
    pub fn way(&self, id: NextHopId) -> Way {
        self.ways.get(id.index()).copied().unwrap_or(Way::Unreachable)
    }

    /// The route to `dst`; [`NextHopId::NONE`] without one.
    #[inline]
    pub fn route(&self, dst: IpAddr) -> NextHopId {
        self.fib.lookup(dst).unwrap_or(NextHopId::NONE)
    }

    /// The tunnel that a packet from one address to another, as [`as_bits`] has them, comes out of.
    #[inline]
    pub fn tunnel(&self, src: u128, dst: u128, demux: Demux) -> Option<TunnelId> {
        self.endpoints.get(&Endpoints::new(src, dst, demux)).copied()
    }

    /// Whether any tunnel is WireGuard's.
    #[inline]
    pub fn has_wireguard(&self) -> bool {
        self.wireguard
    }

    /// Whether a WireGuard tunnel of ours has this address, as [`as_bits`] has it, and UDP port.
    #[inline]
    pub fn listens(&self, dst: u128, port: u16) -> bool {
        self.tunnel(0, dst, Demux::WireGuard(port)).is_some()
    }

    /// The protocols that a tunnel's packets may have.
    #[inline]
    pub fn wrapped(&self) -> Wrapped {
        self.wrapped
    }

    /// The headers of a tunnel and where they go.
    #[inline]
    pub fn outer(&self, id: TunnelId) -> &Outer {
        &self.outers[id.index()]
    }

    /// Whether a tunnel may carry traffic; false for one that is not there.
    #[inline]
    pub fn is_up(&self, id: TunnelId) -> bool {
        self.tunnels.get(id.index()).is_some_and(|tunnel| tunnel.up)
    }

    /// Whether `ip` is an address of this engine now.
    #[inline]
    pub fn is_local(&self, ip: IpAddr) -> bool {
        self.interfaces.iter().any(|interface| interface.has(ip))
    }

    /// The interface that receives frames of `port` tagged with `vlan`.
    #[inline]
    pub fn interface_of(&self, port: PortId, vlan: Option<VlanId>) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.port == port && interface.vlan == vlan)
    }
}
