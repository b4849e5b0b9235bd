//! Packets for this engine itself.

use super::Verdict;
use crate::context::{Context, Meta, Version};
use crate::drop_reason::DropReason;
use crate::id::Spi;
use crate::message::Event;
use crate::packet::{Packet, PacketPool};
use crate::snapshot::{Encapsulation, Tunnel};
use crate::stage::decap::outer;
use crate::stage::icmp_error::{self, Problem};
use crate::stage::{bfd, neighbor, probe};
use crate::wire::bfd as wire_bfd;
use crate::wire::esp::Esp;
use crate::wire::icmp::{self, Icmp, IcmpError};
use crate::wire::icmpv6::{self, Icmpv6, Icmpv6Error};
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::{self, Ipv6Header};
use crate::wire::udp::{self, UdpHeader};
use crate::wire::{Protocol, stamp, vxlan, wireguard};
use std::net::IpAddr;

/// TTL and hop limit of what this engine sends (RFC 1700's default).
pub const TTL: u8 = 64;

/// Consumes, or turns round with an answer, a packet whose destination is one of our addresses or our groups.
#[inline(never)]
pub fn deliver<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    let (_, dst, _) = outer(packet, meta.version)?;
    let ours = match dst {
        IpAddr::V6(group) if group.is_multicast() => true,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => {
            context.snapshot.interfaces[meta.interface.index()].has(dst)
        }
        _ => context.snapshot.is_local(dst),
    };
    // The gateway's address has a route here even while another engine owns it.
    if meta.own || meta.fragment || !ours {
        return Err(DropReason::NoListener);
    }
    match meta.protocol {
        Protocol::ICMP if meta.version == Version::V4 => icmp(context, packet, meta),
        Protocol::ICMPV6 if meta.version == Version::V6 => icmpv6(context, packet, meta),
        Protocol::UDP => datagram(context, packet, meta),
        Protocol::ESP | Protocol::GRE => Err(DropReason::UnknownTunnel),
        _ => refuse(context, packet, meta, Problem::NoProtocol),
    }
}

fn refuse<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &Meta,
    problem: Problem,
) -> Verdict {
    icmp_error::send(context, packet, meta, problem);
    Err(DropReason::NoListener)
}

fn icmp<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    let message = packet.data().get(meta.upper as usize..).ok_or(DropReason::Truncated)?;
    match Icmp::parse(message) {
        Ok(Icmp::EchoRequest(_)) => {
            icmp::reply_in_place(packet.data_mut(), TTL).map_err(|_| DropReason::NoListener)?;
            meta.own = true;
            Ok(())
        }
        // Routers on the way to a tunnel's end are never heard through a tunnel.
        Ok(Icmp::Error(IcmpError::FragmentationNeeded { mtu }, quoted)) if meta.tunnel_in.is_none() => {
            if let Ok(header) = Ipv4Header::parse_quoted(quoted) {
                let mtu = icmp::path_mtu(mtu, header);
                let rest = quoted.get(header.header_length()..).unwrap_or_default();
                let (src, dst, protocol) = (header.src().into(), header.dst().into(), header.protocol());
                path_mtu(context, (src, dst, protocol), &Quoted::of(rest), mtu);
            }
            Err(DropReason::IcmpConsumed)
        }
        Ok(Icmp::Error(..)) => Err(DropReason::IcmpConsumed),
        _ => Err(DropReason::NoListener),
    }
}

fn icmpv6<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    let (src, dst, _) = outer(packet, meta.version)?;
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (src, dst) else { return Err(DropReason::BadIpHeader) };
    let message = packet.data().get(meta.upper as usize..).ok_or(DropReason::Truncated)?;
    match Icmpv6::parse(src, dst, message) {
        Ok(Icmpv6::NeighborDiscovery) if meta.tunnel_in.is_none() => neighbor::ndp(context, packet, meta),
        Ok(Icmpv6::EchoRequest(_)) if !dst.is_multicast() => {
            icmpv6::reply_in_place(packet.data_mut(), TTL).map_err(|_| DropReason::NoListener)?;
            meta.own = true;
            Ok(())
        }
        // Below the least MTU of IPv6 it is not to be believed (RFC 8201 §4).
        Ok(Icmpv6::Error(Icmpv6Error::PacketTooBig { mtu }, quoted))
            if meta.tunnel_in.is_none() && mtu >= u32::from(ipv6::MINIMUM_MTU) =>
        {
            if let Ok(header) = Ipv6Header::parse_quoted(quoted) {
                let rest = quoted.get(header.payload().start..).unwrap_or_default();
                let (src, dst, protocol) = (header.src().into(), header.dst().into(), header.next_header());
                path_mtu(
                    context,
                    (src, dst, protocol),
                    &Quoted::of(rest),
                    u16::try_from(mtu).unwrap_or(u16::MAX),
                );
            }
            Err(DropReason::IcmpConsumed)
        }
        Ok(Icmpv6::Error(..)) => Err(DropReason::IcmpConsumed),
        _ => Err(DropReason::NoListener),
    }
}

