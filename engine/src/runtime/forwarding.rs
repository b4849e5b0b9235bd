//! Control's copy of all forwarding state, and its publication to the workers as a snapshot.

use super::live_routes::Routes;
use crate::plan::{ForwardingPlan, GroupPlan};
use dataplane::acl::Acl;
use dataplane::context::Version;
use dataplane::ecmp::{BucketTable, Shares};
use dataplane::id::{Generation, GroupId, InterfaceId, Nanos, TunnelId};
use dataplane::neighbor::Neighbors;
use dataplane::snapshot::{Encapsulation, Group, Interface, NextHop, Snapshot, Tables, Tunnel};
use dataplane::virtual_router::Versions;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

/// How a group's buckets are split now.
struct Split {
    plan: GroupPlan,
    buckets: Arc<BucketTable>,
    /// Instead of those while another engine owns the site, where that one has the SAs.
    to_owner: Option<Arc<BucketTable>>,
    flowlet_gap: Nanos,
    move_deadline: Nanos,
}

/// Everything the next snapshot is made of.
pub struct Forwarding {
    generation: Generation,
    interfaces: Vec<Interface>,
    gateway: Option<(InterfaceId, Vec<IpNet>)>,
    owner: bool,
    taken_over: u32,
    /// Routes that take effect at once, and the next hops of the next snapshot.
    pub routes: Routes,
    tunnels: Vec<Tunnel>,
    groups: Vec<Split>,
    neighbors: Arc<Neighbors>,
    acl: Option<Arc<Acl>>,
    dirty: bool,
}

impl Forwarding {
    /// The state at start: no tunnel up, no gateway owned. `macs` are the ports' addresses, by port.
    pub fn new(plan: &ForwardingPlan, macs: &[dataplane::wire::MacAddr], routes: Routes) -> Forwarding {
        let interfaces = plan
            .interfaces
            .iter()
            .map(|interface| Interface { mac: macs[interface.port.index()], ..interface.clone() })
            .collect();
        Forwarding {
            generation: Generation(0),
            interfaces,
            gateway: plan.gateway.clone(),
            owner: false,
            taken_over: 0,
            routes,
            tunnels: plan.tunnels.clone(),
            groups: plan.groups.iter().map(Split::new).collect(),
            neighbors: Arc::default(),
            acl: None,
            dirty: true,
        }
    }

    /// The gateway's interface, and the addresses there that this engine answers for now.
    pub fn gateway(&self) -> Option<(InterfaceId, Vec<IpNet>)> {
        let (on, addresses) = self.gateway.as_ref()?;
        let router = self.interfaces[on.index()].virtual_router.as_ref();
        let held = |net: &&IpNet| self.owner && router.is_none_or(|router| router.active.of(net.addr()));
        Some((*on, addresses.iter().filter(held).copied().collect()))
    }

    /// The tunnels as they would be published.
    pub fn tunnels(&self) -> &[Tunnel] {
        &self.tunnels
    }

    /// The generation published last.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether `ip` is a neighbour's place on `interface`: on its prefix, or link-local.
    pub fn on_link(&self, interface: InterfaceId, ip: IpAddr) -> bool {
        self.interfaces.get(interface.index()).is_some_and(|interface| interface.reaches(ip))
    }

    /// The access list, in place of the one before.
    pub fn set_acl(&mut self, acl: Option<Arc<Acl>>) {
        self.acl = acl;
        self.dirty = true;
    }

    /// The access list.
    pub fn acl(&self) -> Option<&Acl> {
        self.acl.as_deref()
    }

    /// Elected to answer for the gateway addresses of one IP version, or no longer.
    pub fn set_elected(&mut self, version: Version, elected: bool) {
        let Some((on, _)) = self.gateway else { return };
        if let Some(router) = &mut self.interfaces[on.index()].virtual_router {
            let active = router.active.with(version, elected);
            self.dirty |= router.active != active;
            router.active = active;
        }
    }

