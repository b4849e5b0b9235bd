//! The outer headers of a tunnel, written once and copied in front of every packet.

use crate::context::Version;
use crate::packet::Packet;
use crate::snapshot::{Encapsulation, Tunnel};
use crate::stage::local::TTL;
use crate::wire::gre::Gre;
use crate::wire::ipv4::{Fragmentation, Ipv4Fields};
use crate::wire::ipv6::Ipv6Fields;
use crate::wire::{EtherType, Protocol, TrafficClass, checksum, ipv4, ipv6};
use std::net::IpAddr;

/// IPv6, GRE with key and sequence number.
const ROOM: usize = 52;

/// Outer IP header and, for GRE, the GRE header. What differs between packets is filled in by
/// [`Template::write`].
///
/// DF is set: the tunnel's MTU follows the path's (RFC 1191), and a fragment of ESP would be reassembled before
/// decryption at best (RFC 4303 §3.4.1).
#[derive(Clone, Debug)]
pub struct Template {
    bytes: [u8; ROOM],
    length: u8,
    outer: Version,
    gre: bool,
    /// Sum of the IPv4 header as it stands in `bytes`: no length, no class, no checksum.
    sum: u16,
}

impl Template {
    /// The headers of `tunnel`; `None` where it has none, or endpoints of two IP versions.
    pub fn new(tunnel: &Tunnel) -> Option<Template> {
        let (protocol, gre) = match tunnel.encapsulation {
            Encapsulation::Direct => return None,
            Encapsulation::Esp => (Protocol::ESP, None),
            Encapsulation::Gre { key, sequence } => {
                (Protocol::GRE, Some(Gre { protocol: EtherType::IPV4, key, sequence: sequence.then_some(0) }))
            }
        };
        let mut bytes = [0; ROOM];
        let (outer, mut length) = match (tunnel.local, tunnel.remote) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let fragmentation = Fragmentation { dont_fragment: true, more: false, offset: 0 };
                let traffic_class = TrafficClass(0);
                let fields = Ipv4Fields {
                    traffic_class,
                    payload_length: 0,
                    id: 0,
                    fragmentation,
                    ttl: TTL,
                    protocol,
                    src,
                    dst,
                };
                (Version::V4, fields.write(&mut bytes).ok()?)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let traffic_class = TrafficClass(0);
                let (next_header, hop_limit) = (protocol, TTL);
                let fields = Ipv6Fields {
                    traffic_class,
                    flow_label: 0,
                    payload_length: 0,
                    next_header,
                    hop_limit,
                    src,
                    dst,
                };
                (Version::V6, fields.write(&mut bytes).ok()?)
            }
            _ => return None,
        };
        if outer == Version::V4 {
            // Total length and checksum are each packet's own.
            bytes[2..4].fill(0);
            bytes[10..12].fill(0);
        }
        let sum = !checksum::checksum(&bytes[..ipv4::HEADER_LENGTH]);
        if let Some(gre) = gre {
            length += gre.write(&mut bytes[length..]).ok()?;
        }
        Some(Template { bytes, length: length as u8, outer, gre: gre.is_some(), sum })
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
    /// headroom. `class` becomes the outer traffic class, `sequence` GRE's number where the tunnel has one.
    #[inline(always)]
    pub fn prepend<P: Packet>(
        &self,
        packet: &mut P,
        inner: Version,
        class: TrafficClass,
        sequence: Option<u32>,
    ) -> Option<()> {
        self.write(packet.prepend(self.length())?, inner, class, sequence)
    }

    /// The same over the first [`length`](Self::length) bytes of `out`, the packet with room for them.
    #[inline(always)]
    pub fn write(
        &self,
        out: &mut [u8],
        inner: Version,
        class: TrafficClass,
        sequence: Option<u32>,
    ) -> Option<()> {
        // Lengths that the compiler knows become moves: IPv4 alone (ESP), with GRE, with GRE and one field.
        match (self.outer, usize::from(self.length)) {
            (Version::V4, 20) => self.fill_v4::<20>(out, inner, class, sequence),
            (Version::V4, 24) => self.fill_v4::<24>(out, inner, class, sequence),
            (Version::V4, 28) => self.fill_v4::<28>(out, inner, class, sequence),
            (Version::V4, _) => self.fill_v4::<32>(out, inner, class, sequence),
            (Version::V6, _) => self.fill_v6(out, inner, class, sequence),
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
    ) -> Option<()> {
        let length = usize::from(self.length);
        let payload = u16::try_from(data.len() - ipv6::HEADER_LENGTH).ok()?;
        let out = data.get_mut(..length)?;
        out.copy_from_slice(self.bytes.get(..length)?);
        // Version 6, class, flow label 0 (RFC 8200 §3).
        *out.first_chunk_mut()? = (6 << 28 | u32::from(class.0) << 20).to_be_bytes();
        *out.get_mut(4..)?.first_chunk_mut()? = payload.to_be_bytes();
        if self.gre {
            gre(&mut out[ipv6::HEADER_LENGTH..], inner, sequence);
        }
        Some(())
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
