//! From a plan to a running engine and back: EAL, ports, workers, control connections, the API.

mod access;
pub mod assessment;
mod bfd;
mod boot;
mod cluster;
mod engine;
mod faults;
mod forwarding;
#[cfg(test)]
mod guardrails;
pub mod handover;
mod journal;
pub mod learning;
mod live_routes;
mod mirror;
mod nat;
mod neighbors;
mod observe;
mod outputs;
mod path_mtu;
mod sas;
mod shadow;
mod shapers;
mod site;
mod site_sas;
mod static_sas;
mod status;
mod switchover;
mod telemetry;
mod traffic;
mod vitals;
mod vrrp;
#[cfg(feature = "wireguard")]
mod wireguard;
mod workers;
mod wrap_cost;

use crate::api::{self, ApiHandle};
use crate::checks;
use crate::config::Config;
use crate::peer::{KeyLog, PeerAddress, PeerConfig, PeerLinks};
use crate::plan::{ControlPlan, PeerPlan, Plan};
use crate::routes::Targets;
use crate::site::Site;
use anyhow::{Context as _, Result};
use boot::{Base, first_routes};
use cluster::StateStore;
use control::Controller;
use control::config::{ControllerConfig, MemberKind};
use control::handover::Ports;
use dataplane::id::TunnelId;
pub use engine::unix_ms;
use engine::{Engine, Sources};
use handover::{Before, Instance, Offer, Resumed, Successors};
use journal::Journal;
use learning::Learning;
use live_routes::Routes;
use mirror::Arrivals;
use nat::Keepalives;
use predictor::recording::{Recorder, RunHeader, RunKind};
use predictor::{Model, Predictor};
use static_sas::StaticSas;
use std::fs::File;
use std::sync::Arc;
use telemetry::Sampler;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use traffic::TrafficWatch;

/// Peer events and questions that may wait for the loop.
const WAITING: usize = 1024;

/// Boots the engine and runs it until SIGINT or SIGTERM, or until another process of the engine goes on in its place.
/// `take_over`: in the place of the one that runs, if one does.
///
/// # Errors
/// If it cannot boot: what, where and what to do is in the chain.
pub fn run(plan: Plan, shared: Option<(Site, Config)>, take_over: bool) -> Result<()> {
    // Dropped last: whoever follows waits for it.
    let (_instance, mut engine) = boot(plan, take_over)?;
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the control loop could not be started")?
        .block_on(supervise(&mut engine, shared));
    let Engine { workers, devices, .. } = engine;
    workers.stop()?;
    drop(devices);
    ended
}

fn boot(plan: Plan, take_over: bool) -> Result<(Instance, Engine)> {
    let routes = first_routes(&plan)?;
    let offer = if take_over { handover::ask(&plan)? } else { None };
    match offer {
        Some(offer) if offer.ports() == Ports::Shared => follow_beside(plan, offer, routes),
        Some(offer) => follow_behind(plan, offer, routes),
        None => {
            let instance = Instance::take(&plan)?;
            let mut base = Base::prepare(&plan, routes, false)?;
            let static_sas = base.launch(&plan)?;
            Ok((instance, assemble(plan, base, static_sas, None)?))
        }
    }
}

/// In the place of the process that runs, with ports of its own beside that one's.
fn follow_beside(plan: Plan, offer: Offer, routes: Routes) -> Result<(Instance, Engine)> {
    let mut base = Base::prepare(&plan, routes, true)?;
    let Before::Resumed(resumed) = offer.take(&plan, Some(&mut base))? else {
        drop(base);
        return Err(handover::start_anew(&plan));
    };
    let static_sas = base.launch(&plan)?;
    tracing::info!("the workers go on");
    let instance = Instance::follow(&plan)?;
    Ok((instance, assemble(plan, base, static_sas, Some(resumed))?))
}

