//! The loop: true time moves in milliseconds; what arrived is delivered; workers poll and controllers take their
//! turns, in an order that the seed gives.

mod orders;
mod shadowed;
mod shared;
mod wires;

use crate::channels::Channels;
use crate::checkers::Checkers;
use crate::faults::Fault;
use crate::hosts::Hosts;
use crate::network::{Arrival, ConnectionEvent, Direction, Link, Network};
use crate::node::{Clock, Node, Told, Waiting};
use crate::partner::Partner;
use crate::plane::Plane;
use crate::rng::Rng;
use crate::sabotage::Sabotage;
use crate::store::client::Client;
use crate::topology::{ENGINES, FIRST, Options, SECOND, config, neighbours};
use control::Controller;
use control::io::{Assessment, Input};
use dataplane::id::{Nanos, TunnelId};
pub use shared::Shared;
use std::collections::BTreeMap;

const MS: u64 = 1_000_000;
/// By when an engine that alarms says that it fails.
const HORIZON_MS: u64 = 5000;

/// A whole cluster.
pub struct Cluster {
    /// True time.
    pub now: Nanos,
    /// The engines.
    pub nodes: BTreeMap<&'static str, Node>,
    /// What lies between them.
    pub network: Network,
    /// The state store that they share.
    pub shared: Shared,
    /// Who sends packets through them.
    pub hosts: Hosts,
    /// The gateway that has one SA pair with site a.
    pub partner: Partner,
    /// What site a's engines bring each other their sessions by.
    pub channels: Channels,
    /// What watches them.
    pub checkers: Checkers,
    /// What went wrong when.
    pub history: Vec<(Nanos, Fault)>,
    options: Options,
    rng: Rng,
    /// Of the partner and the channels: they came later, and older stories stay as they were.
    others: Rng,
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
        checkers.owners.dual_active =
            !options.witness && options.without_witness == control::config::WithoutWitness::DualActive;
        let mut cluster = Cluster {
            now: Nanos(0),
            nodes,
            network: Network::new(&ENGINES),
            shared: Shared::new(options.sabotage),
            hosts: Hosts::new(options.flows, options.spacing, &mut rng),
            partner: Partner::new(),
            channels: Channels::new(&shadowed::PAIRS),
            checkers,
            history: Vec::new(),
            others: Rng::new(options.seed ^ 0x9a27),
            options,
            rng,
            processes: 0,
        };
        ENGINES.iter().for_each(|name| cluster.start(name, Nanos(0)));
        cluster
    }

    /// Its engines share a state store.
    pub fn has_store(&self) -> bool {
        self.options.store
    }

    pub(crate) fn node_mut(&mut self, name: &str) -> &mut Node {
        self.nodes.get_mut(name).expect("an engine of the topology")
    }

    pub(crate) fn link_mut(&mut self, way: Direction) -> &mut Link {
        self.network.links.get_mut(&way).expect("two engines of the topology")
    }

    /// How long a direction takes, milliseconds; from the beginning, that is: later it would be a [`Fault`].
    pub fn set_delay(&mut self, way: Direction, ms: u64) {
        self.link_mut(way).delay = Nanos::from_millis(ms);
    }

    /// The engines of site a are on one cable: what one hands over reaches the other before the hosts' next packet.
    pub fn join_engines(&mut self) {
        for way in [("a1", "a2"), ("a2", "a1")] {
            let link = self.link_mut(way);
            (link.delay, link.jitter) = (Nanos(MS / 10), Nanos(0));
        }
    }

    /// A new life of an engine whose wall clock shows what true time was at `wall`.
    pub(crate) fn start(&mut self, name: &'static str, wall: Nanos) {
        self.processes += 1;
        let floor = 1000 + wall.as_millis();
        let config = config(name, &self.options, floor, self.rng.next_u64());
        let (process, now, sabotage) = (self.processes, self.now, self.options.sabotage);
        let node = self.node_mut(name);
        node.process = process;
        node.controller = Some(Controller::new(config));
        node.plane = Some(Plane::new(name, node.clock.local(now), node.disk, sabotage));
        node.paused = None;
        node.hung = 0;
        node.told = Told::default();
        node.store = Client::default();
        node.inbox.clear();
        node.next_tick = now;
        node.next_sample = (now, 0);
        self.checkers.records.began(name);
    }

    pub(crate) fn kill(&mut self, name: &'static str) {
        let now = self.now;
        let node = self.node_mut(name);
        node.controller = None;
        node.told = Told::default();
        node.inbox.clear();
        self.cut_channels(name);
        let node = self.node_mut(name);
        if let Some(plane) = node.plane.take() {
            let pool = plane.pool.clone();
            drop(plane);
            self.checkers.conservation.gone(now, name, &pool, &mut self.checkers.log);
        }
    }

    /// An engine's machine is set back to what it was in `earlier`, another run of the same story, with all that was in
    /// memory. Its peers' connections to it break. Its clock goes back as well, or goes on.
    pub fn run_image(&mut self, name: &'static str, earlier: &mut Cluster, clock_too: bool) {
        self.kill(name);
        self.hang_up(name);
        self.processes += 1;
        let (now, then, process) = (self.now, earlier.now, self.processes);
        let mut image = earlier.nodes.remove(name).expect("an engine that no other image was taken of");
        let node = self.node_mut(name);
        if clock_too {
            image.clock.offset -= image.clock.local(now).since(image.clock.local(then)).0;
        }
        (image.process, image.disk) = (process, node.disk);
        (image.next_tick, image.next_sample.0) = (now, now);
        image.decisions = std::mem::take(&mut node.decisions);
        *node = image;
    }

    /// The connections of an engine end, and those at their other ends see it.
    pub(crate) fn hang_up(&mut self, name: &'static str) {
        for other in ENGINES.into_iter().filter(|other| *other != name) {
            let ended = self.network.disconnect(self.now, (name.min(other), name.max(other)));
            let node = self.node_mut(other);
            if ended.is_some() && node.controller.is_some() {
                node.told.connected.remove(name);
                node.inbox.push_back(Waiting::Session(name, None));
            }
        }
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

    /// Hosts fall silent, and what is on its way arrives or never will. Packets are counted then.
    pub fn settle(&mut self) {
        self.hosts.talking = false;
        self.run_ms(500);
        let Checkers { planned, recovery, deliveries, log, .. } = &mut self.checkers;
        planned.silence(self.now, &self.hosts, deliveries, log);
        recovery.end(self.now, &self.hosts, deliveries, log);
    }

    /// From now on, for `ms`, every packet must arrive; then hosts fall silent.
    pub fn must_deliver(&mut self, ms: u64) {
        self.hosts.talking = true;
        self.checkers.recovery.begin(&self.hosts);
        self.run_ms(ms);
        self.settle();
    }

    /// All engines end; their pools are looked at.
    pub fn end(&mut self) {
        ENGINES.iter().for_each(|name| self.kill(name));
    }

    /// The engine that last announced site a's gateway to its hosts.
    pub fn gateway(&self) -> Option<&'static str> {
        self.hosts.gateway
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
        let broken = self.checkers.violations();
        let (seed, commit) = (self.options.seed, crate::scenario::commit);
        assert!(broken.is_empty(), "seed {seed}, commit {}: {broken:#?}\n{}", commit(), self.story());
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
        let told = lines.iter().map(|(at, line)| format!("{:>7} ms  {line}\n", at.as_millis()));
        let drops = self.nodes.values().filter_map(|n| Some((n.name, n.plane.as_ref()?.drops())));
        let drops = drops.map(|(name, drops)| format!("{name} dropped in this life: {drops:?}\n"));
        told.chain(drops).chain([format!("the network lost {} frames\n", self.network.lost)]).collect()
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
                Arrival::Frame { port, bytes } => self.frame_arrives(to, port, &bytes),
            }
        }
        self.poll_store();
        self.poll_channels();
        self.hosts_send();
        self.partner_sends();
        self.poll_workers();
        for name in ENGINES {
            self.turn(name);
        }
        self.checkers.owners.one_owner(self.now, &self.nodes, &mut self.checkers.log);
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
                        // Only an image of an earlier state still believes in another one.
                        if node.told.connected.insert(other, id).is_some() {
                            node.inbox.push_back(Waiting::Session(other, None));
                        }
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
        let (now, jitter, sabotage) = (self.now, self.rng.below(3), self.options.sabotage);
        let checks = self.options.checks;
        let node = self.node_mut(name);
        if !node.runs() || now < node.next_tick {
            return;
        }
        node.next_tick = now.plus(Nanos((3 + jitter) * MS));
        let local = node.clock.local(now);
        if let Some(plane) = &mut node.plane {
            node.inbox.extend(plane.events(local).into_iter().map(Waiting::Input));
            plane.tick(&mut node.disk, local);
            if sabotage == Some(Sabotage::NoWindow) {
                plane.sas.forget_windows(&mut plane.links);
            }
        }
        if now >= node.next_sample.0 {
            let n = node.next_sample.1;
            node.next_sample = (now.plus(Nanos::from_millis(100)), n + 1);
            let probability = node.predictor.sample(n);
            let assessment = Assessment { probability, horizon_ms: HORIZON_MS, ..Assessment::default() };
            node.inbox.push_back(Input::Assessment(assessment).into());
            if checks && n.is_multiple_of(10) {
                let outcome = if node.reaches { Ok(()) } else { Err("connection refused".to_owned()) };
                let began = node.clock.local(now);
                node.inbox.push_back(Input::Check { check: 0, began, outcome }.into());
            }
        }
        let mut more = true;
        while more {
            let mut out = Vec::new();
            more = self.node_mut(name).turn(now, &mut out);
            for output in out {
                self.carry_out(name, output);
                self.checkers.owners.one_owner(now, &self.nodes, &mut self.checkers.log);
            }
        }
        self.publish(name);
    }

    /// The engine and its tunnel at the other end.
    pub(crate) fn far_end(&self, name: &str, tunnel: TunnelId) -> (&'static str, TunnelId) {
        let peer = neighbours(name)[usize::from(tunnel == SECOND)];
        let back = if neighbours(peer)[0] == name { FIRST } else { SECOND };
        (peer, back)
    }
}
