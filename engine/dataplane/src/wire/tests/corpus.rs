use super::{folder, seed_packet};
use crate::packet::RxChecksum;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::{self, Ipv6Header};
use crate::wire::{EtherType, Protocol, Result, WireError, fuzz_all};
use crate::wire::{arp, esp, ethernet, gre, icmp, icmpv6, ndp, tcp, udp};
use proptest::prelude::*;
use std::net::IpAddr;

/// The first thing wrong with a frame, layer by layer.
fn verdict(frame: &[u8]) -> Result<()> {
    let (ethernet, payload) = ethernet::Ethernet::parse(frame)?;
    inner(ethernet.ether_type, &frame[payload..])
}

fn inner(ether_type: EtherType, packet: &[u8]) -> Result<()> {
    match ether_type {
        EtherType::ARP => arp::Arp::parse(packet).map(drop),
        EtherType::IPV4 => {
            let header = Ipv4Header::parse(packet, RxChecksum::Unknown)?;
            let payload = &packet[header.payload()];
            if header.fragmentation().is_fragment() {
                return Ok(());
            }
            match header.protocol() {
                Protocol::ICMP => icmp::Icmp::parse(payload).map(drop),
                protocol => upper(protocol, header.src().into(), header.dst().into(), payload),
            }
        }
        EtherType::IPV6 => {
            let header = Ipv6Header::parse(packet)?;
            let walked = ipv6::walk(packet)?;
            let payload = &packet[walked.offset..header.total_length()];
            if walked.is_fragment() {
                return Ok(());
            }
            match walked.protocol {
                Protocol::ICMPV6 => match icmpv6::Icmpv6::parse(header.src(), header.dst(), payload)? {
                    icmpv6::Icmpv6::NeighborDiscovery => ndp::Ndp::parse(header, payload).map(drop),
                    _ => Ok(()),
                },
                protocol => upper(protocol, header.src().into(), header.dst().into(), payload),
            }
        }
        _ => Err(WireError::Unsupported),
    }
}

fn upper(protocol: Protocol, src: IpAddr, dst: IpAddr, payload: &[u8]) -> Result<()> {
    match protocol {
        Protocol::UDP => udp::verify(payload, src, dst),
        Protocol::TCP => tcp::mss(payload).map(drop),
        Protocol::ESP => esp::Esp::parse(payload).map(drop),
        Protocol::GRE => {
            let (gre, at) = gre::Gre::parse(payload)?;
            inner(gre.protocol, &payload[at..])
        }
        _ => Err(WireError::Unsupported),
    }
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(folder()).expect("the corpus is there");
    let files = files.map(|file| file.expect("readable").path());
    files
        .map(|path| {
            let name = path.file_stem().expect("named").to_string_lossy().into_owned();
            (name, std::fs::read(path).expect("readable"))
        })
        .collect()
}

#[test]
fn every_seed_gets_its_verdict() {
    let seeds = seeds();
    assert!(seeds.len() >= 60, "{} seeds", seeds.len());
    for (name, frame) in seeds {
        let expected = name.rsplit('.').next().expect("NAME.EXPECTED");
        let found = match verdict(&frame) {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("{error:?}").to_lowercase(),
        };
        assert_eq!(found, expected, "{name}");
        fuzz_all(&frame);
    }
}

#[test]
fn every_cut_of_a_seed_is_survived_and_refused() {
    for (name, frame) in seeds() {
        for length in 0..frame.len() {
            fuzz_all(&frame[..length]);
            let padded = matches!(name.as_str(), "arp-request.ok" | "ipv4-udp-padded.ok");
            if name.ends_with(".ok") && !padded {
                assert!(verdict(&frame[..length]).is_err(), "{name} cut to {length}");
            }
        }
    }
}

#[test]
fn a_port_verdict_replaces_the_checksum() {
    let packet = seed_packet("ipv4-checksum.checksum");
    assert!(Ipv4Header::parse(&packet, RxChecksum::Good).is_ok());
    let packet = seed_packet("ipv4-udp.ok");
    assert_eq!(Ipv4Header::parse(&packet, RxChecksum::Bad).err(), Some(WireError::Checksum));
}

#[test]
fn every_single_bit_error_in_an_ipv4_header_is_refused() {
    let packet = seed_packet("ipv4-options.ok");
    let length = Ipv4Header::parse(&packet, RxChecksum::Unknown).expect("good").header_length();
    assert_eq!(length, 32);
    for bit in 0..length * 8 {
        let mut bad = packet.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Ipv4Header::parse(&bad, RxChecksum::Unknown).is_err(), "bit {bit}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn arbitrary_bytes_are_survived(data in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz_all(&data);
    }

    /// Random bytes seldom get past the first check; a seed with a few bytes changed gets deep.
    #[test]
    fn changed_seeds_are_survived(
        pick in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        thread_local!(static SEEDS: Vec<(String, Vec<u8>)> = seeds());
        SEEDS.with(|seeds| {
            let mut frame = pick.get(seeds).1.clone();
            for (at, value) in changes {
                let at = at.index(frame.len());
                frame[at] = value;
            }
            fuzz_all(&frame);
            // Each layer by itself, too: the checksums of the outer ones no longer fit.
            for layer in [14, 34, 54].into_iter().filter_map(|at| frame.get(at..)) {
                fuzz_all(layer);
            }
        });
    }
}
