//! VXLAN (RFC 7348) as a link between two routers: the inner Ethernet header is always from one of the two MAC addresses to
//! the other, and what it carries is IP. No host is behind it, so nothing is learnt, flooded or asked for by ARP.

use crate::context::{Context, Meta};
use crate::drop_reason::DropReason;
use crate::packet::{Packet, PacketPool};
use crate::snapshot::{Demux, Encapsulation, Vxlan};
use crate::stage::Verdict;
use crate::stage::decap::{ends, inside, outer, unless_transit};
use crate::wire::ethernet::Ethernet;
use crate::wire::udp::{self, UdpHeader};
use crate::wire::{EtherType, MacAddr, vxlan};
use std::net::IpAddr;

/// What stands before the Ethernet frame, behind the outer IP header.
const FRONT: usize = udp::HEADER_LENGTH + vxlan::HEADER_LENGTH;

/// The inner MAC address of a tunnel's end at `outer` where the configuration names none: locally administered, and the
/// same whichever end works it out.
pub fn derived_mac(outer: IpAddr) -> MacAddr {
    let bits = match outer {
        IpAddr::V4(ip) => ip.to_bits(),
        IpAddr::V6(ip) => ip
            .octets()
            .chunks(4)
            .fold(0, |bits, part| bits ^ part.iter().fold(0, |word, byte| word << 8 | u32::from(*byte))),
    };
    let [a, b, c, d] = bits.to_be_bytes();
    MacAddr([0x02, 0x56, a, b, c, d])
}

/// Takes the headers off a datagram to VXLAN's port that is for a tunnel of ours.
pub fn decap<A: PacketPool>(context: &mut Context<A>, packet: &mut A::Packet, meta: &mut Meta) -> Verdict {
    let (src, dst, class) = ends(packet, meta)?;
    let datagram = packet.data().get(meta.upper as usize..).ok_or(DropReason::Truncated)?;
    let (header, payload) = UdpHeader::parse(datagram).map_err(|_| DropReason::Truncated)?;
    let (checksum, padding) = (header.checksum(), datagram.len() - udp::HEADER_LENGTH - payload.len());
    let Ok(vni) = vxlan::parse(payload) else {
        return unless_transit(context, packet, meta, DropReason::BadEncapsulation);
    };
    let Some(tunnel) = context.snapshot.tunnel(src, dst, Demux::Vxlan(vni)) else {
        return unless_transit(context, packet, meta, DropReason::UnknownTunnel);
    };
    let Encapsulation::Vxlan(Vxlan { local_mac, .. }) =
        context.snapshot.tunnels[tunnel.index()].encapsulation
    else {
        return Err(DropReason::UnknownTunnel);
    };
    // RFC 7348 §5: zero over IPv6, too, is right, and another one is looked at.
    if checksum != 0 {
        let (src, dst, _) = outer(packet, meta.version)?;
        udp::verify(datagram, src, dst).map_err(|_| DropReason::BadChecksum)?;
    }
    let frame = &payload[vxlan::HEADER_LENGTH..];
    // RFC 7348 §6.1: a tagged inner frame is discarded.
    let (ethernet, length) = Ethernet::parse(frame).map_err(|_| DropReason::BadEncapsulation)?;
    let version = match (ethernet.vlan, ethernet.ether_type) {
        (None, EtherType::IPV4) => 4,
        (None, EtherType::IPV6) => 6,
        _ => return Err(DropReason::BadEncapsulation),
    };
    if ethernet.dst != local_mac {
        return Err(DropReason::NotForUs);
    }
    if frame.get(length).is_none_or(|byte| byte >> 4 != version) {
        return Err(DropReason::BadEncapsulation);
    }
    packet.adj(meta.upper as usize + FRONT + length);
    packet.trim(padding);
    inside(context, packet, meta, tunnel, class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_addresses_are_one_stations() {
        for (ip, expected) in [("192.0.2.11", "02:56:c0:00:02:0b"), ("2001:db8::20", "02:56:20:01:0d:98")] {
            let mac = derived_mac(ip.parse().unwrap());
            assert_eq!(mac.to_string(), expected);
            assert!(mac.is_unicast() && mac.0[0] & 2 != 0, "locally administered");
        }
    }
}
