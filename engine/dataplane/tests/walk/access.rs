//! Who may pass, and as whom: access lists, sessions, NAT.

use crate::support::craft::{addresses, one_hop_less};
use crate::support::draft::wan_v4;
use crate::support::{Draft, Engine, Ip, LAN, WAN, checked, engine_mac, frame, host_mac, host_v4};
use dataplane::acl::{Acl, Action, Addresses, PortRange, Rule, UpperMatch};
use dataplane::drop_reason::DropReason;
use dataplane::flow::{SessionConfig, Timeouts, WhenFull};
use dataplane::nat::{Endpoint, Filtering, Kind, NatConfig};
use dataplane::wire::{Protocol, checksum};
use std::net::IpAddr;
use std::sync::Arc;

fn to_lan(packet: &[u8]) -> Vec<u8> {
    frame(engine_mac(1, 0), host_mac(), None, packet)
}

fn to_wan(packet: &[u8]) -> Vec<u8> {
    frame(engine_mac(1, 1), engine_mac(2, 1), None, packet)
}

/// From the host on the LAN to the one on the WAN.
fn out() -> Ip {
    Ip::new(host_v4(1, 9), wan_v4(2))
}

/// The other way.
fn back() -> Ip {
    Ip::new(wan_v4(2), host_v4(1, 9))
}

fn rule(upper: UpperMatch, input: Option<u16>, action: Action) -> Rule {
    Rule { addresses: Addresses::Any, upper, input, action }
}

fn udp_to(port: u16) -> UpperMatch {
    UpperMatch::Ports { protocol: Protocol::UDP, src: PortRange::ALL, dst: PortRange::one(port) }
}

fn acl(rules: &[Rule]) -> Option<Arc<Acl>> {
    Some(Arc::new(Acl::compile(rules, Action::Deny).expect("compiles")))
}

fn sessions(capacity: u32, nat: bool) -> Option<SessionConfig> {
    Some(SessionConfig { capacity, nat, timeouts: Timeouts::default(), when_full: WhenFull::DropNew })
}

/// All that the LAN begins may pass.
fn from_lan() -> [Rule; 1] {
    [rule(UpperMatch::Any, Some(0), Action::PermitSession)]
}

fn one(mut frames: Vec<Vec<u8>>) -> Vec<u8> {
    assert_eq!(frames.len(), 1, "one packet");
    checked(&frames.remove(0))
}

#[test]
fn rules_say_who_passes() {
    let mut draft = Draft::new(1, 1);
    draft.acl = acl(&[
        rule(udp_to(6000), Some(0), Action::Permit),
        rule(UpperMatch::Protocol(Protocol::TCP), None, Action::Reject),
    ]);
    let mut engine = Engine::new(draft);
    assert_eq!(one(engine.pass(LAN, &to_lan(&out().udp(1, 20)), WAN)), one_hop_less(&out().udp(1, 20)));
    engine.refuses(LAN, &to_lan(&out().datagram(1, 6001, b"")), DropReason::AclDenied);
    engine.refuses(WAN, &to_wan(&back().udp(1, 20)), DropReason::AclDenied);
    let told = one(engine.pass(LAN, &to_lan(&out().syn(1460)), LAN));
    assert_eq!((addresses(&told).1, &told[20..22]), (host_v4(1, 9), &[3, 13][..]), "admin prohibited");
    assert_eq!(engine.dropped(DropReason::AclRejected), 1);
    // What is for the engine itself is not forwarded, and needs no rule.
    let answer = one(engine.pass(LAN, &to_lan(&Ip::new(host_v4(1, 9), host_v4(1, 1)).echo(1, b"")), LAN));
    assert_eq!(answer[20], 0, "an echo reply");
}

