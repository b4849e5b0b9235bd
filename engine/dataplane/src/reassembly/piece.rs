//! One fragment: which datagram it belongs to and which bytes of it it brings.

use crate::drop_reason::DropReason;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::{self, Ipv6Header};
use crate::wire::{Ecn, Protocol};
use std::net::IpAddr;
use std::ops::Range;

/// The most bytes behind the IP header of a datagram of either version: 16 bits of length, less IPv4's own header.
const PAYLOAD_MAX: usize = u16::MAX as usize - 20;

/// What the fragments of one datagram share: RFC 791 §2.3 (with the protocol), RFC 8200 §4.5 (without).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Identification.
    pub id: u32,
    /// IPv4's protocol; [`Protocol::FRAGMENT`] for IPv6.
    pub protocol: Protocol,
}

/// A fragment's part of its datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Whose part it is.
    pub key: Key,
    /// Where its bytes lie in the packet.
    pub data: Range<usize>,
    /// Where they belong in the datagram's payload.
    pub offset: usize,
    /// Another fragment follows.
    pub more: bool,
    /// Its ECN field.
    pub ecn: Ecn,
}

impl Piece {
    /// The end of its bytes in the datagram's payload.
    pub fn end(&self) -> usize {
        self.offset + self.data.len()
    }

    /// The part that `packet`, an IP packet whose header has been checked, is of its datagram.
    ///
    /// # Errors
    /// If it is none, or one that no sender makes: no bytes, a length that is not a multiple of 8 before the last
    /// fragment, an end beyond 65,535 (RFC 791 §3.2, RFC 8200 §4.5).
    pub fn of(packet: &[u8]) -> Result<Piece, DropReason> {
        let piece = match packet.first().map(|byte| byte >> 4) {
            Some(4) => ipv4(packet),
            _ => ipv6(packet),
        };
        let piece = piece.ok_or(DropReason::FragmentMalformed)?;
        let whole_units = !piece.more || piece.data.len().is_multiple_of(8);
        if piece.data.is_empty() || piece.data.end > packet.len() || !whole_units || piece.end() > PAYLOAD_MAX
        {
            return Err(DropReason::FragmentMalformed);
        }
        Ok(piece)
    }
}

fn ipv4(packet: &[u8]) -> Option<Piece> {
    let header = Ipv4Header::parse_quoted(packet).ok()?;
    let place = header.fragmentation();
    place.is_fragment().then(|| Piece {
        key: Key {
            src: header.src().into(),
            dst: header.dst().into(),
            id: header.id().into(),
            protocol: header.protocol(),
        },
        data: header.payload(),
        offset: place.offset.into(),
        more: place.more,
        ecn: header.traffic_class().ecn(),
    })
}

fn ipv6(packet: &[u8]) -> Option<Piece> {
    let header = Ipv6Header::parse_quoted(packet).ok()?;
    let place = ipv6::fragment_place(packet).ok()??;
    Some(Piece {
        key: Key {
            src: header.src().into(),
            dst: header.dst().into(),
            id: place.fragment.id,
            protocol: Protocol::FRAGMENT,
        },
        data: place.data()..header.total_length(),
        offset: place.fragment.offset.into(),
        more: place.fragment.more,
        ecn: header.traffic_class().ecn(),
    })
}
