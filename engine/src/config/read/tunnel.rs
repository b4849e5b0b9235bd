//! `[[tunnel]]`: which keys belong to which protocol.

use crate::config::model::{Esp, Kbps, Protocol, Shaper, ShaperClass, StaticSa, Tunnel};
use crate::config::section::{Read, Section};
use crate::config::types::{Cipher, Name, NatSide, ProtocolName};
use crate::config::value::{Text, Whole};
use dataplane::replay::WindowSize;
use dataplane::shaper::MAX_CLASSES;
use dataplane::snapshot::EspUdp;
use dataplane::wire::esp_udp;
use dataplane::wire::vxlan::Vni;

/// Keys and the protocols that have them.
const KEYS: [(&[&str], &[ProtocolName]); 4] = [
    (
        &["cipher", "esn", "rekey_seconds", "rekey_packets", "replay_window", "static_sa"],
        &[ProtocolName::Esp, ProtocolName::EspUdp],
    ),
    (&["udp_local_port", "udp_remote_port", "nat"], &[ProtocolName::EspUdp]),
    (&["gre_key", "gre_sequence", "gre_checksum"], &[ProtocolName::Gre]),
    (&["vxlan_vni", "vxlan_local_mac", "vxlan_remote_mac"], &[ProtocolName::Vxlan]),
];

impl Read for Tunnel {
    fn read(s: &mut Section<'_>, index: usize) -> Option<Tunnel> {
        let (name, peer) = (s.required("name"), s.required("peer"));
        let (local, remote) = (s.required("local"), s.required("remote"));
        let word = s.required::<ProtocolName>("protocol");
        let shaper = s.table("shaper").flatten();
        let cost = s.or("cost", Whole::<0, 1_000_000>::constant::<0>()).get() as u32;
        let (esp, udp, gre) = (esp(s), esp_udp(s), gre(s));
        let vxlan = vxlan(s, word == Some(ProtocolName::Vxlan));
        let word = word?;
        for (keys, _) in KEYS.iter().filter(|(_, protocols)| !protocols.contains(&word)) {
            for key in keys.iter().filter(|key| s.has(key)).collect::<Vec<_>>() {
                let what = format!("does not belong to protocol \"{}\"", word.as_str());
                s.wrong(key, what, "remove it, or change the protocol");
            }
        }
        let protocol = match word {
            ProtocolName::Esp => Protocol::Esp(esp),
            ProtocolName::EspUdp => Protocol::EspUdp(esp, udp),
            ProtocolName::Gre => gre,
            ProtocolName::IpIp => Protocol::IpIp,
            ProtocolName::Vxlan => vxlan?,
            ProtocolName::Direct => Protocol::Direct,
        };
        if word == ProtocolName::Direct && s.has("shaper") {
            let what = "what is handed to the other engine of the site is shaped there";
            s.wrong("shaper", what, "remove it");
        }
        let (name, peer, local, remote) = (name?, peer?, local?, remote?);
        Some(Tunnel { index, name, peer, protocol, local, remote, shaper, cost, parallel: None })
    }
}

fn esp(s: &mut Section<'_>) -> Esp {
    Esp {
        cipher: s.or("cipher", Cipher::Aes256Gcm),
        rekey_seconds: s.or("rekey_seconds", Whole::constant::<3600>()),
        rekey_packets: s.or("rekey_packets", Whole::constant::<1_000_000_000>()),
        esn: s.or("esn", true),
        replay_window: s.or("replay_window", WindowSize::default()),
        static_sa: s.table("static_sa").flatten(),
    }
}

impl Read for StaticSa {
    fn read(s: &mut Section<'_>, _: usize) -> Option<StaticSa> {
        let (spi_in, spi_out) = (s.required("spi_in"), s.required("spi_out"));
        let (key_file_in, key_file_out) = (s.required("key_file_in"), s.required("key_file_out"));
        if key_file_in.is_some() && key_file_in == key_file_out {
            let what = "both ends would send under one key, and their nonces would meet";
            s.wrong("key_file_out", what, "write the file of a key of its own");
        }
        let state_folder = s.required("state_folder");
        Some(StaticSa {
            spi_in: spi_in?,
            spi_out: spi_out?,
            key_file_in: key_file_in?,
            key_file_out: key_file_out?,
            state_folder: state_folder?,
        })
    }
}

