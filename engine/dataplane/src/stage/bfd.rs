//! BFD packets of this engine's sessions: taken in, and sent (RFC 5881, RFC 5883).

use super::Verdict;
use crate::bfd::{Arrived, Hops};
use crate::context::{Context, Egress, Meta, Version};
use crate::drop_reason::DropReason;
use crate::message::Event;
use crate::packet::{Packet, PacketPool};
use crate::stage::decap::outer;
use crate::stage::probe::ip_header;
use crate::wire::bfd::{Control, LENGTH, State};
use crate::wire::{Protocol, TrafficClass, ipv4, ipv6, udp};
use std::net::IpAddr;

/// What nothing but a neighbour on the link can send (RFC 5881 §5, RFC 5082); from further away the most there can be.
const TTL: u8 = 255;
/// First of the source ports (RFC 5881 §4).
const SOURCE_PORTS: u16 = 49_152;

/// Gives a packet to its session.
pub fn receive<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &mut Meta,
    port: u16,
) -> Verdict {
    let (src, dst, _) = outer(packet, meta.version)?;
    let data = packet.data();
    let ttl = data.get(if meta.version == Version::V4 { ipv4::TTL } else { ipv6::HOP_LIMIT }).copied();
    if meta.tunnel_in.is_some() {
        return Err(DropReason::NoListener);
    }
    let ttl = ttl.ok_or(DropReason::Truncated)?;
    let arrived = Arrived { interface: meta.interface, src, dst, port, ttl };
    let datagram = data.get(meta.upper as usize..).ok_or(DropReason::Truncated)?;
    udp::verify(datagram, src, dst).map_err(|_| DropReason::BadChecksum)?;
    let control = datagram.get(udp::HEADER_LENGTH..).and_then(|payload| Control::parse(payload).ok());
    let control = control.ok_or(DropReason::NoListener)?;
    let found = context.bfd.iter().position(|s| s.is_for(&control, &arrived));
    let number = found.ok_or(DropReason::NoListener)?;
    let now = context.now;
    change(context, number, |session| session.received(&control, now));
    Err(DropReason::ProbeConsumed)
}

/// Sends what is due, and notes who has fallen silent.
#[cold]
pub fn poll<A: PacketPool>(context: &mut Context<A>) {
    let now = context.now;
    for number in 0..context.bfd.len() {
        let mut due = None;
        change(context, number, |session| due = session.poll(now));
        if let Some(control) = due {
            send(context, number, &control);
        }
    }
}

/// Whatever changes a session's state is told to control.
fn change<A: PacketPool>(
    context: &mut Context<A>,
    number: usize,
    change: impl FnOnce(&mut crate::bfd::Session),
) {
    let session = &mut context.bfd[number];
    let before: State = session.state();
    change(session);
    let (state, diagnostic) = (session.state(), session.diagnostic());
    if state != before {
        context.report(Event::Bfd { session: number, state, diagnostic });
    }
}

fn send<A: PacketPool>(context: &mut Context<A>, number: usize, control: &Control) {
    const UDP: usize = udp::HEADER_LENGTH + LENGTH;
    let ours = *context.bfd[number].parameters();
    let (version, header) = match ours.local {
        IpAddr::V4(_) => (Version::V4, ipv4::HEADER_LENGTH),
        IpAddr::V6(_) => (Version::V6, ipv6::HEADER_LENGTH),
    };
    let meta = Meta {
        interface: ours.interface,
        version,
        protocol: Protocol::UDP,
        upper: header as u16,
        has_upper: true,
        egress: match ours.hops {
            Hops::Single => Egress::Neighbor { interface: ours.interface, ip: ours.remote },
            Hops::Multi { .. } => Egress::Unknown,
        },
        ..Meta::default()
    };
    let like = (TrafficClass::NETWORK_CONTROL, TTL, Protocol::UDP);
    // One port for a session, and another for each (RFC 5881 §4).
    let from = (ours.local, SOURCE_PORTS + (number as u16 & 0x3fff));
    context.originate(meta, header + UDP, |out| {
        let (ip, datagram) = out.split_at_mut(header);
        control.write(&mut datagram[udp::HEADER_LENGTH..]).is_ok()
            && udp::write(datagram, from, (ours.remote, ours.hops.port())).is_ok()
            && ip_header(ip, like, from.0, ours.remote, UDP as u16)
    });
}
