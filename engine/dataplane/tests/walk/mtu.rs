//! What fits a tunnel, and what becomes of what does not.

use crate::support::craft::{addresses, one_hop_less};
use crate::support::{
    Engine, Ip, LAN, WAN, checked, deliver, engine_mac, frame, host_mac, host_v4, host_v6, pair, payload,
    through,
};
use dataplane::drop_reason::DropReason;
use dataplane::snapshot::Encapsulation;
use dataplane::wire::checksum;
use std::collections::BTreeMap;

const GRE: Encapsulation = Encapsulation::Gre { key: Some(1), sequence: false };
const ESP: Encapsulation = Encapsulation::Esp;

fn arrives(packet: &[u8]) -> Vec<u8> {
    frame(engine_mac(1, 0), host_mac(), None, packet)
}

fn mtu(engine: &Engine) -> usize {
    usize::from(engine.draft.tunnels[0].mtu)
}

#[test]
fn a_full_packet_passes_and_one_byte_more_is_told() {
    for encapsulation in [GRE, ESP] {
        for outer_v6 in [false, true] {
            let (mut a, mut b) = pair(encapsulation, outer_v6);
            for v6 in [false, true] {
                let fits = Ip::between(1, 2, v6).whole().sized(1, mtu(&a));
                let (out, wire) = through(&mut a, &mut b, &fits);
                assert_eq!(checked(&out[0]), one_hop_less(&one_hop_less(&fits)));
                let outer = checked(&wire[0]).len();
                assert!((1497..=1500).contains(&outer), "an outer packet of {outer} bytes");

                let over = Ip::between(1, 2, v6).whole().sized(1, mtu(&a) + 1);
                let told = a.pass(LAN, &arrives(&over), LAN);
                let error = checked(&told[0]);
                let (ours, host) =
                    if v6 { (host_v6(1, 1), host_v6(1, 9)) } else { (host_v4(1, 1), host_v4(1, 9)) };
                assert_eq!(addresses(&error), (ours, host));
                assert_eq!(payload(&error)[..2], if v6 { [2, 0] } else { [3, 4] });
                assert_eq!(payload(&error)[4..8], (mtu(&a) as u32).to_be_bytes());
            }
            assert_eq!(a.drops(), [("too_big", 2)].into());
            assert!(a.take(WAN).is_empty());
        }
    }
}

/// Puts fragments together as a host would; panics on overlap or a gap.
fn reassemble(fragments: &[Vec<u8>]) -> Vec<u8> {
    let mut parts = BTreeMap::new();
    let mut length = None;
    for packet in fragments {
        let bits = u16::from_be_bytes([packet[6], packet[7]]);
        let offset = usize::from(bits & 0x1fff) * 8;
        let body = payload(packet);
        assert!(bits & 0x2000 == 0 || body.len().is_multiple_of(8), "a multiple of 8 bytes");
        if bits & 0x2000 == 0 {
            assert!(length.replace(offset + body.len()).is_none(), "one last fragment");
        }
        assert!(parts.insert(offset, body.to_vec()).is_none());
    }
    let mut whole = Vec::new();
    for (offset, body) in parts {
        assert_eq!(offset, whole.len(), "neither gap nor overlap");
        whole.extend(body);
    }
    assert_eq!(Some(whole.len()), length);
    whole
}

#[test]
fn without_df_it_goes_in_fragments() {
    for encapsulation in [GRE, ESP] {
        let (mut a, mut b) = pair(encapsulation, false);
        for mtu in [1438u16, 600, 68] {
            (a.draft.tunnels[0].mtu, b.draft.tunnels[0].mtu) = (mtu, mtu);
            a.publish();
            for length in [usize::from(mtu) + 1, 1470, 1500] {
                let packet = Ip::between(1, 2, false).class(0xb8).sized(1, length);
                let (out, wire) = through(&mut a, &mut b, &packet);
                let fragments: Vec<_> = out.iter().map(|frame| checked(frame)).collect();
                assert!(fragments.iter().all(|fragment| fragment.len() <= usize::from(mtu)));
                assert!(wire.iter().all(|frame| frame.len() <= 1514));
                assert_eq!(reassemble(&fragments), payload(&packet));
                for fragment in &fragments {
                    assert_eq!(fragment[4..6], packet[4..6], "one identification");
                    assert_eq!((fragment[1], fragment[8]), (0xb8, 62));
                }
            }
        }
        assert_eq!(a.drops(), [("fragmented", 9)].into());
        assert_eq!(a.counters().tunnel(0).tx.packets.get(), b.counters().tunnel(0).rx.packets.get());
    }
}

