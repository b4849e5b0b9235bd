//! Tunnel packets that a router on the way has fragmented: joined, whatever their order and whichever worker they came to.

use crate::support::craft::one_hop_less;
use crate::support::draft::wan_v4;
use crate::support::{
    Draft, Engine, Ip, LAN, Sizes, WAN, checked, engine_mac, frame, host_mac, key, pair, payload,
};
use dataplane::drop_reason::DropReason;
use dataplane::id::TunnelId;
use dataplane::snapshot::Encapsulation;
use dataplane::wire::checksum;
use proptest::prelude::*;

const PLAIN: Encapsulation = Encapsulation::Gre { key: None, sequence: false };
const ESP: Encapsulation = Encapsulation::Esp;

/// A frame's IP packet as frames of fragments with `unit` bytes, a multiple of 8, each.
fn fragments(sent: &[u8], id: u16, unit: usize) -> Vec<Vec<u8>> {
    let packet = checked(sent);
    let v6 = packet[0] >> 4 == 6;
    let header = if v6 { 40 } else { 20 };
    let data = &packet[header..];
    let one = |at: usize| {
        let part = &data[at..data.len().min(at + unit)];
        let more = at + unit < data.len();
        let mut bytes = packet[..header].to_vec();
        if v6 {
            let offset_more = (at as u16 | u16::from(more)).to_be_bytes();
            bytes.extend([bytes[6], 0, offset_more[0], offset_more[1], 0, 0, (id >> 8) as u8, id as u8]);
            bytes[6] = 44;
            bytes[4..6].copy_from_slice(&(part.len() as u16 + 8).to_be_bytes());
        } else {
            bytes[2..4].copy_from_slice(&((20 + part.len()) as u16).to_be_bytes());
            bytes[4..6].copy_from_slice(&id.to_be_bytes());
            bytes[6..8].copy_from_slice(&((at / 8) as u16 | u16::from(more) << 13).to_be_bytes());
            bytes[10..12].fill(0);
            let check = checksum::checksum(&bytes);
            bytes[10..12].copy_from_slice(&check.to_be_bytes());
        }
        bytes.extend(part);
        frame(engine_mac(2, 1), engine_mac(1, 1), None, &bytes)
    };
    (0..data.len()).step_by(unit).map(one).collect()
}

