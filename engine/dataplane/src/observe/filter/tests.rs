//! The language against a naive evaluator, its errors, and three-valued logic against what comes later.

use super::*;
use crate::observe::headers::Tunnels;
use etherparse::PacketBuilder;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

const TUNNELS: [&str; 3] = ["a1-b1", "link", "tunnel"];

fn compile(text: &str) -> Result<Filter, FilterError> {
    Filter::compile(text, |name| {
        let at = TUNNELS.iter().position(|known| *known == name);
        at.map(|at| TunnelId(at as u16)).ok_or_else(|| format!("no tunnel is called \"{name}\""))
    })
}

/// A packet as the test thinks of it.
#[derive(Clone, Debug)]
struct Facts {
    src: IpAddr,
    dst: IpAddr,
    tcp: bool,
    ports: (u16, u16),
}

impl Facts {
    fn bytes(&self) -> Vec<u8> {
        let ip = match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => PacketBuilder::ipv4(src.octets(), dst.octets(), 9),
            (IpAddr::V6(src), IpAddr::V6(dst)) => PacketBuilder::ipv6(src.octets(), dst.octets(), 9),
            _ => unreachable!("both ends have one family"),
        };
        let mut out = Vec::new();
        if self.tcp {
            ip.tcp(self.ports.0, self.ports.1, 1, 2).write(&mut out, b"x").expect("a packet");
        } else {
            ip.udp(self.ports.0, self.ports.1).write(&mut out, b"x").expect("a packet");
        }
        out
    }

    /// In GRE between `ends`.
    fn in_gre(&self, ends: (Ipv4Addr, Ipv4Addr)) -> Vec<u8> {
        let inner = self.bytes();
        let kind: [u8; 4] = if self.src.is_ipv4() { [0, 0, 8, 0] } else { [0, 0, 0x86, 0xdd] };
        let gre = [&kind[..], &inner].concat();
        let mut out = Vec::new();
        PacketBuilder::ipv4(ends.0.octets(), ends.1.octets(), 64)
            .write(&mut out, etherparse::IpNumber::GRE, &gre)
            .expect("a packet");
        out
    }
}

