//! What controllers ask for, carried out as the shell does.

use super::Cluster;
use crate::network::SaUse;
use crate::plane::sas::Order;
use crate::sabotage::Sabotage;
use crate::topology::{ENGINES, GATEWAY, SECOND, link_address, wan_address};
use control::io::{Input, Output};
use control::message::Endpoints;
use dataplane::ecmp::Shares;
use dataplane::id::{Epoch, InterfaceId, Spi, TunnelId};
use dataplane::message::Command;

impl Cluster {
    pub(super) fn carry_out(&mut self, name: &'static str, output: Output) {
        let now = self.now;
        let process = self.nodes[name].process;
        let checkers = &mut self.checkers;
        if name.starts_with('a') {
            checkers.owners.epoch(now, process, &output, &mut checkers.log);
        }
        checkers.orders.weights(now, &output, &mut checkers.log);
        let node = self.nodes.get_mut(name).expect("an engine of the topology");
        let Some(plane) = &mut node.plane else { return };
        match output {
            Output::SendProbe { tunnel, sequence } => plane.command(0, Command::Probe { tunnel, sequence }),
            Output::Send { peer, message } => {
                let to = ENGINES.iter().find(|e| **e == peer).expect("a known peer");
                self.network.send_message(now, (name, to), message, &mut self.rng);
            }
            Output::Weights { members, flowlet_gap, move_within, group } => {
                node.told.last_move = (flowlet_gap, move_within);
                let deadline = node.clock.local(now).plus(move_within);
                if let Some(shares) = self.options.shares(name, &members) {
                    plane.forwarding.set_shares(&shares, flowlet_gap, deadline);
                }
                node.told.weights.insert(group, members);
            }
            Output::Tunnel { tunnel, up, fenced } => {
                plane.forwarding.set_tunnel(tunnel, up, fenced);
                node.told.tunnels.insert(tunnel, (up, fenced));
            }
            Output::Role { owner, epoch } => self.role(name, owner, epoch),
            Output::ForwardUntil(until) => {
                plane.set_forward_until(until);
                node.told.forward_until = until;
            }
            Output::AnnounceGateway => self.announce(name),
            Output::InstallInbound { tunnel, generation, spis } => {
                self.install_inbound(name, tunnel, generation, spis);
            }
            Output::InstallOutbound { tunnel, generation, spis } => {
                self.install_outbound(name, tunnel, generation, spis);
            }
            Output::OfferRefused { .. } => {
                let what = format!("{name} refuses an offer of its like-configured peer");
                checkers.log.violate(now, crate::checkers::Rule::Orders, what);
            }
            Output::RemoveInbound { tunnel, generation } => {
                node.told.sas.entry(tunnel).or_default().inbound.retain(|g, _| *g > generation);
                plane.sas.remove_inbound(tunnel, generation, &mut plane.links);
            }
            // No group of the topology is adaptive.
            Output::RemoveOutbound { .. } | Output::SetRate { .. } => {}
            Output::Gateway { .. } | Output::Advertise { .. } => {
                let what = format!("{name} stands in no election");
                checkers.log.violate(now, crate::checkers::Rule::Orders, what);
            }
            Output::StoreWrite { key, record, expected } => node.store.write(key, record, expected),
            Output::Decision(decision) => {
                checkers.records.decided(now, name, &decision, &mut checkers.log);
                node.decisions.push((now, decision));
            }
            Output::Reply { result, .. } => node.replies.push(result),
        }
    }

    /// Packets go to the next owner before the SAs that they would have needed do.
    fn role(&mut self, name: &'static str, owner: bool, epoch: Epoch) {
        let now = self.now;
        let node = self.node_mut(name);
        node.told.role = Some((owner, epoch));
        node.plane.iter_mut().for_each(|plane| plane.forwarding.set_owner(owner));
        if !owner {
            self.publish(name);
        }
        let node = self.node_mut(name);
        let local = node.clock.local(now);
        node.plane.iter_mut().for_each(|plane| plane.set_owner(owner, local));
    }

