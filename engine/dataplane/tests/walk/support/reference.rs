//! A forwarder that is slow and plain: it parses with etherparse, searches routes one by one and computes every checksum
//! anew. What it says of a frame is what the walk must do; it shares no code with it.

use super::Draft;
use dataplane::id::{GroupId, InterfaceId, PortId};
use dataplane::snapshot::{Encapsulation, Interface, NextHop, Tunnel};
use dataplane::wire::VlanId;
use etherparse::{IpNumber, Ipv4Header, Ipv6Header};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What must become of a frame.
#[derive(Debug, PartialEq)]
pub enum Fate {
    /// It leaves as one of these, of which there is one for each tunnel it may take.
    Leaves(Vec<(PortId, Vec<u8>)>),
    /// It does not, and its sender is told by an ICMP or ICMPv6 message of this type and code.
    Refused(u8, u8),
    /// It leaves by this port in fragments, that together are this packet.
    Fragmented(PortId, Vec<u8>),
    /// It ends here, or is for the engine itself: no packet is forwarded.
    Ends,
    /// Beyond what this forwarder knows.
    Unknown(&'static str),
}

/// See the module.
pub struct Reference<'a> {
    draft: &'a Draft,
    routes: Vec<(IpNet, NextHop)>,
    neighbors: BTreeMap<(InterfaceId, IpAddr), [u8; 6]>,
}

