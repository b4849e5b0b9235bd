use super::{seed, seed_packet};
use crate::packet::RxChecksum;
use crate::wire::ethernet::Ethernet;
use crate::wire::ipv4::{Fragmentation, Ipv4Fields, Ipv4Header, copied_options, write_with_options};
use crate::wire::ipv6::{Ipv6Fields, Ipv6Header, walk};
use crate::wire::{Ecn, EtherType, MacAddr, Protocol, TrafficClass, VlanId, WireError};
use proptest::prelude::*;

prop_compose! {
    fn ipv4_fields()(
        class: u8, payload_length in 0u16..1400, id: u16, df: bool, more: bool, offset in 0u16..0x2000,
        ttl: u8, protocol: u8, src: [u8; 4], dst: [u8; 4],
    ) -> Ipv4Fields {
        Ipv4Fields {
            traffic_class: TrafficClass(class),
            payload_length,
            id,
            fragmentation: Fragmentation { dont_fragment: df, more, offset: offset * 8 },
            ttl,
            protocol: Protocol(protocol),
            src: src.into(),
            dst: dst.into(),
        }
    }
}

fn assert_same(header: &Ipv4Header, oracle: &etherparse::Ipv4HeaderSlice) {
    assert_eq!(header.header_length(), oracle.slice().len());
    assert_eq!(header.total_length(), usize::from(oracle.total_len()));
    assert_eq!(header.traffic_class().dscp(), oracle.dcp().value());
    assert_eq!(header.traffic_class().ecn() as u8, oracle.ecn().value());
    assert_eq!(header.id(), oracle.identification());
    let fragmentation = header.fragmentation();
    assert_eq!(fragmentation.dont_fragment, oracle.dont_fragment());
    assert_eq!(fragmentation.more, oracle.more_fragments());
    assert_eq!(fragmentation.offset / 8, oracle.fragments_offset().value());
    assert_eq!(fragmentation.is_fragment(), oracle.is_fragmenting_payload());
    assert_eq!((header.ttl(), header.protocol().0), (oracle.ttl(), oracle.protocol().0));
    assert_eq!((header.src(), header.dst()), (oracle.source_addr(), oracle.destination_addr()));
    assert_eq!(header.checksum(), oracle.to_header().calc_header_checksum());
}

proptest! {
    #[test]
    fn ipv4_headers_read_as_etherparse_reads_them(
        fields in ipv4_fields(), words in prop::collection::vec(any::<[u8; 4]>(), 0..=10),
    ) {
        let mut packet = vec![0; 60 + 1400];
        let length = write_with_options(&fields, words.as_flattened(), &mut packet).unwrap();
        prop_assert_eq!(length, 20 + words.len() * 4);
        let oracle = etherparse::Ipv4HeaderSlice::from_slice(&packet).unwrap();
        assert_same(Ipv4Header::parse(&packet, RxChecksum::Unknown).unwrap(), &oracle);
        prop_assert_eq!(oracle.options(), words.as_flattened());
    }

    #[test]
    fn ipv4_changes_keep_the_checksum(
        fields in ipv4_fields(), class: u8, ttl: u8, id: u16, length in 20u16..1400, offset in 0u16..0x2000,
    ) {
        let mut packet = vec![0; 1420];
        fields.write(&mut packet).unwrap();
        let check = |packet: &[u8]| {
            let oracle = etherparse::Ipv4HeaderSlice::from_slice(packet).unwrap();
            assert_same(Ipv4Header::parse(packet, RxChecksum::Unknown).unwrap(), &oracle);
        };
        let alive = Ipv4Header::of(&mut packet).unwrap().decrement_ttl();
        prop_assert_eq!(alive, fields.ttl > 1);
        prop_assert_eq!(packet[8], if alive { fields.ttl - 1 } else { fields.ttl });
        check(&packet);
        Ipv4Header::of(&mut packet).unwrap().set_traffic_class(TrafficClass(class));
        prop_assert_eq!(packet[1], class);
        check(&packet);
        let fragmentation = Fragmentation { dont_fragment: false, more: true, offset: offset * 8 };
        let header = Ipv4Header::of(&mut packet).unwrap();
        header.set_fragmentation(fragmentation);
        prop_assert_eq!(header.fragmentation(), fragmentation);
        header.set_id(id);
        header.set_total_length(length);
        header.turn_round(ttl);
        prop_assert_eq!((header.src(), header.dst()), (fields.dst, fields.src));
        check(&packet);
    }

    #[test]
    fn ipv6_headers_read_as_etherparse_reads_them(
        class: u8, flow in 0u32..1 << 20, payload_length in 0u16..1400, next: u8, hops: u8, src: u128, dst: u128,
        other_class: u8,
    ) {
        let fields = Ipv6Fields {
            traffic_class: TrafficClass(class), flow_label: flow, payload_length, next_header: Protocol(next),
            hop_limit: hops, src: src.into(), dst: dst.into(),
        };
        let mut packet = vec![0; 1440];
        fields.write(&mut packet).unwrap();
        let header = Ipv6Header::of(&mut packet).unwrap();
        prop_assert_eq!(header.decrement_hop_limit(), hops > 1);
        header.set_traffic_class(TrafficClass(other_class));
        let header = *Ipv6Header::parse(&packet).unwrap();
        let oracle = etherparse::Ipv6HeaderSlice::from_slice(&packet).unwrap();
        prop_assert_eq!(header.traffic_class().0, oracle.traffic_class());
        prop_assert_eq!(header.traffic_class().0, other_class);
        prop_assert_eq!(header.flow_label(), oracle.flow_label().value());
        prop_assert_eq!(header.total_length(), 40 + usize::from(oracle.payload_length()));
        prop_assert_eq!(header.next_header().0, oracle.next_header().0);
        prop_assert_eq!(header.hop_limit(), oracle.hop_limit());
        prop_assert_eq!(header.hop_limit(), if hops > 1 { hops - 1 } else { hops });
        prop_assert_eq!((header.src(), header.dst()), (oracle.source_addr(), oracle.destination_addr()));
    }

    #[test]
    fn ethernet_headers_round_trip(dst: [u8; 6], src: [u8; 6], vlan in prop::option::of(1u16..=4094)) {
        let vlan = vlan.map(|id| VlanId::try_from(id).unwrap());
        let ethernet = Ethernet { dst: MacAddr(dst), src: MacAddr(src), vlan, ether_type: EtherType::IPV6 };
        let mut out = [0; 18];
        let length = ethernet.write(&mut out).unwrap();
        prop_assert_eq!(length, ethernet.length());
        prop_assert_eq!(Ethernet::parse(&out[..length]), Ok((ethernet, length)));
        prop_assert_eq!(ethernet.write(&mut out[..length - 1]), Err(WireError::NoRoom));
        let oracle = etherparse::Ethernet2HeaderSlice::from_slice(&out).unwrap();
        prop_assert_eq!((oracle.destination(), oracle.source()), (dst, src));
        let text = ethernet.src.to_string();
        prop_assert_eq!(text.parse::<MacAddr>(), Ok(ethernet.src));
    }
}

