use super::synthetic::{Random, rules, subject};
use super::*;
use crate::wire::Protocol;
use ipnet::{Ipv4Net, Ipv6Net};
use proptest::prelude::*;
use std::net::IpAddr;
use std::time::Instant;

/// What the words of a rule say, one after the other: the oracle.
fn matches(rule: &Rule, subject: &Subject) -> bool {
    let flow = &subject.flow;
    let addresses = match (rule.addresses, flow.tuple.addresses()) {
        (Addresses::Any, _) => true,
        (Addresses::V4 { src, dst }, (IpAddr::V4(from), IpAddr::V4(to))) => {
            src.contains(&from) && dst.contains(&to)
        }
        (Addresses::V6 { src, dst }, (IpAddr::V6(from), IpAddr::V6(to))) => {
            src.contains(&from) && dst.contains(&to)
        }
        _ => false,
    };
    let shown = flow.upper != Upper::Hidden;
    let is = |protocol| flow.tuple.protocol() == protocol;
    let between = |src: PortRange, dst: PortRange| {
        let (from, to) = flow.tuple.ports();
        (src.first()..=src.last()).contains(&from) && (dst.first()..=dst.last()).contains(&to)
    };
    let upper = match rule.upper {
        UpperMatch::Any => true,
        UpperMatch::Protocol(protocol) => is(protocol),
        UpperMatch::Ports { protocol, src, dst } => shown && is(protocol) && between(src, dst),
        UpperMatch::Tcp { src, dst, segments } => {
            let Upper::Tcp(flags) = flow.upper else { return false };
            let segments = match segments {
                Segments::All => true,
                Segments::Opening => flags & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN,
                Segments::Established => flags & (tcp::ACK | tcp::RST) != 0,
            };
            is(Protocol::TCP) && between(src, dst) && segments
        }
        UpperMatch::Icmp { protocol, kind, code } => match flow.upper {
            Upper::Query { kind: k, code: c }
            | Upper::Reply { kind: k, code: c }
            | Upper::Icmp { kind: k, code: c } => {
                is(protocol) && kind.is_none_or(|kind| kind == k) && code.is_none_or(|code| code == c)
            }
            _ => false,
        },
    };
    addresses && upper && rule.input.is_none_or(|input| input == subject.input)
}

fn linear(rules: &[Rule], default: Action, subject: &Subject) -> Verdict {
    match rules.iter().position(|rule| matches(rule, subject)) {
        Some(at) => Verdict { action: rules[at].action, rule: Some(at as u32) },
        None => Verdict { action: default, rule: None },
    }
}

fn check(rules: &[Rule], packets: usize, seed: u64) {
    let acl = Acl::compile(rules, Action::Deny).expect("compiles");
    let mut random = Random::new(seed);
    let mut matched = 0;
    let mut subjects: Vec<Subject> = Vec::new();
    for _ in 0..packets {
        let of = random.below(rules.len() as u64) as usize;
        let mut one = subject(&mut random, &rules[of]);
        if let Some(other) = subjects.last()
            && random.below(4) == 0
        {
            // Half of one packet and half of another: near misses.
            one.flow.tuple = mix(one.flow.tuple, other.flow.tuple);
        }
        subjects.push(one);
    }
    for subjects in subjects.chunks(BURST) {
        let mut verdicts = ArrayVec::new();
        acl.classify_burst(subjects, &mut verdicts);
        for (subject, verdict) in subjects.iter().zip(verdicts) {
            assert_eq!(verdict, linear(rules, Action::Deny, subject), "{subject:?}");
            assert_eq!(verdict, acl.classify(subject));
            matched += usize::from(verdict.rule.is_some());
        }
    }
    assert!(matched * 2 > packets, "{matched} of {packets} packets met a rule: this shows little");
}

fn mix(a: AnyTuple, b: AnyTuple) -> AnyTuple {
    match (a, b) {
        (AnyTuple::V4(a), AnyTuple::V4(b)) => AnyTuple::V4(crate::flow::Tuple { dst: b.dst, ..a }),
        (AnyTuple::V6(a), AnyTuple::V6(b)) => AnyTuple::V6(crate::flow::Tuple { src: b.src, ..a }),
        (a, _) => a,
    }
}

#[test]
fn ten_thousand_rules_in_bounds() {
    let rules = rules(1, 10_000, true);
    let began = Instant::now();
    let acl = Acl::compile(&rules, Action::Deny).expect("compiles");
    let took = began.elapsed();
    assert!(acl.bytes() < 64 << 20, "{} bytes", acl.bytes());
    assert!(took.as_secs() < 5, "{took:?}");
    check(&rules, 20_000, 2);
}

