//! The loop: true time moves in milliseconds; what arrived is delivered; engines take their turns.

use crate::checkers::Checkers;
use crate::faults::Fault;
use crate::network::{Arrival, ConnectionEvent, Direction, Link, Network, Probe, SaUse};
use crate::node::{Clock, Node, Told, Waiting};
use crate::rng::Rng;
use crate::topology::{ENGINES, FIRST, Options, SECOND, config, neighbours};
use control::Controller;
use control::io::{Assessment, Input, Output};
use dataplane::id::{Nanos, Spi, TunnelId};
use std::collections::BTreeMap;

const MS: u64 = 1_000_000;

/// A whole cluster.
pub struct Cluster {
    /// True time.
    pub now: Nanos,
    /// The engines.
    pub nodes: BTreeMap<&'static str, Node>,
    /// What lies between them.
    pub network: Network,
    /// What watches them.
    pub checkers: Checkers,
    /// The engine that last announced site a's gateway.
    pub gateway: Option<&'static str>,
    /// What went wrong when.
    pub history: Vec<(Nanos, Fault)>,
    /// Packets that met no SA although the receiver never restarted since the sender switched.
    pub sa_gaps: u64,
    options: Options,
    rng: Rng,
    processes: u64,
}

impl Cluster {
    /// All three engines, started now.
    pub fn new(options: Options) -> Cluster {
        let mut rng = Rng::new(options.seed);
        let drift = options.clock_drift_permille * 1000;
        let mut clock = || Clock {
            offset: 1 + rng.below(3_600_000 * MS),
            rate_ppm: 1_000_000 - drift + rng.below(2 * drift + 1),
        };
        let nodes = ENGINES.iter().map(|name| (*name, Node::new(name, clock()))).collect();
        let mut checkers = Checkers::default();
        checkers.dual_active =
            !options.witness && options.without_witness == control::config::WithoutWitness::DualActive;
        let mut cluster = Cluster {
            now: Nanos(0),
            nodes,
            network: Network::new(&ENGINES),
            checkers,
            gateway: None,
            history: Vec::new(),
            sa_gaps: 0,
            options,
            rng,
            processes: 0,
        };
        ENGINES.iter().for_each(|name| cluster.start(name));
        cluster
    }

    pub(crate) fn node_mut(&mut self, name: &str) -> &mut Node {
        self.nodes.get_mut(name).expect("an engine of the topology")
    }

    pub(crate) fn link_mut(&mut self, way: Direction) -> &mut Link {
        self.network.links.get_mut(&way).expect("two engines of the topology")
    }

    pub(crate) fn start(&mut self, name: &'static str) {
        self.processes += 1;
        let floor = 1000 + self.now.as_millis();
        let config = config(name, &self.options, floor, self.rng.next_u64());
        let (process, now) = (self.processes, self.now);
        let node = self.node_mut(name);
        node.process = process;
        node.controller = Some(Controller::new(config));
        node.paused = None;
        node.hung = false;
        node.told = Told::default();
        node.inbox.clear();
        node.next_tick = now;
        node.next_sample = (now, 0);
    }

    pub(crate) fn kill(&mut self, name: &'static str) {
        let node = self.node_mut(name);
        node.controller = None;
        node.told = Told::default();
        node.inbox.clear();
    }

    /// Runs for so many milliseconds of true time.
    pub fn run_ms(&mut self, ms: u64) {
        for _ in 0..ms {
            self.millisecond();
        }
    }

    /// Runs until `done`, at most `ms`; how long it took.
    pub fn run_until(&mut self, ms: u64, done: impl Fn(&Cluster) -> bool) -> Option<u64> {
        (0..ms).find(|_| {
            self.millisecond();
            done(self)
        })
    }

