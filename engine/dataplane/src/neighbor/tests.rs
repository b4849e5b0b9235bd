use super::*;
use crate::id::{InterfaceId, Nanos};
use crate::wire::MacAddr;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const LAN: InterfaceId = InterfaceId(1);
const ANSWER: Claim = Claim { solicited: true, overrides: true };
const GRATUITOUS: Claim = Claim { solicited: false, overrides: true };

fn ip(n: u16) -> IpAddr {
    if n.is_multiple_of(2) {
        Ipv4Addr::from_bits(0x0a00_0000 + u32::from(n)).into()
    } else {
        Ipv6Addr::from_bits(n.into()).into()
    }
}

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

fn s(seconds: u64) -> Nanos {
    Nanos::from_millis(seconds * 1000)
}

fn ask(unicast: Option<MacAddr>) -> Vec<Solicit> {
    vec![Solicit { interface: LAN, ip: ip(1), unicast }]
}

/// Ticks at `now`: whether adjacencies changed, and what is asked.
fn tick(table: &mut NeighborTable, now: Nanos) -> (bool, Vec<Solicit>) {
    let mut solicit = vec![];
    (table.tick(now, &mut solicit), solicit)
}

/// A table that resolved neighbour 1 at second 0.
fn resolved() -> NeighborTable {
    let mut table = NeighborTable::new(NeighborConfig::default());
    table.wanted(LAN, ip(1), s(0));
    assert!(table.seen(LAN, ip(1), mac(1), ANSWER, s(0)));
    table
}

#[test]
fn nobody_answers() {
    let mut table = NeighborTable::new(NeighborConfig::default());
    assert_eq!(table.wanted(LAN, ip(1), s(0)), Some(ask(None)[0]));
    assert_eq!(table.wanted(LAN, ip(1), s(0)), None, "one question at a time");
    assert_eq!(tick(&mut table, Nanos::from_millis(999)), (false, vec![]));
    assert_eq!(tick(&mut table, s(1)), (false, ask(None)));
    assert_eq!(table.due(), Some(s(2)));
    assert_eq!(tick(&mut table, s(2)), (false, ask(None)));
    assert_eq!(tick(&mut table, s(3)), (false, vec![]));
    assert!(table.is_empty());
    assert_eq!(table.wanted(LAN, ip(1), s(4)), Some(ask(None)[0]), "a new packet asks anew");
}

#[test]
fn a_neighbour_lives_is_probed_and_dies() {
    let mut table = resolved();
    assert_eq!(tick(&mut table, s(30)), (false, vec![]), "stale, and still usable");
    assert_eq!(tick(&mut table, s(35)), (false, ask(Some(mac(1)))));
    assert!(!table.seen(LAN, ip(1), mac(1), ANSWER, s(35)), "nothing new to publish");
    assert_eq!(tick(&mut table, s(64)), (false, vec![]));
    for (second, asks) in [(65, 0), (70, 1), (71, 1), (72, 1)] {
        let (dirty, solicit) = tick(&mut table, s(second));
        assert_eq!((dirty, solicit.len()), (false, asks), "second {second}");
        assert_eq!(table.export().get(LAN, ip(1)), Some(mac(1)));
    }
    assert_eq!(tick(&mut table, s(73)), (true, vec![]));
    assert!(table.export().is_empty());
}

/// RFC 4861 §7.2.5 and appendix C, line by line.
#[test]
fn claims_of_another_mac_address() {
    let weak = Claim { solicited: true, overrides: false };
    let mut table = resolved();
    assert!(!table.seen(LAN, ip(1), mac(2), weak, s(1)), "without override the old address stays");
    assert_eq!(tick(&mut table, s(6)), (false, ask(Some(mac(1)))), "but is probed soon");

    let mut table = resolved();
    assert!(table.seen(LAN, ip(1), mac(2), GRATUITOUS, s(1)), "a takeover is believed at once");
    assert_eq!(tick(&mut table, s(6)), (false, ask(Some(mac(2)))), "and confirmed soon");

    let mut table = resolved();
    assert!(!table.seen(LAN, ip(1), mac(1), GRATUITOUS, s(29)), "the same again confirms nothing");
    assert_eq!(tick(&mut table, s(30)).1, []);
    assert_eq!(tick(&mut table, s(35)).1, ask(Some(mac(1))));

    let mut table = NeighborTable::new(NeighborConfig::default());
    table.wanted(LAN, ip(1), s(0));
    assert!(table.seen(LAN, ip(1), mac(1), Claim { solicited: false, overrides: false }, s(0)));
    assert_eq!(tick(&mut table, s(5)), (false, ask(Some(mac(1)))), "learnt unsolicited: stale");
}

#[test]
fn nothing_is_learnt_that_nobody_asked_for() {
    let mut table = NeighborTable::new(NeighborConfig::default());
    for claim in [ANSWER, GRATUITOUS] {
        assert!(!table.seen(LAN, ip(1), mac(1), claim, s(0)));
    }
    assert!(table.is_empty());
    table.wanted(LAN, ip(1), s(0));
    for bad in [MacAddr([0xff; 6]), MacAddr([0; 6]), MacAddr([1, 0, 0, 0, 0, 1])] {
        assert!(!table.seen(LAN, ip(1), bad, ANSWER, s(0)), "{bad:?} is no station's address");
    }
    assert!(!table.seen(InterfaceId(2), ip(1), mac(1), ANSWER, s(0)), "another interface");
    assert!(table.export().is_empty());
}

