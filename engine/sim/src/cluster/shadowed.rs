//! Between the engines of site a, which bring each other their sessions, and the partner, whose SA either of them may have.

use super::Cluster;
use super::wires::spi;
use crate::channels::Learnt;
use crate::checkers::Checkers;
use crate::hosts::PacketId;
use crate::network::Direction;
use crate::plane::WORKERS;
use crate::plane::forwarding::LAN;
use crate::plane::site_sa::{Shadowing, number_to_partner};
use crate::plane::tape::{Act, Use};
use control::shadow::codec::Frame;
use control::shadow::exchange::{Link, Output};
use dataplane::id::Nanos;

/// Who brings sessions to whom.
pub const PAIRS: [Direction; 2] = [("a1", "a2"), ("a2", "a1")];

/// The other engine of site a.
pub fn other(name: &str) -> Option<&'static str> {
    PAIRS.into_iter().find(|pair| pair.0 == name).map(|pair| pair.1)
}

/// What the other engine of the site knows of the shared SA, and for how long they have known of each other.
pub(super) struct Known {
    reserved: u64,
    limit: u64,
    sound: Nanos,
}

impl Known {
    /// A worker of `engine` has sealed something.
    pub(super) fn sealed(&self, at: Nanos, engine: &str, entry: Use, checkers: &mut Checkers) {
        if let (Act::Sealed, Some(seq)) = (entry.act, number_to_partner(entry.key, entry.iv)) {
            let Checkers { shadows, log, .. } = checkers;
            shadows.sent(at, engine, (seq, self.reserved), self.sound, log);
        }
    }

    /// A packet of the partner, under this number, has come from `engine` to its host.
    pub(super) fn accepted(
        &self,
        at: Nanos,
        engine: &str,
        (packet, seq): (PacketId, u64),
        checkers: &mut Checkers,
    ) {
        if checkers.deliveries.has(packet) && checkers.shadows.excuses(seq) {
            return;
        }
        checkers.brought(at, packet);
        let Checkers { shadows, log, .. } = checkers;
        shadows.accepted(at, engine, (seq, self.limit), self.sound, log);
    }
}

impl Cluster {
    /// What the engine beside `name` knows.
    pub(super) fn known_beside(&self, name: &'static str) -> Known {
        let Some(other) = other(name) else { return Known { reserved: 0, limit: 0, sound: Nanos(0) } };
        let node = &self.nodes[other];
        let shadowing = node.plane.as_ref().and_then(|plane| plane.shadowing.as_ref());
        Known {
            reserved: node.disk.free(),
            limit: shadowing.map_or(0, Shadowing::heard_limit),
            sound: self.channels.sound((name, other), self.now),
        }
    }

    /// All channels of an engine break.
    pub(crate) fn cut_channels(&mut self, name: &str) {
        for pair in PAIRS.into_iter().filter(|pair| pair.0 == name || pair.1 == name) {
            self.cut_channel(pair);
        }
    }

    /// A channel breaks.
    pub fn cut_channel(&mut self, pair: Direction) {
        self.channels.cut(pair, self.now, &mut self.others);
    }

    /// What comes over the channels, what the shadowing threads make of it, and what goes.
    pub(super) fn poll_channels(&mut self) {
        let (now, nodes) = (self.now, &self.nodes);
        let alive = |name: &str| nodes[name].controller.is_some();
        let runs = |name: &str| nodes[name].runs();
        let learnt = self.channels.poll(now, &self.network.links, alive, runs, &mut self.others);
        for (pair, back, what) in learnt {
            let (to, link) = if back { (pair.0, Link::To(0)) } else { (pair.1, Link::From(0)) };
            self.learn(to, link, what);
        }
        for (name, other) in PAIRS {
            self.shadowing_thread(name, other);
        }
    }

    fn learn(&mut self, name: &'static str, link: Link, what: Learnt) {
        let now = self.now;
        let node = self.node_mut(name);
        let (local, disk) = (node.clock.local(now), &mut node.disk);
        let Some(shadowing) = node.plane.as_mut().and_then(|plane| plane.shadowing.as_mut()) else { return };
        let Shadowing { exchange, known, .. } = shadowing;
        match what {
            Learnt::Up => exchange.up(link, local),
            Learnt::Down => exchange.down(link),
            Learnt::Frame(octets) => {
                let frame = Frame::decode(&octets[4..]).expect("as encoded");
                match link {
                    Link::To(to) => exchange.answered(to, frame, local),
                    Link::From(from) => {
                        let brought = exchange.brought((from, frame), local, known);
                        let brought = brought.expect("as another exchange said it");
                        brought.reserved.iter().for_each(|state| Shadowing::keep(disk, state));
                        exchange.kept(brought, Ok(()));
                    }
                }
            }
        }
    }

    fn shadowing_thread(&mut self, name: &'static str, other: &'static str) {
        let now = self.now;
        let node = self.nodes.get_mut(name).expect("an engine of the topology");
        let (local, runs) = (node.clock.local(now), node.runs());
        let shadowing = node.plane.as_mut().and_then(|plane| plane.shadowing.as_mut()).filter(|_| runs);
        let Some(shadowing) = shadowing else { return };
        shadowing.exchange.step(local);
        let mut broken = Vec::new();
        for output in shadowing.exchange.outputs() {
            match output {
                Output::Send(link, frame) => {
                    let (pair, back) = match link {
                        Link::To(_) => ((name, other), false),
                        Link::From(_) => ((other, name), true),
                    };
                    let way = &self.network.links[&(name, other)];
                    self.channels.send((pair, back), frame.encode(), now, way, &mut self.others);
                }
                Output::Close(Link::To(_), _) => broken.push((name, other)),
                Output::Close(Link::From(_), _) => broken.push((other, name)),
                Output::Settled(ticket, noted) => shadowing.settled(ticket, noted, local),
                Output::Acknowledged(..) => {}
            }
        }
        broken.into_iter().for_each(|pair| self.cut_channel(pair));
    }

    pub(super) fn partner_sends(&mut self) {
        let Some(gateway) = self.hosts.gateway else { return };
        let talking = self.hosts.talking;
        for (to, frame) in self.partner.send(self.now, gateway, talking, &mut self.others) {
            // What is to be opened comes to a worker that does not have the SA; what is to be sealed to the one that does.
            let queue = if spi(&frame).is_some() { WORKERS - 1 } else { 0 };
            if let Some(plane) = &mut self.node_mut(to).plane {
                plane.arrive(LAN, queue, &frame);
            }
        }
    }
}
