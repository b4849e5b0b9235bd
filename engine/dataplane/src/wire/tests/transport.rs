use super::seed_packet;
use crate::id::{Nanos, Spi};
use crate::wire::esp::{self, Esp, Trailer};
use crate::wire::gre::Gre;
use crate::wire::stamp::{self, Probe, Reflection};
use crate::wire::udp::{self, UdpHeader};
use crate::wire::vrrp::{self, Advertisement, Vrid};
use crate::wire::vxlan::{self, Vni};
use crate::wire::{EtherType, Ethernet, Protocol, WireError, esp_udp};
use proptest::prelude::*;
use std::net::IpAddr;

#[test]
fn scapy_gre_is_read() {
    let packet = seed_packet("gre-plain.ok");
    let plain = Gre { protocol: EtherType::IPV4, key: None, sequence: None };
    assert_eq!(Gre::parse(&packet[20..]), Ok((plain, 4)));
    let packet = seed_packet("gre-full.ok");
    let full = Gre { protocol: EtherType::IPV6, key: Some(0xdead_beef), sequence: Some(42) };
    assert_eq!(Gre::parse(&packet[40..]), Ok((full, 16)));
    for bit in 0..(packet.len() - 40) * 8 {
        let mut bad = packet[40..].to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        // Without the checksum-present bit itself, nothing is verified.
        assert!(bit == 7 || Gre::parse(&bad).is_err(), "bit {bit}");
    }
}

#[test]
fn esp_padding_must_count() {
    // RFC 4303 §2.4: 1, 2, 3, …; 4 = IPv4.
    let plaintext = [0xaa, 0xaa, 0xaa, 1, 2, 3, 3, 4];
    let trailer = Trailer { next_header: Protocol::IPV4, payload_length: 3 };
    assert_eq!(Trailer::parse(&plaintext), Ok(trailer));
    assert_eq!(Trailer::parse(&[1, 2, 2, 3, 4]), Err(WireError::Padding));
    assert_eq!(Trailer::parse(&[1, 2, 3, 4]), Err(WireError::HeaderLength));
    assert_eq!(Trailer::parse(&[4]), Err(WireError::Truncated));
    assert!(!Trailer::write(Protocol::IPV4, &mut [0; 20], 13), "7 bytes behind the payload");
}

/// What keepalived 2.2.7 sent in the lab: priority 100, two addresses.
#[test]
fn an_advertisement_of_keepalived_is_read() {
    let message = [0x31, 7, 100, 2, 0, 100, 0x6a, 0xf9, 10, 1, 0, 1, 10, 1, 0, 254];
    let (src, dst) = ("10.1.0.4".parse().unwrap(), vrrp::GROUP_V4.into());
    let said = Advertisement { virtual_router: Vrid(7), priority: 100, interval_cs: 100 };
    assert_eq!(Advertisement::parse(&message, src, dst), Ok(said));
    let mut ours = [0; 16];
    let addresses = ["10.1.0.1", "10.1.0.254"].map(|ip| ip.parse::<IpAddr>().unwrap());
    assert_eq!(said.write((src, dst), addresses.into_iter(), true, &mut ours), Ok(message.len()));
    assert_eq!(ours, message);
}

