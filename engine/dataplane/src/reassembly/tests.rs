use super::*;
use crate::frame::{Frame, FramePool};
use crate::wire::checksum;
use crate::wire::ipv4::{Fragmentation, Ipv4Fields, Ipv4Header};
use crate::wire::ipv6::{Ipv6Fields, Ipv6Header};
use crate::wire::{Ecn, Protocol, TrafficClass};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Which datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    v6: bool,
    /// IPv6 with hop-by-hop options in front of the fragment header.
    options: bool,
    number: u16,
}

const V4: Id = Id { v6: false, options: false, number: 7 };
const V6: Id = Id { v6: true, options: true, number: 7 };

/// The whole datagram.
fn whole(id: Id, payload: &[u8]) -> Vec<u8> {
    let class = TrafficClass(0xb8).with_ecn(Ecn::Ect0);
    let mut bytes = if id.v6 {
        let options: &[u8] = if id.options { &[17, 0, 1, 4, 0, 0, 0, 0] } else { &[] };
        let fields = Ipv6Fields {
            traffic_class: class,
            flow_label: 5,
            payload_length: (options.len() + payload.len()) as u16,
            next_header: if id.options { Protocol::HOP_BY_HOP } else { Protocol::UDP },
            hop_limit: 60,
            src: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
            dst: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
        };
        let mut bytes = vec![0; 40];
        fields.write(&mut bytes).unwrap();
        bytes.extend(options);
        bytes
    } else {
        let fields = Ipv4Fields {
            traffic_class: class,
            payload_length: payload.len() as u16,
            id: id.number,
            fragmentation: Fragmentation::default(),
            ttl: 60,
            protocol: Protocol::UDP,
            src: Ipv4Addr::new(192, 0, 2, 1),
            dst: Ipv4Addr::new(192, 0, 2, 2),
        };
        let mut bytes = vec![0; 20];
        fields.write(&mut bytes).unwrap();
        bytes
    };
    bytes.extend(payload);
    bytes
}

/// The bytes `from..to` of it as a fragment.
fn piece(id: Id, payload: &[u8], from: usize, to: usize, more: bool) -> Vec<u8> {
    let mut bytes = whole(id, &payload[from..to]);
    if !id.v6 {
        let place = Fragmentation { dont_fragment: false, more, offset: from as u16 };
        Ipv4Header::of(&mut bytes).unwrap().set_fragmentation(place);
        return bytes;
    }
    let (named_at, at) = if id.options { (40, 48) } else { (6, 40) };
    bytes[named_at] = Protocol::FRAGMENT.0;
    let offset_more = (from as u16 | u16::from(more)).to_be_bytes();
    bytes.splice(
        at..at,
        [17, 0, offset_more[0], offset_more[1], 0, 1, (id.number >> 8) as u8, id.number as u8],
    );
    let length = (bytes.len() - 40) as u16;
    Ipv6Header::of(&mut bytes).unwrap().set_payload_length(length);
    bytes
}

fn cut(id: Id, payload: &[u8], unit: usize) -> Vec<Vec<u8>> {
    let starts = (0..payload.len()).step_by(unit);
    starts
        .map(|from| piece(id, payload, from, payload.len().min(from + unit), from + unit < payload.len()))
        .collect()
}

/// A reassembly with its pool and what it dropped.
struct Bench {
    reassembly: Reassembly<Frame>,
    pool: FramePool,
    drops: BTreeMap<&'static str, usize>,
    now: Nanos,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            reassembly: Reassembly::new(),
            pool: FramePool { left: 8 },
            drops: BTreeMap::new(),
            now: Nanos::from_millis(1000),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.push_frame(Frame::new(bytes))
    }

    fn push_frame(&mut self, frame: Frame) -> Option<Vec<u8>> {
        let drops = &mut self.drops;
        let whole = self.reassembly.push(frame, self.now, &mut self.pool, &mut |reason| {
            *drops.entry(reason.name()).or_default() += 1;
        });
        whole.map(|frame| frame.data().to_vec())
    }

    fn push_all(&mut self, pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
        pieces.iter().filter_map(|bytes| self.push(bytes)).collect()
    }

    fn sweep(&mut self) {
        let drops = &mut self.drops;
        for _ in 0..DATAGRAMS / SWEEP {
            self.reassembly.sweep(self.now, &mut |reason| *drops.entry(reason.name()).or_default() += 1);
        }
    }

    fn dropped(&self) -> usize {
        self.drops.values().sum()
    }
}

