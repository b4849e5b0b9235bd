//! The outer headers of a tunnel, written once and copied in front of every packet.

use crate::context::Version;
use crate::packet::Packet;
use crate::snapshot::{Encapsulation, EspUdp, Tunnel, Vxlan, WireGuard};
use crate::stage::local::TTL;
use crate::wire::checksum::Sum;
use crate::wire::ethernet::Ethernet;
use crate::wire::gre::Gre;
use crate::wire::ipv4::{Fragmentation, Ipv4Fields};
use crate::wire::ipv6::Ipv6Fields;
use crate::wire::{EtherType, Protocol, TrafficClass, checksum, ethernet, ipv4, ipv6, udp, vxlan};
use std::net::IpAddr;

/// IPv6, UDP, VXLAN and Ethernet.
const ROOM: usize = ipv6::HEADER_LENGTH + udp::HEADER_LENGTH + vxlan::HEADER_LENGTH + ethernet::HEADER_LENGTH;

/// What follows the outer IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    /// ESP, which its SA writes.
    Esp,
    /// GRE.
    Gre,
    /// The inner packet.
    Ip,
    /// UDP, VXLAN and Ethernet.
    Vxlan,
    /// UDP, then what is sealed: ESP or a WireGuard message.
    Sealed,
}

/// Outer IP header and the headers between it and the inner packet, or ESP. What differs between packets is filled in by
/// [`Template::write`] and [`Template::write_spread`].
///
/// DF is set: the tunnel's MTU follows the path's (RFC 1191), and a fragment of ESP would be reassembled before
/// decryption at best (RFC 4303 §3.4.1).
#[derive(Clone, Debug)]
pub struct Template {
    bytes: [u8; ROOM],
    length: u8,
    outer: Version,
    behind: Behind,
    /// Sum of the IPv4 header as it stands in `bytes`: no length, no class, no checksum.
    sum: u16,
}

impl Template {
    /// The headers of `tunnel`; `None` where it has none, or endpoints of two IP versions.
    pub fn new(tunnel: &Tunnel) -> Option<Template> {
        let (protocol, behind) = match tunnel.encapsulation {
            Encapsulation::Direct => return None,
            Encapsulation::Esp => (Protocol::ESP, Behind::Esp),
            Encapsulation::EspUdp(_) | Encapsulation::WireGuard(_) => (Protocol::UDP, Behind::Sealed),
            Encapsulation::Gre { .. } => (Protocol::GRE, Behind::Gre),
            Encapsulation::IpIp => (Protocol::IPV4, Behind::Ip),
            Encapsulation::Vxlan(_) => (Protocol::UDP, Behind::Vxlan),
        };
        let mut bytes = [0; ROOM];
        let (outer, ip) = ip_header(tunnel, protocol, &mut bytes)?;
        let sum = !checksum::checksum(&bytes[..ipv4::HEADER_LENGTH]);
        let length = ip + between(tunnel.encapsulation, &mut bytes[ip..])?;
        Some(Template { bytes, length: length as u8, outer, behind, sum })
    }

    /// The IP version of the outer header.
    #[inline]
    pub fn outer(&self) -> Version {
        self.outer
    }

    /// Bytes of the headers.
    #[inline]
    pub fn length(&self) -> usize {
        usize::from(self.length)
    }

    /// Puts the headers in front of `packet`, which is an IP packet of version `inner` (GRE) or ESP; `None` without
    /// headroom. `class` becomes the outer traffic class, `sequence` GRE's number where the tunnel has one; see
    /// [`write`](Self::write) for `label`.
    #[inline(always)]
    pub fn prepend<P: Packet>(
        &self,
        packet: &mut P,
        inner: Version,
        class: TrafficClass,
        sequence: Option<u32>,
        label: impl FnOnce(&[u8]) -> u32,
    ) -> Option<()> {
        self.write(packet.prepend(self.length())?, inner, class, sequence, label)
    }

