//! Static SAs that belong to the owner of the site: they move from one of its engines to the other, with their counters.
//!
//! When they do what is [`control::shadow::takeover`]'s to say: here are the keys, the disk, the worker and the shadow.

use super::static_sas::{Sending, StaticSas, WORKER, parts};
use super::workers::Workers;
use crate::plan::{EspPlan, Plan, StaticSaPlan};
use crate::shadow::{Keep, Shadow};
use anyhow::{Context as _, Result, ensure};
use control::shadow::sas::{KeyId, SaState, to_keep};
use control::shadow::takeover::{Action, SiteSa, left_out};
use dataplane::id::{Nanos, Spi, TunnelId};
use dataplane::message::{Command, Inbound};
use dataplane::replay::ReplayWindow;
use dataplane::sa::{AeadProvider, InboundSa, Partition, SaKey};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use zeroize::Zeroizing;

/// A site's SA, and the key that its worker opens with.
pub struct Shared {
    pub sa: SiteSa,
    pub key_in: Zeroizing<Vec<u8>>,
}

/// What it takes to change SAs.
pub struct Tools<'a> {
    pub plan: &'a Plan,
    pub provider: &'a dyn AeadProvider,
    pub workers: &'a mut Workers,
    pub shadow: Option<&'a Shadow>,
    pub now: Nanos,
}

impl StaticSas {
    /// What writes down other engines' reservations of the keys that this one has too.
    pub fn keeper(&self) -> Keep {
        let of_site =
            |sending: &Sending| Some((sending.site.as_ref()?.sa.about().key_out, sending.epochs.clone()));
        let epochs: BTreeMap<KeyId, _> = self.0.values().filter_map(of_site).collect();
        Box::new(move |state: &SaState| match epochs.get(&state.key_out) {
            Some(epochs) => {
                let mut epochs = epochs.lock().unwrap_or_else(PoisonError::into_inner);
                epochs.reserve(state.reserved)?;
                epochs.keep_accepted(to_keep(state.limit, state.rate))
            }
            None => {
                tracing::warn!(spi = state.spi_out.0, "another engine has a static SA that this one lacks");
                Ok(())
            }
        })
    }

    /// This engine owns the site from now on, or does not any more.
    pub fn owner(&mut self, owner: bool, tools: &mut Tools<'_>) {
        self.each("not taken over", tools, |sending, esp, tools, actions| {
            let Some(site) = &mut sending.site else { return Ok(()) };
            match (site.sa.is_owned(), owner) {
                (false, true) => sending.take_part(esp, tools),
                (true, false) => {
                    site.sa.release(actions);
                    sending.renewing = false;
                    Ok(())
                }
                _ => Ok(()),
            }
        });
    }

    /// Half of what was taken is sent.
    pub fn renew_of_site(&mut self, tunnel: TunnelId, tools: &mut Tools<'_>) {
        let (Some(sending), Some((esp, _))) = (self.0.get_mut(&tunnel), parts(tools.plan, tunnel)) else {
            return;
        };
        let may = sending.site.as_ref().is_some_and(|site| site.sa.may_renew());
        if !may || sending.renewing {
            return;
        }
        if let Err(error) = sending.take_part(esp, tools) {
            tracing::error!(tunnel = tools.plan.tunnels[tunnel.index()].name, "not renewed: {error:#}");
            // Not with every report of the worker.
            sending.renewing = true;
        }
    }

    /// Goes on with what waits for the shadow.
    pub fn tick(&mut self, tools: &mut Tools<'_>) {
        let Some(shadow) = tools.shadow else { return };
        if self.0.values().all(|sending| sending.site.is_none()) {
            return;
        }
        for (key, ticket, noted) in shadow.settled() {
            let mut sites = self.0.values_mut().filter_map(|sending| sending.site.as_mut());
            if let Some(site) = sites.find(|site| site.sa.about().key_in == key) {
                site.sa.settled(ticket, noted, tools.now);
            }
        }
        self.each("static SA", tools, |sending, _, tools, actions| {
            let Some(site) = &mut sending.site else { return Ok(()) };
            let key = site.sa.about().key_in;
            shadow.of_sas(key, |known| site.sa.tick(tools.now, known, actions));
            Ok(())
        });
    }

    /// So far what comes under an SPI has come.
    pub fn reached(&mut self, spi: Spi, reached: u64, now: Nanos) {
        self.site_of(spi).into_iter().for_each(|site| site.sa.reached(reached, now));
    }

    /// This limit of an SPI is in force.
    pub fn limited(&mut self, spi: Spi, limit: u64, tools: &mut Tools<'_>) {
        let now = tools.now;
        self.each("static SA", tools, |sending, _, _, actions| {
            let ours = sending.site.as_mut().filter(|site| site.sa.about().spi_in == spi);
            ours.into_iter().for_each(|site| site.sa.limited(limit, now, actions));
            Ok(())
        });
    }