/// The language once more, written to be obvious.
#[derive(Clone, Debug)]
enum Tree {
    Host(&'static str, IpAddr),
    Net(&'static str, IpAddr, u8),
    Port(&'static str, u16, u16),
    Tcp,
    V6,
    Not(Box<Tree>),
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
}

fn prefix(ip: IpAddr, length: u8) -> String {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().map(|byte| format!("{byte:08b}")).concat(),
        IpAddr::V6(ip) => ip.octets().map(|byte| format!("{byte:08b}")).concat(),
    };
    format!("{}{}", if ip.is_ipv4() { "4:" } else { "6:" }, &bits(ip)[..usize::from(length)])
}

impl Tree {
    fn text(&self) -> String {
        match self {
            Tree::Host(end, ip) => format!("{end} host {ip}"),
            Tree::Net(end, ip, length) => {
                let net = IpNet::new(*ip, *length).expect("a prefix").trunc();
                format!("{end} net {net}")
            }
            Tree::Port(end, low, high) if low == high => format!("{end} port {low}"),
            Tree::Port(end, low, high) => format!("{end} port {low}-{high}"),
            Tree::Tcp => "proto tcp".to_owned(),
            Tree::V6 => "ip6".to_owned(),
            Tree::Not(a) => format!("not ({})", a.text()),
            // Without parentheses on the left: "and" binds more tightly than "or".
            Tree::And(a, b) if matches!(**a, Tree::And(..)) => format!("{} and ({})", a.text(), b.text()),
            Tree::And(a, b) => format!("({}) && ({})", a.text(), b.text()),
            Tree::Or(a, b) if matches!(**a, Tree::And(..)) => format!("{} or ({})", a.text(), b.text()),
            Tree::Or(a, b) => format!("({})||({})", a.text(), b.text()),
        }
    }

    fn holds(&self, facts: &Facts) -> bool {
        let ends = |end: &str, test: &dyn Fn(IpAddr, u16) -> bool| {
            let (src, dst) = (test(facts.src, facts.ports.0), test(facts.dst, facts.ports.1));
            match end {
                "src" => src,
                "dst" => dst,
                _ => src || dst,
            }
        };
        match self {
            Tree::Host(end, host) => ends(end, &|ip, _| ip == *host),
            Tree::Net(end, net, length) => {
                let starts = |ip: IpAddr| {
                    ip.is_ipv4() == net.is_ipv4() && prefix(ip, *length) == prefix(*net, *length)
                };
                ends(end, &|ip, _| starts(ip))
            }
            Tree::Port(end, low, high) => ends(end, &|_, port| *low <= port && port <= *high),
            Tree::Tcp => facts.tcp,
            Tree::V6 => facts.src.is_ipv6(),
            Tree::Not(a) => !a.holds(facts),
            Tree::And(a, b) => a.holds(facts) && b.holds(facts),
            Tree::Or(a, b) => a.holds(facts) || b.holds(facts),
        }
    }
}

/// Few addresses, so that tests and packets meet.
fn address(v6: bool) -> impl Strategy<Value = IpAddr> {
    (0..4u8, 0..4u8).prop_map(move |(a, b)| match v6 {
        false => Ipv4Addr::new(10, a << 6, 0, b).into(),
        true => Ipv6Addr::new(0xfd00, u16::from(a) << 14, 0, 0, 0, 0, 0, b.into()).into(),
    })
}

fn facts() -> impl Strategy<Value = Facts> {
    any::<bool>().prop_flat_map(|v6| {
        (address(v6), address(v6), any::<bool>(), (0..6u16, 0..6u16))
            .prop_map(|(src, dst, tcp, ports)| Facts { src, dst, tcp, ports })
    })
}

fn tree() -> impl Strategy<Value = Tree> {
    let end = || prop_oneof![Just(""), Just("src"), Just("dst")];
    let ip = || any::<bool>().prop_flat_map(address);
    let leaf = prop_oneof![
        (end(), ip()).prop_map(|(end, ip)| Tree::Host(end, ip)),
        (end(), ip(), 0..=32u8).prop_map(|(end, ip, length)| Tree::Net(end, ip, length)),
        (end(), 0..6u16, 0..6u16).prop_map(|(end, a, b)| Tree::Port(end, a.min(b), a.max(b))),
        Just(Tree::Tcp),
        Just(Tree::V6),
    ];
    leaf.prop_recursive(4, 20, 2, |inner| {
        let two = || (inner.clone(), inner.clone()).prop_map(|(a, b)| (Box::new(a), Box::new(b)));
        prop_oneof![
            inner.clone().prop_map(|a| Tree::Not(Box::new(a))),
            two().prop_map(|(a, b)| Tree::And(a, b)),
            two().prop_map(|(a, b)| Tree::Or(a, b)),
        ]
    })
}

proptest! {
    #[test]
    fn agrees_with_the_naive_evaluator(tree in tree(), facts in facts()) {
        let filter = compile(&tree.text()).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let view = View::ip(&facts.bytes());
        prop_assert_eq!(filter.evaluate(&view), Some(tree.holds(&facts)), "{}", tree.text());
    }

    /// `inner` and `outer` tell the headers of a tunnel packet apart; neither word asks either.
    #[test]
    fn scopes_tell_headers_apart(tree in tree(), facts in facts(), far in 1..250u8) {
        let ends = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, far.max(2)));
        let view = View::ip(&facts.in_gre(ends));
        let inner = |leaf: &str| compile(leaf).expect("a filter").evaluate(&view);
        let leaf = match &tree {
            Tree::Host(..) | Tree::Net(..) | Tree::Port(..) | Tree::Tcp | Tree::V6 => tree.text(),
            _ => format!("src host {}", facts.src),
        };
        let expected = if leaf == tree.text() { tree.holds(&facts) } else { true };
        let text = format!("inner {leaf}");
        prop_assert_eq!(inner(&text), Some(expected));
        prop_assert_eq!(inner("outer gre and outer src host 192.0.2.1"), Some(true));
        prop_assert_eq!(inner("inner host 192.0.2.1"), Some(false));
        prop_assert_eq!(inner(&format!("host 192.0.2.1 and host {}", facts.dst)), Some(true));
    }

