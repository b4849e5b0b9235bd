//! Which tunnel a flow takes, what is handed over the site link, and who may come in by which way.

use crate::support::craft::one_hop_less;
use crate::support::draft::{LINK, net, wan_v4};
use crate::support::{
    Draft, Engine, Ip, LAN, WAN, checked, deliver, engine_mac, frame, host_mac, host_v4, pair, payload,
};
use dataplane::drop_reason::DropReason;
use dataplane::ecmp::MoveKind;
use dataplane::id::{GroupId, TunnelId};
use dataplane::snapshot::Encapsulation;
use dataplane::wire::flow::FlowKey;
use std::collections::BTreeSet;

const GRE: Encapsulation = Encapsulation::Gre { key: None, sequence: false };

fn arrives(packet: &[u8]) -> Vec<u8> {
    frame(engine_mac(1, 0), host_mac(), None, packet)
}

/// Engine 1 of site 1 with a tunnel to site 2 and the site link to its standby, engine 3.
fn active(own: u32, standby: u32) -> Engine {
    let mut draft = Draft::new(1, 1);
    let tunnel = draft.tunnel(GRE, false, 2);
    let link = draft.tunnel(Encapsulation::Direct, false, 3);
    draft.group(2, &[(tunnel, own), (link, standby)], &[tunnel]);
    Engine::new(draft)
}

fn standby(up: bool) -> Engine {
    let mut draft = Draft::new(3, 1);
    let tunnel = draft.tunnel(GRE, false, 2);
    let link = draft.tunnel(Encapsulation::Direct, false, 1);
    let own: &[TunnelId] = if up { &[tunnel] } else { &[] };
    draft.tunnels[0].up = up;
    // Its own traffic would go to the active; what was handed over may not.
    draft.group(2, &[(tunnel, 1), (link, 1000)], own);
    Engine::new(draft)
}

#[test]
fn flows_split_by_share_and_each_stays_on_its_tunnel() {
    let mut draft = Draft::new(1, 1);
    let (first, second) = (draft.tunnel(GRE, false, 2), draft.tunnel(GRE, false, 3));
    let group = draft.group(2, &[(first, 3), (second, 1)], &[first, second]);
    let mut engine = Engine::new(draft);
    let split = |engine: &mut Engine| -> Vec<bool> {
        let flows = 0..2000;
        flows
            .map(|flow| {
                let out = engine.pass(LAN, &arrives(&Ip::between(1, 2, false).udp(flow, 20)), WAN);
                engine.wait(1);
                checked(&out[0])[19] == 3
            })
            .collect()
    };
    let before = split(&mut engine);
    let share = before.iter().filter(|&&second| second).count();
    // 500 expected, σ = 19.
    assert!((400..600).contains(&share), "{share} of 2000 flows took the tunnel with a quarter");
    assert_eq!(split(&mut engine), before);

    // A shift by half of what is left: those that moved before stay, idle buckets move at once.
    engine.draft.reweigh(group, &[(first, 1), (second, 1)]);
    engine.publish();
    let after = split(&mut engine);
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert!((400..600).contains(&moved), "{moved} of 2000 flows moved");
    assert!(before.iter().zip(&after).all(|(before, after)| after >= before), "none moved back");
    let buckets: BTreeSet<_> = (0..2000u16)
        .filter(|&flow| before[usize::from(flow)] != after[usize::from(flow)])
        .map(|flow| FlowKey::of(&Ip::between(1, 2, false).udp(flow, 20)).unwrap().bucket(0))
        .collect();
    // Two flows may share a bucket, which is then silent for less than the round of two seconds.
    let counted = [MoveKind::Idle, MoveKind::Gap].map(|kind| engine.counters().moved(kind).get());
    assert_eq!(counted.iter().sum::<u64>(), buckets.len() as u64);
    assert!(counted[0] > counted[1]);

    // A dead tunnel's flows take the other at once, and with both dead the sender is told.
    engine.draft.tunnels[1].up = false;
    engine.publish();
    assert!(split(&mut engine).iter().all(|&second| !second));
    assert!(engine.counters().moved(MoveKind::Failed).get() > 0);
    engine.draft.tunnels[0].up = false;
    engine.publish();
    let told = engine.pass(LAN, &arrives(&Ip::between(1, 2, false).udp(1, 20)), LAN);
    assert_eq!(payload(&checked(&told[0]))[..2], [3, 0]);
    assert_eq!(engine.drops(), [("no_tunnel", 1)].into());
}

/// A busy flow stays until it pauses.
#[test]
fn a_busy_flow_moves_in_its_gap() {
    let mut engine = active(1, 0);
    let to = |own, link| [(TunnelId(0), own), (TunnelId(1), link)];
    let way = |engine: &mut Engine| {
        engine.put(0, LAN, &arrives(&Ip::between(1, 2, false).udp(1, 20)));
        engine.poll();
        (engine.take(WAN).len(), engine.take(LINK).len())
    };
    assert_eq!(way(&mut engine), (1, 0));
    engine.draft.reweigh(GroupId(0), &to(0, 1));
    engine.publish();
    assert_eq!(way(&mut engine), (1, 0), "no gap yet");
    engine.wait(2);
    assert_eq!(way(&mut engine), (0, 1), "2 ms of silence is more than the 0.5 ms gap");
    assert_eq!(engine.counters().moved(MoveKind::Gap).get(), 1);
    assert_eq!(engine.drops(), [].into());
}

