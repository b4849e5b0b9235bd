//! Frames: from hosts and other engines into ports, through workers, and out again.

use super::Cluster;
use crate::hosts::{self, PacketId};
use crate::node::Node;
use crate::partner;
use crate::plane::WORKERS;
use crate::plane::forwarding::{LAN, LINK};
use crate::plane::site_sa::is_from_partner;
use crate::plane::tape::Act;
use crate::topology::{ENGINES, engine_of};
use dataplane::id::{PortId, Spi};

/// Where ESP stands in a frame without options, and what names it in the IP header (RFC 4303 §2).
const ESP_AT: usize = 34;
const IS_ESP: u8 = 50;

impl Cluster {
    /// A frame arrives from another engine. Its queue follows from its addresses, as RSS would have it.
    pub(super) fn frame_arrives(&mut self, to: &'static str, port: PortId, frame: &[u8]) {
        let now = self.now;
        let node = self.nodes.get_mut(to).expect("an engine of the topology");
        if let Some(spi) = spi(frame).filter(|_| node.plane.is_some()) {
            let has = holds(node, spi);
            let (orders, log) = (&mut self.checkers.orders, &mut self.checkers.log);
            orders.arrives(now, node.process, spi.0, has, log);
        }
        let queue = match PacketId::of_frame(frame) {
            Some(packet) => packet.flow as usize / 2,
            None => frame.get(26..ESP_AT).map_or(0, |ends| ends.iter().map(|byte| usize::from(*byte)).sum()),
        };
        if let Some(plane) = &mut node.plane {
            plane.arrive(port, queue % WORKERS, frame);
        }
    }

    pub(super) fn hosts_send(&mut self) {
        for packet in self.hosts.send(self.now, &mut self.rng) {
            let Some(name) = self.hosts.first_hop(packet) else { continue };
            if let Some(plane) = &mut self.node_mut(name).plane {
                plane.arrive(LAN, packet.flow as usize / 2 % WORKERS, &hosts::frame(packet, name));
            }
        }
    }

    /// Every worker that runs polls once, in an order that chance gives, and what they sent goes its way.
    pub(super) fn poll_workers(&mut self) {
        let mut order: [usize; ENGINES.len() * WORKERS] = std::array::from_fn(|n| n);
        for last in (1..order.len()).rev() {
            order.swap(last, self.rng.below(last as u64 + 1) as usize);
        }
        for place in order {
            let (name, worker) = (ENGINES[place / WORKERS], place % WORKERS);
            let now = self.now;
            let node = self.node_mut(name);
            let (local, polls) = (node.clock.local(now), node.runs() && worker < WORKERS - node.hung);
            if let Some(plane) = node.plane.as_mut().filter(|_| polls) {
                plane.poll(worker, local);
            }
        }
        for name in ENGINES {
            self.carry_off(name);
        }
    }

    /// What an engine's workers sealed, opened and sent.
    fn carry_off(&mut self, name: &'static str) {
        let now = self.now;
        let node = self.nodes.get_mut(name).expect("an engine of the topology");
        let Some(plane) = &mut node.plane else { return };
        let uses = std::mem::take(&mut *plane.tape.lock().expect("one thread"));
        let sent: Vec<_> = std::iter::from_fn(|| plane.depart()).collect();
        let node = &self.nodes[name];
        let known = self.known_beside(name);
        let checkers = &mut self.checkers;
        for entry in uses {
            match (entry.act, entry.packet) {
                (Act::Sealed, Some(packet)) => {
                    checkers.owners.forwarded(now, node, packet, &mut checkers.log);
                }
                (Act::Opened, Some(packet)) => checkers.owners.opened(node, packet),
                _ => {}
            }
            known.sealed(now, name, entry, checkers);
            // What the partner sealed may be opened before it is accepted, and again elsewhere if it never was: what arrives
            // at the host counts.
            if entry.act == Act::Sealed || !is_from_partner(entry.key) {
                checkers.used(now, name, entry);
            }
        }
        for (port, frame) in sent {
            let packet = PacketId::of_frame(&frame);
            let checkers = &mut self.checkers;
            if let Some(packet) = packet {
                checkers.owners.forwarded(now, node, packet, &mut checkers.log);
            }
            let to = engine_of(&frame).filter(|to| *to != name);
            if port == LAN && self.partner.is_for(&frame) {
                if let Some(packet) = self.partner.hear(&frame) {
                    checkers.delivered(now, packet);
                }
                continue;
            }
            if port == LAN && to.is_none() {
                if let Some(packet) = self.hosts.hear(name, &frame) {
                    checkers.owners.delivered(now, node, packet, &mut checkers.log);
                    match partner::number_of(packet) {
                        Some(seq) => known.accepted(now, name, (packet, seq), checkers),
                        None => checkers.delivered(now, packet),
                    }
                }
                continue;
            }
            if let Some(packet) = packet.filter(|_| port == LINK) {
                checkers.loops.sent(now, name, packet, &mut checkers.log);
            }
            if let Some(to) = to {
                self.network.send_frame(now, (name, to), (port, frame), &mut self.rng);
            }
        }
        if let Some(gateway) = self.hosts.gateway {
            let planes = self.nodes.values_mut().filter_map(|node| node.plane.as_mut());
            planes.for_each(|plane| plane.forwarding.set_gateway(gateway));
        }
        self.checkers.conservation.polled(now, &self.nodes[name], &mut self.checkers.log);
    }
}

pub(super) fn spi(frame: &[u8]) -> Option<Spi> {
    let esp = frame.get(23) == Some(&IS_ESP);
    frame.get(ESP_AT..)?.first_chunk().copied().filter(|_| esp).map(|spi| Spi(u32::from_be_bytes(spi)))
}

fn holds(node: &Node, spi: Spi) -> bool {
    let inbound = node.told.sas.values().flat_map(|sas| sas.inbound.values());
    inbound.into_iter().any(|(_, spis)| spis.contains(&spi))
}
