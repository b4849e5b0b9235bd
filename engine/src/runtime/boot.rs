//! What forwards: EAL, ports, forwarding state, workers. Made first, and with what a process before this one has left, so that
//! everything else can take its time.

use super::forwarding::Forwarding;
use super::live_routes::Routes;
use super::neighbors::Neighbors;
use super::path_mtu::PathMtus;
use super::sas::SecurityAssociations;
use super::static_sas::{StaticSas, Windows};
use super::workers::{Shapers, Shared, Workers};
use crate::crypto::Crypto;
use crate::plan::{Plan, TunnelPlan};
use crate::routes::{self, Targets};
use anyhow::{Context as _, Result};
use dataplane::id::PortId;
use dataplane::virtual_router::VirtualRouter;
use dataplane::wire::MacAddr;
use dpdk::{Admit, Clock, Device, Eal, Mempool, PoolConfig, PortConfig, PortPools, QueuePair};
use std::collections::BTreeSet;

/// What forwards, its workers parked.
pub struct Base {
    pub clock: Clock,
    pub workers: Workers,
    pub devices: Vec<Device>,
    pub pools: Vec<Mempool>,
    pub forwarding: Forwarding,
    pub neighbors: Neighbors,
    pub path_mtus: PathMtus,
    pub crypto: Crypto,
    pub shapers: Shapers,
    /// SAs that are installed.
    pub sas: SecurityAssociations,
    /// What was accepted under static keys before.
    pub windows: Windows,
}

impl Base {
    /// Of `routes`, see [`first_routes`]; `deaf`: its ports hear nothing until [`Base::listen`].
    ///
    /// # Errors
    /// If EAL, a port or memory cannot be had.
    pub fn prepare(plan: &Plan, routes: Routes, deaf: bool) -> Result<Base> {
        let eal = &Eal::init(&plan.eal).context("EAL did not start")?;
        let ports = start_ports(eal, plan)?;
        if deaf {
            admit(&ports.devices, Admit::Nothing)?;
        }
        let clock = Clock::new(eal);
        let mut forwarding = Forwarding::new(&plan.forwarding, &ports.macs, routes);
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
        Ok(Base {
            workers: Workers::prepare(eal, plan, shared)?,
            clock,
            devices: ports.devices,
            pools: ports.pools.into_iter().chain(ports.jumbo).collect(),
            forwarding,
            neighbors: Neighbors::new(),
            path_mtus: PathMtus::default(),
            crypto: Crypto::choose(plan.crypto)?,
            shapers,
            sas: SecurityAssociations::default(),
            windows: Windows::default(),
        })
    }

    /// Lets the ports of a deaf base hear, from now on.
    ///
    /// # Errors
    /// If the kernel does not change a filter.
    pub fn listen(&mut self) -> Result<()> {
        // What came before the ports were made deaf.
        while self.receive_early() > 0 {
            let queues = self.workers.parked().iter_mut().flat_map(|worker| worker.queues());
            queues.for_each(|queue| queue.forget_early());
        }
        admit(&self.devices, Admit::Arriving)
    }

    /// Takes what has arrived and keeps it for the workers: a socket's ring holds some hundred frames. Returns how many came.
    pub fn receive_early(&mut self) -> usize {
        let queues = self.devices.len() * self.workers.len();
        let most = self.pools.iter().map(|pool| pool.config().packets as usize).min().unwrap_or(0);
        let most = most / (2 * queues.max(1));
        let queues = self.workers.parked().iter_mut().flat_map(|worker| worker.queues());
        queues.map(|queue| queue.receive_early(most)).sum()
    }

    /// How many of those there are.
    pub fn received_early(&mut self) -> usize {
        let queues = self.workers.parked().iter_mut().flat_map(|worker| worker.queues());
        queues.map(|queue| queue.received_early()).sum()
    }

    /// Lets the workers run. What belongs to them is in their place, but for SAs of static keys: those are taken now.
    ///
    /// # Errors
    /// If a key cannot be used, or EAL does not start a worker.
    pub fn launch(&mut self, plan: &Plan) -> Result<StaticSas> {
        let given = (&self.windows, &mut self.workers);
        let static_sas = StaticSas::start(plan, &*self.crypto.provider, &mut self.sas, given)?;
        self.workers.launch()?;
        Ok(static_sas)
    }
}

fn admit(devices: &[Device], what: Admit) -> Result<()> {
    for device in devices {
        device.admit(what).with_context(|| format!("port {}", device.name()))?;
    }
    Ok(())
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

/// The routes of the configuration and of its routes file.
///
/// # Errors
/// If the routes file cannot be read, or they do not fit.
pub fn first_routes(plan: &Plan) -> Result<Routes> {
    let mut routes = Routes::new(routes::own(&plan.forwarding)).context("the configured routes")?;
    if let Some(file) = &plan.routes_file {
        let batch = Targets::new(&plan.forwarding).load(file).context("routing.file")?;
        let (many, start) = (batch.changes.len(), std::time::Instant::now());
        routes.begin_with(batch).context("routing.file")?;
        tracing::info!(routes = many, ms = start.elapsed().as_millis() as u64, "the routes file is loaded");
    }
    Ok(routes)
}