#[test]
fn rules_that_overlap_on_purpose() {
    // Everything from everywhere, apart by port only; all pairs of nested prefixes; all at once.
    let ports =
        |port| UpperMatch::Ports { protocol: Protocol::UDP, src: PortRange::ALL, dst: PortRange::one(port) };
    let rule = |addresses, upper| Rule { addresses, upper, input: None, action: Action::Permit };
    let by_port: Vec<Rule> = (0..5000).map(|port| rule(Addresses::Any, ports(port * 13))).collect();
    check(&by_port, 2000, 1);
    let nested = |length| Ipv4Net::new_assert([10, 1, 2, 3].into(), length).trunc();
    let by_prefix: Vec<Rule> = (0..=32)
        .rev()
        .flat_map(|src| (0..=32).rev().map(move |dst| Addresses::V4 { src: nested(src), dst: nested(dst) }))
        .map(|addresses| rule(addresses, UpperMatch::Any))
        .collect();
    check(&by_prefix, 2000, 2);
    let wide = |n: u16, length| Ipv6Net::new_assert([n, 0, 0, 0, 0, 0, 0, 1].into(), length).trunc();
    let mut all: Vec<Rule> = by_port.into_iter().step_by(7).collect();
    all.extend(by_prefix.iter().step_by(5));
    all.extend((0..800).map(|n| rule(Addresses::V6 { src: wide(n, 16), dst: wide(0, 0) }, ports(n))));
    check(&all, 3000, 3);
}

#[test]
fn bounds_are_kept() {
    let any = Rule { addresses: Addresses::Any, upper: UpperMatch::Any, input: None, action: Action::Permit };
    assert_eq!(Acl::compile(&vec![any; 65_536], Action::Deny).err(), Some(AclError::TooMany(65_536)));
    let acl = Acl::compile(&[], Action::Deny).expect("compiles");
    let subject = subject(&mut Random::new(1), &any);
    assert_eq!(acl.classify(&subject), Verdict { action: Action::Deny, rule: None });
}

fn net4() -> impl Strategy<Value = Ipv4Net> {
    // Few addresses, so that prefixes nest and meet.
    (any::<u32>(), 0..=32_u8)
        .prop_map(|(bits, length)| Ipv4Net::new_assert((bits & 0x8181_0181).into(), length).trunc())
}

fn range() -> impl Strategy<Value = PortRange> {
    prop_oneof![
        Just(PortRange::ALL),
        (0..4_u16).prop_map(|port| PortRange::one(port * 21_845)),
        any::<[u16; 2]>().prop_map(|[a, b]| PortRange::new(a.min(b), a.max(b)).expect("in order")),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let wide = |net: Ipv4Net| {
        Ipv6Net::new_assert(std::net::Ipv6Addr::from_bits(u128::from(net.network().to_bits()) << 64), {
            32 + net.prefix_len() * 3
        })
        .trunc()
    };
    let addresses = prop_oneof![
        1 => Just(Addresses::Any),
        6 => (net4(), net4()).prop_map(|(src, dst)| Addresses::V4 { src, dst }),
        3 => (net4(), net4()).prop_map(move |(src, dst)| Addresses::V6 { src: wide(src), dst: wide(dst) }),
    ];
    let segments = prop::sample::select(vec![Segments::All, Segments::Opening, Segments::Established]);
    let protocol = prop::sample::select(vec![Protocol::UDP, Protocol::TCP, Protocol::SCTP]);
    let upper = prop_oneof![
        Just(UpperMatch::Any),
        protocol.clone().prop_map(UpperMatch::Protocol),
        (protocol, range(), range()).prop_map(|(protocol, src, dst)| UpperMatch::Ports {
            protocol,
            src,
            dst
        }),
        (range(), range(), segments).prop_map(|(src, dst, segments)| UpperMatch::Tcp { src, dst, segments }),
        any::<(Option<u8>, Option<u8>)>().prop_map(|(kind, code)| UpperMatch::Icmp {
            protocol: Protocol::ICMP,
            kind,
            code
        }),
    ];
    let action =
        prop::sample::select(vec![Action::Permit, Action::PermitSession, Action::Deny, Action::Reject]);
    (addresses, upper, prop::option::weighted(0.2, 0..4_u16), action)
        .prop_map(|(addresses, upper, input, action)| Rule { addresses, upper, input, action })
}

proptest! {
    /// First match wins, as a linear scan finds it.
    #[test]
    fn as_the_words_say(rules in prop::collection::vec(rule(), 1..120), seed in any::<u64>()) {
        let acl = Acl::compile(&rules, Action::Permit).expect("compiles");
        let mut random = Random::new(seed);
        let mut last = None;
        for at in 0..200 {
            let mut one = subject(&mut random, &rules[at % rules.len()]);
            if let (Some(other), 0) = (last, at % 3) {
                one.flow.tuple = mix(one.flow.tuple, other);
            }
            last = Some(one.flow.tuple);
            prop_assert_eq!(acl.classify(&one), linear(&rules, Action::Permit, &one), "{:?}", one);
        }
    }
}
