//! What control would publish, in a form that a test can change.

use dataplane::acl::Acl;
use dataplane::ecmp::{BucketTable, Shares};
use dataplane::fib::{Capacity, Fib, FibBuilder, FibWriter};
use dataplane::flow::{HashKeys, SessionConfig, SessionTable};
use dataplane::id::{Generation, GroupId, InterfaceId, Nanos, NextHopId, PortId, TunnelId};
use dataplane::nat::{Nat, NatConfig, PortShare};
use dataplane::sa::esp_overhead;
use dataplane::shaper::Shaper;
use dataplane::snapshot::{Encapsulation, Group, Interface, NextHop, Snapshot, Tables, Tunnel, Vxlan};
use dataplane::stage::access::Sessions;
use dataplane::tunnel::vxlan::derived_mac;
use dataplane::wire::{MacAddr, VlanId};
use ipnet::IpNet;
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

pub const LAN: PortId = PortId(0);
pub const WAN: PortId = PortId(1);
pub const LINK: PortId = PortId(2);
/// The tagged network on the LAN port.
pub const VLAN: u16 = 100;
/// Site 1's gateway address: nobody's at first.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 254);

/// MAC address of an engine's interface.
pub const fn engine_mac(engine: u8, interface: u8) -> MacAddr {
    MacAddr([2, engine, 0, 0, 0, interface])
}

/// MAC address of every host.
pub const fn host_mac() -> MacAddr {
    MacAddr([2, 0xaa, 0, 0, 0, 9])
}

/// Host `n` of a site.
pub fn host_v4(site: u8, n: u8) -> IpAddr {
    Ipv4Addr::new(10, site, 0, n).into()
}

/// The same.
pub fn host_v6(site: u8, n: u8) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, site.into(), 0, 0, 0, 0, n.into()).into()
}

pub fn wan_v4(engine: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, engine).into()
}

pub fn wan_v6(engine: u8) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, engine.into()).into()
}

pub fn link_v4(engine: u8) -> IpAddr {
    Ipv4Addr::new(10, 255, 0, engine).into()
}

/// A snapshot in the making.
pub struct Draft {
    pub engine: u8,
    pub interfaces: Vec<Interface>,
    pub routes: Vec<(IpNet, NextHop)>,
    pub neighbors: Vec<(InterfaceId, IpAddr, MacAddr)>,
    pub tunnels: Vec<Tunnel>,
    pub groups: Vec<Group>,
    pub acl: Option<Arc<Acl>>,
    pub sessions: Option<SessionConfig>,
    pub nat: Option<NatConfig>,
    /// BFD sessions of the first worker.
    pub bfd: Vec<dataplane::bfd::Parameters>,
    /// By tunnel; none beyond the end. What the workers are made with.
    pub shapers: Vec<Option<Arc<Shaper>>>,
    /// The last FIB and its prefixes, the n-th of which leads to next hop n + 1: it takes longer to make than the rest.
    pub built: RefCell<Option<(Vec<IpNet>, Arc<Fib>)>>,
}

/// A prefix.
pub fn net(ip: IpAddr, length: u8) -> IpNet {
    IpNet::new(ip, length).unwrap()
}

