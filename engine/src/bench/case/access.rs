//! What may pass: rules asked about each packet, or about the first packet of each session only.

use super::super::site::Side;
use super::super::traffic::{Flow, FlowLength};
use super::{Scenario, Way};
use dataplane::acl::synthetic::{self, Random};
use dataplane::acl::{Acl, Action, Addresses, PortRange, Rule, Segments, Subject, UpperMatch};
use dataplane::flow::AnyTuple;
use dataplane::wire::Protocol;
use std::net::IpAddr;

const SEED: u64 = 5;
/// Flows in the traffic: each hits a rule of its own.
const FLOWS: usize = 1024;
/// The sessions that there is room for.
pub const SESSIONS: u32 = 1 << 20;

/// Forwarding under `many` rules that permit (`stateful`: whole sessions).
pub fn rules(many: usize, stateful: bool) -> Scenario {
    let permit = if stateful { Action::PermitSession } else { Action::Permit };
    let rule = |rule: Rule| {
        let denies = matches!(rule.action, Action::Deny | Action::Reject);
        // The rig has one way in, and VPP's list belongs to it, too.
        Rule { input: None, action: if denies { Action::Deny } else { permit }, ..rule }
    };
    let rules: Vec<Rule> = synthetic::rules(SEED, many, false).into_iter().map(rule).collect();
    let acl = Acl::compile(&rules, Action::Deny).expect("the rules fit");
    let mut random = Random::new(SEED);
    let mut flows = Vec::with_capacity(FLOWS);
    while flows.len() < FLOWS {
        let about = rules[random.below(rules.len() as u64) as usize];
        let subject = Subject { input: 0, ..synthetic::subject(&mut random, &about) };
        if acl.classify(&subject).action == permit {
            flows.extend(flow(subject));
        }
    }
    let routes = vec![("172.0.0.0/8".parse().expect("a constant prefix"), 0)];
    Scenario { rules, stateful, routes, ..Scenario::new(Way::Forward, flows) }
}

/// Sessions that begin all the time, under one rule.
pub fn beginning() -> Scenario {
    let rule = Rule {
        addresses: Addresses::Any,
        upper: UpperMatch::Any,
        input: None,
        action: Action::PermitSession,
    };
    let flow = |n: u32| {
        let [_, high, middle, low] = n.to_be_bytes();
        Flow { src: ([10, 128 + high, middle, low].into(), 1024), dst: ([172, 16, 0, 10].into(), 443) }
    };
    let routes = vec![("172.0.0.0/8".parse().expect("a constant prefix"), 0)];
    let flows = (0..SESSIONS).map(flow).collect();
    Scenario {
        rules: vec![rule],
        stateful: true,
        routes,
        length: FlowLength::Sixteen,
        ..Scenario::new(Way::Forward, flows)
    }
}

/// The flow of a UDP packet that is not about the rig's own networks.
fn flow(subject: Subject) -> Option<Flow> {
    let AnyTuple::V4(tuple) = subject.flow.tuple else { return None };
    let own = [Side::Near, Side::Far].iter().any(|side| match side.host(false) {
        IpAddr::V4(host) => host.octets()[..3] == tuple.src.octets()[..3],
        IpAddr::V6(_) => false,
    });
    let (first, second) = (tuple.src.octets()[0], tuple.dst.octets()[0]);
    (tuple.protocol == Protocol::UDP.0 && !own && first == 10 && second == 172)
        .then(|| Flow { src: (tuple.src.into(), tuple.src_port), dst: (tuple.dst.into(), tuple.dst_port) })
}

/// A rule as VPP's command line has it.
pub fn vpp(rule: &Rule) -> String {
    let Addresses::V4 { src, dst } = rule.addresses else { return String::new() };
    let action = if rule.action == Action::Deny { "deny" } else { "permit" };
    let range = |range: PortRange| format!("{}-{}", range.first(), range.last());
    let ports = |protocol: Protocol, src, dst| {
        format!(" proto {} sport {} dport {}", protocol.0, range(src), range(dst))
    };
    let upper = match rule.upper {
        UpperMatch::Any => String::new(),
        UpperMatch::Protocol(protocol) => format!(" proto {}", protocol.0),
        UpperMatch::Ports { protocol, src, dst } => ports(protocol, src, dst),
        UpperMatch::Tcp { src, dst, segments } => {
            let flags = match segments {
                Segments::All => "",
                // SYN of SYN and ACK; ACK.
                Segments::Opening => " tcpflags 2 mask 18",
                Segments::Established => " tcpflags 16 mask 16",
            };
            ports(Protocol::TCP, src, dst) + flags
        }
        UpperMatch::Icmp { protocol, kind, .. } => {
            let kind = kind.map_or(PortRange::ALL, |kind| PortRange::one(kind.into()));
            ports(protocol, kind, PortRange::ALL)
        }
    };
    format!("{action} src {src} dst {dst}{upper}")
}
