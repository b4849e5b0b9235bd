//! ARP, neighbour discovery, and packets that wait for either.

use crate::support::craft::{addresses, one_hop_less, typed};
use crate::support::{
    Draft, Engine, GATEWAY_V4, Ip, LAN, WAN, checked, deliver, engine_mac, frame, host_mac, host_v4, host_v6,
    pair, payload,
};
use dataplane::drop_reason::DropReason;
use dataplane::id::{InterfaceId, Nanos};
use dataplane::message::{Command, Event};
use dataplane::neighbor::{Claim, HELD_MAX_EACH};
use dataplane::snapshot::{Encapsulation, NextHop};
use dataplane::wire::MacAddr;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr};

const LAN_SIDE: InterfaceId = InterfaceId(0);
const ALL_NODES_MAC: MacAddr = MacAddr([0x33, 0x33, 0, 0, 0, 1]);

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn arp_body(operation: u8, from: (MacAddr, IpAddr), to: (MacAddr, IpAddr)) -> Vec<u8> {
    let fixed = [0, 1, 8, 0, 6, 4, 0, operation];
    [&fixed[..], &from.0.0, &octets(from.1), &to.0.0, &octets(to.1)].concat()
}

fn asks(from: IpAddr, target: IpAddr) -> Vec<u8> {
    let body = arp_body(1, (host_mac(), from), (MacAddr::ZERO, target));
    typed(MacAddr::BROADCAST, host_mac(), None, 0x0806, &body)
}

/// A neighbour solicitation or advertisement with one link-layer address option, if any.
fn nd(kind: u8, flags: u8, (src, dst): (IpAddr, IpAddr), target: IpAddr, link: Option<MacAddr>) -> Vec<u8> {
    let option = link.map(|mac| [&[if kind == 135 { 1 } else { 2 }, 1], &mac.0[..]].concat());
    let body = [octets(target), option.unwrap_or_default()].concat();
    Ip::new(src, dst).ttl(255).icmp(kind, 0, [flags, 0, 0, 0], &body)
}

fn solicited_node(target: IpAddr) -> (IpAddr, MacAddr) {
    let bytes = octets(target);
    let [a, b, c] = [bytes[13], bytes[14], bytes[15]];
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    (group.into(), MacAddr([0x33, 0x33, 0xff, a, b, c]))
}

fn seen(engine: &mut Engine) -> Vec<(InterfaceId, IpAddr, MacAddr, Claim)> {
    let events = engine.events().into_iter();
    events
        .filter_map(|event| match event {
            Event::NeighborSeen { interface, ip, mac, claim } => Some((interface, ip, mac, claim)),
            _ => None,
        })
        .collect()
}

#[test]
fn arp_is_answered_for_addresses_of_ours_only() {
    let mut engine = Engine::new(Draft::new(1, 1));
    let (host, ours) = (host_v4(1, 9), host_v4(1, 1));
    let answer = |ip| arp_body(2, (engine_mac(1, 0), ip), (host_mac(), host));
    let out = engine.pass(LAN, &asks(host, ours), LAN);
    assert_eq!(out, [[&host_mac().0[..], &engine_mac(1, 0).0, &[8, 6], &answer(ours)].concat()]);
    let learnt = Claim { solicited: false, overrides: true };
    assert_eq!(seen(&mut engine), [(LAN_SIDE, host, host_mac(), learnt)]);

    // An address probe (RFC 5227 §2.1.1) is answered and teaches nothing.
    assert_eq!(engine.pass(LAN, &asks("0.0.0.0".parse().unwrap(), ours), LAN).len(), 1);
    assert!(seen(&mut engine).is_empty());

    // The gateway's address: answered while owned, and not a moment longer.
    engine.refuses(LAN, &asks(host, GATEWAY_V4.into()), DropReason::NeighborConsumed);
    engine.draft.interfaces[0].addresses.push(IpNet::new(GATEWAY_V4.into(), 24).unwrap());
    engine.publish();
    assert_eq!(engine.pass(LAN, &asks(host, GATEWAY_V4.into()), LAN)[0][14..], answer(GATEWAY_V4.into()));
    engine.draft.interfaces[0].addresses.pop();
    engine.publish();
    engine.refuses(LAN, &asks(host, GATEWAY_V4.into()), DropReason::NeighborConsumed);
    // Another VLAN's address is not this link's.
    engine.refuses(LAN, &asks(host, host_v4(101, 1)), DropReason::NeighborConsumed);
}

