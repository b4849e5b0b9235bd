//! Puts what another process has left where it belongs: into the forwarding state and the workers of this one, before they poll.
//! What the configuration no longer has, or has otherwise, is left out.

use super::state::{EngineState, InboundSaState, OutboundSaState, TunnelState};
use crate::peer::keys::SaKey as DerivedKey;
use crate::plan::{EspPlan, Plan};
use crate::routes::{Batch, Targets};
use crate::runtime::boot::Base;
use anyhow::{Context as _, Result};
use control::ControllerState;
use dataplane::context::Version;
use dataplane::ecmp::BucketTable;
use dataplane::id::{InterfaceId, Nanos, Spi, TunnelId};
use dataplane::message::Inbound;
use dataplane::replay::ReplayWindow;
use dataplane::sa::{InboundSa, Limits, OutboundSa, SaKey};
use dataplane::shadow::FlowState;
use dataplane::stage::access::TUNNEL_INPUT;
use dataplane::wire::bfd::{Diagnostic, State};

/// What the rest of the engine is made with, once the workers have their part.
pub struct Resumed {
    /// Of the controller.
    pub controller: ControllerState,
    /// BFD sessions by their place, as they were.
    pub bfd: Vec<(usize, (State, Diagnostic))>,
}

impl Resumed {
    /// See the module.
    ///
    /// # Errors
    /// If what is there cannot be: keys of a wrong length, SPIs that are reserved.
    pub fn put(state: EngineState, plan: &Plan, base: &mut Base) -> Result<Resumed> {
        for tunnel in &plan.tunnels {
            let Some(old) = state.tunnels.get(&tunnel.name) else { continue };
            tunnel_state(tunnel.id, old, base);
            if let Some(esp) = &tunnel.esp
                && old.algorithm == Some(esp.algorithm)
                && old.esn == esp.esn
            {
                sas(tunnel.id, old, esp, base).with_context(|| format!("SAs of tunnel {}", tunnel.name))?;
            }
        }
        buckets(&state, plan, base);
        routes(&state, plan, base)?;
        neighbors(&state, plan, base);
        // Only engines without a standby are followed: they own their site.
        base.forwarding.set_owner(true);
        base.workers.set_forward_until(Nanos::MAX);
        for address in state.controller.gateway() {
            let version = if address.is_ipv4() { Version::V4 } else { Version::V6 };
            base.forwarding.set_elected(version, true);
        }
        let bfd = bfd(&state, plan, base);
        if let Some(snapshot) = base.forwarding.changed() {
            base.workers.publish(&snapshot);
        }
        Ok(Resumed { controller: state.controller, bfd })
    }
}

/// Sessions of a worker, as they come. Returns how many found no room.
pub fn put_flows(worker: u16, flows: &[FlowState], inputs: &Inputs, base: &mut Base) -> usize {
    let Some(worker) = base.workers.parked().get_mut(usize::from(worker)) else { return flows.len() };
    let ours = |state: &FlowState| FlowState { input: inputs.ours(state.input), ..*state };
    flows.iter().filter(|state| !worker.resume_session(&ours(state))).count()
}

/// What the other process's numbers of interfaces and tunnels, by which rules call where a packet came in, are here.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    interfaces: Vec<u16>,
    tunnels: Vec<u16>,
}

impl Inputs {
    /// From the other process's names, by number. What is not here any more is none that a rule names.
    pub fn new(interfaces: &[String], tunnels: &[String], plan: &Plan) -> Inputs {
        let place = |found: Option<usize>, base: u16| found.map_or(u16::MAX, |at| base + at as u16);
        let interface = |name: &String| place(plan.interface_names.iter().position(|own| own == name), 0);
        let tunnel =
            |name: &String| place(plan.tunnels.iter().position(|own| own.name == *name), TUNNEL_INPUT);
        Inputs {
            interfaces: interfaces.iter().map(interface).collect(),
            tunnels: tunnels.iter().map(tunnel).collect(),
        }
    }

    fn ours(&self, theirs: u16) -> u16 {
        let (table, at) = match theirs.checked_sub(TUNNEL_INPUT) {
            Some(tunnel) => (&self.tunnels, tunnel),
            None => (&self.interfaces, theirs),
        };
        table.get(usize::from(at)).copied().unwrap_or(u16::MAX)
    }
}

fn tunnel_state(id: TunnelId, old: &TunnelState, base: &mut Base) {
    let now = base.clock.now();
    base.forwarding.set_tunnel(id, old.up, old.fenced);
    if let Some((ip, port)) = old.far_end {
        base.forwarding.set_far_end(id, ip, port);
    }
    if let Some(inside) = old.far_inside {
        base.forwarding.set_far_inside(id, inside);
    }
    if let Some(mtu) = old.mtu {
        base.path_mtus.resume(id, mtu, now, &mut base.forwarding);
    }
    for (worker, sequence) in base.workers.parked().iter_mut().zip(&old.sequences) {
        worker.resume_sequence(id, *sequence);
    }
}

