//! ESP in UDP (RFC 3948): past NATs, and past filters that know no ESP.

use crate::context::{Context, Egress, Meta, Version};
use crate::drop_reason::DropReason;
use crate::id::{Spi, TunnelId};
use crate::message::Event;
use crate::packet::{Packet, PacketPool};
use crate::snapshot::{Encapsulation, EspUdp, Nat, Tunnel};
use crate::stage::Verdict;
use crate::stage::decap::{ends, open, outer, unless_transit};
use crate::wire::esp::Esp;
use crate::wire::esp_udp::{KEEPALIVE, PORT, Payload};
use crate::wire::flow::as_bits;
use crate::wire::udp::{self, UdpHeader};
use crate::wire::{Protocol, TrafficClass};

/// The SPI of a datagram that carries ESP.
pub fn spi<P: Packet>(packet: &P, meta: &Meta) -> Option<Spi> {
    let (header, payload) = UdpHeader::parse(packet.data().get(meta.upper as usize..)?).ok()?;
    match Payload::parse(payload) {
        Ok(Payload::Esp(esp)) if header.dst_port() == PORT => Some(Esp::parse(esp).ok()?.spi),
        _ => None,
    }
}

fn settings(tunnel: &Tunnel) -> Option<EspUdp> {
    match tunnel.encapsulation {
        Encapsulation::EspUdp(settings) => Some(settings),
        _ => None,
    }
}

/// Takes the headers off a datagram to ESP's port that is for a tunnel of ours, and opens it.
pub fn decap<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    let (src, dst, class) = ends(packet, meta)?;
    let datagram = packet.data().get(meta.upper as usize..).ok_or(DropReason::Truncated)?;
    let (header, payload) = UdpHeader::parse(datagram).map_err(|_| DropReason::Truncated)?;
    let (port, padding) = (header.src_port(), datagram.len() - udp::HEADER_LENGTH - payload.len());
    match Payload::parse(payload) {
        Ok(Payload::Esp(_)) => {}
        Ok(Payload::Ike(_)) => return Ok(()),
        Ok(Payload::Keepalive) => {
            let mut tunnels = context.snapshot.tunnels.iter();
            let ours = tunnels.any(|tunnel| settings(tunnel).is_some() && as_bits(tunnel.local) == dst);
            return if ours { Err(DropReason::KeepaliveConsumed) } else { Ok(()) };
        }
        Err(_) => return unless_transit(context, packet, meta, DropReason::BadEncapsulation),
    }
    let (from, spi, tops) = (outer(packet, meta.version)?.0, spi(packet, meta), top(context, packet, meta));
    packet.trim(padding);
    open(context, packet, meta, (meta.upper as usize + udp::HEADER_LENGTH, class), |tunnel| {
        let far = (as_bits(tunnel.remote), settings(tunnel).map(|settings| settings.remote_port));
        settings(tunnel).is_some_and(|settings| {
            // RFC 3948 §2.1, §3.2: the ICV, not the source, says whose a packet is that came through a NAT.
            as_bits(tunnel.local) == dst && (settings.nat == Nat::Remote || far == (src, Some(port)))
        })
    })?;
    if let (Some(tunnel), Some(spi)) = (meta.tunnel_in, spi)
        && context.sas.inbound.get(&spi).map(|inbound| inbound.sa.top()) > tops
        && let Some(EspUdp { remote_port, nat: Nat::Remote, .. }) =
            settings(&context.snapshot.tunnels[tunnel.index()])
        && (context.snapshot.tunnels[tunnel.index()].remote, remote_port) != (from, port)
    {
        context.report(Event::FarEnd { tunnel, ip: from, port });
    }
    Ok(())
}

/// The highest sequence number that the packet's SA has accepted.
fn top<A: PacketPool>(context: &Context<A>, packet: &A::Packet, meta: &Meta) -> Option<u64> {
    context.sas.inbound.get(&spi(packet, meta)?).map(|inbound| inbound.sa.top())
}

/// Originates a keepalive (RFC 3948 §2.3, §4) of `tunnel`, beside its SAs.
pub fn keepalive<A: PacketPool>(context: &mut Context<A>, tunnel: TunnelId) {
    let Some(settings) = context.snapshot.tunnels.get(tunnel.index()).and_then(settings) else { return };
    let outer = context.snapshot.outer(tunnel);
    let (Some(template), adjacency) = (outer.template.clone(), outer.adjacency) else { return };
    debug_assert!(settings.nat == Nat::Local, "nobody else has a mapping to keep");
    let upper = template.length() - udp::HEADER_LENGTH;
    let meta = Meta {
        version: template.outer(),
        protocol: Protocol::UDP,
        upper: upper as u16,
        has_upper: true,
        egress: Egress::Adjacency(adjacency),
        ..Meta::default()
    };
    context.originate(meta, template.length() + 1, |out| {
        out[template.length()] = KEEPALIVE;
        template.write_spread(out, Version::V4, TrafficClass(0), 0).is_some()
    });
}