    /// A worker has let go of an inbound SA: whoever has it next goes on exactly there.
    pub fn retired(&mut self, inbound: &Inbound, tools: &mut Tools<'_>) {
        let (window, now) = (inbound.sa.window_state(), tools.now);
        self.each("static SA", tools, |sending, _, _, actions| {
            let ours = sending.site.as_mut().filter(|site| site.sa.about().spi_in == inbound.sa.spi());
            ours.into_iter().for_each(|site| site.sa.retired(window.clone(), now, actions));
            Ok(())
        });
    }

    fn site_of(&mut self, spi: Spi) -> Option<&mut Shared> {
        let mut sites = self.0.values_mut().filter_map(|sending| sending.site.as_mut());
        sites.find(|site| site.sa.about().spi_in == spi)
    }

    /// Changes each of them, and carries out what follows. What fails is `what`, in the log.
    fn each(
        &mut self,
        what: &str,
        tools: &mut Tools<'_>,
        change: impl Fn(&mut Sending, &EspPlan, &mut Tools<'_>, &mut Vec<Action>) -> Result<()>,
    ) {
        for (&tunnel, sending) in &mut self.0 {
            let Some((esp, plan)) = parts(tools.plan, tunnel) else { continue };
            let mut actions = Vec::new();
            let changed = change(sending, esp, tools, &mut actions);
            let mut carry = |action| sending.carry_out(action, (tunnel, esp, plan), tools);
            if let Err(error) = changed.and_then(|()| actions.into_iter().try_for_each(&mut carry)) {
                tracing::error!(tunnel = tools.plan.tunnels[tunnel.index()].name, "{what}: {error:#}");
            }
        }
    }
}

impl Sending {
    /// Takes the next part of the key, and writes that down here.
    fn take_part(&mut self, esp: &EspPlan, tools: &Tools<'_>) -> Result<()> {
        let Some(site) = &mut self.site else { return Ok(()) };
        let shadow = tools.shadow.context("[shadow] is missing")?;
        let silence = shadow.of_sas(site.sa.about().key_in, |known| known?.silence(tools.now));
        let part = {
            let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
            let unknown = left_out(silence);
            if unknown > 0 && !site.sa.is_owned() {
                let (_, free) = epochs.taken();
                epochs.reserve(free + unknown)?;
            }
            epochs.take(esp.esn)?
        };
        site.sa.take(part, tools.now);
        Ok(())
    }

    fn carry_out(
        &mut self,
        action: Action,
        (tunnel, esp, plan): (TunnelId, &EspPlan, &StaticSaPlan),
        tools: &mut Tools<'_>,
    ) -> Result<()> {
        let Some(site) = &self.site else { return Ok(()) };
        let (key, shadow) = (site.sa.about().key_in, tools.shadow.context("[shadow] is missing")?);
        match action {
            Action::InstallInbound(window) => site.install(window, (tunnel, esp), tools)?,
            Action::InstallOutbound(part) => self.send_within(part, (tunnel, esp, plan), tools)?,
            Action::Limit(limit) => {
                ensure!(
                    tools.workers.command(WORKER, Command::Limit(plan.spi_in, limit)),
                    "the worker is stuck"
                );
            }
            Action::Keep(accepted) => {
                self.epochs.lock().unwrap_or_else(PoisonError::into_inner).keep_accepted(accepted)?;
            }
            Action::Remove => {
                tools.workers.command(WORKER, Command::RemoveOutbound(tunnel));
                tools.workers.command(WORKER, Command::RemoveInbound(plan.spi_in));
            }
            Action::Reserve(ticket, state) => shadow.reserve(ticket, state),
            Action::Announce(ticket, limit, rate) => shadow.announce(key, ticket, limit, rate),
            Action::Released(window) => shadow.released(key, window),
        }
        Ok(())
    }

    fn send_within(
        &mut self,
        part: Partition,
        (tunnel, esp, plan): (TunnelId, &EspPlan, &StaticSaPlan),
        tools: &mut Tools<'_>,
    ) -> Result<()> {
        self.install(part, esp, plan, (tunnel, tools.provider), tools.workers)?;
        let (epoch, first) = (part.epoch.get(), part.first);
        tracing::info!(spi = plan.spi_out.0, epoch, first, "static SA taken, outbound");
        Ok(())
    }
}

impl Shared {
    fn install(
        &self,
        window: ReplayWindow,
        (tunnel, esp): (TunnelId, &EspPlan),
        tools: &mut Tools<'_>,
    ) -> Result<()> {
        let key = SaKey::new(tools.provider, esp.algorithm, &self.key_in)?;
        let (spi, top) = (self.sa.about().spi_in, window.top());
        let sa = InboundSa::resumed(spi, key, window, esp.esn).context("inbound SA")?;
        let inbound = Command::InstallInbound(Box::new(Inbound { tunnel, sa }));
        ensure!(tools.workers.command(WORKER, inbound), "the worker is stuck");
        tracing::info!(spi = spi.0, above = top, "static SA taken over, inbound");
        Ok(())
    }
}