#[test]
fn arp_replies_and_announcements_are_learnt() {
    let mut engine = Engine::new(Draft::new(1, 1));
    let (host, ours) = (host_v4(1, 9), host_v4(1, 1));
    let reply = arp_body(2, (host_mac(), host), (engine_mac(1, 0), ours));
    let reply = typed(engine_mac(1, 0), host_mac(), None, 0x0806, &reply);
    engine.refuses(LAN, &reply, DropReason::NeighborConsumed);
    assert_eq!(seen(&mut engine), [(LAN_SIDE, host, host_mac(), Claim { solicited: true, overrides: true })]);
    // Of a foreign prefix: not a neighbour here.
    engine.refuses(LAN, &asks(host_v4(7, 7), host_v4(1, 77)), DropReason::NeighborConsumed);
    assert!(seen(&mut engine).is_empty());
    let mut malformed = reply.clone();
    malformed[14 + 5] = 5;
    engine.refuses(LAN, &malformed, DropReason::BadNeighborMessage);
}

#[test]
fn solicitations_are_answered_even_beside_a_default_route() {
    let mut draft = Draft::new(1, 1);
    let default = NextHop::Via { interface: InterfaceId(1), gateway: host_v6(9, 9) };
    draft.routes.push(("::/0".parse().unwrap(), default));
    let mut engine = Engine::new(draft);
    let (host, ours) = (host_v6(1, 9), host_v6(1, 1));
    let (group, mac) = solicited_node(ours);
    let question = frame(mac, host_mac(), None, &nd(135, 0, (host, group), ours, Some(host_mac())));
    let out = engine.pass(LAN, &question, LAN);
    assert_eq!(out.len(), 1, "{:?}", engine.drops());
    assert_eq!(out[0][..6], host_mac().0);
    let answer = checked(&out[0]);
    assert_eq!(answer, nd_class(nd(136, 0xe0, (ours, host), ours, Some(engine_mac(1, 0)))));
    let learnt = Claim { solicited: false, overrides: true };
    assert_eq!(seen(&mut engine), [(LAN_SIDE, host, host_mac(), learnt)]);

    // Duplicate address detection: everyone is told (RFC 4861 §7.2.4).
    let nobody = Ipv6Addr::UNSPECIFIED.into();
    let question = frame(mac, host_mac(), None, &nd(135, 0, (nobody, group), ours, None));
    let out = engine.pass(LAN, &question, LAN);
    assert_eq!(out[0][..6], ALL_NODES_MAC.0);
    let all_nodes = "ff02::1".parse().unwrap();
    assert_eq!(checked(&out[0]), nd_class(nd(136, 0xa0, (ours, all_nodes), ours, Some(engine_mac(1, 0)))));

    // From off the link, or for nobody here.
    let mut forged = nd(135, 0, (host, group), ours, Some(host_mac()));
    forged[7] = 254;
    engine.refuses(LAN, &frame(mac, host_mac(), None, &forged), DropReason::BadNeighborMessage);
    let other = nd(135, 0, (host, group), host_v6(1, 77), Some(host_mac()));
    engine.refuses(LAN, &frame(mac, host_mac(), None, &other), DropReason::NeighborConsumed);
}

/// As the engine sends it: network control, no flow label; none of which the checksum covers.
fn nd_class(mut packet: Vec<u8>) -> Vec<u8> {
    packet[..4].copy_from_slice(&[0x6c, 0, 0, 0]);
    packet
}

