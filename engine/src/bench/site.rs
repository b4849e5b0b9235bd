//! The two ends of a rig: their addresses, and an engine with one worker for each.

use super::case::{SESSIONS, Scenario, Way};
use super::machine::Stopwatch;
use super::port::MemoryPort;
use dataplane::acl::{Acl, Action};
use dataplane::drop_reason::DropReason;
use dataplane::ecmp::{BucketTable, Shares};
use dataplane::fib::FibBuilder;
use dataplane::flow::{HashKeys, SessionConfig, SessionTable, Timeouts, WhenFull};
use dataplane::id::{Generation, GroupId, InterfaceId, Nanos, NextHopId, PortId, TunnelId, WorkerId};
use dataplane::links::{ControlLinks, connect};
use dataplane::packet::PacketPool;
use dataplane::shadow::ControlShadow;
use dataplane::snapshot::{Group, Interface, NextHop, Snapshot, Tables, Tunnel};
use dataplane::stage::access::Sessions;
use dataplane::wire::MacAddr;
use dataplane::worker::{Worker, WorkerParts};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The port of each end towards its hosts.
pub const LAN: usize = 0;
/// The port of each end towards the other one.
pub const WAN: usize = 1;
/// The MAC address of every host.
pub const HOST: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x10]);

/// Which end of the rig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The measured one.
    Near,
    /// The one that makes its input and reads its output.
    Far,
}

impl Side {
    /// Routers on the WAN, beside the far end, which is the first of them.
    pub const ROUTERS: usize = 16;

    fn number(self) -> u8 {
        if self == Side::Near { 1 } else { 2 }
    }

    /// The other end.
    pub fn other(self) -> Side {
        if self == Side::Near { Side::Far } else { Side::Near }
    }

    /// Of one of its ports.
    pub fn mac(self, port: usize) -> MacAddr {
        MacAddr([2, 0, 0, 0, self.number(), port as u8])
    }

    /// Its end of the `n`th parallel tunnel: the far end has an address for each.
    fn wan(self, n: usize) -> IpAddr {
        let last = if self == Side::Near { 1 } else { 2 + n as u8 };
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    /// A router on the WAN of the near end.
    pub fn router(v6: bool, n: usize) -> IpAddr {
        let text = if v6 { format!("2001:db8::{:x}", 2 + n) } else { format!("192.0.2.{}", 2 + n) };
        text.parse().expect("a constant address")
    }

    fn addresses(self, port: usize, tunnels: usize) -> Vec<IpNet> {
        let n = self.number();
        let mut texts = match port {
            LAN => vec![format!("10.{n}.0.1/24"), format!("fd00:{n}::1/64")],
            _ => vec![format!("192.0.2.{n}/24"), format!("2001:db8::{n}/64")],
        };
        if port == WAN && self == Side::Far {
            texts.extend((1..tunnels).map(|n| format!("{}/24", self.wan(n))));
        }
        texts.iter().map(|text| text.parse().expect("a constant prefix")).collect()
    }

    /// A host behind this end.
    pub fn host(self, v6: bool) -> IpAddr {
        let n = self.number();
        let text = if v6 { format!("fd00:{n}::10") } else { format!("10.{n}.0.10") };
        text.parse().expect("a constant address")
    }
}

/// An engine of one worker.
pub struct End<A: PacketPool, C: Stopwatch> {
    /// Its worker.
    pub worker: Worker<MemoryPort<A::Packet>, A, C>,
    /// The other sides of the worker's ports.
    pub ports: [MemoryPort<A::Packet>; 2],
    /// Control's ends.
    pub control: ControlLinks,
    /// Where its sessions are reported, if they are.
    shadow: Option<ControlShadow>,
}

impl<A: PacketPool + Clone, C: Stopwatch> End<A, C> {
    /// The engine of `side`.
    pub fn new(scenario: &Scenario, side: Side, pool: &A, clock: &C) -> End<A, C> {
        let forward_until = Arc::new(AtomicU64::new(u64::MAX));
        let tunnels = scenario.tunnels.len().max(1);
        let (worker, control) = connect(1, tunnels, &forward_until).pop().expect("one worker was asked for");
        let ports = [MemoryPort::default(), MemoryPort::default()];
        let mut shadow = None;
        let sessions = (scenario.stateful && side == Side::Near).then(|| {
            let sessions = sessions(clock.now());
            let links = scenario.shadowed.then(dataplane::shadow::connect);
            Box::new(match links {
                Some((worker, control)) => {
                    shadow = Some(control);
                    sessions.shadowed(worker)
                }
                None => sessions,
            })
        });
        let worker = Worker::new(WorkerParts {
            id: WorkerId(0),
            ports: ports.to_vec(),
            pool: pool.clone(),
            clock: clock.clone(),
            snapshot: snapshot(scenario, side),
            links: worker,
            icmp_errors_per_second: 100,
            sessions,
            bfd: Vec::new(),
        });
        End { worker, ports, control, shadow }
    }

    /// Takes what it reported of its sessions, as the thread that talks to the shadow does.
    pub fn drain_reports(&mut self) {
        if let Some(shadow) = &mut self.shadow {
            while shadow.reports.pop().is_some() {}
        }
    }