impl<'a> Reference<'a> {
    /// Of an engine that was made from `draft`.
    pub fn new(draft: &'a Draft) -> Reference<'a> {
        let mut routes = draft.routes.clone();
        for interface in &draft.interfaces {
            for net in &interface.addresses {
                routes.push((*net, NextHop::Connected(interface.id)));
                routes.push((net.addr().into(), NextHop::Local));
            }
        }
        let neighbors =
            draft.neighbors.iter().map(|&(interface, ip, mac)| ((interface, ip), mac.0)).collect();
        Reference { draft, routes, neighbors }
    }

    /// A frame that arrives at `port`.
    pub fn fate(&self, port: PortId, frame: &[u8]) -> Fate {
        let Some((head, rest)) = frame.split_at_checked(14) else { return Fate::Ends };
        let (vlan, ether_type, packet) = match rest {
            [high, low, a, b, packet @ ..] if head[12..] == [0x81, 0] => {
                (u16::from_be_bytes([high & 15, *low]), [*a, *b], packet)
            }
            _ => (0, [head[12], head[13]], rest),
        };
        let on_port = |i: &&Interface| i.port == port && i.vlan.map_or(0, VlanId::customer) == vlan;
        let Some(interface) = self.draft.interfaces.iter().find(on_port) else { return Fate::Ends };
        if head[..6] != interface.mac.0 {
            return Fate::Ends;
        }
        match ether_type {
            [8, 0] | [0x86, 0xdd] => self.packet(packet, None),
            _ => Fate::Ends,
        }
    }

    fn packet(&self, packet: &[u8], tunnel_in: Option<&Tunnel>) -> Fate {
        let Some((src, dst, packet)) = sound(packet) else { return Fate::Ends };
        if packet[0] >> 4 == 6 && is_extension(packet[6]) {
            return Fate::Unknown("extension headers");
        }
        if never(src) || never(dst) || [src, dst].iter().any(IpAddr::is_multicast) {
            return Fate::Ends;
        }
        if [src, dst].into_iter().any(link_local) {
            return Fate::Ends;
        }
        let own = self.draft.interfaces.iter().any(|interface| interface.has(dst));
        let gre = if packet[0] >> 4 == 4 { packet[9] } else { packet[6] } == 47;
        if own && gre && tunnel_in.is_none() {
            return self.decapsulate(src, dst, packet);
        }
        let from_group = match self.route(src) {
            Some(NextHop::Group(group)) => Some(self.members(group)),
            _ => None,
        };
        match (from_group, tunnel_in) {
            (None, None) => {}
            (Some(members), Some(tunnel)) if members.iter().any(|member| member.id == tunnel.id) => {}
            (None, Some(tunnel)) if tunnel.remote == src => {}
            _ => return Fate::Ends,
        }
        self.forward(dst, packet, tunnel_in)
    }

    fn forward(&self, dst: IpAddr, packet: &[u8], tunnel_in: Option<&Tunnel>) -> Fate {
        let v6 = packet[0] >> 4 == 6;
        let (mtu, exits) = match self.route(dst) {
            None | Some(NextHop::Unreachable) => {
                return if v6 { Fate::Refused(1, 0) } else { Fate::Refused(3, 0) };
            }
            Some(NextHop::Local | NextHop::Blackhole) => return Fate::Ends,
            Some(NextHop::Connected(id)) => {
                let interface = &self.draft.interfaces[id.index()];
                if matches!(dst, IpAddr::V4(dst) if interface.broadcasts(dst)) {
                    return Fate::Ends;
                }
                (interface.mtu, vec![(interface, dst, None)])
            }
            Some(NextHop::Via { interface, gateway }) => {
                let interface = &self.draft.interfaces[interface.index()];
                (interface.mtu, vec![(interface, gateway, None)])
            }
            Some(NextHop::Group(group)) => {
                let members = self.members(group);
                if tunnel_in.is_some_and(|from| members.iter().any(|member| member.id == from.id)) {
                    return Fate::Unknown("back into the group it came from");
                }
                let exit =
                    |t: &&'a Tunnel| (&self.draft.interfaces[t.interface.index()], t.next_hop, Some(*t));
                (
                    members.iter().map(|tunnel| tunnel.mtu).min().unwrap_or(0),
                    members.iter().map(exit).collect(),
                )
            }
        };
        if packet[if v6 { 7 } else { 8 }] <= 1 {
            return if v6 { Fate::Refused(3, 0) } else { Fate::Refused(11, 0) };
        }
        let packet = one_hop_less(packet);
        if packet.len() > usize::from(mtu) {
            let known = |exit: &(&Interface, IpAddr, _)| self.neighbors.contains_key(&(exit.0.id, exit.1));
            return match (v6, packet[6] & 0x40 != 0) {
                (true, _) => Fate::Refused(2, 0),
                (false, true) => Fate::Refused(3, 4),
                (false, false) if exits.iter().any(|exit| exit.2.is_some()) => {
                    Fate::Unknown("fragments in a tunnel")
                }
                (false, false) if packet[0] & 15 > 5 => Fate::Unknown("options in fragments"),
                (false, false) if !exits.iter().all(known) => Fate::Ends,
                (false, false) => Fate::Fragmented(exits[0].0.port, packet),
            };
        }
        self.leaves(&packet, exits)
    }

    fn leaves(&self, packet: &[u8], exits: Vec<(&Interface, IpAddr, Option<&Tunnel>)>) -> Fate {
        let mut ways = Vec::new();
        for (interface, next, tunnel) in exits {
            let Some(mac) = self.neighbors.get(&(interface.id, next)) else { return Fate::Ends };
            let packet = match tunnel.map(|tunnel| (tunnel, tunnel.encapsulation)) {
                None => packet.to_vec(),
                Some((tunnel, Encapsulation::Gre { key, sequence: false })) => gre(tunnel, key, packet),
                Some(_) => return Fate::Unknown("what depends on what was sent before"),
            };
            let mut frame = [*mac, interface.mac.0].concat();
            if let Some(vlan) = interface.vlan {
                frame.extend([0x81, 0]);
                frame.extend(vlan.customer().to_be_bytes());
            }
            frame.extend(if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] });
            frame.extend(packet);
            ways.push((interface.port, frame));
        }
        Fate::Leaves(ways)
    }

    fn decapsulate(&self, src: IpAddr, dst: IpAddr, packet: &[u8]) -> Fate {
        let outer = &packet[if packet[0] >> 4 == 6 { 40 } else { usize::from(packet[0] & 15) * 4 }..];
        if packet[0] >> 4 == 4 && u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0 {
            return Fate::Ends;
        }
        let key = match outer {
            [0x20, 0, _, _, a, b, c, d, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
            [0, 0, ..] => None,
            _ => return Fate::Unknown("GRE with other fields than a key"),
        };
        let ends = |t: &&Tunnel| {
            let keyed =
                matches!(t.encapsulation, Encapsulation::Gre { key: own, sequence: false } if own == key);
            keyed && (t.remote, t.local) == (src, dst)
        };
        let Some(tunnel) = self.draft.tunnels.iter().find(ends) else { return Fate::Ends };
        let mut inner = outer.get(if key.is_some() { 8 } else { 4 }..).unwrap_or_default().to_vec();
        let version = match (outer.get(2..4), inner.first().map(|byte| byte >> 4)) {
            (Some([8, 0]), Some(4)) => 4,
            (Some([0x86, 0xdd]), Some(6)) => 6,
            _ => return Fate::Ends,
        };
        if sound(&inner).is_none() {
            return Fate::Ends;
        }
        let marked = decapsulated_ecn(class(packet) & 3, class(&inner) & 3);
        let Some(ecn) = marked else { return Fate::Ends };
        let class = class(&inner) & !3 | ecn;
        if version == 6 {
            inner[0] = 0x60 | class >> 4;
            inner[1] = inner[1] & 15 | class << 4;
        } else {
            inner[1] = class;
            mend(&mut inner);
        }
        self.packet(&inner, Some(tunnel))
    }

    fn members(&self, group: GroupId) -> Vec<&'a Tunnel> {
        self.draft.groups[group.index()].members.iter().map(|id| &self.draft.tunnels[id.index()]).collect()
    }

    /// The longest prefix, by looking at all of them; of two alike the later.
    fn route(&self, ip: IpAddr) -> Option<NextHop> {
        let matching = self.routes.iter().filter(|(net, _)| net.contains(&ip));
        matching.max_by_key(|(net, _)| net.prefix_len()).map(|&(_, next_hop)| next_hop)
    }
}

