//! From one table to one section of the model, with its defaults.

mod tunnel;

use super::model::*;
use super::section::{Read, Section};
use super::types::{
    BondMode, BondPolicy, CryptoProvider, Device, Failback, Hugepages, IdleMode, LogLevel, Mode, Role,
    Spread, WithoutWitness,
};
use super::value::{Probability, Weight, Whole};
use dataplane::wire::VlanId;
use ipnet::IpNet;
use std::net::SocketAddr;

impl Read for Engine {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Engine> {
        let (name, site) = (s.required("name"), s.required("site"));
        Some(Engine { name: name?, site: site? })
    }
}

impl Read for IdleSection {
    fn read(s: &mut Section<'_>, _: usize) -> Option<IdleSection> {
        let (mode, sleep_us) = (s.required("mode"), s.optional("sleep_us"));
        let mode = mode?;
        if mode == IdleMode::Spin && sleep_us.is_some() {
            s.wrong("sleep_us", "a spinning worker does not sleep", "remove it, or write mode = \"backoff\"");
        }
        Some(IdleSection { mode, sleep_us })
    }
}

impl Read for Dpdk {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Dpdk> {
        let cores: Option<Vec<Whole<0, 1023>>> = s.required("cores");
        if let Some(workers) = s.optional::<Whole<1, 64>>("workers")
            && let Some(cores) = &cores
            && cores.len() as u64 != workers.get()
        {
            let what = format!("{} workers, but {} cores are named", workers.get(), cores.len());
            s.wrong("workers", what, "name one core for each worker in dpdk.cores");
        } else if cores.as_ref().is_some_and(|cores| cores.is_empty() || cores.len() > 64) {
            s.wrong(
                "cores",
                "names no core, or more than 64",
                "name one core for each worker, such as [1, 2]",
            );
        }
        let idle = match s.table::<IdleSection>("idle").flatten() {
            Some(IdleSection { mode: IdleMode::Spin, .. }) => Idle::Spin,
            section => {
                let sleep = section.and_then(|idle| idle.sleep_us).unwrap_or(Whole::constant::<50>());
                Idle::Backoff { sleep_us: sleep.get() as u32 }
            }
        };
        let control_core = s.optional("control_core");
        let hugepages = s.or("hugepages", Hugepages::Auto);
        let memory_mb = s.or("memory_mb", Whole::constant::<256>());
        // One less than a power of two: the pool's ring has a power of two of places, and one stays empty.
        let mbufs = s.or("mbufs", Whole::constant::<16_383>());
        let data_room = s.optional("data_room");
        let jumbo_mbufs = s.or("jumbo_mbufs", Whole::constant::<1023>());
        Some(Dpdk { cores: cores?, control_core, idle, hugepages, memory_mb, mbufs, data_room, jumbo_mbufs })
    }
}

impl Read for Port {
    fn read(s: &mut Section<'_>, index: usize) -> Option<Port> {
        let name = s.required("name");
        let bond = s.table::<Bond>("bond");
        let device = if bond.is_none() { s.required("device") } else { s.optional::<Device>("device") };
        let bond = match bond {
            Some(bond) if s.has("device") => {
                let what = "a bond is no device of its own";
                s.wrong("device", what, "remove it; name the devices in bond.members");
                bond
            }
            Some(bond) => bond,
            None => None,
        };
        let device = bond.as_ref().map(|bond| Device::bonding(index, bond)).or(device);
        let mtu = s.or("mtu", Whole::constant::<1500>());
        let queues = s.optional("queues");
        let descriptors = s.or("descriptors", Whole::constant::<1024>());
        Some(Port { index, name: name?, device: device?, bond, mtu, queues, descriptors })
    }
}

impl Read for Bond {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Bond> {
        let mode = s.required("mode");
        let policy: Option<BondPolicy> = s.optional("policy");
        let members: Option<Vec<Device>> = s.required("members");
        if mode == Some(BondMode::ActiveBackup) && policy.is_some() {
            let what = "one member at a time carries everything: there is nothing to spread";
            s.wrong("policy", what, "remove it, or write mode = \"balance\" or \"802.3ad\"");
        }
        if members.as_ref().is_some_and(|members| members.is_empty() || members.len() > 8) {
            s.wrong("members", "names no device, or more than 8", "name the devices that are joined");
        }
        Some(Bond { mode: mode?, policy: policy.unwrap_or(BondPolicy::L34), members: members? })
    }
}