fn bytes(seed: u32, length: usize) -> Vec<u8> {
    (0..length as u32).map(|i| (i.wrapping_mul(seed | 1).wrapping_mul(0x9e37_79b9) >> 24) as u8).collect()
}

#[derive(Clone, Debug)]
struct Case {
    id: Id,
    seed: u32,
    length: usize,
    /// Ends of fragments, in units of 8 bytes.
    cuts: Vec<usize>,
}

impl Case {
    fn payload(&self) -> Vec<u8> {
        bytes(self.seed, self.length)
    }

    fn pieces(&self) -> Vec<Vec<u8>> {
        let payload = self.payload();
        let mut ends: Vec<usize> =
            self.cuts.iter().map(|cut| cut * 8).filter(|&cut| cut < self.length).collect();
        ends.push(self.length);
        ends.sort_unstable();
        ends.dedup();
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let pairs = starts.zip(ends.iter().copied());
        pairs.map(|(from, to)| piece(self.id, &payload, from, to, to < self.length)).collect()
    }
}

fn case(number: u16) -> impl Strategy<Value = Case> {
    let id = (any::<bool>(), any::<bool>()).prop_map(move |(v6, options)| Id { v6, options, number });
    (id, any::<u32>(), 16..1900_usize, prop::collection::vec(1..230_usize, 1..=FRAGMENTS - 1))
        .prop_map(|(id, seed, length, cuts)| Case { id, seed, length, cuts: [cuts, vec![1]].concat() })
        .prop_map(|mut case| {
            case.cuts.truncate(FRAGMENTS - 1);
            // At least two fragments.
            case.cuts[0] = 1;
            case
        })
}

/// Several datagrams, and all their fragments in an order of their own, some of them twice.
fn shuffled() -> impl Strategy<Value = (Vec<Case>, Vec<Vec<u8>>)> {
    (case(1), case(2), case(3), any::<prop::sample::Selector>()).prop_flat_map(|(a, b, c, twice)| {
        let cases = vec![a, b, c];
        let mut all: Vec<Vec<u8>> = cases.iter().flat_map(Case::pieces).collect();
        let again: Vec<Vec<u8>> = (0..3).map(|_| twice.select(&all).clone()).collect();
        all.extend(again);
        (Just(cases), Just(all).prop_shuffle())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// However the fragments are cut, mixed and repeated: each datagram comes out once, whole and unchanged, and every
    /// fragment is accounted for.
    #[test]
    fn datagrams_are_joined((cases, pieces) in shuffled()) {
        let mut bench = Bench::new();
        let mut got = bench.push_all(&pieces);
        let mut expected: Vec<_> = cases.iter().map(|case| whole(case.id, &case.payload())).collect();
        got.sort();
        expected.sort();
        prop_assert_eq!(&got, &expected);
        prop_assert_eq!(pieces.len(), got.len() + bench.dropped() + bench.reassembly.held());
        for packet in got.iter().filter(|packet| packet[0] >> 4 == 4) {
            prop_assert_eq!(checksum::checksum(&packet[..20]), 0);
        }
        // What is left of the repetitions ends with time.
        bench.now = bench.now.plus(PATIENCE);
        bench.sweep();
        prop_assert_eq!((bench.reassembly.held(), bench.reassembly.used), (0, 0));
        prop_assert_eq!(pieces.len(), got.len() + bench.dropped());
        prop_assert_eq!(bench.pool.left, 8, "the first fragment's buffer was enough");
    }

    /// A fragment that overlaps another, anywhere, and at any time before the datagram is whole, leaves nothing.
    #[test]
    fn an_overlap_spoils_all(case in case(9), at in any::<prop::sample::Index>(), early: bool) {
        let (pieces, payload) = (case.pieces(), case.payload());
        // Other bytes for what a fragment other than the last brings, and 8 before them.
        let victim = Piece::of(&pieces[at.index(pieces.len() - 1)]).unwrap();
        let forged: Vec<u8> = payload.iter().map(|byte| !byte).collect();
        let from = if victim.offset > 8 { victim.offset - 8 } else { victim.offset };
        let overlap = piece(case.id, &forged, from, victim.end(), true);
        let mut bench = Bench::new();
        let (before, after) = pieces.split_at(if early { 0 } else { pieces.len() - 1 });
        let mut got = bench.push_all(before);
        got.extend(bench.push(&overlap));
        got.extend(bench.push_all(after));
        prop_assert!(got.is_empty(), "{:?}", bench.drops);
        prop_assert_eq!(bench.reassembly.held(), 0);
        prop_assert_eq!(bench.drops.keys().copied().collect::<Vec<_>>(), ["fragment_overlap"]);
    }

    /// Whatever comes in as a packet: nothing panics, nothing is lost.
    #[test]
    fn arbitrary_packets_are_accounted_for(
        packets in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..120), any::<bool>()), 1..200)
    ) {
        let mut bench = Bench::new();
        let packets: Vec<Vec<u8>> = packets.into_iter().map(|(mut bytes, v6)| {
            bytes[0] = if v6 { 0x60 } else { 0x45 };
            if v6 && bytes.len() > 48 { bytes[6] = 44; }
            bytes
        }).collect();
        let got = bench.push_all(&packets);
        prop_assert_eq!(packets.len(), got.len() + bench.dropped() + bench.reassembly.held());
    }
}

