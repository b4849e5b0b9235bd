//! Two ends agree: whole controllers, whose messages cross and whose SAs are installed at once.

use super::*;
use crate::config::{
    AdaptiveConfig, AdaptiveTunnel, GroupConfig, Member, MemberKind, Protocol, RateRange, Spread,
    TunnelConfig,
};
use crate::io::{Input, TunnelTraffic};
use crate::message::SaParameters;
use crate::status::TunnelState;
use dataplane::id::Nanos;
use dataplane::sa::Algorithm;
use std::collections::{BTreeSet, VecDeque};

const NAMES: [&str; 2] = ["a1", "b1"];
const BASE: TunnelId = TunnelId(0);
const SPARE: TunnelId = TunnelId(1);
const RATE: u64 = 10_000_000;
const TICK: u64 = 5;

fn config(me: usize, tunnels_max: usize) -> ControllerConfig {
    let address = |n: usize| std::net::IpAddr::from([192, 0, 2, n as u8 + 1]);
    let endpoints = |number| Endpoints { number, ..Endpoints::new(address(me), address(1 - me)) };
    let parameters = SaParameters { algorithm: Algorithm::Aes256Gcm, esn: true };
    let tunnel = |id: TunnelId| TunnelConfig {
        id,
        name: format!("{}-{}+{id}", NAMES[me], NAMES[1 - me]),
        peer: NAMES[1 - me].to_owned(),
        endpoints: endpoints(id.0),
        protocol: Protocol::Esp { rekey_after: Nanos::from_millis(60_000), parameters, senders: 1 },
    };
    let known = |tunnel: TunnelId| AdaptiveTunnel {
        tunnel,
        parallel_to: (tunnel != BASE).then_some(BASE),
        encrypted: true,
        cost: 0,
        cycles_per_packet: 0.0,
        rate: Some(RateRange { configured: RATE, ceiling: RATE }),
    };
    let adaptive = AdaptiveConfig {
        tunnels_max,
        idle_after: Nanos::from_millis(3000),
        cooldown: Nanos::from_millis(500),
        tunnels: vec![known(BASE), known(SPARE)],
        ..AdaptiveConfig::new()
    };
    let own = |tunnel| Member { tunnel, kind: MemberKind::Own };
    ControllerConfig {
        engine: NAMES[me].to_owned(),
        site: NAMES[me][..1].to_owned(),
        tunnels: vec![tunnel(BASE), tunnel(SPARE)],
        groups: vec![GroupConfig {
            id: GroupId(0),
            name: "far".to_owned(),
            site: NAMES[1 - me][..1].to_owned(),
            members: vec![own(BASE), own(SPARE)],
            spread: Spread::Parallel,
            adaptive: Some(adaptive),
        }],
        ha: None,
        checks: Vec::new(),
        bfd: Vec::new(),
        vrrp: None,
        votes_for: Vec::new(),
        workers: 1,
        prediction: Default::default(),
        shift: Default::default(),
        probe: Default::default(),
        cluster: None,
        epoch_floor: 1,
        seed: me as u64 + 1,
    }
}

struct Pair {
    ends: [Controller; 2],
    inbox: [VecDeque<Input>; 2],
    now_ms: u64,
    /// What each end's host sends, bits a second.
    load: [f64; 2],
    weights: [Vec<(TunnelId, u32)>; 2],
    /// What each end's workers may send into.
    up: [BTreeSet<TunnelId>; 2],
    /// Generations that each end can open, by tunnel.
    inbound: [BTreeSet<(TunnelId, u64)>; 2],
    /// The generation that each end sends by.
    outbound: [BTreeMap<TunnelId, u64>; 2],
    reflected: u32,
    told: [Vec<String>; 2],
    /// An older engine: it says nothing of tunnels in its Hello.
    old: bool,
    parallel_messages: usize,
    /// Not while an end has just lost all that it had.
    checking: bool,
}

impl Pair {
    fn new(tunnels_max: [usize; 2], old: bool) -> Pair {
        let mut pair = Pair {
            ends: [0, 1].map(|me| Controller::new(config(me, tunnels_max[me]))),
            inbox: Default::default(),
            now_ms: 1000,
            load: [1e6, 1e6],
            weights: Default::default(),
            up: Default::default(),
            inbound: Default::default(),
            outbound: Default::default(),
            reflected: 0,
            told: Default::default(),
            old,
            parallel_messages: 0,
            checking: true,
        };
        pair.connect();
        pair.run(2000);
        pair
    }