/// In the place of the process that runs, once that one has closed its ports.
fn follow_behind(plan: Plan, offer: Offer, routes: Routes) -> Result<(Instance, Engine)> {
    let Before::Left(left) = offer.take(&plan, None)? else { return Err(handover::start_anew(&plan)) };
    let instance = Instance::follow(&plan)?;
    let mut base = Base::prepare(&plan, routes, false)?;
    let resumed = left.put(&plan, &mut base)?;
    let static_sas = base.launch(&plan)?;
    Ok((instance, assemble(plan, base, static_sas, Some(resumed))?))
}

/// The engine's loop with everything that talks to it.
async fn supervise(engine: &mut Engine, shared: Option<(Site, Config)>) -> Result<()> {
    let (peer_tx, peer_rx) = mpsc::channel(WAITING);
    let config = engine.plan.control.as_ref().map(|control| peer_config(&engine.plan.name, control));
    let (mirror_tx, mirror_rx) = mpsc::channel(1);
    let mirror_tx = engine.plan.mirror.map(|_| mirror_tx);
    let links = config.map(|config| PeerLinks::start(config, peer_tx, mirror_tx));
    let links = links.transpose().context("control connections")?;
    let mut arrivals = Arrivals::new(mirror_rx);
    if let Some(links) = &links {
        tracing::info!(address = %links.local_addr(), "peers are listened for");
        engine.start_mirror(links, &mut arrivals)?;
    }
    let (api_tx, api_rx) = mpsc::channel(WAITING);
    let (targets_tx, targets) = watch::channel(Arc::new(Targets::new(&engine.plan.forwarding)));
    let handle = ApiHandle::new(api_tx, targets);
    let site_rx = engine.start_site(shared, targets_tx);
    let _serving = api::start(&engine.plan, handle).await.context("the API could not be started")?;
    let cluster = engine.plan.cluster.as_ref();
    let store = cluster.map(|cluster| StateStore::start(&engine.plan.name, cluster)).transpose()?;
    // Without a store nothing ever comes from it.
    let (store, store_rx) = store.map_or((None, mpsc::channel(1).1), |(store, inputs)| (Some(store), inputs));
    engine.store = store;
    let (check_tx, check_rx) = mpsc::channel(WAITING);
    let _checks = checks::start(&engine.plan.checks, engine.clock, &check_tx);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let refuse = engine.controller.not_to_be_followed();
    let (_listening, successors) = Successors::listen(&engine.plan, refuse)?;
    tracing::info!(engine = engine.plan.controller.engine, "ready");
    handover::notify::ready();
    let sources = Sources {
        peers: peer_rx,
        api: api_rx,
        store: store_rx,
        checks: check_rx,
        mirror: arrivals,
        successors,
        site: site_rx,
    };
    engine.supervise(sources, links, stop).await
}

fn peer_config(name: &str, control: &ControlPlan) -> PeerConfig {
    let peer = |peer: &PeerPlan| PeerAddress { name: peer.name.clone(), address: peer.address };
    PeerConfig {
        name: name.to_owned(),
        listen: control.listen,
        ca: control.ca.clone(),
        cert: control.cert.clone(),
        key: control.key.clone(),
        peers: control.peers.iter().map(peer).collect(),
    }
}

/// The tunnels whose paths the samples tell of: what is made and given up meanwhile says nothing of the engine.
fn watched_tunnels(plan: &Plan) -> Vec<TunnelId> {
    let members = plan.controller.groups.iter().flat_map(|group| &group.members);
    let own = members.filter(|member| member.kind == MemberKind::Own).map(|member| member.tunnel);
    own.filter(|id| plan.controller.tunnels[id.index()].endpoints.number == 0).collect()
}

