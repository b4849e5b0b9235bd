//! From a file to ids, ways and MTUs.

use super::*;
use control::config::MemberKind;
use control::message::{SaParameters, TunnelKind};
use dataplane::id::Nanos;
use dataplane::snapshot::{EspUdp, Nat};
use dataplane::wire::VlanId;
use dataplane::wire::vxlan::Vni;
use proptest::prelude::*;

const TEXT: &str = r#"
[engine]
name = "a1"
site = "a"
[dpdk]
cores = [2, 3]
control_core = 1
hugepages = "never"
[[port]]
name = "lan0"
device = "net_af_packet0,iface=lan0"
[[port]]
name = "wan0"
device = "03:00.0"
mtu = 9000
queues = 1
[[interface]]
name = "lan"
port = "lan0"
addresses = ["10.1.0.2/24", "fd00:a::2/64"]
[[interface]]
name = "wan"
port = "wan0"
vlan = 7
addresses = ["192.0.2.11/24", "2001:db8::11/64"]
[[interface]]
name = "site"
port = "wan0"
addresses = ["10.1.255.1/30"]
[gateway]
interface = "lan"
addresses = ["10.1.0.1", "fd00:a::1"]
[ha]
role = "standby"
peer = "a2"
[control]
listen = "10.255.0.11:7000"
ca = "ca.pem"
cert = "a1.pem"
key = "a1.key"
votes_for = ["b"]
[[peer]]
name = "b1"
site = "b"
address = "10.255.0.20:7000"
workers = 3
[[peer]]
name = "a2"
site = "a"
address = "10.255.0.12:7000"
[[tunnel]]
name = "direct"
peer = "a2"
protocol = "direct"
local = "10.1.255.1"
remote = "10.1.255.2"
[[tunnel]]
name = "esp4"
peer = "b1"
protocol = "esp"
local = "192.0.2.11"
remote = "198.51.100.20"
cipher = "aes-128-gcm"
esn = false
rekey_seconds = 60
[[tunnel]]
name = "gre6"
peer = "b1"
protocol = "gre"
gre_key = 42
local = "2001:db8::11"
remote = "2001:db8::20"
[[group]]
name = "site-b"
site = "b"
members = ["esp4", "gre6", "direct"]
sla_weight = 2.5
[[route]]
prefix = "10.2.0.0/24"
group = "site-b"
[[route]]
prefix = "0.0.0.0/0"
via = "192.0.2.1"
[[route]]
prefix = "198.51.100.0/25"
via = "192.0.2.9"
[[route]]
prefix = "10.3.0.0/16"
blackhole = true
[prediction]
threshold = 0.2
[api]
socket = "/run/a1.sock"
"#;

fn plan() -> Plan {
    Plan::from_config(&Config::parse(TEXT).expect("valid"))
}

#[test]
fn names_become_ids_and_ways_follow_the_longest_prefix() {
    let plan = plan();
    let forwarding = &plan.forwarding;
    let [direct, esp, gre] = &forwarding.tunnels[..] else { panic!("three tunnels") };
    // 198.51.100.0/25 beats the default route; the far end of the GRE tunnel is a neighbour.
    let next_hops = [direct, esp, gre].map(|t| (t.interface.0, t.next_hop.to_string()));
    let expected =
        [(2, "10.1.255.2"), (1, "192.0.2.9"), (1, "2001:db8::20")].map(|(i, hop)| (i, hop.to_owned()));
    assert_eq!(next_hops, expected);
    assert_eq!(gre.encapsulation, Encapsulation::Gre { key: Some(42), sequence: false });
    assert_eq!(forwarding.groups[0].members, [1, 2, 0].map(TunnelId));
    let wan = NextHop::Via { interface: InterfaceId(1), gateway: "192.0.2.9".parse().expect("an address") };
    assert_eq!(forwarding.routes[2].1, wan);
    assert_eq!(
        (forwarding.routes[0].1, forwarding.routes[3].1),
        (NextHop::Group(GroupId(0)), NextHop::Blackhole)
    );
    let vlans: Vec<_> =
        forwarding.interfaces.iter().map(|i| (i.port.0, i.vlan.map(VlanId::customer), i.site_link)).collect();
    assert_eq!(vlans, [(0, None, false), (1, Some(7), false), (1, None, true)]);
    let (interface, addresses) = forwarding.gateway.as_ref().expect("a gateway");
    let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    assert_eq!((interface.0, shown), (0, vec!["10.1.0.1/24".to_owned(), "fd00:a::1/64".to_owned()]));
}

