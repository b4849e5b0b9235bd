//! Tunnels with shapers: what goes, what waits, in which order, and what is dropped.

use crate::support::everything::slow_shaper;
use crate::support::{Draft, Engine, Ip, LAN, WAN, engine_mac, frame, host_mac, key, payload};
use dataplane::drop_reason::DropReason;
use dataplane::id::{Nanos, TunnelId};
use dataplane::shaper::Rate;
use dataplane::snapshot::Encapsulation;

const EF: u8 = 0xb8;

/// Engines of two sites; the first one's tunnel is shaped as [`slow_shaper`] says: a byte a microsecond, 3000 at once.
fn shaped() -> Engine {
    let side = |engine: u8, far: u8| {
        let mut draft = Draft::new(engine, engine);
        let tunnel = draft.tunnel(Encapsulation::Esp, false, far);
        draft.group(far, &[(tunnel, 1)], &[tunnel]);
        draft.shapers = vec![(engine == 1).then(slow_shaper)];
        Engine::new(draft)
    };
    let (mut a, mut b) = (side(1, 2), side(2, 1));
    key(&mut a, &mut b, TunnelId(0), TunnelId(0), 0x1000);
    a.take(WAN);
    a
}

fn put(a: &mut Engine, flow: u16, class: u8) {
    let packet = Ip::between(1, 2, false).class(class).sized(flow, 1000);
    a.put(0, LAN, &frame(engine_mac(1, 0), host_mac(), None, &packet));
}

/// What left: the traffic class, and ESP's sequence number.
fn left(a: &mut Engine) -> Vec<(u8, u32)> {
    let sent = a.take(WAN);
    sent.iter()
        .map(|frame| (frame[15], u32::from_be_bytes(payload(&frame[14..])[4..8].try_into().unwrap())))
        .collect()
}

#[test]
fn a_burst_goes_the_rest_waits_its_turn_and_too_many_are_dropped() {
    let mut a = shaped();
    for (flow, class) in [0, 0, 0, 0, EF, 0, 0, EF, 0, 0].into_iter().enumerate() {
        put(&mut a, flow as u16, class);
    }
    a.poll();
    assert_eq!(left(&mut a), [(0, 1), (0, 2), (0, 3)], "the burst");
    assert_eq!((a.counters().held.get(), a.drops()), (6, [("shaped", 1)].into()));
    let counted = &a.counters().tunnel(0).shaper;
    assert_eq!((counted[0].waited.get(), counted[0].dropped.get()), (2, 0));
    assert_eq!((counted[1].waited.get(), counted[1].dropped.get()), (4, 1));
    // A packet a millisecond; the better class first, and numbered as it goes.
    let mut order = vec![];
    for _ in 0..6 {
        a.wait(1);
        a.poll();
        let out = left(&mut a);
        assert_eq!(out.len(), 1);
        order.extend(out);
    }
    assert_eq!(order, [(EF, 4), (EF, 5), (0, 6), (0, 7), (0, 8), (0, 9)]);
    assert_eq!(a.counters().held.get(), 0);
}

/// What waited is not sent under another's lease, and a new rate holds at once.
#[test]
fn a_lapsed_lease_ends_what_waits_and_rates_change() {
    let mut a = shaped();
    (0..6).for_each(|flow| put(&mut a, flow, 0));
    a.poll();
    assert_eq!((left(&mut a).len(), a.counters().held.get()), (3, 3));
    a.lease(Nanos(0));
    a.wait(10);
    a.poll();
    assert_eq!((left(&mut a).len(), a.dropped(DropReason::LeaseExpired)), (0, 3));
    a.lease(Nanos::MAX);
    let shaper = a.draft.shapers[0].clone().unwrap();
    shaper.bucket.set_rate(Rate { bits_per_second: 8_000_000_000, burst: 100_000 }, a.now());
    a.wait(1);
    (0..20).for_each(|flow| put(&mut a, flow, 0));
    a.poll();
    assert_eq!((left(&mut a).len(), a.counters().held.get()), (20, 0));
}