/// Only the first fragment shows ports: rules and NAT see the whole, which goes on in one piece where it fits.
#[test]
fn fragments_are_asked_about_as_a_whole() {
    let halves = |packet: &[u8]| {
        let cut = |from: usize, to: usize, more: u16| {
            let mut bytes = [&packet[..20], &packet[20 + from..20 + to]].concat();
            let length = bytes.len() as u16;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes[6..8].copy_from_slice(&((from / 8) as u16 | more << 13).to_be_bytes());
            bytes[10..12].fill(0);
            let check = checksum::checksum(&bytes[..20]);
            bytes[10..12].copy_from_slice(&check.to_be_bytes());
            to_lan(&bytes)
        };
        [cut(0, 16, 1), cut(16, packet.len() - 20, 0)]
    };
    let mut draft = Draft::new(1, 1);
    draft.acl = acl(&[rule(udp_to(6000), Some(0), Action::Permit)]);
    let mut engine = Engine::new(draft);
    let [first, second] = halves(&out().udp(1, 40));
    assert!(engine.pass(LAN, &second, WAN).is_empty());
    assert_eq!(one(engine.pass(LAN, &first, WAN)), one_hop_less(&out().udp(1, 40)));
    for half in halves(&out().datagram(1, 6001, &[7; 40])) {
        assert!(engine.pass(LAN, &half, WAN).is_empty());
    }
    assert_eq!(engine.drops(), [("acl_denied", 1), ("reassembled", 2)].into());

    let mut engine = masquerade();
    let [first, second] = halves(&out().udp(1, 40));
    assert!(engine.pass(LAN, &second, WAN).is_empty());
    let translated = one(engine.pass(LAN, &first, WAN));
    assert_eq!(addresses(&translated), (wan_v4(1), wan_v4(2)));
    // What waits for the rest is lost with time, and nothing else.
    assert!(engine.pass(LAN, &second, WAN).is_empty());
    engine.wait(15_000);
    (0..64).for_each(|_| engine.poll());
    assert_eq!(engine.drops(), [("fragment_timeout", 1), ("reassembled", 1)].into());
}

#[test]
fn a_session_lets_answers_pass_as_long_as_it_lives() {
    let mut draft = Draft::new(1, 1);
    (draft.acl, draft.sessions) = (acl(&from_lan()), sessions(100, false));
    let mut engine = Engine::new(draft);
    let answer = to_wan(&back().datagram(6000, 5001, b"answer"));
    engine.refuses(WAN, &answer, DropReason::AclDenied);
    // Twice in one burst: one session.
    engine.put(0, LAN, &to_lan(&out().udp(1, 20)));
    engine.put(0, LAN, &to_lan(&out().udp(1, 20)));
    engine.poll();
    assert_eq!((engine.take(WAN).len(), engine.counters().sessions.begun.get()), (2, 1));
    one(engine.pass(WAN, &answer, LAN));
    engine.refuses(WAN, &to_wan(&back().datagram(6001, 5001, b"")), DropReason::AclDenied);
    // A router's error about it is part of it; about another flow it is not.
    let about =
        |packet: Vec<u8>| to_wan(&Ip::new(wan_v4(3), host_v4(1, 9)).icmp(3, 1, [0; 4], &packet[..28]));
    one(engine.pass(WAN, &about(out().udp(1, 20)), LAN));
    engine.refuses(WAN, &about(out().udp(2, 20)), DropReason::AclDenied);
    engine.wait(299_000);
    one(engine.pass(WAN, &answer, LAN));
    // Idle for longer than UDP may be.
    for _ in 0..4 {
        engine.wait(101_000);
        engine.poll();
    }
    assert_eq!(engine.counters().sessions.live(), 0);
    engine.refuses(WAN, &answer, DropReason::AclDenied);
}

#[test]
fn new_rules_are_asked_about_old_sessions() {
    let mut draft = Draft::new(1, 1);
    (draft.acl, draft.sessions) = (acl(&from_lan()), sessions(100, false));
    let mut engine = Engine::new(draft);
    for flow in [1, 2] {
        one(engine.pass(LAN, &to_lan(&out().udp(flow, 20)), WAN));
    }
    let numbered = |rules: &[Rule], generation| {
        Some(Arc::new(Acl::compile(rules, Action::Deny).expect("compiles").numbered(generation)))
    };
    let port = UpperMatch::Ports { protocol: Protocol::UDP, src: PortRange::one(5002), dst: PortRange::ALL };
    engine.draft.acl = numbered(&[rule(port, None, Action::Deny), from_lan()[0]], 2);
    engine.publish();
    one(engine.pass(WAN, &to_wan(&back().datagram(6000, 5001, b"")), LAN));
    engine.refuses(WAN, &to_wan(&back().datagram(6000, 5002, b"")), DropReason::AclDenied);
    assert_eq!((engine.counters().sessions.live(), engine.counters().sessions.ended.get()), (1, 1));
}