#[test]
fn advertisements_are_learnt_with_and_without_their_option() {
    let mut engine = Engine::new(Draft::new(1, 1));
    let (host, ours) = (host_v6(1, 9), host_v6(1, 1));
    let tells =
        |flags, link| frame(engine_mac(1, 0), host_mac(), None, &nd(136, flags, (host, ours), host, link));
    engine.refuses(LAN, &tells(0x60, Some(host_mac())), DropReason::NeighborConsumed);
    let claim = |overrides| [(LAN_SIDE, host, host_mac(), Claim { solicited: true, overrides })];
    assert_eq!(seen(&mut engine), claim(true));
    // What Linux answers to a unicast solicitation.
    engine.refuses(LAN, &tells(0x60, None), DropReason::NeighborConsumed);
    assert_eq!(seen(&mut engine), claim(false));
}

#[test]
fn link_local_addresses_stay_on_their_link() {
    let mut draft = Draft::new(1, 1);
    let (ours, host) = ("fe80::1".parse().unwrap(), "fe80::9".parse().unwrap());
    // Everything else of IPv6 lies behind a tunnel.
    let tunnel = draft.tunnel(Encapsulation::Gre { key: None, sequence: false }, false, 2);
    let group = draft.group(2, &[(tunnel, 1)], &[tunnel]);
    draft.routes.push(("::/0".parse().unwrap(), NextHop::Group(group)));
    draft.interfaces[0].addresses.push(IpNet::new(ours, 64).unwrap());
    draft.neighbors.push((LAN_SIDE, host, host_mac()));
    let mut engine = Engine::new(draft);
    let echo = Ip::new(host, ours).echo(1, b"hello");
    let out = engine.pass(LAN, &frame(engine_mac(1, 0), host_mac(), None, &echo), LAN);
    assert_eq!(addresses(&checked(&out[0])), (ours, host), "{:?}", engine.drops());
    // The other link's host is another host; and ours is unknown there.
    let elsewhere = frame(engine_mac(1, 2), host_mac(), Some(100), &echo);
    engine.refuses(LAN, &elsewhere, DropReason::NoListener);
    let tells = nd(136, 0x60, (host, ours), host, None);
    engine.refuses(LAN, &frame(engine_mac(1, 0), host_mac(), None, &tells), DropReason::NeighborConsumed);
    assert_eq!(seen(&mut engine).len(), 1);
}

#[test]
fn control_asks_and_announces() {
    let mut engine = Engine::new(Draft::new(1, 1));
    let interface = LAN_SIDE;
    let (ours, host, unicast) = (host_v4(1, 1), host_v4(1, 9), Some(host_mac()));
    engine.command(0, Command::Solicit { interface, ip: host, unicast: None });
    engine.command(0, Command::Solicit { interface, ip: host, unicast });
    engine.command(0, Command::Announce { interface, ip: ours });
    engine.poll();
    let sent = engine.take(LAN);
    let mac = engine_mac(1, 0);
    let request = arp_body(1, (mac, ours), (MacAddr::ZERO, host));
    let gratuitous = arp_body(1, (mac, ours), (MacAddr::ZERO, ours));
    assert_eq!(sent[0], [&MacAddr::BROADCAST.0[..], &mac.0, &[8, 6], &request].concat());
    assert_eq!(sent[1], [&host_mac().0[..], &mac.0, &[8, 6], &request].concat());
    assert_eq!(sent[2], [&MacAddr::BROADCAST.0[..], &mac.0, &[8, 6], &gratuitous].concat());

    let (ours, host) = (host_v6(1, 1), host_v6(1, 9));
    engine.command(0, Command::Solicit { interface, ip: host, unicast: None });
    engine.command(0, Command::Solicit { interface, ip: host, unicast });
    engine.command(0, Command::Announce { interface, ip: ours });
    engine.poll();
    let sent = engine.take(LAN);
    let (group, group_mac) = solicited_node(host);
    assert_eq!(sent[0][..6], group_mac.0);
    assert_eq!(checked(&sent[0]), nd_class(nd(135, 0, (ours, group), host, Some(mac))));
    assert_eq!(sent[1][..6], host_mac().0);
    assert_eq!(checked(&sent[1]), nd_class(nd(135, 0, (ours, host), host, Some(mac))));
    assert_eq!(sent[2][..6], ALL_NODES_MAC.0);
    let all_nodes = "ff02::1".parse().unwrap();
    assert_eq!(checked(&sent[2]), nd_class(nd(136, 0xa0, (ours, all_nodes), ours, Some(mac))));
}