    /// Owns the gateway addresses, or no longer.
    pub fn set_owner(&mut self, owner: bool) {
        self.dirty |= self.owner != owner;
        self.taken_over += u32::from(owner && !self.owner);
        self.owner = owner;
    }

    /// A tunnel's state.
    pub fn set_tunnel(&mut self, id: TunnelId, up: bool, fenced: bool) {
        let tunnel = &mut self.tunnels[id.index()];
        self.dirty |= (tunnel.up, tunnel.fenced) != (up, fenced);
        (tunnel.up, tunnel.fenced) = (up, fenced);
    }

    /// A tunnel's inner MTU, bytes.
    pub fn set_mtu(&mut self, id: TunnelId, mtu: u16) {
        let tunnel = &mut self.tunnels[id.index()];
        self.dirty |= tunnel.mtu != mtu;
        tunnel.mtu = mtu;
    }

    /// The configured way to a tunnel's far end. One that is seen elsewhere than configured keeps the way that it has.
    pub fn set_way(&mut self, planned: &Tunnel) {
        let tunnel = &mut self.tunnels[planned.id.index()];
        if tunnel.remote == planned.remote && tunnel.interface == planned.interface {
            self.dirty |= tunnel.next_hop != planned.next_hop;
            tunnel.next_hop = planned.next_hop;
        }
    }

    /// Whether TCP SYNs' MSS is lowered to fit a group's tunnels.
    pub fn set_mss_clamp(&mut self, id: GroupId, clamp: bool) {
        let group = &mut self.groups[id.index()];
        self.dirty |= group.plan.mss_clamp != clamp;
        group.plan.mss_clamp = clamp;
    }

    /// Where a tunnel's far end is seen, behind its NAT or roaming. False, and nothing changed, if no route leads there
    /// but into a tunnel.
    pub fn set_far_end(&mut self, id: TunnelId, ip: IpAddr, port: u16) -> bool {
        let (interface, next_hop) = match self.routes.towards(ip) {
            Some(NextHop::Connected(interface)) => (interface, ip),
            Some(NextHop::Via { interface, gateway }) => (interface, gateway),
            _ => return false,
        };
        let tunnel = &mut self.tunnels[id.index()];
        let remote_port = match &mut tunnel.encapsulation {
            Encapsulation::EspUdp(settings) => &mut settings.remote_port,
            Encapsulation::WireGuard(settings) => &mut settings.remote_port,
            _ => return false,
        };
        self.dirty |= (tunnel.remote, *remote_port) != (ip, port);
        (tunnel.remote, *remote_port) = (ip, port);
        (tunnel.interface, tunnel.next_hop) = (interface, next_hop);
        true
    }

    /// A far end behind a NAT knows itself by this address.
    pub fn set_far_inside(&mut self, id: TunnelId, ip: IpAddr) {
        if let Encapsulation::EspUdp(settings) = &mut self.tunnels[id.index()].encapsulation {
            self.dirty |= settings.inside != Some(ip);
            settings.inside = Some(ip);
        }
    }

    /// How a group's buckets are split: parts of 65,536.
    pub fn set_shares(&mut self, id: GroupId, shares: &Shares, flowlet_gap: Nanos, move_deadline: Nanos) {
        let group = &mut self.groups[id.index()];
        group.buckets = Arc::new(group.buckets.rebalance(shares));
        (group.flowlet_gap, group.move_deadline) = (flowlet_gap, move_deadline);
        self.dirty = true;
    }

    /// Which bucket of a group is whose.
    pub fn buckets(&self, id: GroupId) -> &BucketTable {
        &self.groups[id.index()].buckets
    }

    /// Goes on with the buckets as another process had them.
    pub fn set_buckets(&mut self, id: GroupId, buckets: BucketTable) {
        self.groups[id.index()].buckets = Arc::new(buckets);
        self.dirty = true;
    }

