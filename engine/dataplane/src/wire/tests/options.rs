use super::seed_packet;
use crate::wire::checksum::pseudo_v4;
use crate::wire::tcp::{clamp_mss, mss};
use crate::wire::{Protocol, WireError};
use proptest::prelude::*;
use std::net::Ipv4Addr;

const SRC: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const DST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);

fn sealed(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![0; 20];
    segment[..4].copy_from_slice(&[0xb2, 0x6e, 0x01, 0xbb]);
    segment.extend(options);
    segment.resize(segment.len().next_multiple_of(4), 0);
    segment[12] = (segment.len() / 4 * 16) as u8;
    segment[13] = flags;
    segment.extend(payload);
    let check = pseudo_v4(SRC, DST, Protocol::TCP, segment.len() as u16).bytes(&segment).finish();
    segment[16..18].copy_from_slice(&check.to_be_bytes());
    segment
}

fn intact(segment: &[u8]) -> bool {
    pseudo_v4(SRC, DST, Protocol::TCP, segment.len() as u16).bytes(segment).is_intact()
}

#[test]
fn scapy_syns_are_clamped() {
    let packet = seed_packet("ipv4-tcp-syn.ok");
    let mut segment = packet[20..].to_vec();
    assert!(intact(&segment));
    assert_eq!((mss(&segment), clamp_mss(&mut segment, 1460)), (Ok(Some(1460)), Ok(false)));
    assert_eq!(segment, packet[20..]);
    assert_eq!((clamp_mss(&mut segment, 1360), mss(&segment)), (Ok(true), Ok(Some(1360))));
    assert!(intact(&segment));
    let mut segment = seed_packet("ipv4-tcp-syn-odd.ok")[20..].to_vec();
    assert_eq!((clamp_mss(&mut segment, 1360), mss(&segment)), (Ok(true), Ok(Some(1360))));
    assert!(intact(&segment), "an MSS at an odd offset");
}

#[test]
fn malformed_options_are_left_alone() {
    for options in [&[2u8, 4, 5, 180][..], &[1, 2, 4, 5, 180]] {
        assert_eq!(mss(&sealed(0x10, options, &[])), Ok(None), "no SYN");
        assert!(mss(&sealed(0x12, options, &[])).unwrap().is_some(), "SYN and ACK");
    }
    // Zero length, length beyond the header, wrong MSS length, end of list first, kind without length.
    let cases = [&[3, 0, 2, 4, 5, 180][..], &[3, 99, 2, 4], &[2, 3, 5, 2], &[0, 2, 4, 5, 180], &[1, 1, 1, 2]];
    for options in cases {
        let mut segment = sealed(0x02, options, b"data");
        let before = segment.clone();
        assert_eq!(clamp_mss(&mut segment, 100), Ok(false), "{options:?}");
        assert_eq!(segment, before);
    }
    // An option cut off by the end of the header must not be read from the payload.
    let mut segment = sealed(0x02, &[1, 2, 4, 5], &[180, 0, 0, 0]);
    assert_eq!(clamp_mss(&mut segment, 100), Ok(false));
    assert_eq!(mss(&segment[..19]), Err(WireError::Truncated));
}

proptest! {
    #[test]
    fn clamping_is_recomputing(
        before in 0usize..20, value: u16, limit: u16, syn_ack: bool, payload in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let mut options = vec![1; before]; // No-operations move the option to even and odd offsets.
        options.extend([2, 4]);
        options.extend(value.to_be_bytes());
        let flags = if syn_ack { 0x12 } else { 0x02 };
        let mut segment = sealed(flags, &options, &payload);
        prop_assert_eq!(clamp_mss(&mut segment, limit), Ok(value > limit));
        let at = 20 + before + 2;
        prop_assert_eq!(&segment[at..at + 2], &value.min(limit).to_be_bytes());
        options[before + 2..].copy_from_slice(&value.min(limit).to_be_bytes());
        prop_assert_eq!(&segment, &sealed(flags, &options, &payload));
        let oracle = etherparse::TcpHeaderSlice::from_slice(&segment).unwrap();
        let found = oracle.options_iterator().find_map(|option| match option {
            Ok(etherparse::TcpOptionElement::MaximumSegmentSize(value)) => Some(value),
            _ => None,
        });
        prop_assert_eq!(found, Some(value.min(limit)));
    }

    #[test]
    fn arbitrary_options_are_read_as_etherparse_reads_them(options in prop::collection::vec(0u8..9, 0..40)) {
        let segment = sealed(0x02, &options, &[]);
        let oracle = etherparse::TcpHeaderSlice::from_slice(&segment).unwrap();
        // Stop where etherparse finds something malformed before an MSS, as we do; an unknown kind, which it
        // also stops at, we skip, so nothing is said about what follows one.
        let mut found = Some(None);
        for option in oracle.options_iterator() {
            match option {
                Ok(etherparse::TcpOptionElement::MaximumSegmentSize(value)) => found = Some(Some(value)),
                Ok(_) => continue,
                Err(_) => found = None,
            }
            break;
        }
        if let Some(expected) = found {
            prop_assert_eq!(mss(&segment), Ok(expected));
        }
    }
}