/// Everything beside what forwards; `resumed`: as another process has left it.
fn assemble(plan: Plan, base: Base, static_sas: StaticSas, resumed: Option<Resumed>) -> Result<Engine> {
    let (clock, mut workers, crypto) = (base.clock, base.workers, base.crypto);
    let (learning, model) = model(&plan)?;
    let recorder = plan.record.as_deref().map(|path| recorder(path, &plan)).transpose()?;
    let key_log = key_log(&plan)?;
    let model = Arc::new(model);
    let mut config = controller_config(&plan)?;
    wrap_cost::measure(&mut config, &plan, &*crypto.provider, &clock);
    let (controller, bfd) = match resumed {
        Some(Resumed { controller, bfd }) => (Controller::resumed(config, &controller), bfd),
        None => (Controller::new(config), Vec::new()),
    };
    #[cfg(feature = "wireguard")]
    let wireguard = wireguard::start(&plan, clock.now())?;
    let shadow = shadow::start(&plan, &mut workers, clock, static_sas.keeper())?;
    Ok(Engine {
        shadow,
        site: None,
        started_unix_ms: unix_ms() - clock.now().as_millis(),
        controller,
        traffic: TrafficWatch::new(&plan.adaptive, &model, clock.now()).context("group.adaptive.forecast")?,
        sampler: Sampler::new(watched_tunnels(&plan), workers::expected_poll_gap(plan.idle), clock.now()),
        predictor: Predictor::new(model),
        learning,
        prediction: None,
        vitals: vitals::PeerVitals::default(),
        bfd: bfd.into_iter().collect(),
        devices: base.devices,
        pools: base.pools,
        neighbors: base.neighbors,
        path_mtus: base.path_mtus,
        keepalives: Keepalives::default(),
        crypto,
        sas: base.sas,
        static_sas,
        #[cfg(feature = "wireguard")]
        wireguard,
        shapers: base.shapers,
        sessions: Default::default(),
        replies: Default::default(),
        observing: None,
        faults: faults::Faults::default(),
        next_reply: 0,
        journal: Journal::new(recorder),
        store: None,
        mirroring: None,
        key_log,
        clock,
        workers,
        forwarding: base.forwarding,
        plan,
    })
}

/// Where ESP keys are written, if debugging asks for it.
fn key_log(plan: &Plan) -> Result<Option<KeyLog>> {
    let path = plan.export_esp_keys.as_deref();
    path.map(|path| KeyLog::open(path).with_context(|| format!("debug.export_esp_keys: {}", path.display())))
        .transpose()
}

/// The model, and what keeps it up to date where the plan says so.
fn model(plan: &Plan) -> Result<(Option<Learning>, Model)> {
    if let Some(wanted) = &plan.learning {
        let program = std::env::current_exe().context("this program's file")?;
        let (learning, champion) =
            Learning::start(wanted, &plan.name, program).context("prediction.learning")?;
        if let Some(champion) = champion {
            return Ok((Some(learning), champion));
        }
        return Ok((Some(learning), configured_model(plan)?));
    }
    Ok((None, configured_model(plan)?))
}

fn configured_model(plan: &Plan) -> Result<Model> {
    match &plan.model {
        Some(path) => Model::load(path).with_context(|| format!("prediction.model: {}", path.display())),
        None => Model::default_model().context("the built-in model"),
    }
}

/// What only this start of the process knows: a floor for epochs that grows with every start, and a seed.
fn controller_config(plan: &Plan) -> Result<ControllerConfig> {
    let mut seed = [0; 8];
    aws_lc_rs::rand::fill(&mut seed).context("the system gives no randomness")?;
    let seed = u64::from_ne_bytes(seed);
    Ok(ControllerConfig { epoch_floor: unix_ms() / 1000, seed, ..plan.controller.clone() })
}

fn recorder(path: &std::path::Path, plan: &Plan) -> Result<Recorder<File>> {
    let file = File::create(path).with_context(|| format!("telemetry.record: {}", path.display()))?;
    let run = path.file_stem().map_or("run".into(), |stem| stem.to_string_lossy().into_owned());
    let mut header = RunHeader::new(run, RunKind::Calm, "none", unix_ms());
    header.note = format!("engine {}", plan.controller.engine);
    Ok(Recorder::new(file, header)?)
}
