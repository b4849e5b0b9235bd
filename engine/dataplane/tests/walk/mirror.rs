//! Copies of real walks, and what a shadow does with them.

use crate::support::{Draft, Engine, Ip, LAN, WAN, deliver, frame, host_mac, host_v4, key, pair, through};
use dataplane::acl::{Acl, Action, Addresses, PortRange, Rule, UpperMatch};
use dataplane::drop_reason::DropReason;
use dataplane::id::{GroupId, InterfaceId, Nanos, PortId, TunnelId, WorkerId};
use dataplane::message::{Command, Event, Retired};
use dataplane::mirror::{
    Copied, Fate, FlowSampler, Ingress, Lead, Order, Rate, SNAP, Shadow, ShadowParts, SipKey, Source,
    Threshold, Walked, mirror,
};
use dataplane::snapshot::{Encapsulation, Snapshot};
use dataplane::wire::Protocol;
use std::collections::BTreeMap;
use std::sync::Arc;

const GRE: Encapsulation = Encapsulation::Gre { key: Some(42), sequence: true };
const GROUP: Fate = Fate::Forwarded(Lead::Group(GroupId(0)));

#[derive(Clone, Copy)]
struct Still;

impl dataplane::worker::Clock for Still {
    fn now(&self) -> Nanos {
        Nanos::from_millis(1000)
    }
}

fn order(p: f64) -> Order {
    let rate = Rate::default();
    rate.set(Threshold::of(p));
    Order { flows: FlowSampler::new(SipKey([1, 2]), 0), rate, seed: 1 }
}

fn mirrored(engine: &mut Engine, order: &Order) -> Source {
    let (mirror, source) = mirror(WorkerId(0), order);
    engine.command(0, Command::Mirror(mirror));
    source
}

fn copies<T>(source: &mut Source, mut of: impl FnMut(&Copied) -> T) -> Vec<T> {
    std::iter::from_fn(|| source.next(&mut of)).collect()
}

fn shadow(snapshot: Snapshot) -> Shadow<Still> {
    Shadow::new(ShadowParts { clock: Still, snapshot, sessions: None, ports: 3 }).expect("randomness")
}

/// An engine of site 1 with a tunnel to site 2 and, if asked, rules.
fn site(encapsulation: Encapsulation, engine: u8, rules: Option<&[Rule]>) -> Draft {
    let mut draft = Draft::new(engine, 1);
    let tunnel = draft.tunnel(encapsulation, false, 2);
    draft.group(2, &[(tunnel, 1)], &[tunnel]);
    draft.acl = rules.map(|rules| Arc::new(Acl::compile(rules, Action::Permit).unwrap()));
    draft
}

fn deny_port(port: u16) -> Rule {
    let upper = UpperMatch::Ports { protocol: Protocol::UDP, src: PortRange::ALL, dst: PortRange::one(port) };
    Rule { addresses: Addresses::Any, upper, input: None, action: Action::Deny }
}

#[test]
fn whole_flows_are_copied_both_ways_with_what_became_of_them() {
    let (mut a, mut b) = pair(GRE, false);
    let order = order(0.05);
    let (mut at_a, mut at_b) = (mirrored(&mut a, &order), mirrored(&mut b, &order));
    let (there, back) = (Ip::between(1, 2, false), Ip::between(2, 1, false));
    let mut seen: BTreeMap<u16, [u32; 2]> = BTreeMap::new();
    for flow in 0..1000 {
        for _ in 0..3 {
            through(&mut a, &mut b, &there.datagram(flow, 7, &[1; 100]));
            through(&mut b, &mut a, &back.datagram(7, flow, &[1; 900]));
            copies(&mut at_a, |copy| {
                if !copy.samples.flow {
                    return assert!(copy.samples.packet && copy.head().is_empty());
                }
                let way = usize::from(copy.ingress == Ingress::Tunnel(TunnelId(0)));
                let (ports, length) = if way == 0 { (20..22, 128) } else { (22..24, 928) };
                let flow = u16::from_be_bytes(copy.head()[ports].try_into().unwrap());
                seen.entry(flow).or_default()[way] += 1;
                assert_eq!((usize::from(copy.length), copy.head().len()), (length, length.min(SNAP)));
                let host = Lead::Neighbor { interface: InterfaceId(0), ip: there.src };
                let lead = if way == 0 { Lead::Group(GroupId(0)) } else { host };
                assert_eq!(copy.fate, Fate::Forwarded(lead));
                assert!(copy.residence.is_some());
            });
            copies(&mut at_b, drop_copy);
        }
    }
    assert!((25..75).contains(&seen.len()), "{} flows of about 50", seen.len());
    assert!(seen.values().all(|ways| *ways == [3, 3]), "a sampled flow is sampled whole: {seen:?}");
    let tally = &at_a.tally;
    assert_eq!((tally.seen.get(), tally.flow_packets.get()), (6000, 6 * seen.len() as u64));
    assert!((200..400).contains(&tally.packets.get()), "{} of about 300", tally.packets.get());
}

