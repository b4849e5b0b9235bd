//! STAMP probes inside tunnels (RFC 8762): sent, reflected and taken home by the data plane itself, so
//! that they see what packets see.

use super::Verdict;
use super::local::TTL;
use crate::context::{Context, Egress, Meta, Version};
use crate::drop_reason::DropReason;
use crate::id::{Nanos, TunnelId};
use crate::message::Event;
use crate::packet::{Packet, PacketPool};
use crate::snapshot::{Encapsulation, EspUdp, Nat, Tunnel};
use crate::stage::decap::outer;
use crate::wire::ipv4::{Fragmentation, Ipv4Fields};
use crate::wire::ipv6::Ipv6Fields;
use crate::wire::stamp::{self, Probe, Reflection};
use crate::wire::{Protocol, TrafficClass, ipv4, ipv6, udp};
use std::net::IpAddr;

/// The probes' own UDP port, at the sender's end.
const SENDER_PORT: u16 = 49_862;

/// The session that MARKs belong to: no tunnel has this number.
const MARK: u16 = u16::MAX;

/// Sends probe `sequence` inside `tunnel`.
pub fn send<A: PacketPool>(context: &mut Context<A>, tunnel: TunnelId, sequence: u32) {
    probe(
        context,
        tunnel,
        TrafficClass::NETWORK_CONTROL,
        Probe { sequence, session: tunnel.0, sent: context.now },
    );
}

/// Sends MARK `sequence` down `tunnel`, behind what this worker has sent by it until now ([`crate::ecmp::mark`]). In
/// the class that queues serve last.
#[cold]
pub fn mark<A: PacketPool>(context: &mut Context<A>, tunnel: TunnelId, sequence: u32) {
    context.counters.marks.sent.add(1);
    probe(context, tunnel, TrafficClass::default(), Probe { sequence, session: MARK, sent: context.now });
}

fn probe<A: PacketPool>(context: &mut Context<A>, tunnel: TunnelId, class: TrafficClass, probe: Probe) {
    let Some(ends) = context.snapshot.tunnels.get(tunnel.index()) else { return };
    let Some(remote) = inside(ends) else { return };
    let ends = ((ends.local, SENDER_PORT), (remote, stamp::PORT));
    datagram(context, tunnel, class, ends, |payload| probe.write(payload).is_ok());
}

/// Answers a probe through the tunnel it came by.
pub fn reflect<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    let tunnel = arrived_by(context, packet, meta)?;
    let probe = Probe::parse(payload(packet, meta)?).map_err(|_| DropReason::Truncated)?;
    let reflected = &mut context.sequences[tunnel.index()].reflected;
    // MARKs are no part of what the far end counts as the tunnel's probes.
    *reflected = reflected.wrapping_add(u32::from(probe.session != MARK));
    // Decapsulated, not forwarded: the TTL is the one it was sent with.
    let (sequence, now) = (*reflected, context.now);
    let reflection = Reflection { sequence, sent: now, received: now, probe, probe_ttl: TTL };
    let (from, to, _) = outer(packet, meta.version)?;
    if let Encapsulation::EspUdp(EspUdp { nat: Nat::Remote, inside, .. }) =
        context.snapshot.tunnels[tunnel.index()].encapsulation
        && inside != Some(from)
    {
        context.report(Event::FarInside { tunnel, ip: from });
    }
    let ends = ((to, stamp::PORT), (from, SENDER_PORT));
    datagram(context, tunnel, TrafficClass::NETWORK_CONTROL, ends, |payload| {
        reflection.write(payload).is_ok()
    });
    Err(DropReason::ProbeConsumed)
}

/// Reports a probe that came back.
pub fn home<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    let tunnel = arrived_by(context, packet, meta)?;
    let reflection = Reflection::parse(payload(packet, meta)?).map_err(|_| DropReason::Truncated)?;
    if reflection.probe.session == MARK {
        let awaited = context.marks.answered(tunnel, reflection.probe.sequence);
        context.counters.marks.answered.add(u64::from(awaited));
        return Err(DropReason::ProbeConsumed);
    }
    let rtt: Nanos = reflection.round_trip(context.now);
    let (sequence, reflector_sequence) = (reflection.probe.sequence, reflection.sequence);
    context.report(Event::ProbeReply { tunnel, sequence, reflector_sequence, rtt });
    Err(DropReason::ProbeConsumed)
}

