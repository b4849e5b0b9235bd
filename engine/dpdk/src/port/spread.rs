//! Which worker a received frame belongs to, where the port has fewer queues than there are workers.

use dataplane::packet::RxChecksum;
use dataplane::wire::esp::Esp;
use dataplane::wire::ethernet::Ethernet;
use dataplane::wire::flow::FlowKey;
use dataplane::wire::ipv4::Ipv4Header;
use dataplane::wire::ipv6::{self, Ipv6Header};
use dataplane::wire::{EtherType, Protocol};

/// Any number: all workers of an engine spread alike, and no other engine needs to.
const SEED: u64 = 0x666f_7265_7368_6966;

/// The worker for `frame` out of `workers`: of ESP the owner of its SA, else by a hash that both directions of a flow
/// share. All fragments of a datagram have one worker. `None` if whoever received it may as well keep it: no IP packet,
/// or not a sound one.
#[inline]
pub(super) fn worker_of(frame: &[u8], workers: usize) -> Option<usize> {
    let (ethernet, at) = Ethernet::parse(frame).ok()?;
    if !matches!(ethernet.ether_type, EtherType::IPV4 | EtherType::IPV6) {
        return None;
    }
    let packet = &frame[at..];
    if let Some(spi) = spi(packet) {
        return Some(spi as usize % workers);
    }
    let key = FlowKey::of(packet).ok()?;
    let there = (key.src, key.src_port) <= (key.dst, key.dst_port);
    let (src, dst) = if there { (key.src, key.dst) } else { (key.dst, key.src) };
    let (src_port, dst_port) =
        if there { (key.src_port, key.dst_port) } else { (key.dst_port, key.src_port) };
    let hash = FlowKey { src, dst, src_port, dst_port, ..key }.hash(SEED);
    // Scales the upper half: no division.
    Some((((hash >> 32) * workers as u64) >> 32) as usize)
}

/// The SPI of an ESP packet that is whole.
fn spi(packet: &[u8]) -> Option<u32> {
    let payload = match packet.first()? >> 4 {
        4 => {
            let header = Ipv4Header::parse(packet, RxChecksum::Good).ok()?;
            let whole = header.protocol() == Protocol::ESP && !header.fragmentation().is_fragment();
            packet.get(header.payload()).filter(|_| whole)?
        }
        _ => {
            let header = Ipv6Header::parse(packet).ok()?;
            // Behind extension headers it is found by `walk` only.
            let upper = match header.next_header() {
                Protocol::ESP => ipv6::HEADER_LENGTH,
                Protocol::TCP | Protocol::UDP | Protocol::ICMPV6 | Protocol::GRE => return None,
                _ => {
                    let upper = ipv6::walk(packet).ok()?;
                    (upper.protocol == Protocol::ESP && !upper.is_fragment()).then_some(upper.offset)?
                }
            };
            packet.get(upper..header.total_length())?
        }
    };
    Esp::parse(payload).ok().map(|esp| esp.spi.0)
}

#[cfg(test)]
mod tests {
    use super::worker_of;

    fn udp(src: u8, dst: u8, ports: [u16; 2], protocol: u8, more: u8) -> Vec<u8> {
        let mut frame = [&[2; 12][..], &[8, 0, 0x45, 0, 0, 48, 0, 1, more, 0, 64, protocol, 0, 0]].concat();
        frame.extend([10, 0, 0, src, 10, 0, 0, dst]);
        frame.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
        frame.resize(14 + 48, 0);
        frame
    }

    #[test]
    fn both_directions_of_a_flow_have_one_worker_and_flows_spread() {
        for workers in [2, 3, 7] {
            let mut flows = vec![0; workers];
            for i in 0..1000_u16 {
                let (src, dst) = ((i % 250) as u8, (i % 7) as u8);
                let there = worker_of(&udp(src, dst, [i, 443], 17, 0), workers);
                let back = worker_of(&udp(dst, src, [443, i], 17, 0), workers);
                assert!(there.is_some() && there == back);
                flows[there.unwrap()] += 1;
            }
            let fair = 1000 / workers;
            assert!(flows.iter().all(|n| (fair * 3 / 4..fair * 5 / 4).contains(n)), "{workers}: {flows:?}");
        }
    }

    #[test]
    fn fragments_stay_together_and_esp_goes_to_its_owner() {
        // The first fragment has ports, the second other bytes in their place.
        let first = worker_of(&udp(1, 2, [1000, 2000], 17, 0x20), 7);
        let second = worker_of(&udp(1, 2, [7777, 8888], 17, 0x00), 7);
        let mut second_fragment = udp(1, 2, [7777, 8888], 17, 0);
        second_fragment[21] = 5;
        assert_eq!(first, worker_of(&second_fragment, 7));
        assert!(second.is_some());
        for spi in [0x0001_0100_u32, 0xfeed_0001, 0x8000_0003] {
            let ports = [(spi >> 16) as u16, spi as u16];
            assert_eq!(worker_of(&udp(1, 2, ports, 50, 0), 4), Some(spi as usize % 4));
        }
        // A fragment of ESP has no SPI but in the first: all go by their addresses.
        let halves = [[1, 2], [3, 4]].map(|ports| worker_of(&udp(1, 2, ports, 50, 0x20), 7));
        assert_eq!(halves[0], halves[1]);
        // ARP and broken packets stay.
        assert_eq!(worker_of(&[0; 60], 4), None);
        let mut arp = udp(1, 2, [0, 0], 17, 0);
        arp[13] = 6;
        assert_eq!(worker_of(&arp, 4), None);
        assert_eq!(worker_of(&udp(1, 2, [0, 0], 17, 0)[..40], 4), None);
    }
}
