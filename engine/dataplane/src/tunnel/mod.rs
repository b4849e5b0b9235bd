//! The tunnel protocols. GRE and ESP, whose packets are the most, are taken apart in [`crate::stage::decap`] itself; the
//! others have a file each here. Outer headers are written by [`template`]; ESP's cryptography is in [`crate::sa`].

pub mod ecn;
pub mod esp_udp;
pub mod ip_in_ip;
pub mod template;
pub mod vxlan;
pub mod wireguard;

use crate::snapshot::Encapsulation;

/// The largest inner packet whose encapsulation fits `underlay` bytes, whatever its padding.
pub fn inner_mtu(underlay: u16, encapsulation: Encapsulation, outer_ipv4: bool) -> u16 {
    let outer = if outer_ipv4 { 20 } else { 40 };
    match encapsulation {
        Encapsulation::Direct => underlay,
        // RFC 2784 §2.1; RFC 2890 §2: 4 bytes each for the key and the sequence number.
        Encapsulation::Gre { key, sequence } => {
            let fields = u16::from(key.is_some()) + u16::from(sequence);
            underlay.saturating_sub(outer + 4 + 4 * fields)
        }
        // RFC 4303 §2, RFC 4106 §3: SPI and sequence number 8, IV 8, ICV 16; inner packet, padding, pad
        // length and next header fill whole words of 4 bytes (RFC 4303 §2.4).
        Encapsulation::Esp => esp_room(underlay.saturating_sub(outer)),
        // RFC 3948 §2.1: a UDP header, 8.
        Encapsulation::EspUdp(_) => esp_room(underlay.saturating_sub(outer + 8)),
        Encapsulation::IpIp => underlay.saturating_sub(outer),
        Encapsulation::WireGuard(_) => underlay.saturating_sub(outer + 8 + crate::wireguard::OVERHEAD as u16),
        // RFC 7348 §5: UDP 8, VXLAN 8, Ethernet without tags 14.
        Encapsulation::Vxlan(_) => underlay.saturating_sub(outer + 8 + 8 + 14),
    }
}

/// The largest inner packet whose ESP, from the SPI on, fits `room` bytes.
fn esp_room(room: u16) -> u16 {
    (room.saturating_sub(8 + 8 + 16) / 4 * 4).saturating_sub(2)
}
