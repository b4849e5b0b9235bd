//! Against a model that counts tokens and keeps lists.

use super::*;
use crate::batch::Slot;
use crate::context::Meta;
use crate::frame::Frame;
use crate::id::{Nanos, TunnelId};
use crate::packet::{BURST, Packet};
use proptest::prelude::*;
use std::collections::VecDeque;

const TUNNEL: TunnelId = TunnelId(0);

/// A bucket as everybody draws it: tokens, in bits × 10^9.
struct Tokens {
    rate: u128,
    depth: u128,
    level: u128,
    at: u64,
}

impl Tokens {
    fn new(rate: Rate) -> Tokens {
        let depth = u128::from(rate.burst) * 8_000_000_000;
        Tokens { rate: rate.bits_per_second.into(), depth, level: depth, at: 0 }
    }

    fn has(&mut self, bytes: usize, now: u64) -> bool {
        self.level = (self.level + self.rate * u128::from(now - self.at)).min(self.depth);
        self.at = now;
        self.level >= bytes as u128 * 8_000_000_000
    }

    fn take(&mut self, bytes: usize) {
        self.level -= bytes as u128 * 8_000_000_000;
    }
}

/// Packets are numbers with a length.
struct Model {
    tunnel: Tokens,
    own: Vec<Option<Tokens>>,
    queues: Vec<VecDeque<(u32, usize)>>,
    most: usize,
}

impl Model {
    fn may_go(&mut self, class: usize, bytes: usize, now: u64) -> bool {
        let own = self.own[class].as_mut().is_none_or(|own| own.has(bytes, now));
        let may = own && self.tunnel.has(bytes, now);
        if may {
            self.tunnel.take(bytes);
            self.own[class].iter_mut().for_each(|own| own.take(bytes));
        }
        may
    }

    fn release(&mut self, now: u64) -> Vec<u32> {
        let mut gone = vec![];
        'next: while gone.len() < BURST {
            for class in 0..self.queues.len() {
                if let Some(&(number, bytes)) = self.queues[class].front()
                    && self.may_go(class, bytes, now)
                {
                    self.queues[class].pop_front();
                    gone.push(number);
                    continue 'next;
                }
            }
            break;
        }
        gone
    }

    /// `Some(true)`: goes; `None`: dropped.
    fn arrive(&mut self, number: u32, class: usize, bytes: usize, now: u64) -> Option<bool> {
        let behind = self.queues[..=class].iter().any(|queue| !queue.is_empty());
        if !behind && self.may_go(class, bytes, now) {
            return Some(true);
        }
        (self.queues[class].len() < self.most).then(|| self.queues[class].push_back((number, bytes)))?;
        Some(false)
    }
}

fn numbered(number: u32, bytes: usize) -> Slot<Frame> {
    let mut data = vec![0; bytes];
    data[..4].copy_from_slice(&number.to_be_bytes());
    Slot { packet: Frame::new(&data), meta: Meta::default() }
}

fn number(slot: &Slot<Frame>) -> u32 {
    u32::from_be_bytes(*slot.packet.data().first_chunk().unwrap())
}

/// EF and CS6; AF41 at no more than a part; the rest.
fn shaper(rate: Rate, part: Rate, queue: usize) -> Shaper {
    let bucket = |rate| Arc::new(Bucket::new(rate, Nanos(0)));
    let class = |part: Option<Rate>| Class { queue, bucket: part.map(bucket) };
    let classes = [(class(None), vec![46, 48]), (class(Some(part)), vec![34]), (class(None), vec![])];
    Shaper::new(bucket(rate), classes)
}

