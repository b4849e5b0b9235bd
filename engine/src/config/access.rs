//! `[acl]`, `[sessions]` and `[nat]`: who may pass, and as whom.

use super::section::{Read, Section};
use super::types::{Name, choice};
use super::value::{Text, Whole, text};
use dataplane::acl::{Action, Addresses, PortRange, Segments, UpperMatch};
use dataplane::flow::{Timeouts, WhenFull};
use dataplane::nat::{Endpoint, Filtering, Kind};
use dataplane::wire::Protocol;
use ipnet::{IpNet, Ipv4Net};
use std::net::{Ipv4Addr, SocketAddrV4};

/// `[acl]`
#[derive(Clone, Debug, PartialEq)]
pub struct AccessList {
    /// What happens to what no rule is about.
    pub default: Action,
    /// In order: the first that matches decides.
    pub rules: Vec<AccessRule>,
}

/// `[[acl.rule]]`
#[derive(Clone, Debug, PartialEq)]
pub struct AccessRule {
    /// Its place in the file.
    pub index: usize,
    /// What to do.
    pub action: Action,
    /// Between whom.
    pub addresses: Addresses,
    /// What they carry.
    pub upper: UpperMatch,
    /// The interface they come in by, in clear.
    pub interface: Option<Name>,
}

/// `[sessions]`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SessionSection {
    /// Most live sessions of all workers together.
    pub capacity: Whole<1_024, 67_108_864>,
    /// What a new flow meets then.
    pub when_full: WhenFull,
    /// Idle times.
    pub timeouts: Timeouts,
}

/// `[nat]`
#[derive(Clone, Debug, PartialEq)]
pub struct NatSection {
    /// Sources that are translated.
    pub inside: Vec<Ipv4Net>,
    /// Destinations for which they are not.
    pub exempt: Vec<Ipv4Net>,
    /// What they are translated to.
    pub pool: Vec<Ipv4Addr>,
    /// Who may send to them.
    pub filtering: Filtering,
    /// `[[nat.forward]]`
    pub forwards: Vec<Forward>,
}

/// `[[nat.forward]]`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forward {
    /// Its place in the file.
    pub index: usize,
    /// TCP or UDP.
    pub kind: Kind,
    /// Where packets come to.
    pub outside: Endpoint,
    /// Where they are sent.
    pub inside: Endpoint,
}

choice!(/// What a rule does.
ActionWord {
    "permit" => Permit: "Let pass.",
    "permit-session" => PermitSession: "Let pass, and all of its session.",
    "deny" => Deny: "Drop.",
    "reject" => Reject: "Drop and say so.",
});
choice!(/// Which TCP segments.
SegmentsWord {
    "opening" => Opening: "SYN without ACK.",
    "established" => Established: "ACK or RST.",
});
choice!(/// What happens to a new flow in a full table.
WhenFullWord {
    "evict-opening" => EvictOpening: "An idle session that is still opening makes room.",
    "drop-new" => DropNew: "It is refused.",
});
choice!(/// Who may send to a translated address.
FilteringWord {
    "address-and-port-dependent" => AddressAndPortDependent: "Who was sent to.",
    "endpoint-independent" => EndpointIndependent: "Everyone.",
});
choice!(/// What is forwarded.
ForwardWord {
    "tcp" => Tcp: "RFC 9293.",
    "udp" => Udp: "RFC 768.",
});

impl ActionWord {
    const fn action(self) -> Action {
        match self {
            ActionWord::Permit => Action::Permit,
            ActionWord::PermitSession => Action::PermitSession,
            ActionWord::Deny => Action::Deny,
            ActionWord::Reject => Action::Reject,
        }
    }
}

