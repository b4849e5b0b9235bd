//! A link header written beforehand, to be copied in front of packets.

use super::EtherType;
use super::ethernet::{Ethernet, HEADER_LENGTH, TAG_LENGTH};
use crate::packet::Packet;

const UNTAGGED: usize = HEADER_LENGTH;
const TAGGED: usize = HEADER_LENGTH + TAG_LENGTH;
const TAGGED_TWICE: usize = HEADER_LENGTH + 2 * TAG_LENGTH;

/// A link header but for what it carries, which its last two bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkHeader {
    bytes: [u8; TAGGED_TWICE],
    length: u8,
}

impl LinkHeader {
    /// The header that `ethernet` describes.
    pub fn new(ethernet: &Ethernet) -> LinkHeader {
        let mut bytes = [0; TAGGED_TWICE];
        let length = ethernet.write(&mut bytes).expect("there is room for the longest header");
        LinkHeader { bytes, length: length as u8 }
    }

    /// Puts the header in front of a packet of `ether_type`; `None` without headroom.
    #[inline]
    pub fn prepend<P: Packet>(&self, packet: &mut P, ether_type: EtherType) -> Option<()> {
        let length = usize::from(self.length);
        let out = packet.prepend(length)?;
        // Lengths that the compiler knows become moves; others a call.
        match length {
            UNTAGGED => *out.first_chunk_mut::<UNTAGGED>()? = *self.bytes.first_chunk()?,
            TAGGED => *out.first_chunk_mut::<TAGGED>()? = *self.bytes.first_chunk()?,
            _ => *out.first_chunk_mut()? = self.bytes,
        }
        *out.get_mut(length - 2..)?.first_chunk_mut()? = ether_type.0.to_be_bytes();
        Some(())
    }
}
