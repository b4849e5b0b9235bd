//! Static SAs that belong to the owner of the site: they move from one of its engines to the other, with their counters.
//!
//! Outbound, an engine takes a part of the key in its own epochs, and waits until its shadow has written down that these
//! numbers are taken before it sends the first of them. Inbound, it goes on above everything that the engine before can have
//! accepted ([`control::shadow::sas`]).

use super::static_sas::{Sending, StaticSas, WORKER, parts};
use super::workers::Workers;
use crate::epochs::key_id;
use crate::plan::{EspPlan, Plan, StaticSaPlan};
use crate::shadow::{Keep, Shadow};
use anyhow::{Context as _, Result, ensure};
use control::message::SaParameters;
use control::shadow::sas::{Floor, KeyId, PeakRate, SaState, SaWindow};
use dataplane::id::{Nanos, Spi, TunnelId};
use dataplane::message::{Command, Inbound};
use dataplane::replay::ReplayWindow;
use dataplane::sa::{AeadProvider, InboundSa, Partition, SaKey};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use zeroize::Zeroizing;

/// How long a shadow that is connected may take to write down a reservation.
const PATIENCE: Nanos = Nanos::from_millis(2_000);
/// How long an owner whose shadow is gone waits for it before it takes more than the shadow knows of.
const ALONE: Nanos = Nanos::from_millis(10_000);
/// How long the exact window of an engine that hands over is waited for.
const HANDOVER: Nanos = Nanos::from_millis(50);
/// A shadow that has heard nothing for longer does not know what its engine has reserved since.
const TRUSTED: Nanos = Nanos::from_millis(5_000);
/// Numbers that it leaves out then.
const BLIND: u64 = 1 << 26;

/// What a site's SA is beside a static one.
pub struct SiteSa {
    key_in: Zeroizing<Vec<u8>>,
    id_in: KeyId,
    id_out: KeyId,
    peak: PeakRate,
    /// Where this engine itself has ended.
    last: Option<SaWindow>,
    taking: Option<Taking>,
    installed: bool,
}

/// Numbers that are written down here, and may not be used yet.
struct Taking {
    part: Partition,
    reserved: oneshot::Receiver<bool>,
    since: Nanos,
    /// What this engine waits for its shadow at most, if there is one, and if there is none.
    patience: (Nanos, Nanos),
    alone: bool,
}

/// What it takes to change SAs.
pub struct Tools<'a> {
    pub plan: &'a Plan,
    pub provider: &'a dyn AeadProvider,
    pub workers: &'a mut Workers,
    pub shadow: Option<&'a Shadow>,
    pub now: Nanos,
}

impl SiteSa {
    /// One that nobody here uses yet.
    pub fn new(key_in: Zeroizing<Vec<u8>>, id_out: KeyId) -> SiteSa {
        let id_in = key_id(&key_in);
        SiteSa {
            key_in,
            id_in,
            id_out,
            peak: PeakRate::default(),
            last: None,
            taking: None,
            installed: false,
        }
    }

    /// Where the inbound SA goes on. `None` while it is worth waiting for the exact window.
    fn window(&self, esp: &EspPlan, tools: &Tools<'_>, since: Nanos) -> Option<ReplayWindow> {
        let floor = tools.shadow.and_then(|shadow| shadow.of_sas(|sas| sas.floor(self.id_in, tools.now)));
        let (size, esn) = (esp.replay_window, esp.esn);
        let own = self.last.as_ref();
        let own_top = own.map_or(0, |window| window.top);
        match floor {
            Some(Floor::Exact(window)) if window.top >= own_top => {
                Some(ReplayWindow::resumed(&window, size, esn))
            }
            Some(Floor::Above(_)) if tools.now.since(since) < HANDOVER => None,
            Some(Floor::Above(floor)) if floor > own_top => Some(ReplayWindow::above(floor, size, esn)),
            _ => Some(own.map_or_else(
                || ReplayWindow::new(size, esn),
                |window| ReplayWindow::resumed(window, size, esn),
            )),
        }
    }
}

