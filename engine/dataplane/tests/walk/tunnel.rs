//! GRE and ESP, from host to host over two engines and a wire.

use crate::support::craft::one_hop_less;
use crate::support::draft::wan_v4;
use crate::support::{
    Draft, Engine, GATEWAY_V4, Ip, LAN, LINK, WAN, checked, deliver, engine_mac, frame, host_mac, key, pair,
    payload, through,
};
use dataplane::drop_reason::DropReason;
use dataplane::id::{Spi, TunnelId};
use dataplane::message::{Command, Event, Retired};
use dataplane::snapshot::{Encapsulation, NextHop};
use dataplane::wire::checksum;
use ipnet::IpNet;
use std::net::IpAddr;

const GRE: Encapsulation = Encapsulation::Gre { key: Some(42), sequence: true };
const PLAIN: Encapsulation = Encapsulation::Gre { key: None, sequence: false };
const ESP: Encapsulation = Encapsulation::Esp;

/// A host's packet as engine A puts it on the wire.
fn wire(a: &mut Engine, packet: &[u8]) -> Vec<u8> {
    let mut out = a.pass(LAN, &frame(engine_mac(1, 0), host_mac(), None, packet), WAN);
    assert_eq!(out.len(), 1, "{:?}", a.drops());
    out.remove(0)
}

#[test]
fn every_version_through_every_tunnel_over_every_version() {
    for encapsulation in [GRE, PLAIN, ESP] {
        for (outer_v6, inner_v6) in [(false, false), (false, true), (true, false), (true, true)] {
            let (mut a, mut b) = pair(encapsulation, outer_v6);
            for length in [0, 1, 2, 3, 100, 1300] {
                let packet = Ip::between(1, 2, inner_v6).ttl(17).udp(1, length);
                let (out, wire) = through(&mut a, &mut b, &packet);
                assert_eq!(out.len(), 1, "{:?} {:?}", a.drops(), b.drops());
                assert_eq!(checked(&out[0]), one_hop_less(&one_hop_less(&packet)));
                let outer = checked(&wire[0]);
                assert_eq!(outer[if outer_v6 { 6 } else { 9 }], if encapsulation == ESP { 50 } else { 47 });
                let back = Ip::between(2, 1, inner_v6).udp(1, length);
                let sent = b.pass(LAN, &frame(engine_mac(2, 0), host_mac(), None, &back), WAN);
                let home = deliver(&mut a, &sent);
                assert_eq!(checked(&home[0]), one_hop_less(&one_hop_less(&back)));
            }
            assert_eq!((a.counters().dropped_total(), b.counters().dropped_total()), (0, 0));
            assert_eq!(a.counters().tunnel(0).tx.packets.get(), 6);
            assert_eq!(b.counters().tunnel(0).rx.packets.get(), 6);
            assert_eq!(a.counters().tunnel(0).tx.bytes.get(), b.counters().tunnel(0).rx.bytes.get());
        }
    }
}

#[test]
fn gre_carries_its_key_and_counts() {
    let (mut a, mut b) = pair(GRE, false);
    let packet = Ip::between(1, 2, false).udp(1, 20);
    let frames: Vec<_> = (0..4).map(|_| wire(&mut a, &packet)).collect();
    for (n, frame) in frames.iter().enumerate() {
        let header = [0x30, 0, 8, 0, 0, 0, 0, 42, 0, 0, 0, n as u8];
        assert_eq!(payload(&checked(frame))[..12], header);
    }
    // A gap is no fault; what comes late or twice is (RFC 2890 §2.2).
    assert_eq!(deliver(&mut b, &frames[1..3]).len(), 2);
    b.refuses(WAN, &frames[0], DropReason::OutOfSequence);
    b.refuses(WAN, &frames[2], DropReason::OutOfSequence);
    assert_eq!(deliver(&mut b, &frames[3..]).len(), 1);

    let with = |at: usize, byte: u8| {
        let mut frame = frames[3].clone();
        frame[14 + 20 + at] = byte;
        frame
    };
    b.refuses(WAN, &with(7, 43), DropReason::UnknownTunnel);
    b.refuses(WAN, &with(1, 1), DropReason::BadEncapsulation);
    b.refuses(WAN, &with(0, 0x70), DropReason::BadEncapsulation);
    // Bridged frames, and an IPv4 packet said to be IPv6: neither belongs here.
    b.refuses(WAN, &with(2, 0x65), DropReason::BadEncapsulation);
    let mut lying = with(2, 0x86);
    lying[14 + 20 + 3] = 0xdd;
    b.refuses(WAN, &lying, DropReason::BadEncapsulation);
    // Without its sequence number.
    let bare = [&[0x20, 0, 8, 0, 0, 0, 0, 42][..], &packet].concat();
    let bare = Ip::new(wan_v4(1), wan_v4(2)).raw(47, &bare);
    let bare = frame(engine_mac(2, 1), engine_mac(1, 1), None, &bare);
    b.refuses(WAN, &bare, DropReason::BadEncapsulation);
}