    /// The packets it dropped, by reason.
    pub fn dropped(&self) -> String {
        let counters = &self.control.counters;
        let reasons = DropReason::ALL.iter().filter(|&&reason| counters.dropped(reason).get() > 0);
        reasons
            .map(|&reason| format!("{reason} {}", counters.dropped(reason).get()))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

fn snapshot(scenario: &Scenario, side: Side) -> Snapshot {
    let tunnels: Vec<Tunnel> = (0..scenario.tunnels.len()).map(|n| tunnel(scenario, side, n)).collect();
    let (fib, next_hops) = routes(scenario, side);
    Snapshot::from(Tables {
        generation: Generation(1),
        interfaces: [LAN, WAN].map(|port| interface(scenario, side, port)).into(),
        fib: fib.build().expect("the routes fit"),
        next_hops: next_hops.into(),
        neighbors: Arc::new(neighbors(scenario, side).into_iter().collect()),
        groups: if tunnels.is_empty() { [].into() } else { [group(&tunnels)].into() },
        tunnels: tunnels.into(),
        router_v4: None,
        router_v6: None,
        acl: acl(scenario, side),
    })
}

fn acl(scenario: &Scenario, side: Side) -> Option<Arc<Acl>> {
    let asked = side == Side::Near && !scenario.rules.is_empty();
    asked.then(|| Arc::new(Acl::compile(&scenario.rules, Action::Deny).expect("the rules fit").numbered(1)))
}

fn sessions(now: Nanos) -> Sessions {
    let config = SessionConfig {
        capacity: SESSIONS,
        nat: false,
        timeouts: Timeouts::default(),
        when_full: WhenFull::DropNew,
    };
    Sessions::new(SessionTable::new(config, HashKeys::seeded(1), now), None)
}

fn interface(scenario: &Scenario, side: Side, port: usize) -> Interface {
    Interface {
        id: InterfaceId(port as u16),
        port: PortId(port as u16),
        vlan: None,
        mac: side.mac(port),
        mtu: 1600,
        addresses: side.addresses(port, scenario.tunnels.len()),
        gateway: Vec::new(),
        site_link: false,
        virtual_router: None,
    }
}

fn tunnel(scenario: &Scenario, side: Side, n: usize) -> Tunnel {
    let (local, remote) = (side.wan(n), side.other().wan(n));
    Tunnel {
        id: TunnelId(n as u16),
        encapsulation: scenario.tunnels[n],
        local,
        remote,
        interface: InterfaceId(WAN as u16),
        next_hop: remote,
        mtu: 1518,
        up: true,
        fenced: false,
    }
}

fn group(tunnels: &[Tunnel]) -> Group {
    let weights: Vec<_> = tunnels.iter().map(|tunnel| (tunnel.id, 1)).collect();
    let shares = Shares::by_weight(&weights).expect("equal weights can be shared");
    Group {
        id: GroupId(0),
        buckets: Arc::new(BucketTable::new(&shares)),
        own: tunnels.iter().map(|tunnel| tunnel.id).collect(),
        members: tunnels.iter().map(|tunnel| tunnel.id).collect(),
        flowlet_gap: Nanos(0),
        move_deadline: Nanos(0),
        taken_over: 0,
        mss_clamp: true,
    }
}

fn routes(scenario: &Scenario, side: Side) -> (FibBuilder, Vec<NextHop>) {
    let (other, tunnels) = (side.other(), scenario.tunnels.len());
    let mut fib = FibBuilder::new();
    let mut next_hops =
        vec![NextHop::Unreachable, NextHop::Local, NextHop::Connected(InterfaceId(LAN as u16))];
    for net in [LAN, WAN].into_iter().flat_map(|port| side.addresses(port, tunnels)) {
        fib.insert(IpNet::from(net.addr()), NextHopId(1));
    }
    for net in side.addresses(LAN, tunnels) {
        fib.insert(net.trunc(), NextHopId(2));
    }
    let via = |gateway| NextHop::Via { interface: InterfaceId(WAN as u16), gateway };
    for net in other.addresses(LAN, tunnels) {
        let v6 = matches!(net, IpNet::V6(_));
        let to_other = if tunnels == 0 { via(Side::router(v6, 0)) } else { NextHop::Group(GroupId(0)) };
        fib.insert(net.trunc(), NextHopId(next_hops.len() as u32));
        next_hops.push(to_other);
    }
    let first = next_hops.len();
    if side == Side::Near && scenario.way == Way::Forward {
        for &(net, router) in &scenario.routes {
            fib.insert(net, NextHopId((first + router) as u32));
        }
        let v6 = matches!(scenario.routes.first(), Some((IpNet::V6(_), _)));
        next_hops.extend((0..Side::ROUTERS).map(|n| via(Side::router(v6, n))));
    }
    (fib, next_hops)
}

/// The host behind this end, the other end's addresses, and the routers.
fn neighbors(scenario: &Scenario, side: Side) -> Vec<(InterfaceId, IpAddr, MacAddr)> {
    let (lan, wan) = (InterfaceId(LAN as u16), InterfaceId(WAN as u16));
    let other = side.other();
    let hosts = [false, true].map(|v6| (lan, side.host(v6), HOST));
    let mut known = hosts.to_vec();
    let beyond = other.addresses(WAN, scenario.tunnels.len()).into_iter().map(|net| net.addr());
    let routers =
        [false, true].into_iter().flat_map(|v6| (0..Side::ROUTERS).map(move |n| Side::router(v6, n)));
    let routers = routers.filter(|_| side == Side::Near);
    for ip in beyond.chain(routers) {
        if !known.iter().any(|&(_, there, _)| there == ip) {
            known.push((wan, ip, other.mac(WAN)));
        }
    }
    known
}