/// Source, destination and the packet without padding, if its header is right.
fn sound(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    if packet.first()? >> 4 == 6 {
        let (header, rest) = Ipv6Header::from_slice(packet).ok()?;
        let length = usize::from(header.payload_length);
        let (src, dst) = (Ipv6Addr::from(header.source), Ipv6Addr::from(header.destination));
        return (length <= rest.len()).then(|| (src.into(), dst.into(), &packet[..40 + length]));
    }
    let (header, _) = Ipv4Header::from_slice(packet).ok()?;
    let length = usize::from(header.total_len);
    let right = checksum(&[&packet[..header.header_len()]]) == [0, 0]
        && (header.header_len()..=packet.len()).contains(&length);
    let (src, dst) = (Ipv4Addr::from(header.source), Ipv4Addr::from(header.destination));
    right.then(|| (src.into(), dst.into(), &packet[..length]))
}

/// RFC 1812 §5.3.7, RFC 4291 §2.5: on no wire.
fn never(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => matches!(ip.octets()[0], 0 | 127 | 240..),
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_loopback(),
    }
}

fn link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

/// Hop-by-hop options, routing, fragment, authentication, destination options, mobility, HIP, shim6 (IANA).
fn is_extension(next_header: u8) -> bool {
    matches!(next_header, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140)
}

fn class(packet: &[u8]) -> u8 {
    if packet[0] >> 4 == 6 { packet[0] << 4 | packet[1] >> 4 } else { packet[1] }
}

/// RFC 6040 §4.2, figure 4; `None` is "drop".
fn decapsulated_ecn(outer: u8, inner: u8) -> Option<u8> {
    const NOT_ECT: u8 = 0;
    const ECT_1: u8 = 1;
    const CE: u8 = 3;
    match (inner, outer) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (_, CE) => Some(CE),
        (CE, _) => Some(CE),
        (_, ECT_1) => Some(ECT_1),
        _ => Some(inner),
    }
}

/// The reserved flag counts, which etherparse has no place for: a header is more than its fields.
fn mend(packet: &mut [u8]) {
    let length = usize::from(packet[0] & 15) * 4;
    packet[10..12].fill(0);
    let sum = checksum(&[&packet[..length]]);
    packet[10..12].copy_from_slice(&sum);
}

/// RFC 1071, by its definition; over a header with its checksum it is zero.
pub fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u64 = words.map(|word| u64::from(word[0]) << 8 | u64::from(*word.get(1).unwrap_or(&0))).sum();
    let folded = (0..4).fold(sum, |sum, _| (sum & 0xffff) + (sum >> 16));
    (!(folded as u16)).to_be_bytes()
}

fn one_hop_less(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 6 {
        packet[7] -= 1;
    } else {
        packet[8] -= 1;
        mend(&mut packet);
    }
    packet
}

/// GRE (RFC 2784, a key as in RFC 2890), with the ECN and DSCP of what is inside (RFC 6040 §4.1) and DF set.
fn gre(tunnel: &Tunnel, key: Option<u32>, packet: &[u8]) -> Vec<u8> {
    let mut body = vec![if key.is_some() { 0x20 } else { 0 }, 0];
    body.extend(if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] });
    body.extend(key.iter().flat_map(|key| key.to_be_bytes()));
    body.extend(packet);
    let class = class(packet);
    let mut outer = match (tunnel.local, tunnel.remote) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut header =
                Ipv4Header::new(body.len() as u16, 64, IpNumber::GRE, src.octets(), dst.octets())
                    .expect("it fits the MTU");
            header.dscp = (class >> 2).try_into().expect("6 bits");
            header.ecn = (class & 3).try_into().expect("2 bits");
            header.dont_fragment = true;
            header.header_checksum = header.calc_header_checksum();
            header.to_bytes().to_vec()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => Ipv6Header {
            traffic_class: class,
            payload_length: body.len() as u16,
            next_header: IpNumber::GRE,
            hop_limit: 64,
            source: src.octets(),
            destination: dst.octets(),
            ..Default::default()
        }
        .to_bytes()
        .to_vec(),
        _ => unreachable!("both ends of a tunnel are of one family"),
    };
    outer.extend(body);
    outer
}
