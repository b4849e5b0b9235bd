//! The packets: their template, the stamp at their end, and answers to ARP.

use super::Arguments;
use dataplane::wire::arp::{Arp, Operation};
use dataplane::wire::ethernet::{self, Ethernet};
use dataplane::wire::ipv4::{self, Fragmentation, Ipv4Fields};
use dataplane::wire::{EtherType, MacAddr, Protocol, TrafficClass, udp};

/// Who we are, on both ports.
const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0xff, 0x10]);
const FCS: usize = 4;
const UDP_PORT_FIRST: u16 = 1024;
const MAGIC: [u8; 2] = [0xf0, 0x5e];
/// Bytes of a stamp: what the least frame leaves free.
const STAMP: usize = 18;
/// Where UDP begins, and its checksum in it.
const UDP: usize = ethernet::HEADER_LENGTH + ipv4::HEADER_LENGTH;
const UDP_CHECKSUM: usize = 6;

/// What each packet carries, at its very end, so that it is found behind any header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Counts from 0.
    pub sequence: u64,
    /// TSC cycles when it was offered.
    pub sent: u64,
}

/// A frame to be filled in.
pub struct Template {
    bytes: Vec<u8>,
    flows: u16,
}

impl Template {
    /// As told.
    pub fn new(arguments: &Arguments) -> Template {
        let mut bytes = vec![0; arguments.size - FCS];
        let link =
            Ethernet { dst: arguments.gateway_mac, src: OURS, vlan: None, ether_type: EtherType::IPV4 };
        let ip = link.write(&mut bytes).expect("a frame holds its header");
        let (src, dst) = (arguments.src, arguments.dst);
        udp::write(&mut bytes[UDP..], (src.into(), UDP_PORT_FIRST), (dst.into(), 4789))
            .expect("there is room");
        // The stamp changes with each packet; RFC 768 lets IPv4 do without.
        bytes[UDP + UDP_CHECKSUM..][..2].fill(0);
        let header = Ipv4Fields {
            traffic_class: TrafficClass(0),
            payload_length: (bytes.len() - UDP) as u16,
            id: 0,
            fragmentation: Fragmentation { dont_fragment: true, more: false, offset: 0 },
            ttl: 64,
            protocol: Protocol::UDP,
            src,
            dst,
        };
        header.write(&mut bytes[ip..]).expect("a frame holds an IP header");
        Template { bytes, flows: arguments.flows.max(1) }
    }

    /// Bytes of a frame without its check sequence.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Writes a packet of the flow whose turn it is.
    pub fn write(&self, out: &mut [u8], stamp: Stamp) {
        out.copy_from_slice(&self.bytes);
        let port = UDP_PORT_FIRST + (stamp.sequence % u64::from(self.flows)) as u16;
        out[UDP..][..2].copy_from_slice(&port.to_be_bytes());
        let tail = out.len() - STAMP;
        out[tail..][..2].copy_from_slice(&MAGIC);
        out[tail + 2..][..8].copy_from_slice(&stamp.sequence.to_be_bytes());
        out[tail + 10..].copy_from_slice(&stamp.sent.to_be_bytes());
    }
}

/// The stamp of a received frame; `None` if it is not one of ours.
pub fn stamp(frame: &[u8]) -> Option<Stamp> {
    let tail = frame.last_chunk::<STAMP>()?;
    let (magic, rest) = tail.split_first_chunk::<2>()?;
    let (sequence, sent) = rest.split_first_chunk::<8>()?;
    let sent = sent.first_chunk::<8>()?;
    (*magic == MAGIC)
        .then(|| Stamp { sequence: u64::from_be_bytes(*sequence), sent: u64::from_be_bytes(*sent) })
}

/// Turns an ARP request into its answer: every address is ours. False if it was none.
pub fn answer(frame: &mut [u8]) -> bool {
    let Ok((link, at)) = Ethernet::parse(frame) else { return false };
    if link.ether_type != EtherType::ARP {
        return false;
    }
    let Ok(request) = Arp::parse(&frame[at..]) else { return false };
    if request.operation != Operation::Request || request.is_gratuitous() || request.is_probe() {
        return false;
    }
    let back = Ethernet { dst: request.sender_mac, src: OURS, ..link };
    back.write(frame).is_ok() && request.reply(OURS).write(&mut frame[at..]).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_whatever_header_comes_before_it() {
        let template = Template { bytes: vec![0; 60], flows: 4 };
        let (mut frame, stamp_in) = (vec![0; 60], Stamp { sequence: 7, sent: 1 << 40 });
        template.write(&mut frame, stamp_in);
        assert_eq!(stamp(&frame), Some(stamp_in));
        frame.splice(14..14, [0; 24]);
        assert_eq!(stamp(&frame), Some(stamp_in));
        assert_eq!(frame[24 + UDP..][..2], (UDP_PORT_FIRST + 3).to_be_bytes());
        frame.pop();
        assert_eq!(stamp(&frame), None);
    }

    #[test]
    fn arp_requests_are_answered_and_nothing_else_is() {
        let engine = MacAddr([2, 0, 0, 0, 1, 1]);
        let request = Arp::request(engine, [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let mut frame = vec![0; 60];
        let link = Ethernet { dst: MacAddr::BROADCAST, src: engine, vlan: None, ether_type: EtherType::ARP };
        let at = link.write(&mut frame).unwrap();
        request.write(&mut frame[at..]).unwrap();
        assert!(answer(&mut frame));
        let reply = Arp::parse(&frame[at..]).unwrap();
        assert_eq!((reply.operation, reply.sender_mac, reply.target_mac), (Operation::Reply, OURS, engine));
        assert!(!answer(&mut frame), "a reply is not answered");
        assert!(!answer(&mut [0; 60]));
    }
}
