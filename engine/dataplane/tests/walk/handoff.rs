//! An engine of several workers: an SA's window has one owner, whatever queue its packets come by.

use crate::support::craft::one_hop_less;
use crate::support::{Draft, Engine, Ip, LAN, Sizes, WAN, checked, engine_mac, frame, host_mac, key};
use dataplane::drop_reason::DropReason;
use dataplane::id::TunnelId;
use dataplane::snapshot::Encapsulation;

fn engines() -> (Engine, Engine) {
    let side = |engine: u8, far: u8| {
        let mut draft = Draft::new(engine, engine);
        let tunnel = draft.tunnel(Encapsulation::Esp, false, far);
        draft.group(far, &[(tunnel, 1)], &[tunnel]);
        Engine::sized(draft, &Sizes { workers: 2, ..Sizes::default() })
    };
    let (mut a, mut b) = (side(1, 2), side(2, 1));
    key(&mut a, &mut b, TunnelId(0), TunnelId(0), 0x1000);
    (a, b)
}

#[test]
fn a_packet_reaches_its_owner_and_passes_once() {
    let (mut a, mut b) = engines();
    let packet = Ip::between(1, 2, false).udp(1, 20);
    for sender in [0, 1] {
        for receiver in [0, 1] {
            a.put(sender, LAN, &frame(engine_mac(1, 0), host_mac(), None, &packet));
            a.poll();
            let wire = a.take(WAN).remove(0);
            assert_eq!(wire[14 + 20 + 3], sender as u8, "each worker has an SPI of its own");
            b.put(receiver, WAN, &wire);
            b.poll();
            b.poll();
            let out = b.take(LAN);
            assert_eq!(out.len(), 1, "{:?}", b.drops());
            assert_eq!(checked(&out[0]), one_hop_less(&one_hop_less(&packet)));
            // The same packet again, by either queue.
            for queue in [0, 1] {
                b.put(queue, WAN, &wire);
                b.poll();
                b.poll();
                assert!(b.take(LAN).is_empty());
            }
        }
    }
    assert_eq!(b.drops(), [("replayed", 8)].into());
    let handed = |engine: &Engine| {
        engine
            .control
            .iter()
            .map(|c| (c.counters.handed_out.get(), c.counters.handed_in.get()))
            .collect::<Vec<_>>()
    };
    assert_eq!(handed(&b), [(3, 3), (3, 3)]);
}

#[test]
fn a_full_ring_is_counted() {
    let (mut a, mut b) = engines();
    let packet = frame(engine_mac(1, 0), host_mac(), None, &Ip::between(1, 2, false).udp(1, 20));
    a.put(1, LAN, &packet);
    a.poll();
    let wire = a.take(WAN).remove(0);
    for _ in 0..1100 {
        b.put(0, WAN, &wire);
    }
    while !b.queues[0][WAN.index()].rx.lock().unwrap().is_empty() {
        b.workers[0].poll();
    }
    assert_eq!(b.dropped(DropReason::HandoffFull), 1100 - 1024);
    for _ in 0..1024 / 32 + 1 {
        b.poll();
    }
    assert_eq!(b.take(LAN).len(), 1);
    assert_eq!(b.dropped(DropReason::Replayed), 1023);
}
