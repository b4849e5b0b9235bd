//! Which flows and which packets are sampled.

use super::sip::{SipKey, siphash};
use crate::context::{Meta, Version};
use crate::flow::{AnyTuple, Flow, quoted};
use crate::wire::Protocol;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// 2^64.
const RANGE: f64 = 18_446_744_073_709_551_616.0;

/// A probability p as p·2^64: what a hash must stay below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Threshold(pub u64);

impl Threshold {
    /// Of a probability, 0–1.
    pub fn of(p: f64) -> Threshold {
        // A cast saturates: 1 becomes 2^64 − 1, and what is not a number 0.
        Threshold((p * RANGE) as u64)
    }

    /// The probability.
    pub fn probability(self) -> f64 {
        self.0 as f64 / RANGE
    }
}

/// The probability that workers sample by now. Control lowers and raises it while they run: of the flows that were
/// sampled at a higher one, those sampled at a lower one are a subset, so that flows leave and join whole.
#[derive(Clone, Debug, Default)]
pub struct Rate(Arc<AtomicU64>);

impl Rate {
    /// From now on.
    pub fn set(&self, threshold: Threshold) {
        self.0.store(threshold.0, Ordering::Relaxed);
    }

    /// Now.
    #[inline]
    pub fn get(&self) -> Threshold {
        Threshold(self.0.load(Ordering::Relaxed))
    }
}

/// Chooses whole flows: those whose keyed hash of both ends and the epoch is below p·2^64, whichever way a packet goes.
/// All workers of an engine share key and epoch; a new epoch chooses anew.
#[derive(Clone, Copy)]
pub struct FlowSampler {
    key: SipKey,
    epoch: u64,
}

impl FlowSampler {
    /// With a key that nobody outside knows.
    pub const fn new(key: SipKey, epoch: u64) -> FlowSampler {
        FlowSampler { key, epoch }
    }

    /// The choice's number.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The hash of a flow, the same for its two directions.
    #[inline]
    pub fn hash(&self, flow: &AnyTuple) -> u64 {
        match flow {
            AnyTuple::V4(t) => {
                let end = |ip: Ipv4Addr, port: u16| u64::from(ip.to_bits()) << 16 | u64::from(port);
                let [low, high] = ordered(end(t.src, t.src_port), end(t.dst, t.dst_port));
                siphash(self.key, [low, high | u64::from(t.protocol) << 48, self.epoch])
            }
            AnyTuple::V6(t) => {
                let end = |ip: Ipv6Addr, port: u16| (ip.to_bits(), port);
                let [(a, a_port), (b, b_port)] = ordered(end(t.src, t.src_port), end(t.dst, t.dst_port));
                let ports = u64::from(a_port) << 16 | u64::from(b_port) | u64::from(t.protocol) << 48;
                let [a, b] = [a, b].map(|address| [(address >> 64) as u64, address as u64]);
                siphash(self.key, [a[0], a[1], b[0], b[1], ports, self.epoch])
            }
        }
    }

    /// Whether a flow is sampled.
    #[inline]
    pub fn takes(&self, flow: &AnyTuple, threshold: Threshold) -> bool {
        self.hash(flow) < threshold.0
    }
}

#[inline]
fn ordered<T: Ord>(a: T, b: T) -> [T; 2] {
    if a <= b { [a, b] } else { [b, a] }
}

/// The flow that a packet belongs to, with what the walk has found out of it. An ICMP error belongs to the flow it is about.
/// A fragment belongs to what all fragments between its two ends with its protocol are, for only the first shows ports:
/// where sessions are kept, datagrams are joined before they are sampled, and it does not come to that.
#[inline]
pub fn flow_of(packet: &[u8], meta: &Meta) -> Option<AnyTuple> {
    let (upper, shown) = (usize::from(meta.upper), !meta.fragment);
    let flow = match meta.version {
        Version::V4 => Flow::ipv4(packet, meta.protocol, upper, shown)?,
        Version::V6 => Flow::ipv6(packet, meta.protocol, upper, shown)?,
    };
    if matches!(meta.protocol, Protocol::ICMP | Protocol::ICMPV6) && shown {
        return Some(about(packet, meta).unwrap_or(flow.tuple));
    }
    Some(flow.tuple)
}

/// The flow that an ICMP error quotes a packet of (RFC 792, RFC 4443 §3).
#[inline(never)]
fn about(packet: &[u8], meta: &Meta) -> Option<AnyTuple> {
    let message = packet.get(usize::from(meta.upper)..)?;
    let is_error = match (meta.version, message.first()?) {
        (Version::V4, kind) => matches!(kind, 3 | 11 | 12),
        (Version::V6, kind) => (1..=4).contains(kind),
    };
    quoted(message.get(8..)?).filter(|_| is_error)
}