proptest! {
    /// Poll by poll the same packets go in the same order, the same are dropped, and none is lost or made.
    #[test]
    fn it_does_what_the_model_does(
        speed in 0..3usize, burst in 1500..20_000u64, queue in 0..40usize,
        polls in prop::collection::vec(
            (0..3_000_000u64, prop::collection::vec((0..4usize, 20..1500usize), 0..24)), 1..80),
    ) {
        let bits_per_second = [8_000_000, 80_000_000, 1_000_000_000][speed];
        let rate = Rate { bits_per_second, burst };
        let part = Rate { bits_per_second: bits_per_second / 4, burst: 1500 };
        let shaper = Arc::new(shaper(rate, part, queue));
        let mut shapers = Shapers::<Frame>::new(&[Some(shaper.clone())]);
        let mut model = Model {
            tunnel: Tokens::new(rate),
            own: vec![None, Some(Tokens::new(part)), None],
            queues: vec![VecDeque::new(); 3],
            most: queue,
        };
        let (mut now, mut next, mut gone_bytes) = (0, 0, 0);
        let (mut came, mut gone, mut dropped) = (0, 0, 0);
        for (wait, arrivals) in polls {
            now += wait;
            let mut out = vec![];
            shapers.release(Nanos(now), |slot| {
                gone_bytes += slot.packet.len() as u64;
                out.push(number(&slot));
            });
            prop_assert_eq!(&out, &model.release(now));
            gone += out.len();
            for (kind, bytes) in arrivals {
                let dscp = [46, 48, 34, 0][kind];
                let traffic_class = TrafficClass(dscp << 2 | 1);
                let class = shaper.class(traffic_class);
                prop_assert_eq!(class, [0, 0, 1, 2][kind]);
                next += 1;
                came += 1;
                let admission = shapers.admit(TUNNEL, traffic_class, bytes, Nanos(now));
                let expected = match model.arrive(next, class, bytes, now) {
                    Some(true) => Admission::Go,
                    Some(false) => Admission::Wait(class),
                    None => Admission::Drop(class),
                };
                prop_assert_eq!(admission, expected);
                match admission {
                    Admission::Go => (gone, gone_bytes) = (gone + 1, gone_bytes + bytes as u64),
                    Admission::Wait(class) => shapers.push(TUNNEL, class, numbered(next, bytes)),
                    Admission::Drop(_) => dropped += 1,
                }
            }
            prop_assert_eq!(came, gone + dropped + shapers.waiting());
            let allowed = u128::from(burst) * 8_000_000_000 + u128::from(now) * u128::from(bits_per_second);
            prop_assert!(u128::from(gone_bytes) * 8_000_000_000 <= allowed);
        }
    }
}

/// Several workers together get what one would, and a new rate holds from when it is set.
#[test]
fn a_bucket_is_shared_and_its_rate_changes() {
    let bucket = Bucket::new(Rate { bits_per_second: 8_000_000, burst: 3000 }, Nanos(0));
    let through = |from_ms: u64, to_ms: u64| {
        let drawn = (from_ms * 1000..to_ms * 1000)
            .flat_map(|us| [us, us])
            .filter(|us| bucket.draw(100, Nanos(us * 1000)));
        drawn.count() * 100
    };
    assert_eq!(through(0, 100), 103_000 - 100, "one byte a microsecond, and the burst");
    bucket.set_rate(Rate { bits_per_second: 80_000_000, burst: 3000 }, Nanos::from_millis(100));
    let after = through(100, 200);
    assert!((999_000..1_003_100).contains(&after), "{after}");
    bucket.set_rate(Rate { bits_per_second: 800_000, burst: 3000 }, Nanos::from_millis(200));
    let after = through(200, 300);
    assert!((9_000..13_100).contains(&after), "{after}");
}

/// Time that has come far, and a count that wraps.
#[test]
fn a_bucket_outlives_its_counter() {
    let end = Nanos(u64::MAX / 256 - 500);
    let bucket = Bucket::new(Rate { bits_per_second: 8_000_000_000, burst: 1000 }, end);
    assert!(bucket.draw(1000, end) && !bucket.draw(1, end));
    assert!(!bucket.draw(1000, end.plus(Nanos(999))) && bucket.draw(1000, end.plus(Nanos(1000))));
    assert!(!bucket.draw(1, end.plus(Nanos(1000))));
}
