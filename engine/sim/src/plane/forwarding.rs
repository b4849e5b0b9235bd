//! What an engine's workers are told of the world: the shell's part, with fixed routes and neighbours.

use crate::sabotage::Sabotage;
use crate::topology::{
    ENGINES, FIRST, GATEWAY, GROUP, HOST_MAC, HOST_P, PARTNER, PARTNER_MAC, PARTNERS, SECOND, THIRD,
    engine_mac, host, lan_address, link_address, neighbours, wan_address,
};
use dataplane::ecmp::{BucketTable, Shares};
use dataplane::fib::{Fib, FibBuilder};
use dataplane::id::{Generation, InterfaceId, Nanos, NextHopId, PortId, TunnelId};
use dataplane::neighbor::Neighbors;
use dataplane::snapshot::{Encapsulation, Group, Interface, NextHop, Snapshot, Tables, Tunnel};
use dataplane::wire::MacAddr;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// To the hosts.
pub const LAN: PortId = PortId(0);
/// To the other site.
pub const WAN: PortId = PortId(1);
/// To the other engine of the site.
pub const LINK: PortId = PortId(2);

const MTU: u16 = 1400;

fn net(address: Ipv4Addr, length: u8) -> IpNet {
    IpNet::new(IpAddr::V4(address), length).expect("a prefix of IPv4")
}

/// Everything the next snapshot is made of.
pub struct Forwarding {
    engine: &'static str,
    generation: Generation,
    owner: bool,
    taken_over: u32,
    /// Who has said last that it has the gateway's address: what an ARP request would find out.
    gateway: Option<&'static str>,
    tunnels: Vec<Tunnel>,
    buckets: Arc<BucketTable>,
    flowlet_gap: Nanos,
    move_deadline: Nanos,
    fib: Arc<Fib>,
    next_hops: Arc<[NextHop]>,
    neighbors: Arc<Neighbors>,
    sabotage: Option<Sabotage>,
    dirty: bool,
}

impl Forwarding {
    /// The state at start: no tunnel up, no gateway owned.
    pub fn new(engine: &'static str, sabotage: Option<Sabotage>) -> Forwarding {
        let (fib, next_hops) = routes(engine);
        Forwarding {
            engine,
            generation: Generation(0),
            owner: false,
            taken_over: 0,
            gateway: None,
            tunnels: tunnels(engine),
            buckets: Arc::new(BucketTable::new(&Shares::by_weight(&[(FIRST, 1)]).expect("a member"))),
            flowlet_gap: Nanos(0),
            move_deadline: Nanos(0),
            fib,
            next_hops,
            neighbors: Arc::new(known(engine).collect()),
            sabotage,
            dirty: true,
        }
    }

    /// Owns the gateway address, or no longer.
    pub fn set_owner(&mut self, owner: bool) {
        self.dirty |= self.owner != owner;
        self.taken_over += u32::from(owner && !self.owner);
        self.owner = owner;
    }

    /// An engine of the site has said that it has the gateway's address.
    pub fn set_gateway(&mut self, engine: &'static str) {
        if self.gateway != Some(engine) {
            (self.gateway, self.dirty) = (Some(engine), true);
            let other = self.gateway.filter(|other| *other != self.engine);
            let found = other.map(|other| (InterfaceId(0), GATEWAY.into(), engine_mac(other, 0)));
            self.neighbors = Arc::new(known(self.engine).chain(found).collect());
        }
    }

    /// A tunnel's state.
    pub fn set_tunnel(&mut self, id: TunnelId, up: bool, fenced: bool) {
        let fenced = fenced && self.sabotage != Some(Sabotage::NoFence);
        let tunnel = &mut self.tunnels[id.index()];
        self.dirty |= (tunnel.up, tunnel.fenced) != (up, fenced);
        (tunnel.up, tunnel.fenced) = (up, fenced);
    }

    /// How the group's buckets are split; busy ones wait for a gap, at most until `deadline`.
    pub fn set_shares(&mut self, shares: &Shares, gap: Nanos, deadline: Nanos) {
        self.buckets = Arc::new(self.buckets.rebalance(shares));
        let impatient = self.sabotage == Some(Sabotage::Impatient);
        (self.flowlet_gap, self.move_deadline) = if impatient { Default::default() } else { (gap, deadline) };
        self.dirty = true;
    }

    /// The next snapshot, if anything changed since the last one.
    pub fn changed(&mut self) -> Option<Snapshot> {
        self.dirty.then(|| self.snapshot())
    }

    /// The next snapshot.
    pub fn snapshot(&mut self) -> Snapshot {
        self.dirty = false;
        self.generation.0 += 1;
        Snapshot::from(self.tables(self.buckets.clone()))
    }

    /// The last snapshot once more, but split the other way round.
    pub fn mirrored(&self) -> Snapshot {
        let turned: Vec<_> = self.buckets.shares().iter().map(|(id, n)| (TunnelId(1 - id.0), n)).collect();
        let shares = Shares::exact(&turned).expect("as many buckets as before");
        Snapshot::from(self.tables(Arc::new(BucketTable::new(&shares))))
    }