/// What the datagram carries, its checksum verified: GRE protects nothing.
fn payload<'a, P: Packet>(packet: &'a P, meta: &Meta) -> Result<&'a [u8], DropReason> {
    let (src, dst, _) = outer(packet, meta.version)?;
    let datagram = packet.data().get(meta.upper as usize..).ok_or(DropReason::Truncated)?;
    udp::verify(datagram, src, dst).map_err(|_| DropReason::BadChecksum)?;
    datagram.get(udp::HEADER_LENGTH..).ok_or(DropReason::Truncated)
}

/// Where probes reach the far end; `None` behind a NAT before it has sent one itself.
fn inside(tunnel: &Tunnel) -> Option<IpAddr> {
    match tunnel.encapsulation {
        Encapsulation::EspUdp(EspUdp { nat: Nat::Remote, inside, .. }) => inside,
        _ => Some(tunnel.remote),
    }
}

/// The tunnel a probe came by: only its own far end may send one.
fn arrived_by<A: PacketPool>(
    context: &Context<A>,
    packet: &A::Packet,
    meta: &Meta,
) -> Result<TunnelId, DropReason> {
    let (src, dst, _) = outer(packet, meta.version)?;
    let ends = |tunnel: &&Tunnel| match tunnel.encapsulation {
        // Its ICV says that it is the far end's; by which address it knows itself is its own affair.
        Encapsulation::EspUdp(EspUdp { nat: Nat::Remote, .. }) => tunnel.local == dst,
        _ => (tunnel.remote, tunnel.local) == (src, dst),
    };
    context
        .snapshot
        .tunnels
        .iter()
        .filter(ends)
        .find(|tunnel| match tunnel.encapsulation {
            Encapsulation::Direct => meta.tunnel_in.is_none() && tunnel.interface == meta.interface,
            _ => meta.tunnel_in == Some(tunnel.id),
        })
        .map(|tunnel| tunnel.id)
        .ok_or(DropReason::NoListener)
}

/// Originates a UDP datagram of STAMP's length inside `tunnel`.
fn datagram<A: PacketPool>(
    context: &mut Context<A>,
    tunnel: TunnelId,
    class: TrafficClass,
    (from, to): ((IpAddr, u16), (IpAddr, u16)),
    fill: impl FnOnce(&mut [u8]) -> bool,
) {
    const UDP: usize = udp::HEADER_LENGTH + stamp::LENGTH;
    let (version, header, protocol) = match from.0 {
        IpAddr::V4(_) => (Version::V4, ipv4::HEADER_LENGTH, Protocol::UDP),
        IpAddr::V6(_) => (Version::V6, ipv6::HEADER_LENGTH, Protocol::UDP),
    };
    let meta = Meta {
        version,
        protocol,
        upper: header as u16,
        has_upper: true,
        egress: Egress::Tunnel(tunnel),
        ..Meta::default()
    };
    context.originate(meta, header + UDP, |out| {
        let (ip, datagram) = out.split_at_mut(header);
        fill(&mut datagram[udp::HEADER_LENGTH..])
            && udp::write(datagram, from, to).is_ok()
            && ip_header(ip, (class, TTL, Protocol::UDP), from.0, to.0, UDP as u16)
    });
}

/// The IP header of a UDP datagram with this class and TTL.
pub(crate) fn ip_header(
    out: &mut [u8],
    (traffic_class, ttl, protocol): (TrafficClass, u8, Protocol),
    src: IpAddr,
    dst: IpAddr,
    payload_length: u16,
) -> bool {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let fragmentation = Fragmentation { dont_fragment: true, more: false, offset: 0 };
            Ipv4Fields { traffic_class, payload_length, id: 0, fragmentation, ttl, protocol, src, dst }
                .write(out)
                .is_ok()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let next_header = protocol;
            let fields = Ipv6Fields {
                traffic_class,
                flow_label: 0,
                payload_length,
                next_header,
                hop_limit: ttl,
                src,
                dst,
            };
            fields.write(out).is_ok()
        }
        _ => false,
    }
}