/// A packet of host `number`'s, and the frame in which engine A sends it.
fn sealed(a: &mut Engine, number: u16, length: usize) -> (Vec<u8>, Vec<u8>) {
    let packet = Ip::between(1, 2, number.is_multiple_of(2)).udp(number, length);
    let mut out = a.pass(LAN, &frame(engine_mac(1, 0), host_mac(), None, &packet), WAN);
    (one_hop_less(&one_hop_less(&packet)), out.remove(0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn shuffled_fragments_of_many_packets_are_joined(
        packets in prop::collection::vec((1..1300_usize, 9..90_usize), 1..8),
        esp: bool,
        outer_v6: bool,
        seed: u64,
    ) {
        let (mut a, mut b) = pair(if esp { ESP } else { PLAIN }, outer_v6);
        let (mut expected, mut frames, mut parts) = (Vec::new(), Vec::new(), 0);
        for (number, &(length, unit)) in (1..).zip(&packets) {
            let (packet, wire) = sealed(&mut a, number, length);
            expected.push(packet);
            // At most as many fragments as are joined.
            let unit = unit.max(checked(&wire).len().div_ceil(8 * 16)) * 8;
            let pieces = fragments(&wire, number, unit);
            parts += if pieces.len() > 1 { pieces.len() - 1 } else { 0 };
            frames.extend(pieces);
        }
        shuffle(&mut frames, seed);
        let mut got = Vec::new();
        for bytes in &frames {
            got.extend(b.pass(WAN, bytes, LAN).iter().map(|bytes| checked(bytes)));
        }
        got.sort();
        expected.sort();
        prop_assert_eq!(got, expected);
        prop_assert_eq!(b.dropped(DropReason::Reassembled), parts as u64);
        prop_assert_eq!((b.counters().dropped_total(), b.counters().held.get()), (parts as u64, 0));
    }

    /// Fragments come to any worker, and the SA of what they make belongs to any.
    #[test]
    fn with_several_workers_too(esp: bool, workers in 2..4_usize, seed: u64) {
        let encapsulation = if esp { ESP } else { PLAIN };
        let side = |engine: u8, far: u8| {
            let mut draft = Draft::new(engine, engine);
            let tunnel = draft.tunnel(encapsulation, false, far);
            draft.group(far, &[(tunnel, 1)], &[tunnel]);
            Engine::sized(draft, &Sizes { workers, ..Sizes::default() })
        };
        let (mut a, mut b) = (side(1, 2), side(2, 1));
        if esp {
            key(&mut a, &mut b, TunnelId(0), TunnelId(0), 0x1000);
        }
        let (mut expected, mut frames) = (Vec::new(), Vec::new());
        for number in 1..12 {
            let packet = Ip::between(1, 2, false).udp(number, 700);
            a.put(usize::from(number) % workers, LAN, &frame(engine_mac(1, 0), host_mac(), None, &packet));
            a.poll();
            expected.push(one_hop_less(&one_hop_less(&packet)));
            frames.extend(fragments(&a.take(WAN)[0], number, 320));
        }
        shuffle(&mut frames, seed);
        for (n, bytes) in frames.iter().enumerate() {
            b.put(n.wrapping_mul(seed as usize | 1) % workers, WAN, bytes);
            b.poll();
        }
        (0..4).for_each(|_| b.poll());
        let mut got: Vec<_> = b.take(LAN).iter().map(|bytes| checked(bytes)).collect();
        got.sort();
        expected.sort();
        prop_assert_eq!(got, expected, "{:?}", b.drops());
        prop_assert_eq!(b.drops().keys().copied().collect::<Vec<_>>(), ["reassembled"]);
    }
}

/// Fisher and Yates, with xorshift64*.
fn shuffle(frames: &mut [Vec<u8>], seed: u64) {
    let mut random = seed | 1;
    for i in (1..frames.len()).rev() {
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        frames.swap(i, (random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % (i + 1));
    }
}

#[test]
fn what_never_completes_ends_with_time() {
    let (mut a, mut b) = pair(ESP, false);
    for number in 1..6 {
        let (_, wire) = sealed(&mut a, number, 400);
        assert!(b.pass(WAN, &fragments(&wire, number, 240)[0], LAN).is_empty());
    }
    assert_eq!(b.counters().held.get(), 5);
    b.wait(14_999);
    (0..64).for_each(|_| b.poll());
    assert_eq!(b.counters().held.get(), 5);
    b.wait(1);
    (0..64).for_each(|_| b.poll());
    assert_eq!((b.counters().held.get(), b.drops()), (0, [("fragment_timeout", 5)].into()));
}

#[test]
fn a_forged_fragment_spoils_its_datagram_and_no_other() {
    let (mut a, mut b) = pair(ESP, false);
    let (_, first) = sealed(&mut a, 1, 400);
    let (packet, second) = sealed(&mut a, 3, 400);
    let pieces = fragments(&first, 1, 240);
    let mut forged = fragments(&first, 1, 248).remove(0);
    forged[60] ^= 1;
    for bytes in [&pieces[0], &forged, &pieces[1]] {
        assert!(b.pass(WAN, bytes, LAN).is_empty());
    }
    assert_eq!(b.drops(), [("fragment_overlap", 3)].into());
    let others: Vec<_> =
        fragments(&second, 2, 240).iter().flat_map(|bytes| b.pass(WAN, bytes, LAN)).collect();
    assert_eq!(checked(&others[0]), packet);
}

/// Fragments between others pass in transit; from where no tunnel ends they are refused and never held.
#[test]
fn only_a_tunnels_far_end_is_waited_for() {
    let (mut a, mut b) = pair(ESP, false);
    let (_, wire) = sealed(&mut a, 1, 400);
    let stranger = Ip::new(wan_v4(3), wan_v4(2)).raw(50, payload(&checked(&wire)));
    let stranger = frame(engine_mac(2, 1), engine_mac(3, 1), None, &stranger);
    for bytes in fragments(&stranger, 1, 240) {
        b.refuses(WAN, &bytes, DropReason::FragmentedTunnel);
    }
    assert_eq!(b.counters().held.get(), 0);
}