#[test]
fn eal_and_ports_get_what_the_file_says() {
    let plan = plan();
    assert_eq!((plan.eal.main_core, &plan.eal.worker_cores), (1, &vec![2, 3]));
    assert_eq!(plan.eal.vdevs, ["net_af_packet0,iface=lan0,qpairs=2"]);
    assert_eq!(
        (plan.eal.pci.as_slice(), plan.eal.hugepages),
        (&["0000:03:00.0".to_owned()][..], Hugepages::Off)
    );
    let queues: Vec<_> =
        plan.ports.iter().map(|p| (p.config.rx_queues, p.config.tx_queues, p.config.mtu)).collect();
    assert_eq!(queues, [(2, 2, 1500), (1, 2, 9000)]);
    assert_eq!(plan.ports[1].config.device, "0000:03:00.0");
    assert!(plan.pool.data_room >= 9000 + 14 + 4, "a jumbo frame fits one buffer");
}

/// A bond after its members, large AF_PACKET frames, queues that are too few, buffers smaller than the frames.
#[test]
fn bonds_jumbo_frames_and_few_queues() {
    let text = TEXT
        .replace(
            "device = \"net_af_packet0,iface=lan0\"",
            "device = \"net_af_packet0,iface=lan0\"\nmtu = 9000\nqueues = 1",
        )
        .replace(
            "device = \"03:00.0\"",
            "bond = { mode = \"802.3ad\", members = [\"03:00.0\", \"net_tap7,iface=x\"] }",
        )
        .replace("vlan = 7", "qinq = [200, 7]")
        .replace("hugepages", "memory_mb = 256\nhugepages");
    let plan = Plan::from_config(&Config::parse(&text).expect("valid"));
    let bond = "net_bonding1,mode=4,slave=0000:03:00.0,slave=net_tap7,xmit_policy=l34";
    let lan = "net_af_packet0,iface=lan0,blocksz=12288,framesz=12288";
    assert_eq!(plan.eal.vdevs, [lan, "net_tap7,iface=x", bond]);
    assert_eq!(plan.eal.pci, ["0000:03:00.0"]);
    assert!(plan.ports[1].config.lacp && plan.ports[1].config.device == "net_bonding1");
    let lan = &plan.ports[0].config;
    assert_eq!((lan.rx_queues, lan.tx_queues, lan.workers), (1, 1, Some(2)));
    assert_eq!(plan.forwarding.interfaces[1].vlan, VlanId::stacked(200, 7).ok());
    assert!(plan.pool.data_room >= 12_288 && plan.jumbo.is_none());

    let text = TEXT.replace("hugepages", "data_room = 2048\nhugepages");
    let plan = Plan::from_config(&Config::parse(&text).expect("valid"));
    assert_eq!(plan.pool.data_room, 2048);
    assert!(plan.jumbo.is_some_and(|pool| pool.packets == 1023 && pool.data_room >= 9000 + 64));
}

#[test]
fn the_controller_is_told_the_same_ids() {
    let controller = plan().controller;
    let kinds: Vec<_> = controller.groups[0].members.iter().map(|m| (m.tunnel.0, m.kind)).collect();
    assert_eq!(kinds, [(1, MemberKind::Own), (2, MemberKind::Own), (0, MemberKind::Direct)]);
    let parameters = SaParameters { algorithm: Algorithm::Aes128Gcm, esn: false };
    let esp =
        control::config::Protocol::Esp { rekey_after: Nanos::from_millis(60_000), parameters, senders: 3 };
    assert_eq!(controller.tunnels[1].protocol, esp);
    assert_eq!((controller.workers, controller.votes_for.as_slice()), (2, &["b".to_owned()][..]));
    let ha = controller.ha.expect("a pair");
    assert_eq!((ha.peer.as_str(), ha.lease, ha.witness), ("a2", Nanos::from_millis(400), None));
    assert_eq!((controller.prediction.threshold, controller.prediction.moves_max), (Some(0.2), 3));
    assert_eq!(controller.prediction.sla_weights.get(&GroupId(0)), Some(&2.5));
}

#[test]
fn known_mtus() {
    let gre = |key, sequence| Encapsulation::Gre { key, sequence };
    let (vni, mac) = (Vni::try_from(1).expect("24 bits"), MacAddr::ZERO);
    let vxlan = Encapsulation::Vxlan(Vxlan { vni, local_mac: mac, remote_mac: mac });
    let cases = [
        (Encapsulation::Direct, true, 1500),
        (gre(None, false), true, 1476),
        (gre(Some(1), false), true, 1472),
        (gre(Some(1), true), true, 1468),
        (gre(None, false), false, 1456),
        (Encapsulation::Esp, true, 1446),
        (Encapsulation::Esp, false, 1426),
        (ESP_UDP, true, 1438),
        (ESP_UDP, false, 1418),
        (Encapsulation::IpIp, true, 1480),
        (Encapsulation::IpIp, false, 1460),
        (vxlan, true, 1450),
        (vxlan, false, 1430),
    ];
    for (encapsulation, ipv4, expected) in cases {
        let mtu = dataplane::tunnel::inner_mtu(1500, encapsulation, ipv4);
        assert_eq!(mtu, expected, "{encapsulation:?} over IPv{}", if ipv4 { 4 } else { 6 });
    }
}