/// RFC 2784 §2.1: a checksum is verified if present, though this engine sends none. And sequence numbers wrap.
#[test]
fn gre_from_others_is_understood() {
    let (_, mut b) = pair(PLAIN, false);
    let packet = Ip::between(1, 2, false).udp(1, 33);
    let mut gre = [&[0x80, 0, 8, 0, 0, 0, 0, 0][..], &packet].concat();
    let check = checksum::checksum(&gre);
    gre[4..6].copy_from_slice(&check.to_be_bytes());
    let arrives = |gre: &[u8]| {
        frame(engine_mac(2, 1), engine_mac(1, 1), None, &Ip::new(wan_v4(1), wan_v4(2)).raw(47, gre))
    };
    let out = b.pass(WAN, &arrives(&gre), LAN);
    assert_eq!(checked(&out[0]), one_hop_less(&packet));
    gre[40] ^= 1;
    b.refuses(WAN, &arrives(&gre), DropReason::BadEncapsulation);
    // From elsewhere: no such tunnel.
    let stranger = Ip::new(wan_v4(3), wan_v4(2)).raw(47, &[&[0, 0, 8, 0][..], &packet].concat());
    b.refuses(WAN, &frame(engine_mac(2, 1), engine_mac(3, 1), None, &stranger), DropReason::UnknownTunnel);

    let (_, mut b) = pair(GRE, false);
    for (number, passes) in
        [(0xffff_fffe_u32, true), (0xffff_ffff, true), (0, true), (0xffff_ffff, false), (0x7fff_ffff, true)]
    {
        let number = number.to_be_bytes();
        let gre = [&[0x30, 0, 8, 0, 0, 0, 0, 42][..], &number, &packet].concat();
        assert_eq!(b.pass(WAN, &arrives(&gre), LAN).len(), usize::from(passes), "{number:?}");
    }
}

#[test]
fn esp_refuses_what_is_replayed_forged_or_strange() {
    for outer_v6 in [false, true] {
        let header = 14 + if outer_v6 { 40 } else { 20 };
        let (mut a, mut b) = pair(ESP, outer_v6);
        let packet = Ip::between(1, 2, false).udp(1, 64);
        let frames: Vec<_> = (0..3).map(|_| wire(&mut a, &packet)).collect();
        assert!(!frames[0].windows(20).any(|part| packet.windows(20).any(|other| part == other)));
        // Late is fine, twice is not.
        assert_eq!(deliver(&mut b, &[frames[1].clone(), frames[0].clone()]).len(), 2);
        b.refuses(WAN, &frames[0], DropReason::Replayed);
        b.refuses(WAN, &frames[1], DropReason::Replayed);
        for at in [header + 7, header + 8, header + 16, header + 40, frames[2].len() - 1] {
            let mut forged = frames[2].clone();
            forged[at] ^= 1;
            b.refuses(
                WAN,
                &forged,
                // A sequence number bent into one seen before never reaches the cipher.
                if at == header + 7 { DropReason::Replayed } else { DropReason::Authentication },
            );
        }
        let mut strange = frames[2].clone();
        strange[header + 2] ^= 1;
        b.refuses(WAN, &strange, DropReason::UnknownSpi);
        let mut short = frames[2].clone();
        short.truncate(header + 20);
        if outer_v6 {
            short[18..20].copy_from_slice(&20u16.to_be_bytes());
            b.refuses(WAN, &short, DropReason::BadEncapsulation);
        }
        // Forgeries have not moved the window.
        assert_eq!(deliver(&mut b, &frames[2..]).len(), 1);
    }
}

