//! WireGuard: data messages are opened and sealed here, by [`crate::wireguard`]'s sessions; the handshake's messages go to
//! control and come from there.

use crate::batch::Slot;
use crate::context::{Context, Egress, Meta, Version};
use crate::drop_reason::DropReason;
use crate::id::{Nanos, TunnelId};
use crate::message::{Event, Retired};
use crate::packet::{Packet, PacketPool};
use crate::snapshot::Encapsulation;
use crate::stage::Verdict;
use crate::stage::decap::{ends, inside, outer};
use crate::stage::local::TTL;
use crate::stage::probe::ip_header;
use crate::wire::udp::{self, UdpHeader};
use crate::wire::wireguard::{Data, Message};
use crate::wire::{Protocol, TrafficClass, ipv4, ipv6};
use crate::wireguard::{Datagram, Keypairs, Punted, Receiver, SessionError, source};
use arrayvec::ArrayVec;
use std::net::IpAddr;

/// Takes a datagram to an address and port where a tunnel of ours listens; every other one passes.
pub fn decap<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    let (_, dst, class) = ends(packet, meta)?;
    let datagram = packet.data().get(meta.upper as usize..).ok_or(DropReason::Truncated)?;
    let (header, payload) = UdpHeader::parse(datagram).map_err(|_| DropReason::Truncated)?;
    let ports = (header.src_port(), header.dst_port());
    if !context.snapshot.listens(dst, ports.1) {
        return Ok(());
    }
    let padding = datagram.len() - udp::HEADER_LENGTH - payload.len();
    match Message::parse(payload) {
        Ok(Message::Data(Data { receiver, .. })) => {
            packet.trim(padding);
            open(context, packet, meta, (Receiver(receiver), ports.0, class))
        }
        Ok(_) => punt(context, packet, meta, ports),
        Err(_) => Err(DropReason::BadEncapsulation),
    }
}

/// Gives a handshake's message to control.
#[cold]
fn punt<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &Meta,
    ports: (u16, u16),
) -> Verdict {
    let (src, dst, _) = outer(packet, meta.version)?;
    let datagram = packet.data().get(meta.upper as usize..).ok_or(DropReason::Truncated)?;
    let (_, payload) = UdpHeader::parse(datagram).map_err(|_| DropReason::Truncated)?;
    let message = ArrayVec::try_from(payload).map_err(|_| DropReason::BadEncapsulation)?;
    let punted = Punted { from: (src, ports.0), to: (dst, ports.1), message };
    match context.handshakes.push(punted) {
        Ok(()) => Err(DropReason::HandshakeConsumed),
        Err(_) => Err(DropReason::HandshakeOverflow),
    }
}

fn open<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &mut Meta,
    (receiver, port, class): (Receiver, u16, TrafficClass),
) -> Verdict {
    let (src, dst, _) = outer(packet, meta.version)?;
    let (tunnel, now) = (receiver.tunnel(), context.now);
    let ours = context.snapshot.tunnels.get(tunnel.index()).filter(|tunnel| tunnel.local == dst);
    let Some(Encapsulation::WireGuard(settings)) = ours.map(|tunnel| tunnel.encapsulation) else {
        return Err(DropReason::UnknownSpi);
    };
    let keypairs = &mut context.sas.keypairs[tunnel.index()];
    let session = keypairs.receiving(receiver).ok_or(DropReason::UnknownSpi)?;
    let top = session.top();
    packet.adj(meta.upper as usize + udp::HEADER_LENGTH);
    session.open(packet, now).map_err(|error| match error {
        SessionError::Replay => DropReason::Replayed,
        SessionError::Authentication => DropReason::Authentication,
        SessionError::Over => DropReason::SaExhausted,
        SessionError::Malformed | SessionError::NoRoom => DropReason::BadEncapsulation,
    })?;
    let (newest, inner) = (session.top() > top, source(packet.data()));
    let allowed = inner.is_some_and(|(source, _)| session.allows(source));
    let events = &mut context.events;
    let confirmed =
        keypairs.confirm(receiver, |old| drop(events.push(Event::Retired(Retired::Session(old)))));
    if confirmed {
        context.report(Event::SessionConfirmed(receiver));
    }
    let remote = context.snapshot.tunnels[tunnel.index()].remote;
    // Whoever sends under the newest counter is where the far end is now (§2.1).
    if newest && (remote, settings.remote_port) != (src, port) {
        context.report(Event::FarEnd { tunnel, ip: src, port });
    }
    if packet.is_empty() {
        context.counters.wireguard(tunnel.index()).keepalives_received.add(1);
        return Err(DropReason::KeepaliveConsumed);
    }
    context.counters.wireguard(tunnel.index()).received.add(1);
    let Some((_, length)) = inner.filter(|(_, length)| *length <= packet.len()) else {
        return Err(DropReason::BadEncapsulation);
    };
    if !allowed {
        return Err(DropReason::Spoofed);
    }
    packet.trim(packet.len() - length);
    inside(context, packet, meta, tunnel, class)
}

