//! What the tunnel protocols have in common. Their framing is in [`crate::stage::encap`] and
//! [`crate::stage::decap`]; ESP's cryptography in [`crate::sa`].

pub mod ecn;
pub mod template;

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
        Encapsulation::Esp => (underlay.saturating_sub(outer + 8 + 8 + 16) / 4 * 4).saturating_sub(2),
    }
}
