use super::*;
use crate::flow::{Flow, quoted};
use crate::packet::RxChecksum;
use crate::wire::checksum::{Sum, checksum, pseudo_v4};
use crate::wire::icmp::{IcmpError, write_error};
use crate::wire::ipv4::{Fragmentation, Ipv4Fields, Ipv4Header};
use crate::wire::{TrafficClass, udp};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn end(address: [u8; 4], port: u16) -> Endpoint {
    Endpoint { address: address.into(), port }
}

/// A packet with right checksums; UDP without one if `bare`.
fn packet(protocol: Protocol, src: Endpoint, dst: Endpoint, data: &[u8], bare: bool) -> Vec<u8> {
    let header = if protocol == Protocol::TCP { 20 } else { 8 };
    let mut packet = vec![0; 20 + header + data.len()];
    packet[20 + header..].copy_from_slice(data);
    let fields = Ipv4Fields {
        traffic_class: TrafficClass::default(),
        payload_length: (header + data.len()) as u16,
        id: 7,
        fragmentation: Fragmentation::default(),
        ttl: 64,
        protocol,
        src: src.address,
        dst: dst.address,
    };
    fields.write(&mut packet).expect("room");
    let upper = &mut packet[20..];
    match protocol {
        Protocol::UDP => {
            udp::write(upper, (src.address.into(), src.port), (dst.address.into(), dst.port)).expect("room");
            if bare {
                upper[6..8].fill(0);
            }
        }
        Protocol::TCP => {
            upper[..2].copy_from_slice(&src.port.to_be_bytes());
            upper[2..4].copy_from_slice(&dst.port.to_be_bytes());
            upper[12] = 0x50;
            let sum = pseudo_v4(src.address, dst.address, protocol, upper.len() as u16);
            let check = sum.bytes(upper).finish();
            upper[16..18].copy_from_slice(&check.to_be_bytes());
        }
        _ => {
            upper[0] = 8;
            upper[4..6].copy_from_slice(&src.port.to_be_bytes());
            let check = checksum(upper);
            upper[2..4].copy_from_slice(&check.to_be_bytes());
        }
    }
    packet
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    any::<(u32, u16)>().prop_map(|(address, port)| Endpoint { address: address.into(), port })
}

proptest! {
    /// A rewritten packet is the packet one would have made with the new end, checksums to the bit.
    #[test]
    fn rewriting_is_making_anew(
        protocol in prop::sample::select(vec![Protocol::TCP, Protocol::UDP, Protocol::ICMP]),
        src in endpoint(), dst in endpoint(), new in endpoint(), source in any::<bool>(), bare in any::<bool>(),
        data in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut rewritten = packet(protocol, src, dst, &data, bare);
        let which = if source { End::Source } else { End::Destination };
        prop_assert!(rewrite(&mut rewritten, which, new));
        // An identifier is one, whichever end is rewritten.
        let query = protocol == Protocol::ICMP;
        let (src, dst) = match source {
            true => (new, dst),
            false => (if query { Endpoint { port: new.port, ..src } } else { src }, new),
        };
        prop_assert_eq!(rewritten, packet(protocol, src, dst, &data, bare));
    }

    /// Any order of taking and letting go: no outside endpoint has two owners, none is lost.
    #[test]
    fn ports_are_lent_and_come_back(steps in prop::collection::vec((0..90_u16, any::<bool>()), 1..400)) {
        // 63 ports of one address, one worker among 1008.
        let share = PortShare::new(3, 1008);
        let keys = crate::flow::HashKeys::seeded(1);
        let mut pool = PortPool::new(&[[203, 0, 113, 1].into()], share, std::iter::empty(), keys, 9);
        let (mut held, mut counts) = (BTreeMap::new(), BTreeMap::<u16, u32>::new());
        for (n, take) in steps {
            let inside = end([10, 0, 0, 1], n);
            if take {
                let got = pool.acquire(Kind::Udp, inside);
                match got {
                    Ok(outside) => {
                        prop_assert_eq!(PortShare::owner(outside.port, 1008), Some(3));
                        let before = held.insert(n, outside);
                        prop_assert!(before.is_none_or(|before| before == outside), "endpoint-independent");
                        *counts.entry(n).or_default() += 1;
                    }
                    Err(Exhausted) => prop_assert!(held.len() == 63 && !held.contains_key(&n)),
                }
            } else if let Some(&outside) = held.get(&n) {
                prop_assert_eq!(pool.join(Kind::Tcp, outside), None);
                prop_assert_eq!(pool.join(Kind::Udp, outside), Some(inside));
                pool.release(Kind::Udp, outside);
                pool.release(Kind::Udp, outside);
                let count = counts.get_mut(&n).expect("counted");
                *count -= 1;
                if *count == 0 {
                    held.remove(&n);
                    prop_assert_eq!(pool.join(Kind::Udp, outside), None);
                }
            }
            let distinct: std::collections::BTreeSet<_> = held.values().collect();
            prop_assert_eq!(distinct.len(), held.len());
            prop_assert_eq!(pool.usage(), (held.len(), 3 * 63));
        }
    }
}