#[test]
fn mac_addresses() {
    for text in [
        "",
        "1:2:3:4:5:6",
        "02:00:00:00:00",
        "02:00:00:00:00:01:02",
        "+2:00:00:00:00:01",
        "0g:00:00:00:00:01",
    ] {
        assert!(text.parse::<MacAddr>().is_err(), "{text}");
    }
    assert!(MacAddr::BROADCAST.is_multicast() && !MacAddr::ZERO.is_unicast());
    // RFC 2464 §7 and RFC 1112 §6.4: the 24th bit of an IPv4 group is lost.
    let mac = MacAddr::from_ipv6_multicast("ff02::1:ff00:b".parse().unwrap());
    assert_eq!(mac.to_string(), "33:33:ff:00:00:0b");
    let mac = MacAddr::from_ipv4_multicast("239.129.2.3".parse().unwrap());
    assert_eq!(mac.to_string(), "01:00:5e:01:02:03");
}

#[test]
fn vlan_tags() {
    let (ethernet, payload) = Ethernet::parse(&seed("ipv6-vlan.ok")).unwrap();
    assert_eq!((ethernet.vlan.map(u16::from), payload), (Some(4094), 18));
    let (ethernet, payload) = Ethernet::parse(&seed("ipv4-vlan-priority.ok")).unwrap();
    assert_eq!((ethernet.vlan, ethernet.ether_type, payload), (None, EtherType::IPV4, 18));
    assert!(VlanId::try_from(0).is_err() && VlanId::try_from(4095).is_err());
}

#[test]
fn extension_headers_are_walked() {
    let upper = walk(&seed_packet("ipv6-chain.ok")).unwrap();
    assert_eq!((upper.protocol, upper.offset), (Protocol::UDP, 40 + 8 + 16 + 8));
    assert!(upper.hop_by_hop && upper.fragment.is_none() && upper.has_header());
    let upper = walk(&seed_packet("ipv6-fragment-first.ok")).unwrap();
    assert!(upper.is_fragment() && upper.has_header() && upper.fragment.unwrap().more);
    let upper = walk(&seed_packet("ipv6-fragment-last.ok")).unwrap();
    assert_eq!((upper.fragment.unwrap().offset, upper.fragment.unwrap().id), (32, 99));
    assert!(upper.is_fragment() && !upper.has_header());
    let upper = walk(&seed_packet("ipv6-atomic.ok")).unwrap();
    assert!(!upper.is_fragment() && upper.has_header() && upper.protocol == Protocol::UDP);
}

#[test]
fn fragments_carry_the_copied_options() {
    // No-operation, record route (not copied), router alert (copied), end of list.
    let options = [1, 7, 3, 4, 148, 4, 0, 0, 0, 0, 0, 0];
    let (copied, length) = copied_options(&options).unwrap();
    assert_eq!(copied[..length], [148, 4, 0, 0]);
    for bad in [&[148][..], &[148, 0], &[148, 1], &[148, 5, 0, 0], &[7, 9, 0, 0]] {
        assert_eq!(copied_options(bad), Err(WireError::Option), "{bad:?}");
    }
}

#[test]
fn traffic_class_parts() {
    let class = TrafficClass(0xb8).with_ecn(Ecn::Ce);
    assert_eq!((class.dscp(), class.ecn()), (46, Ecn::Ce));
    assert_eq!(class.with_dscp(10), TrafficClass(0x2b));
    for ecn in [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce] {
        assert_eq!(class.with_ecn(ecn).ecn(), ecn);
    }
}

#[test]
fn a_quoted_header_may_lack_its_payload_but_not_its_options() {
    let packet = seed_packet("ipv4-options.ok");
    assert!(Ipv4Header::parse_quoted(&packet[..32]).is_ok());
    assert_eq!(Ipv4Header::parse_quoted(&packet[..31]).err(), Some(WireError::Truncated));
    assert_eq!(Ipv4Header::parse(&packet[..32], RxChecksum::Unknown).err(), Some(WireError::Truncated));
}