/// Seals a packet, and leaves room for `headers`.
#[inline]
pub(crate) fn seal<P: Packet>(
    keypairs: &mut Keypairs,
    packet: &mut P,
    (headers, room): (usize, u16),
    now: Nanos,
) -> Result<bool, DropReason> {
    let session = keypairs.sending().ok_or(DropReason::NoSa)?;
    session.seal_behind(packet, headers, usize::from(room), now).map_err(|error| match error {
        SessionError::Over => DropReason::SaExhausted,
        _ => DropReason::NoRoom,
    })?;
    // Repeated, in case a report was lost to a full ring.
    Ok(session.needs_rekey() && session.sent().is_multiple_of(256))
}

/// Originates a keepalive: a data message with nothing in it (§6.5).
pub fn keepalive<A: PacketPool>(context: &mut Context<A>, tunnel: TunnelId) {
    let outer = context.snapshot.outer(tunnel);
    let (Some(template), adjacency, room) = (outer.template.clone(), outer.adjacency, outer.mtu) else {
        return;
    };
    let headers = template.length();
    let upper = headers - udp::HEADER_LENGTH;
    let meta = Meta {
        version: template.outer(),
        protocol: Protocol::UDP,
        upper: upper as u16,
        has_upper: true,
        egress: Egress::Adjacency(adjacency),
        own: true,
        ..Meta::default()
    };
    context.counters.originated.add(1);
    let packet = if context.originated.is_full() { None } else { context.pool.alloc() };
    let Some(mut packet) = packet else { return context.count_drop(DropReason::PoolExhausted) };
    let sealed = seal(&mut context.sas.keypairs[tunnel.index()], &mut packet, (headers, room), context.now);
    let written = sealed.and_then(|_| {
        let written = template.write_spread(packet.data_mut(), Version::V4, TrafficClass(0), 0);
        written.ok_or(DropReason::NoRoom)
    });
    match written {
        Ok(()) => {
            context.counters.wireguard(tunnel.index()).keepalives_sent.add(1);
            let meta = meta.addressed(packet.data());
            context.originated.push(Slot { packet, meta });
        }
        Err(reason) => context.count_drop(reason),
    }
}

/// Sends a handshake's message for control, by the route to its receiver.
#[cold]
pub fn send<A: PacketPool>(context: &mut Context<A>, datagram: Box<Datagram>) {
    let Datagram { from, to, message } = &*datagram;
    let (version, header) = match to.0 {
        IpAddr::V4(_) => (Version::V4, ipv4::HEADER_LENGTH),
        IpAddr::V6(_) => (Version::V6, ipv6::HEADER_LENGTH),
    };
    let length = udp::HEADER_LENGTH + message.len();
    let meta =
        Meta { version, protocol: Protocol::UDP, upper: header as u16, has_upper: true, ..Meta::default() };
    let like = (TrafficClass::NETWORK_CONTROL, TTL, Protocol::UDP);
    context.originate(meta, header + length, |out| {
        let (ip, payload) = out.split_at_mut(header);
        payload[udp::HEADER_LENGTH..].copy_from_slice(message);
        udp::write(payload, *from, *to).is_ok() && ip_header(ip, like, from.0, to.0, length as u16)
    });
    context.report(Event::Retired(Retired::Datagram(datagram)));
}