    /// What is certain while layers are unknown stays true whatever they turn out to be.
    #[test]
    fn certainty_never_turns(tree in tree(), first in facts(), second in facts(), tunnel in 0..3u16) {
        let known = |facts: &Facts| Layer::Present(Header::of(&facts.bytes()).expect("a header").0);
        let text = format!("({}) or tunnel {}", tree.text(), TUNNELS[usize::from(tunnel)]);
        let filter = compile(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let early = View { outer: known(&first), ..View::default() };
        let mut late = View { inner: known(&second), ..early };
        late.tunnels = Tunnels { rx: Some(TunnelId(tunnel)), tx: None, complete: true };
        for view in [early.complete(), late, late.complete()] {
            if let Some(certain) = filter.evaluate(&early) {
                prop_assert_eq!(filter.evaluate(&view), Some(certain), "{}", text);
            }
            prop_assert!(filter.evaluate(&view).is_some());
        }
        prop_assert_eq!(filter.evaluate(&late), Some(true), "it came out of that tunnel");
    }

    #[test]
    fn no_bytes_break_it(data in prop::collection::vec(any::<u8>(), 0..200), text in "[a-z0-9!()&| ./:-]{0,80}") {
        crate::observe::fuzz_filter(&data);
        crate::observe::fuzz_filter(&[text.as_bytes(), &[0], &data].concat());
    }
}

#[test]
fn errors_say_where_and_what_to_do() {
    for (text, column, says) in [
        ("hots 10.0.0.1", 1, "\"hots\" is not a test; write host, net"),
        ("tcp and", 8, "it ends too early; write a test"),
        ("tcp udp", 5, "join them with and, or"),
        ("(tcp or udp", 1, "never closed; add a ')'"),
        ("tcp)", 4, "remove this ')'"),
        ("src host 10.0.0.256", 10, "is not an address; write one as"),
        ("net 10.0.0.1/8", 5, "write net 10.0.0.0/8 or host 10.0.0.1"),
        ("net 10.0.0.0/33", 5, "is not a prefix"),
        ("port 70000", 6, "write 0 to 65535"),
        ("port 9-2", 6, "the range is empty; write port 2-9"),
        ("proto quic", 7, "write tcp, udp, icmp, icmp6, esp, gre, sctp or 0 to 255"),
        ("dst tcp", 5, "remove src or dst"),
        ("inner tunnel link", 1, "write tunnel NAME alone"),
        ("tcp or tunnel x9", 15, "no tunnel is called \"x9\""),
        ("not ", 4, "it ends too early"),
        ("é and tcp", 1, "\"é\" is not a test"),
        ("tcp & udp", 5, "join them with and, or"),
    ] {
        let error = compile(text).expect_err(text);
        assert_eq!(error.at + 1, column, "{text}: {error}");
        assert!(error.problem.contains(says), "{text}: {error}");
        let caret = error.to_string().lines().nth(2).map(|line| line.chars().count());
        assert_eq!(caret, Some(column + 2), "the caret stands under column {column}:\n{error}");
    }
    let error = compile(&format!("{}tcp", "not ".repeat(40))).expect_err("too deep");
    assert!(error.problem.contains("nested more than 32 deep"), "{error}");
    let error = compile(&vec!["tcp"; 40].join(" or ")).expect_err("too long");
    assert!(error.problem.contains("more than 64 tests"), "{error}");
    assert!(compile(&"x".repeat(2000)).expect_err("too long").problem.contains("1024 bytes"));
}

#[test]
fn short_forms_mean_the_long_ones() {
    for (short, long) in [
        ("10.0.0.1", "host 10.0.0.1"),
        ("src fd00::/8", "src net fd00::/8"),
        ("!(tcp||udp)&&ip", "not (tcp or udp) and ip"),
        ("tunnel tunnel", "tunnel  tunnel "),
        ("esp", "proto 50"),
    ] {
        assert_eq!(compile(short).expect(short), compile(long).expect(long), "{short}");
    }
    assert_eq!(compile(" ").expect("empty"), Filter::default());
    assert_ne!(compile("not tcp and udp"), compile("not (tcp and udp)"), "not binds most tightly");
}