impl Draft {
    /// Engine `engine` of site `site`: a LAN with a VLAN on it, a WAN and a site link, neighbours known.
    pub fn new(engine: u8, site: u8) -> Draft {
        let vlan = VlanId::try_from(VLAN).unwrap();
        let interface = |id: u16, port, vlan, addresses: &[IpNet]| Interface {
            id: InterfaceId(id),
            port,
            vlan,
            mac: engine_mac(engine, id as u8),
            mtu: 1500,
            addresses: addresses.to_vec(),
            gateway: Vec::new(),
            site_link: id == 3,
            virtual_router: None,
        };
        let lan = [net(host_v4(site, engine), 24), net(host_v6(site, engine), 64)];
        let wan = [net(wan_v4(engine), 24), net(wan_v6(engine), 64)];
        let tagged = [net(host_v4(100 + site, engine), 24), net(host_v6(100 + site, engine), 64)];
        let interfaces = vec![
            interface(0, LAN, None, &lan),
            interface(1, WAN, None, &wan),
            interface(2, LAN, Some(vlan), &tagged),
            interface(3, LINK, None, &[net(link_v4(engine), 24)]),
        ];
        let mut neighbors = vec![];
        for ip in [host_v4(site, 9), host_v6(site, 9)] {
            neighbors.push((InterfaceId(0), ip, host_mac()));
        }
        for ip in [host_v4(100 + site, 9), host_v6(100 + site, 9)] {
            neighbors.push((InterfaceId(2), ip, host_mac()));
        }
        for peer in 1..=3 {
            let (wan, link) = (engine_mac(peer, 1), engine_mac(peer, 3));
            neighbors.extend([wan_v4(peer), wan_v6(peer)].map(|ip| (InterfaceId(1), ip, wan)));
            neighbors.push((InterfaceId(3), link_v4(peer), link));
        }
        let (tunnels, groups, routes) = (vec![], vec![], vec![]);
        Draft {
            engine,
            interfaces,
            routes,
            neighbors,
            tunnels,
            groups,
            acl: None,
            sessions: None,
            nat: None,
            bfd: Vec::new(),
            shapers: vec![],
            built: RefCell::default(),
        }
    }

    /// The sessions of one of the workers, if the draft has any.
    pub fn sessions(&self, worker: u16, workers: u16) -> Option<Box<Sessions>> {
        let table = SessionTable::new(self.sessions?, HashKeys::seeded(1), Nanos::from_millis(1000));
        let share = PortShare::new(worker, workers);
        let nat = self.nat.clone().map(|nat| Nat::new(nat, share, HashKeys::seeded(2), 3));
        Some(Box::new(Sessions::new(table, nat)))
    }

    /// MAC address of an interface.
    pub fn mac(&self, interface: u8) -> MacAddr {
        engine_mac(self.engine, interface)
    }

    /// Adds a tunnel to engine `far`, whose MTU is what the underlay's 1500 leaves.
    pub fn tunnel(&mut self, encapsulation: Encapsulation, outer_v6: bool, far: u8) -> TunnelId {
        let id = TunnelId(self.tunnels.len() as u16);
        let direct = encapsulation == Encapsulation::Direct;
        let (local, remote) = match (direct, outer_v6) {
            (true, _) => (link_v4(self.engine), link_v4(far)),
            (_, true) => (wan_v6(self.engine), wan_v6(far)),
            (_, false) => (wan_v4(self.engine), wan_v4(far)),
        };
        let room = 1500 - if outer_v6 { 40 } else { 20 };
        let esp = |room| (0..room).rev().find(|&inner| inner + esp_overhead(inner) <= room).unwrap();
        let mtu = match encapsulation {
            Encapsulation::Direct => 1500,
            Encapsulation::Gre { key, sequence } => {
                room - 4 - if key.is_some() { 4 } else { 0 } - if sequence { 4 } else { 0 }
            }
            Encapsulation::Esp => esp(room),
            Encapsulation::EspUdp(_) => esp(room - 8),
            Encapsulation::IpIp => room,
            Encapsulation::Vxlan(_) => room - 8 - 8 - 14,
            Encapsulation::WireGuard(_) => room - 8 - 16 - 16,
        };
        // Its two ends see each other's address inside.
        let encapsulation = match encapsulation {
            Encapsulation::Vxlan(vxlan) => Encapsulation::Vxlan(Vxlan {
                local_mac: derived_mac(local),
                remote_mac: derived_mac(remote),
                ..vxlan
            }),
            other => other,
        };
        self.tunnels.push(Tunnel {
            id,
            encapsulation,
            local,
            remote,
            interface: InterfaceId(if direct { 3 } else { 1 }),
            next_hop: remote,
            mtu: mtu as u16,
            up: true,
            fenced: false,
        });
        id
    }

