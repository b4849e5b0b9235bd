//! One entry for fuzzers and for the tests that throw bytes at every parser.

use super::flow::FlowKey;
use super::ipv4::{self, Ipv4Header};
use super::ipv6::{self, Ipv6Header};
use super::wireguard;
use super::{EtherType, MacAddr, Protocol, TrafficClass};
use super::{
    arp, bfd, checksum, esp, esp_udp, ethernet, gre, icmp, icmpv6, ndp, stamp, tcp, udp, vrrp, vxlan,
};
use crate::packet::RxChecksum;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes changed in place or written are cut to this; longer ones are only parsed.
const SCRATCH: usize = 2048;

/// Runs every parser over `data`, once as a frame whose layers are followed and once as each header by itself,
/// and every in-place change over a copy. Must return, whatever the bytes.
pub fn fuzz_all(data: &[u8]) {
    if let Ok((ethernet, payload)) = ethernet::Ethernet::parse(data) {
        match ethernet.ether_type {
            EtherType::IPV4 => fuzz_ipv4(&data[payload..]),
            EtherType::IPV6 => fuzz_ipv6(&data[payload..]),
            _ => drop(arp::Arp::parse(&data[payload..])),
        }
    }
    fuzz_ipv4(data);
    fuzz_ipv6(data);
    for protocol in 0..=u8::MAX {
        fuzz_upper(Protocol(protocol), data);
    }
    fuzz_sealed(data);
    let _ = arp::Arp::parse(data);
    let _ = wireguard::Message::parse(data);
    let _ = wireguard::Data::quoted(data);
    let _ = esp::Trailer::parse(data);
    let _ = ipv4::copied_options(data);
    let _ = stamp::Probe::parse(data);
    let _ = bfd::Control::parse(data).map(|control| control.write(&mut [0; bfd::LENGTH]));
    let _ = stamp::Reflection::parse(data);
    let _ = FlowKey::of(data).map(|key| key.bucket(1));
}

fn fuzz_ipv4(packet: &[u8]) {
    let _ = icmp::may_send_error(packet, MacAddr::ZERO);
    let mut out = [0; SCRATCH];
    let _ = icmp::write_error(icmp::IcmpError::TimeExceeded, Ipv4Addr::LOCALHOST, packet, &mut out);
    for rx in [RxChecksum::Good, RxChecksum::Unknown] {
        let Ok(header) = Ipv4Header::parse(packet, rx) else { continue };
        let _ = ipv4::copied_options(&packet[header.options()]);
        let _ = FlowKey::ipv4(header, &packet[header.payload()]);
        fuzz_upper(header.protocol(), &packet[header.payload()]);
    }
    let (mut scratch, length) = copy(packet);
    let _ = Ipv4Header::of(&mut scratch[..length]).map(|header| header.decrement_ttl());
    let _ = icmp::reply_in_place(&mut scratch[..length], 64);
}

fn fuzz_ipv6(packet: &[u8]) {
    let error = icmpv6::Icmpv6Error::PacketTooBig { mtu: 1280 };
    let _ = icmpv6::may_send_error(error, packet, MacAddr::ZERO);
    let mut out = [0; SCRATCH];
    let _ = icmpv6::write_error(error, Ipv6Addr::LOCALHOST, packet, &mut out);
    let _ = ipv6::fragment_place(packet);
    if let (Ok(header), Ok(upper)) = (Ipv6Header::parse(packet), ipv6::walk(packet)) {
        let payload = &packet[upper.offset..header.total_length()];
        let _ = FlowKey::ipv6(header, &upper, payload);
        let _ = ndp::Ndp::parse(header, payload);
        let _ = icmpv6::Icmpv6::parse(header.src(), header.dst(), payload);
        fuzz_upper(upper.protocol, payload);
    }
    let (mut scratch, length) = copy(packet);
    let _ = Ipv6Header::of(&mut scratch[..length]).map(|header| header.decrement_hop_limit());
    let _ = icmpv6::reply_in_place(&mut scratch[..length], 64);
}

