//! Carries out the controller's orders on SAs: derives keys, installs on the workers, and tells when all have.

use super::workers::Workers;
use crate::peer::keys::SaKey as DerivedKey;
use crate::peer::{Direction, KeyLog, SaName, Session};
use crate::plan::EspPlan;
use anyhow::{Context as _, Result};
use control::config::TunnelConfig;
use control::installs::Installs;
use control::message::SaParameters;
use dataplane::id::{Spi, TunnelId, WorkerId};
use dataplane::message::{Command, Inbound};
use dataplane::sa::{AeadProvider, InboundSa, Limits, OutboundSa, SaKey};
use std::collections::BTreeMap;

/// SAs on their way to the workers, and those in use.
#[derive(Default)]
pub struct SecurityAssociations {
    /// Those that not all workers have yet.
    pub installs: Installs,
    inbound: BTreeMap<(TunnelId, u64), Vec<Spi>>,
    outbound: BTreeMap<TunnelId, Vec<Spi>>,
    /// Keys of what is installed, for a process that follows this one: by tunnel, SPI and direction.
    keys: BTreeMap<(TunnelId, Spi, bool), DerivedKey>,
    refused: BTreeMap<TunnelId, String>,
}

/// A direction of one generation of a tunnel's SAs.
pub struct Order<'a> {
    /// The tunnel.
    pub tunnel: &'a TunnelConfig,
    /// Its SAs' parameters.
    pub sa: &'a EspPlan,
    /// What computes them.
    pub provider: &'a dyn AeadProvider,
    /// The generation.
    pub generation: u64,
    /// Its SPIs, one a worker of the sender.
    pub spis: &'a [Spi],
}

impl SecurityAssociations {
    /// Installs inbound SAs, each on the worker that its SPI names.
    pub fn install_inbound(
        &mut self,
        order: &Order<'_>,
        session: &Session,
        key_log: Option<&KeyLog>,
        workers: &mut Workers,
    ) -> Result<()> {
        let plan = order.sa;
        for &spi in order.spis {
            let (derived, key) = key(order, session, key_log, spi, Direction::Inbound)?;
            self.keys.insert((order.tunnel.id, spi, true), derived);
            let sa = InboundSa::new(spi, key, plan.replay_window, plan.esn).context("inbound SA")?;
            let owner = WorkerId((spi.0 % workers.len() as u32) as u16);
            let inbound = Box::new(Inbound { tunnel: order.tunnel.id, sa });
            anyhow::ensure!(
                workers.command(owner, Command::InstallInbound(inbound)),
                "worker {owner} is stuck"
            );
        }
        let (tunnel, generation) = (order.tunnel.id, order.generation);
        self.installs.begin_inbound(tunnel, generation, order.spis);
        self.inbound.insert((tunnel, generation), order.spis.to_vec());
        Ok(())
    }

    /// Switches every worker's outbound SA: worker i uses SPI i (RFC 9611), and never shares one, whose counter would
    /// have two owners then.
    pub fn install_outbound(
        &mut self,
        order: &Order<'_>,
        session: &Session,
        key_log: Option<&KeyLog>,
        workers: &mut Workers,
    ) -> Result<()> {
        let plan = order.sa;
        anyhow::ensure!(
            order.spis.len() >= workers.len(),
            "the peer offers {} SAs for {} workers: tell it of them, by `workers` of this engine's [[peer]] there",
            order.spis.len(),
            workers.len()
        );
        let limits = Limits { soft: plan.rekey_packets, hard: plan.rekey_packets.saturating_mul(2) };
        let mut awaited = Vec::new();
        self.keys.retain(|&(tunnel, _, inbound), _| inbound || tunnel != order.tunnel.id);
        for (worker, &spi) in (0..workers.len() as u16).map(WorkerId).zip(order.spis) {
            let (derived, key) = key(order, session, key_log, spi, Direction::Outbound)?;
            self.keys.insert((order.tunnel.id, spi, false), derived);
            let sa = Box::new(OutboundSa::new(spi, key, limits, plan.esn).context("outbound SA")?);
            anyhow::ensure!(
                workers.command(worker, Command::InstallOutbound(order.tunnel.id, sa)),
                "worker {worker} is stuck"
            );
            awaited.push((worker, spi));
        }
        self.refused.remove(&order.tunnel.id);
        self.outbound.insert(order.tunnel.id, awaited.iter().map(|&(_, spi)| spi).collect());
        self.installs.begin_outbound(order.tunnel.id, order.generation, awaited);
        Ok(())
    }

