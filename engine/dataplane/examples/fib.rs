//! What a route lookup and a route update cost: tables like the internet's, destinations anywhere in them or hot
//! ones, and updates beside a worker that looks up. `cargo run --release --example fib`
//!
//! Cycles are those of the TSC. Best and median of many short samples: other tenants of the machine only ever add.

use dataplane::fib::synthetic::{Random, address_in, table_v4, table_v6};
use dataplane::fib::{Capacity, Fib, FibWriter};
use dataplane::id::NextHopId;
use ipnet::IpNet;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Next hops that routes lead to.
const NEXT_HOPS: usize = 512;
/// Destinations of one sample.
const SAMPLE: usize = 32 * 256;

fn main() {
    let ghz = tsc_ghz();
    println!("{ghz:.3} cycles a nanosecond");
    for (name, table) in [
        ("IPv4 1 route", vec!["0.0.0.0/0".parse().expect("a prefix")]),
        ("IPv4 1 M routes", table_v4(1_000_000, 1)),
        ("IPv6 1 route", vec!["::/0".parse().expect("a prefix")]),
        ("IPv6 100 k routes", table_v6(100_000, 1)),
        ("IPv6 200 k routes", table_v6(200_000, 1)),
    ] {
        let start = Instant::now();
        let mut writer = FibWriter::new(Capacity::default());
        load(&mut writer, &table);
        let usage = writer.usage();
        println!(
            "{name}: loaded in {:.2} s, {:.1} MiB besides the direct tables' {:.0} MiB",
            start.elapsed().as_secs_f64(),
            (usage.bytes - Fib::default().bytes()) as f64 / 1048576.0,
            FibWriter::new(Capacity { lines_v4: 0, lines_v6: 0 }).usage().bytes as f64 / 1048576.0,
        );
        let mut random = Random(7);
        let anywhere: Vec<u128> =
            (0..1 << 20).map(|_| address_in(table[random.below(table.len())], &mut random)).collect();
        let hot: Vec<u128> = (0..1 << 14).map(|_| anywhere[random.below(256)]).collect();
        for (kind, destinations) in [("random", &anywhere), ("256 hot", &hot)] {
            let [best, median] = lookups(writer.fib(), &table, destinations).map(|ns| ns * ghz);
            println!("  {kind}: {best:.1} cycles a lookup at best, {median:.1} in the median");
        }
        if table.len() > 1 {
            updates(&mut writer, &table, &anywhere, ghz);
        }
    }
}

fn tsc_ghz() -> f64 {
    // Twice the TSC's rate in MHz, as Linux has it for x86.
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("bogomips"));
    let value =
        line.and_then(|line| line.split(':').nth(1)).and_then(|value| value.trim().parse::<f64>().ok());
    value.map_or(1.0, |bogomips| bogomips / 2000.0)
}

fn load(writer: &mut FibWriter, table: &[IpNet]) {
    for (n, &prefix) in table.iter().enumerate() {
        writer.insert(prefix, NextHopId((n % NEXT_HOPS) as u32 + 1)).expect("it fits");
        let epoch = writer.advance();
        writer.reclaim(epoch);
    }
}

/// Nanoseconds of a lookup in bursts of 32: of the best sample and of the median one.
fn lookups(fib: &Fib, table: &[IpNet], destinations: &[u128]) -> [f64; 2] {
    let is_v4 = matches!(table[0], IpNet::V4(_));
    let v4: Vec<u32> = destinations.iter().map(|&bits| bits as u32).collect();
    let mut out = [NextHopId(0); 32];
    let mut samples = Vec::new();
    for round in 0..400 {
        let from = round * SAMPLE % destinations.len();
        let start = Instant::now();
        if is_v4 {
            for burst in v4[from..from + SAMPLE].chunks(32) {
                fib.lookup4_burst(burst, &mut out);
                black_box(&out);
            }
        } else {
            for burst in destinations[from..from + SAMPLE].chunks(32) {
                fib.lookup6_burst(burst, &mut out);
                black_box(&out);
            }
        }
        samples.push(start.elapsed().as_nanos() as f64 / SAMPLE as f64);
    }
    samples.sort_by(f64::total_cmp);
    [samples[0], samples[samples.len() / 2]]
}

