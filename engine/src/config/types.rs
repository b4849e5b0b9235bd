//! Validated words: names, devices and the choices of the schema.

use super::value::{Text, text};
use dataplane::sa::Algorithm;
use dataplane::snapshot::Nat;
use std::fmt;

/// A name: of an engine, a site, a port … It stands in certificates, file names and metric labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// That of its parallel number `number`: one that nobody can write.
    pub fn parallel(&self, number: u16) -> Name {
        Name(format!("{}+{number}", self.0))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

text!(Name, "a1", |text| {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=32).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(Name(text.to_owned()));
    }
    Err((
        format!("\"{}\" is not a name", text.escape_debug()),
        "write 1 to 32 letters, digits, '-', '_' or '.'".to_owned(),
    ))
});

/// What DPDK opens as a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Device {
    /// A PCI address with its domain, `0000:03:00.0`.
    Pci(String),
    /// A virtual device: its name, such as `net_af_packet0`, and its arguments.
    Vdev { name: String, args: Vec<String> },
}

impl Device {
    /// The name by which DPDK knows the port.
    pub fn name(&self) -> &str {
        match self {
            Device::Pci(address) => address,
            Device::Vdev { name, .. } => name,
        }
    }

    /// The value of an argument of a virtual device.
    pub fn arg(&self, key: &str) -> Option<&str> {
        match self {
            Device::Pci(_) => None,
            Device::Vdev { args, .. } => args.iter().find_map(|a| a.strip_prefix(key)?.strip_prefix('=')),
        }
    }

    /// The bonding device of the port at `index`.
    pub fn bonding(index: usize, bond: &super::model::Bond) -> Device {
        let mut args = vec![format!("mode={}", bond.mode.number())];
        args.extend(bond.members.iter().map(|member| format!("slave={}", member.name())));
        if bond.mode != BondMode::ActiveBackup {
            args.push(format!("xmit_policy={}", bond.policy.as_str()));
        }
        Device::Vdev { name: format!("net_bonding{index}"), args }
    }

    /// Whether the kernel's AF_PACKET carries it.
    pub fn is_af_packet(&self) -> bool {
        self.name().starts_with("net_af_packet") || self.name().starts_with("eth_af_packet")
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Pci(address) => f.write_str(address),
            Device::Vdev { name, args } => {
                f.write_str(name)?;
                args.iter().try_for_each(|arg| write!(f, ",{arg}"))
            }
        }
    }
}

/// `0000:03:00.0` or `03:00.0`, with the domain filled in.
fn pci_address(text: &str) -> Option<String> {
    let hex = |s: &str, len: usize| s.len() == len && s.bytes().all(|b| b.is_ascii_hexdigit());
    let (rest, function) = text.rsplit_once('.')?;
    let parts: Vec<&str> = rest.split(':').collect();
    let (domain, bus, device) = match parts[..] {
        [domain, bus, device] => (domain, bus, device),
        [bus, device] => ("0000", bus, device),
        _ => return None,
    };
    let valid =
        hex(domain, 4) && hex(bus, 2) && hex(device, 2) && matches!(function.as_bytes(), [b'0'..=b'7']);
    valid.then(|| format!("{domain}:{bus}:{device}.{function}").to_ascii_lowercase())
}

text!(Device, "net_af_packet0,iface=lan0", |text| {
    if let Some(address) = pci_address(text) {
        return Ok(Device::Pci(address));
    }
    let mut parts = text.split(',').map(str::to_owned);
    let name = parts.next().unwrap_or_default();
    let driver = name.strip_prefix("net_").or(name.strip_prefix("eth_")).unwrap_or_default();
    if driver.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        let remedy = "write a PCI address such as \"0000:03:00.0\" or a virtual device such as \
                      \"net_af_packet0,iface=lan0\"";
        return Err((format!("\"{text}\" is not a device"), remedy.to_owned()));
    }
    let device = Device::Vdev { name, args: parts.collect() };
    if device.is_af_packet() && device.arg("iface").is_none_or(str::is_empty) {
        return Err((
            format!("\"{text}\" does not say which kernel interface"),
            format!("write \"{text},iface=NAME\""),
        ));
    }
    Ok(device)
});

/// A word out of a fixed list.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $first:literal => $first_variant:ident: $first_doc:literal,
        $($word:literal => $variant:ident: $variant_doc:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            #[doc = $first_doc]
            $first_variant,
            $(#[doc = $variant_doc] $variant),*
        }
        impl $name {
            /// As written in TOML.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $name::$first_variant => $first,
                    $($name::$variant => $word),*
                }
            }
        }
        text!($name, $first, |text| {
            let all = [$name::$first_variant, $($name::$variant),*];
            all.into_iter().find(|choice| choice.as_str() == text).ok_or_else(|| (
                format!("\"{}\" is not one of its values", text.escape_debug()),
                concat!("write \"", $first, "\"", $(" or \"", $word, "\""),*).to_owned(),
            ))
        });
    };
}