    /// The owner of site a whose deadline has not passed.
    pub fn owner(&self) -> Option<&'static str> {
        self.nodes
            .values()
            .filter(|n| n.name.starts_with('a'))
            .find(|n| n.owns(self.now).is_some())
            .map(|n| n.name)
    }

    /// Panics with the seed and the history if a rule was broken.
    pub fn assert_rules(&self) {
        let broken = &self.checkers.violations;
        assert!(
            broken.is_empty() && self.sa_gaps == 0,
            "seed {}: {broken:?}, {} SA gaps\n{}",
            self.options.seed,
            self.sa_gaps,
            self.story()
        );
    }

    /// What went wrong and what was decided, for a failing test.
    pub fn story(&self) -> String {
        let faults = self.history.iter().map(|(at, fault)| (*at, format!("{fault:?}")));
        let decisions = self.nodes.values().flat_map(|n| {
            n.decisions
                .iter()
                .map(|(at, d)| (*at, format!("{}: {} ({:?}): {}", n.name, d.action, d.outcome, d.rule)))
        });
        let mut lines: Vec<_> = faults.chain(decisions).collect();
        lines.sort();
        lines.iter().map(|(at, line)| format!("{:>7} ms  {line}\n", at.as_millis())).collect()
    }

    fn millisecond(&mut self) {
        self.now = self.now.plus(Nanos(MS));
        self.poll_connections();
        while let Some((to, arrival)) = self.network.arrived(self.now) {
            match arrival {
                Arrival::Message { connection, from, message } => {
                    let node = self.node_mut(to);
                    if node.told.connected.get(from) == Some(&connection) {
                        let peer = from.to_owned();
                        node.inbox.push_back(Input::Message { peer, message: *message }.into());
                    }
                }
                Arrival::Probe(probe) => self.probe_arrived(to, probe),
            }
        }
        for name in ENGINES {
            self.turn(name);
        }
        self.checkers.one_owner(self.now, &self.nodes);
    }

    fn poll_connections(&mut self) {
        let nodes = &self.nodes;
        let alive = |name: &str| nodes[name].controller.is_some();
        let responsive = |name: &str| nodes[name].runs();
        for event in self.network.poll(self.now, alive, responsive, &mut self.rng) {
            let (a, b, up) = match event {
                ConnectionEvent::Up(a, b, id) => (a, b, Some(id)),
                ConnectionEvent::Down(a, b) => (a, b, None),
            };
            for (me, other) in [(a, b), (b, a)] {
                let session = up.map(|id| (id, self.nodes[other].process));
                let node = self.node_mut(me);
                match up {
                    Some(id) => {
                        node.told.connected.insert(other, id);
                    }
                    None => {
                        node.told.connected.remove(other);
                    }
                }
                if node.controller.is_some() {
                    node.inbox.push_back(Waiting::Session(other, session));
                }
            }
        }
    }

    fn turn(&mut self, name: &'static str) {
        let (now, jitter) = (self.now, self.rng.below(3));
        let node = self.node_mut(name);
        if !node.runs() || now < node.next_tick {
            return;
        }
        node.next_tick = now.plus(Nanos((3 + jitter) * MS));
        if now >= node.next_sample.0 {
            let n = node.next_sample.1;
            node.next_sample = (now.plus(Nanos::from_millis(100)), n + 1);
            let probability = node.predictor.sample(n);
            let assessment = Assessment { probability, ..Assessment::default() };
            node.inbox.push_back(Input::Assessment(assessment).into());
        }
        let mut more = true;
        while more {
            let mut out = Vec::new();
            more = self.node_mut(name).turn(now, &mut out);
            for output in out {
                self.carry_out(name, output);
                self.checkers.one_owner(now, &self.nodes);
            }
        }
    }

    fn carry_out(&mut self, name: &'static str, output: Output) {
        let now = self.now;
        let process = self.nodes[name].process;
        if name.starts_with('a') {
            self.checkers.epoch(now, process, &output);
        }
        self.checkers.weights(now, &output);
        let node = self.node_mut(name);
        match output {
            Output::SendProbe { tunnel, sequence } => self.send_probe(name, tunnel, sequence),
            Output::Send { peer, message } => {
                let to = ENGINES.iter().find(|e| **e == peer).expect("a known peer");
                self.network.send_message(now, (name, to), message, &mut self.rng);
            }
            Output::Weights { group, members, flowlet_gap, move_within } => {
                node.told.last_move = (flowlet_gap, move_within);
                node.told.weights.insert(group, members);
            }
            Output::Tunnel { tunnel, up, fenced } => {
                node.told.tunnels.insert(tunnel, (up, fenced));
            }
            Output::Role { owner, epoch } => node.told.role = Some((owner, epoch)),
            Output::ForwardUntil(until) => node.told.forward_until = until,
            Output::AnnounceGateway => self.announce(name),
            Output::InstallInbound { tunnel, generation, spis } => {
                self.install_inbound(name, tunnel, generation, spis);
            }
            Output::InstallOutbound { tunnel, generation, spis } => {
                self.install_outbound(name, tunnel, generation, spis);
            }
            Output::OfferRefused { .. } => {
                self.checkers.violate(now, format!("{name} refuses an offer of its like-configured peer"));
            }
            Output::RemoveInbound { tunnel, generation } => {
                node.told.sas.entry(tunnel).or_default().inbound.retain(|g, _| *g > generation);
            }
            Output::Decision(decision) => node.decisions.push((now, decision)),
            Output::Reply { result, .. } => node.replies.push(result),
        }
    }

    fn announce(&mut self, name: &'static str) {
        let owns = matches!(self.nodes[name].told.role, Some((true, _)));
        if !owns {
            self.checkers.violate(self.now, format!("{name} announces a gateway it does not own"));
        }
        if name.starts_with('a') {
            self.gateway = Some(name);
        }
    }

    fn install_inbound(&mut self, name: &'static str, tunnel: TunnelId, generation: u64, spis: Vec<Spi>) {
        let (peer, _) = self.far_end(name, tunnel);
        let (now, process) = (self.now, self.nodes[name].process);
        let Some(&(connection, _)) = self.nodes[name].told.sessions.get(peer) else { return };
        self.checkers.key(now, (process, true, tunnel, connection, generation));
        self.checkers.spi(now, process, tunnel, &spis);
        let node = self.node_mut(name);
        node.told.sas.entry(tunnel).or_default().inbound.insert(generation, (connection, spis));
        node.inbox.push_back(Input::InboundInstalled { tunnel, generation }.into());
    }

    fn install_outbound(&mut self, name: &'static str, tunnel: TunnelId, generation: u64, spis: Vec<Spi>) {
        let (peer, _) = self.far_end(name, tunnel);
        let (now, process) = (self.now, self.nodes[name].process);
        let Some(&(connection, receiver_process)) = self.nodes[name].told.sessions.get(peer) else { return };
        self.checkers.key(now, (process, false, tunnel, connection, generation));
        let node = self.node_mut(name);
        node.told.sas.entry(tunnel).or_default().outbound =
            Some(SaUse { connection, generation, spis, receiver_process });
        node.inbox.push_back(Input::OutboundInstalled { tunnel, generation }.into());
    }

    /// The engine and its tunnel at the other end.
    pub(crate) fn far_end(&self, name: &str, tunnel: TunnelId) -> (&'static str, TunnelId) {
        let peer = neighbours(name)[usize::from(tunnel == SECOND)];
        let back = if neighbours(peer)[0] == name { FIRST } else { SECOND };
        (peer, back)
    }

    fn is_esp(name: &str, tunnel: TunnelId) -> bool {
        name == "b1" || tunnel == FIRST
    }

    fn outbound_of(&self, name: &str, tunnel: TunnelId) -> Option<SaUse> {
        self.nodes[name].told.sas.get(&tunnel)?.outbound.clone()
    }

    fn send_probe(&mut self, name: &'static str, tunnel: TunnelId, sequence: u32) {
        let (peer, _) = self.far_end(name, tunnel);
        let sa = self.outbound_of(name, tunnel);
        if Self::is_esp(name, tunnel) && sa.is_none() {
            self.checkers.violate(self.now, format!("{name} probes a tunnel without keys"));
            return;
        }
        let (process, sent) = (self.nodes[name].process, self.now);
        let probe = Probe { from: name, process, tunnel, sequence, sent, sa, reflected: None };
        self.network.send_probe(self.now, (name, peer), probe, &mut self.rng);
    }

    /// Whether the receiver holds the SA under which a packet came.
    fn decrypts(&mut self, at: &'static str, tunnel: TunnelId, sa: Option<&SaUse>) -> bool {
        if !Self::is_esp(at, tunnel) {
            return true;
        }
        let Some(sa) = sa else { return false };
        let node = &self.nodes[at];
        let held = node.told.sas.get(&tunnel).and_then(|s| s.inbound.get(&sa.generation));
        let known = held.is_some_and(|(connection, spis)| *connection == sa.connection && *spis == sa.spis);
        if !known && node.process == sa.receiver_process {
            self.sa_gaps += 1;
        }
        known
    }

    fn probe_arrived(&mut self, at: &'static str, mut probe: Probe) {
        if !self.nodes[at].runs() {
            return;
        }
        if let Some(reflector_sequence) = probe.reflected {
            if self.nodes[at].process != probe.process || !self.decrypts(at, probe.tunnel, probe.sa.as_ref())
            {
                return;
            }
            let node = &self.nodes[at];
            let rtt = node.clock.local(self.now).since(node.clock.local(probe.sent));
            let Probe { tunnel, sequence, .. } = probe;
            let reply = Input::ProbeReply { tunnel, sequence, reflector_sequence, rtt };
            self.node_mut(at).inbox.push_back(reply.into());
            return;
        }
        let (_, tunnel) = self.far_end(probe.from, probe.tunnel);
        if !self.decrypts(at, tunnel, probe.sa.as_ref()) {
            return;
        }
        let sa = self.outbound_of(at, tunnel);
        if Self::is_esp(at, tunnel) && sa.is_none() {
            return;
        }
        let count = self.node_mut(at).told.reflected.entry(tunnel).or_default();
        *count += 1;
        probe.reflected = Some(*count);
        probe.sa = sa;
        let way = (at, probe.from);
        self.network.send_probe(self.now, way, probe, &mut self.rng);
    }
}