fn drop_copy(_: &Copied) {}

/// Three fragments of an IPv4 packet (RFC 791 §3.2).
fn fragments(packet: &[u8]) -> Vec<Vec<u8>> {
    let cut = |n: usize| {
        let (from, more) = (20 + n * 400, n < 2);
        let to = if more { from + 400 } else { packet.len() };
        let mut piece = [&packet[..20], &packet[from..to]].concat();
        let length = piece.len() as u16;
        piece[2..4].copy_from_slice(&length.to_be_bytes());
        piece[6..8].copy_from_slice(&((n as u16 * 50) | u16::from(more) << 13).to_be_bytes());
        piece[10..12].fill(0);
        let sum = etherparse::Ipv4HeaderSlice::from_slice(&piece).unwrap().to_header().calc_header_checksum();
        piece[10..12].copy_from_slice(&sum.to_be_bytes());
        piece
    };
    (0..3).map(cut).collect()
}

#[test]
fn fragments_go_with_the_fragments_of_their_hosts() {
    let mut a = Engine::new(site(GRE, 1, None));
    let mut source = mirrored(&mut a, &order(0.5));
    let (mut all, mut some) = (0, 0);
    for host in 1..60u8 {
        let fragments = fragments(&Ip::new(host_v4(1, 9), host_v4(2, host)).udp(1, 1200));
        for fragment in &fragments {
            a.pass(LAN, &frame(a.draft.mac(0), host_mac(), None, fragment), WAN);
        }
        let taken = copies(&mut source, |copy| copy.samples.flow).into_iter().filter(|flow| *flow).count();
        assert!(taken == 0 || taken == 3, "{taken} of 3 fragments");
        all += usize::from(taken > 0);
        some += 1;
    }
    assert!((15..45).contains(&all), "{all} of {some} pairs of hosts");
}

#[test]
fn a_full_ring_loses_copies_and_never_packets() {
    let (mut a, mut b) = pair(GRE, false);
    let mut source = mirrored(&mut a, &order(1.0));
    let ours = Ip::between(1, 2, false);
    for n in 0..3000 {
        let (out, _) = through(&mut a, &mut b, &ours.udp(n, 50));
        assert_eq!(out.len(), 1);
    }
    assert!(source.tally.lost.get() > 800, "{}", source.tally.lost.get());
    let sequences = copies(&mut source, |copy| copy.sequence);
    assert_eq!(sequences, (1..=sequences.len() as u32).collect::<Vec<_>>());
    a.command(0, Command::Unmirror);
    a.poll();
    assert!(a.events().iter().any(|event| matches!(event, Event::Retired(Retired::Mirror(_)))));
    through(&mut a, &mut b, &ours.udp(1, 50));
    assert!(copies(&mut source, |copy| copy.sequence).is_empty());
}

#[test]
fn nothing_for_this_engine_itself_is_mirrored() {
    let mut a = Engine::new(site(GRE, 1, None));
    let mut source = mirrored(&mut a, &order(1.0));
    let echo = Ip::new(host_v4(1, 9), host_v4(1, 1)).echo(1, b"hello");
    let frames = a.pass(LAN, &frame(a.draft.mac(0), host_mac(), None, &echo), LAN);
    assert_eq!(frames.len(), 1, "it answers");
    assert!(copies(&mut source, drop_copy).is_empty());
}

/// Every copy of an engine's traffic through the other engine of its site: both as configured alike, and not.
#[test]
fn a_shadow_with_the_same_tables_does_the_same_and_one_with_others_does_not() {
    for encapsulation in [GRE, Encapsulation::Esp, Encapsulation::IpIp] {
        let rules = [deny_port(99)];
        let mut a = Engine::new(site(encapsulation, 1, Some(&rules)));
        let mut far = Engine::new({
            let mut draft = Draft::new(2, 2);
            let tunnel = draft.tunnel(encapsulation, false, 1);
            draft.group(1, &[(tunnel, 1)], &[tunnel]);
            draft
        });
        if encapsulation.is_esp() {
            key(&mut a, &mut far, TunnelId(0), TunnelId(0), 0x1000);
        }
        let mut source = mirrored(&mut a, &order(1.0));
        let alike = site(encapsulation, 3, Some(&rules));
        let mut lacking = site(encapsulation, 3, None);
        lacking.routes.retain(|(net, _)| !net.contains(&host_v4(2, 9)));
        let (mut same, mut other) = (shadow(alike.snapshot()), shadow(lacking.snapshot()));
        let ours = Ip::new(host_v4(1, 9), host_v4(2, 9));
        let nowhere = Ip::new(host_v4(1, 9), [203, 0, 113, 1].into());
        let mut packets: Vec<Vec<u8>> =
            (1..40).map(|n| ours.datagram(n, 7, &vec![1; 100 * usize::from(n % 13)])).collect();
        packets.extend([ours.datagram(1, 99, &[1; 50]), nowhere.udp(1, 50)]);
        let mut verdicts = Vec::new();
        for packet in &packets {
            let wire = a.pass(LAN, &frame(a.draft.mac(0), host_mac(), None, packet), WAN);
            deliver(&mut far, &wire);
            copies(&mut source, |copy| {
                let [walked, differs] = [&mut same, &mut other].map(|shadow| {
                    shadow.walk(copy.ingress, copy.head(), copy.length.into()).expect("judged")
                });
                assert_eq!(walked.fate, copy.fate);
                verdicts.push((copy.fate, differs.fate));
            });
        }
        let no_route = Fate::Dropped(DropReason::NoRoute);
        let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
        assert_eq!(count((GROUP, no_route)), 39);
        assert_eq!(count((Fate::Dropped(DropReason::AclDenied), no_route)), 1);
        assert_eq!(count((no_route, no_route)), 1);
        assert_eq!(verdicts.len(), packets.len());
        // The live engine's packets were received, each once: nobody else has sent under its sequence numbers.
        let (replayed, delivered) = (far.dropped(DropReason::Replayed), far.counters().transmitted.get());
        assert_eq!((replayed, delivered), (0, 39));
    }
}