/// A paused owner wakes with requests in its queues, and an announcement to make; the site is another engine's by now.
#[test]
fn who_may_not_forward_tells_nobody_that_the_gateway_is_here() {
    let mut engine = Engine::new(Draft::new(1, 1));
    let gateways = [IpAddr::from(GATEWAY_V4), host_v6(1, 0xfe)];
    let lan = &mut engine.draft.interfaces[0];
    lan.addresses.extend([24, 64].iter().zip(gateways).map(|(length, ip)| IpNet::new(ip, *length).unwrap()));
    lan.gateway = gateways.to_vec();
    engine.publish();
    let (group, group_mac) = solicited_node(gateways[1]);
    let solicitation = nd(135, 0, (host_v6(1, 9), group), gateways[1], Some(host_mac()));
    let asked = [asks(host_v4(1, 9), gateways[0]), frame(group_mac, host_mac(), None, &solicitation)];
    let told = |engine: &mut Engine| {
        asked.iter().for_each(|request| engine.put(0, LAN, request));
        gateways.into_iter().for_each(|ip| engine.command(0, Command::Announce { interface: LAN_SIDE, ip }));
        engine.poll();
        engine.take(LAN).len()
    };
    engine.lease(engine.now().plus(Nanos::from_millis(50)));
    assert_eq!(told(&mut engine), 4);
    engine.wait(50);
    assert_eq!(told(&mut engine), 0, "without its lease");
    assert_eq!(
        engine.pass(LAN, &asks(host_v4(1, 9), host_v4(1, 1)), LAN).len(),
        1,
        "what is its own, it tells"
    );

    engine.lease(engine.now().plus(Nanos::from_millis(50)));
    assert_eq!(told(&mut engine), 4);
    engine.wait(5000);
    engine.lease(engine.now().plus(Nanos::from_millis(50)));
    assert_eq!(told(&mut engine), 0, "paused through a lapse, and control was faster: what waited is old");
}

/// Where an engine has no address of its own on a link it asks with the site's, and who is asked learns it.
#[test]
fn who_may_not_forward_asks_without_the_sites_address() {
    let mut engine = Engine::new(Draft::new(1, 1));
    let lan = &mut engine.draft.interfaces[0];
    lan.addresses = vec![IpNet::new(GATEWAY_V4.into(), 24).unwrap()];
    lan.gateway = vec![GATEWAY_V4.into()];
    engine.publish();
    let sender = |engine: &mut Engine| {
        engine.command(0, Command::Solicit { interface: LAN_SIDE, ip: host_v4(1, 9), unicast: None });
        engine.poll();
        <[u8; 4]>::try_from(&engine.take(LAN)[0][14 + 14..][..4]).unwrap()
    };
    engine.lease(engine.now().plus(Nanos::from_millis(50)));
    assert_eq!(sender(&mut engine), GATEWAY_V4.octets());
    engine.wait(50);
    assert_eq!(sender(&mut engine), [0; 4], "an ARP probe (RFC 5227 §1.1)");
}

#[test]
fn packets_wait_for_their_neighbour_and_leave_in_order() {
    let mut engine = Engine::new(Draft::new(1, 1));
    let known = std::mem::take(&mut engine.draft.neighbors);
    engine.publish();
    let packets: Vec<_> = (0..20).map(|flow| Ip::between(101, 1, false).udp(flow, 60)).collect();
    for packet in &packets {
        engine.put(0, LAN, &frame(engine_mac(1, 2), host_mac(), Some(100), packet));
    }
    engine.poll();
    assert!(engine.take(LAN).is_empty());
    let wanted = engine.events();
    assert!(wanted.iter().any(|event| matches!(event,
        Event::NeighborWanted { interface: LAN_SIDE, ip } if *ip == host_v4(1, 9))));
    assert_eq!(engine.counters().held.get(), HELD_MAX_EACH as u64);
    // The oldest made room.
    assert_eq!(engine.dropped(DropReason::NeighborUnresolved), 20 - HELD_MAX_EACH as u64);

    engine.draft.neighbors = known;
    engine.publish();
    engine.poll();
    let out: Vec<_> = engine.take(LAN).iter().map(|frame| checked(frame)).collect();
    let expected: Vec<_> = packets[20 - HELD_MAX_EACH..].iter().map(|packet| one_hop_less(packet)).collect();
    assert_eq!(out, expected);
    assert_eq!(engine.counters().held.get(), 0);
}