text!(PortRange, "1024-65535", |text| {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = first.trim().parse().ok().zip(last.trim().parse().ok());
    range.and_then(|(first, last)| PortRange::new(first, last)).ok_or_else(|| {
        (
            format!("\"{}\" is not a port, nor a range of ports", text.escape_debug()),
            "write one such as \"443\" or \"1024-65535\"".to_owned(),
        )
    })
});
text!(Protocol, "tcp", |text| {
    let known = [
        ("tcp", Protocol::TCP),
        ("udp", Protocol::UDP),
        ("icmp", Protocol::ICMP),
        ("icmpv6", Protocol::ICMPV6),
        ("sctp", Protocol::SCTP),
        ("dccp", Protocol::DCCP),
        ("gre", Protocol::GRE),
        ("esp", Protocol::ESP),
    ];
    let named = known.into_iter().find(|(name, _)| *name == text).map(|(_, protocol)| protocol);
    named.or_else(|| text.parse().ok().map(Protocol)).ok_or_else(|| {
        (
            format!("\"{}\" is not a protocol", text.escape_debug()),
            "write \"tcp\", \"udp\", \"icmp\", \"icmpv6\", \"sctp\", \"dccp\", \"gre\", \"esp\" or a number in quotes"
                .to_owned(),
        )
    })
});
text!(Ipv4Net, "10.1.0.0/16", |text| text.parse::<Ipv4Net>().map(|net| net.trunc()).map_err(|_| (
    format!("{text} is not an IPv4 prefix"),
    "write one such as \"10.1.0.0/16\"; NAT is for IPv4".to_owned(),
)));
text!(Ipv4Addr, "192.0.2.20", |text| text.parse().map_err(|_| (
    format!("{text} is not an IPv4 address"),
    "write one such as \"192.0.2.20\"; NAT is for IPv4".to_owned(),
)));
text!(SocketAddrV4, "192.0.2.20:443", |text| text.parse().map_err(|_| (
    format!("{text} is not an IPv4 address and port"),
    "write one such as \"192.0.2.20:443\"".to_owned(),
)));

impl Read for AccessList {
    fn read(s: &mut Section<'_>, _: usize) -> Option<AccessList> {
        let default = s.or("default", ActionWord::Deny).action();
        if default == Action::PermitSession {
            s.wrong("default", "a session needs a rule", "write \"deny\", \"reject\" or \"permit\"");
        }
        Some(AccessList { default, rules: s.tables("rule") })
    }
}

impl Read for AccessRule {
    fn read(s: &mut Section<'_>, index: usize) -> Option<AccessRule> {
        let action = s.required::<ActionWord>("action");
        let addresses = addresses(s);
        let upper = upper(s);
        let interface = s.optional("interface");
        Some(AccessRule { index, action: action?.action(), addresses: addresses?, upper: upper?, interface })
    }
}

fn addresses(s: &mut Section<'_>) -> Option<Addresses> {
    let (src, dst) = (s.optional::<IpNet>("src"), s.optional::<IpNet>("dst"));
    if s.has("src") && src.is_none() || s.has("dst") && dst.is_none() {
        return None;
    }
    match (src.map(|net| net.trunc()), dst.map(|net| net.trunc())) {
        (None, None) => Some(Addresses::Any),
        (Some(IpNet::V4(src)), None) => Some(Addresses::V4 { src, dst: Ipv4Net::default() }),
        (None, Some(IpNet::V4(dst))) => Some(Addresses::V4 { src: Ipv4Net::default(), dst }),
        (Some(IpNet::V4(src)), Some(IpNet::V4(dst))) => Some(Addresses::V4 { src, dst }),
        (Some(IpNet::V6(src)), None) => Some(Addresses::V6 { src, dst: Default::default() }),
        (None, Some(IpNet::V6(dst))) => Some(Addresses::V6 { src: Default::default(), dst }),
        (Some(IpNet::V6(src)), Some(IpNet::V6(dst))) => Some(Addresses::V6 { src, dst }),
        _ => {
            s.wrong("dst", "is of another IP version than src", "write both as IPv4 or both as IPv6");
            None
        }
    }
}