#[test]
fn contradicting_ends_spoil_too() {
    for id in [V4, V6] {
        let payload = bytes(1, 64);
        let fragments = [
            // The end at 32, then bytes behind it; the other way round; and two ends.
            [piece(id, &payload, 24, 32, false), piece(id, &payload, 40, 48, true)],
            [piece(id, &payload, 40, 48, true), piece(id, &payload, 24, 32, false)],
            [piece(id, &payload, 24, 32, false), piece(id, &payload, 8, 16, false)],
        ];
        for pair in fragments {
            let mut bench = Bench::new();
            assert!(bench.push_all(&pair).is_empty());
            assert_eq!(bench.drops, [("fragment_overlap", 2)].into());
            // And stays spoilt.
            assert!(bench.push_all(&cut(id, &payload, 16)).is_empty());
            assert_eq!(bench.drops, [("fragment_overlap", 6)].into());
            bench.now = bench.now.plus(PATIENCE);
            assert_eq!(bench.push_all(&cut(id, &payload, 16)), [whole(id, &payload)], "but not for ever");
        }
    }
}

#[test]
fn what_no_sender_makes_is_refused() {
    let payload = bytes(1, 64);
    for id in [V4, V6] {
        let mut bench = Bench::new();
        // Not a multiple of 8 before the end; no bytes; not a fragment at all.
        assert!(bench.push(&piece(id, &payload, 0, 15, true)).is_none());
        assert!(bench.push(&piece(id, &payload, 8, 8, false)).is_none());
        assert!(bench.push(&whole(id, &payload)).is_none());
        // The ping of death: an end beyond 65,535.
        let mut far = piece(id, &payload, 0, 32, false);
        if id.v6 {
            far[50..52].copy_from_slice(&0xfff8_u16.to_be_bytes());
        } else {
            let place = Fragmentation { dont_fragment: false, more: false, offset: 0xfff8 };
            Ipv4Header::of(&mut far).unwrap().set_fragmentation(place);
        }
        assert!(bench.push(&far).is_none());
        assert_eq!(bench.drops, [("fragment_malformed", 4)].into());
        assert_eq!(bench.reassembly.used, 0);
    }
}