proptest! {
    /// Either reading of what an IPv4 checksum covers is taken, and every damaged bit is seen but in what no reader looks at.
    #[test]
    fn advertisements_round_trip(
        number in 1_u8.., priority: u8, interval_cs in 0_u16..4096, v6: bool, pseudo: bool,
        count in 1_usize..9, bit: proptest::sample::Index,
    ) {
        let (src, dst): (IpAddr, IpAddr) = match v6 {
            false => ("192.0.2.1".parse().unwrap(), vrrp::GROUP_V4.into()),
            true => ("fe80::1".parse().unwrap(), vrrp::GROUP_V6.into()),
        };
        let said = Advertisement { virtual_router: Vrid(number), priority, interval_cs };
        let mut out = vec![0; vrrp::length(v6, count)];
        prop_assert_eq!(said.write((src, dst), std::iter::repeat_n(src, count), pseudo, &mut out), Ok(out.len()));
        prop_assert_eq!(Advertisement::parse(&out, src, dst), Ok(said));
        prop_assert!(Advertisement::parse(&out[..out.len() - 1], src, dst).is_err());
        let bit = bit.index(out.len() * 8);
        out[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Advertisement::parse(&out, src, dst).is_err(), "bit {}", bit);
    }

    #[test]
    fn gre_round_trips(protocol: u16, key: Option<u32>, sequence: Option<u32>) {
        let gre = Gre { protocol: EtherType(protocol), key, sequence };
        let mut out = [0; 12];
        let length = gre.write(&mut out).unwrap();
        prop_assert_eq!(length, gre.length());
        prop_assert_eq!(Gre::parse(&out[..length]), Ok((gre, length)));
        prop_assert_eq!(gre.write(&mut out[..length - 1]), Err(WireError::NoRoom));
        prop_assert_eq!(Gre::parse(&out[..length - 1]), Err(WireError::Truncated));
    }

    #[test]
    fn esp_round_trips(spi in 1u32.., sequence: u32, payload in prop::collection::vec(any::<u8>(), 0..99)) {
        let esp = Esp { spi: Spi(spi), sequence };
        let mut out = [0; 8];
        prop_assert_eq!(esp.write(&mut out), Ok(esp::HEADER_LENGTH));
        prop_assert_eq!(Esp::parse(&out), Ok(esp));
        let mut plaintext = payload.clone();
        plaintext.resize(payload.len() + 8, 0xff);
        prop_assert!(Trailer::write(Protocol::IPV6, &mut plaintext, payload.len()));
        plaintext.truncate(payload.len() + Trailer::length(payload.len()));
        prop_assert_eq!(plaintext.len() % 4, 0);
        let trailer = Trailer { next_header: Protocol::IPV6, payload_length: payload.len() };
        prop_assert_eq!(Trailer::parse(&plaintext), Ok(trailer));
        prop_assert_eq!(&plaintext[..payload.len()], &payload);
    }

    #[test]
    fn every_pad_length_round_trips(pad in 0usize..=255) {
        let out: Vec<u8> = (1..=pad as u8).chain([pad as u8, 4]).collect();
        prop_assert_eq!(Trailer::parse(&out).map(|trailer| trailer.payload_length), Ok(0));
    }

    #[test]
    fn udp_is_sealed_as_etherparse_seals_it(
        src: u128, dst: u128, six: bool, ports: (u16, u16), payload in prop::collection::vec(any::<u8>(), 0..99),
    ) {
        let mut datagram = vec![0; 8];
        datagram.extend(&payload);
        let oracle = etherparse::UdpHeader::without_ipv4_checksum(ports.0, ports.1, payload.len()).unwrap();
        let (a, b, check): (IpAddr, IpAddr, u16) = if six {
            let check = oracle.calc_checksum_ipv6_raw(src.to_be_bytes(), dst.to_be_bytes(), &payload).unwrap();
            (std::net::Ipv6Addr::from(src).into(), std::net::Ipv6Addr::from(dst).into(), check)
        } else {
            let [a, b] = [src, dst].map(|address| (address as u32).to_be_bytes());
            (a.into(), b.into(), oracle.calc_checksum_ipv4_raw(a, b, &payload).unwrap())
        };
        udp::write(&mut datagram, (a, ports.0), (b, ports.1)).unwrap();
        let (header, data) = UdpHeader::parse(&datagram).unwrap();
        prop_assert_eq!((header.src_port(), header.dst_port(), header.checksum()), (ports.0, ports.1, check));
        prop_assert_eq!(data, &payload);
        prop_assert_eq!(udp::verify(&datagram, a, b), Ok(()));
        datagram[7] ^= 1;
        prop_assert_eq!(udp::verify(&datagram, a, b).is_err(), six || datagram[6..8] != [0, 0]);
    }

    #[test]
    fn probes_round_trip(sequence: u32, session: u16, sent: u64, received: u64, left: u64, own: u32, ttl: u8) {
        let probe = Probe { sequence, session, sent: Nanos(sent) };
        let mut out = [0xff; stamp::LENGTH];
        prop_assert_eq!(probe.write(&mut out), Ok(44));
        prop_assert_eq!(Probe::parse(&out), Ok(probe));
        let reflection =
            Reflection { sequence: own, sent: Nanos(left), received: Nanos(received), probe, probe_ttl: ttl };
        prop_assert_eq!(reflection.write(&mut out), Ok(44));
        prop_assert_eq!(Reflection::parse(&out), Ok(reflection));
        prop_assert_eq!(Reflection::parse(&out[..43]), Err(WireError::Truncated));
    }
}