    /// Routes site `far` to a group of these tunnels by weight, of which `own` may take what was handed over.
    pub fn group(&mut self, far: u8, members: &[(TunnelId, u32)], own: &[TunnelId]) -> GroupId {
        let id = GroupId(self.groups.len() as u16);
        self.groups.push(Group {
            id,
            buckets: Arc::new(BucketTable::new(&Shares::by_weight(members).unwrap())),
            own: own.iter().copied().collect(),
            members: members.iter().map(|&(tunnel, _)| tunnel).collect(),
            flowlet_gap: Nanos(500_000),
            move_deadline: Nanos::MAX,
            taken_over: 0,
            mss_clamp: true,
        });
        self.routes.push((net(host_v4(far, 0), 16), NextHop::Group(id)));
        self.routes.push((net(host_v6(far, 0), 48), NextHop::Group(id)));
        id
    }

    /// The same group with other weights.
    pub fn reweigh(&mut self, group: GroupId, members: &[(TunnelId, u32)]) {
        let group = &mut self.groups[group.index()];
        group.buckets = Arc::new(group.buckets.rebalance(&Shares::by_weight(members).unwrap()));
    }

    /// What workers see.
    pub fn snapshot(&self) -> Snapshot {
        let (mut prefixes, mut next_hops) = (vec![], vec![NextHop::Unreachable]);
        let mut route = |prefix: IpNet, next_hop: NextHop| {
            prefixes.push(prefix);
            next_hops.push(next_hop);
        };
        for &(prefix, next_hop) in &self.routes {
            route(prefix, next_hop);
        }
        // A link-local prefix is on every link, and so on none that a route could name.
        let routed = |net: &&IpNet| !matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local());
        for interface in &self.interfaces {
            let connected = interface.addresses.iter().filter(routed);
            connected.for_each(|net| route(*net, NextHop::Connected(interface.id)));
        }
        for address in self.interfaces.iter().flat_map(|interface| &interface.addresses).filter(routed) {
            route(address.addr().into(), NextHop::Local);
        }
        Snapshot::from(Tables {
            generation: Generation(0),
            interfaces: self.interfaces.clone().into(),
            fib: self.fib(prefixes),
            next_hops: next_hops.into(),
            neighbors: Arc::new(self.neighbors.iter().copied().collect()),
            tunnels: self.tunnels.clone().into(),
            groups: self.groups.clone().into(),
            router_v4: self.interfaces[0].ipv4(),
            router_v6: self.interfaces[0].ipv6(),
            acl: self.acl.clone(),
        })
    }

    /// Puts a new table with the same routes in place of the draft's: one that can change while workers read it.
    pub fn live(&self) -> FibWriter {
        self.snapshot();
        let mut built = self.built.borrow_mut();
        let (prefixes, fib) = built.as_mut().expect("a snapshot has a table");
        let mut writer = FibWriter::new(Capacity::for_routes(prefixes.len() + 1));
        for (n, prefix) in prefixes.iter().enumerate() {
            writer.insert(*prefix, NextHopId(n as u32 + 1)).unwrap();
            writer.advance();
        }
        *fib = writer.fib().clone();
        writer
    }

    fn fib(&self, prefixes: Vec<IpNet>) -> Arc<Fib> {
        let mut built = self.built.borrow_mut();
        if let Some((known, fib)) = &*built
            && *known == prefixes
        {
            return fib.clone();
        }
        let mut builder = FibBuilder::new();
        for (n, prefix) in prefixes.iter().enumerate() {
            builder.insert(*prefix, NextHopId(n as u32 + 1));
        }
        let fib = builder.build().unwrap();
        *built = Some((prefixes, fib.clone()));
        fib
    }
}
