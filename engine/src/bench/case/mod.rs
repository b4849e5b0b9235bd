//! The cases: what each offers, over which tables. One file a kind.

mod access;
mod esp;
mod forward;
mod gre;

pub use access::{SESSIONS, vpp};
pub use esp::Cipher;

use super::site::{LAN, Side, WAN};
use super::traffic::{Flow, FlowLength};
use clap::ValueEnum;
use dataplane::acl::Rule;
use dataplane::snapshot::Encapsulation;
use ipnet::IpNet;
use serde::Serialize;

/// What the worker does with each packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Case {
    /// Forward IPv4, one route.
    Ipv4,
    /// Forward IPv4 to random destinations of 1,000,000 routes.
    #[value(name = "ipv4-1m")]
    #[serde(rename = "ipv4-1m")]
    Ipv4Million,
    /// Forward IPv6, one route.
    Ipv6,
    /// Forward IPv6 to random destinations of 100,000 routes.
    #[value(name = "ipv6-100k")]
    #[serde(rename = "ipv6-100k")]
    Ipv6Table,
    /// IPv4 into a GRE tunnel.
    GreEncap,
    /// IPv4 out of a GRE tunnel.
    GreDecap,
    /// IPv4 into one of four GRE tunnels by flow.
    GreEcmp,
    /// IPv4 into an ESP tunnel with ESN.
    EspEncrypt,
    /// IPv4 out of one, replay checked.
    EspDecrypt,
    /// Forward IPv4 under 10,000 rules, each packet asked about.
    Acl,
    /// The same under 100 rules.
    #[value(name = "acl-100")]
    #[serde(rename = "acl-100")]
    AclSmall,
    /// The same under 10,000 rules by sessions that the rules have permitted.
    Session,
    /// The same with another engine shadowing the sessions.
    SessionShadowed,
    /// Sessions of 16 packets each: they begin all the time.
    SessionBegin,
    /// The same with another engine shadowing the sessions.
    SessionBeginShadowed,
}

/// Which way the traffic passes the end that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From one network to another.
    Forward,
    /// Into a tunnel.
    Encap,
    /// Out of a tunnel.
    Decap,
}

/// What a case is made of.
pub struct Scenario {
    /// Which way.
    pub way: Way,
    /// Tunnels between both ends, in parallel; what is not in a tunnel goes to routers.
    pub tunnels: Vec<Encapsulation>,
    /// Cipher of the ESP tunnels.
    pub cipher: Cipher,
    /// Routes beside those to the networks of both ends, each over one of [`Side::ROUTERS`] routers.
    pub routes: Vec<(IpNet, usize)>,
    /// What may pass the measured end; none lets everything pass.
    pub rules: Vec<Rule>,
    /// Whether it keeps sessions.
    pub stateful: bool,
    /// Whether it reports them to another engine.
    pub shadowed: bool,
    /// The packets' flows, in order.
    pub flows: Vec<Flow>,
    /// How each flow's packets lie among the others'.
    pub length: FlowLength,
}

impl Case {
    /// What it needs.
    pub fn scenario(self, cipher: Cipher) -> Scenario {
        match self {
            Case::Ipv4 => forward::one_route(false),
            Case::Ipv4Million => forward::table4(),
            Case::Ipv6 => forward::one_route(true),
            Case::Ipv6Table => forward::table6(),
            Case::GreEncap => gre::tunnels(1, Way::Encap),
            Case::GreDecap => gre::tunnels(1, Way::Decap),
            Case::GreEcmp => gre::tunnels(4, Way::Encap),
            Case::EspEncrypt => esp::tunnel(Way::Encap, cipher),
            Case::EspDecrypt => esp::tunnel(Way::Decap, cipher),
            Case::Acl => access::rules(10_000, false),
            Case::AclSmall => access::rules(100, false),
            Case::Session => access::rules(10_000, true),
            Case::SessionShadowed => Scenario { shadowed: true, ..access::rules(10_000, true) },
            Case::SessionBegin => access::beginning(),
            Case::SessionBeginShadowed => Scenario { shadowed: true, ..access::beginning() },
        }
    }
}

impl Scenario {
    /// The way in: the end that sends, and its port.
    pub fn entry(&self) -> (Side, usize) {
        match self.way {
            Way::Decap => (Side::Far, LAN),
            _ => (Side::Near, LAN),
        }
    }

    /// The port that the measured end receives on, and the one it transmits on.
    pub fn ports(&self) -> (usize, usize) {
        match self.way {
            Way::Decap => (WAN, LAN),
            _ => (LAN, WAN),
        }
    }

    fn new(way: Way, flows: Vec<Flow>) -> Scenario {
        Scenario {
            way,
            tunnels: Vec::new(),
            cipher: Cipher::Aes128Gcm,
            routes: Vec::new(),
            rules: Vec::new(),
            stateful: false,
            shadowed: false,
            flows,
            length: FlowLength::Endless,
        }
    }
}

/// Flows in the traffic between two hosts: enough that no branch predictor learns one packet by heart.
const FLOWS: u16 = 64;

/// UDP between the hosts behind both ends, in the direction of `way`.
fn between_hosts(way: Way, v6: bool) -> Vec<Flow> {
    let from = if way == Way::Decap { Side::Far } else { Side::Near };
    let (src, dst) = (from.host(v6), from.other().host(v6));
    (0..FLOWS).map(|flow| Flow { src: (src, 1024 + flow), dst: (dst, 4789) }).collect()
}