#[test]
fn a_silent_neighbour_is_reported_to_the_sender() {
    for v6 in [false, true] {
        let mut engine = Engine::new(Draft::new(1, 1));
        let packet = Ip::new(host(101, 9, v6), host(1, 66, v6)).udp(1, 60);
        let arriving = frame(engine_mac(1, 2), host_mac(), Some(100), &packet);
        assert!(engine.pass(LAN, &arriving, LAN).is_empty());
        engine.wait(2999);
        engine.poll();
        assert_eq!(engine.counters().held.get(), 1);
        engine.wait(1);
        engine.poll();
        let out = engine.take(LAN);
        assert_eq!(out.len(), 1, "{:?}", engine.drops());
        // By the way it came, from the address there (RFC 1812 §4.3.2.4).
        let error = checked(&out[0]);
        assert_eq!(addresses(&error), (host(101, 1, v6), host(101, 9, v6)));
        assert_eq!(payload(&error)[..2], if v6 { [1, 3] } else { [3, 1] });
        assert_eq!(payload(&error)[8..], one_hop_less(&packet)[..]);
        assert_eq!(engine.drops(), [("neighbor_unresolved", 1)].into());
    }
}

fn host(site: u8, n: u8, v6: bool) -> IpAddr {
    if v6 { host_v6(site, n) } else { host_v4(site, n) }
}

/// Behind a tunnel the sender is told through it, by the router's name address.
#[test]
fn a_silent_neighbour_is_reported_through_the_tunnel() {
    let (mut a, mut b) = pair(Encapsulation::Esp, false);
    let packet = Ip::new(host_v4(1, 9), host_v4(2, 66)).udp(1, 60);
    let wire = a.pass(LAN, &frame(engine_mac(1, 0), host_mac(), None, &packet), WAN);
    assert!(deliver(&mut b, &wire).is_empty());
    b.wait(3000);
    b.poll();
    let back = b.take(WAN);
    let out = deliver(&mut a, &back);
    assert_eq!(out.len(), 1, "{:?} {:?}", a.drops(), b.drops());
    assert_eq!(addresses(&checked(&out[0])), (host_v4(2, 2), host_v4(1, 9)));
    // Nobody is told of a neighbour that the engine's own packets seek.
    a.draft.neighbors.clear();
    a.publish();
    let echo = Ip::new(host_v4(1, 9), host_v4(1, 1)).echo(1, b"");
    assert!(a.pass(LAN, &frame(engine_mac(1, 0), host_mac(), None, &echo), LAN).is_empty());
    a.wait(3000);
    a.poll();
    assert!(a.take(LAN).is_empty());
    assert_eq!(a.drops(), [("neighbor_unresolved", 1)].into());
}

/// A scan fills half of the event ring at most: what control waits for still gets through.
#[test]
fn a_flood_of_strangers_leaves_room_for_what_matters() {
    let mut engine = Engine::new(Draft::new(1, 1));
    for n in 0..6000u16 {
        let [high, low] = n.to_be_bytes();
        let stranger =
            arp_body(1, (MacAddr([2, 7, 7, 7, high, low]), host_v4(1, 9)), (MacAddr::ZERO, host_v4(1, 3)));
        engine.put(0, LAN, &typed(MacAddr::BROADCAST, host_mac(), None, 0x0806, &stranger));
    }
    for _ in 0..6000 / 32 + 1 {
        engine.poll();
    }
    let events = engine.events().len();
    assert!((1000..=2048).contains(&events), "{events} events");
}