/// RFC 4303 §3.4.1, §3.4.2: a fragment, and the right SPI between other endpoints.
#[test]
fn esp_refuses_other_endpoints_and_their_fragments() {
    let (mut a, mut b) = pair(ESP, false);
    let sealed = checked(&wire(&mut a, &Ip::between(1, 2, false).udp(1, 64)));
    let again = |src, edit: fn(&mut Vec<u8>)| {
        let mut packet = Ip::new(src, wan_v4(2)).raw(50, payload(&sealed));
        edit(&mut packet);
        packet[10..12].fill(0);
        let check = checksum::checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&check.to_be_bytes());
        frame(engine_mac(2, 1), engine_mac(1, 1), None, &packet)
    };
    // From where no tunnel ends, a fragment waits for no other.
    b.refuses(WAN, &again(wan_v4(3), |packet| packet[6] = 0x20), DropReason::FragmentedTunnel);
    b.refuses(WAN, &again(wan_v4(3), |packet| packet[7] = 2), DropReason::FragmentedTunnel);
    b.refuses(WAN, &again(wan_v4(3), |_| ()), DropReason::UnknownSpi);
    assert_eq!(b.pass(WAN, &again(wan_v4(1), |_| ()), LAN).len(), 1);
    // Without an SA there is no way out, and nothing leaves in clear.
    let (mut keyless, _) = pair(PLAIN, false);
    keyless.draft.tunnels[0].encapsulation = ESP;
    keyless.publish();
    let packet = Ip::between(1, 2, false).udp(1, 64);
    keyless.refuses(LAN, &frame(engine_mac(1, 0), host_mac(), None, &packet), DropReason::NoSa);
}

/// A new SA takes over, the old one still opens what is under way, and both are given back to be freed.
#[test]
fn esp_is_rekeyed_without_loss() {
    let (mut a, mut b) = pair(ESP, false);
    let packet = Ip::between(1, 2, true).udp(1, 64);
    let before = wire(&mut a, &packet);
    a.events();
    let tunnel = TunnelId(0);
    key(&mut a, &mut b, tunnel, tunnel, 0x3000);
    assert!(a.events().iter().any(
        |event| matches!(event, Event::Retired(Retired::Outbound(sa)) if sa.spi() == Spi(0x1000) && sa.sent() == 1)
    ));
    let after = wire(&mut a, &packet);
    assert_eq!(payload(&checked(&after))[..4], 0x3000u32.to_be_bytes());
    assert_eq!(deliver(&mut b, &[after, before.clone()]).len(), 2);
    b.events();
    b.command(0, Command::RemoveInbound(Spi(0x1000)));
    b.poll();
    assert!(matches!(b.events()[..], [Event::Retired(Retired::Inbound(_))]));
    b.refuses(WAN, &before, DropReason::UnknownSpi);
}

/// What is above the limit of an SA waits, in its order, and goes on when the limit allows it; a copy of it does not.
#[test]
fn packets_above_the_limit_of_their_sa_wait() {
    let (mut a, mut b) = pair(ESP, false);
    let spi = Spi(0x1000);
    let frames: Vec<_> =
        (1..=5u16).map(|n| wire(&mut a, &Ip::between(1, 2, false).udp(n, usize::from(n)))).collect();
    let limit = |b: &mut Engine, limit: u64| {
        b.events();
        b.command(0, Command::Limit(spi, limit));
        b.poll();
        let said = b.events().iter().find_map(|event| match event {
            Event::Limited(of, in_force) if *of == spi => Some(*in_force),
            _ => None,
        });
        (said.expect("it says what is in force"), b.take(LAN))
    };
    assert_eq!(limit(&mut b, 2).0, 2);
    assert_eq!(deliver(&mut b, &frames[..4]).len(), 2);
    assert_eq!(deliver(&mut b, &frames[3..4]).len(), 0);
    assert_eq!(b.counters().held.get(), 3);
    let (in_force, out) = limit(&mut b, 4);
    assert_eq!((in_force, out.len(), b.dropped(DropReason::Replayed)), (4, 2, 1));
    let lengths: Vec<_> = out.iter().map(|frame| payload(&checked(frame)).len() - 8).collect();
    assert_eq!(lengths, [3, 4], "in their order");
    b.refuses(WAN, &frames[3], DropReason::Replayed);
    // It never sinks below what was accepted, and what waits when its SA goes has nowhere to go.
    assert_eq!(limit(&mut b, 1).0, 4);
    assert_eq!(deliver(&mut b, &frames[4..]).len(), 0);
    b.command(0, Command::RemoveInbound(spi));
    b.poll();
    assert_eq!((b.dropped(DropReason::Unreserved), b.counters().held.get()), (1, 0));
}

