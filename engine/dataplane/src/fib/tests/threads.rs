//! Workers look up while the writer changes routes: no answer is one that no instant had.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// Readers beside the writer.
const READERS: usize = 2;

/// What addresses of each kind may answer: those inside a route that changes between two next hops, and those inside
/// one that never does, with changing routes around it, inside it and beside it.
fn allowed(n: usize, changing: bool, withdrawn: bool) -> [u32; 3] {
    let stable = 1 + (n % 7) as u32;
    match (changing, withdrawn) {
        (false, _) => [stable; 3],
        (true, false) => [100 + stable, 200 + stable, 200 + stable],
        // Without its own route, the cover's.
        (true, true) => [100 + stable, 200 + stable, stable],
    }
}

/// One of 64 clusters: a stable cover, in it a stable more specific route, and routes that come, change and go.
fn cluster(n: usize) -> ([IpNet; 4], [IpNet; 9]) {
    let v4 =
        |low: u32, len| IpNet::new(Ipv4Addr::from_bits(0x1400_0000 + ((n as u32) << 18) + low).into(), len);
    let v6 = |low: u128, len| {
        IpNet::new(Ipv6Addr::from_bits(0x2a00_u128 << 112 | (n as u128) << 90 | low).into(), len)
    };
    let stable = [v4(0, 14), v4(0x3_3400, 25), v6(0, 38), v6(0x77 << 80, 56)].map(Result::unwrap);
    let changing = [
        v4(0x3_3500, 24),
        v4(0x3_3540, 28),
        v4(0x1_0000, 19),
        v4(0x2_0101, 32),
        v4(0x2_0102, 31),
        v6(0x78 << 80, 48),
        v6(0x79 << 80 | 5, 128),
        v6(0x79 << 80 | 6, 127),
        v6(0x40 << 80, 44),
    ]
    .map(Result::unwrap);
    (stable, changing)
}

#[test]
fn readers_never_see_what_no_instant_had() {
    let mut writer = FibWriter::new(Capacity { lines_v4: 1 << 16, lines_v6: 1 << 16 });
    let (mut asked, mut answers, mut routes) = (vec![], vec![], vec![]);
    for n in 0..64 {
        let (stable, changing) = cluster(n);
        for prefix in stable {
            writer.insert(prefix, NextHopId(allowed(n, false, false)[0])).unwrap();
        }
        // In the stable routes and not in the changing ones: the stable answer.
        for prefix in stable {
            let last = edges(prefix)[1];
            asked.push(last);
            answers.push(allowed(n, false, false));
        }
        for (k, prefix) in changing.into_iter().enumerate() {
            writer.insert(prefix, NextHopId(allowed(n, true, false)[0])).unwrap();
            let nested = changing.iter().any(|other| *other != prefix && other.contains(&edges(prefix)[1]));
            if !nested {
                asked.push(edges(prefix)[1]);
                answers.push(allowed(n, true, k % 2 == 1));
            }
            routes.push((n, prefix, k % 2 == 1));
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let seen: Vec<_> = (0..READERS).map(|_| Arc::new(AtomicU64::new(0))).collect();
    let readers: Vec<_> = seen
        .iter()
        .map(|seen| {
            let (fib, stop, seen) = (writer.fib().clone(), stop.clone(), seen.clone());
            let (asked, answers) = (asked.clone(), answers.clone());
            thread::spawn(move || read(&fib, &stop, &seen, &asked, &answers))
        })
        .collect();
    let mut random = Random(9);
    for step in 0..300_000 {
        let (n, prefix, withdrawn) = routes[random.below(routes.len())];
        let stable = (1 + n % 7) as u32;
        let done = match random.below(3) {
            0 if withdrawn => writer.remove(prefix).map(drop),
            k => writer.insert(prefix, NextHopId((1 + k as u32 % 2) * 100 + stable)).map(drop),
        };
        assert!(matches!(done, Ok(()) | Err(FibError::Stalled { .. })), "{done:?}");
        if step % 50 == 0 {
            writer.advance();
            writer.reclaim(seen.iter().map(|seen| seen.load(Ordering::Acquire)).min().unwrap());
        }
    }
    stop.store(true, Ordering::Relaxed);
    let lookups: usize =
        readers.into_iter().map(|reader| reader.join().expect("every answer is right")).sum();
    assert!(lookups > 100_000, "{lookups} lookups beside the updates");
}

/// Looks up until it is told to stop; returns how many it did.
fn read(fib: &Fib, stop: &AtomicBool, seen: &AtomicU64, asked: &[IpAddr], answers: &[[u32; 3]]) -> usize {
    let mut lookups = 0;
    while !stop.load(Ordering::Relaxed) {
        for (asked, answers) in asked.chunks(32).zip(answers.chunks(32)) {
            seen.store(fib.epoch(), Ordering::Release);
            let (mut v4, mut v6, mut out) = ([0u32; 32], [0u128; 32], [NextHopId(0); 32]);
            for (i, ip) in asked.iter().enumerate() {
                match ip {
                    IpAddr::V4(ip) => v4[i] = ip.to_bits(),
                    IpAddr::V6(ip) => v6[i] = ip.to_bits(),
                }
            }
            let mut out6 = out;
            fib.lookup4_burst(&v4, &mut out);
            fib.lookup6_burst(&v6, &mut out6);
            for (i, ip) in asked.iter().enumerate() {
                let found = if ip.is_ipv4() { out[i] } else { out6[i] };
                assert!(answers[i].contains(&found.0), "{ip} → {found}, not one of {:?}", answers[i]);
            }
            lookups += asked.len();
        }
    }
    lookups
}

/// A short route changes only while a longer one hides the change: nobody may see the other next hop, though both are
/// read in the course of a lookup.
#[test]
fn a_short_route_is_not_seen_while_a_longer_one_hides_it() {
    let mut writer = FibWriter::new(Capacity::for_routes(8));
    let covers = [net("0.0.0.0/0"), net("::/0")];
    let longer = [net("20.0.0.0/9"), net("2a00::/20")];
    for cover in covers {
        writer.insert(cover, NextHopId(1)).unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let asked = [Ipv4Addr::new(20, 1, 2, 3).into(), Ipv6Addr::from_bits(0x2a00_u128 << 112 | 9).into()];
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (fib, stop) = (writer.fib().clone(), stop.clone());
            let seen = AtomicU64::new(0);
            thread::spawn(move || read(&fib, &stop, &seen, &asked.repeat(16), &[[1, 3, 3]; 32]))
        })
        .collect();
    for _ in 0..20_000 {
        for (cover, longer) in covers.into_iter().zip(longer) {
            writer.insert(longer, NextHopId(3)).unwrap();
            writer.insert(cover, NextHopId(2)).unwrap();
            writer.insert(cover, NextHopId(1)).unwrap();
            writer.remove(longer).unwrap();
        }
    }
    stop.store(true, Ordering::Relaxed);
    let lookups: usize =
        readers.into_iter().map(|reader| reader.join().expect("every answer is right")).sum();
    assert!(lookups > 1000, "{lookups} lookups beside the updates");
}