/// Gets past the ICMP checksums, which no random bytes do: mends them, and looks at what lies behind.
fn fuzz_sealed(message: &[u8]) {
    let (mut scratch, length) = copy(message);
    let message = &mut scratch[..length];
    if message.len() < icmpv6::HEADER_LENGTH {
        return;
    }
    message[2..4].fill(0);
    let check = checksum::checksum(message);
    message[2..4].copy_from_slice(&check.to_be_bytes());
    if let Ok(icmp::Icmp::Error(_, quoted)) = icmp::Icmp::parse(message) {
        let _ = Ipv4Header::parse_quoted(quoted).map(|header| icmp::path_mtu(0, header));
    }
    let fields = ipv6::Ipv6Fields {
        traffic_class: TrafficClass(0),
        flow_label: 0,
        payload_length: message.len() as u16,
        next_header: Protocol::ICMPV6,
        hop_limit: 255,
        src: Ipv6Addr::LOCALHOST,
        dst: Ipv6Addr::LOCALHOST,
    };
    message[2..4].fill(0);
    let mut header = [0; ipv6::HEADER_LENGTH];
    let _ = fields.write(&mut header);
    let _ = icmpv6::seal(fields.src, fields.dst, message);
    let _ = icmpv6::Icmpv6::parse(fields.src, fields.dst, message);
    if let Ok(header) = Ipv6Header::parse_quoted(&header) {
        let _ = ndp::Ndp::parse(header, message);
    }
}

fn fuzz_upper(protocol: Protocol, payload: &[u8]) {
    let anywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    match protocol {
        Protocol::TCP => {
            let (mut scratch, length) = copy(payload);
            let _ = tcp::mss(payload);
            let _ = tcp::clamp_mss(&mut scratch[..length], 1);
        }
        Protocol::UDP => {
            let _ = udp::verify(payload, anywhere, anywhere);
            if let Ok((_, data)) = udp::UdpHeader::parse(payload) {
                let _ = stamp::Reflection::parse(data);
                let _ = esp_udp::Payload::parse(data);
                let _ = wireguard::Message::parse(data);
                if vxlan::parse(data).is_ok() {
                    let _ = ethernet::Ethernet::parse(&data[vxlan::HEADER_LENGTH..]);
                }
            }
        }
        Protocol::ICMP => {
            if let Ok(icmp::Icmp::Error(_, quoted)) = icmp::Icmp::parse(payload) {
                let _ = Ipv4Header::parse_quoted(quoted).map(|header| icmp::path_mtu(0, header));
            }
        }
        Protocol::ICMPV6 => {
            let unspecified = Ipv6Addr::UNSPECIFIED;
            let _ = icmpv6::Icmpv6::parse(unspecified, unspecified, payload);
        }
        Protocol::VRRP => fuzz_vrrp(payload),
        Protocol::GRE => drop(gre::Gre::parse(payload)),
        Protocol::ESP => drop(esp::Esp::parse(payload)),
        _ => {}
    }
}

/// Once as it is and once with its checksum mended.
fn fuzz_vrrp(message: &[u8]) {
    let v6 = (Ipv6Addr::LOCALHOST.into(), vrrp::GROUP_V6.into());
    let v4 = (Ipv4Addr::LOCALHOST.into(), vrrp::GROUP_V4.into());
    let (mut scratch, length) = copy(message);
    let sealed = &mut scratch[..length];
    if let [_, _, _, addresses, _, _, check @ .., _, _] = sealed
        && check.len() >= 2
    {
        check[..2].fill(0);
        let whole = vrrp::length(false, (*addresses).into()).min(length);
        let check = checksum::checksum(&sealed[..whole]);
        sealed[6..8].copy_from_slice(&check.to_be_bytes());
    }
    for (src, dst) in [v4, v6] {
        let _ = vrrp::Advertisement::parse(message, src, dst);
        let _ = vrrp::Advertisement::parse(&scratch[..length], src, dst);
    }
}

fn copy(data: &[u8]) -> ([u8; SCRATCH], usize) {
    let mut scratch = [0; SCRATCH];
    let length = data.len().min(SCRATCH);
    scratch[..length].copy_from_slice(&data[..length]);
    (scratch, length)
}
