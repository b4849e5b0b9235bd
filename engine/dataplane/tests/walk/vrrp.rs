//! The gateway as a virtual router: its own MAC address while this engine is Active, and advertisements (RFC 9568).

use crate::support::craft::typed;
use crate::support::draft::wan_v4;
use crate::support::{Draft, Engine, GATEWAY_V4, Ip, LAN, WAN, engine_mac, frame, host_mac, host_v4};
use dataplane::drop_reason::DropReason;
use dataplane::id::{InterfaceId, Nanos};
use dataplane::message::{Command, Event};
use dataplane::snapshot::NextHop;
use dataplane::virtual_router::{Versions, VirtualRouter};
use dataplane::wire::MacAddr;
use dataplane::wire::vrrp::Vrid;
use ipnet::IpNet;
use std::net::IpAddr;

const NUMBER: Vrid = Vrid(7);
const LINK_LOCAL: &str = "fe80::5e:1";

fn engine(id: u8, active: Versions) -> Engine {
    let mut draft = Draft::new(id, 1);
    let gateways = [GATEWAY_V4.into(), LINK_LOCAL.parse::<IpAddr>().unwrap()];
    let lan = &mut draft.interfaces[0];
    let held = gateways.iter().filter(|ip| active.of(**ip));
    lan.addresses.extend(held.map(|ip| IpNet::new(*ip, if ip.is_ipv4() { 24 } else { 64 }).unwrap()));
    lan.virtual_router = Some(VirtualRouter {
        number: NUMBER,
        addresses: gateways.into_iter().rev().collect(),
        active,
        pseudo_header: true,
    });
    draft.routes.push((IpNet::new(wan_v4(2), 32).unwrap(), NextHop::Connected(InterfaceId(1))));
    Engine::new(draft)
}

fn gateway_asked() -> Vec<u8> {
    let host: IpAddr = host_v4(1, 9);
    let (IpAddr::V4(host), gateway) = (host, GATEWAY_V4) else { unreachable!() };
    let body =
        [&[0, 1, 8, 0, 6, 4, 0, 1][..], &host_mac().0, &host.octets(), &[0; 6], &gateway.octets()].concat();
    typed(MacAddr::BROADCAST, host_mac(), None, 0x0806, &body)
}

#[test]
fn the_active_router_answers_and_forwards_by_the_virtual_address() {
    let packet = Ip::new(host_v4(1, 9), wan_v4(2)).udp(1, 20);
    let to = |mac| frame(mac, host_mac(), None, &packet);
    let mut active = engine(1, Versions { v4: true, v6: true });
    let reply = &active.pass(LAN, &gateway_asked(), LAN)[0];
    let virtual_mac = NUMBER.mac(false).0;
    assert_eq!(reply[6..12], virtual_mac, "bridges learn where the virtual router is");
    assert_eq!(reply[22..28], virtual_mac, "RFC 9568 §8.1.2");
    for mac in [NUMBER.mac(false), engine_mac(1, 0)] {
        assert_eq!(active.pass(LAN, &to(mac), WAN).len(), 1, "{mac}");
    }
    active.refuses(LAN, &to(Vrid(8).mac(false)), DropReason::NotForUs);
    active.command(0, Command::Announce { interface: InterfaceId(0), ip: GATEWAY_V4.into() });
    active.poll();
    assert_eq!(active.take(LAN)[0][6..12], virtual_mac);

    let mut backup = engine(2, Versions::default());
    backup.refuses(LAN, &gateway_asked(), DropReason::NeighborConsumed);
    backup.refuses(LAN, &to(NUMBER.mac(false)), DropReason::NotForUs);
    backup.refuses(LAN, &to(NUMBER.mac(true)), DropReason::NotForUs);
}

#[test]
fn advertisements_are_told_and_nothing_else_passes_for_one() {
    let mut active = engine(1, Versions { v4: true, v6: true });
    let froms: [IpAddr; 2] = [host_v4(1, 1), "fe80::1".parse().unwrap()];
    for from in froms {
        let advertise =
            Command::Advertise { interface: InterfaceId(0), from, priority: 150, interval_cs: 25 };
        active.command(0, advertise);
        active.poll();
        let sent = active.take(LAN).remove(0);
        assert_eq!(sent[6..12], NUMBER.mac(from.is_ipv6()).0, "RFC 9568 §7.2");
        let mut other = engine(2, Versions::default());
        other.put(0, LAN, &sent);
        other.poll();
        let heard = other.events().into_iter().find_map(|event| match event {
            Event::Advertised { interface: InterfaceId(0), from, priority, interval_cs } => {
                Some((from, priority, interval_cs))
            }
            _ => None,
        });
        assert_eq!(heard, Some((from, 150, 25)));
        other.refuses(LAN, &sent, DropReason::NeighborConsumed);

        let ttl = if from.is_ipv4() { 14 + 8 } else { 14 + 7 };
        let mut routed = sent.clone();
        routed[ttl] = 254;
        if from.is_ipv4() {
            // RFC 1624: one less in the high byte of its word.
            let check = u16::from_be_bytes([routed[24], routed[25]]);
            let check = check.checked_add(0x0100).unwrap_or(check.wrapping_add(0x0101));
            routed[24..26].copy_from_slice(&check.to_be_bytes());
        }
        other.refuses(LAN, &routed, DropReason::Multicast);
        let mut damaged = sent.clone();
        *damaged.last_mut().unwrap() ^= 1;
        other.refuses(LAN, &damaged, DropReason::BadAdvertisement);
        // Of another virtual router, and where there is none.
        other.draft.interfaces[0].virtual_router.as_mut().unwrap().number = Vrid(9);
        other.publish();
        other.refuses(LAN, &sent, DropReason::Multicast);
        other.draft.interfaces[0].virtual_router = None;
        other.publish();
        other.refuses(LAN, &sent, DropReason::Multicast);
    }
    assert_eq!(NUMBER.mac(false).to_string(), "00:00:5e:00:01:07");
}

/// A worker that was paused has advertisements in its queue, and another engine owns the site by now.
#[test]
fn who_may_not_forward_advertises_no_virtual_router_but_says_that_it_stands_back() {
    let mut active = engine(1, Versions { v4: true, v6: true });
    let advertised = |active: &mut Engine, priority: u8| {
        for from in [host_v4(1, 1), "fe80::1".parse().unwrap()] {
            active.command(
                0,
                Command::Advertise { interface: InterfaceId(0), from, priority, interval_cs: 25 },
            );
        }
        active.poll();
        active.take(LAN).len()
    };
    active.lease(active.now().plus(Nanos::from_millis(50)));
    assert_eq!(advertised(&mut active, 150), 2);
    active.wait(5000);
    assert_eq!(advertised(&mut active, 150), 0, "without its lease");
    assert_eq!(advertised(&mut active, 0), 2);
    active.lease(active.now().plus(Nanos::from_millis(50)));
    active.poll();
    assert_eq!(advertised(&mut active, 150), 2, "with it again");
}