pub(super) use choice;

choice!(/// Whether the EAL uses hugepages.
Hugepages {
    "auto" => Auto: "If the machine has enough of them.",
    "never" => Never: "`--no-huge`.",
    "always" => Always: "Or else do not start.",
});
choice!(/// Who brings the site back to the engine whose role is active.
Failback {
    "manual" => Manual: "A person, by `foreshift undrain`.",
    "auto" => Auto: "The engine itself, once nothing has been wrong with it for a while.",
});
choice!(/// Who carries what in a bond.
BondMode {
    "active-backup" => ActiveBackup: "One member, until its link fails.",
    "balance" => Balance: "All members, each flow its own; the switch is configured for it.",
    "802.3ad" => Lacp: "The same, agreed upon with the switch by LACP (IEEE 802.1AX).",
});
choice!(/// What is hashed to spread flows over a bond's members.
BondPolicy {
    "l34" => L34: "IP addresses and ports.",
    "l23" => L23: "MAC and IP addresses.",
    "l2" => L2: "MAC addresses.",
});
impl BondMode {
    /// As net_bonding numbers it.
    const fn number(self) -> u8 {
        match self {
            BondMode::ActiveBackup => 1,
            BondMode::Balance => 2,
            BondMode::Lacp => 4,
        }
    }
}
choice!(/// ESP's AEAD, with a 16-byte ICV.
Cipher {
    "aes-256-gcm" => Aes256Gcm: "RFC 4106.",
    "aes-192-gcm" => Aes192Gcm: "RFC 4106.",
    "aes-128-gcm" => Aes128Gcm: "RFC 4106.",
    "chacha20-poly1305" => ChaCha20Poly1305: "RFC 7634.",
});

impl Cipher {
    /// As the dataplane knows it.
    pub const fn algorithm(self) -> Algorithm {
        match self {
            Cipher::Aes128Gcm => Algorithm::Aes128Gcm,
            Cipher::Aes192Gcm => Algorithm::Aes192Gcm,
            Cipher::Aes256Gcm => Algorithm::Aes256Gcm,
            Cipher::ChaCha20Poly1305 => Algorithm::ChaCha20Poly1305,
        }
    }
}

choice!(/// The library that computes ESP's AEADs.
CryptoProvider {
    "auto" => Auto: "Intel's multi-buffer library where the CPU can run it, or else AWS-LC.",
    "ipsec-mb" => IpsecMb: "Intel's multi-buffer library, or else do not start.",
    "aws-lc" => AwsLc: "AWS-LC.",
});
choice!(/// How a tunnel encapsulates.
ProtocolName {
    "esp" => Esp: "RFC 4303, tunnel mode.",
    "esp-udp" => EspUdp: "The same in UDP, RFC 3948.",
    "gre" => Gre: "RFC 2784 and 2890.",
    "ipip" => IpIp: "IP in IP, RFC 2003 and 2473.",
    "vxlan" => Vxlan: "RFC 7348, as a link between two routers.",
    "wireguard" => WireGuard: "WireGuard.",
    "direct" => Direct: "Not at all: the link to the other engine of the site.",
});
choice!(/// Which end of a tunnel is behind a NAT.
NatSide {
    "none" => None: "Neither.",
    "local" => Local: "This one.",
    "remote" => Remote: "The far one.",
});

impl NatSide {
    /// As the dataplane knows it.
    pub const fn nat(self) -> Nat {
        match self {
            NatSide::None => Nat::None,
            NatSide::Local => Nat::Local,
            NatSide::Remote => Nat::Remote,
        }
    }
}

choice!(/// Who asks for the lease first at a cold start.
Role {
    "active" => Active: "At once.",
    "standby" => Standby: "If nobody else has for a while.",
});
choice!(/// What a standby without a witness does when its peer is silent.
WithoutWitness {
    "hold" => Hold: "Waits for the peer, or for a person.",
    "dual-active" => DualActive: "Becomes owner; both may be for a while.",
});
choice!(/// How a group's traffic to one far engine is spread over the tunnels there.
Spread {
    "parallel" => Parallel: "Over all of them.",
    "first" => First: "Into the first that is up; the others are kept ready.",
});
choice!(/// How far prediction may go by itself.
Mode {
    "auto" => Auto: "Acts.",
    "approve" => Approve: "Proposes; a person approves.",
    "observe" => Observe: "Records what would have been done.",
});
choice!(/// What a worker does when its polls find nothing.
IdleMode {
    "backoff" => Backoff: "Sleeps, so that several engines can share a core.",
    "spin" => Spin: "Polls on; needs a core of its own.",
});
choice!(/// The least severe message that is logged.
LogLevel {
    "info" => Info: "What a person wants to know.",
    "error" => Error: "What needs a person.",
    "warn" => Warn: "What may need one.",
    "debug" => Debug: "What a developer wants to know.",
    "trace" => Trace: "Everything.",
});