    fn tables(&self, buckets: Arc<BucketTable>) -> Tables {
        let interfaces: Arc<[Interface]> = (0..3).map(|id| self.interface(id)).collect();
        let leads_out = |t: &&Tunnel| t.up && t.encapsulation != Encapsulation::Direct && t.id != THIRD;
        let group = Group {
            id: GROUP,
            buckets,
            own: self.tunnels.iter().filter(leads_out).map(|t| t.id).collect(),
            members: [FIRST, SECOND].into_iter().collect(),
            flowlet_gap: self.flowlet_gap,
            move_deadline: self.move_deadline,
            mss_clamp: true,
            taken_over: self.taken_over,
        };
        let mut groups = vec![group];
        groups.extend(self.engine.starts_with('a').then(|| partners(self.owner, self.taken_over)));
        Tables {
            generation: self.generation,
            router_v4: interfaces[0].ipv4(),
            router_v6: None,
            interfaces,
            fib: self.fib.clone(),
            next_hops: self.next_hops.clone(),
            neighbors: self.neighbors.clone(),
            tunnels: self.tunnels.clone().into(),
            groups: groups.into(),
            acl: None,
        }
    }

    fn interface(&self, id: u16) -> Interface {
        let engine = self.engine;
        let mut addresses =
            vec![net([lan_address(engine), wan_address(engine), link_address(engine)][usize::from(id)], 24)];
        let mut gateway = Vec::new();
        if id == 0 && self.owner && engine.starts_with('a') {
            addresses.push(net(GATEWAY, 24));
            gateway.push(GATEWAY.into());
        }
        Interface {
            id: InterfaceId(id),
            port: PortId(id),
            vlan: None,
            mac: engine_mac(engine, id as u8),
            mtu: 1500,
            addresses,
            gateway,
            site_link: id == 2 && self.sabotage != Some(Sabotage::HandBack),
            virtual_router: None,
        }
    }
}

/// To the engines next to it, and of site a to the partner: that one has no probes, and counts as up.
fn tunnels(engine: &str) -> Vec<Tunnel> {
    let mut tunnels: Vec<Tunnel> = [FIRST, SECOND].map(|id| tunnel(engine, id)).into();
    if engine.starts_with('a') {
        let (local, remote) = (GATEWAY.into(), PARTNER.into());
        let (interface, next_hop) = (InterfaceId(LAN.0), remote);
        tunnels.push(Tunnel {
            id: THIRD,
            local,
            remote,
            interface,
            next_hop,
            up: true,
            ..tunnel(engine, FIRST)
        });
    }
    tunnels
}

/// By the shared SA, or where that is.
fn partners(owner: bool, taken_over: u32) -> Group {
    let way = if owner { THIRD } else { SECOND };
    Group {
        id: PARTNERS,
        buckets: Arc::new(BucketTable::new(&Shares::by_weight(&[(way, 1)]).expect("a member"))),
        own: [THIRD].into_iter().collect(),
        members: [THIRD, SECOND].into_iter().collect(),
        flowlet_gap: Nanos(0),
        move_deadline: Nanos(0),
        mss_clamp: true,
        taken_over,
    }
}

fn tunnel(engine: &str, id: TunnelId) -> Tunnel {
    let far = neighbours(engine)[id.index()];
    let direct = engine.starts_with('a') && id == SECOND;
    let address = if direct { link_address } else { wan_address };
    Tunnel {
        id,
        encapsulation: if direct { Encapsulation::Direct } else { Encapsulation::Esp },
        local: address(engine).into(),
        remote: address(far).into(),
        interface: InterfaceId(if direct { 2 } else { 1 }),
        next_hop: address(far).into(),
        mtu: MTU,
        up: false,
        fenced: false,
    }
}

fn routes(engine: &str) -> (Arc<Fib>, Arc<[NextHop]>) {
    let own = [lan_address(engine), wan_address(engine), link_address(engine)];
    let (mut fib, mut next_hops) = (FibBuilder::new(), vec![NextHop::Unreachable]);
    let mut route = |prefix, next_hop| {
        fib.insert(prefix, NextHopId(next_hops.len() as u32));
        next_hops.push(next_hop);
    };
    for (id, address) in (0..).zip(own) {
        route(net(address, 24), NextHop::Connected(InterfaceId(id)));
        route(net(address, 32), NextHop::Local);
    }
    route(net(host(if engine.starts_with('a') { "b" } else { "a" }), 16), NextHop::Group(GROUP));
    if engine.starts_with('a') {
        route(net(HOST_P, 16), NextHop::Group(PARTNERS));
    }
    (fib.build().expect("a handful of routes"), next_hops.into())
}

fn known(engine: &str) -> impl Iterator<Item = (InterfaceId, IpAddr, MacAddr)> {
    let on = |id: u16, ip: Ipv4Addr, mac| (InterfaceId(id), IpAddr::V4(ip), mac);
    let others: Vec<_> = ENGINES.into_iter().filter(|other| *other != engine).collect();
    others
        .into_iter()
        .flat_map(move |other| {
            [
                on(1, wan_address(other), engine_mac(other, 1)),
                on(2, link_address(other), engine_mac(other, 2)),
            ]
        })
        .chain([on(0, host(&engine[..1]), HOST_MAC)])
        .chain(engine.starts_with('a').then(|| on(0, PARTNER, PARTNER_MAC)))
}
