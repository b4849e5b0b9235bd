//! Probes inside tunnels, and on the site link.

use crate::support::draft::{LINK, wan_v4};
use crate::support::{Draft, Engine, Ip, WAN, checked, engine_mac, frame, host_mac, host_v4, pair, payload};
use dataplane::drop_reason::DropReason;
use dataplane::id::{Nanos, PortId, TunnelId};
use dataplane::message::{Command, Event};
use dataplane::snapshot::Encapsulation;
use dataplane::wire::stamp;
use std::time::Duration;

const GRE: Encapsulation = Encapsulation::Gre { key: Some(5), sequence: true };

fn replies(engine: &mut Engine) -> Vec<(TunnelId, u32, u32, Nanos)> {
    let events = engine.events().into_iter();
    events
        .filter_map(|event| match event {
            Event::ProbeReply { tunnel, sequence, reflector_sequence, rtt } => {
                Some((tunnel, sequence, reflector_sequence, rtt))
            }
            _ => None,
        })
        .collect()
}

/// A probe there, its reflection back, each under way for `way`.
fn round(a: &mut Engine, b: &mut Engine, port: PortId, sequence: u32, way: Duration) {
    a.command(0, Command::Probe { tunnel: TunnelId(0), sequence });
    a.poll();
    let sent = a.take(port);
    assert_eq!(sent.len(), 1, "{:?}", a.drops());
    a.wait(way.as_millis() as u64);
    let back = b.pass(port, &sent[0], port);
    assert_eq!(back.len(), 1, "{:?}", b.drops());
    a.wait(way.as_millis() as u64);
    a.put(0, port, &back[0]);
    a.poll();
}

#[test]
fn probes_come_home_and_are_counted() {
    for encapsulation in [GRE, Encapsulation::Esp] {
        for outer_v6 in [false, true] {
            let (mut a, mut b) = pair(encapsulation, outer_v6);
            // The clocks of two engines have nothing in common.
            b.wait(77_777);
            // A tunnel that is down, and an engine without a lease, still probe and reflect.
            a.draft.tunnels[0].up = false;
            a.publish();
            b.lease(Nanos(0));
            for sequence in [10, 11, 17] {
                round(&mut a, &mut b, WAN, sequence, Duration::from_millis(2));
            }
            let rtt = Nanos::from_millis(4);
            let expected =
                [(10, 1), (11, 2), (17, 3)].map(|(sequence, count)| (TunnelId(0), sequence, count, rtt));
            assert_eq!(replies(&mut a), expected);
            assert_eq!(a.drops(), [("probe_consumed", 3)].into());
            assert_eq!(b.drops(), [("probe_consumed", 3)].into());
        }
    }
}

#[test]
fn probes_cross_the_site_link() {
    let side = |engine: u8, far: u8| {
        let mut draft = Draft::new(engine, 1);
        draft.tunnel(Encapsulation::Direct, false, far);
        Engine::new(draft)
    };
    let (mut active, mut standby) = (side(1, 3), side(3, 1));
    round(&mut active, &mut standby, LINK, 1, Duration::from_millis(1));
    assert_eq!(replies(&mut active), [(TunnelId(0), 1, 1, Nanos::from_millis(2))]);
}

#[test]
fn strangers_get_no_answer() {
    let (mut a, mut b) = pair(GRE, false);
    a.command(0, Command::Probe { tunnel: TunnelId(0), sequence: 1 });
    a.poll();
    let sent = a.take(WAN).remove(0);
    let probe = payload(&checked(&sent))[12..].to_vec();
    let body = &probe[28..];
    // In clear, as if from the far engine, and from a host of the far site inside the tunnel.
    let bare = Ip::new(wan_v4(1), wan_v4(2)).datagram(49_862, stamp::PORT, body);
    b.refuses(WAN, &frame(engine_mac(2, 1), engine_mac(1, 1), None, &bare), DropReason::NoListener);
    let inside = |src, sequence| {
        let packet = Ip::new(src, wan_v4(2)).datagram(49_862, stamp::PORT, body);
        let gre = [&[0x30, 0, 8, 0, 0, 0, 0, 5, 0, 0, 0, sequence][..], &packet].concat();
        frame(engine_mac(2, 1), engine_mac(1, 1), None, &Ip::new(wan_v4(1), wan_v4(2)).raw(47, &gre))
    };
    b.refuses(WAN, &inside(host_v4(1, 9), 8), DropReason::NoListener);
    b.refuses(WAN, &inside(wan_v4(3), 9), DropReason::Spoofed);
    // A reply nobody asked for, in clear.
    let reply = Ip::new(wan_v4(2), wan_v4(1)).datagram(stamp::PORT, 49_862, body);
    a.refuses(WAN, &frame(engine_mac(1, 1), host_mac(), None, &reply), DropReason::NoListener);
    // Corrupted on its way through a tunnel that protects nothing.
    let mut corrupt = sent.clone();
    let last = corrupt.len() - 1;
    corrupt[last] ^= 1;
    corrupt[14 + 20 + 11] = 10;
    b.refuses(WAN, &corrupt, DropReason::BadChecksum);
    assert!(replies(&mut a).is_empty());
}