    fn connect(&mut self) {
        for me in 0..2 {
            self.inbox[me].push_back(Input::PeerUp { peer: NAMES[1 - me].to_owned() });
        }
    }

    /// The end's process starts anew; the other one sees its connection go and come.
    fn restart(&mut self, me: usize) {
        self.ends[me] = Controller::new(ControllerConfig { epoch_floor: 9, seed: 99, ..config(me, 2) });
        self.inbox[me].clear();
        self.inbound[me].clear();
        self.outbound[me].clear();
        self.up[me].clear();
        self.inbox[1 - me].push_back(Input::PeerDown { peer: NAMES[me].to_owned() });
        self.connect();
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms / TICK {
            self.now_ms += TICK;
            for me in 0..2 {
                if self.now_ms.is_multiple_of(100) {
                    let traffic = self.traffic(me);
                    self.inbox[me].push_back(Input::Traffic(traffic));
                }
                self.step(me);
            }
        }
    }

    fn traffic(&self, me: usize) -> GroupTraffic {
        let part =
            |id: TunnelId| self.weights[me].iter().find(|(t, _)| *t == id).map_or(0, |(_, part)| *part);
        let tunnel = |tunnel: TunnelId| TunnelTraffic {
            tunnel,
            sent_bps: self.load[me] * f64::from(part(tunnel)) / 65_536.0,
            rate_bps: Some(RATE),
            mtu: 1400,
            failure: f32::NAN,
        };
        GroupTraffic { group: GroupId(0), tunnels: vec![tunnel(BASE), tunnel(SPARE)], forecast: Vec::new() }
    }

    fn step(&mut self, me: usize) {
        let (now, mut out) = (Nanos::from_millis(self.now_ms), Vec::new());
        for input in std::mem::take(&mut self.inbox[me]) {
            self.ends[me].step(now, Some(input), &mut out);
        }
        self.ends[me].step(now, Some(Input::WorkersPolled(now)), &mut out);
        self.ends[me].step(now, None, &mut out);
        out.into_iter().for_each(|output| self.carry_out(me, output));
        self.nothing_is_lost(me);
    }

    /// What an end sends, the other one can open.
    fn nothing_is_lost(&self, me: usize) {
        // Where all are down the split stands, and nothing is sent.
        let up = |tunnel: &TunnelId| self.checking && self.up[me].contains(tunnel);
        for (tunnel, part) in self.weights[me].iter().filter(|(tunnel, _)| up(tunnel)) {
            let generation = self.outbound[me].get(tunnel);
            let opens = generation.is_some_and(|g| self.inbound[1 - me].contains(&(*tunnel, *g)));
            assert!(*part == 0 || opens, "{} sends {part} buckets into {tunnel}", NAMES[me]);
        }
    }

    fn carry_out(&mut self, me: usize, output: Output) {
        let inbox = &mut self.inbox[me];
        match output {
            Output::Send { mut message, .. } => {
                if let Message::Hello { parallel, .. } = &mut message {
                    *parallel &= !(self.old && me == 1);
                }
                self.parallel_messages += usize::from(matches!(message, Message::Parallel { .. }));
                let peer = NAMES[me].to_owned();
                self.inbox[1 - me].push_back(Input::Message { peer, message });
            }
            Output::SendProbe { tunnel, sequence } => {
                self.reflected += 1;
                let (reflector_sequence, rtt) = (self.reflected, Nanos(500_000));
                inbox.push_back(Input::ProbeReply { tunnel, sequence, reflector_sequence, rtt });
            }
            Output::InstallInbound { tunnel, generation, .. } => {
                self.inbound[me].insert((tunnel, generation));
                inbox.push_back(Input::InboundInstalled { tunnel, generation });
            }
            Output::InstallOutbound { tunnel, generation, .. } => {
                self.outbound[me].insert(tunnel, generation);
                inbox.push_back(Input::OutboundInstalled { tunnel, generation });
            }
            Output::RemoveInbound { tunnel, generation } => {
                self.inbound[me].retain(|(t, g)| *t != tunnel || *g > generation);
            }
            Output::RemoveOutbound { tunnel } => {
                self.outbound[me].remove(&tunnel);
            }
            Output::Weights { members, .. } => self.weights[me] = members,
            Output::Tunnel { tunnel, up: true, .. } => {
                self.up[me].insert(tunnel);
            }
            Output::Tunnel { tunnel, up: false, .. } => {
                self.up[me].remove(&tunnel);
            }
            Output::Decision(decision) => {
                self.told[me].push(format!("{}: {}", decision.action, decision.rule));
            }
            _ => {}
        }
    }