/// `vlan = 100` or `qinq = [200, 100]`.
fn vlan(s: &mut Section<'_>) -> Option<VlanId> {
    let single: Option<Whole<1, 4094>> = s.optional("vlan");
    let stacked: Option<Vec<Whole<1, 4094>>> = s.optional("qinq");
    if single.is_some() && stacked.is_some() {
        s.wrong("qinq", "there is a vlan too", "write vlan for one tag, or qinq for two");
    }
    let id = |number: Whole<1, 4094>| number.get() as u16;
    match (single, stacked.as_deref()) {
        (_, Some(&[service, customer])) => VlanId::stacked(id(service), id(customer)).ok(),
        (_, Some(numbers)) => {
            let what = format!("has {} numbers", numbers.len());
            s.wrong("qinq", what, "write two: the S-VLAN's and the C-VLAN's, such as [200, 100]");
            None
        }
        (Some(number), None) => VlanId::try_from(id(number)).ok(),
        (None, None) => None,
    }
}

impl Read for Interface {
    fn read(s: &mut Section<'_>, index: usize) -> Option<Interface> {
        let (name, port) = (s.required("name"), s.required("port"));
        let (vlan, addresses) = (vlan(s), s.required("addresses"));
        Some(Interface { index, name: name?, port: port?, vlan, addresses: addresses? })
    }
}

impl Read for Gateway {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Gateway> {
        let (interface, addresses) = (s.required("interface"), s.required("addresses"));
        let vrrp = s.table("vrrp").flatten();
        Some(Gateway { interface: interface?, addresses: addresses?, vrrp })
    }
}

impl Read for Ha {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Ha> {
        let (role, peer) = (s.required("role"), s.required("peer"));
        let witness = s.optional("witness");
        let lease_ms = s.or("lease_ms", Whole::constant::<400>());
        let without_witness = s.or("without_witness", WithoutWitness::Hold);
        let (failback, seconds) = (s.or("failback", Failback::Manual), s.optional("failback_seconds"));
        if seconds.is_some() && failback == Failback::Manual {
            s.wrong(
                "failback_seconds",
                "a person brings the site back",
                "write failback = \"auto\", or remove it",
            );
        }
        if failback == Failback::Auto && role == Some(Role::Standby) {
            let remedy = "remove it: it is for the engine whose role is active";
            s.wrong("failback", "the site is not brought back to a standby", remedy);
        }
        let failback_seconds = seconds.unwrap_or(Whole::constant::<300>());
        let (role, peer) = (role?, peer?);
        Some(Ha { role, peer, witness, lease_ms, without_witness, failback, failback_seconds })
    }
}

impl Read for Control {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Control> {
        let (listen, ca) = (s.required("listen"), s.required("ca"));
        let (cert, key) = (s.required("cert"), s.required("key"));
        let votes_for = s.or("votes_for", Vec::new());
        Some(Control { listen: listen?, ca: ca?, cert: cert?, key: key?, votes_for })
    }
}

impl Read for Peer {
    fn read(s: &mut Section<'_>, index: usize) -> Option<Peer> {
        let (name, site) = (s.required("name"), s.required("site"));
        let address = if s.or("foreign", false) {
            let address: Option<SocketAddr> = s.optional("address");
            if address.is_some() {
                let what = "a foreign peer has no control connection";
                s.wrong("address", what, "remove it, or remove foreign = true");
            }
            None
        } else {
            Some(s.required("address")?)
        };
        let workers = s.optional("workers");
        Some(Peer { index, name: name?, site: site?, address, workers })
    }
}

impl Read for Bfd {
    fn read(s: &mut Section<'_>, index: usize) -> Option<Bfd> {
        let (name, interface, remote) = (s.required("name"), s.required("interface"), s.required("remote"));
        let interval_ms = s.or("interval_ms", Whole::constant::<50>());
        let multiplier = s.or("multiplier", Whole::constant::<3>());
        let tunnels = s.or("tunnels", Vec::new());
        let multihop = s.or("multihop", false);
        let ttl_min = s.optional("ttl_min");
        if ttl_min.is_some() && !multihop {
            s.wrong("ttl_min", "nothing but 255 comes from the link", "remove it, or write multihop = true");
        }
        Some(Bfd {
            index,
            name: name?,
            interface: interface?,
            remote: remote?,
            multihop: multihop.then(|| ttl_min.unwrap_or(Whole::constant::<254>())),
            interval_ms,
            multiplier,
            tunnels,
        })
    }
}

impl Read for Group {
    fn read(s: &mut Section<'_>, index: usize) -> Option<Group> {
        let (name, site, members) = (s.required("name"), s.required("site"), s.required("members"));
        let (mss_clamp, spread) = (s.or("mss_clamp", true), s.or("spread", Spread::Parallel));
        let sla_weight = s.or("sla_weight", Weight::ONE);
        let adaptive = s.table("adaptive").flatten();
        let (name, site, members) = (name?, site?, members?);
        Some(Group { index, name, site, members, spread, mss_clamp, sla_weight, adaptive })
    }
}

