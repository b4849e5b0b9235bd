//! ARP for IPv4 over Ethernet (RFC 826), announcements (RFC 5227).

use super::{EtherType, MacAddr, Result, WireError, put, view};
use std::net::Ipv4Addr;
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub const LENGTH: usize = size_of::<Body>();
const ETHERNET: u16 = 1;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Body {
    hardware: U16,
    protocol: U16,
    hardware_length: u8,
    protocol_length: u8,
    operation: U16,
    sender_mac: MacAddr,
    sender_ip: [u8; 4],
    target_mac: MacAddr,
    target_ip: [u8; 4],
}

/// Question or answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Question or answer.
    pub operation: Operation,
    /// Who sends it.
    pub sender_mac: MacAddr,
    /// The sender's address; unspecified in a probe (RFC 5227 §2.1.1).
    pub sender_ip: Ipv4Addr,
    /// Zero in a request.
    pub target_mac: MacAddr,
    /// The address asked for, or the asker's in a reply.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// The packet in an Ethernet payload; trailing padding is ignored.
    pub fn parse(data: &[u8]) -> Result<Arp> {
        let (body, _) = view::<Body>(data)?;
        // RFC 826 "Packet Reception": the address spaces first, then the opcode.
        if body.hardware.get() != ETHERNET || body.protocol.get() != EtherType::IPV4.0 {
            return Err(WireError::Unsupported);
        }
        if body.hardware_length != 6 || body.protocol_length != 4 {
            return Err(WireError::HeaderLength);
        }
        let operation = match body.operation.get() {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return Err(WireError::Unsupported),
        };
        let sender_ip = Ipv4Addr::from(body.sender_ip);
        // No host resolves to a group (RFC 1812 §3.3.2), and no group sends.
        if !body.sender_mac.is_unicast() || sender_ip.is_multicast() || sender_ip.is_broadcast() {
            return Err(WireError::Address);
        }
        Ok(Arp {
            operation,
            sender_mac: body.sender_mac,
            sender_ip,
            target_mac: body.target_mac,
            target_ip: body.target_ip.into(),
        })
    }

    /// Asks who has `target`.
    pub const fn request(mac: MacAddr, ip: Ipv4Addr, target: Ipv4Addr) -> Arp {
        Arp {
            operation: Operation::Request,
            sender_mac: mac,
            sender_ip: ip,
            target_mac: MacAddr::ZERO,
            target_ip: target,
        }
    }

    /// Answers this request for its target address, which is at `mac`.
    pub const fn reply(&self, mac: MacAddr) -> Arp {
        Arp {
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// Tells everyone that `ip` is at `mac` now: a broadcast request for oneself (RFC 5227 §2.3, §3).
    pub const fn announcement(mac: MacAddr, ip: Ipv4Addr) -> Arp {
        Arp::request(mac, ip, ip)
    }

    /// True for a gratuitous packet, request or reply: the sender speaks of its own address.
    pub fn is_gratuitous(&self) -> bool {
        self.sender_ip == self.target_ip
    }

    /// True for an address probe: it teaches nothing about its sender (RFC 5227 §1.1).
    pub fn is_probe(&self) -> bool {
        self.operation == Operation::Request && self.sender_ip.is_unspecified()
    }

    /// Writes the packet at the start of `out` and returns its length, [`LENGTH`].
    pub fn write(&self, out: &mut [u8]) -> Result<usize> {
        let operation = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        let body = Body {
            hardware: U16::new(ETHERNET),
            protocol: U16::new(EtherType::IPV4.0),
            hardware_length: 6,
            protocol_length: 4,
            operation: U16::new(operation),
            sender_mac: self.sender_mac,
            sender_ip: self.sender_ip.octets(),
            target_mac: self.target_mac,
            target_ip: self.target_ip.octets(),
        };
        put(out, &body)
    }
}
