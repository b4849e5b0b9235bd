//! What the controller asks for, carried out.

use super::engine::Engine;
use super::sas::Order;
use control::decision::{Decision, Outcome};
use control::io::Output;
use dataplane::ecmp::Shares;
use dataplane::id::{GroupId, Nanos, Spi, TunnelId, WorkerId};
use dataplane::message::Command;
use std::net::IpAddr;

impl Engine {
    /// Carries out one output.
    pub fn carry_out(&mut self, output: Output) {
        match output {
            Output::SendProbe { tunnel, sequence } => {
                self.workers.command(WorkerId(0), Command::Probe { tunnel, sequence });
            }
            Output::Send { peer, message } => {
                if let Some(session) = self.sessions.get(&peer)
                    && let Err(error) = session.send(&message)
                {
                    tracing::warn!(peer, %error, "message not sent");
                }
            }
            Output::Weights { group, members, flowlet_gap, move_within } => {
                self.weights(group, &members, flowlet_gap, move_within);
            }
            Output::Tunnel { tunnel, up, fenced } => {
                let name = &self.plan.controller.tunnels[tunnel.index()].name;
                tracing::info!(tunnel = name, up, fenced, "tunnel");
                self.forwarding.set_tunnel(tunnel, up, fenced);
            }
            Output::Role { owner, epoch } => {
                tracing::info!(owner, %epoch, "role");
                self.role(owner);
            }
            Output::ForwardUntil(until) => self.workers.set_forward_until(until),
            Output::Gateway { version, active } => {
                tracing::info!(?version, active, "gateway");
                self.forwarding.set_elected(version, active);
            }
            Output::Advertise { from, priority, interval } => self.advertise(from, priority, interval),
            Output::AnnounceGateway => self.announce_gateway(),
            Output::InstallInbound { tunnel, generation, spis } => {
                self.install(tunnel, generation, &spis, true)
            }
            Output::InstallOutbound { tunnel, generation, spis } => {
                self.install(tunnel, generation, &spis, false)
            }
            Output::OfferRefused { tunnel, ours, theirs } => {
                if self.sas.offer_refused(tunnel, ours, theirs) {
                    let name = &self.plan.tunnels[tunnel.index()].name;
                    let problem = self.sas.problem(tunnel).unwrap_or_default();
                    tracing::error!(tunnel = name, "no SAs: {problem}");
                }
            }
            Output::RemoveInbound { tunnel, generation } => {
                self.sas.remove_inbound(tunnel, generation, &mut self.workers);
            }
            Output::RemoveOutbound { tunnel } => self.sas.remove_outbound(tunnel, &mut self.workers),
            Output::SetRate { tunnel, bits_per_second } => self.adapt_rate(tunnel, bits_per_second),
            Output::StoreWrite { key, record, expected } => {
                if let Some(store) = &self.store {
                    store.write((key, record, expected));
                }
            }
            Output::Decision(decision) => {
                self.journal.decision(self.started_unix_ms + decision.at.as_millis(), &decision);
                log(&decision);
            }
            Output::Reply { id, result } => {
                if let Some(reply) = self.replies.remove(&id) {
                    // Whoever asked may have gone.
                    let _ = reply.send(result);
                }
            }
        }
    }

    fn role(&mut self, owner: bool) {
        self.forwarding.set_owner(owner);
        if !owner {
            // Packets go to the next owner before the SAs that they would have needed do.
            self.publish();
        }
        if let Some(shadow) = self.shadow.as_ref().filter(|_| owner) {
            shadow.renew();
        }
        self.with_static_sas(|sas, tools| sas.owner(owner, tools));
    }

    fn weights(
        &mut self,
        group: GroupId,
        members: &[(TunnelId, u32)],
        flowlet_gap: Nanos,
        move_within: Nanos,
    ) {
        // All members down: the old table stays, and the walk finds no usable tunnel in it.
        let Ok(shares) = Shares::exact(members) else { return };
        let deadline = self.now().plus(move_within);
        self.forwarding.set_shares(group, &shares, flowlet_gap, deadline);
    }

    fn announce_gateway(&mut self) {
        let Some((interface, addresses)) = self.forwarding.gateway() else { return };
        for net in addresses {
            self.workers.command(WorkerId(0), Command::Announce { interface, ip: net.addr() });
        }
    }

    fn advertise(&mut self, from: IpAddr, priority: u8, interval: Nanos) {
        let Some((interface, _)) = self.forwarding.gateway() else { return };
        let interval_cs = (interval.as_millis() / 10) as u16;
        self.workers.command(WorkerId(0), Command::Advertise { interface, from, priority, interval_cs });
    }

    fn install(&mut self, tunnel: TunnelId, generation: u64, spis: &[Spi], inbound: bool) {
        let config = &self.plan.controller.tunnels[tunnel.index()];
        let Some(session) = self.sessions.get(&config.peer) else { return };
        let Some(sa) = &self.plan.tunnels[tunnel.index()].esp else { return };
        let provider = &*self.crypto.provider;
        let order = Order { tunnel: config, sa, provider, generation, spis };
        let log = self.key_log.as_ref();
        let installed = if inbound {
            self.sas.install_inbound(&order, session, log, &mut self.workers)
        } else {
            self.sas.install_outbound(&order, session, log, &mut self.workers)
        };
        if let Err(error) = installed {
            tracing::error!(tunnel = config.name, generation, "SA not installed: {error:#}");
        }
    }
}

/// Decisions are few and matter: each is logged with what drove it.
fn log(decision: &Decision) {
    let inputs: Vec<String> = decision.inputs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let (id, inputs) = (decision.id, inputs.join(" "));
    match decision.outcome {
        Outcome::RolledBack => tracing::warn!(id, rule = decision.rule, inputs, "{}", decision.action),
        outcome => tracing::info!(id, rule = decision.rule, inputs, ?outcome, "{}", decision.action),
    }
}