impl StaticSas {
    /// What writes down other engines' reservations of the keys that this one has too.
    pub fn keeper(&self) -> Keep {
        let of_site = |sending: &Sending| Some((sending.site.as_ref()?.id_out, sending.epochs.clone()));
        let epochs: BTreeMap<KeyId, _> = self.0.values().filter_map(of_site).collect();
        Box::new(move |state: &SaState| match epochs.get(&state.key_out) {
            Some(epochs) => epochs.lock().unwrap_or_else(PoisonError::into_inner).reserve(state.reserved),
            None => {
                tracing::warn!(spi = state.spi_out.0, "another engine has a static SA that this one lacks");
                Ok(())
            }
        })
    }

    /// This engine owns the site from now on, or does not any more.
    pub fn owner(&mut self, owner: bool, tools: &mut Tools<'_>) {
        for (&tunnel, sending) in &mut self.0 {
            let Some((esp, plan)) = parts(tools.plan, tunnel) else { continue };
            let Some(site) = &sending.site else { continue };
            let owned = site.installed || site.taking.is_some();
            if owned == owner {
                continue;
            }
            if !owner {
                sending.release(tunnel, plan, tools.workers);
            } else if let Err(error) = sending.begin(esp, plan, tools, (PATIENCE, Nanos(0))) {
                tracing::error!(
                    tunnel = tools.plan.tunnels[tunnel.index()].name,
                    "not taken over: {error:#}"
                );
            }
        }
    }

    /// Half of what was taken is sent.
    pub fn renew_of_site(&mut self, tunnel: TunnelId, tools: &mut Tools<'_>) {
        let (Some(sending), Some((esp, plan))) = (self.0.get_mut(&tunnel), parts(tools.plan, tunnel)) else {
            return;
        };
        let owned = sending.site.as_ref().is_some_and(|site| site.installed && site.taking.is_none());
        if !owned || sending.renewing {
            return;
        }
        if let Err(error) = sending.begin(esp, plan, tools, (PATIENCE, ALONE)) {
            tracing::error!(tunnel = tools.plan.tunnels[tunnel.index()].name, "not renewed: {error:#}");
            // Not with every report of the worker.
            sending.renewing = true;
        }
    }

    /// Goes on with what waits for the shadow.
    pub fn tick(&mut self, tools: &mut Tools<'_>) {
        for (&tunnel, sending) in &mut self.0 {
            let Some((esp, plan)) = parts(tools.plan, tunnel) else { continue };
            if let Err(error) = sending.go_on(tunnel, esp, plan, tools) {
                tracing::error!(tunnel = tools.plan.tunnels[tunnel.index()].name, "static SA: {error:#}");
            }
        }
    }

    /// A worker has accepted packets of a site's SA.
    pub fn accepted(&mut self, spi: Spi, top: u64, tools: &Tools<'_>) {
        for (&tunnel, sending) in &mut self.0 {
            let ours = parts(tools.plan, tunnel).is_some_and(|(_, plan)| plan.spi_in == spi);
            if let (true, Some(site), Some(shadow)) = (ours, &mut sending.site, tools.shadow) {
                site.peak.note(top, tools.now);
                shadow.progress(site.id_in, top, site.peak.peak());
            }
        }
    }

    /// A worker has let go of an inbound SA: whoever has it next goes on exactly there.
    pub fn retired(&mut self, inbound: &Inbound, shadow: Option<&Shadow>) {
        let site = self.0.get_mut(&inbound.tunnel).and_then(|sending| sending.site.as_mut());
        if let Some(site) = site {
            let window = inbound.sa.window_state();
            if let Some(shadow) = shadow {
                shadow.released(site.id_in, window.clone());
            }
            site.last = Some(window);
        }
    }
}