/// A packet with IPv4 options, which etherparse does not build into a whole packet: `options` behind the header.
fn with_options(packet: &[u8], options: &[u8]) -> Vec<u8> {
    let mut out = [&packet[..20], options, &packet[20..]].concat();
    out[0] = 0x45 + (options.len() / 4) as u8;
    let length = out.len() as u16;
    out[2..4].copy_from_slice(&length.to_be_bytes());
    seal(&mut out);
    out
}

fn seal(packet: &mut [u8]) {
    let header = usize::from(packet[0] & 15) * 4;
    packet[10..12].fill(0);
    let check = checksum::checksum(&packet[..header]);
    packet[10..12].copy_from_slice(&check.to_be_bytes());
}

/// RFC 791 §3.1: the first fragment keeps all options, the others those with the copied flag.
#[test]
fn options_are_copied_by_their_rule() {
    let (mut a, mut b) = pair(GRE, false);
    // Router alert (copied), record route (not), end.
    let options = [0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0];
    let packet = with_options(&Ip::between(1, 2, false).sized(1, 1480), &options);
    a.draft.tunnels[0].mtu = 700;
    a.publish();
    let (out, _) = through(&mut a, &mut b, &packet);
    let fragments: Vec<_> = out.iter().map(|frame| checked(frame)).collect();
    assert_eq!(fragments.len(), 3);
    assert_eq!(fragments[0][20..32], options);
    for later in &fragments[1..] {
        assert_eq!(later[0], 0x46);
        assert_eq!(later[20..24], [0x94, 4, 0, 0]);
    }
    assert_eq!(reassemble(&fragments), payload(&packet));
}

/// A fragment may itself be too big; one that reaches beyond 65,535 bytes is an attack.
#[test]
fn fragments_of_fragments() {
    let (mut a, mut b) = pair(GRE, false);
    a.draft.tunnels[0].mtu = 600;
    a.publish();
    let at = |offset: u16, more: bool| {
        let mut packet = Ip::between(1, 2, false).sized(1, 1028);
        let bits = (offset / 8) | if more { 0x2000 } else { 0 };
        packet[6..8].copy_from_slice(&bits.to_be_bytes());
        seal(&mut packet);
        packet
    };
    let mut parts = Vec::new();
    for packet in [at(0, true), at(1008, false)] {
        parts.extend(through(&mut a, &mut b, &packet).0.iter().map(|frame| checked(frame)));
    }
    assert_eq!(parts.len(), 4);
    assert_eq!(reassemble(&parts), [payload(&at(0, true)), payload(&at(1008, false))].concat());
    a.refuses(LAN, &arrives(&at(65_528, false)), DropReason::BadIpHeader);
}

#[test]
fn the_mss_is_clamped_both_ways() {
    for encapsulation in [GRE, ESP] {
        let (mut a, mut b) = pair(encapsulation, false);
        for v6 in [false, true] {
            let limit = (mtu(&a) - if v6 { 60 } else { 40 }) as u16;
            for (announced, expected) in [(9000, limit), (limit + 1, limit), (limit, limit), (536, 536)] {
                // Out of A into the tunnel.
                let syn = Ip::between(1, 2, v6).syn(announced);
                let (out, _) = through(&mut a, &mut b, &syn);
                assert_eq!(mss(&checked(&out[0])), expected);
            }
            // Into B out of a tunnel whose other end did not clamp: B does.
            a.draft.groups[0].mss_clamp = false;
            a.publish();
            let (out, _) = through(&mut a, &mut b, &Ip::between(1, 2, v6).syn(9000));
            assert_eq!(mss(&checked(&out[0])), limit);
            a.draft.groups[0].mss_clamp = true;
            a.publish();
        }
    }
    // Not between plain interfaces, and not where it is turned off.
    let (mut a, mut b) = pair(GRE, false);
    let local = a.pass(LAN, &arrives(&Ip::between(1, 101, false).syn(9000)), LAN);
    assert_eq!(mss(&checked(&local[0])), 9000);
    for engine in [&mut a, &mut b] {
        engine.draft.groups[0].mss_clamp = false;
        engine.publish();
    }
    let wire = a.pass(LAN, &arrives(&Ip::between(1, 2, false).syn(9000)), WAN);
    assert_eq!(mss(&checked(&deliver(&mut b, &wire)[0])), 9000);
}

fn mss(packet: &[u8]) -> u16 {
    let tcp = payload(packet);
    assert_eq!(tcp[20..23], [1, 2, 4]);
    u16::from_be_bytes([tcp[23], tcp[24]])
}
