//! The cluster that is simulated: site a with engines a1 and a2, site b with engine b1, which is also
//! site a's witness. Each engine of a has its own ESP tunnel to b1 and a direct link to the other.

use crate::plane::WORKERS;
use crate::sabotage::Sabotage;
use control::checks::CheckConfig;
use control::config::*;
use control::message::{Endpoints, SaParameters};
use dataplane::id::{GroupId, Nanos, TunnelId};
use dataplane::sa::Algorithm;
use dataplane::wire::MacAddr;
use std::net::Ipv4Addr;

/// The engines.
pub const ENGINES: [&str; 3] = ["a1", "a2", "b1"];
/// Each engine's first tunnel; a1's and a2's lead to b1, b1's to a1.
pub const FIRST: TunnelId = TunnelId(0);
/// Each engine's second tunnel: the direct link of a1 and a2; b1's tunnel to a2.
pub const SECOND: TunnelId = TunnelId(1);
/// Each engine's only group.
pub const GROUP: GroupId = GroupId(0);
/// Site a's gateway: the owner has it.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 254);
/// Site a's host.
pub const HOST_A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 9);
/// Site b's host.
pub const HOST_B: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 9);
/// A gateway of another make on site a's LAN, which has one SA pair with the site, whichever engine owns that.
pub const PARTNER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 20);
/// Its MAC address.
pub const PARTNER_MAC: MacAddr = MacAddr([2, 0xaa, 0, 0, 0, 20]);
/// The host behind it.
pub const HOST_P: Ipv4Addr = Ipv4Addr::new(10, 24, 0, 9);
/// The tunnel to it, of site a's engines.
pub const THIRD: TunnelId = TunnelId(2);
/// The group of that tunnel.
pub const PARTNERS: GroupId = GroupId(1);
/// The MAC address of both sites' hosts.
pub const HOST_MAC: MacAddr = MacAddr([2, 0xaa, 0, 0, 0, 9]);

/// The region whose state store all engines share.
pub const REGION: &str = "sim";

/// What can be varied.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seeds everything.
    pub seed: u64,
    /// b1 is the witness of site a.
    pub witness: bool,
    /// The policy without one.
    pub without_witness: WithoutWitness,
    /// The lease of site a.
    pub lease: Nanos,
    /// a1 takes the site back by itself after so long without a fault.
    pub failback: Option<Nanos>,
    /// a1 and a2 ask an application behind site b once a second.
    pub checks: bool,
    /// Renewal of SAs by time.
    pub rekey_after: Nanos,
    /// Prediction of all engines.
    pub prediction: PredictionConfig,
    /// Largest difference of a clock's rate from true time, in thousandths, either way.
    pub clock_drift_permille: u64,
    /// Flows of packets between the sites' hosts, half of them each way.
    pub flows: u32,
    /// Least and greatest time between two packets of a burst, and between two bursts, of a flow.
    pub spacing: [(Nanos, Nanos); 2],
    /// The engines share a state store.
    pub store: bool,
    /// What is broken on purpose.
    pub sabotage: Option<Sabotage>,
}

impl Options {
    /// The defaults with this seed.
    pub fn seed(seed: u64) -> Options {
        Options {
            seed,
            witness: true,
            without_witness: WithoutWitness::Hold,
            lease: Nanos::from_millis(1000),
            failback: None,
            checks: false,
            rekey_after: Nanos::from_millis(3_600_000),
            prediction: PredictionConfig::default(),
            clock_drift_permille: 10,
            flows: 12,
            spacing: [(3, 15), (60, 100)].map(|(a, b)| (Nanos::from_millis(a), Nanos::from_millis(b))),
            store: true,
            sabotage: None,
        }
    }
}

/// The number of an engine, from 1.
fn number(engine: &str) -> u8 {
    1 + ENGINES.iter().position(|e| *e == engine).expect("an engine of the topology") as u8
}

/// Where an engine's tunnels to the other site end.
pub fn wan_address(engine: &str) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, number(engine))
}

