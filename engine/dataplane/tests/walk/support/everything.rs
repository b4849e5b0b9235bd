//! An engine with every kind of tunnel, and what happens to it beside packets.

use super::pooled::{Pool, PooledPort};
use super::sessions::{WIREGUARD, agree};
use super::{Draft, Engine, LAN, LINK, Sizes, WAN, key};
use dataplane::acl::{Acl, Action, synthetic};
use dataplane::flow::{SessionConfig, Timeouts, WhenFull};
use dataplane::id::{GroupId, InterfaceId, Nanos, PortId, TunnelId};
use dataplane::message::Command;
use dataplane::nat::NatConfig;
use dataplane::shaper::{Bucket, Class, Rate, Shaper};
use dataplane::snapshot::{Encapsulation, EspUdp, Nat, Vxlan};
use dataplane::wire::MacAddr;
use dataplane::wire::vxlan::Vni;
use std::sync::Arc;

pub type Pooled = Engine<PooledPort, Pool>;

/// Every kind of tunnel to site `far`.
pub fn everything_draft(engine: u8, far: u8) -> Draft {
    let mut draft = Draft::new(engine, engine);
    let gre = draft.tunnel(Encapsulation::Gre { key: Some(42), sequence: false }, false, far);
    let esp = draft.tunnel(Encapsulation::Esp, false, far);
    let esp6 = draft.tunnel(Encapsulation::Esp, true, far);
    let link = draft.tunnel(Encapsulation::Direct, false, 3);
    let ip_in_ip = draft.tunnel(Encapsulation::IpIp, true, far);
    let vxlan = draft.tunnel(vxlan(77), false, far);
    let esp_udp = draft.tunnel(ESP_UDP, false, far);
    let wireguard = draft.tunnel(WIREGUARD, true, far);
    draft.tunnels[0].mtu = 1000;
    draft.shapers = vec![Some(slow_shaper()), None, None, None, None, Some(slow_shaper())];
    let own = [gre, esp, esp6, ip_in_ip, vxlan, esp_udp, wireguard];
    let members = [gre, esp, esp6, link, ip_in_ip, vxlan, esp_udp, wireguard].map(|tunnel| (tunnel, 1));
    draft.group(far, &members, &own);
    draft
}

/// 8 Mbit/s, EF and CS6 first, 4 of a class may wait.
pub fn slow_shaper() -> Arc<Shaper> {
    let rate = Rate { bits_per_second: 8_000_000, burst: 3000 };
    let class = || Class { queue: 4, bucket: None };
    let bucket = Arc::new(Bucket::new(rate, Nanos(0)));
    Arc::new(Shaper::new(bucket, [(class(), vec![46, 48]), (class(), vec![])]))
}

/// The same behind rules, with few sessions and NAT towards the WAN.
pub fn guarded_draft(engine: u8, far: u8) -> Draft {
    let mut draft = everything_draft(engine, far);
    draft.acl = Some(Arc::new(Acl::compile(&synthetic::rules(1, 200, true), Action::PermitSession).unwrap()));
    let timeouts = Timeouts { udp_one_way: 1, ..Timeouts::default() };
    draft.sessions =
        Some(SessionConfig { capacity: 64, nat: true, timeouts, when_full: WhenFull::EvictOpening });
    draft.nat = Some(NatConfig {
        inside: vec!["10.1.0.0/24".parse().unwrap()],
        pool: vec![[192, 0, 2, engine].into()],
        ..NatConfig::default()
    });
    draft
}

/// The engine of [`everything_draft`], with two workers.
pub fn everything(engine: u8, far: u8, pool: &Pool, room: usize) -> Pooled {
    two_workers(everything_draft(engine, far), pool, room)
}

/// An engine with two workers.
pub fn two_workers(draft: Draft, pool: &Pool, room: usize) -> Pooled {
    let sizes = Sizes { workers: 2, icmp_errors_per_second: 1_000_000 };
    Engine::assemble(draft, &sizes, || PooledPort::new(room), || pool.clone())
}

/// ESP in UDP without a NAT.
pub const ESP_UDP: Encapsulation =
    Encapsulation::EspUdp(EspUdp { local_port: 4500, remote_port: 4500, nat: Nat::None, inside: None });

/// VXLAN with this VNI; the draft sets the MAC addresses.
pub fn vxlan(vni: u32) -> Encapsulation {
    let (vni, mac) = (Vni::try_from(vni).unwrap(), MacAddr::ZERO);
    Encapsulation::Vxlan(Vxlan { vni, local_mac: mac, remote_mac: mac })
}

/// SAs for all ESP tunnels, both ways, and the first workers' sessions of the WireGuard one.
pub fn keyed(a: &mut Pooled, b: &mut Pooled) {
    for tunnel in [TunnelId(1), TunnelId(2), TunnelId(6)] {
        key(a, b, tunnel, tunnel, 0x1000 * u32::from(tunnel.0));
        key(b, a, tunnel, tunnel, 0x1000 * u32::from(tunnel.0) + 0x100);
    }
    agree(a, b, TunnelId(7));
}

/// Where frames come in: the port and the MAC address it listens to.
pub const WAYS_IN: [(PortId, u8); 4] = [(LAN, 0), (WAN, 1), (LAN, 2), (LINK, 3)];

/// What control does meanwhile.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    Poll,
    Wait(u64),
    Lease(bool),
    Forget,
    Know,
    Up(u16, bool),
    Shift(u32),
    Ask,
}

/// Does it, and polls.
pub fn perform(engine: &mut Pooled, act: Act) {
    prepare(engine, act);
    engine.poll();
    engine.events();
    engine.control.iter_mut().for_each(|control| while control.handshakes.pop().is_some() {});
}

/// Control's part of it: the workers see it with their next poll.
pub fn prepare(engine: &mut Pooled, act: Act) {
    match act {
        Act::Poll => {}
        Act::Wait(ms) => engine.wait(ms),
        Act::Lease(valid) => engine.lease(if valid { Nanos::MAX } else { Nanos(0) }),
        Act::Forget => engine.draft.neighbors.clear(),
        Act::Know => engine.draft.neighbors = Draft::new(1, 1).neighbors,
        Act::Up(tunnel, up) => engine.draft.tunnels[usize::from(tunnel)].up = up,
        Act::Shift(weight) => {
            let members = [0, 1, 2, 3, 4, 5, 6, 7].map(|n| (TunnelId(n), if n == 3 { weight } else { 1 }));
            engine.draft.reweigh(GroupId(0), &members);
        }
        Act::Ask => {
            let (interface, ip) = (InterfaceId(0), [10, 1, 0, 77].into());
            engine.command(0, Command::Solicit { interface, ip, unicast: None });
            engine.command(1, Command::Probe { tunnel: TunnelId(1), sequence: 9 });
            engine.command(0, Command::Probe { tunnel: TunnelId(5), sequence: 9 });
            engine.command(1, Command::Announce { interface, ip: [10, 1, 0, 1].into() });
        }
    }
    if matches!(act, Act::Forget | Act::Know | Act::Up(..) | Act::Shift(_)) {
        engine.publish();
    }
}