/// Chooses packets one by one, each with probability p whatever the others are: the number left out between two is drawn from
/// the geometric distribution (RFC 5475 §5.2.2.1, uniform probabilistic sampling; Vitter 1987), so that a packet costs a
/// decrement.
#[derive(Clone, Debug)]
pub struct PacketSampler {
    left: u64,
    threshold: Threshold,
    /// 1 / ln(1 − p).
    scale: f64,
    random: u64,
}

impl PacketSampler {
    /// Different workers have different seeds.
    pub fn new(seed: u64, threshold: Threshold) -> PacketSampler {
        let mut new = PacketSampler { left: u64::MAX, threshold: Threshold(0), scale: 0.0, random: seed };
        new.adopt(threshold);
        new
    }

    /// From now on with another probability; what was drawn by the one before is drawn anew (the distribution has no
    /// memory).
    #[inline]
    pub fn adopt(&mut self, threshold: Threshold) {
        if threshold != self.threshold {
            self.threshold = threshold;
            self.scale = (-threshold.probability()).ln_1p().recip();
            self.left = self.draw();
        }
    }

    /// Whether the next packet is sampled.
    #[inline]
    pub fn takes(&mut self) -> bool {
        if self.left > 0 {
            self.left -= 1;
            return false;
        }
        self.left = self.draw();
        true
    }

    fn draw(&mut self) -> u64 {
        if self.threshold.0 == 0 {
            return u64::MAX;
        }
        // SplitMix64 (Steele, Lea and Flood 2014); 53 of its bits, never 0.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let uniform = ((z ^ z >> 31) >> 11) as f64 / (1u64 << 53) as f64;
        ((1.0 - uniform).ln() * self.scale) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Tuple;

    fn sampler() -> FlowSampler {
        FlowSampler::new(SipKey([1, 2]), 3)
    }

    fn flows(v6: bool) -> impl Iterator<Item = AnyTuple> {
        (0..100_000u32).map(move |n| {
            let (src_port, dst_port, protocol) = (n as u16, 443, 6);
            let tuple = Tuple {
                src: Ipv4Addr::from_bits(0x0a00_0000 + n / 7),
                dst: Ipv4Addr::from_bits(0x0a01_0000 + n % 100),
                src_port,
                dst_port,
                protocol,
            };
            let six = |ip: Ipv4Addr| ip.to_ipv6_mapped();
            match v6 {
                false => AnyTuple::V4(tuple),
                true => AnyTuple::V6(Tuple {
                    src: six(tuple.src),
                    dst: six(tuple.dst),
                    src_port,
                    dst_port,
                    protocol,
                }),
            }
        })
    }

    #[test]
    fn both_directions_share_a_hash_and_p_of_the_flows_are_taken() {
        for v6 in [false, true] {
            for p in [0.01, 0.05] {
                let threshold = Threshold::of(p);
                let taken = flows(v6).filter(|flow| sampler().takes(flow, threshold)).count() as f64;
                // Five standard deviations of a binomial count.
                assert!(
                    (taken - 1e5 * p).abs() < 5.0 * (1e5 * p * (1.0 - p)).sqrt(),
                    "{taken} of 1e5 at {p}"
                );
            }
            assert!(flows(v6).all(|flow| sampler().hash(&flow) == sampler().hash(&flow.reversed())));
        }
    }

    #[test]
    fn a_lower_rate_takes_a_subset_and_another_epoch_or_key_takes_others() {
        let (high, low) = (Threshold::of(0.05), Threshold::of(0.02));
        assert!(flows(false).all(|f| !sampler().takes(&f, low) || sampler().takes(&f, high)));
        for other in [FlowSampler::new(SipKey([1, 2]), 4), FlowSampler::new(SipKey([1, 3]), 3)] {
            let both = flows(false).filter(|f| sampler().takes(f, high) && other.takes(f, high)).count();
            assert!((150..350).contains(&both), "{both} of about 250 flows by both");
        }
    }

    #[test]
    fn gaps_between_sampled_packets_are_geometric() {
        for p in [0.01, 0.05] {
            let mut sampler = PacketSampler::new(7, Threshold::of(p));
            let taken: Vec<u64> = (0..2_000_000).filter(|_| sampler.takes()).collect();
            let expected = 2e6 * p;
            assert!((taken.len() as f64 - expected).abs() < 5.0 * expected.sqrt(), "{} at {p}", taken.len());
            // P(gap > n) = (1 − p)^n: the median gap of packets left out is ln 2 / −ln(1 − p).
            let gaps = || taken.windows(2).map(|pair| pair[1] - pair[0] - 1);
            let median = (2f64.ln() / -(1.0 - p).ln()).floor() as u64;
            let above = gaps().filter(|gap| *gap >= median).count() as f64 / gaps().count() as f64;
            let exact = (1.0 - p).powi(median as i32);
            assert!((above - exact).abs() < 5.0 * (0.25 / expected).sqrt(), "{above} for {exact}");
        }
        assert!((0..1000).all(|_| !PacketSampler::new(1, Threshold(0)).takes()));
    }
}