#[test]
fn a_scan_pushes_out_no_living_neighbour() {
    let mut table = NeighborTable::new(NeighborConfig { entries_max: 20, ..NeighborConfig::default() });
    for n in 0..10 {
        table.wanted(LAN, ip(n), s(0));
        table.seen(LAN, ip(n), mac(n as u8), ANSWER, s(0));
    }
    tick(&mut table, s(30)); // all stale now
    for n in 100..1000 {
        assert!(table.wanted(LAN, ip(n), s(31)).is_some());
    }
    assert_eq!((table.len(), table.export().len()), (20, 10));
    assert!(!tick(&mut table, s(31)).0);
}

#[test]
fn a_full_table_gives_up_the_least_used_unconfirmed() {
    let mut table = NeighborTable::new(NeighborConfig { entries_max: 3, ..NeighborConfig::default() });
    for n in 0..3 {
        table.wanted(LAN, ip(n), s(0));
        table.seen(LAN, ip(n), mac(1), ANSWER, s(n.into()));
    }
    assert_eq!(table.wanted(LAN, ip(9), s(3)), None, "all are reachable");
    tick(&mut table, s(31)); // 0 and 1 are stale
    table.wanted(LAN, ip(0), s(31));
    assert!(table.wanted(LAN, ip(9), s(31)).is_some());
    assert!(tick(&mut table, s(31)).0, "an adjacency went");
    let left = table.export();
    assert_eq!([0, 1, 2].map(|n| left.get(LAN, ip(n)).is_some()), [true, false, true]);
    assert!(table.remove_interface(LAN));
    assert!(table.is_empty() && !table.remove_interface(LAN));
}

proptest! {
    /// Whoever publishes only when told that adjacencies changed never publishes a stale table; the
    /// table keeps its bounds; no neighbour is asked more often than once a retry.
    #[test]
    fn changes_are_told_and_bounds_kept(events in prop::collection::vec((0..4u8, 0..12u16, 1..4u8, any::<bool>(), any::<bool>(), 0..4000u64), 1..400)) {
        let config = NeighborConfig { entries_max: 8, ..NeighborConfig::default() };
        let mut table = NeighborTable::new(config);
        let mut published = BTreeMap::new();
        let mut asked: BTreeMap<IpAddr, Nanos> = BTreeMap::new();
        let mut now = s(1);
        for (kind, n, m, solicited, overrides, wait) in events {
            now = now.plus(Nanos::from_millis(wait));
            let mut solicit = vec![];
            let mut dirty = match kind {
                0 => { solicit.extend(table.wanted(LAN, ip(n), now)); false }
                1 => table.seen(LAN, ip(n), mac(m), Claim { solicited, overrides }, now),
                _ => false,
            };
            let fresh = solicit.first().map(|s| s.ip);
            dirty |= table.tick(now, &mut solicit);
            for s in solicit {
                // An evicted one that is wanted again is a new one.
                let last = asked.insert(s.ip, now).filter(|_| fresh != Some(s.ip));
                prop_assert!(last.is_none_or(|last| now.since(last) >= config.retry));
            }
            let current: BTreeMap<_, _> = table.export().iter().map(|(_, ip, mac)| (ip, mac)).collect();
            prop_assert!(dirty || current == published);
            published = current;
            prop_assert!(table.len() <= config.entries_max);
        }
        // Left alone, every neighbour is asked for and given up.
        for second in 0..60 {
            tick(&mut table, now.plus(s(second)));
        }
        prop_assert!(table.is_empty() && table.due().is_none());
    }

    #[test]
    fn a_hold_queue_agrees_with_a_list(ops in prop::collection::vec((0..20u8, 0..40u16, 0..30u64), 1..1500)) {
        let patience = Nanos::from_millis(500);
        let mut queue = HoldQueue::new(patience);
        let mut list: Vec<(IpAddr, Nanos, usize)> = vec![];
        let mut now = s(1);
        for (id, (op, n, wait)) in ops.into_iter().enumerate() {
            now = now.plus(Nanos(wait * 100_000));
            match op {
                0 => {
                    let known: Neighbors = [(LAN, ip(n), mac(1)), (LAN, ip(n + 2), mac(1))].into_iter().collect();
                    let mut released = vec![];
                    queue.release(|interface, ip| known.get(interface, ip).is_some(), usize::MAX, |_, _, packet| released.push(packet));
                    let (due, rest) = list.into_iter().partition(|&(to, ..)| known.get(LAN, to).is_some());
                    list = rest;
                    prop_assert_eq!(released, ids(due));
                }
                1 => {
                    let gone: Vec<_> = std::iter::from_fn(|| queue.expired(now)).collect();
                    let (due, rest) = list.into_iter().partition(|&(_, since, _)| now.since(since) >= patience);
                    list = rest;
                    prop_assert_eq!(gone, ids(due));
                }
                _ => {
                    let to = ip(n);
                    let same: Vec<_> = (0..list.len()).filter(|&i| list[i].0 == to).collect();
                    let evict = if same.len() >= HELD_MAX_EACH { Some(same[0]) } else { (list.len() >= HELD_MAX).then_some(0) };
                    let evicted = evict.map(|i| list.remove(i).2);
                    list.push((to, now, id));
                    prop_assert_eq!(queue.push(LAN, to, id, now), evicted);
                }
            }
            prop_assert_eq!(queue.len(), list.len());
        }
    }
}

fn ids(list: Vec<(IpAddr, Nanos, usize)>) -> Vec<usize> {
    list.into_iter().map(|(.., id)| id).collect()
}

#[test]
fn a_hold_queue_is_bounded() {
    let mut queue = HoldQueue::new(s(1));
    assert_eq!((0..20).filter_map(|n| queue.push(LAN, ip(0), n, s(0))).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let evicted = (0..300u16).filter(|&n| queue.push(LAN, ip(n + 1), 100, s(0)).is_some()).count();
    assert_eq!((queue.len(), evicted), (HELD_MAX, 16 + 300 - HELD_MAX));
}