/// Reports a smaller path MTU if the quoted packet can only be one of ours (RFC 4301 §8.2.1): the endpoints are a
/// tunnel's, and for ESP the SPI is the one in use. With several workers another one may use it: control knows.
fn path_mtu<A: PacketPool>(
    context: &mut Context<A>,
    (src, dst, protocol): (IpAddr, IpAddr, Protocol),
    quoted: &Quoted,
    mtu: u16,
) {
    let sent = |tunnel: &Tunnel, spi: Option<Spi>| {
        let sa = context.sas.outbound[tunnel.id.index()].as_ref();
        spi.is_some_and(|spi| context.workers > 1 || sa.is_some_and(|sa| sa.spi() == spi))
    };
    let ours = context.snapshot.tunnels.iter().find(|tunnel| {
        (tunnel.local, tunnel.remote) == (src, dst)
            && match tunnel.encapsulation {
                Encapsulation::Esp => protocol == Protocol::ESP && sent(tunnel, quoted.spi),
                Encapsulation::EspUdp(settings) => {
                    let ports = (settings.local_port, settings.remote_port);
                    quoted.ports == Some(ports) && protocol == Protocol::UDP && sent(tunnel, quoted.udp_spi)
                }
                Encapsulation::WireGuard(settings) => {
                    let ports = (settings.local_port, settings.remote_port);
                    let sent = context.sas.keypairs[tunnel.id.index()].remote();
                    quoted.ports == Some(ports)
                        && protocol == Protocol::UDP
                        && quoted.receiver.is_some_and(|receiver| sent == Some(receiver))
                }
                Encapsulation::Vxlan(_) => {
                    let port = quoted.ports.map(|(_, port)| port);
                    protocol == Protocol::UDP && port == Some(vxlan::PORT)
                }
                Encapsulation::Gre { .. } => protocol == Protocol::GRE,
                Encapsulation::IpIp => matches!(protocol, Protocol::IPV4 | Protocol::IPV6),
                Encapsulation::Direct => false,
            }
    });
    if let Some((tunnel, encapsulation)) = ours.map(|tunnel| (tunnel.id, tunnel.encapsulation)) {
        let spi = match encapsulation {
            Encapsulation::Esp => quoted.spi,
            Encapsulation::EspUdp(_) => quoted.udp_spi,
            _ => None,
        };
        context.report(Event::PathMtu { tunnel, spi, mtu });
    }
}

/// What an ICMP error quotes of a packet behind its IP header: 8 bytes at least, and most routers more.
struct Quoted {
    spi: Option<Spi>,
    ports: Option<(u16, u16)>,
    /// The SPI behind a UDP header, if the quotation goes so far.
    udp_spi: Option<Spi>,
    /// The same of WireGuard's receiver.
    receiver: Option<u32>,
}

impl Quoted {
    fn of(rest: &[u8]) -> Quoted {
        let spi = |bytes: &[u8]| Esp::parse(bytes).ok().map(|esp| esp.spi);
        let ports =
            rest.first_chunk().map(|&[a, b, c, d]| (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])));
        let behind = rest.get(udp::HEADER_LENGTH..);
        let receiver = behind.and_then(wireguard::Data::quoted);
        Quoted { spi: spi(rest), ports, udp_spi: behind.and_then(spi), receiver }
    }
}

fn datagram<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    let payload = packet.data().get(meta.upper as usize..).ok_or(DropReason::Truncated)?;
    match UdpHeader::parse(payload) {
        Ok((header, _)) if matches!(header.dst_port(), wire_bfd::PORT | wire_bfd::MULTIHOP_PORT) => {
            let port = header.dst_port();
            bfd::receive(context, packet, meta, port)
        }
        Ok((header, _)) if header.dst_port() == stamp::PORT => probe::reflect(context, packet, meta),
        Ok((header, _)) if header.src_port() == stamp::PORT => probe::home(context, packet, meta),
        Ok(_) => refuse(context, packet, meta, Problem::NoPort),
        Err(_) => Err(DropReason::Truncated),
    }
}