/// SAs that another engine has just handed over: what comes and what is to leave waits for them, in its order, but not for ever.
#[test]
fn packets_wait_for_a_shared_sa_that_is_on_its_way() {
    let (mut a, mut b) = pair(ESP, false);
    let (spi, tunnel) = (Spi(0x1000), TunnelId(0));
    let frames: Vec<_> =
        (1..=3u16).map(|n| wire(&mut a, &Ip::between(1, 2, false).udp(n, usize::from(n)))).collect();
    let taken = |engine: &mut Engine, command| {
        engine.events();
        engine.command(0, command);
        engine.poll();
        engine.events().into_iter().find_map(|event| match event {
            Event::Retired(retired) => Some(retired),
            _ => None,
        })
    };
    let Some(Retired::Inbound(inbound)) = taken(&mut b, Command::RemoveInbound(spi)) else { panic!("no SA") };
    b.refuses(WAN, &frames[0], DropReason::UnknownSpi);
    b.command(0, Command::Share { spi, tunnel });
    assert_eq!(deliver(&mut b, &frames[..2]).len(), 0);
    assert_eq!(b.counters().held.get(), 2);
    taken(&mut b, Command::InstallInbound(inbound));
    let out: Vec<_> = b.take(LAN).iter().map(|frame| payload(&checked(frame)).len() - 8).collect();
    assert_eq!((out, b.counters().held.get()), (vec![1, 2], 0));
    assert_eq!(deliver(&mut b, &frames[2..]).len(), 1);

    let Some(Retired::Outbound(outbound)) = taken(&mut a, Command::RemoveOutbound(tunnel)) else {
        panic!("no SA")
    };
    a.command(0, Command::Share { spi: Spi(0x1001), tunnel });
    let plain = |n: u16| frame(engine_mac(1, 0), host_mac(), None, &Ip::between(1, 2, false).udp(n, 8));
    for n in 4..=5 {
        a.put(0, LAN, &plain(n));
        a.poll();
    }
    assert_eq!((a.take(WAN).len(), a.counters().held.get()), (0, 2));
    taken(&mut a, Command::InstallOutbound(tunnel, outbound));
    let out = a.take(WAN);
    let numbers: Vec<_> = out.iter().map(|frame| payload(&checked(frame))[4..8].to_vec()).collect();
    assert_eq!(numbers, [4u32, 5].map(|n| n.to_be_bytes().to_vec()));
    assert_eq!(deliver(&mut b, &out).len(), 2);

    taken(&mut a, Command::RemoveOutbound(tunnel));
    a.put(0, LAN, &plain(6));
    a.poll();
    a.wait(3_000);
    a.poll();
    assert_eq!((a.dropped(DropReason::NoSa), a.counters().held.get()), (1, 0));
}

/// The far end of a site's shared SA does not know yet that the gateway's address has gone to another engine: what still comes to the
/// last owner goes to the next one by the site link, and waits there even if that one does not know yet that it is.
#[test]
fn what_still_comes_to_the_last_owner_is_opened_by_the_next() {
    let shared = (Spi(0x1000), TunnelId(0));
    let gateway = IpAddr::from(GATEWAY_V4);
    let engine = |number: u8, beside: u8| {
        let mut draft = Draft::new(number, 1);
        let (tunnel, link) =
            (draft.tunnel(ESP, false, 2), draft.tunnel(Encapsulation::Direct, false, beside));
        draft.tunnels[0].local = gateway;
        draft.group(2, &[(tunnel, 1), (link, 0)], &[tunnel]);
        // Whoever owns it, its route leads here.
        draft.routes.push((IpNet::from(gateway), NextHop::Local));
        let mut engine = Engine::new(draft);
        engine.command(0, Command::Share { spi: shared.0, tunnel: shared.1 });
        engine.poll();
        engine
    };
    let mut far = Draft::new(2, 2);
    let tunnel = far.tunnel(ESP, false, 1);
    far.tunnels[0].remote = gateway;
    far.group(1, &[(tunnel, 1)], &[tunnel]);
    let (mut far, mut last, mut next) = (Engine::new(far), engine(1, 3), engine(3, 1));
    key(&mut far, &mut last, tunnel, shared.1, shared.0.0);
    last.events();
    last.command(0, Command::RemoveInbound(shared.0));
    last.poll();
    let inbound = last.events().into_iter().find_map(|event| match event {
        Event::Retired(Retired::Inbound(inbound)) => Some(inbound),
        _ => None,
    });

    let plain = |n: u16| frame(engine_mac(2, 0), host_mac(), None, &Ip::between(2, 1, false).udp(n, 8));
    let sealed: Vec<_> = (1..=3).flat_map(|n| far.pass(LAN, &plain(n), WAN)).collect();
    assert_eq!(sealed.len(), 3, "{:?}", far.drops());
    for sealed in &sealed {
        let handed_over = last.pass(WAN, sealed, LINK);
        assert_eq!(handed_over.len(), 1, "{:?}", last.drops());
        assert_eq!(handed_over[0][14..], sealed[14..], "as it came");
        assert!(next.pass(LINK, &handed_over[0], LAN).is_empty());
    }
    assert_eq!((next.counters().held.get(), next.counters().dropped_total()), (3, 0));
    next.command(0, Command::InstallInbound(inbound.expect("the SA")));
    next.poll();
    assert_eq!((next.take(LAN).len(), next.counters().held.get()), (3, 0), "{:?}", next.drops());

    // Not what is another's, nor what is for somebody else, nor without a link; and what was handed over never goes back.
    let of_others = |dst, spi: u32| {
        let esp = [&spi.to_be_bytes()[..], &[0; 60]].concat();
        frame(engine_mac(1, 1), engine_mac(2, 1), None, &Ip::new(wan_v4(2), dst).raw(50, &esp))
    };
    last.refuses(WAN, &of_others(gateway, 0x1001), DropReason::NoListener);
    assert_eq!(last.pass(WAN, &of_others(wan_v4(3), 0x1000), WAN).len(), 1, "transit");
    let link = frame(engine_mac(1, 3), engine_mac(3, 3), None, &sealed[0][14..]);
    assert!(last.pass(LINK, &link, LINK).is_empty() && last.counters().held.get() == 1);
    last.draft.tunnels[1].up = false;
    last.publish();
    last.refuses(WAN, &sealed[0], DropReason::NoListener);
}

