//! WireGuard's handshakes between the workers and [`crate::wireguard`].

use super::engine::Engine;
use crate::api::status::WireGuardStatus;
use crate::plan::Plan;
use crate::wireguard::keys::{Identity, Preshared};
use crate::wireguard::{Action, Activity, Now, PeerParts, WireGuard};
use anyhow::{Context as _, Result, ensure};
use control::io::Input;
use dataplane::id::{Nanos, TunnelId, WorkerId};
use dataplane::snapshot::Encapsulation;
use dataplane::telemetry::{Counter, WireGuardCounters};
use dataplane::wireguard::Receiver;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whose all sessions are: the configuration allows one worker.
const WORKER: WorkerId = WorkerId(0);
/// Messages taken in one tick …
const MESSAGES: usize = 64;
/// … and those of them that cost a curve: with more to do than that, cookies are asked for.
const COSTLY: usize = 2;

/// Reads the keys.
///
/// # Errors
/// If one cannot be read, or both ends of a tunnel have the same.
pub fn start(plan: &Plan, now: Nanos) -> Result<WireGuard> {
    let (mut files, mut identities, mut peers) = (vec![], vec![], vec![]);
    for (tunnel, wraps) in plan.tunnels.iter().zip(&plan.forwarding.tunnels) {
        let (Some(wireguard), Encapsulation::WireGuard(ports)) = (&tunnel.wireguard, wraps.encapsulation)
        else {
            continue;
        };
        let of = || format!("tunnel {}", tunnel.name);
        let file = &wireguard.private_key_file;
        let identity = match files.iter().position(|known| *known == file) {
            Some(known) => known,
            None => {
                identities.push(Identity::read(file).with_context(of)?);
                files.push(file);
                identities.len() - 1
            }
        };
        let public = wireguard.public_key;
        ensure!(
            identities[identity].public() != public,
            "tunnel {}: wireguard.public_key is that of {} itself: write the far end's",
            tunnel.name,
            file.display()
        );
        let preshared = wireguard.preshared_key_file.as_deref().map(Preshared::read).transpose();
        peers.push(PeerParts {
            tunnel: tunnel.id,
            identity,
            public,
            preshared: preshared.with_context(of)?.unwrap_or_default(),
            allowed: wireguard.allowed.clone(),
            local: (wraps.local, ports.local_port),
            remote: (wraps.remote, ports.remote_port),
            keepalive: wireguard.keepalive.map(nanos),
            rekey_after: nanos(wireguard.rekey),
        });
    }
    for (file, identity) in files.iter().zip(&identities) {
        tracing::info!(file = %file.display(), public_key = %identity.public(), "WireGuard");
    }
    WireGuard::new(identities, peers, now)
}

fn nanos(duration: Duration) -> Nanos {
    Nanos(duration.as_nanos() as u64)
}

fn at(nanos: Nanos) -> Now {
    Now { nanos, unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
}

impl Engine {
    /// Takes the messages that have come, and sends what is due.
    pub fn wireguard_tick(&mut self, now: Nanos) {
        if self.wireguard.peers().is_empty() {
            return;
        }
        let (mut out, mut costly) = (Vec::new(), 0);
        let (at, provider) = (at(now), &*self.crypto.provider);
        let links = &mut self.workers.links()[WORKER.index()];
        for _ in 0..MESSAGES {
            if costly == COSTLY {
                self.wireguard.overloaded(now);
                break;
            }
            let Some(message) = links.handshakes.pop() else { break };
            costly += usize::from(self.wireguard.received(&message, (at, provider), &mut out));
        }
        let counters = &links.counters;
        let activity = |tunnel: TunnelId| {
            let counted = counters.wireguard(tunnel.index());
            Activity {
                sent: counted.sent.get(),
                received: counted.received.get(),
                keepalives_sent: counted.keepalives_sent.get(),
                keepalives_received: counted.keepalives_received.get(),
            }
        };
        self.wireguard.tick(at, activity, &mut out);
        self.act(out);
    }

    /// The far end uses a session that it asked for.
    pub fn session_confirmed(&mut self, receiver: Receiver) {
        let mut out = Vec::new();
        self.wireguard.confirmed(receiver, &mut out);
        self.act(out);
    }

    /// The far end of a tunnel, for people.
    pub fn wireguard_status(&self, tunnel: TunnelId) -> Option<WireGuardStatus> {
        let peer = self.wireguard.peers().iter().find(|peer| peer.parts().tunnel == tunnel)?;
        let age = |since: Nanos| self.now().since(since).as_millis() as f64 / 1e3;
        let sum = |of: fn(&WireGuardCounters) -> &Counter| {
            self.workers.counters().map(|counters| of(counters.wireguard(tunnel.index())).get()).sum()
        };
        Some(WireGuardStatus {
            public_key: peer.parts().public.to_string(),
            remote_port: peer.parts().remote.1,
            last_handshake_s: peer.last_handshake().map(age),
            tx_keepalives: sum(|counted| &counted.keepalives_sent),
            rx_keepalives: sum(|counted| &counted.keepalives_received),
        })
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Worker(command) => {
                    if !self.workers.command(WORKER, command) {
                        tracing::warn!("WireGuard: the worker is stuck");
                    }
                }
                Action::FarEnd(tunnel, (ip, port)) => self.far_end(tunnel, ip, port),
                Action::Session(tunnel, up) => {
                    let name = &self.plan.tunnels[tunnel.index()].name;
                    tracing::info!(tunnel = name, up, "WireGuard session");
                    self.input(Input::Session { tunnel, up });
                }
            }
        }
    }
}
