//! Shapers, asked about and changed while they work.

use super::engine::Engine;
use crate::api::status::{ClassStatus, ShaperStatus};
use dataplane::id::TunnelId;
use dataplane::shaper::{Bucket, Rate};

impl Engine {
    /// Sets the rate of a tunnel's shaper, or of one of its classes.
    ///
    /// # Errors
    /// In words for the person who asked.
    pub fn set_rate(&mut self, tunnel: &str, class: Option<&str>, kbps: u64) -> Result<String, String> {
        let plan = self.plan.tunnels.iter().find(|plan| plan.name == tunnel);
        let plan = plan.ok_or_else(|| format!("no tunnel is called \"{tunnel}\""))?;
        let none = || format!("{tunnel} has no shaper: write [tunnel.shaper] in the configuration");
        let (planned, shaper) =
            plan.shaper.as_ref().zip(self.shapers[plan.id.index()].as_ref()).ok_or_else(none)?;
        let bucket: &Bucket = match class {
            None => &shaper.bucket,
            Some(class) => {
                let at = planned.classes.iter().position(|planned| planned.name == class);
                let at = at.ok_or_else(|| format!("{tunnel} has no class \"{class}\""))?;
                let own = shaper.classes[at].bucket.as_deref();
                own.ok_or_else(|| format!("class {class} of {tunnel} has no rate of its own"))?
            }
        };
        if !(8..=1_000_000_000).contains(&kbps) {
            return Err(format!("{kbps} kbit/s: write 8 to 1000000000"));
        }
        let before = bucket.rate();
        bucket.set_rate(Rate { bits_per_second: kbps * 1000, ..before }, self.clock.now());
        tracing::info!(tunnel, class, kbps, before = before.bits_per_second / 1000, "rate of a shaper");
        Ok(format!("{tunnel}: {} kbit/s, {kbps} from now on", before.bits_per_second / 1000))
    }

    /// Sets the rate of a tunnel's shaper because its group's traffic needs it, or no longer does.
    pub(super) fn adapt_rate(&mut self, tunnel: TunnelId, bits_per_second: u64) {
        if let Some(shaper) = &self.shapers[tunnel.index()] {
            let rate = Rate { bits_per_second, ..shaper.bucket.rate() };
            shaper.bucket.set_rate(rate, self.clock.now());
        }
    }

    /// What a tunnel's shaper does.
    pub(super) fn shaper_status(&self, id: TunnelId) -> Option<ShaperStatus> {
        let (plan, shaper) =
            self.plan.tunnels[id.index()].shaper.as_ref().zip(self.shapers[id.index()].as_ref())?;
        let class = |(at, plan): (usize, &crate::plan::ClassPlan)| ClassStatus {
            name: plan.name.clone(),
            rate_kbps: shaper.classes[at].bucket.as_ref().map(|own| own.rate().bits_per_second / 1000),
            waited: self.sum_tunnel(id, |tunnel| tunnel.shaper[at].waited.get()),
            dropped: self.sum_tunnel(id, |tunnel| tunnel.shaper[at].dropped.get()),
        };
        Some(ShaperStatus {
            rate_kbps: shaper.bucket.rate().bits_per_second / 1000,
            classes: plan.classes.iter().enumerate().map(class).collect(),
        })
    }
}