    /// The same over the first [`length`](Self::length) bytes of `out`, the packet with room for them. `label` is asked for
    /// the flow label of an outer IPv6 header, and shown what lies behind the room (RFC 6438 §3).
    #[inline(always)]
    pub fn write(
        &self,
        out: &mut [u8],
        inner: Version,
        class: TrafficClass,
        sequence: Option<u32>,
        label: impl FnOnce(&[u8]) -> u32,
    ) -> Option<()> {
        // Lengths that the compiler knows become moves: IPv4 alone (ESP), with GRE, with GRE and one field.
        match (self.outer, usize::from(self.length)) {
            (Version::V4, 20) => self.fill_v4::<20>(out, inner, class, sequence),
            (Version::V4, 24) => self.fill_v4::<24>(out, inner, class, sequence),
            (Version::V4, 28) => self.fill_v4::<28>(out, inner, class, sequence),
            (Version::V4, _) => self.fill_v4::<32>(out, inner, class, sequence),
            (Version::V6, _) => {
                let label = label(out.get(self.length()..)?);
                self.fill_v6(out, inner, class, sequence, label)
            }
        }
    }

    #[inline(always)]
    fn fill_v4<const N: usize>(
        &self,
        data: &mut [u8],
        inner: Version,
        class: TrafficClass,
        sequence: Option<u32>,
    ) -> Option<()> {
        let total = u16::try_from(data.len()).ok()?;
        let out = data.first_chunk_mut::<N>()?;
        *out = *self.bytes.first_chunk()?;
        let check = checksum::of_words([self.sum, total, u16::from(class.0)]);
        out[1] = class.0;
        [out[2], out[3]] = total.to_be_bytes();
        [out[10], out[11]] = check.to_be_bytes();
        if N > ipv4::HEADER_LENGTH {
            gre(&mut out[ipv4::HEADER_LENGTH..], inner, sequence);
        }
        Some(())
    }

    fn fill_v6(
        &self,
        data: &mut [u8],
        inner: Version,
        class: TrafficClass,
        sequence: Option<u32>,
        label: u32,
    ) -> Option<()> {
        let length = usize::from(self.length);
        let payload = u16::try_from(data.len() - ipv6::HEADER_LENGTH).ok()?;
        let out = data.get_mut(..length)?;
        out.copy_from_slice(self.bytes.get(..length)?);
        // Version 6, class, flow label (RFC 8200 §3).
        *out.first_chunk_mut()? = (6 << 28 | u32::from(class.0) << 20 | label).to_be_bytes();
        *out.get_mut(4..)?.first_chunk_mut()? = payload.to_be_bytes();
        if self.behind == Behind::Gre {
            gre(&mut out[ipv6::HEADER_LENGTH..], inner, sequence);
        }
        Some(())
    }

    /// What [`write`](Self::write) does, for IP-in-IP and what is in UDP. `entropy`, the same for all packets of a flow,
    /// becomes the UDP source port of VXLAN (RFC 7348 §5) and the flow label of an outer IPv6 header, so that the underlay
    /// spreads flows. What is sealed has none to show: its flows are hidden.
    #[inline(never)]
    pub fn write_spread(
        &self,
        data: &mut [u8],
        inner: Version,
        class: TrafficClass,
        entropy: u16,
    ) -> Option<()> {
        let (total, length) = (data.len(), self.length());
        data.get_mut(..length)?.copy_from_slice(self.bytes.get(..length)?);
        let ip = match self.outer {
            Version::V4 => {
                // The sum is that of IPv4 inside.
                let more = match (self.behind, inner) {
                    (Behind::Ip, Version::V6) => u16::from(Protocol::IPV6.0 - Protocol::IPV4.0),
                    _ => 0,
                };
                let total = u16::try_from(total).ok()?;
                let check = checksum::of_words([self.sum, total, u16::from(class.0) + more]);
                data[1] = class.0;
                data[2..4].copy_from_slice(&total.to_be_bytes());
                data[9] += more as u8;
                data[10..12].copy_from_slice(&check.to_be_bytes());
                ipv4::HEADER_LENGTH
            }
            Version::V6 => {
                let label = if self.behind == Behind::Sealed { 0 } else { flow_label(entropy) };
                let payload = u16::try_from(total - ipv6::HEADER_LENGTH).ok()?;
                data[..4].copy_from_slice(&(6 << 28 | u32::from(class.0) << 20 | label).to_be_bytes());
                data[4..6].copy_from_slice(&payload.to_be_bytes());
                if self.behind == Behind::Ip {
                    data[6] = if inner == Version::V4 { Protocol::IPV4.0 } else { Protocol::IPV6.0 };
                }
                ipv6::HEADER_LENGTH
            }
        };
        self.udp(&mut data[..], ip, inner, entropy)
    }