fn upper(s: &mut Section<'_>) -> Option<UpperMatch> {
    let protocol = s.optional::<Protocol>("protocol");
    let (src, dst) = (s.optional::<PortRange>("src_ports"), s.optional::<PortRange>("dst_ports"));
    let tcp = s.optional::<SegmentsWord>("tcp");
    let (kind, code) = (s.optional::<Whole<0, 255>>("icmp_type"), s.optional::<Whole<0, 255>>("icmp_code"));
    let belongs = |key: &str| match key {
        "src_ports" | "dst_ports" => (protocol.is_some_and(Protocol::has_ports), "tcp"),
        "tcp" => (protocol == Some(Protocol::TCP), "tcp"),
        _ => (matches!(protocol, Some(Protocol::ICMP | Protocol::ICMPV6)), "icmp"),
    };
    let mut right = !s.has("protocol") || protocol.is_some();
    for (key, read) in [
        ("src_ports", src.is_some()),
        ("dst_ports", dst.is_some()),
        ("tcp", tcp.is_some()),
        ("icmp_type", kind.is_some()),
        ("icmp_code", code.is_some()),
    ] {
        let (fits, example) = belongs(key);
        if s.has(key) && !fits && right {
            s.wrong(
                key,
                "the protocol of this rule has none",
                format!("write protocol = \"{example}\" beside it"),
            );
        }
        right &= !s.has(key) || fits && read;
    }
    if !right {
        return None;
    }
    let byte = |byte: Option<Whole<0, 255>>| byte.map(|byte| byte.get() as u8);
    let ports = src.is_some() || dst.is_some();
    let (src, dst) = (src.unwrap_or(PortRange::ALL), dst.unwrap_or(PortRange::ALL));
    Some(match (protocol, tcp) {
        (None, _) => UpperMatch::Any,
        (Some(Protocol::TCP), Some(word)) => {
            let segments = match word {
                SegmentsWord::Opening => Segments::Opening,
                SegmentsWord::Established => Segments::Established,
            };
            UpperMatch::Tcp { src, dst, segments }
        }
        (Some(protocol), _) if ports => UpperMatch::Ports { protocol, src, dst },
        (Some(protocol), _) if kind.is_some() || code.is_some() => {
            UpperMatch::Icmp { protocol, kind: byte(kind), code: byte(code) }
        }
        (Some(protocol), _) => UpperMatch::Protocol(protocol),
    })
}

impl Read for SessionSection {
    fn read(s: &mut Section<'_>, _: usize) -> Option<SessionSection> {
        let capacity = s.or("capacity", Whole::constant::<262_144>());
        let when_full = match s.or("when_full", WhenFullWord::EvictOpening) {
            WhenFullWord::EvictOpening => WhenFull::EvictOpening,
            WhenFullWord::DropNew => WhenFull::DropNew,
        };
        let default = Timeouts::default();
        let mut seconds = |key: &'static str, default: u16| {
            let written = s.optional::<Whole<1, { Timeouts::MAX as u64 }>>(key);
            written.map_or(default, |seconds| seconds.get() as u16)
        };
        let timeouts = Timeouts {
            tcp_opening: seconds("tcp_opening_seconds", default.tcp_opening),
            tcp_established: seconds("tcp_established_seconds", default.tcp_established),
            tcp_closing: seconds("tcp_closing_seconds", default.tcp_closing),
            udp_one_way: seconds("udp_one_way_seconds", default.udp_one_way),
            udp_two_way: seconds("udp_two_way_seconds", default.udp_two_way),
            icmp: seconds("icmp_seconds", default.icmp),
            other: seconds("other_seconds", default.other),
        };
        Some(SessionSection { capacity, when_full, timeouts })
    }
}

impl Read for NatSection {
    fn read(s: &mut Section<'_>, _: usize) -> Option<NatSection> {
        let (inside, pool) = (s.or("inside", Vec::new()), s.or("pool", Vec::new()));
        let exempt = s.or("exempt", Vec::new());
        let filtering = match s.or("filtering", FilteringWord::AddressAndPortDependent) {
            FilteringWord::AddressAndPortDependent => Filtering::AddressAndPortDependent,
            FilteringWord::EndpointIndependent => Filtering::EndpointIndependent,
        };
        if inside.is_empty() != pool.is_empty() {
            let key = if pool.is_empty() { "pool" } else { "inside" };
            s.wrong(key, "is missing", "write both inside, who is translated, and pool, to what");
        }
        if pool.len() > 64 {
            s.wrong("pool", format!("has {} addresses", pool.len()), "write at most 64");
        }
        Some(NatSection { inside, exempt, pool, filtering, forwards: s.tables("forward") })
    }
}

impl Read for Forward {
    fn read(s: &mut Section<'_>, index: usize) -> Option<Forward> {
        let kind = s.required::<ForwardWord>("protocol").map(|word| match word {
            ForwardWord::Tcp => Kind::Tcp,
            ForwardWord::Udp => Kind::Udp,
        });
        let mut endpoint = |key: &'static str| {
            let read = s.required::<SocketAddrV4>(key);
            read.map(|read| Endpoint { address: *read.ip(), port: read.port() })
        };
        let (outside, inside) = (endpoint("outside"), endpoint("inside"));
        Some(Forward { index, kind: kind?, outside: outside?, inside: inside? })
    }
}