impl Sending {
    /// Takes the next part of the key, and asks the shadow to write that down.
    fn begin(
        &mut self,
        esp: &EspPlan,
        plan: &StaticSaPlan,
        tools: &Tools<'_>,
        patience: (Nanos, Nanos),
    ) -> Result<()> {
        let shadow = tools.shadow.context("[shadow] is missing")?;
        let blind = shadow.of_sas(|sas| sas.silence(tools.now)).filter(|silence| *silence > TRUSTED);
        let part = {
            let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
            if blind.is_some() && self.site.as_ref().is_some_and(|site| !site.installed) {
                let (_, free) = epochs.taken();
                epochs.reserve(free + BLIND)?;
            }
            epochs.take(esp.esn)?
        };
        let Some(site) = &mut self.site else { return Ok(()) };
        let state = SaState {
            key_in: site.id_in,
            key_out: site.id_out,
            spi_in: plan.spi_in,
            spi_out: plan.spi_out,
            parameters: SaParameters { algorithm: esp.algorithm, esn: esp.esn },
            epoch: part.epoch.get(),
            reserved: part.first + part.count,
            top: site.last.as_ref().map_or(0, |window| window.top),
            peak: site.peak.peak(),
        };
        let reserved = shadow.reserve(state);
        site.taking = Some(Taking { part, reserved, since: tools.now, patience, alone: false });
        Ok(())
    }

    fn go_on(
        &mut self,
        tunnel: TunnelId,
        esp: &EspPlan,
        plan: &StaticSaPlan,
        tools: &mut Tools<'_>,
    ) -> Result<()> {
        let Some(site) = &mut self.site else { return Ok(()) };
        let Some(taking) = &mut site.taking else { return Ok(()) };
        let since = taking.since;
        let may_send = taking.may_be_used(tools.now);
        let part = taking.part;
        if !site.installed
            && let Some(window) = site.window(esp, tools, since)
        {
            let key = SaKey::new(tools.provider, esp.algorithm, &site.key_in)?;
            let top = window.top();
            let sa = InboundSa::resumed(plan.spi_in, key, window, esp.esn).context("inbound SA")?;
            let inbound = Command::InstallInbound(Box::new(Inbound { tunnel, sa }));
            ensure!(tools.workers.command(WORKER, inbound), "the worker is stuck");
            ensure!(tools.workers.command(WORKER, Command::Watch(plan.spi_in)), "the worker is stuck");
            site.installed = true;
            tracing::info!(spi = plan.spi_in.0, above = top, "static SA taken over, inbound");
        }
        if may_send && site.installed {
            site.taking = None;
            self.install(part, esp, plan, (tunnel, tools.provider), tools.workers)?;
            tracing::info!(
                spi = plan.spi_out.0,
                epoch = part.epoch.get(),
                first = part.first,
                "static SA taken, outbound"
            );
        }
        Ok(())
    }

    /// This engine does not own the site any more.
    fn release(&mut self, tunnel: TunnelId, plan: &StaticSaPlan, workers: &mut Workers) {
        let Some(site) = &mut self.site else { return };
        site.taking = None;
        if std::mem::take(&mut site.installed) {
            workers.command(WORKER, Command::RemoveOutbound(tunnel));
            workers.command(WORKER, Command::RemoveInbound(plan.spi_in));
        }
        self.renewing = false;
    }
}

impl Taking {
    /// Whether the shadow has written it down, or nobody is there to do so.
    fn may_be_used(&mut self, now: Nanos) -> bool {
        match self.reserved.try_recv() {
            Ok(true) => return true,
            Ok(false) | Err(TryRecvError::Closed) => self.alone = true,
            Err(TryRecvError::Empty) => {}
        }
        let (with, without) = self.patience;
        let waited = now.since(self.since);
        let go_on = waited >= if self.alone { without } else { with };
        if go_on {
            tracing::warn!(
                first = self.part.first,
                "no shadow has written down the sequence numbers of a static SA: one that takes over unheard leaves some out"
            );
        }
        go_on
    }
}