#[test]
fn a_full_table_refuses_what_is_new() {
    let mut draft = Draft::new(1, 1);
    (draft.acl, draft.sessions) = (acl(&from_lan()), sessions(2, false));
    let mut engine = Engine::new(draft);
    for flow in [1, 2] {
        one(engine.pass(LAN, &to_lan(&out().udp(flow, 20)), WAN));
    }
    engine.refuses(LAN, &to_lan(&out().udp(3, 20)), DropReason::SessionTableFull);
    one(engine.pass(LAN, &to_lan(&out().udp(2, 20)), WAN));
}

#[test]
fn a_slot_reused_within_a_burst_is_not_the_session_it_was() {
    let mut draft = Draft::new(1, 1);
    draft.acl = acl(&from_lan());
    let timeouts = Timeouts::default();
    draft.sessions =
        Some(SessionConfig { capacity: 1, nat: false, timeouts, when_full: WhenFull::EvictOpening });
    let mut engine = Engine::new(draft);
    one(engine.pass(LAN, &to_lan(&out().udp(1, 20)), WAN));
    // Found to be of the session before, when flow 2 has taken its place.
    engine.put(0, LAN, &to_lan(&out().udp(2, 20)));
    engine.put(0, LAN, &to_lan(&out().udp(1, 20)));
    engine.poll();
    let sessions = &engine.counters().sessions;
    assert_eq!((sessions.begun.get(), sessions.evicted.get(), sessions.live()), (3, 2, 1));
    assert_eq!(engine.take(WAN).len(), 2);
    one(engine.pass(WAN, &to_wan(&back().datagram(6000, 5001, b"")), LAN));
    engine.refuses(WAN, &to_wan(&back().datagram(6000, 5002, b"")), DropReason::AclDenied);
}

/// LAN behind the engine's own WAN address.
fn masquerade() -> Engine {
    let mut draft = Draft::new(1, 1);
    let IpAddr::V4(outside) = wan_v4(1) else { panic!("IPv4") };
    let web = (Kind::Tcp, Endpoint { address: outside, port: 80 });
    let IpAddr::V4(server) = host_v4(1, 9) else { panic!("IPv4") };
    draft.nat = Some(NatConfig {
        inside: vec!["10.1.0.0/24".parse().unwrap()],
        exempt: vec!["10.0.0.0/8".parse().unwrap()],
        pool: vec![outside],
        filtering: Filtering::default(),
        forwards: [(web, Endpoint { address: server, port: 8080 })].into_iter().collect(),
    });
    draft.sessions = sessions(100, true);
    Engine::new(draft)
}

fn ports(packet: &[u8]) -> (u16, u16) {
    let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    (port(20), port(22))
}