    /// The workers must answer for the gateway before they announce it.
    fn announce(&mut self, name: &'static str) {
        self.publish(name);
        let (now, owns) = (self.now, matches!(self.nodes[name].told.role, Some((true, _))));
        if !owns {
            let what = format!("{name} announces a gateway it does not own");
            self.checkers.log.violate(now, crate::checkers::Rule::Owners, what);
        }
        if let Some(plane) = &mut self.node_mut(name).plane {
            plane.command(0, Command::Announce { interface: InterfaceId(0), ip: GATEWAY.into() });
        }
    }

    /// Publishes what changed, and looks at what workers have put away.
    pub(super) fn publish(&mut self, name: &'static str) {
        let now = self.now;
        let node = self.nodes.get_mut(name).expect("an engine of the topology");
        let Some(plane) = &mut node.plane else { return };
        let (digests, log) = (&mut self.checkers.digests, &mut self.checkers.log);
        for snapshot in plane.retired() {
            digests.seen(now, node.process, &snapshot, log);
        }
        if let Some(snapshot) = plane.publish() {
            digests.seen(now, node.process, &snapshot, log);
        }
    }

    fn install_inbound(&mut self, name: &'static str, tunnel: TunnelId, generation: u64, spis: Vec<Spi>) {
        let (peer, _) = self.far_end(name, tunnel);
        let (now, process) = (self.now, self.nodes[name].process);
        let Some(&(connection, _)) = self.nodes[name].told.sessions.get(peer) else { return };
        let (orders, log) = (&mut self.checkers.orders, &mut self.checkers.log);
        orders.key(now, (process, true, tunnel, connection, generation), log);
        orders.spis(now, process, tunnel, &spis, log);
        let node = self.node_mut(name);
        node.told.sas.entry(tunnel).or_default().inbound.insert(generation, (connection, spis.clone()));
        let endpoints = endpoints(name, peer, tunnel);
        if let Some(plane) = &mut node.plane {
            let order = Order { tunnel, endpoints, connection, generation, spis };
            plane.sas.install_inbound(order, &mut plane.links);
        }
    }

    fn install_outbound(&mut self, name: &'static str, tunnel: TunnelId, generation: u64, spis: Vec<Spi>) {
        let (peer, _) = self.far_end(name, tunnel);
        let (now, process) = (self.now, self.nodes[name].process);
        let Some(&(connection, receiver_process)) = self.nodes[name].told.sessions.get(peer) else { return };
        let (orders, log) = (&mut self.checkers.orders, &mut self.checkers.log);
        orders.key(now, (process, false, tunnel, connection, generation), log);
        if self.options.sabotage == Some(Sabotage::KeyedOnce) && process > ENGINES.len() as u64 {
            self.node_mut(name).inbox.push_back(Input::OutboundInstalled { tunnel, generation }.into());
            return;
        }
        self.checkers.orders.promise(receiver_process, &spis);
        let node = self.node_mut(name);
        node.told.sas.entry(tunnel).or_default().outbound =
            Some(SaUse { connection, generation, spis: spis.clone(), receiver_process });
        let endpoints = endpoints(name, peer, tunnel);
        if let Some(plane) = &mut node.plane {
            let order = Order { tunnel, endpoints, connection, generation, spis };
            plane.sas.install_outbound(&order, &mut plane.links);
        }
    }
}

fn endpoints(name: &str, peer: &str, tunnel: TunnelId) -> Endpoints {
    let direct = name.starts_with('a') && tunnel == SECOND;
    let address = if direct { link_address } else { wan_address };
    Endpoints::new(address(name).into(), address(peer).into())
}

impl crate::topology::Options {
    /// How a group is split; `None` when all its members are down: the old table stays.
    fn shares(&self, engine: &str, members: &[(TunnelId, u32)]) -> Option<Shares> {
        match self.sabotage {
            Some(Sabotage::HandBack) if engine.starts_with('a') => Shares::by_weight(&[(SECOND, 1)]).ok(),
            _ => Shares::exact(members).ok(),
        }
    }
}
