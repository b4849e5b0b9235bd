//! From a plan to a running engine and back: EAL, ports, workers, control connections, the API.

mod access;
pub mod assessment;
mod bfd;
mod cluster;
mod engine;
mod faults;
mod forwarding;
#[cfg(test)]
mod guardrails;
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
use crate::crypto::Crypto;
use crate::peer::{KeyLog, PeerAddress, PeerConfig, PeerLinks};
use crate::plan::{ControlPlan, PeerPlan, Plan, TunnelPlan};
use crate::routes::{self, Targets};
use crate::site::Site;
use anyhow::{Context as _, Result};
use cluster::StateStore;
use control::Controller;
use control::config::{ControllerConfig, MemberKind};
use dataplane::id::{PortId, TunnelId};
use dataplane::virtual_router::VirtualRouter;
use dataplane::wire::MacAddr;
use dpdk::{Clock, Device, Eal, Mempool, PoolConfig, PortConfig, PortPools, QueuePair};
pub use engine::unix_ms;
use engine::{Engine, Sources};
use forwarding::Forwarding;
use journal::Journal;
use learning::Learning;
use live_routes::Routes;
use mirror::Arrivals;
use nat::Keepalives;
use neighbors::Neighbors;
use path_mtu::PathMtus;
use predictor::recording::{Recorder, RunHeader, RunKind};
use predictor::{Model, Predictor};
use sas::SecurityAssociations;
use static_sas::StaticSas;
use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;
use telemetry::Sampler;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use traffic::TrafficWatch;
use workers::{Shapers, Shared, Workers};

/// Peer events and questions that may wait for the loop.
const WAITING: usize = 1024;

