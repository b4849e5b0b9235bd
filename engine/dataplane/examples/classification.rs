//! What classification costs: session lookups and insertions at size, 10,000 ACL rules. Prints nanoseconds, and
//! cycles at the TSC frequency given in GHz (default 2.6): the tenth percentile and the median of many short samples.

use arrayvec::ArrayVec;
use dataplane::acl::synthetic::{Random, rules, subject};
use dataplane::acl::{Acl, Action, Subject};
use dataplane::flow::{
    AnyTuple, HashKeys, NewSession, SessionConfig, SessionKey, SessionTable, Timeouts, Tuple, Upper, WhenFull,
};
use dataplane::id::Nanos;
use dataplane::packet::BURST;
use dataplane::wire::Protocol;
use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Instant;

const SAMPLES: usize = 4000;

fn main() {
    let ghz = std::env::args().nth(1).and_then(|ghz| ghz.parse().ok()).unwrap_or(2.6);
    println!("{:44} {:>9} {:>9} {:>9}", "operation", "ns p50", "cyc p10", "cyc p50");
    for (name, live, nat, v6) in [
        ("session hit, 1 k live, IPv4", 1_000, false, false),
        ("session hit, 4 M live, IPv4", 4_000_000, false, false),
        ("session hit, 4 M live, IPv4, NAT index", 4_000_000, true, false),
        ("session hit, 4 M live, IPv6", 4_000_000, false, true),
    ] {
        sessions(name, live, nat, v6, ghz);
    }
    for (name, many, hits) in [
        ("ACL, 100 rules, packets of rules", 100, true),
        ("ACL, 1,000 rules, packets of rules", 1000, true),
        ("ACL, 10,000 rules, packets of rules", 10_000, true),
        ("ACL, 10,000 rules, random packets", 10_000, false),
    ] {
        acl(name, many, hits, ghz);
    }
}

/// Times `burst`, which handles [`BURST`] packets, and prints what one of them costs.
fn measure(name: &str, ghz: f64, mut burst: impl FnMut()) {
    let mut samples: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..8 {
                burst();
            }
            began.elapsed().as_nanos() as f64 / (8 * BURST) as f64
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    let (p10, p50) = (samples[SAMPLES / 10], samples[SAMPLES / 2]);
    println!("{name:44} {p50:9.1} {:9.0} {:9.0}", p10 * ghz, p50 * ghz);
}

fn tuple(n: u32, v6: bool) -> AnyTuple {
    let (src_port, dst_port, protocol) = (1024 + (n % 60_000) as u16, 443, Protocol::UDP.0);
    if v6 {
        let src = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(n));
        let dst = Ipv6Addr::from_bits(0x2001_0db9 << 96 | u128::from(n / 3));
        return AnyTuple::V6(Tuple { src, dst, src_port, dst_port, protocol });
    }
    let (src, dst) = (Ipv4Addr::from_bits(0x0a00_0000 + n), Ipv4Addr::from_bits(0xac10_0000 + n / 3));
    AnyTuple::V4(Tuple { src, dst, src_port, dst_port, protocol })
}

fn sessions(name: &str, live: u32, nat: bool, v6: bool, ghz: f64) {
    let config =
        SessionConfig { capacity: live, nat, timeouts: Timeouts::default(), when_full: WhenFull::DropNew };
    let mut table = SessionTable::new(config, HashKeys::seeded(1), Nanos(0));
    let began = Instant::now();
    for n in 0..live {
        let new = NewSession {
            key: SessionKey::plain(tuple(n, v6)),
            upper: Upper::Other,
            generation: 1,
            rule: 0,
            input: 0,
        };
        table.insert(&new, Nanos(0), |_| ()).expect("room");
    }
    let insertion = began.elapsed();
    let mut random = Random::new(7);
    let mut hits = ArrayVec::new();
    measure(name, ghz, || {
        let tuples: ArrayVec<AnyTuple, BURST> = (0..BURST)
            .map(|at| {
                let tuple = tuple(random.below(live.into()) as u32, v6);
                if at % 2 == 0 { tuple } else { tuple.reversed() }
            })
            .collect();
        table.lookup_burst(&tuples, &mut hits);
        for hit in hits.iter().flatten() {
            table.pass(*hit, Upper::Other, Nanos(1_000_000_000).into(), 1);
        }
        assert!(hits.iter().all(Option::is_some));
    });
    measure("  of that, making the tuples", ghz, || {
        for at in 0..BURST {
            let tuple = tuple(random.below(live.into()) as u32, v6);
            black_box(if at % 2 == 0 { tuple } else { tuple.reversed() });
        }
    });
    measure("  miss", ghz, || {
        let tuples: ArrayVec<AnyTuple, BURST> =
            (0..BURST).map(|_| tuple(live + random.below(1 << 20) as u32, v6)).collect();
        table.lookup_burst(&tuples, &mut hits);
        assert!(hits.iter().all(Option::is_none));
    });
    println!(
        "  {:.1} M insertions/s, {:.1} bytes a session",
        f64::from(live) / insertion.as_secs_f64() / 1e6,
        table.bytes() as f64 / f64::from(live),
    );
}

fn acl(name: &str, many: usize, hits: bool, ghz: f64) {
    let rules = rules(1, many, true);
    let began = Instant::now();
    let acl = Acl::compile(&rules, Action::Deny).expect("compiles");
    let compiling = began.elapsed();
    let mut random = Random::new(3);
    let subjects: Vec<Subject> = (0..1 << 16)
        .map(|_| {
            let rule = &rules[random.below(many as u64) as usize];
            let mut one = subject(&mut random, rule);
            if !hits && let AnyTuple::V4(tuple) = &mut one.flow.tuple {
                let bits = random.bits();
                tuple.src = Ipv4Addr::from_bits(bits as u32);
                tuple.dst = Ipv4Addr::from_bits((bits >> 32) as u32);
            }
            one
        })
        .collect();
    let mut bursts = subjects.chunks(BURST).cycle();
    let mut verdicts = ArrayVec::new();
    let mut matched = 0;
    measure(name, ghz, || {
        acl.classify_burst(bursts.next().expect("a cycle"), &mut verdicts);
        matched += verdicts.iter().filter(|verdict| verdict.rule.is_some()).count();
    });
    println!(
        "  compiled in {:.0} ms, {:.1} MB; {:.0} % of the packets meet a rule",
        compiling.as_secs_f64() * 1e3,
        acl.bytes() as f64 / 1e6,
        100.0 * matched as f64 / (SAMPLES * 8 * BURST) as f64
    );
}
