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
    fn ethernet_headers_round_trip(
        dst: [u8; 6], src: [u8; 6], vlan in prop::option::of((prop::option::of(1u16..=4094), 1u16..=4094))
    ) {
        let vlan = vlan.map(|(service, id)| match service {
            Some(service) => VlanId::stacked(service, id).unwrap(),
            None => VlanId::try_from(id).unwrap(),
        });
        let ethernet = Ethernet { dst: MacAddr(dst), src: MacAddr(src), vlan, ether_type: EtherType::IPV6 };
        let mut out = [0; 22];
        let length = ethernet.write(&mut out).unwrap();
        prop_assert_eq!(length, ethernet.length());
        prop_assert_eq!(Ethernet::parse(&out[..length]), Ok((ethernet, length)));
        prop_assert_eq!(ethernet.write(&mut out[..length - 1]), Err(WireError::NoRoom));
        let oracle = etherparse::SlicedPacket::from_ethernet(&out[..length]);
        let oracle = oracle.map_or_else(|_| None, |packet| Some(packet.vlan_ids().to_vec()));
        let tags: Vec<u16> = vlan.iter().flat_map(|v| v.service().into_iter().chain([v.customer()])).collect();
        if let Some(oracle) = oracle {
            prop_assert_eq!(oracle.iter().map(|id| id.value()).collect::<Vec<_>>(), tags);
        }
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
    assert_eq!((ethernet.vlan.map(VlanId::customer), payload), (Some(4094), 18));
    let (ethernet, payload) = Ethernet::parse(&seed("ipv4-vlan-priority.ok")).unwrap();
    assert_eq!((ethernet.vlan, ethernet.ether_type, payload), (None, EtherType::IPV4, 18));
    assert!(VlanId::try_from(0).is_err() && VlanId::try_from(4095).is_err());
    assert!(VlanId::stacked(0, 1).is_err() && VlanId::stacked(1, 4095).is_err());
}

/// Two tags: 802.1ad, two of 0x8100, a priority S-tag, an S-tag alone, three tags, VLAN 4095 inside.
#[test]
fn stacked_vlan_tags() {
    let frame = |tags: &[u8]| [&[2; 12][..], tags, &[0x08, 0x00], &[0; 46]].concat();
    let parsed = |tags: &[u8]| Ethernet::parse(&frame(tags)).map(|(e, at)| (e.vlan, e.ether_type, at));
    let both = VlanId::stacked(200, 100).unwrap();
    assert_eq!(both.to_string(), "200.100");
    for tpid in [[0x88, 0xa8], [0x81, 0x00]] {
        let tags = [&tpid[..], &[0x20, 200, 0x81, 0, 0, 100]].concat();
        assert_eq!(parsed(&tags), Ok((Some(both), EtherType::IPV4, 22)));
    }
    let priority = [0x88, 0xa8, 0x60, 0, 0x81, 0, 0, 100];
    assert_eq!(parsed(&priority), Ok((VlanId::try_from(100).ok(), EtherType::IPV4, 22)));
    assert_eq!(parsed(&[0x88, 0xa8, 0, 0, 0x81, 0, 0, 0]), Ok((None, EtherType::IPV4, 22)));
    assert_eq!(parsed(&[0x88, 0xa8, 0, 200]), Err(WireError::Unsupported));
    assert_eq!(parsed(&[0x88, 0xa8, 0, 200, 0x81, 0, 0xf, 0xff]), Err(WireError::Unsupported));
    assert_eq!(parsed(&[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3]), Err(WireError::Unsupported));
    assert_eq!(Ethernet::parse(&frame(&[0x88, 0xa8, 0, 1])[..17]), Err(WireError::Truncated));
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

/// AH in units of 4 bytes; mobility, HIP and Shim6 with and without something behind them.
#[test]
fn every_standard_extension_header_is_passed_over() {
    let packet = |first: Protocol, chain: &[u8]| {
        let payload_length = chain.len() as u16;
        let any = std::net::Ipv6Addr::LOCALHOST;
        let class = TrafficClass(0);
        let fields = crate::wire::ipv6::Ipv6Fields {
            traffic_class: class,
            flow_label: 0,
            payload_length,
            next_header: first,
            hop_limit: 64,
            src: any,
            dst: any,
        };
        let mut bytes = vec![0; 40];
        fields.write(&mut bytes).unwrap();
        [bytes, chain.to_vec()].concat()
    };
    let found = |first, chain: &[u8]| walk(&packet(first, chain)).map(|upper| (upper.protocol, upper.offset));
    let udp = [0_u8; 8];
    let ah = |units: u8| [&[17, units, 0, 0][..], &vec![0; 4 + 4 * usize::from(units)], &udp].concat();
    assert_eq!(found(Protocol::AUTHENTICATION, &ah(4)), Ok((Protocol::UDP, 40 + 24)));
    assert_eq!(found(Protocol::AUTHENTICATION, &ah(1)), Ok((Protocol::UDP, 40 + 12)));
    assert_eq!(found(Protocol::AUTHENTICATION, &ah(0)), Err(WireError::Extension));
    for kind in [Protocol::MOBILITY, Protocol::HIP, Protocol::SHIM6] {
        let behind = |next: u8| [&[next, 1][..], &[0; 14], &udp].concat();
        assert_eq!(found(kind, &behind(17)), Ok((Protocol::UDP, 40 + 16)));
        assert_eq!(found(kind, &behind(59)), Ok((kind, 40)));
        assert_eq!(found(kind, &[17, 255, 0, 0, 0, 0, 0, 0]), Err(WireError::Truncated));
    }
    // Nine headers are more than any packet has.
    let long: Vec<u8> =
        (0..9).flat_map(|i| [if i == 8 { 17 } else { 60 }, 0, 0, 0, 0, 0, 0, 0]).chain(udp).collect();
    assert_eq!(found(Protocol::DESTINATION, &long), Err(WireError::Extension));
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
