//! What a mirror would sample of captured traffic: the walk's own parser and samplers, over every capture of a folder.
//! `scripts/mirror-check` runs this and tests what it prints:
//!
//! ```text
//! P length protocol gap_ns inside_ns flow   a packet: since the one before it of its capture, and of its flow there, -1 for the
//!                                           first; its flow's number
//! F seed share flow …                   the flows that a mirror with this seed samples
//! K seed share packet …                 the packets that it samples for themselves, by their number
//! ```

#[path = "../tests/capture/pcap.rs"]
mod pcap;

use dataplane::acl::synthetic::Random;
use dataplane::context::Meta;
use dataplane::flow::AnyTuple;
use dataplane::mirror::{DryPacket, FlowSampler, PacketSampler, SipKey, Threshold, flow_of};
use dataplane::packet::Packet;
use dataplane::stage::parse;
use pcap::{Captured, Link};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A packet that the tap would have seen.
struct Seen {
    length: usize,
    protocol: u8,
    gap: i64,
    inside: i64,
    flow: usize,
}

#[derive(Default)]
struct Traffic {
    packets: Vec<Seen>,
    flows: Vec<AnyTuple>,
    numbers: BTreeMap<AnyTuple, usize>,
    /// By flow: the file and the time of its last packet.
    last: Vec<Option<(usize, u64)>>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let usage = "mirror FOLDER SEEDS SHARE…";
    let folder = PathBuf::from(arguments.next().expect(usage));
    let seeds: u64 = arguments.next().and_then(|seeds| seeds.parse().ok()).expect(usage);
    let shares: Vec<f64> = arguments.map(|share| share.parse().expect(usage)).collect();
    let traffic = read(&folder);
    let mut out = String::new();
    for Seen { length, protocol, gap, inside, flow } in &traffic.packets {
        let _ = writeln!(out, "P {length} {protocol} {gap} {inside} {flow}");
    }
    for seed in 1..=seeds {
        for share in &shares {
            sample(&traffic, seed, *share, &mut out);
        }
    }
    print!("{out}");
}

/// All that the walk would have come to judge.
fn read(folder: &Path) -> Traffic {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path()).collect();
    files.sort();
    let mut traffic = Traffic::default();
    for (number, file) in files.into_iter().enumerate() {
        let bytes = std::fs::read(&file).expect("a readable file");
        let mut before = None;
        for captured in pcap::packets(&bytes).unwrap_or_default() {
            traffic.take(number, &captured, &mut before);
        }
    }
    traffic
}

impl Traffic {
    fn take(&mut self, file: usize, captured: &Captured<'_>, before: &mut Option<u64>) {
        let Some(ip) = ip(captured) else { return };
        let Some(mut packet) = DryPacket::padded(ip, ip.len()) else { return };
        let mut meta = Meta::NEW;
        if parse::ip_header(&mut packet, &mut meta).is_err() || meta.link_local {
            return;
        }
        // Both directions are one flow: known by whichever came first.
        let Some(tuple) = flow_of(packet.data(), &meta) else { return };
        let known = self.numbers.get(&tuple).or_else(|| self.numbers.get(&tuple.reversed())).copied();
        let flow = known.unwrap_or_else(|| {
            self.flows.push(tuple);
            self.last.push(None);
            self.numbers.insert(tuple, self.flows.len() - 1);
            self.flows.len() - 1
        });
        let gap = before.map_or(-1, |before| captured.at.saturating_sub(before) as i64);
        *before = Some(captured.at);
        let last = self.last[flow].replace((file, captured.at)).filter(|(of, _)| *of == file);
        let inside = last.map_or(-1, |(_, at)| captured.at.saturating_sub(at) as i64);
        self.packets.push(Seen { length: packet.len(), protocol: meta.protocol.0, gap, inside, flow });
    }
}

/// The IP packet of a frame, past one VLAN tag.
fn ip<'a>(captured: &Captured<'a>) -> Option<&'a [u8]> {
    let packet = captured.packet;
    match captured.link {
        Link::Ip(front) => packet.get(front..),
        Link::Other(_) => None,
        Link::Ethernet => match packet.get(12..14)? {
            [0x81, 0] if matches!(packet.get(16..18)?, [8, 0] | [0x86, 0xdd]) => packet.get(18..),
            [8, 0] | [0x86, 0xdd] => packet.get(14..),
            _ => None,
        },
    }
}

fn sample(traffic: &Traffic, seed: u64, share: f64, out: &mut String) {
    let mut random = Random::new(seed);
    let flows = FlowSampler::new(SipKey([random.bits(), random.bits()]), seed);
    let threshold = Threshold::of(share);
    let _ = write!(out, "F {seed} {share}");
    for (number, tuple) in traffic.flows.iter().enumerate() {
        if flows.takes(tuple, threshold) {
            let _ = write!(out, " {number}");
        }
    }
    let mut packets = PacketSampler::new(random.bits(), threshold);
    let _ = write!(out, "\nK {seed} {share}");
    for number in 0..traffic.packets.len() {
        if packets.takes() {
            let _ = write!(out, " {number}");
        }
    }
    out.push('\n');
}
