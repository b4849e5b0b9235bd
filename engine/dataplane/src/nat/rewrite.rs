//! Addresses and ports of a packet, rewritten, its checksums kept right (RFC 1624, RFC 3022 §4).

use super::Endpoint;
use crate::wire::Protocol;
use crate::wire::checksum::{self, Sum};
use crate::wire::ipv4::Ipv4Header;
use std::net::Ipv4Addr;

/// Where a packet comes from, or where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Source.
    Source,
    /// Destination.
    Destination,
}

/// Bytes of an ICMP error before what it quotes.
const ICMP_HEADER: usize = 8;
const IP_CHECKSUM: usize = 10;

/// Rewrites one end of `packet`, an IPv4 packet or as much of one as is quoted. Ports stay as they are where it
/// shows none, and checksums where it has none. False, and unchanged, if it is no IPv4 packet.
#[inline]
pub fn rewrite(packet: &mut [u8], end: End, new: Endpoint) -> bool {
    let Ok(header) = Ipv4Header::parse_quoted(packet) else { return false };
    let (protocol, upper) = (header.protocol(), header.header_length());
    let first = header.fragmentation().offset == 0;
    let (at, old) = match end {
        End::Source => (12, header.src()),
        End::Destination => (16, header.dst()),
    };
    let address = difference(old, new.address);
    packet[at..at + 4].copy_from_slice(&new.address.octets());
    fix(packet, IP_CHECKSUM, address);
    if !first {
        return true;
    }
    // Where the port is, and the checksum; an ICMP checksum covers no addresses (RFC 792).
    let (port, check, address) = match (protocol, end) {
        (Protocol::TCP, End::Source) => (0, 16, address),
        (Protocol::TCP, End::Destination) => (2, 16, address),
        (Protocol::UDP, End::Source) => (0, 6, address),
        (Protocol::UDP, End::Destination) => (2, 6, address),
        // The identifier is the initiator's port, whichever end that is.
        (Protocol::ICMP, _) if is_query(packet.get(upper)) => (4, 2, Sum::default()),
        _ => return true,
    };
    let Some(bytes) = packet.get_mut(upper + port..upper + port + 2) else { return true };
    let old_port = u16::from_be_bytes([bytes[0], bytes[1]]);
    bytes.copy_from_slice(&new.port.to_be_bytes());
    let change = address.word(!old_port).word(new.port);
    let Some(&[a, b]) = packet.get(upper + check..upper + check + 2) else { return true };
    if protocol != Protocol::UDP {
        fix(packet, upper + check, change);
    } else if [a, b] != [0, 0] {
        // Zero says "no checksum", and stays; a computed zero is sent as its other form (RFC 768).
        fix(packet, upper + check, change);
        let bytes = &mut packet[upper + check..upper + check + 2];
        if bytes == [0, 0] {
            bytes.fill(0xff);
        }
    }
    true
}

fn is_query(kind: Option<&u8>) -> bool {
    matches!(kind, Some(0 | 8))
}

/// What replacing one address by another adds to a sum.
#[inline]
const fn difference(old: Ipv4Addr, new: Ipv4Addr) -> Sum {
    Sum::zero().long(!old.to_bits()).long(new.to_bits())
}

/// HC' = ~(~HC + ~m + m') (RFC 1624 §3, equation 3).
#[inline]
fn fix(packet: &mut [u8], at: usize, change: Sum) {
    if let Some(bytes) = packet.get_mut(at..at + 2) {
        let check = change.word(!u16::from_be_bytes([bytes[0], bytes[1]])).finish();
        bytes.copy_from_slice(&check.to_be_bytes());
    }
}

/// Rewrites `packet`, an ICMP error, and what it quotes: one end of the quoted packet becomes `inner`, and one end of
/// the error, the opposite one, `outer` (RFC 5508 §4.2). False, and unchanged, if its checksum is wrong (§4.1
/// REQ-3) or it quotes too little.
pub fn rewrite_error(packet: &mut [u8], inner: (End, Endpoint), outer: (End, Ipv4Addr)) -> bool {
    let Ok(header) = Ipv4Header::parse_quoted(packet) else { return false };
    let upper = header.header_length();
    let Some(message) = packet.get(upper..) else { return false };
    if !Sum::default().bytes(message).is_intact() {
        return false;
    }
    let Some(quote) = packet.get_mut(upper + ICMP_HEADER..) else { return false };
    if !rewrite(quote, inner.0, inner.1) {
        return false;
    }
    // The type of an error is no query's: its port is left alone.
    rewrite(packet, outer.0, Endpoint { address: outer.1, port: 0 });
    packet[upper + 2..upper + 4].fill(0);
    let check = checksum::checksum(&packet[upper..]);
    packet[upper + 2..upper + 4].copy_from_slice(&check.to_be_bytes());
    true
}