#[test]
fn what_is_handed_over_keeps_its_ttl_and_never_comes_back() {
    let (mut active, mut standby) = (active(0, 1), standby(true));
    let (_, mut far) = pair(GRE, false);
    let tunnel = far.draft.tunnel(GRE, false, 3);
    far.draft.group(1, &[(TunnelId(0), 1), (tunnel, 1)], &[TunnelId(0), tunnel]);
    let mut far = Engine::new(std::mem::replace(&mut far.draft, Draft::new(2, 2)));
    for v6 in [false, true] {
        for flow in 0..50 {
            let packet = Ip::between(1, 2, v6).udp(flow, 60);
            let over = active.pass(LAN, &arrives(&packet), LINK);
            assert_eq!(over[0][..6], engine_mac(3, 3).0);
            assert_eq!(checked(&over[0]), packet, "the site link is no hop");
            let wire = standby.pass(LINK, &over[0], WAN);
            assert_eq!(wire.len(), 1, "{:?}", standby.drops());
            assert!(standby.take(LINK).is_empty());
            let out = deliver(&mut far, &wire);
            assert_eq!(checked(&out[0]), one_hop_less(&one_hop_less(&packet)), "{:?}", far.drops());
        }
    }
    assert_eq!(active.counters().tunnel(1).tx.packets.get(), 100);
    // The last hop is taken by the standby, which says so.
    let over = active.pass(LAN, &arrives(&Ip::between(1, 2, false).ttl(1).udp(1, 60)), LINK);
    let told = standby.pass(LINK, &over[0], LAN);
    assert_eq!(payload(&checked(&told[0]))[..2], [11, 0]);
    // One that has none left is not handed over.
    let told = active.pass(LAN, &arrives(&Ip::between(1, 2, false).ttl(0).udp(1, 60)), LAN);
    assert_eq!(payload(&checked(&told[0]))[..2], [11, 0]);
    assert!(active.take(LINK).is_empty());
}

#[test]
fn a_standby_without_a_tunnel_of_its_own_says_so() {
    let (mut active, mut standby) = (active(0, 1), standby(false));
    let over = active.pass(LAN, &arrives(&Ip::between(1, 2, false).udp(1, 60)), LINK);
    let told = standby.pass(LINK, &over[0], LAN);
    assert_eq!(payload(&checked(&told[0]))[..2], [3, 0]);
    assert!(standby.take(LINK).is_empty());
    assert_eq!(standby.drops(), [("no_tunnel", 1)].into());
}

/// What is remembered of a source ends with the routes that it was of.
#[test]
fn a_source_is_forged_from_the_update_on_that_routes_it_elsewhere() {
    let (mut a, _) = pair(GRE, false);
    let (src, dst) = (host_v4(1, 9), host_v4(2, 9));
    let clear = arrives(&Ip::new(src, dst).udp(1, 20));
    assert_eq!(a.pass(LAN, &clear, WAN).len(), 1);
    // Live: in the same table, between two polls.
    let mut routes = a.draft.live();
    a.publish();
    assert_eq!(a.pass(LAN, &clear, WAN).len(), 1);
    let group = routes.get(net(host_v4(2, 0), 16)).unwrap();
    routes.insert(net(src, 32), group).unwrap();
    routes.advance();
    a.refuses(LAN, &clear, DropReason::Spoofed);
    // With a new table, in which the route is gone.
    drop(a.draft.live());
    a.publish();
    assert_eq!(a.pass(LAN, &clear, WAN).len(), 1);
}

#[test]
fn forged_sources_are_refused_on_every_way_in() {
    let (mut a, mut b) = pair(GRE, false);
    let far = Ip::between(2, 1, false).udp(1, 20);
    // A remote site's address in clear, from LAN, WAN and the site link.
    a.refuses(LAN, &arrives(&far), DropReason::Spoofed);
    a.refuses(WAN, &frame(engine_mac(1, 1), engine_mac(2, 1), None, &far), DropReason::Spoofed);
    a.refuses(LINK, &frame(engine_mac(1, 3), engine_mac(3, 3), None, &far), DropReason::Spoofed);
    let inside = |src, dst| {
        let gre = [&[0, 0, 8, 0][..], &Ip::new(src, dst).udp(1, 20)].concat();
        frame(engine_mac(2, 1), engine_mac(1, 1), None, &Ip::new(wan_v4(1), wan_v4(2)).raw(47, &gre))
    };
    // Our own site's, another network's, nobody's, out of the tunnel.
    for src in [host_v4(2, 9), host_v4(102, 9), wan_v4(3), "203.0.113.9".parse().unwrap()] {
        b.refuses(WAN, &inside(src, host_v4(2, 9)), DropReason::Spoofed);
    }
    b.refuses(WAN, &inside("169.254.1.1".parse().unwrap(), host_v4(2, 9)), DropReason::Spoofed);
    // Back into the group it came from: a loop.
    b.put(0, WAN, &inside(host_v4(1, 9), host_v4(1, 8)));
    b.poll();
    assert_eq!(b.drops().get("no_tunnel"), Some(&1));
    assert_eq!(b.take(WAN).len(), 1, "the sender is told, through that very tunnel");
    // A second tunnel header inside the first is not opened.
    let nested = [&[0, 0, 8, 0][..], &Ip::new(host_v4(1, 9), host_v4(2, 2)).raw(47, &far)].concat();
    let nested = Ip::new(wan_v4(1), wan_v4(2)).raw(47, &nested);
    b.refuses(WAN, &frame(engine_mac(2, 1), engine_mac(1, 1), None, &nested), DropReason::UnknownTunnel);
    assert_eq!(b.pass(WAN, &inside(host_v4(1, 9), host_v4(2, 9)), LAN).len(), 1);
}