    /// SAs that no controller orders, for those who ask for SPIs.
    pub fn note_static(&mut self, tunnel: TunnelId, spi_in: Spi, spi_out: Spi) {
        self.inbound.insert((tunnel, 0), vec![spi_in]);
        self.outbound.insert(tunnel, vec![spi_out]);
    }

    /// Deletes the outbound SAs of a tunnel that is given up.
    pub fn remove_outbound(&mut self, tunnel: TunnelId, workers: &mut Workers) {
        self.outbound.remove(&tunnel);
        self.keys.retain(|&(of, _, inbound), _| inbound || of != tunnel);
        self.refused.remove(&tunnel);
        for worker in (0..workers.len() as u16).map(WorkerId) {
            if !workers.command(worker, Command::RemoveOutbound(tunnel)) {
                tracing::warn!(%worker, %tunnel, "outbound SA not removed: the worker is stuck");
            }
        }
    }

    /// Removes the inbound SAs of `generation` and older.
    pub fn remove_inbound(&mut self, tunnel: TunnelId, generation: u64, workers: &mut Workers) {
        let old: Vec<_> =
            self.inbound.range((tunnel, 0)..=(tunnel, generation)).map(|(key, _)| *key).collect();
        for spi in old.iter().filter_map(|key| self.inbound.remove(key)).flatten() {
            self.keys.remove(&(tunnel, spi, true));
            let owner = WorkerId((spi.0 % workers.len() as u32) as u16);
            workers.command(owner, Command::RemoveInbound(spi));
        }
    }

    /// The key of an SA that is installed, and the generation of an inbound one.
    pub fn key_of(&self, tunnel: TunnelId, spi: Spi, inbound: bool) -> Option<(u64, &DerivedKey)> {
        let key = self.keys.get(&(tunnel, spi, inbound))?;
        let of_tunnel = self.inbound.range((tunnel, 0)..=(tunnel, u64::MAX));
        let newest = of_tunnel.rev().find(|(_, spis)| spis.contains(&spi));
        Some((newest.map_or(0, |((_, generation), _)| *generation), key))
    }

    /// An SA with which another process of this engine was here before: inbound ones with their generation.
    pub fn resume(&mut self, tunnel: TunnelId, spi: Spi, inbound: Option<u64>, key: DerivedKey) {
        self.keys.insert((tunnel, spi, inbound.is_some()), key);
        match inbound {
            Some(generation) => self.inbound.entry((tunnel, generation)).or_default().push(spi),
            None => self.outbound.entry(tunnel).or_default().push(spi),
        }
    }

    /// The peer's offer was refused for what it says. True if that is news: offers are repeated.
    pub fn offer_refused(&mut self, tunnel: TunnelId, ours: SaParameters, theirs: SaParameters) -> bool {
        let problem = format!("the peer offers {theirs}, configured here is {ours}: change one end");
        self.refused.insert(tunnel, problem.clone()) != Some(problem)
    }

    /// Why a tunnel has no outbound SAs, if the peer's last offer was refused.
    pub fn problem(&self, tunnel: TunnelId) -> Option<&str> {
        self.refused.get(&tunnel).map(String::as_str)
    }

    /// SPIs of the newest inbound SAs of a tunnel, one a worker.
    pub fn inbound_spis(&self, tunnel: TunnelId) -> Vec<u32> {
        let newest = self.inbound.range((tunnel, 0)..=(tunnel, u64::MAX)).next_back();
        newest.into_iter().flat_map(|(_, spis)| spis).map(|spi| spi.0).collect()
    }

    /// SPIs of the outbound SAs of a tunnel, one a worker.
    pub fn outbound_spis(&self, tunnel: TunnelId) -> Vec<u32> {
        self.outbound.get(&tunnel).into_iter().flatten().map(|spi| spi.0).collect()
    }
}

/// Derives one SA's key, and writes it down if the debug option asks for it.
fn key(
    order: &Order<'_>,
    session: &Session,
    key_log: Option<&KeyLog>,
    spi: Spi,
    direction: Direction,
) -> Result<(DerivedKey, SaKey)> {
    let tunnel = order.tunnel.endpoints;
    let name = SaName { direction, tunnel, generation: order.generation, spi };
    let derived = session.sa_key(&name, order.sa.algorithm);
    if let Some(log) = key_log {
        log.append(&name, &derived).context("the ESP key log cannot be written")?;
    }
    let key = SaKey::new(order.provider, derived.algorithm(), derived.keymat())?;
    Ok((derived, key))
}
