//! ESP in UDP through a NAT (RFC 3948): mappings are kept alive from inside, and followed from outside.

use super::engine::Engine;
use super::forwarding::Forwarding;
use super::workers::Workers;
use dataplane::id::{Nanos, TunnelId, WorkerId};
use dataplane::message::Command;
use dataplane::snapshot::{Encapsulation, EspUdp, Nat};
use std::net::IpAddr;

/// Between two keepalives (RFC 3948 §4).
const INTERVAL: Nanos = Nanos::from_millis(20_000);

/// When the next keepalives go.
#[derive(Default)]
pub struct Keepalives {
    next: Nanos,
}

impl Keepalives {
    /// Sends them if they are due.
    pub fn tick(&mut self, now: Nanos, forwarding: &Forwarding, workers: &mut Workers) {
        if now < self.next {
            return;
        }
        self.next = now.plus(INTERVAL);
        for tunnel in forwarding.tunnels() {
            if matches!(tunnel.encapsulation, Encapsulation::EspUdp(EspUdp { nat: Nat::Local, .. })) {
                workers.command(WorkerId(0), Command::Keepalive(tunnel.id));
            }
        }
    }
}

impl Engine {
    /// The far end of a tunnel is seen somewhere else: its packets go there from now on.
    pub fn far_end(&mut self, tunnel: TunnelId, ip: IpAddr, port: u16) {
        #[cfg(feature = "wireguard")]
        if let Some(peer) = self.wireguard.peer(tunnel) {
            peer.heard_from((ip, port));
        }
        let name = &self.plan.tunnels[tunnel.index()].name;
        if self.forwarding.set_far_end(tunnel, ip, port) {
            tracing::info!(tunnel = name, %ip, port, "far end seen there");
        } else {
            tracing::warn!(tunnel = name, %ip, port, "far end seen where no way is known to");
        }
    }
}