/// Boots the engine and runs it until SIGINT or SIGTERM.
///
/// # Errors
/// If it cannot boot: what, where and what to do is in the chain.
pub fn run(plan: Plan, shared: Option<(Site, Config)>) -> Result<()> {
    let eal = Eal::init(&plan.eal).context("EAL did not start")?;
    let ports = start_ports(&eal, &plan)?;
    let mut engine = assemble(&eal, plan, ports)?;
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
    let sources = Sources {
        peers: peer_rx,
        api: api_rx,
        store: store_rx,
        checks: check_rx,
        mirror: arrivals,
        site: site_rx,
    };
    tracing::info!(engine = engine.plan.controller.engine, "ready");
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

/// Ports with their queues, by worker and port, and the pools they are filled from.
struct Ports {
    devices: Vec<Device>,
    queues: Vec<Vec<QueuePair>>,
    pools: Vec<Mempool>,
    /// Large buffers, where some frames need them.
    jumbo: Vec<Mempool>,
    macs: Vec<MacAddr>,
}

fn start_ports(eal: &Eal, plan: &Plan) -> Result<Ports> {
    // One pool a socket that has a worker; workers of a socket share it.
    let sockets: BTreeSet<u32> = (0..eal.workers()).map(|worker| eal.worker_socket(worker)).collect();
    let on_each = |pool: PoolConfig| {
        let pools =
            sockets.iter().map(|&socket| Mempool::new(eal, PoolConfig { socket: Some(socket), ..pool }));
        pools.collect::<Result<Vec<_>, _>>().context("packet buffers")
    };
    let mut ports = Ports {
        devices: Vec::new(),
        queues: (0..eal.workers()).map(|_| Vec::new()).collect(),
        pools: on_each(plan.pool)?,
        jumbo: plan.jumbo.map(on_each).transpose()?.unwrap_or_default(),
        macs: Vec::new(),
    };
    for port in &plan.ports {
        // Each queue is filled from the pool near the worker that polls it.
        let queues = (0..eal.workers()).map(|worker| pool_of(&ports.pools, Some(eal.worker_socket(worker))));
        let near = Device::socket_of(eal, &port.config.device);
        let jumbo = (!ports.jumbo.is_empty()).then(|| pool_of(&ports.jumbo, near));
        let pools = PortPools { queues: queues.collect(), jumbo };
        let config =
            PortConfig { one_pool: ports.pools.len() == 1 && jumbo.is_none(), ..port.config.clone() };
        let (device, pairs) = Device::start(eal, &config, pools)
            .with_context(|| format!("port {} could not be started", port.name))?;
        for router in virtual_routers(plan, port.id) {
            for mac in [router.number.mac(false), router.number.mac(true)] {
                device
                    .add_mac(mac)
                    .with_context(|| format!("port {}: the virtual router's address", port.name))?;
            }
        }
        ports.macs.push(device.mac().with_context(|| format!("port {}", port.name))?);
        ports.devices.push(device);
        for (queues, pair) in ports.queues.iter_mut().zip(pairs) {
            queues.push(pair);
        }
    }
    Ok(ports)
}

/// The virtual routers of the interfaces on a port.
fn virtual_routers(plan: &Plan, port: PortId) -> impl Iterator<Item = &VirtualRouter> {
    let on_port = plan.forwarding.interfaces.iter().filter(move |interface| interface.port == port);
    on_port.filter_map(|interface| interface.virtual_router.as_ref())
}

/// The pool of a socket; the first one where no worker is on it.
fn pool_of(pools: &[Mempool], socket: Option<u32>) -> &Mempool {
    pools.iter().find(|pool| pool.config().socket == socket).unwrap_or(&pools[0])
}

/// The tunnels whose paths the samples tell of: what is made and given up meanwhile says nothing of the engine.
fn watched_tunnels(plan: &Plan) -> Vec<TunnelId> {
    let members = plan.controller.groups.iter().flat_map(|group| &group.members);
    let own = members.filter(|member| member.kind == MemberKind::Own).map(|member| member.tunnel);
    own.filter(|id| plan.controller.tunnels[id.index()].endpoints.number == 0).collect()
}

fn assemble(eal: &Eal, plan: Plan, ports: Ports) -> Result<Engine> {
    let clock = Clock::new(eal);
    let mut forwarding = Forwarding::new(&plan.forwarding, &ports.macs, first_routes(&plan)?);
    forwarding.set_acl(plan.access.acl().context("acl.rule")?);
    let pools = (0..eal.workers()).map(|worker| {
        let socket = Some(eal.worker_socket(worker));
        let pool = pool_of(&ports.pools, socket).clone();
        if ports.jumbo.is_empty() { pool } else { pool.with_large(pool_of(&ports.jumbo, socket)) }
    });
    let shaper = |tunnel: &TunnelPlan| tunnel.shaper.as_ref().map(|shaper| shaper.build(clock.now()));
    let shapers: Shapers = plan.tunnels.iter().map(shaper).collect();
    let shared = Shared {
        queues: ports.queues,
        pools: pools.collect(),
        clock,
        snapshot: forwarding.snapshot(),
        shapers: shapers.clone(),
    };
    let mut workers = Workers::start(eal, &plan, shared)?;
    let (learning, model) = model(&plan)?;
    let recorder = plan.record.as_deref().map(|path| recorder(path, &plan)).transpose()?;
    let key_log = key_log(&plan)?;
    let (crypto, model) = (Crypto::choose(plan.crypto)?, Arc::new(model));
    let mut config = controller_config(&plan)?;
    wrap_cost::measure(&mut config, &plan, &*crypto.provider, &clock);
    let mut sas = SecurityAssociations::default();
    #[cfg(feature = "wireguard")]
    let wireguard = wireguard::start(&plan, clock.now())?;
    let static_sas = StaticSas::start(&plan, &*crypto.provider, &mut sas, &mut workers)?;
    let shadow = shadow::start(&plan, &mut workers, clock, static_sas.keeper())?;
    Ok(Engine {
        shadow,
        site: None,
        started_unix_ms: unix_ms() - clock.now().as_millis(),
        controller: Controller::new(config),
        traffic: TrafficWatch::new(&plan.adaptive, &model, clock.now()).context("group.adaptive.forecast")?,
        sampler: Sampler::new(watched_tunnels(&plan), workers::expected_poll_gap(plan.idle), clock.now()),
        predictor: Predictor::new(model),
        learning,
        prediction: None,
        vitals: vitals::PeerVitals::default(),
        bfd: bfd::BfdStates::new(),
        devices: ports.devices,
        pools: ports.pools.into_iter().chain(ports.jumbo).collect(),
        neighbors: Neighbors::new(),
        path_mtus: PathMtus::default(),
        keepalives: Keepalives::default(),
        crypto,
        sas,
        static_sas,
        #[cfg(feature = "wireguard")]
        wireguard,
        shapers,
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
        forwarding,
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

/// The routes of the configuration and of its routes file.
fn first_routes(plan: &Plan) -> Result<Routes> {
    let mut routes = Routes::new(routes::own(&plan.forwarding)).context("the configured routes")?;
    if let Some(file) = &plan.routes_file {
        let batch = Targets::new(&plan.forwarding).load(file).context("routing.file")?;
        let (many, start) = (batch.changes.len(), std::time::Instant::now());
        routes.begin_with(batch).context("routing.file")?;
        tracing::info!(routes = many, ms = start.elapsed().as_millis() as u64, "the routes file is loaded");
    }
    Ok(routes)
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