#[test]
fn a_fresh_buffer_is_taken_where_the_first_has_no_room() {
    let payload = bytes(3, 1900);
    let pieces = cut(V4, &payload, 1000);
    let mut bench = Bench::new();
    let mut late_in_its_buffer = Frame::new(&[vec![0; 800], pieces[0].clone()].concat());
    late_in_its_buffer.adj(800);
    assert!(bench.push_frame(late_in_its_buffer).is_none());
    assert_eq!(bench.push(&pieces[1]), Some(whole(V4, &payload)));
    assert_eq!((bench.pool.left, bench.drops), (7, [("reassembled", 1)].into()));
    // And there is an end to what a buffer holds.
    let mut bench = Bench::new();
    let payload = bytes(3, 2100);
    assert!(bench.push_all(&cut(V4, &payload, 1000)).is_empty());
    assert_eq!(bench.drops, [("fragment_too_many", 3)].into());
    assert_eq!(bench.reassembly.held(), 0);
    let mut bench = Bench::new();
    assert!(bench.push_all(&cut(V4, &payload[..800], 8)).is_empty());
    assert_eq!(bench.drops, [("fragment_too_many", 100)].into());
}

#[test]
fn time_runs_out() {
    let payload = bytes(4, 100);
    let pieces = cut(V4, &payload, 56);
    let mut bench = Bench::new();
    bench.push(&pieces[0]);
    bench.now = bench.now.plus(Nanos(PATIENCE.0 - 1));
    bench.sweep();
    assert_eq!(bench.reassembly.held(), 1);
    assert_eq!(bench.push(&pieces[1]), Some(whole(V4, &payload)), "just in time");
    bench.push(&pieces[0]);
    bench.now = bench.now.plus(PATIENCE);
    // Without a sweep, too.
    assert_eq!(bench.push(&pieces[1]), None);
    assert_eq!(bench.drops, [("fragment_timeout", 1), ("reassembled", 1)].into());
    bench.now = bench.now.plus(PATIENCE);
    bench.sweep();
    assert_eq!((bench.reassembly.held(), bench.drops["fragment_timeout"]), (0, 2));
}

/// An attacker fills every place over and over: memory stays bounded, and a datagram whose fragments come close together
/// still passes.
#[test]
fn an_attack_displaces_the_oldest() {
    let payload = bytes(5, 1000);
    let mut bench = Bench::new();
    let mut sent = 0;
    for number in 0..5000_u16 {
        bench.now = bench.now.plus(Nanos(1000));
        let id = Id { number, v6: number % 2 == 0, options: false };
        // Two or three fragments, never the last.
        let attack = &cut(id, &payload, 200)[..2 + usize::from(number % 2)];
        assert!(bench.push_all(attack).is_empty());
        sent += attack.len();
        assert!(bench.reassembly.held() <= HELD && bench.reassembly.used <= DATAGRAMS);
        if number % 100 == 99 {
            let honest = cut(Id { number: 60_000, v6: false, options: false }, &payload, 504);
            assert_eq!(bench.push_all(&honest).len(), 1);
            sent += honest.len() - 1;
        }
    }
    assert_eq!(sent, bench.dropped() + bench.reassembly.held());
    assert!(bench.drops["fragment_evicted"] > 10_000, "{:?}", bench.drops);
}

#[test]
fn congestion_of_one_is_congestion_of_all() {
    let marked = |mut bytes: Vec<u8>, ecn: Ecn| {
        if bytes[0] >> 4 == 4 {
            let header = Ipv4Header::of(&mut bytes).unwrap();
            header.set_traffic_class(header.traffic_class().with_ecn(ecn));
        } else {
            let header = Ipv6Header::of(&mut bytes).unwrap();
            header.set_traffic_class(header.traffic_class().with_ecn(ecn));
        }
        bytes
    };
    let payload = bytes(6, 100);
    for id in [V4, V6] {
        let pieces = cut(id, &payload, 56);
        let mut bench = Bench::new();
        let pair = [pieces[0].clone(), marked(pieces[1].clone(), Ecn::Ce)];
        assert_eq!(bench.push_all(&pair), [marked(whole(id, &payload), Ecn::Ce)]);
        let pair = [marked(pieces[0].clone(), Ecn::NotEct), marked(pieces[1].clone(), Ecn::Ce)];
        assert!(bench.push_all(&pair).is_empty());
        assert_eq!(bench.drops["congestion_lost"], 2);
    }
}
