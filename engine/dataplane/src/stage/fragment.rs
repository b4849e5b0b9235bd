//! IPv4 fragmentation by a router (RFC 791 §2.3, RFC 1812 §5.2.7.2).

use super::Verdict;
use crate::context::{Context, Meta};
use crate::drop_reason::DropReason;
use crate::packet::{Packet, PacketPool};
use crate::wire::ipv4::{self, Fragmentation, Ipv4Fields, Ipv4Header};

/// Replaces `packet` by fragments of at most `mtu` bytes, which take its way out.
pub fn fragment<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &Meta,
    mtu: u16,
) -> Verdict {
    let data = packet.data();
    let header = Ipv4Header::parse_quoted(data).map_err(|_| DropReason::BadIpHeader)?;
    let options = data.get(header.options()).ok_or(DropReason::BadIpHeader)?;
    let payload = data.get(header.payload()).ok_or(DropReason::Truncated)?;
    let (copied, copied_length) = ipv4::copied_options(options).map_err(|_| DropReason::BadIpHeader)?;
    let whole = header.fragmentation();
    // Offsets end at 65,535; a fragment beyond is an attack on who reassembles it.
    if usize::from(whole.offset) + payload.len() > usize::from(u16::MAX) {
        return Err(DropReason::BadIpHeader);
    }
    let mut done = 0;
    while done < payload.len() {
        let options = if done == 0 { options } else { &copied[..copied_length] };
        // All but the last carry a multiple of 8 bytes (RFC 791 §3.1).
        let room = usize::from(mtu).saturating_sub(ipv4::HEADER_LENGTH + options.len());
        let rest = &payload[done..];
        let take = if rest.len() <= room { rest.len() } else { room & !7 };
        if take == 0 {
            return Err(DropReason::TooBig);
        }
        let offset = whole.offset + done as u16;
        let more = whole.more || take < rest.len();
        let fields = Ipv4Fields {
            traffic_class: header.traffic_class(),
            payload_length: take as u16,
            id: header.id(),
            fragmentation: Fragmentation { dont_fragment: false, more, offset },
            ttl: header.ttl(),
            protocol: header.protocol(),
            src: header.src(),
            dst: header.dst(),
        };
        let length = ipv4::HEADER_LENGTH + options.len();
        let made = context.originate(Meta { fragment: true, ..*meta }, length + take, |out| {
            out[length..].copy_from_slice(&rest[..take]);
            ipv4::write_with_options(&fields, options, out).is_ok()
        });
        // A datagram that lacks a fragment is of use to nobody.
        if !made {
            return Err(DropReason::PoolExhausted);
        }
        done += take;
    }
    Err(DropReason::Fragmented)
}