fn nat(filtering: Filtering) -> Nat {
    let config = NatConfig {
        inside: vec!["10.0.0.0/8".parse().expect("a prefix")],
        exempt: vec!["172.16.0.0/12".parse().expect("a prefix")],
        pool: vec![[203, 0, 113, 1].into(), [203, 0, 113, 2].into()],
        filtering,
        forwards: [((Kind::Tcp, end([203, 0, 113, 1], 443)), end([10, 0, 0, 80], 8443))]
            .into_iter()
            .collect(),
    };
    Nat::new(config, PortShare::new(0, 1), crate::flow::HashKeys::seeded(1), 5)
}

fn flow(packet: &[u8]) -> Flow {
    let header = Ipv4Header::parse(packet, RxChecksum::Unknown).expect("intact");
    let shown = header.fragmentation().offset == 0;
    Flow::ipv4(packet, header.protocol(), header.header_length(), shown).expect("long enough")
}

#[test]
fn both_directions_and_errors_about_them() {
    let mut nat = nat(Filtering::default());
    for protocol in [Protocol::UDP, Protocol::TCP, Protocol::ICMP] {
        let (inside, remote) = (end([10, 1, 2, 3], 5000), end([198, 51, 100, 9], 53));
        let mut out = packet(protocol, inside, remote, b"question", false);
        let key = nat.translate(&flow(&out), false).expect("translated").expect("from inside");
        let (src, _) = outgoing(&key, true).expect("IPv4");
        assert!(rewrite(&mut out, End::Source, src));
        assert_eq!(flow(&out).tuple, key.reverse().reversed());
        assert!(src.port >= 1024 && src.address.octets()[..3] == [203, 0, 113]);
        // A router outside cannot deliver it, and quotes it: the inside host gets the error about what it sent.
        let mut error = vec![0; 600];
        let length =
            write_error(IcmpError::HostUnreachable, [192, 0, 2, 1].into(), &out, &mut error).expect("room");
        error.truncate(length);
        assert_eq!(quoted(&error[28..]).map(|tuple| tuple.reversed()), Some(key.reverse()));
        let (_, back) = outgoing(&key, false).expect("IPv4");
        assert_eq!(back, inside);
        assert!(rewrite_error(&mut error, (End::Source, inside), (End::Destination, inside.address)));
        assert_eq!(
            error[28..],
            packet(protocol, inside, remote, b"question", false)[..],
            "the very packet it sent"
        );
        let header = Ipv4Header::parse(&error, RxChecksum::Unknown).expect("intact");
        assert_eq!(header.dst(), inside.address);
        assert!(Sum::default().bytes(&error[20..]).is_intact());
        error[30] ^= 1;
        let broken = error.clone();
        assert!(!rewrite_error(&mut error, (End::Source, inside), (End::Destination, inside.address)));
        assert_eq!(error, broken);
        nat.release(&key);
        assert_eq!(nat.usage().0, 0);
    }
}