fn sas(id: TunnelId, old: &TunnelState, esp: &EspPlan, base: &mut Base) -> Result<()> {
    for sa in &old.inbound {
        inbound(id, sa, esp, base)?;
    }
    for (worker, sa) in &old.outbound {
        outbound(id, usize::from(*worker), sa, esp, base)?;
    }
    Ok(())
}

fn inbound(id: TunnelId, old: &InboundSaState, esp: &EspPlan, base: &mut Base) -> Result<()> {
    let Some(key) = &old.key else {
        base.windows.insert(old.spi, old.window.clone());
        return Ok(());
    };
    let derived = DerivedKey::from_keymat(esp.algorithm, key.octets()).context("a key of another length")?;
    let key = SaKey::new(&*base.crypto.provider, esp.algorithm, derived.keymat())?;
    let window = ReplayWindow::resumed(&old.window, esp.replay_window, esp.esn);
    let sa = InboundSa::resumed(old.spi, key, window, esp.esn)?;
    let workers = base.workers.parked();
    let owner = owner(old.spi, workers.len());
    workers[owner].resume_inbound(Box::new(Inbound { tunnel: id, sa }));
    base.sas.resume(id, old.spi, Some(old.generation), derived);
    Ok(())
}

fn outbound(
    id: TunnelId,
    worker: usize,
    old: &OutboundSaState,
    esp: &EspPlan,
    base: &mut Base,
) -> Result<()> {
    let derived =
        DerivedKey::from_keymat(esp.algorithm, old.key.octets()).context("a key of another length")?;
    let key = SaKey::new(&*base.crypto.provider, esp.algorithm, derived.keymat())?;
    let limits = Limits { soft: esp.rekey_packets, hard: esp.rekey_packets.saturating_mul(2) };
    let sa = OutboundSa::resumed(old.spi, key, old.sent, limits, esp.esn)?;
    let worker = base.workers.parked().get_mut(worker).context("an SA of no worker")?;
    worker.resume_outbound(id, Box::new(sa));
    base.sas.resume(id, old.spi, None, derived);
    Ok(())
}

/// The worker that an SPI names.
fn owner(spi: Spi, workers: usize) -> usize {
    spi.0 as usize % workers
}

fn buckets(state: &EngineState, plan: &Plan, base: &mut Base) {
    for group in &plan.forwarding.groups {
        let Some(runs) = state.groups.get(&group.name) else { continue };
        let member =
            |name: &String| group.members.iter().copied().find(|id| plan.tunnels[id.index()].name == *name);
        let runs: Option<Vec<_>> = runs.iter().map(|(name, many)| Some((member(name)?, *many))).collect();
        // With other members the table begins anew.
        if let Some(Ok(table)) = runs.map(|runs| BucketTable::of_runs(&runs)) {
            base.forwarding.set_buckets(group.id, table);
        }
    }
}

/// Those that the configuration of now has no place for are told, and left out.
fn routes(state: &EngineState, plan: &Plan, base: &mut Base) -> Result<()> {
    let (targets, mut batch) = (Targets::new(&plan.forwarding), Batch::default());
    for (prefix, target) in &state.routes {
        let Some(target) = target else {
            batch.changes.push((*prefix, None));
            continue;
        };
        match targets.route(&format!("{prefix} {target}")) {
            Ok((prefix, next_hop)) => {
                batch.changes.push((prefix, Some(batch.next_hops.len() as u32)));
                batch.next_hops.push(next_hop);
            }
            Err(mistake) => tracing::warn!("a route is not taken over: {mistake}"),
        }
    }
    base.forwarding.routes.resume(batch).context("routes that were changed")
}

fn neighbors(state: &EngineState, plan: &Plan, base: &mut Base) {
    let interface = |name: &String| plan.interface_names.iter().position(|known| known == name);
    let known = state.neighbors.iter().filter_map(|(name, ip, mac)| {
        let interface = InterfaceId(interface(name)? as u16);
        base.forwarding.on_link(interface, *ip).then_some((interface, *ip, *mac))
    });
    let known: Vec<_> = known.collect();
    base.neighbors.resume(&known, base.clock.now());
    base.forwarding.set_neighbors(base.neighbors.known());
}

fn bfd(state: &EngineState, plan: &Plan, base: &mut Base) -> Vec<(usize, (State, Diagnostic))> {
    let mut resumed = Vec::new();
    for (place, session) in plan.forwarding.bfd.iter().enumerate() {
        let same = |old: &&super::state::BfdState| (old.local, old.remote) == (session.local, session.remote);
        let Some(old) = state.bfd.iter().find(same) else { continue };
        if let Some(worker) = base.workers.parked().first_mut() {
            worker.resume_bfd(place, old.resume);
        }
        resumed.push((place, (old.resume.state, Diagnostic::NONE)));
    }
    resumed
}
