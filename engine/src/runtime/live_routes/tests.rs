use super::*;
use dataplane::fib::synthetic::{Random, table_v4};
use std::collections::BTreeMap;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn via(n: u8) -> NextHop {
    let gateway = [192, 0, 2, n].into();
    NextHop::Via { interface: dataplane::id::InterfaceId(0), gateway }
}

fn seen(generation: u64, epoch: u64) -> Seen {
    Seen { generation: Generation(generation), epoch }
}

fn batch(routes: &[(&str, Option<NextHop>)]) -> Batch {
    let mut batch = Batch::default();
    for (prefix, next_hop) in routes {
        let place = next_hop.map(|next_hop| {
            batch.next_hops.push(next_hop);
            batch.next_hops.len() as u32 - 1
        });
        batch.changes.push((net(prefix), place));
    }
    batch
}

/// What a worker with these next hops sends where.
fn led(routes: &Routes, next_hops: &[NextHop], to: [u8; 4]) -> Option<NextHop> {
    routes.fib().lookup4(to.into()).map(|id| next_hops[id.index()])
}

#[test]
fn a_route_waits_for_its_next_hop_and_the_next_hop_for_its_routes() {
    let mut routes = Routes::new([(net("10.0.0.0/8"), via(1))]).unwrap();
    let first = routes.publish(Generation(1));
    assert_eq!(led(&routes, &first, [10, 2, 0, 1]), Some(via(1)));
    // Make: the new next hop is published and taken before a route leads to it.
    routes.enqueue(batch(&[("10.2.0.0/16", Some(via(2)))]));
    assert!(routes.next_hops_changed());
    assert_eq!(routes.tick(seen(1, 0)), 0, "nothing is published yet");
    let second = routes.publish(Generation(2));
    assert_eq!(routes.tick(seen(1, 0)), 0, "a worker has not taken it");
    assert_eq!(led(&routes, &first, [10, 2, 0, 1]), Some(via(1)));
    assert_eq!(routes.tick(seen(2, 0)), 1);
    assert_eq!(led(&routes, &second, [10, 2, 0, 1]), Some(via(2)));
    // A known next hop needs no other snapshot.
    routes.enqueue(batch(&[("10.3.0.0/16", Some(via(2))), ("10.2.0.0/16", None)]));
    assert!(!routes.next_hops_changed());
    assert_eq!(routes.tick(seen(2, 0)), 2);
    assert_eq!(led(&routes, &second, [10, 2, 0, 1]), Some(via(1)));
    // Break: without a route its entry serves again, but not before all workers have passed on.
    routes.enqueue(batch(&[("10.3.0.0/16", None)]));
    routes.tick(seen(2, 0));
    routes.enqueue(batch(&[("10.4.0.0/16", Some(via(3)))]));
    let third = routes.publish(Generation(3));
    assert_eq!(third[..second.len()], second[..], "a worker may still be on its way to via(2)");
    routes.tick(seen(3, 1000));
    routes.enqueue(batch(&[("10.5.0.0/16", Some(via(4)))]));
    let fourth = routes.publish(Generation(4));
    assert_eq!(fourth.len(), third.len(), "via(4) took the place of via(2)");
    routes.tick(seen(4, 1000));
    assert_eq!(led(&routes, &fourth, [10, 4, 0, 1]), Some(via(3)));
    assert_eq!(led(&routes, &fourth, [10, 5, 0, 1]), Some(via(4)));
    assert_eq!(routes.summary().next_hops, 3);
}

#[test]
fn a_large_batch_takes_many_short_ticks_and_all_of_it_arrives() {
    let mut routes = Routes::new([]).unwrap();
    let table = table_v4(50_000, 1);
    let mut random = Random(1);
    let next_hops: Vec<NextHop> = (1..=100).map(via).collect();
    let changes: Vec<_> = table.iter().map(|&prefix| (prefix, Some(random.below(100) as u32))).collect();
    let expected: BTreeMap<_, _> =
        changes.iter().map(|&(prefix, place)| (prefix, next_hops[place.unwrap() as usize])).collect();
    routes.enqueue(Batch { next_hops, changes });
    routes.publish(Generation(1));
    let (mut ticks, mut applied) = (0, 0);
    while routes.summary().pending > 0 {
        applied += routes.tick(seen(1, ticks));
        ticks += 1;
    }
    assert!(ticks > 5, "{ticks} ticks");
    assert_eq!(applied, table.len());
    assert_eq!(routes.iter(None).collect::<BTreeMap<_, _>>(), expected);
    let within = net("20.0.0.0/8");
    let inside = expected.iter().filter(|(prefix, _)| within.contains(*prefix)).count();
    assert_eq!(routes.iter(Some(within)).count(), inside);
    let (prefix, next_hop) = *expected.iter().map(|(p, n)| (*p, *n)).collect::<Vec<_>>().last().unwrap();
    assert!(routes.of(prefix.addr()).is_some_and(|(longest, _)| prefix.contains(&longest)));
    assert!(expected[&prefix] == next_hop && routes.of([240, 0, 0, 1].into()).is_none());
}

#[test]
fn what_finds_no_room_is_counted_and_holds_nothing_up() {
    let mut routes = Routes::new([]).unwrap();
    routes.writer = FibWriter::new(Capacity { lines_v4: 0, lines_v6: 0 });
    routes.enqueue(batch(&[("10.1.1.1/32", Some(via(1))), ("10.2.0.0/16", Some(via(1)))]));
    routes.publish(Generation(1));
    assert_eq!(routes.tick(seen(1, 0)), 2);
    let summary = routes.summary();
    assert_eq!((summary.refused, summary.pending, summary.usage.routes_v4), (1, 0, 1));
    assert!(matches!(summary.last_error, Some(FibError::Full { .. })));
    assert!(routes.of([10, 1, 1, 1].into()).is_none());
}
