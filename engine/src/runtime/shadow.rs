//! Shadowing, started from a plan and asked by the loop.

use super::engine::Engine;
use super::workers::Workers;
use crate::api::shadow::{ShadowStatus, ShadowTarget};
use crate::peer::{PeerAddress, PeerConfig};
use crate::plan::{ControlPlan, Plan, ShadowPlan};
use crate::shadow::{Ends, Keep, Shadow, ShadowConfig};
use anyhow::{Context as _, Result};
use control::io::Input;
use dpdk::Clock;

/// Starts it, if the plan wants it.
///
/// # Errors
/// If the certificates or the address cannot be used.
pub fn start(plan: &Plan, workers: &mut Workers, clock: Clock, keep: Keep) -> Result<Option<Shadow>> {
    let (Some(shadow), Some(control)) = (&plan.shadow, &plan.control) else { return Ok(None) };
    let config = ShadowConfig {
        identity: identity(&plan.name, control, shadow),
        to: shadow
            .to
            .iter()
            .map(|(name, address)| PeerAddress { name: name.clone(), address: *address })
            .collect(),
        from: shadow.from.clone(),
        inputs: plan.interface_names.clone(),
    };
    let ends = Ends { workers: workers.take_shadowed(), clock: Box::new(move || clock.now()), keep };
    let started = Shadow::start(config, ends).context("shadow")?;
    tracing::info!(address = %started.local_addr(), to = ?shadow.to, from = ?shadow.from, "sessions are shadowed");
    Ok(Some(started))
}

/// What a target does not hold yet.
fn missing(target: &ShadowTarget) -> Option<String> {
    match target {
        ShadowTarget { connected: false, engine, .. } => {
            Some(format!("sessions cannot be shadowed to {engine}: its shadowing channel is not connected"))
        }
        ShadowTarget { in_sync: false, engine, pending, .. } => {
            Some(format!("{engine} does not hold all sessions yet: {pending} changes are on their way"))
        }
        _ => None,
    }
}

/// The identity of the control connections, and who is known there.
fn identity(name: &str, control: &ControlPlan, shadow: &ShadowPlan) -> PeerConfig {
    let known = control.peers.iter().filter(|peer| {
        shadow.from.contains(&peer.name) || shadow.to.iter().any(|(name, _)| *name == peer.name)
    });
    PeerConfig {
        name: name.to_owned(),
        listen: shadow.listen,
        ca: control.ca.clone(),
        cert: control.cert.clone(),
        key: control.key.clone(),
        peers: known.map(|peer| PeerAddress { name: peer.name.clone(), address: peer.address }).collect(),
    }
}

impl Engine {
    /// Tells the controller what the other engine of the site does not hold yet of the sessions that are shadowed to it.
    pub fn tell_shadowing(&mut self) {
        let (Some(shadow), Some(ha)) = (&self.shadow, &self.plan.controller.ha) else { return };
        let missing = shadow.status().to.iter().find(|to| to.engine == ha.peer).and_then(missing);
        self.input(Input::Shadowing { missing });
    }

    /// How shadowing goes.
    pub fn shadow_status(&self) -> Option<ShadowStatus> {
        let sum = |of: fn(&dataplane::telemetry::SessionCounters) -> u64| {
            self.workers.counters().map(|counters| of(&counters.sessions)).sum()
        };
        self.shadow.as_ref().map(|shadow| ShadowStatus {
            copied: sum(|sessions| sessions.copied.get()),
            adopted: sum(|sessions| sessions.adopted.get()),
            refused: sum(|sessions| sessions.copies_refused.get()),
            ..shadow.status()
        })
    }
}