type Port = Whole<1, 65_535>;

fn esp_udp(s: &mut Section<'_>) -> EspUdp {
    let mut port = |key| s.optional::<Port>(key).map_or(esp_udp::PORT, |port| port.get() as u16);
    let (local_port, remote_port) = (port("udp_local_port"), port("udp_remote_port"));
    EspUdp { local_port, remote_port, nat: s.or("nat", NatSide::None).nat(), inside: None }
}

impl Read for Shaper {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Shaper> {
        let (rate_kbps, ceiling_kbps) = (s.required::<Kbps>("rate_kbps"), s.optional::<Kbps>("ceiling_kbps"));
        if let (Some(rate), Some(ceiling)) = (rate_kbps, ceiling_kbps)
            && ceiling < rate
        {
            let what = format!("{} is less than rate_kbps, {}", ceiling.get(), rate.get());
            s.wrong("ceiling_kbps", what, "write at least the rate, or remove it");
        }
        let burst_kib = s.or("burst_kib", Whole::constant::<64>());
        let mut classes: Vec<ShaperClass> = s.tables("class");
        if !s.has("class") {
            classes = ShaperClass::standard().into();
        } else if classes.is_empty() || classes.len() > MAX_CLASSES {
            s.wrong("class", "has no class, or more than 8", "write 1 to 8 classes, the most urgent first");
        }
        for (n, class) in classes.iter().enumerate() {
            let before = &classes[..n];
            if before.iter().any(|other| other.name == class.name) {
                s.wrong("class", format!("two are called \"{}\"", class.name), "give each its own name");
            }
            let taken = class.dscp.iter().find(|dscp| before.iter().any(|other| other.dscp.contains(dscp)));
            if let Some(dscp) = taken {
                let what = format!("DSCP {} is of two classes", dscp.get());
                s.wrong("class", what, "name each DSCP once");
            }
            if class.dscp.is_empty() && n + 1 < classes.len() {
                let what = format!("\"{}\" has no DSCP, and only the last class takes the rest", class.name);
                s.wrong("class", what, "write dscp = [46], or put it last");
            }
        }
        Some(Shaper { rate_kbps: rate_kbps?, ceiling_kbps, burst_kib, classes })
    }
}

impl ShaperClass {
    /// Network control (CS6, CS7: RFC 4594 §3.1), then everything else.
    fn standard() -> [ShaperClass; 2] {
        let class = |name: &str, dscp| ShaperClass {
            name: Name::from_text(name).expect("a name"),
            dscp,
            rate_kbps: None,
            queue: QUEUE,
        };
        let control = vec![Whole::constant::<48>(), Whole::constant::<56>()];
        [class("control", control), class("default", vec![])]
    }
}

/// Packets of a class that may wait.
const QUEUE: Whole<0, 4096> = Whole::constant::<256>();

impl Read for ShaperClass {
    fn read(s: &mut Section<'_>, _: usize) -> Option<ShaperClass> {
        let name = s.required("name");
        let (dscp, rate_kbps) = (s.or("dscp", vec![]), s.optional("rate_kbps"));
        Some(ShaperClass { name: name?, dscp, rate_kbps, queue: s.or("queue", QUEUE) })
    }
}

fn gre(s: &mut Section<'_>) -> Protocol {
    let key: Option<Whole<0, { u32::MAX as u64 }>> = s.optional("gre_key");
    let sequence = s.or("gre_sequence", false);
    if s.or("gre_checksum", false) {
        let what = "this engine sends no GRE checksums (RFC 2784 §2.1 leaves them optional)";
        s.wrong("gre_checksum", what, "remove it; use protocol = \"esp\" where integrity matters");
    }
    Protocol::Gre { key: key.map(|key| key.get() as u32), sequence }
}

fn vxlan(s: &mut Section<'_>, wanted: bool) -> Option<Protocol> {
    let vni: Option<Whole<0, 0xff_ffff>> =
        if wanted { s.required("vxlan_vni") } else { s.optional("vxlan_vni") };
    let (local_mac, remote_mac) = (s.optional("vxlan_local_mac"), s.optional("vxlan_remote_mac"));
    let vni = Vni::try_from(vni?.get() as u32).ok()?;
    Some(Protocol::Vxlan { vni, local_mac, remote_mac })
}
