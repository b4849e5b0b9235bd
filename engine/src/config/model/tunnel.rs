//! `[[tunnel]]` and what is in it.

use crate::config::types::{Cipher, Name, ProtocolName};
use crate::config::value::Whole;
use crate::config::wireguard::WireGuard;
use dataplane::replay::WindowSize;
use dataplane::snapshot::EspUdp;
use dataplane::wire::MacAddr;
use dataplane::wire::vxlan::Vni;
use std::net::IpAddr;
use std::path::PathBuf;

/// How a tunnel's SAs are made.
#[derive(Clone, Debug, PartialEq)]
pub struct Esp {
    /// The AEAD.
    pub cipher: Cipher,
    /// New keys after this long.
    pub rekey_seconds: Whole<10, 604_800>,
    /// New keys after so many packets; well below the 2^32 of a nonce's safe life.
    pub rekey_packets: Whole<1_000, 4_000_000_000>,
    /// Whether sequence numbers have 64 bits (RFC 4303 §2.2.1).
    pub esn: bool,
    /// Anti-replay window, packets.
    pub replay_window: WindowSize,
    /// SAs agreed on with a foreign peer; negotiated if absent.
    pub static_sa: Option<StaticSa>,
}

/// `[tunnel.static_sa]`: an SA each way whose keys outlive the process.
#[derive(Clone, Debug, PartialEq)]
pub struct StaticSa {
    /// What arrives bears this.
    pub spi_in: StaticSpi,
    /// What leaves bears this.
    pub spi_out: StaticSpi,
    /// Hexadecimal key and salt of what arrives.
    pub key_file_in: PathBuf,
    /// The same of what leaves.
    pub key_file_out: PathBuf,
    /// Where it is written down which nonces are used up.
    pub state_folder: PathBuf,
}

/// An SPI that is no reserved one (RFC 4303 §2.1).
pub type StaticSpi = Whole<256, { u32::MAX as u64 }>;

/// How a tunnel encapsulates.
#[derive(Clone, Debug, PartialEq)]
pub enum Protocol {
    /// RFC 4303.
    Esp(Esp),
    /// The same in UDP (RFC 3948).
    EspUdp(Esp, EspUdp),
    /// RFC 2784, RFC 2890.
    Gre {
        /// The key field.
        key: Option<u32>,
        /// Whether packets are numbered.
        sequence: bool,
    },
    /// RFC 2003, RFC 2473.
    IpIp,
    /// RFC 7348.
    Vxlan {
        /// The network.
        vni: Vni,
        /// This end inside; derived from `local` if absent.
        local_mac: Option<MacAddr>,
        /// The far end inside; derived from `remote` if absent.
        remote_mac: Option<MacAddr>,
    },
    /// WireGuard.
    WireGuard(WireGuard),
    /// Plain IP over the link to the other engine of the site.
    Direct,
}

impl Protocol {
    /// As written in TOML.
    pub const fn name(&self) -> ProtocolName {
        match self {
            Protocol::Esp(_) => ProtocolName::Esp,
            Protocol::EspUdp(..) => ProtocolName::EspUdp,
            Protocol::Gre { .. } => ProtocolName::Gre,
            Protocol::IpIp => ProtocolName::IpIp,
            Protocol::Vxlan { .. } => ProtocolName::Vxlan,
            Protocol::WireGuard(_) => ProtocolName::WireGuard,
            Protocol::Direct => ProtocolName::Direct,
        }
    }

    /// Its SAs, if they were agreed on with a foreign peer.
    pub fn static_sa(&self) -> Option<&StaticSa> {
        self.esp()?.static_sa.as_ref()
    }

    /// Who its ends are, if it is WireGuard's.
    pub const fn wireguard(&self) -> Option<&WireGuard> {
        match self {
            Protocol::WireGuard(wireguard) => Some(wireguard),
            _ => None,
        }
    }

    /// The files that it names.
    pub fn files_mut(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Protocol::Esp(Esp { static_sa: Some(sa), .. })
            | Protocol::EspUdp(Esp { static_sa: Some(sa), .. }, _) => {
                vec![&mut sa.key_file_in, &mut sa.key_file_out, &mut sa.state_folder]
            }
            Protocol::WireGuard(wireguard) => wireguard.files_mut().collect(),
            _ => vec![],
        }
    }

    /// How its SAs are made, if it has any.
    pub const fn esp(&self) -> Option<&Esp> {
        match self {
            Protocol::Esp(esp) | Protocol::EspUdp(esp, _) => Some(esp),
            _ => None,
        }
    }
}

/// Kilobits a second.
pub type Kbps = Whole<8, 1_000_000_000>;

/// `[tunnel.shaper]`
#[derive(Clone, Debug, PartialEq)]
pub struct Shaper {
    /// Inner bits that go in a second.
    pub rate_kbps: Kbps,
    /// How fast an adaptive group may make it.
    pub ceiling_kbps: Option<Kbps>,
    /// Kibibytes that go at once; no packet is larger.
    pub burst_kib: Whole<16, 1_048_576>,
    /// By priority, the best first; the last one takes what no other does.
    pub classes: Vec<ShaperClass>,
}

/// `[[tunnel.shaper.class]]`
#[derive(Clone, Debug, PartialEq)]
pub struct ShaperClass {
    /// Its name.
    pub name: Name,
    /// Which packets; of the last one, all others too.
    pub dscp: Vec<Whole<0, 63>>,
    /// It goes no faster than this.
    pub rate_kbps: Option<Kbps>,
    /// Packets that may wait on each worker.
    pub queue: Whole<0, 4096>,
}

/// `[[tunnel]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Tunnel {
    /// Its place in the file.
    pub index: usize,
    /// Its name.
    pub name: Name,
    /// The engine at the far end.
    pub peer: Name,
    /// How it encapsulates.
    pub protocol: Protocol,
    /// Outer address here.
    pub local: IpAddr,
    /// Outer address there.
    pub remote: IpAddr,
    /// How fast packets go into it.
    pub shaper: Option<Shaper>,
    /// What using it costs, in whatever unit the policies of groups have.
    pub cost: u32,
    /// Which parallel of another tunnel it is; nobody writes such a one, they follow from `[group.adaptive]`.
    pub parallel: Option<Parallel>,
}

/// A tunnel beside a configured one.
#[derive(Clone, Debug, PartialEq)]
pub struct Parallel {
    /// That one.
    pub to: Name,
    /// Counts from 1.
    pub number: u16,
}