    /// The neighbours known now.
    pub fn set_neighbors(&mut self, neighbors: Neighbors) {
        self.neighbors = Arc::new(neighbors);
        self.dirty = true;
    }

    /// The next snapshot, if anything changed since the last one.
    pub fn changed(&mut self) -> Option<Snapshot> {
        (self.dirty || self.routes.next_hops_changed()).then(|| self.snapshot())
    }

    /// The next snapshot.
    pub fn snapshot(&mut self) -> Snapshot {
        self.dirty = false;
        self.generation.0 += 1;
        let interfaces: Arc<[Interface]> = self.interfaces.iter().map(|i| self.with_gateway(i)).collect();
        let tunnels: Arc<[Tunnel]> = self.tunnels.clone().into();
        let site = (self.owner, self.taken_over);
        let groups = self.groups.iter().map(|split| split.publish(&tunnels, site)).collect();
        // Time exceeded from inside a tunnel names the engine by an address that hosts can reach: its LAN's.
        let named = self.gateway.as_ref().map_or(0, |(interface, _)| interface.index());
        let named = interfaces.get(named);
        Snapshot::from(Tables {
            generation: self.generation,
            fib: self.routes.fib().clone(),
            next_hops: self.routes.publish(self.generation),
            neighbors: self.neighbors.clone(),
            router_v4: named.and_then(Interface::ipv4),
            router_v6: named.and_then(Interface::ipv6),
            groups,
            tunnels,
            interfaces,
            acl: self.acl.clone(),
        })
    }

    fn with_gateway(&self, interface: &Interface) -> Interface {
        let mut interface = interface.clone();
        if let Some((on, addresses)) = self.gateway()
            && on == interface.id
        {
            interface.gateway = addresses.iter().map(IpNet::addr).collect();
            interface.addresses.extend(addresses);
            if let Some(router) = &mut interface.virtual_router
                && !self.owner
            {
                // A frame to the virtual router's address is the new owner's, whatever was elected before.
                router.active = Versions::default();
            }
        }
        interface
    }
}

fn all_to(tunnel: TunnelId) -> Arc<BucketTable> {
    Arc::new(BucketTable::new(&Shares::by_weight(&[(tunnel, 1)]).expect("a weight")))
}

impl Split {
    fn new(plan: &GroupPlan) -> Split {
        let first = *plan.members.first().expect("a group has a member");
        let buckets = all_to(first);
        let to_owner = plan.to_owner.map(all_to);
        Split { plan: plan.clone(), buckets, to_owner, flowlet_gap: Nanos(0), move_deadline: Nanos(0) }
    }

    /// As the workers are to have it. At an engine that does not own the site what comes from hosts goes to the one that does; what that
    /// one has handed over, before this one is told that it does, waits for its SA.
    fn publish(&self, tunnels: &[Tunnel], (owner, taken_over): (bool, u32)) -> Group {
        let leads_out = |id: &TunnelId| {
            let tunnel = &tunnels[id.index()];
            tunnel.up && tunnel.encapsulation != Encapsulation::Direct
        };
        // What the other engine hands over goes where our own traffic does; where none of that is up, anywhere that is.
        let carries = |id: &TunnelId| leads_out(id) && self.buckets.shares().of(*id) > 0;
        let members = || self.plan.members.iter().copied();
        let own: Vec<TunnelId> = members().filter(carries).collect();
        let own = if own.is_empty() { members().filter(leads_out).collect() } else { own };
        let buckets = self.to_owner.as_ref().filter(|_| !owner).unwrap_or(&self.buckets);
        Group {
            id: self.plan.id,
            buckets: buckets.clone(),
            own: own.into_iter().collect(),
            members: members().chain(self.plan.to_owner).collect(),
            flowlet_gap: self.flowlet_gap,
            move_deadline: self.move_deadline,
            mss_clamp: self.plan.mss_clamp,
            taken_over,
        }
    }
}
