//! Rules and packets made from a seed, for tests and measurements: nested prefixes, few distinct services, some
//! wildcards, in the proportions of ClassBench's access-list seeds (Taylor and Turner, 2007).

use super::Subject;
use super::rule::{Action, Addresses, PortRange, Rule, Segments, UpperMatch};
use crate::flow::{AnyTuple, Flow, Tuple, Upper, tcp};
use crate::wire::Protocol;
use ipnet::{Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Random numbers that follow from a seed (SplitMix64).
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub const fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Any number.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `end`, which is not 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        ((self.bits() as u128 * end as u128) >> 64) as u64
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// Ports that services listen on.
const SERVICES: [u16; 20] =
    [20, 21, 22, 25, 53, 80, 110, 123, 143, 161, 179, 389, 443, 445, 514, 993, 1433, 1521, 3306, 8080];

/// `many` rules: about a twentieth about IPv6 if `v6`, the rest about IPv4; none that matches everything.
pub fn rules(seed: u64, many: usize, v6: bool) -> Vec<Rule> {
    let mut random = Random::new(seed);
    let [srcs, dsts] = [10, 172].map(|first| prefixes(&mut random, many / 3 + 2, first));
    (0..many)
        .map(|_| {
            let upper = upper(&mut random, v6);
            let protocol6 = matches!(upper, UpperMatch::Icmp { protocol: Protocol::ICMPV6, .. });
            let (src, dst) = match random.below(100) {
                0..8 => (Ipv4Net::default(), random.pick(&dsts)),
                8..13 => (random.pick(&srcs), Ipv4Net::default()),
                // Any to any only for one service.
                13 if matches!(upper, UpperMatch::Tcp { .. }) => (Ipv4Net::default(), Ipv4Net::default()),
                _ => (random.pick(&srcs), random.pick(&dsts)),
            };
            let addresses = if v6 && (protocol6 || random.percent(5)) {
                Addresses::V6 { src: wider(src), dst: wider(dst) }
            } else {
                Addresses::V4 { src, dst }
            };
            let action = random.pick(&[Action::Permit, Action::Permit, Action::PermitSession, Action::Deny]);
            Rule { addresses, upper, input: random.percent(3).then_some(random.below(4) as u16), action }
        })
        .collect()
}

/// Nested prefixes: sites of /16, networks of /24 in them, hosts in those.
fn prefixes(random: &mut Random, many: usize, first: u8) -> Vec<Ipv4Net> {
    let sites = (many / 64 + 1) as u64;
    let net = |bits: u32, length| Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), length).trunc();
    (0..many)
        .map(|_| {
            let site = u32::from(first) << 24 | (random.below(sites) as u32 % 256) << 16;
            let network = site | (random.below(256) as u32) << 8;
            match random.below(100) {
                0..3 => net(site, 16),
                3..8 => net(network, 20 + random.below(4) as u8),
                8..45 => net(network, 24),
                45..65 => net(network | random.below(256) as u32, 25 + random.below(6) as u8),
                _ => net(network | random.below(256) as u32, 32),
            }
        })
        .collect()
}

/// An IPv6 prefix of the same shape.
fn wider(net: Ipv4Net) -> Ipv6Net {
    let bits = 0x2001_0db8 << 96 | u128::from(net.network().to_bits()) << 64;
    let length = if net.prefix_len() == 0 { 0 } else { 32 + net.prefix_len() };
    Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), length).trunc()
}