/// A tunnel that is given up has nothing left to send by, and its SA goes back to be freed.
#[test]
fn a_tunnel_that_is_given_up_sends_nothing() {
    let (mut a, _b) = pair(ESP, false);
    let packet = Ip::between(1, 2, false).udp(1, 64);
    wire(&mut a, &packet);
    a.events();
    a.command(0, Command::RemoveOutbound(TunnelId(0)));
    a.poll();
    assert!(matches!(a.events()[..], [Event::Retired(Retired::Outbound(_))]));
    a.refuses(LAN, &frame(engine_mac(1, 0), host_mac(), None, &packet), DropReason::NoSa);
    a.command(0, Command::RemoveOutbound(TunnelId(9)));
    a.poll();
    assert!(a.events().is_empty(), "one that is not there");
}

/// RFC 6040: copied out in normal mode, combined when it comes off; DSCP copied out and left alone after.
#[test]
fn congestion_marks_cross_the_tunnel() {
    for encapsulation in [PLAIN, ESP] {
        for (outer_v6, inner_v6) in [(false, false), (true, true), (false, true), (true, false)] {
            let (mut a, mut b) = pair(encapsulation, outer_v6);
            for class in [0x00, 0xb8, 0xb9, 0xba, 0xbb] {
                let packet = Ip::between(1, 2, inner_v6).class(class).udp(1, 20);
                let mut sent = wire(&mut a, &packet);
                assert_eq!(traffic_class(&checked(&sent)), class, "copied out");
                let marked = set_class(&mut sent, class | 3);
                if class & 3 == 0 {
                    b.refuses(WAN, &marked, DropReason::CongestionLost);
                } else {
                    let out = deliver(&mut b, &[marked]);
                    assert_eq!(traffic_class(&checked(&out[0])), class | 3, "{:?}", b.drops());
                }
            }
            // A DSCP changed on the way is the underlay's affair.
            let packet = Ip::between(1, 2, inner_v6).class(0xba).udp(1, 20);
            let mut sent = wire(&mut a, &packet);
            let marked = set_class(&mut sent, 0x01);
            let out = deliver(&mut b, &[marked]);
            assert_eq!(traffic_class(&checked(&out[0])), 0xb9, "ECT(0) and ECT(1) outside: ECT(1)");
        }
    }
}

fn traffic_class(packet: &[u8]) -> u8 {
    if packet[0] >> 4 == 6 { packet[0] << 4 | packet[1] >> 4 } else { packet[1] }
}

/// The frame with its IP header's traffic class changed, by hand.
fn set_class(frame: &mut [u8], class: u8) -> Vec<u8> {
    let packet = &mut frame[14..];
    if packet[0] >> 4 == 6 {
        packet[0] = 0x60 | class >> 4;
        packet[1] = packet[1] & 0x0f | class << 4;
    } else {
        packet[1] = class;
        packet[10..12].fill(0);
        let check = checksum::checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&check.to_be_bytes());
    }
    frame.to_vec()
}
