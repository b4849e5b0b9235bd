//! Tells a sender why its packet went no further, at a limited rate.

use crate::context::{Context, Meta, Version};
use crate::packet::{Packet, PacketPool};
use crate::wire::icmp::{self, IcmpError};
use crate::wire::icmpv6::{self, Icmpv6Error};
use crate::wire::{MacAddr, Protocol, ipv6};
use std::net::{Ipv4Addr, Ipv6Addr};

/// What is wrong, in terms of either IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No hop left.
    TimeExceeded,
    /// No route to the destination, or no tunnel.
    NoRoute,
    /// The neighbour does not answer.
    Unresolved,
    /// Larger than the next MTU, bytes.
    TooBig { mtu: u16 },
    /// Nothing here speaks this protocol.
    NoProtocol,
    /// Nothing here listens on this port.
    NoPort,
    /// The access list rejects it (RFC 1812 §5.2.7.1, RFC 4443 §3.1).
    Prohibited,
}

impl Problem {
    fn v4(self) -> IcmpError {
        match self {
            Problem::TimeExceeded => IcmpError::TimeExceeded,
            Problem::NoRoute => IcmpError::NetUnreachable,
            Problem::Unresolved => IcmpError::HostUnreachable,
            Problem::TooBig { mtu } => IcmpError::FragmentationNeeded { mtu },
            Problem::NoProtocol => IcmpError::ProtocolUnreachable,
            Problem::NoPort => IcmpError::PortUnreachable,
            Problem::Prohibited => IcmpError::AdminProhibited,
        }
    }

    fn v6(self, packet: &[u8], upper: usize) -> Icmpv6Error {
        match self {
            Problem::TimeExceeded => Icmpv6Error::HopLimitExceeded,
            Problem::NoRoute => Icmpv6Error::NoRoute,
            Problem::Unresolved => Icmpv6Error::AddressUnreachable,
            Problem::TooBig { mtu } => Icmpv6Error::PacketTooBig { mtu: u32::from(mtu) },
            Problem::NoProtocol => {
                let pointer = next_header_field(packet, upper) as u32;
                Icmpv6Error::ParameterProblem { problem: icmpv6::Problem::NextHeader, pointer }
            }
            Problem::NoPort => Icmpv6Error::PortUnreachable,
            Problem::Prohibited => Icmpv6Error::AdminProhibited,
        }
    }
}

/// Where the field lies that names the header at `upper` (RFC 4443 §3.4, pointer), in a packet whose extension headers
/// were walked before.
fn next_header_field(packet: &[u8], upper: usize) -> usize {
    let byte = |at: usize| packet.get(at).copied().unwrap_or_default();
    let (mut field, mut at) = (6, ipv6::HEADER_LENGTH);
    while at < upper {
        let units = if Protocol(byte(field)) == Protocol::FRAGMENT { 0 } else { byte(at + 1) };
        field = at;
        at += 8 + usize::from(units) * 8;
    }
    field
}

/// Originates an ICMP error about `packet`, if the RFCs and the rate limit allow one.
#[cold]
#[inline(never)]
pub fn send<A: PacketPool>(context: &mut Context<A>, packet: &A::Packet, meta: &Meta, problem: Problem) {
    if meta.own || context.originated.is_full() {
        return;
    }
    let link_dst = if meta.link_group { MacAddr::BROADCAST } else { MacAddr::ZERO };
    match meta.version {
        Version::V4 => {
            let Some(from) = source_v4(context, meta) else { return };
            let error = problem.v4();
            if !icmp::may_send_error(packet.data(), link_dst) || !context.icmp_errors.take(context.now) {
                return;
            }
            let room = packet.len().saturating_add(28).min(icmp::MAX_ERROR_LENGTH);
            originate(context, meta, room, |out| icmp::write_error(error, from, packet.data(), out).ok());
        }
        Version::V6 => {
            let Some(from) = source_v6(context, meta) else { return };
            let error = problem.v6(packet.data(), meta.upper.into());
            if !icmpv6::may_send_error(error, packet.data(), link_dst)
                || !context.icmp_errors.take(context.now)
            {
                return;
            }
            let room = packet.len().saturating_add(48).min(icmpv6::MAX_ERROR_LENGTH);
            originate(context, meta, room, |out| icmpv6::write_error(error, from, packet.data(), out).ok());
        }
    }
}

/// The router's own address that the sender knows: of the interface the packet came by (RFC 1812 §4.3.2.4), or the
/// router's name address if it came out of a tunnel.
fn source_v4<A: PacketPool>(context: &Context<A>, meta: &Meta) -> Option<Ipv4Addr> {
    let interface = &context.snapshot.interfaces[meta.interface.index()];
    let arrived = if meta.tunnel_in.is_none() { interface.ipv4() } else { None };
    arrived.or(context.snapshot.router_v4)
}

fn source_v6<A: PacketPool>(context: &Context<A>, meta: &Meta) -> Option<Ipv6Addr> {
    let interface = &context.snapshot.interfaces[meta.interface.index()];
    let arrived = if meta.tunnel_in.is_none() { interface.ipv6() } else { None };
    arrived.or(context.snapshot.router_v6)
}

/// Originates a packet of at most `room` bytes whose length `fill` returns.
fn originate<A: PacketPool>(
    context: &mut Context<A>,
    about: &Meta,
    room: usize,
    fill: impl FnOnce(&mut [u8]) -> Option<usize>,
) {
    let mut buffer = [0u8; icmpv6::MAX_ERROR_LENGTH];
    let Some(length) = buffer.get_mut(..room).and_then(fill) else { return };
    // The interface, for a sender whose address is link-local.
    let Meta { interface, version, .. } = *about;
    let meta = Meta { interface, version, has_upper: true, ..Meta::default() };
    context.originate(meta, length, |out| {
        out.copy_from_slice(&buffer[..length]);
        true
    });
}