#[test]
fn nat_hides_the_lan_both_ways() {
    let mut engine = masquerade();
    // UDP: checksums are right (checked), the answer comes home.
    let sent = one(engine.pass(LAN, &to_lan(&out().udp(1, 20)), WAN));
    let (outside, to) = ports(&sent);
    assert_eq!((addresses(&sent), to), ((wan_v4(1), wan_v4(2)), 6000));
    let answer = Ip::new(wan_v4(2), wan_v4(1)).datagram(6000, outside, b"answer");
    let home = one(engine.pass(WAN, &to_wan(&answer), LAN));
    assert_eq!((addresses(&home), ports(&home)), ((wan_v4(2), host_v4(1, 9)), (6000, 5001)));
    // Another peer: the same outside port (RFC 4787 REQ-1), and it may not answer for the first one.
    let other = one(engine.pass(LAN, &to_lan(&Ip::new(host_v4(1, 9), wan_v4(3)).udp(1, 20)), WAN));
    assert_eq!(ports(&other).0, outside);
    let stranger = Ip::new(wan_v4(3), wan_v4(1)).datagram(7777, outside, b"");
    assert_eq!(one(engine.pass(WAN, &to_wan(&stranger), WAN))[20], 3, "port unreachable: nobody listens");
    // TCP and echo.
    let syn = one(engine.pass(LAN, &to_lan(&out().syn(1460)), WAN));
    assert_eq!((addresses(&syn).0, ports(&syn).1), (wan_v4(1), 80));
    let echo = one(engine.pass(LAN, &to_lan(&out().echo(7, b"ping")), WAN));
    let mut reply = Ip::new(wan_v4(2), wan_v4(1)).icmp(0, 0, echo[24..28].try_into().unwrap(), b"ping");
    reply.truncate(echo.len());
    let home = one(engine.pass(WAN, &to_wan(&reply), LAN));
    assert_eq!((addresses(&home).1, &home[24..28]), (host_v4(1, 9), &out().echo(7, b"ping")[24..28]));
    // A router outside quotes what it saw; the host gets what it sent.
    let error = Ip::new(wan_v4(3), wan_v4(1)).icmp(11, 0, [0; 4], &sent[..28]);
    let home = one(engine.pass(WAN, &to_wan(&error), LAN));
    assert_eq!(addresses(&home), (wan_v4(3), host_v4(1, 9)));
    assert_eq!(addresses(&home[28..]), (host_v4(1, 9), wan_v4(2)));
    assert_eq!(ports(&home[28..]), (5001, 6000));
    let error = Ip::new(wan_v4(3), wan_v4(1)).icmp(11, 0, [0; 4], &echo[..28]);
    let home = one(engine.pass(WAN, &to_wan(&error), LAN));
    assert_eq!((addresses(&home), &home[52..54]), ((wan_v4(3), host_v4(1, 9)), &out().echo(7, b"")[24..26]));
    // An exempt destination keeps the LAN's addresses.
    let vlan = Ip::between(1, 101, false).udp(1, 20);
    assert_eq!(
        addresses(&one(engine.pass(LAN, &to_lan(&vlan), LAN).iter().map(|f| f[4..].to_vec()).collect())).0,
        host_v4(1, 9)
    );
    assert_eq!(engine.counters().sessions.live(), 4);
}

#[test]
fn nat_says_what_it_cannot_do() {
    let mut engine = masquerade();
    engine.refuses(LAN, &to_lan(&out().raw(47, &[0; 20])), DropReason::NatUnsupported);
    // On its last hop: the host itself is told, about its own packet.
    let told = one(engine.pass(LAN, &to_lan(&out().ttl(1).udp(1, 20)), LAN));
    assert_eq!((addresses(&told).1, told[20]), (host_v4(1, 9), 11));
    assert_eq!(addresses(&told[28..]), (host_v4(1, 9), wan_v4(2)));
}

#[test]
fn a_forwarded_port_leads_inside_and_its_answers_out() {
    let mut engine = masquerade();
    let syn = Ip::new(wan_v4(2), wan_v4(1)).syn(1460);
    let inside = one(engine.pass(WAN, &to_wan(&syn), LAN));
    assert_eq!((addresses(&inside), ports(&inside)), ((wan_v4(2), host_v4(1, 9)), (5000, 8080)));
    let mut answer = Vec::new();
    let header = Ip::new(host_v4(1, 9), wan_v4(2)).header();
    etherparse::PacketBuilder::ip(header)
        .tcp(8080, 5000, 9, 100)
        .ack(2)
        .syn()
        .write(&mut answer, b"")
        .unwrap();
    let outside = one(engine.pass(LAN, &to_lan(&answer), WAN));
    assert_eq!((addresses(&outside), ports(&outside)), ((wan_v4(1), wan_v4(2)), (80, 5000)));
    // The rules are asked about what comes from outside, too.
    let mut draft = engine.draft;
    draft.acl = acl(&from_lan());
    let mut guarded = Engine::new(draft);
    assert!(guarded.pass(WAN, &to_wan(&syn), LAN).is_empty(), "nobody permitted it");
}