#[test]
fn scapy_stamp_is_read_and_a_computed_zero_is_sent_as_ones() {
    let packet = seed_packet("stamp-probe.ok");
    let (header, payload) = UdpHeader::parse(&packet[20..]).unwrap();
    assert_eq!(header.dst_port(), stamp::PORT);
    let probe = Probe { sequence: 7, session: 3, sent: Nanos(123_456_789) };
    assert_eq!(Probe::parse(payload), Ok(probe));
    let mut out = [0; stamp::LENGTH];
    probe.write(&mut out).unwrap();
    assert_eq!(out, payload);
    let reflection = Reflection { sequence: 1, sent: Nanos(150), received: Nanos(100), probe, probe_ttl: 64 };
    assert_eq!(reflection.round_trip(Nanos(123_456_789 + 1050)), Nanos(1000));
    // RFC 768: the words of this datagram sum to ffff without its checksum.
    let nowhere: IpAddr = std::net::Ipv4Addr::UNSPECIFIED.into();
    let mut datagram = [0; 10];
    let rest = 0xffff - (17 + 10 + 10 + 1 + 2);
    datagram[8..].copy_from_slice(&u16::to_be_bytes(rest));
    udp::write(&mut datagram, (nowhere, 1), (nowhere, 2)).unwrap();
    assert_eq!(datagram[6..8], [0xff, 0xff]);
    assert_eq!(udp::verify(&datagram, nowhere, nowhere), Ok(()));
}

#[test]
fn scapy_vxlan_is_read() {
    let packet = seed_packet("vxlan.ok");
    let (header, payload) = UdpHeader::parse(&packet[20..]).expect("UDP");
    assert_eq!((header.dst_port(), header.checksum()), (vxlan::PORT, 0));
    assert_eq!(vxlan::parse(payload).map(Vni::get), Ok(0xab_cdef));
    let (inner, _) = Ethernet::parse(&payload[vxlan::HEADER_LENGTH..]).expect("a frame");
    assert_eq!(inner.ether_type, EtherType::IPV4);
    // RFC 7348 §5: without the I bit there is no VNI; whatever else is set is ignored.
    for bit in 0..8 * vxlan::HEADER_LENGTH {
        let mut changed = payload.to_vec();
        changed[bit / 8] ^= 0x80 >> (bit % 8);
        let expected = match bit {
            4 => Err(WireError::Reserved),
            32..56 => Ok(0xab_cdef ^ 1 << (55 - bit)),
            _ => Ok(0xab_cdef),
        };
        assert_eq!(vxlan::parse(&changed).map(Vni::get), expected, "bit {bit}");
    }
    assert_eq!(vxlan::parse(&payload[..7]), Err(WireError::Truncated));
    assert!(Vni::try_from(1 << 24).is_err());
}

/// RFC 3948 §2.
#[test]
fn one_port_for_esp_ike_and_keepalives() {
    let parse = esp_udp::Payload::parse;
    assert_eq!(parse(&[0xff]), Ok(esp_udp::Payload::Keepalive));
    assert_eq!(parse(&[0, 0, 0, 0, 9]), Ok(esp_udp::Payload::Ike(&[9])));
    let packet = seed_packet("esp-udp.ok");
    let (_, payload) = UdpHeader::parse(&packet[20..]).expect("UDP");
    assert_eq!(parse(payload), Ok(esp_udp::Payload::Esp(payload)));
    assert_eq!(Esp::parse(payload), Ok(Esp { spi: Spi(0x1001), sequence: 7 }));
    for short in [&[][..], &[0xfe], &[0, 0, 0], &[1, 2, 3, 4, 5, 6, 7]] {
        assert_eq!(parse(short), Err(WireError::Truncated));
    }
}

proptest! {
    #[test]
    fn vxlan_reads_what_it_writes(number in 0u32..1 << 24) {
        let (vni, mut out) = (Vni::try_from(number).unwrap(), [0xee; vxlan::HEADER_LENGTH]);
        prop_assert_eq!(vxlan::write(vni, &mut out), Ok(vxlan::HEADER_LENGTH));
        prop_assert_eq!((out[0], out[1..4].to_vec(), out[7]), (8, vec![0; 3], 0));
        prop_assert_eq!(vxlan::parse(&out), Ok(vni));
        prop_assert_eq!(vxlan::write(vni, &mut out[..7]), Err(WireError::NoRoom));
    }
}