#[test]
fn who_is_translated() {
    let mut nat = nat(Filtering::AddressAndPortDependent);
    let mut key = |protocol, src, dst| nat.translate(&flow(&packet(protocol, src, dst, b"", false)), false);
    let (inside, remote) = (end([10, 1, 2, 3], 5000), end([198, 51, 100, 9], 53));
    assert_eq!(key(Protocol::UDP, inside, end([172, 16, 0, 1], 53)), Ok(None), "exempt");
    assert_eq!(key(Protocol::UDP, inside, end([10, 9, 9, 9], 53)), Ok(None), "inside to inside");
    assert_eq!(key(Protocol::UDP, remote, inside), Ok(None), "not from inside");
    assert_eq!(key(Protocol::GRE, inside, remote), Err(NatError::Protocol));
    let one = key(Protocol::UDP, inside, remote).expect("free").expect("from inside");
    let other = key(Protocol::UDP, inside, end([192, 0, 2, 7], 7)).expect("free").expect("from inside");
    let (AnyTuple::V4(one), AnyTuple::V4(other)) = (one.reverse(), other.reverse()) else { panic!("IPv4") };
    assert_eq!((one.dst, one.dst_port), (other.dst, other.dst_port), "RFC 4787 REQ-1");
    let outside = Endpoint { address: one.dst, port: one.dst_port };
    assert_eq!(key(Protocol::UDP, remote, outside), Ok(None), "filtered unless it has a session");
    // Another inside host meets it at its outside address (REQ-9): both ends change.
    let hairpin = key(Protocol::UDP, end([10, 7, 7, 7], 9), outside).expect("free").expect("from inside");
    let (src, dst) = outgoing(&hairpin, true).expect("IPv4");
    assert_eq!((dst, src.address.octets()[0]), (inside, 203));
    let web = key(Protocol::TCP, remote, end([203, 0, 113, 1], 443)).expect("fixed").expect("forwarded");
    assert_eq!(outgoing(&web, true), Some((remote, end([10, 0, 0, 80], 8443))));
    let mut fragment = packet(Protocol::UDP, inside, remote, b"", false);
    fragment[7] = 1;
    let fragment = Flow::ipv4(&fragment, Protocol::UDP, 20, false).expect("a header");
    assert_eq!(nat.translate(&fragment, false), Err(NatError::Fragment));
    let mut open = self::nat(Filtering::EndpointIndependent);
    let key = open
        .translate(&flow(&packet(Protocol::UDP, inside, remote, b"", false)), false)
        .expect("free")
        .expect("ours");
    let (outside, _) = outgoing(&key, true).expect("IPv4");
    let stranger = packet(Protocol::UDP, end([192, 0, 2, 99], 1), outside, b"", false);
    let other = open.translate(&flow(&stranger), false).expect("open").expect("to a mapping");
    open.release(&key);
    assert_eq!(open.usage().0, 1, "the stranger's session still holds it");
    open.release(&other);
    assert_eq!(open.usage().0, 0);
}

proptest! {
    /// Two engines translate at once, and each holds what the other has: no port has two owners, nothing of another
    /// engine's is given out, and everything comes back.
    #[test]
    fn engines_hold_each_others_bindings(flows in prop::collection::vec((0..2usize, 0..40_u16, 0..3u8), 1..60)) {
        let part = |engine| {
            let config = nat(Filtering::default()).config;
            let share = PortShare::new(0, 1).part(engine, 2);
            Nat::new(config, share, crate::flow::HashKeys::seeded(1), 5 + u64::from(engine))
        };
        let mut engines = [part(0), part(1)];
        let (mut keys, mut owners) = (Vec::new(), BTreeMap::new());
        for (at, n, kind) in flows {
            let protocol = [Protocol::UDP, Protocol::TCP, Protocol::ICMP][usize::from(kind)];
            let inside = end([10, 1, at as u8, 3], 5000 + n);
            let out = packet(protocol, inside, end([198, 51, 100, 9], 53), b"question", false);
            let key = engines[at].translate(&flow(&out), false).expect("a port").expect("from inside");
            prop_assert!(engines[1 - at].claim(&key), "the other half is nobody's here");
            let (outside, _) = outgoing(&key, true).expect("IPv4");
            let owner = owners.insert((kind, outside), inside);
            prop_assert!(owner.is_none_or(|owner| owner == inside));
            keys.push(key);
        }
        // The first engine starts anew, and gets its own bindings back from the other.
        engines[0] = part(0);
        prop_assert!(keys.iter().all(|key| engines[0].claim(key)));
        let stolen = |key: &SessionKey| match *key {
            SessionKey::V4 { forward, reverse } => {
                SessionKey::V4 { forward: Tuple { src: [10, 9, 9, 9].into(), ..forward }, reverse }
            }
            SessionKey::V6(_) => unreachable!("NAT44"),
        };
        prop_assert!(!keys.iter().any(|key| engines[0].claim(&stolen(key))), "somebody has it");
        for engine in &mut engines {
            keys.iter().for_each(|key| engine.release(key));
            prop_assert_eq!(engine.usage().0, 0);
        }
    }
}