    /// The UDP header at `at`, and what of the headers behind it differs.
    fn udp(&self, data: &mut [u8], at: usize, inner: Version, entropy: u16) -> Option<()> {
        if self.behind == Behind::Ip {
            return Some(());
        }
        let length = u16::try_from(data.len() - at).ok()?;
        data[at + 4..at + 6].copy_from_slice(&length.to_be_bytes());
        if self.behind == Behind::Vxlan {
            data[at..at + 2].copy_from_slice(&source_port(entropy).to_be_bytes());
            let ether_type = if inner == Version::V4 { EtherType::IPV4 } else { EtherType::IPV6 };
            let end = self.length();
            data[end - 2..end].copy_from_slice(&ether_type.0.to_be_bytes());
        } else if self.outer == Version::V6 {
            // RFC 8200 §8.1: not without a checksum. Over IPv4 it is zero (RFC 3948 §2.1).
            let pseudo = Sum::zero().bytes(&data[8..ipv6::HEADER_LENGTH]).long(u32::from(length));
            let sum = pseudo.word(u16::from(Protocol::UDP.0)).bytes(&data[at..]);
            let check = Some(sum.finish()).filter(|check| *check != 0).unwrap_or(0xffff);
            data[at + 6..at + 8].copy_from_slice(&check.to_be_bytes());
        }
        Some(())
    }
}

/// A flow label that says "labelled": not 0 (RFC 6437 §2).
#[inline]
pub fn flow_label(entropy: u16) -> u32 {
    u32::from(entropy) + 1
}

/// Of the dynamic ports, 49,152–65,535 (RFC 7348 §5).
fn source_port(entropy: u16) -> u16 {
    0xc000 | entropy >> 2
}

/// The outer IP header, without what differs between packets, and its length; `None` for endpoints of two versions.
fn ip_header(tunnel: &Tunnel, protocol: Protocol, out: &mut [u8]) -> Option<(Version, usize)> {
    let traffic_class = TrafficClass(0);
    match (tunnel.local, tunnel.remote) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let fragmentation = Fragmentation { dont_fragment: true, more: false, offset: 0 };
            let (payload_length, id, ttl) = (0, 0, TTL);
            let fields =
                Ipv4Fields { traffic_class, payload_length, id, fragmentation, ttl, protocol, src, dst };
            let length = fields.write(out).ok()?;
            // Total length and checksum are each packet's own.
            out[2..4].fill(0);
            out[10..12].fill(0);
            Some((Version::V4, length))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let (next_header, hop_limit) = (protocol, TTL);
            let (flow_label, payload_length) = (0, 0);
            let fields =
                Ipv6Fields { traffic_class, flow_label, payload_length, next_header, hop_limit, src, dst };
            Some((Version::V6, fields.write(out).ok()?))
        }
        _ => None,
    }
}

/// The headers behind the IP header, without what differs between packets, and their length.
fn between(encapsulation: Encapsulation, out: &mut [u8]) -> Option<usize> {
    match encapsulation {
        Encapsulation::Esp | Encapsulation::IpIp | Encapsulation::Direct => Some(0),
        Encapsulation::Gre { key, sequence } => {
            Gre { protocol: EtherType::IPV4, key, sequence: sequence.then_some(0) }.write(out).ok()
        }
        Encapsulation::EspUdp(EspUdp { local_port, remote_port, .. })
        | Encapsulation::WireGuard(WireGuard { local_port, remote_port }) => {
            out[..2].copy_from_slice(&local_port.to_be_bytes());
            out[2..4].copy_from_slice(&remote_port.to_be_bytes());
            Some(udp::HEADER_LENGTH)
        }
        Encapsulation::Vxlan(Vxlan { vni, local_mac, remote_mac }) => {
            out[2..4].copy_from_slice(&vxlan::PORT.to_be_bytes());
            let mut length = udp::HEADER_LENGTH;
            length += vxlan::write(vni, &mut out[length..]).ok()?;
            let link = Ethernet { dst: remote_mac, src: local_mac, vlan: None, ether_type: EtherType::IPV4 };
            Some(length + link.write(&mut out[length..]).ok()?)
        }
    }
}

/// What differs between the GRE headers of a tunnel: what they carry, and the number, which comes last (RFC 2890 §2).
#[inline(always)]
fn gre(header: &mut [u8], inner: Version, sequence: Option<u32>) {
    let protocol = if inner == Version::V4 { EtherType::IPV4 } else { EtherType::IPV6 };
    header[2..4].copy_from_slice(&protocol.0.to_be_bytes());
    if let (Some(sequence), Some(last)) = (sequence, header.last_chunk_mut()) {
        *last = sequence.to_be_bytes();
    }
}