const ESP_UDP: Encapsulation =
    Encapsulation::EspUdp(EspUdp { local_port: 4500, remote_port: 4500, nat: Nat::None, inside: None });

/// Every protocol from the file; an end behind a NAT is nameless.
#[test]
fn every_protocol_has_its_tunnel() {
    let with = |protocol: &str| {
        let text = TEXT.replace("protocol = \"gre\"\ngre_key = 42\n", protocol);
        assert_ne!(text, TEXT);
        let plan = Plan::from_config(&Config::parse(&text).expect("valid"));
        let (tunnel, told) = (&plan.forwarding.tunnels[2], &plan.controller.tunnels[2]);
        (tunnel.encapsulation, tunnel.mtu, plan.tunnels[2].protocol, told.clone())
    };
    let (encapsulation, mtu, name, told) = with("protocol = \"ipip\"\n");
    assert_eq!((encapsulation, mtu, name), (Encapsulation::IpIp, 8960, "ipip"));
    assert_eq!(
        (told.protocol, told.endpoints.kind),
        (control::config::Protocol::Fixed { probed: true, spi: None }, TunnelKind::IpIp)
    );
    let (encapsulation, ..) =
        with("protocol = \"vxlan\"\nvxlan_vni = 7\nvxlan_remote_mac = \"02:00:00:00:00:09\"\n");
    let Encapsulation::Vxlan(vxlan) = encapsulation else { panic!("{encapsulation:?}") };
    assert_eq!((vxlan.vni.get(), vxlan.remote_mac), (7, MacAddr([2, 0, 0, 0, 0, 9])));
    assert_eq!(vxlan.local_mac, derived_mac("2001:db8::11".parse().expect("an address")));
    let (encapsulation, mtu, name, told) = with("protocol = \"esp-udp\"\nnat = \"remote\"\nesn = false\n");
    let nat = EspUdp { local_port: 4500, remote_port: 4500, nat: Nat::Remote, inside: None };
    assert_eq!((encapsulation, mtu, name), (Encapsulation::EspUdp(nat), 8918, "esp-udp"));
    assert!(told.endpoints.remote.is_unspecified() && told.endpoints.kind == TunnelKind::EspUdp);
    assert!(matches!(told.protocol, control::config::Protocol::Esp { senders: 3, .. }));
}

#[cfg(feature = "wireguard")]
#[test]
fn wireguard_has_its_peers_and_its_mtu() {
    let peer = "protocol = \"wireguard\"\nudp_remote_port = 1234\n[tunnel.wireguard]\nprivate_key_file = \"a1.wg\"\n\
        public_key = \"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\"\nallowed_ips = [\"10.2.0.0/24\"]\n";
    let ends = "local = \"2001:db8::11\"\nremote = \"2001:db8::20\"\n";
    let text = TEXT.replace("cores = [2, 3]", "cores = [2]").replace(ends, "");
    let text = text.replace("protocol = \"gre\"\ngre_key = 42\n", &format!("{ends}{peer}"));
    let plan = Plan::from_config(&Config::parse(&text).expect("valid"));
    let (tunnel, told) = (&plan.forwarding.tunnels[2], &plan.controller.tunnels[2]);
    let ports = dataplane::snapshot::WireGuard { local_port: 51_820, remote_port: 1234 };
    assert_eq!((tunnel.encapsulation, tunnel.mtu), (Encapsulation::WireGuard(ports), 8920));
    assert_eq!(told.protocol, control::config::Protocol::WireGuard { probed: true });
    let wireguard = plan.tunnels[2].wireguard.as_ref().expect("it has peers");
    assert_eq!((wireguard.rekey, wireguard.keepalive), (Duration::from_secs(120), None));
    // The far end itself too: it is one of ours, and its probes come from there.
    for (ip, allowed) in
        [("10.2.0.9", true), ("2001:db8::20", true), ("2001:db8::21", false), ("10.3.0.1", false)]
    {
        assert_eq!(wireguard.allowed.has(ip.parse().expect("an address")), allowed, "{ip}");
    }
}

proptest! {
    /// Against the walk's own account of what ESP adds: the MTU fits, and one octet more does not.
    #[test]
    fn esp_mtu_is_exact(underlay in 576u16..=9600, ipv4: bool) {
        let outer = if ipv4 { 20 } else { 40 };
        let wire = |inner: usize| outer + inner + dataplane::sa::esp_overhead(inner);
        let mtu = usize::from(dataplane::tunnel::inner_mtu(underlay, Encapsulation::Esp, ipv4));
        for inner in 28..=mtu {
            prop_assert!(wire(inner) <= usize::from(underlay), "{inner}");
        }
        prop_assert!(wire(mtu + 1) > usize::from(underlay));
    }
}