fn upper(random: &mut Random, v6: bool) -> UpperMatch {
    let ports = |random: &mut Random| match random.below(100) {
        0..60 => PortRange::one(random.pick(&SERVICES)),
        60..70 => PortRange::new(1024, u16::MAX).unwrap_or(PortRange::ALL),
        70..85 => {
            let first = random.below(60_000) as u16;
            PortRange::new(first, first + random.below(2000) as u16).unwrap_or(PortRange::ALL)
        }
        _ => PortRange::ALL,
    };
    let src = if random.percent(92) { PortRange::ALL } else { ports(random) };
    match random.below(100) {
        0..58 => {
            let segments =
                random.pick(&[Segments::All, Segments::All, Segments::Opening, Segments::Established]);
            UpperMatch::Tcp { src, dst: ports(random), segments }
        }
        58..84 => UpperMatch::Ports { protocol: Protocol::UDP, src, dst: ports(random) },
        84..88 => {
            let protocol = if v6 && random.percent(50) { Protocol::ICMPV6 } else { Protocol::ICMP };
            UpperMatch::Icmp { protocol, kind: Some(random.pick(&[0, 3, 8, 11, 128])), code: None }
        }
        88..92 => UpperMatch::Protocol(random.pick(&[Protocol::TCP, Protocol::GRE, Protocol::ESP])),
        _ => UpperMatch::Any,
    }
}

/// A packet that `rule` is about; rules before it may match it, too.
pub fn subject(random: &mut Random, rule: &Rule) -> Subject {
    let port = |random: &mut Random, range: PortRange| {
        range.first() + random.below(u64::from(range.last() - range.first()) + 1) as u16
    };
    let (protocol, ports, upper) = match rule.upper {
        UpperMatch::Any => (Protocol::UDP, (random.bits() as u16, random.bits() as u16), Upper::Other),
        UpperMatch::Protocol(protocol) => match protocol {
            Protocol::TCP => (protocol, (0, 0), Upper::Hidden),
            _ => (protocol, (0, 0), Upper::Other),
        },
        UpperMatch::Ports { protocol, src, dst } => {
            let upper = if protocol == Protocol::TCP { Upper::Tcp(tcp::ACK) } else { Upper::Other };
            (protocol, (port(random, src), port(random, dst)), upper)
        }
        UpperMatch::Tcp { src, dst, segments } => {
            let flags = match segments {
                Segments::All => random.pick(&[tcp::SYN, tcp::ACK, tcp::SYN | tcp::ACK, tcp::FIN]),
                Segments::Opening => tcp::SYN,
                Segments::Established => random.pick(&[tcp::ACK, tcp::RST]),
            };
            (Protocol::TCP, (port(random, src), port(random, dst)), Upper::Tcp(flags))
        }
        UpperMatch::Icmp { protocol, kind, code } => {
            let (kind, code) = (kind.unwrap_or(random.bits() as u8), code.unwrap_or(random.bits() as u8));
            (protocol, (0, 0), Upper::Icmp { kind, code })
        }
    };
    let input = rule.input.unwrap_or(random.below(4) as u16);
    let tuple = tuple(random, rule.addresses, protocol, ports);
    Subject { flow: Flow { tuple, upper }, input }
}

fn tuple(random: &mut Random, addresses: Addresses, protocol: Protocol, ports: (u16, u16)) -> AnyTuple {
    let ((src_port, dst_port), protocol) = (ports, protocol.0);
    match addresses {
        Addresses::V6 { src, dst } => {
            let mut inside = |net: Ipv6Net| {
                let host =
                    (u128::from(random.bits()) << 64 | u128::from(random.bits())) & net.hostmask().to_bits();
                Ipv6Addr::from_bits(net.network().to_bits() | host)
            };
            let (src, dst) = (inside(src), inside(dst));
            AnyTuple::V6(Tuple { src, dst, src_port, dst_port, protocol })
        }
        Addresses::V4 { .. } | Addresses::Any => {
            let (src, dst) = match addresses {
                Addresses::V4 { src, dst } => (src, dst),
                _ => (Ipv4Net::default(), Ipv4Net::default()),
            };
            let mut inside = |net: Ipv4Net| {
                let host = random.bits() as u32 & net.hostmask().to_bits();
                Ipv4Addr::from_bits(net.network().to_bits() | host)
            };
            let (src, dst) = (inside(src), inside(dst));
            AnyTuple::V4(Tuple { src, dst, src_port, dst_port, protocol })
        }
    }
}