/// Updates at full speed alone, then 100,000 a second beside a worker.
fn updates(writer: &mut FibWriter, table: &[IpNet], destinations: &[u128], ghz: f64) {
    let mut random = Random(11);
    let churn = |writer: &mut FibWriter, random: &mut Random, n: usize| {
        for _ in 0..n {
            let prefix = table[random.below(table.len())];
            let next_hop = NextHopId(random.below(NEXT_HOPS) as u32 + 1);
            // A third withdraws a route, or announces it again.
            if random.below(3) == 0 && writer.get(prefix).is_some() {
                writer.remove(prefix).expect("room");
            } else {
                writer.insert(prefix, next_hop).expect("room");
            }
        }
        writer.advance()
    };
    let start = Instant::now();
    for _ in 0..1000 {
        let epoch = churn(writer, &mut random, 200);
        writer.reclaim(epoch);
    }
    let each = start.elapsed().as_nanos() as f64 / 200_000.0;
    println!("  updates: {each:.0} ns each, {:.0} k a second", 1e6 / each);
    let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let quiet = beside(writer.fib().clone(), table, destinations, &stop, &seen, || {
        std::thread::sleep(Duration::from_secs(2));
    });
    let busy = beside(writer.fib().clone(), table, destinations, &stop, &seen, || {
        let start = Instant::now();
        for chunk in 1..=2000u32 {
            churn(writer, &mut random, 100);
            writer.reclaim(seen.load(Ordering::Acquire));
            std::thread::sleep(
                (start + chunk * Duration::from_millis(1)).saturating_duration_since(Instant::now()),
            );
        }
        println!("  100 k updates/s: took {:.2} of 2 s", start.elapsed().as_secs_f64());
    });
    println!(
        "  beside a worker, cycles a lookup (p10, median): quiet {:.1} {:.1}, during updates {:.1} {:.1}; {:?}",
        quiet[0] * ghz,
        quiet[1] * ghz,
        busy[0] * ghz,
        busy[1] * ghz,
        writer.usage()
    );
}

/// What a lookup of a worker costs while `control` runs: nanoseconds, 10th percentile and median.
fn beside(
    fib: Arc<Fib>,
    table: &[IpNet],
    destinations: &[u128],
    stop: &Arc<AtomicBool>,
    seen: &Arc<AtomicU64>,
    control: impl FnOnce(),
) -> [f64; 2] {
    stop.store(false, Ordering::Relaxed);
    let worker = {
        let (stop, seen, destinations) = (stop.clone(), seen.clone(), destinations.to_vec());
        let is_v4 = matches!(table[0], IpNet::V4(_));
        std::thread::spawn(move || {
            let v4: Vec<u32> = destinations.iter().map(|&bits| bits as u32).collect();
            let (mut samples, mut out) = (Vec::new(), [NextHopId(0); 32]);
            let mut from = 0;
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                for at in (from..from + 2048).step_by(32) {
                    seen.store(fib.epoch(), Ordering::Release);
                    if is_v4 {
                        fib.lookup4_burst(&v4[at..at + 32], &mut out);
                    } else {
                        fib.lookup6_burst(&destinations[at..at + 32], &mut out);
                    }
                    black_box(&out);
                }
                samples.push(start.elapsed().as_nanos() as f64 / 2048.0);
                from = (from + 2048) % destinations.len();
            }
            samples.sort_by(f64::total_cmp);
            [samples[samples.len() / 10], samples[samples.len() / 2]]
        })
    };
    control();
    stop.store(true, Ordering::Relaxed);
    worker.join().expect("the worker ends")
}