    fn states(&self) -> [Option<TunnelState>; 2] {
        let state = |end: &Controller| end.tunnels().iter().find(|t| t.id == SPARE).map(|t| t.state);
        [state(&self.ends[0]), state(&self.ends[1])]
    }

    fn has_told(&self, me: usize, what: &str) -> bool {
        self.told[me].iter().any(|told| told.contains(what))
    }
}

#[test]
fn both_ends_make_it_use_it_and_give_it_up_together() {
    let mut pair = Pair::new([2, 2], false);
    assert_eq!(pair.states(), [None, None]);
    assert_eq!(pair.weights[0], [(BASE, 65_536), (SPARE, 0)]);
    pair.load[0] = 9e6;
    pair.run(300);
    assert_eq!(pair.weights[0][1].1, 0, "nothing goes into it before its probes return");
    pair.run(2000);
    assert_eq!(pair.states(), [Some(TunnelState::Up); 2]);
    assert_eq!(pair.weights, [[(BASE, 32_768), (SPARE, 32_768)]; 2].map(Vec::from));
    assert!(pair.has_told(0, "create a1-b1+1: utilisation > 0.80"), "{:?}", pair.told);
    assert!(pair.has_told(1, "create b1-a1+1: a1 asks for it"), "{:?}", pair.told);
    pair.load[0] = 1e6;
    pair.run(3500);
    assert_eq!(pair.weights, [[(BASE, 65_536), (SPARE, 0)]; 2].map(Vec::from));
    assert_eq!(pair.states(), [Some(TunnelState::Draining); 2], "what is under way still arrives");
    pair.run(4000);
    assert_eq!(pair.states(), [None, None]);
    for end in 0..2 {
        assert!(pair.inbound[end].iter().all(|(tunnel, _)| *tunnel == BASE), "{:?}", pair.inbound);
        assert_eq!(pair.outbound[end].keys().collect::<Vec<_>>(), [&BASE]);
    }
    // The next one has generations of its own.
    let made = |pair: &Pair| pair.told[0].iter().filter(|told| told.starts_with("create")).count();
    assert_eq!(made(&pair), 1);
    pair.load = [9e6, 9e6];
    pair.run(3000);
    assert_eq!(pair.states(), [Some(TunnelState::Up); 2]);
    assert!(pair.outbound.iter().all(|out| out[&SPARE] == 2), "{:?}", pair.outbound);
}

#[test]
fn the_far_end_keeps_what_it_needs() {
    let mut pair = Pair::new([2, 2], false);
    pair.load = [9e6, 1e6];
    pair.run(3000);
    pair.load = [1e6, 9e6];
    pair.run(10_000);
    assert_eq!(pair.states(), [Some(TunnelState::Up); 2]);
    assert!(pair.has_told(0, "keep a1-b1+1: b1 needs it"), "{:?}", pair.told);
    pair.load = [1e6, 1e6];
    pair.run(10_000);
    assert_eq!(pair.states(), [None, None], "whose need it was gives it up: {:?}", pair.told);
}

#[test]
fn a_refusal_an_older_engine_and_silence_leave_all_as_it_is() {
    let mut pair = Pair::new([2, 1], false);
    pair.load[0] = 9e6;
    pair.run(5000);
    assert_eq!(pair.states(), [None, None]);
    assert!(pair.has_told(0, "create a1-b1+1 undone: the far end refuses: the group has its 1 tunnels"));
    let mut pair = Pair::new([2, 2], true);
    pair.load[0] = 9e6;
    pair.run(5000);
    assert_eq!((pair.parallel_messages, pair.states()), (0, [None, None]));
    assert!(pair.has_told(0, "the far engine cannot be asked"), "{:?}", pair.told);
}

#[test]
fn an_end_that_starts_anew_has_it_again_and_its_own_need_with_it() {
    for me in 0..2 {
        let mut pair = Pair::new([2, 2], false);
        pair.load[0] = 9e6;
        pair.run(3000);
        assert_eq!(pair.states(), [Some(TunnelState::Up); 2]);
        pair.checking = false;
        pair.weights[me].clear();
        pair.restart(me);
        pair.run(1500);
        pair.checking = true;
        pair.run(2500);
        assert_eq!(pair.states(), [Some(TunnelState::Up); 2], "{:?}", pair.told);
        pair.load[0] = 1e6;
        pair.run(15_000);
        assert_eq!(pair.states(), [None, None], "{:?}", pair.told);
    }
}