/// An engine on the link to the other engine of its site.
pub fn link_address(engine: &str) -> Ipv4Addr {
    Ipv4Addr::new(10, 255, 0, number(engine))
}

/// An engine on its hosts' network.
pub fn lan_address(engine: &str) -> Ipv4Addr {
    Ipv4Addr::new(10, if engine.starts_with('a') { 1 } else { 2 }, 0, number(engine))
}

/// The host of a site.
pub fn host(site: &str) -> Ipv4Addr {
    if site == "a" { HOST_A } else { HOST_B }
}

/// The MAC address of an engine's interface.
pub fn engine_mac(engine: &str, interface: u8) -> MacAddr {
    MacAddr([2, number(engine), 0, 0, 0, interface])
}

/// The engine with this MAC address.
pub fn engine_of(mac: &[u8]) -> Option<&'static str> {
    let number = usize::from(*mac.get(1)?);
    if mac.first() == Some(&2) { ENGINES.get(number.checked_sub(1)?).copied() } else { None }
}

/// The engines at the other ends of an engine's first and second tunnel.
pub fn neighbours(engine: &str) -> [&'static str; 2] {
    match engine {
        "a1" => ["b1", "a2"],
        "a2" => ["b1", "a1"],
        _ => ["a1", "a2"],
    }
}

/// The application that a1 and a2 may ask: twice well or ill, and it counts.
fn application() -> CheckConfig {
    let (interval, timeout) = (Nanos::from_millis(1000), Nanos::from_millis(1000));
    CheckConfig { name: "app".to_owned(), blocks: true, interval, timeout, rise: 2, fall: 2 }
}

/// The configuration of one engine's next life.
pub fn config(engine: &str, options: &Options, epoch_floor: u64, seed: u64) -> ControllerConfig {
    let in_a = engine.starts_with('a');
    let parameters = SaParameters { algorithm: Algorithm::Aes256Gcm, esn: true };
    let senders = WORKERS as u16;
    let esp = Protocol::Esp { rekey_after: options.rekey_after, parameters, senders };
    let tunnel = |id: TunnelId, peer: &str, protocol| TunnelConfig {
        id,
        name: format!("{engine}-{peer}"),
        peer: peer.to_owned(),
        endpoints: match protocol {
            Protocol::Direct => Endpoints::new(link_address(engine).into(), link_address(peer).into()),
            _ => Endpoints::new(wan_address(engine).into(), wan_address(peer).into()),
        },
        protocol,
    };
    let [first, second] = neighbours(engine);
    let (protocol, kind) = if in_a { (Protocol::Direct, MemberKind::Direct) } else { (esp, MemberKind::Own) };
    let ha = in_a.then(|| HaConfig {
        initial: if engine == "a1" { InitialRole::Active } else { InitialRole::Standby },
        peer: second.to_owned(),
        witness: options.witness.then(|| "b1".to_owned()),
        lease: options.lease,
        without_witness: options.without_witness,
        shares_config: false,
        failback: options.failback,
    });
    ControllerConfig {
        engine: engine.to_owned(),
        site: engine[..1].to_owned(),
        tunnels: vec![tunnel(FIRST, first, esp), tunnel(SECOND, second, protocol)],
        groups: vec![GroupConfig {
            id: GROUP,
            name: "far".to_owned(),
            site: if in_a { "b" } else { "a" }.to_owned(),
            members: vec![Member { tunnel: FIRST, kind: MemberKind::Own }, Member { tunnel: SECOND, kind }],
            spread: Spread::Parallel,
            adaptive: None,
        }],
        ha,
        vrrp: None,
        checks: if options.checks && in_a { vec![application()] } else { Vec::new() },
        bfd: Vec::new(),
        votes_for: if engine == "b1" && options.witness { vec!["a".to_owned()] } else { Vec::new() },
        workers: WORKERS as u16,
        prediction: options.prediction.clone(),
        shift: ShiftConfig::default(),
        probe: ProbeConfig::default(),
        cluster: options
            .store
            .then(|| ClusterConfig { region: REGION.to_owned(), digest: format!("{engine}'s") }),
        epoch_floor,
        seed,
    }
}
