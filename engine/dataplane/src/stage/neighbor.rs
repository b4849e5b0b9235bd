//! ARP (RFC 826) and IPv6 neighbour discovery (RFC 4861): answered here, learnt by control.

use super::Verdict;
use crate::context::{Context, Egress, Meta};
use crate::drop_reason::DropReason;
use crate::id::InterfaceId;
use crate::message::Event;
use crate::neighbor::Claim;
use crate::packet::{Packet, PacketPool};
use crate::snapshot::Interface;
use crate::wire::arp::{self, Arp, Operation};
use crate::wire::ipv6::Ipv6Header;
use crate::wire::ndp::{self, Advertisement, Ndp, Solicitation};
use crate::wire::{EtherType, MacAddr};
use std::net::{IpAddr, Ipv4Addr};

/// Handles an ARP packet, whose link header is off. A request for an address of ours becomes the reply.
pub fn arp<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    let arp = Arp::parse(packet.data()).map_err(|_| DropReason::BadNeighborMessage)?;
    let interface = &context.snapshot.interfaces[meta.interface.index()];
    let target = arp.target_ip.into();
    let (mac, ours) =
        (interface.mac_of(target), interface.has(target) && may_tell(context, interface, target));
    let on_link = interface.reaches(arp.sender_ip.into()) && !interface.has(arp.sender_ip.into());
    if on_link && !arp.is_probe() {
        let claim = Claim { solicited: ours && arp.operation == Operation::Reply, overrides: true };
        seen(context, meta.interface, arp.sender_ip.into(), arp.sender_mac, claim);
    }
    if !ours || arp.operation == Operation::Reply {
        return Err(DropReason::NeighborConsumed);
    }
    let reply = arp.reply(mac);
    let excess = packet.len().saturating_sub(arp::LENGTH);
    packet.trim(excess);
    reply.write(packet.data_mut()).map_err(|_| DropReason::BadNeighborMessage)?;
    answer(meta, (mac, arp.sender_mac), EtherType::ARP);
    Ok(())
}

/// Handles an ICMPv6 neighbour discovery message. Solicitations for an address of ours are answered.
pub fn ndp<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    let header = Ipv6Header::parse(packet.data()).map_err(|_| DropReason::BadIpHeader)?;
    let message = packet.data().get(meta.upper as usize..).ok_or(DropReason::Truncated)?;
    let ndp = Ndp::parse(header, message).map_err(|_| DropReason::BadNeighborMessage)?;
    let (asker, interface) = (header.src(), &context.snapshot.interfaces[meta.interface.index()]);
    match ndp {
        Ndp::Solicitation { target, source_link }
            if interface.has(target.into()) && may_tell(context, interface, target.into()) =>
        {
            let mac = interface.mac_of(target.into());
            if let Some(link) = source_link
                && interface.reaches(asker.into())
            {
                let claim = Claim { solicited: false, overrides: true };
                seen(context, meta.interface, asker.into(), link, claim);
            }
            let to = if asker.is_unspecified() {
                MacAddr::from_ipv6_multicast(ndp::ALL_NODES)
            } else {
                source_link.unwrap_or(meta.link_src)
            };
            let advertisement = Advertisement::answer(asker, target, mac);
            originate_ndp(context, meta.interface, (mac, to), |out| advertisement.write(out).is_ok());
        }
        Ndp::Advertisement { target, target_link, flags } if interface.reaches(target.into()) => {
            // The answer to a unicast solicitation may leave the option out (RFC 4861 §4.4), and Linux does: it
            // confirms the address that the frame came from, and replaces none.
            let overrides = flags.replace && target_link.is_some();
            let claim = Claim { solicited: flags.solicited, overrides };
            let link = target_link.unwrap_or(meta.link_src);
            seen(context, meta.interface, target.into(), link, claim);
        }
        _ => {}
    }
    Err(DropReason::NeighborConsumed)
}

/// Whether hosts may be told that `ip` is here: the site's addresses only by who may forward what comes for them. A worker that was
/// paused has requests in its queues and a snapshot in which this engine owns the site, and another engine does by now.
fn may_tell<A: PacketPool>(context: &Context<A>, interface: &Interface, ip: IpAddr) -> bool {
    context.may_forward() || !interface.gateway.contains(&ip)
}

fn answer(meta: &mut Meta, (src, mac): (MacAddr, MacAddr), ether_type: EtherType) {
    meta.own = true;
    meta.egress = Egress::Link { interface: meta.interface, src, mac, ether_type };
}

fn seen<A: PacketPool>(
    context: &mut Context<A>,
    interface: InterfaceId,
    ip: IpAddr,
    mac: MacAddr,
    claim: Claim,
) {
    context.report_neighbor(Event::NeighborSeen { interface, ip, mac, claim });
}

/// Asks for the MAC address of `ip`.
pub fn solicit<A: PacketPool>(
    context: &mut Context<A>,
    interface: InterfaceId,
    ip: IpAddr,
    unicast: Option<MacAddr>,
) {
    let Some(on) = context.snapshot.interfaces.get(interface.index()) else { return };
    // Who is asked takes the asker's addresses from the question.
    let (mac, from) = (on.mac, on.towards(ip).filter(|from| may_tell(context, on, *from)));
    match ip {
        IpAddr::V4(target) => {
            let from = match from {
                Some(IpAddr::V4(from)) => from,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            let request = Arp::request(mac, from, target);
            let to = unicast.unwrap_or(MacAddr::BROADCAST);
            originate_arp(context, interface, (mac, to), request);
        }
        IpAddr::V6(target) => {
            let Some(IpAddr::V6(src)) = from else { return };
            let solicitation = Solicitation { src, mac, target, unicast: unicast.is_some() };
            let to = unicast.unwrap_or(MacAddr::from_ipv6_multicast(ndp::solicited_node(target)));
            originate_ndp(context, interface, (mac, to), |out| solicitation.write(out).is_ok());
        }
    }
}

/// Tells the link that `ip` is here: gratuitous ARP (RFC 5227 §3) or an unsolicited NA (RFC 4861 §7.2.6).
pub fn announce<A: PacketPool>(context: &mut Context<A>, interface: InterfaceId, ip: IpAddr) {
    let Some(on) = context.snapshot.interfaces.get(interface.index()) else { return };
    if !may_tell(context, on, ip) {
        return;
    }
    let mac = on.mac_of(ip);
    match ip {
        IpAddr::V4(ip) => {
            originate_arp(context, interface, (mac, MacAddr::BROADCAST), Arp::announcement(mac, ip));
        }
        IpAddr::V6(ip) => {
            let advertisement = Advertisement::unsolicited(ip, mac);
            let to = MacAddr::from_ipv6_multicast(ndp::ALL_NODES);
            originate_ndp(context, interface, (mac, to), |out| advertisement.write(out).is_ok());
        }
    }
}

fn originate_arp<A: PacketPool>(
    context: &mut Context<A>,
    interface: InterfaceId,
    ends: (MacAddr, MacAddr),
    arp: Arp,
) {
    let mut meta = Meta { interface, ..Meta::default() };
    answer(&mut meta, ends, EtherType::ARP);
    context.originate(meta, arp::LENGTH, |out| arp.write(out).is_ok());
}

fn originate_ndp<A: PacketPool>(
    context: &mut Context<A>,
    interface: InterfaceId,
    ends: (MacAddr, MacAddr),
    fill: impl FnOnce(&mut [u8]) -> bool,
) {
    let mut meta = Meta { interface, ..Meta::default() };
    answer(&mut meta, ends, EtherType::IPV6);
    context.originate(meta, ndp::MAX_LENGTH, fill);
}
