//! The packets of a case.

use dataplane::wire::ethernet::{self, Ethernet};
use dataplane::wire::ipv4::{self, Fragmentation, Ipv4Fields};
use dataplane::wire::ipv6::{self, Ipv6Fields};
use dataplane::wire::{EtherType, MacAddr, Protocol, TrafficClass, udp};
use std::net::IpAddr;

/// One packet of UDP.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// From this address and port
    pub src: (IpAddr, u16),
    /// to this one.
    pub dst: (IpAddr, u16),
}

/// How many packets a flow has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowLength {
    /// One after another has its turn, and again from the first: a flow does not end.
    Endless,
    /// Sixteen, then it is over. Sixteen flows at a time take turns.
    Sixteen,
}

/// Frames of one length, in the order they are offered, again and again.
pub struct Frames {
    bytes: Vec<u8>,
    length: usize,
    flow: FlowLength,
}

impl Frames {
    /// A frame of `length` bytes for each flow, without check sequence; no shorter than its headers.
    pub fn new(dst: MacAddr, src: MacAddr, length: usize, flows: &[Flow], flow_length: FlowLength) -> Frames {
        let v6 = flows.iter().any(|flow| flow.dst.0.is_ipv6());
        let header = if v6 { ipv6::HEADER_LENGTH } else { ipv4::HEADER_LENGTH };
        // An IPv6 header with UDP needs 62 bytes: more than the least frame.
        let length = length.max(ethernet::HEADER_LENGTH + header + udp::HEADER_LENGTH);
        let mut bytes = Vec::with_capacity(length * flows.len());
        for flow in flows {
            bytes.extend(frame(dst, src, length, flow));
        }
        Frames { bytes, length, flow: flow_length }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        let flows = self.bytes.len() / self.length;
        if self.flow == FlowLength::Sixteen { flows * 16 } else { flows }
    }

    /// The `n`th, from the start again after the last.
    pub fn get(&self, n: usize) -> &[u8] {
        let n = n % self.count();
        let flow = if self.flow == FlowLength::Sixteen { n / 256 * 16 + n % 16 } else { n };
        let at = flow * self.length;
        &self.bytes[at..at + self.length]
    }
}

fn frame(dst: MacAddr, src: MacAddr, length: usize, flow: &Flow) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..length).map(|i| i as u8).collect();
    let v6 = flow.dst.0.is_ipv6();
    let header = if v6 { ipv6::HEADER_LENGTH } else { ipv4::HEADER_LENGTH };
    let ether_type = if v6 { EtherType::IPV6 } else { EtherType::IPV4 };
    let link = Ethernet { dst, src, vlan: None, ether_type };
    let ip = link.write(&mut frame).expect("a frame holds its header");
    let upper = ip + header;
    udp::write(&mut frame[upper..], flow.src, flow.dst).expect("a frame holds a UDP header");
    let payload_length = (length - upper) as u16;
    let (traffic_class, protocol) = (TrafficClass(0), Protocol::UDP);
    let written = match (flow.src.0, flow.dst.0) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let fragmentation = Fragmentation { dont_fragment: true, more: false, offset: 0 };
            Ipv4Fields { traffic_class, payload_length, id: 0, fragmentation, ttl: 64, protocol, src, dst }
                .write(&mut frame[ip..])
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let (next_header, hop_limit) = (protocol, 64);
            Ipv6Fields { traffic_class, flow_label: 0, payload_length, next_header, hop_limit, src, dst }
                .write(&mut frame[ip..])
        }
        _ => unreachable!("both hosts are of one family"),
    };
    written.expect("a frame holds an IP header");
    frame
}
