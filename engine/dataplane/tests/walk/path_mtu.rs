//! What routers on the way to a tunnel's far end say of its packets.

use crate::support::draft::{wan_v4, wan_v6};
use crate::support::{
    Engine, Ip, LAN, WAN, checked, deliver, engine_mac, frame, host_mac, host_v4, pair, payload,
};
use dataplane::drop_reason::DropReason;
use dataplane::id::TunnelId;
use dataplane::message::Event;
use dataplane::snapshot::Encapsulation;

const GRE: Encapsulation = Encapsulation::Gre { key: None, sequence: false };

fn wire(a: &mut Engine) -> Vec<u8> {
    let packet = Ip::between(1, 2, false).sized(1, 1400);
    checked(&a.pass(LAN, &frame(engine_mac(1, 0), host_mac(), None, &packet), WAN)[0])
}

fn learnt(engine: &mut Engine) -> Vec<(TunnelId, u16)> {
    let events = engine.events().into_iter();
    events
        .filter_map(|event| match event {
            Event::PathMtu { tunnel, mtu, .. } => Some((tunnel, mtu)),
            _ => None,
        })
        .collect()
}

/// A router 192.0.2.77 quotes the start of `about`.
fn says(mtu: u16, about: &[u8]) -> Vec<u8> {
    let v6 = about[0] >> 4 == 6;
    let message = match v6 {
        true => Ip::new(wan_v6(77), wan_v6(1)).icmp(2, 0, u32::from(mtu).to_be_bytes(), &about[..200]),
        false => Ip::new(wan_v4(77), wan_v4(1)).icmp(3, 4, u32::from(mtu).to_be_bytes(), &about[..28]),
    };
    frame(engine_mac(1, 1), engine_mac(9, 9), None, &message)
}

#[test]
fn a_router_on_the_way_is_believed() {
    for encapsulation in [GRE, Encapsulation::Esp] {
        for outer_v6 in [false, true] {
            let (mut a, _) = pair(encapsulation, outer_v6);
            let sent = wire(&mut a);
            a.refuses(WAN, &says(1300, &sent), DropReason::IcmpConsumed);
            assert_eq!(learnt(&mut a), [(TunnelId(0), 1300)]);
        }
    }
    // An old router names none: the next plateau below the packet (RFC 1191 §7.1).
    let (mut a, _) = pair(GRE, false);
    let sent = wire(&mut a);
    a.refuses(WAN, &says(0, &sent), DropReason::IcmpConsumed);
    assert_eq!(learnt(&mut a), [(TunnelId(0), 1006)]);
}

#[test]
fn forgeries_are_not() {
    for outer_v6 in [false, true] {
        let (mut a, _) = pair(Encapsulation::Esp, outer_v6);
        let sent = wire(&mut a);
        let header = if outer_v6 { 40 } else { 20 };
        let bent = |at: usize| {
            let mut quoted = sent.clone();
            quoted[at] ^= 1;
            says(1300, &quoted)
        };
        let (src_end, dst_end, protocol) = if outer_v6 { (23, 39, 6) } else { (15, 19, 9) };
        for at in [src_end, dst_end, protocol, header + 3] {
            a.refuses(WAN, &bent(at), DropReason::IcmpConsumed);
            assert!(learnt(&mut a).is_empty(), "bent at {at}");
        }
        if outer_v6 {
            // Below the least MTU of IPv6 (RFC 8201 §4).
            a.put(0, WAN, &says(1279, &sent));
            a.poll();
            assert!(learnt(&mut a).is_empty());
        }
        let mut corrupt = says(1300, &sent);
        let last = corrupt.len() - 1;
        corrupt[last] ^= 1;
        a.put(0, WAN, &corrupt);
        a.poll();
        assert!(learnt(&mut a).is_empty());
    }
}

/// A host at the far site cannot talk a tunnel down from inside it.
#[test]
fn nor_is_a_host_behind_the_tunnel() {
    let (mut a, mut b) = pair(GRE, false);
    let quoted = wire(&mut a);
    let lie = Ip::new(host_v4(2, 9), wan_v4(1)).icmp(3, 4, 600u32.to_be_bytes(), &quoted[..28]);
    b.draft.routes.push((wan_v4(1).into(), dataplane::snapshot::NextHop::Group(dataplane::id::GroupId(0))));
    b.publish();
    let sent = b.pass(LAN, &frame(engine_mac(2, 0), host_mac(), None, &lie), WAN);
    assert_eq!(payload(&checked(&sent[0]))[..4], [0, 0, 8, 0], "it went into the tunnel");
    assert!(deliver(&mut a, &sent).is_empty());
    assert!(learnt(&mut a).is_empty());
    assert_eq!(a.drops(), [("icmp_consumed", 1)].into());
}