impl Read for Route {
    fn read(s: &mut Section<'_>, index: usize) -> Option<Route> {
        let prefix: Option<IpNet> = s.required("prefix");
        let group = s.optional("group").map(RouteTarget::Group);
        let via = s.optional("via").map(RouteTarget::Via);
        let blackhole = s.optional::<bool>("blackhole").filter(|yes| *yes).map(|_| RouteTarget::Blackhole);
        let given = ["group", "via", "blackhole"].into_iter().filter(|key| s.has(key)).count();
        if given != 1 {
            let remedy = "write exactly one of group = \"…\", via = \"192.0.2.1\" and blackhole = true";
            s.wrong("prefix", format!("the route has {given} targets"), remedy);
        } else if s.has("blackhole") && blackhole.is_none() {
            s.wrong(
                "blackhole",
                "false leaves the route without a target",
                "write blackhole = true, or group or via",
            );
        }
        Some(Route { index, prefix: prefix?, target: group.or(via).or(blackhole)? })
    }
}

impl Read for Routing {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Routing> {
        Some(Routing { file: s.optional("file") })
    }
}

impl Read for Prediction {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Prediction> {
        let mode = s.or("mode", Mode::Auto);
        let threshold = s.optional::<Probability>("threshold");
        let moves_max = s.or("moves_max", Whole::constant::<3>());
        let moves_minutes = s.or("moves_minutes", Whole::constant::<10>());
        let learning = s.table("learning");
        let model = s.optional("model");
        Some(Prediction { mode, threshold, model, moves_max, moves_minutes, learning: learning.flatten() })
    }
}

impl Read for Learning {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Learning> {
        let store = s.required("store");
        let history: Option<std::path::PathBuf> = s.optional("history");
        let recordings = s.optional("recordings");
        if history.is_none() && recordings.is_some() {
            let remedy = "write history = \"FOLDER\" too, or train once with `foreshift predict train`";
            s.wrong("recordings", "without a history nothing is trained", remedy);
        }
        Some(Learning {
            history_mb: s.or("history_mb", Whole::constant::<256>()),
            retrain_hours: s.or("retrain_hours", Whole::constant::<24>()),
            shadow_minutes: s.or("shadow_minutes", Whole::constant::<60>()),
            store: store?,
            history,
            recordings,
        })
    }
}

impl Read for Shift {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Shift> {
        let default = [Whole::constant::<5>(), Whole::constant::<25>(), Whole::constant::<50>(), LAST_STEP];
        let steps = s.or("steps", default.to_vec());
        if !steps.is_sorted_by(|a, b| a < b) || steps.last() != Some(&LAST_STEP) {
            let remedy = "write increasing percentages of which the last is 100, such as [5, 25, 50, 100]";
            s.wrong("steps", "does not lead up to 100 %", remedy);
        }
        let verify_ms = s.or("verify_ms", Whole::constant::<1000>());
        Some(Shift { steps, verify_ms, watch_seconds: s.or("watch_seconds", Whole::constant::<10>()) })
    }
}

const LAST_STEP: Whole<1, 100> = Whole::constant::<100>();

impl Read for Crypto {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Crypto> {
        Some(Crypto { provider: s.or("provider", CryptoProvider::Auto) })
    }
}

impl Read for Probe {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Probe> {
        let interval_ms: Interval = s.or("interval_ms", Whole::constant::<20>());
        let detect_ms: Interval = s.or("detect_ms", Whole::constant::<300>());
        let least = interval_ms.get() * 3;
        if detect_ms.get() < least {
            let what = format!(
                "{} ms is less than three probe intervals: one lost probe would read as a failure",
                detect_ms.get()
            );
            s.wrong("detect_ms", what, format!("write {least} or more, or a shorter interval_ms"));
        }
        Some(Probe { interval_ms, detect_ms })
    }
}

impl Read for Api {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Api> {
        let (socket, metrics) = (s.required("socket"), s.optional("metrics"));
        Some(Api { socket: socket?, metrics })
    }
}

impl Read for Telemetry {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Telemetry> {
        Some(Telemetry { record: s.optional("record") })
    }
}

impl Read for Icmp {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Icmp> {
        Some(Icmp { errors_per_second: s.or("errors_per_second", Whole::constant::<1000>()) })
    }
}

impl Read for Log {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Log> {
        Some(Log { level: s.or("level", LogLevel::Info) })
    }
}

impl Read for Debug {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Debug> {
        Some(Debug { export_esp_keys: s.optional("export_esp_keys"), faults: s.or("faults", false) })
    }
}