#[test]
fn a_shadow_judges_what_came_out_of_a_tunnel() {
    let mut shadow = shadow(site(Encapsulation::Esp, 1, None).snapshot());
    let from_far = Ip::new(host_v4(2, 9), host_v4(1, 9)).udp(1, 100);
    let from = |shadow: &mut Shadow<Still>, ingress| shadow.walk(ingress, &from_far, from_far.len());
    let host = Lead::Neighbor { interface: InterfaceId(0), ip: host_v4(1, 9) };
    let fate = |walked: Option<Walked>| walked.expect("judged").fate;
    assert_eq!(fate(from(&mut shadow, Ingress::Tunnel(TunnelId(0)))), Fate::Forwarded(host));
    let clear = from(&mut shadow, Ingress::Interface(InterfaceId(1)));
    assert_eq!(fate(clear), Fate::Dropped(DropReason::Spoofed), "not in clear");
    // A neighbour that it has not resolved is where it would go all the same, and nobody is asked.
    let unknown = Ip::new(host_v4(2, 9), host_v4(1, 77)).udp(1, 100);
    let walked = shadow.walk(Ingress::Tunnel(TunnelId(0)), &unknown, unknown.len());
    let lead = Lead::Neighbor { interface: InterfaceId(0), ip: host_v4(1, 77) };
    assert_eq!(fate(walked), Fate::Forwarded(lead));
    assert_eq!(shadow.walk(Ingress::Tunnel(TunnelId(0)), &[0x45; 10], 10).map(|w| w.fate), {
        Some(Fate::Dropped(DropReason::Truncated))
    });
}

/// The site link is no way for a shadow: its own tunnel has to carry.
#[test]
fn a_shadow_whose_own_tunnel_is_down_has_no_way() {
    let mut draft = Draft::new(1, 1);
    let own = draft.tunnel(GRE, false, 2);
    let direct = draft.tunnel(Encapsulation::Direct, false, 3);
    draft.group(2, &[(own, 1), (direct, 1)], &[own]);
    let ours = Ip::between(1, 2, false).udp(1, 100);
    let walk = |shadow: &mut Shadow<Still>| {
        shadow.walk(Ingress::Interface(InterfaceId(0)), &ours, ours.len()).expect("judged").fate
    };
    let mut shadow = shadow(draft.snapshot());
    assert_eq!(walk(&mut shadow), GROUP);
    draft.tunnels[own.index()].up = false;
    shadow.publish(&draft.snapshot());
    assert_eq!(walk(&mut shadow), Fate::Dropped(DropReason::NoTunnel));
}

/// A mirror changes nothing of what leaves.
#[test]
fn the_same_leaves_with_and_without_a_mirror() {
    let rules = [deny_port(99)];
    let mut engines = [1, 1].map(|engine| Engine::new(site(GRE, engine, Some(&rules))));
    let _source = mirrored(&mut engines[0], &order(0.5));
    for n in 0..500u16 {
        let ip = Ip::new(host_v4(1, 9), host_v4(if n % 3 == 0 { 7 } else { 2 }, n as u8));
        let packet = ip.datagram(n, 90 + n % 10, &vec![1; usize::from(n)]);
        let out = engines.each_mut().map(|engine| {
            engine.put(0, LAN, &frame(engine.draft.mac(0), host_mac(), None, &packet));
            engine.poll();
            (0..3).map(|port| engine.take(PortId(port))).collect::<Vec<_>>()
        });
        assert_eq!(out[0], out[1]);
    }
    assert_eq!(engines[0].drops(), engines[1].drops());
}
