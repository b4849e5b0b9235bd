//! One rule, as written; and as six ranges of 16-bit numbers.

use super::list::LANES;
use crate::wire::Protocol;
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// What a rule does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Let it pass.
    Permit,
    /// Let it pass, and its whole session in both directions.
    PermitSession,
    /// Drop it.
    Deny,
    /// Drop it and tell its sender (RFC 1812 §5.2.7.1: communication administratively prohibited).
    Reject,
}

/// Whose packets a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Addresses {
    /// Everyone's, of either family.
    Any,
    /// Between these IPv4 prefixes.
    V4 { src: Ipv4Net, dst: Ipv4Net },
    /// Between these IPv6 prefixes.
    V6 { src: Ipv6Net, dst: Ipv6Net },
}

/// A range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Every port.
    pub const ALL: PortRange = PortRange { first: 0, last: u16::MAX };

    /// `None` if the ends are the wrong way round.
    pub const fn new(first: u16, last: u16) -> Option<PortRange> {
        if first <= last { Some(PortRange { first, last }) } else { None }
    }

    /// One port.
    pub const fn one(port: u16) -> PortRange {
        PortRange { first: port, last: port }
    }

    /// First port.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// Last port.
    pub const fn last(self) -> u16 {
        self.last
    }
}

/// Which TCP segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Segments {
    /// All.
    All,
    /// A SYN without ACK: the first of a connection.
    Opening,
    /// ACK or RST set: not the first.
    Established,
}

/// What a rule wants to see behind the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpperMatch {
    /// Anything.
    Any,
    /// This protocol, fragments too.
    Protocol(Protocol),
    /// This protocol, which [has ports](Protocol::has_ports), between these.
    Ports { protocol: Protocol, src: PortRange, dst: PortRange },
    /// TCP between these ports, and of its segments these.
    Tcp { src: PortRange, dst: PortRange, segments: Segments },
    /// ICMP, or ICMPv6, with this type and code.
    Icmp { protocol: Protocol, kind: Option<u8>, code: Option<u8> },
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Whose packets.
    pub addresses: Addresses,
    /// What they carry.
    pub upper: UpperMatch,
    /// Where they came in; `None` for everywhere.
    pub input: Option<u16>,
    /// What to do with them.
    pub action: Action,
}

// The lower two bits of the lane whose upper bits are the protocol.
/// The upper-layer header is shown.
pub(super) const SHOWN: u16 = 1;
/// … and is a first TCP segment.
pub(super) const OPENING: u16 = 2;
/// … and is a later TCP segment.
pub(super) const ESTABLISHED: u16 = 3;

/// First and last of each lane: classes of source and destination, ports, input, protocol.
pub(super) type Ranges = [(u16, u16); LANES];

/// Everything a lane can hold.
pub(super) const ALL: (u16, u16) = (0, u16::MAX);

/// Every protocol, whatever it shows.
pub(super) const ALL_KINDS: (u16, u16) = (0, 0x3ff);

impl Rule {
    /// The rule as ranges; its prefixes are given as those of their classes.
    pub(super) fn ranges(&self, src: (u16, u16), dst: (u16, u16)) -> Ranges {
        let kind = |protocol: Protocol, first, last| {
            let base = u16::from(protocol.0) << 2;
            (base | first, base | last)
        };
        let range = |range: PortRange| (range.first, range.last);
        let byte = |byte: Option<u8>| byte.map_or(ALL, |byte| (u16::from(byte), u16::from(byte)));
        let [src_port, dst_port, kind] = match self.upper {
            UpperMatch::Any => [ALL, ALL, ALL_KINDS],
            UpperMatch::Protocol(protocol) => [ALL, ALL, kind(protocol, 0, ESTABLISHED)],
            UpperMatch::Ports { protocol, src, dst } => {
                [range(src), range(dst), kind(protocol, SHOWN, ESTABLISHED)]
            }
            UpperMatch::Tcp { src, dst, segments } => {
                let (first, last) = match segments {
                    Segments::All => (SHOWN, ESTABLISHED),
                    Segments::Opening => (OPENING, OPENING),
                    Segments::Established => (ESTABLISHED, ESTABLISHED),
                };
                [range(src), range(dst), kind(Protocol::TCP, first, last)]
            }
            UpperMatch::Icmp { protocol, kind: icmp, code } => {
                [byte(icmp), byte(code), kind(protocol, SHOWN, ESTABLISHED)]
            }
        };
        [src, dst, src_port, dst_port, self.input.map_or(ALL, |input| (input, input)), kind]
    }
}
