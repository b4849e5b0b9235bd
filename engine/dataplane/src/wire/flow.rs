//! Which flow a packet belongs to, and the hash that spreads flows over buckets.

use super::ipv4::Ipv4Header;
use super::ipv6::{Ipv6Header, Upper, walk};
use super::{Protocol, Result, WireError};
use crate::context::{Meta, Version};
use crate::id::Bucket;
use crate::packet::RxChecksum;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What packets of one flow have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Source; an IPv4 address as ::ffff:a.b.c.d (RFC 4291 §2.5.5.2).
    pub src: u128,
    /// Destination, likewise.
    pub dst: u128,
    /// What the packet carries.
    pub protocol: Protocol,
    /// Source port; 0 without ports.
    pub src_port: u16,
    /// Destination port; 0 without ports.
    pub dst_port: u16,
    /// A fragment. Only the first one has ports, so none counts: all fragments of a datagram have one key.
    pub fragment: bool,
}

/// An address of either version as one number; IPv4 as ::ffff:a.b.c.d (RFC 4291 §2.5.5.2).
#[inline]
pub const fn as_bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

impl FlowKey {
    /// The flow of an IPv4 packet whose payload is `payload`.
    #[inline]
    pub fn ipv4(header: &Ipv4Header, payload: &[u8]) -> FlowKey {
        let mapped = |address: Ipv4Addr| address.to_ipv6_mapped().to_bits();
        let fragment = header.fragmentation().is_fragment();
        let (src_port, dst_port) = ports(header.protocol(), fragment, payload);
        FlowKey {
            src: mapped(header.src()),
            dst: mapped(header.dst()),
            protocol: header.protocol(),
            src_port,
            dst_port,
            fragment,
        }
    }

    /// The flow of an IPv6 packet whose upper layer is `payload`, the packet from `upper.offset` on.
    #[inline]
    pub fn ipv6(header: &Ipv6Header, upper: &Upper, payload: &[u8]) -> FlowKey {
        let bits = |address: Ipv6Addr| address.to_bits();
        let fragment = upper.is_fragment();
        // The first fragment may have destination options that the others do not repeat, and only its next
        // header counts (RFC 8200 §4.5): the protocol seen may differ between fragments.
        let protocol = if fragment { Protocol::FRAGMENT } else { upper.protocol };
        let (src_port, dst_port) = ports(protocol, fragment, payload);
        FlowKey { src: bits(header.src()), dst: bits(header.dst()), protocol, src_port, dst_port, fragment }
    }

    /// The flow of a whole IP packet of either version.
    #[inline]
    pub fn of(packet: &[u8]) -> Result<FlowKey> {
        match packet.first().map(|byte| byte >> 4) {
            Some(4) => {
                let header = Ipv4Header::parse(packet, RxChecksum::Good)?;
                Ok(FlowKey::ipv4(header, &packet[header.payload()]))
            }
            Some(6) => {
                let header = Ipv6Header::parse(packet)?;
                let upper = walk(packet)?;
                Ok(FlowKey::ipv6(header, &upper, &packet[upper.offset..header.total_length()]))
            }
            Some(_) => Err(WireError::Version),
            None => Err(WireError::Truncated),
        }
    }

    /// A 64-bit hash. Both engines of a site use one seed, so that a flow has one bucket on either.
    #[inline]
    pub fn hash(&self, seed: u64) -> u64 {
        let [src, dst] = [self.src, self.dst].map(|address| [(address >> 64) as u64, address as u64]);
        hash(src, dst, rest(self.protocol, self.fragment, self.src_port, self.dst_port), seed)
    }

    /// The bucket: the hash's upper 16 bits.
    #[inline]
    pub fn bucket(&self, seed: u64) -> Bucket {
        bucket_of(self.hash(seed))
    }
}

/// The bucket of a packet that the walk has parsed, as [`FlowKey::bucket`] gives it: headers are not checked again, and
/// what is the same for all IPv4 packets is not computed again.
#[inline(always)]
pub fn bucket(packet: &[u8], meta: &Meta, seed: u64) -> Option<Bucket> {
    let payload = packet.get(usize::from(meta.upper)..)?;
    match meta.version {
        Version::V4 => {
            let (src_port, dst_port) = ports(meta.protocol, meta.fragment, payload);
            let mapped = |bits: u32| 0xffff_0000_0000 | u64::from(bits);
            let (src, dst) = ([0, mapped(meta.src_v4)], [0, mapped(meta.dst_v4)]);
            Some(bucket_of(hash(src, dst, rest(meta.protocol, meta.fragment, src_port, dst_port), seed)))
        }
        Version::V6 => bucket_v6(packet, payload, meta, seed),
    }
}

/// Seeds [`entropy`], so that what the underlay does with a flow has nothing to do with its bucket.
const ENTROPY_SEED: u64 = 0x6438_7348;

/// 16 bits that are a flow's own, for headers that the underlay spreads traffic by; as [`bucket`] takes packets.
#[inline]
pub fn entropy(packet: &[u8], meta: &Meta) -> u16 {
    bucket(packet, meta, ENTROPY_SEED).map_or(0, |Bucket(bits)| bits)
}

#[inline(never)]
fn bucket_v6(packet: &[u8], payload: &[u8], meta: &Meta, seed: u64) -> Option<Bucket> {
    let header = Ipv6Header::parse_quoted(packet).ok()?;
    let protocol = if meta.fragment { Protocol::FRAGMENT } else { meta.protocol };
    let (src_port, dst_port) = ports(protocol, meta.fragment, payload);
    let (src, dst) = (header.src().to_bits(), header.dst().to_bits());
    Some(FlowKey { src, dst, protocol, src_port, dst_port, fragment: meta.fragment }.bucket(seed))
}

#[inline(always)]
fn rest(protocol: Protocol, fragment: bool, src_port: u16, dst_port: u16) -> u64 {
    let ports = u64::from(src_port) << 16 | u64::from(dst_port);
    u64::from(protocol.0) << 33 | u64::from(fragment) << 32 | ports
}

#[inline(always)]
fn hash(src: [u64; 2], dst: [u64; 2], rest: u64, seed: u64) -> u64 {
    let high = mix(src[0] ^ ODD[0] ^ seed, dst[0] ^ ODD[1]);
    let low = mix(src[1] ^ ODD[2] ^ seed, dst[1] ^ ODD[3]);
    mix(mix(high ^ low.rotate_left(23) ^ ODD[0], rest ^ ODD[3]) ^ ODD[1], seed ^ ODD[2])
}

/// The hash's upper 16 bits.
#[inline(always)]
fn bucket_of(hash: u64) -> Bucket {
    Bucket((hash >> 48) as u16)
}

/// Fractional digits of π: odd-looking, and nobody chose them.
const ODD: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];

/// Multiplies to 128 bits and folds the halves: every bit of the factors reaches the middle of the product,
/// and the fold brings both ends in.
#[inline]
const fn mix(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    (product >> 64) as u64 ^ product as u64
}

#[inline]
fn ports(protocol: Protocol, fragment: bool, payload: &[u8]) -> (u16, u16) {
    match payload {
        &[a, b, c, d, ..] if protocol.has_ports() && !fragment => {
            (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
        }
        _ => (0, 0),
    }
}
